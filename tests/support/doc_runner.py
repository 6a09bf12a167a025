"""A reader at a desk of their own: runs what the documentation says, in its order, on real servers.

Names that the documentation uses for machines, ports and files of others are replaced by those of the test; everything
else is run as it is printed, by bash. `mediana` is this program; `redis-cli` and `redis-server` are those of the test.
"""

import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from streams.local.ports import LOOPBACK, ask, free_port
from streams.local.process import Process
from streams.local.redis import redis_command
from tests import programs
from tests.support.documented import ROOT

METRICS_PORTS = {
    "worker": "MEDIANA_METRICS_PORT",
    "snapshot": "MEDIANA_SNAPSHOTTER_METRICS_PORT",
    "serve": "MEDIANA_PAGE_METRICS_PORT",
    "ingest": "MEDIANA_INGEST_METRICS_PORT",
}
"""Programs that run until they are stopped, and where each says whether it is ready."""

PATIENCE_SECONDS = 90.0


class Desk:
    """A folder, an environment that lasts from command to command, and the programs that were started and not ended."""

    def __init__(self, folder: Path, bootstrap: str, redis_port: int, topic_prefix: str) -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        self.topic_prefix = topic_prefix
        self.redis_port = self.own_redis_port = redis_port
        self.page_port, self.ingest_port = free_port(), free_port()
        self.log_folder = folder.with_name(f"{folder.name}-logs")
        self._state = folder.with_name(f"{folder.name}-environment")
        self._running: list[Process] = []
        folder.mkdir(parents=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")},
            "PATH": f"{self._programs()}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "MEDIANA_KAFKA_BOOTSTRAP": bootstrap,
            "MEDIANA_REDIS_URL": self.redis_url,
            "MEDIANA_TOPIC_PREFIX": topic_prefix,
            "MEDIANA_GROUP": topic_prefix,
            "MEDIANA_HTTP_PORT": str(self.page_port),
            "MEDIANA_INGEST_PORT": str(self.ingest_port),
            "MEDIANA_KAFKA_SESSION_TIMEOUT_SECONDS": "3",
            **{variable: str(free_port()) for variable in METRICS_PORTS.values()},
        }
        self.edits = {
            "kafka-1:9092,kafka-2:9092": bootstrap,
            "redis://redis:6379/0": self.redis_url,
            "redis://127.0.0.1:6379/0": self.redis_url,
            "http://127.0.0.1:8080": f"http://{LOOPBACK}:{self.page_port}",
            "http://127.0.0.1:8081": f"http://{LOOPBACK}:{self.ingest_port}",
            "http://127.0.0.1:9464": self.metrics_url("worker"),
            "http://127.0.0.1:9467": self.metrics_url("ingest"),
        }
        """What the documentation calls it → what it is here."""

    @property
    def redis_url(self) -> str:
        """Where `redis-cli` leads, too."""
        return f"redis://{LOOPBACK}:{self.redis_port}/0"

    def metrics_url(self, program: str) -> str:
        """Where a program answers `/metrics` and the probes."""
        return f"http://{LOOPBACK}:{self.environment[METRICS_PORTS[program]]}"

    def edited(self, text: str, edits: Mapping[str, str] | None = None) -> str:
        """A text of the documentation with the names of this desk."""
        for name, here in {**self.edits, **(edits or {})}.items():
            text = text.replace(name, here)
        return text

    def run(self, command: str, *, status: int = 0, edits: Mapping[str, str] | None = None) -> str:
        """Run a command as it is printed, which ends with the status; what it said. What it exports stays."""
        script = f'set -e\n{self.edited(command, edits)}\nenv -0 > "$DESK_STATE"\n'
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            env={**self.environment, "DESK_STATE": str(self._state), "DESK_REDIS_PORT": str(self.redis_port)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        told = done.stdout + done.stderr
        assert done.returncode == status, f"{command}\nended with status {done.returncode}, not {status}:\n{told}"
        if status == 0:
            pairs = (pair.partition("=") for pair in self._state.read_text().split("\0") if pair)
            self.environment = {
                name: value
                for name, _, value in pairs
                if name not in ("_", "SHLVL", "PWD", "OLDPWD") and not name.startswith("DESK_")
            }
        return told

    def start(self, command: str, settings: Mapping[str, str] | None = None) -> Process:
        """Start a command that runs until it is stopped, and wait until the program is ready."""
        program = shlex.split(command)[1]
        process = Process(
            program,
            ["bash", "-c", f"exec {self.edited(command)}"],
            log_path=self.log_folder / f"{program}.log",
            environment={**self.environment, **(settings or {})},
            working_folder=self.folder,
        )
        process.start()
        self._running.append(process)
        port = (settings or {}).get(METRICS_PORTS[program], self.environment[METRICS_PORTS[program]])
        self.wait(f"http://{LOOPBACK}:{port}/readyz", process)
        return process

    def stop(self) -> None:
        """Stop what runs, as an operator does. It must end well."""
        while self._running:
            process = self._running.pop()
            assert process.stop() == 0, f"{process.name} did not end well:\n{process.last_lines()}"

    def close(self) -> None:
        """Nothing stays behind, however the test ended."""
        for process in self._running:
            process.kill()
        if self.redis_port != self.own_redis_port:  # one that the page started, as a daemon
            ask(self.redis_port, b"SHUTDOWN NOSAVE\r\n")

    def wait(self, url: str, process: Process) -> None:
        """Wait until a program answers 200."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _answers(url):
            assert process.running, f"{process.name} ended:\n{process.last_lines()}"
            assert time.monotonic() < deadline, f"{process.name} is not ready:\n{process.last_lines()}"
            time.sleep(0.1)

    def _programs(self) -> Path:
        """A folder of the programs that lead to this program and to the test's servers."""
        programs.need("curl")
        own = self.folder.with_name(f"{self.folder.name}-bin")
        own.mkdir()
        lines = {
            "mediana": shlex.join([sys.executable, "-m", "streams.cli.main"]),
            "redis-cli": f'{shlex.quote(programs.need("redis-cli"))} -p "$DESK_REDIS_PORT"',
            "redis-server": f'{shlex.quote(redis_command())} --bind {LOOPBACK} --port "$DESK_REDIS_PORT"',
        }
        for name, line in lines.items():
            (own / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
            (own / name).chmod(0o755)
        return own


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
