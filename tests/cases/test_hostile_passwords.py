"""No part of a password is shown by any command, whatever its characters, the level of the log, and the servers.

Every password is made of parts that stand nowhere else, joined by characters that addresses, shells, JSON and Python
treat each in its own way. Whatever is printed is searched for every part.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote

import pytest

from streams.cli.main import COMMANDS
from tests.cases.test_cases import FILES

PARTS = ("Qzaxv", "Wkcyb", "Ejdzg", "Rvfxh", "Tqgyj", "Yxhzk", "Ufjqw", "Ivkxz", "Ozlqv", "Pxmjz", "Aqnvk", "Sjbxw")
HOSTILE = "%@:/\"'\\#?ñ\n"
PASSWORD = "".join(part + char for part, char in zip(PARTS, HOSTILE + " ", strict=True)) + "Dwzqx"
SHOWN_BY = (*PARTS, "Dwzqx")

COMMAND_LINES: dict[str, list[list[str]]] = {
    "worker": [["worker"]],
    "snapshot": [["snapshot"], ["snapshot", "--watch"]],
    "serve": [["serve"]],
    "ingest": [["ingest"]],
    "import": [
        ["import", str(FILES / "15-sep-line.csv"), "--mapping", str(FILES / "15-sep-line.toml")],
        ["import", str(FILES / "02-chatwoot-native-app-reply.json"), "--format", "chatwoot", "--account", "acme"],
    ],
    "report": [["report", "--account", "acme", "--from", "2026-11-20", "--to", "2026-11-21"]],
    "list": [["list", "response", "--account", "acme", "--from", "2026-11-20", "--to", "2026-11-21"]],
    "replay": [["replay", str(FILES / "20-bom-events.jsonl")]],
    "explain": [["explain", "--account", "acme", "--contact", "c"]],
    "business-time": [["business-time"]],
    "simulate": [["simulate", "--no-live", "--days", "1", "--accounts", "1", "--contacts-per-day", "1"]],
    "topics": [["topics", "create"], ["topics", "describe"], ["topics", "check"]],
    "dead-letters": [["dead-letters", "list"], ["dead-letters", "replay"]],
    "rebuild": [["rebuild", "--into", "other"]],
    "namespace": [["namespace", "drop", "other", "--yes"]],
    "token": [["token", "list"]],
    "check": [["check"], ["check", "--json"]],
}

# What runs on: it is looked at for so long, then stopped.
PATIENCE_SECONDS = 10.0
AT_ONCE = 4


class _Server:
    """A server in a thread of its own, on a free port of this machine."""

    def __init__(self) -> None:
        self.port = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._session, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
                while answer := await self._answer(reader):
                    writer.write(answer)
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        raise NotImplementedError


class EchoingRedis(_Server):
    """Answers each command with an error that repeats it, as old servers and proxies do."""

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(65_536)
        told = data.replace(b"\r\n", b" ").replace(b"\n", b" ")
        return b"-ERR unknown command, with args beginning with: " + told + b"\r\n" if data else b""


class RefusingBroker(_Server):
    """A Kafka that knows the mechanism PLAIN, refuses every user, and repeats in its words what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.logins = 0

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        request = await reader.readexactly(size)
        key, _, correlation = struct.unpack(">hhi", request[:8])
        (client,) = struct.unpack(">h", request[8:10])
        body = request[10 + max(client, 0) :]
        match key:
            case 18:  # ApiVersions: itself, SaslHandshake, SaslAuthenticate, Metadata
                known = [(18, 0, 0), (17, 0, 1), (36, 0, 0), (3, 0, 1)]
                answer = struct.pack(">hi", 0, len(known)) + b"".join(struct.pack(">hhh", *each) for each in known)
            case 17:
                answer = struct.pack(">hih", 0, 1, 5) + b"PLAIN"
            case _:  # SaslAuthenticate
                self.logins += 1
                words = b"no such user: " + body[4:].replace(b"\x00", b" ")
                answer = struct.pack(">hh", 58, len(words)) + words + struct.pack(">i", 0)
        return struct.pack(">ii", len(answer) + 4, correlation) + answer


