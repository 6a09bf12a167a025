"""A stand-in for `python -m streams.cli.main`, for tests of the demo: the same commands, with little behind them.

STAND_IN_FAULT names what goes wrong: `worker-dies`, `empty-report`, `no-report`.
"""

import http.server
import json
import os
import sys
import time

import redis

ACCOUNTS = ("acme", "nido")


def report(revision: int, figure: int) -> str:
    metrics = {
        "new_contacts": {"total": figure},
        "new_conversations": {"total": figure},
        "first_response": {"count": figure},
        "response": {"count": figure},
    }
    return json.dumps(
        {
            "revision": revision,
            "as_of": "2026-11-22T12:00:00Z",
            "lag": {"records": 0},
            "periods": {"last_30_days": {"metrics": metrics}},
        }
    )


def publish(fault: str) -> None:
    client = redis.Redis.from_url(os.environ["MEDIANA_REDIS_URL"])
    revision = 0
    while True:
        revision += 1
        for account in ACCOUNTS:
            if fault != "no-report":
                client.set(f"mediana:{{{account}}}:report", report(revision, 0 if fault == "empty-report" else 3))
        time.sleep(0.2)


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"mediana_events_total 1234.0\n" if self.path == "/metrics" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def answer(port_variable: str) -> None:
    http.server.HTTPServer(("127.0.0.1", int(os.environ[port_variable])), Health).serve_forever()


def main(command: list[str], fault: str) -> None:
    match command:
        case ["topics", "create"]:
            return
        case ["simulate", *_]:
            print(f"simulate: {len(ACCOUNTS)} accounts: {', '.join(ACCOUNTS)}", flush=True)
            print("simulate: history: 1,234 events of 14 days sent", flush=True)
            time.sleep(60)
        case ["worker"] if fault == "worker-dies":
            sys.exit("worker: this is what I died of")
        case ["worker"]:
            answer("MEDIANA_METRICS_PORT")
        case ["snapshot", "--watch"]:
            publish(fault)
        case ["serve"]:
            answer("MEDIANA_HTTP_PORT")
        case _:
            sys.exit(f"no such command: {command}")


if __name__ == "__main__":
    main(sys.argv[1:], os.environ.get("STAND_IN_FAULT", ""))