class Servers(NamedTuple):
    redis: EchoingRedis
    broker: RefusingBroker
    closed: int
    """A port where nobody listens."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with EchoingRedis() as redis, RefusingBroker() as broker, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Servers(redis, broker, taken.getsockname()[1])


def environment(redis_url: str, kafka_port: int, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
    return kept | {
        "MEDIANA_KAFKA_BOOTSTRAP": f"127.0.0.1:{kafka_port}",
        "MEDIANA_REDIS_URL": redis_url,
        "MEDIANA_REDIS_TIMEOUT_SECONDS": "1",
        "MEDIANA_HTTP_PORT": "0",
        "MEDIANA_INGEST_PORT": "0",
        "MEDIANA_METRICS_PORT": "0",
        "MEDIANA_SNAPSHOTTER_METRICS_PORT": "0",
        "MEDIANA_PAGE_METRICS_PORT": "0",
        "MEDIANA_INGEST_METRICS_PORT": "0",
        "PYTHONFAULTHANDLER": "1",
        **more,
    }


def printed(command: list[str], environ: dict[str, str], patience_seconds: float = PATIENCE_SECONDS) -> str:
    """Everything that a command prints before it ends, or before it is stopped."""
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "default", "-m", "streams.cli.main", *command],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            out, _ = process.communicate(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                out, _ = process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
    return out.decode(errors="replace")


def all_printed(
    runs: Sequence[tuple[list[str], dict[str, str]]], patience_seconds: float = PATIENCE_SECONDS
) -> list[str]:
    """What each of several commands prints, a few of them at a time: most only wait."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda run: printed(run[0], run[1], patience_seconds), runs))


def parts_in(text: str) -> list[str]:
    return [part for part in SHOWN_BY if part.lower() in text.lower()]


def test_every_command_is_driven() -> None:
    assert set(COMMAND_LINES) == set(COMMANDS)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_command_shows_any_part_of_a_password(log_format: str, servers: Servers) -> None:
    # Both servers repeat what they are told; every secret is hostile.
    environ = environment(
        f"redis://user:{quote(PASSWORD, safe='')}@127.0.0.1:{servers.redis.port}/0",
        servers.broker.port,
        MEDIANA_KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        MEDIANA_KAFKA_SASL_USERNAME="user",
        MEDIANA_KAFKA_SASL_PASSWORD=PASSWORD,
        MEDIANA_REDIS_SENTINEL_PASSWORD=PASSWORD,
        MEDIANA_KAFKA_SSL_KEY_PASSWORD=PASSWORD,
        MEDIANA_LOG_LEVEL="debug",
        MEDIANA_LOG_FORMAT=log_format,
    )
    lines = [line for lines in COMMAND_LINES.values() for line in lines]
    for line, text in zip(lines, all_printed([(line, environ) for line in lines]), strict=True):
        assert parts_in(text) == [], (line, text[:4000])


SOME_COMMANDS = (["check"], ["worker"], COMMAND_LINES["report"][0], ["topics", "check"])


def test_servers_that_are_away_make_nobody_show_it(servers: Servers) -> None:
    url = f"redis://user:{quote(PASSWORD, safe='')}@127.0.0.1:{servers.closed}/0"
    more = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_USERNAME": "user", "SASL_PASSWORD": PASSWORD}
    environ = environment(url, servers.closed, **{f"MEDIANA_KAFKA_{name}": value for name, value in more.items()})
    commands = (["check"], ["topics", "check"], ["snapshot"], COMMAND_LINES["import"][0])
    for text in all_printed([(command, environ) for command in commands]):
        assert parts_in(text) == []


def test_the_broker_was_told_the_password(servers: Servers) -> None:
    url = f"redis://user:{quote(PASSWORD, safe='')}@127.0.0.1:{servers.redis.port}/0"
    more = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_USERNAME": "user", "SASL_PASSWORD": PASSWORD}
    before = servers.broker.logins
    environ = environment(url, servers.broker.port, **{f"MEDIANA_KAFKA_{name}": value for name, value in more.items()})
    text = printed(["check"], environ)
    assert servers.broker.logins > before
    assert "no such user" in text, "the broker's own words are shown"
    assert "unknown command" in text, "and those of Redis"
    assert parts_in(text) == []


@pytest.mark.parametrize("char", "/?#\n")
def test_a_password_that_is_not_escaped_names_the_setting_and_shows_none_of_it(char: str, servers: Servers) -> None:
    runs = []
    for password in (f"Qzaxv{char}Wkcyb", f"6379{char}Wkcyb", f"Qzaxv{char}6380"):
        url = f"redis://:{password}@127.0.0.1:{servers.closed}/0"
        environ = environment(url, servers.closed, MEDIANA_LOG_LEVEL="debug")
        runs += [(command, environ) for command in SOME_COMMANDS]
    for (command, _), text in zip(runs, all_printed(runs, 60), strict=True):  # each ends by itself
        assert "MEDIANA_REDIS_URL" in text, command
        assert parts_in(text) == [], (command, text[:4000])
        assert "MEDIANA_REDIS_PASSWORD" in text, f"{command} says what to do"


def test_a_settings_file_that_is_broken_shows_none_of_it(tmp_path: Path, servers: Servers) -> None:
    file = tmp_path / "mediana.toml"
    file.write_text('redis_password = "Qzaxv"Wkcyb"\n')
    text = printed(["check"], environment("redis://127.0.0.1:1/0", servers.closed, MEDIANA_CONFIG=str(file)))
    assert "is not TOML" in text
    assert parts_in(text) == []
