"""Clients that are slow, silent, greedy or many, against the real servers over real sockets with short deadlines."""

import asyncio
import json
import resource
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from schemas.limits import HTTP_BODY_SECONDS, HTTP_HEADERS, HTTP_LINE_BYTES, MAX_BODY_BYTES
from streams.http.connections import BoundedRunner, Bounds, allowed_connections
from streams.http.tokens import Access
from streams.ingest import server as ingest
from streams.ingest.access import IngestAccess
from streams.ingest.errors import ANSWER_SECONDS
from streams.ingest.producer import PATIENCE_SECONDS
from streams.monitoring.probes import add_probes
from streams.monitoring.server import MetricsServer
from streams.web.server import create_web_app
from tests.support.fake_reader import FakeReader
from tests.unit.ingest.test_ingest import EVENT, SECRET, TOKEN, TOKENS, FakeSender

SHORT = Bounds(header_seconds=0.2, idle_seconds=0.6, unread_seconds=0.3, connections=50)
LONG_ENOUGH = 5.0
"""Far longer than any deadline here; a test that reaches it has found a connection that stays."""

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_PEERS: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
async def _hang_up() -> AsyncIterator[None]:
    """Close the clients' ends, however a test ended."""
    yield
    for writer in _PEERS:
        writer.transport.abort()
    await asyncio.sleep(0)
    _PEERS.clear()


@asynccontextmanager
async def listening(app: web.Application, bounds: Bounds = SHORT) -> AsyncIterator[int]:
    runner = BoundedRunner(app, bounds=bounds, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _ready() -> None:
    return None


@asynccontextmanager
async def page(bounds: Bounds = SHORT) -> AsyncIterator[int]:
    app = create_web_app(FakeReader("acme"))
    add_probes(app, _ready)
    async with listening(app, bounds) as port:
        yield port


@asynccontextmanager
async def metrics(bounds: Bounds = SHORT) -> AsyncIterator[int]:
    server = MetricsServer(CollectorRegistry(), "127.0.0.1", 0, bounds=bounds)
    port = await server.start()
    try:
        yield port
    finally:
        await server.stop()


@asynccontextmanager
async def taking(
    bounds: Bounds = SHORT, *, sender: FakeSender | None = None, requests: int = 64, body_seconds: float = 0.3
) -> AsyncIterator[int]:
    access = IngestAccess(Access(TOKENS), lambda: {"signed": [SECRET]})
    app = ingest.create_ingest_app(sender or FakeSender(), access, requests=requests, body_seconds=body_seconds)
    async with listening(app, bounds) as port:
        yield port


SERVERS = pytest.mark.parametrize("server", [page, metrics, taking])


async def opened(port: int, sent: bytes = b"") -> Peer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _PEERS.append(writer)
    writer.write(sent)
    return reader, writer


async def rest(peer: Peer) -> bytes:
    """What is still sent until the server closes the connection, which it does in time."""
    async with asyncio.timeout(LONG_ENOUGH):
        try:
            return await peer[0].read()
        except ConnectionError:
            return b""
        finally:
            peer[1].close()


async def answer(peer: Peer) -> tuple[int, Any]:
    """The status of an answer, and its body if that is JSON."""
    async with asyncio.timeout(LONG_ENOUGH):
        head = (await peer[0].readuntil(b"\r\n\r\n")).decode()
        lengths = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length")]
        body = await peer[0].readexactly(int(lengths[0])) if lengths else b""
    return int(head.split()[1]), json.loads(body) if "application/json" in head else body


async def asked(port: int, sent: bytes) -> tuple[int, Any]:
    peer = await opened(port, sent)
    try:
        return await answer(peer)
    finally:
        peer[1].close()


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")).encode()


def post(body: bytes, *headers: str, path: str = "/v1/events", length: int | None = None) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


AUTHORIZED = f"Authorization: Bearer {TOKEN}"


# --- headers and idle connections -------------------------------------------------------------------------------------


@SERVERS
@pytest.mark.parametrize("begun", [b"", b"GET", b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
async def test_a_header_that_does_not_end_ends_its_connection(server: Any, begun: bytes) -> None:
    async with server() as port:
        assert await rest(await opened(port, begun)) == b""


@SERVERS
async def test_a_header_that_trickles_ends_its_connection(server: Any) -> None:
    async with server() as port:
        reader, writer = await opened(port)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for each in b"GET /livez HTTP/1.1\r\nX: " + b"x" * 1000:
            if reader.at_eof():
                break
            try:
                writer.write(bytes([each]))
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0.02)
        assert loop.time() - began < LONG_ENOUGH
        writer.close()


@SERVERS
async def test_a_second_header_on_a_connection_has_the_same_deadline_and_a_rest_ends_too(server: Any) -> None:
    async with server() as port:
        for begun in (b"", b"GET /half"):
            peer = await opened(port, get("/livez"))
            assert (await answer(peer))[0] == 200
            peer[1].write(begun)
            assert await rest(peer) == b""


async def test_a_connection_that_is_used_stays() -> None:
    async with page() as port:
        peer = await opened(port)
        for _ in range(12):
            peer[1].write(get("/livez"))
            assert (await answer(peer))[0] == 200
            await asyncio.sleep(SHORT.idle_seconds / 6)


async def test_a_handler_that_takes_its_time_is_not_cut_off() -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(3 * SHORT.header_seconds)
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/", slow)
    async with listening(app) as port:
        assert await asked(port, get("/")) == (200, b"done")


@SERVERS
@pytest.mark.parametrize("begun", [b"", b"GET /half HTTP/1.1\r\n"])
async def test_many_silent_connections_keep_nobody_out(server: Any, begun: bytes) -> None:
    patient = SHORT._replace(header_seconds=60, idle_seconds=60)
    async with server(patient) as port:
        silent = [await opened(port, begun) for _ in range(SHORT.connections + 20)]
        assert (await asked(port, get("/livez")))[0] == 200
        assert len([each for each in silent if not each[0].at_eof()]) <= SHORT.connections


async def test_requests_that_are_being_answered_are_not_closed_to_make_room() -> None:
    go_on = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await go_on.wait()
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/", wait)
    async with listening(app, SHORT._replace(connections=3)) as port:
        busy = [await opened(port, get("/")) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert await rest(await opened(port, get("/"))) == b""
        go_on.set()
        assert [(await answer(each))[0] for each in busy] == [200, 200, 200]


def test_connections_leave_files_for_the_rest_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))

    def allowed(soft: int, hard: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        return allowed_connections()

    assert allowed(1024, 1024) == 512
    assert allowed(1024, 1_048_576) == 2000
    assert allowed(256, 300) == 44
    assert set_to == [(1024, 1024), (4256, 1_048_576), (300, 300)]


# --- requests that are too long or no requests ------------------------------------------------------------------------


@SERVERS
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (get("/" + "a" * 2 * HTTP_LINE_BYTES), 431, "headers_too_large"),
        (get("/livez", f"X: {'a' * 2 * HTTP_LINE_BYTES}"), 431, "headers_too_large"),
        (get("/livez", *(f"X-{n}: a" for n in range(HTTP_HEADERS + 1))), 431, "headers_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed_request"),
        (b"GET /livez HTTP/9.9\r\n\r\n", 400, "malformed_request"),
        (b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "malformed_request"),
    ],
)
async def test_what_is_no_request_is_told_so_in_the_one_shape(
    server: Any, sent: bytes, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with server() as port:
        peer = await opened(port, sent)
        got, body = await answer(peer)
        assert (got, body["error"]["code"]) == (status, code)
        assert list(body["error"]) == ["code", "message", "hint"]
        assert await rest(peer) == b""
    assert not caplog.records


# --- answers that nobody reads ----------------------------------------------------------------------------------------


class _Large:
    """A server of one answer that is far larger than what sockets buffer."""

    def __init__(self, size: int = 40 << 20) -> None:
        self.app = web.Application()
        self.app.router.add_get("/", self._answer)
        self._body = bytes(size)

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(body=self._body)


@pytest.mark.parametrize("headers", [(), ("Connection: close",)])
async def test_an_answer_that_nobody_reads_is_thrown_away(headers: tuple[str, ...]) -> None:
    async with listening(_Large().app) as port:
        wire = socket.create_connection(("127.0.0.1", port))
        wire.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(wire, get("/", *headers))
        await asyncio.sleep(0.3 + 4 * SHORT.unread_seconds)
        received = 0
        async with asyncio.timeout(LONG_ENOUGH):
            try:
                while got := await asyncio.get_running_loop().sock_recv(wire, 1 << 20):
                    received += len(got)
            except ConnectionError:
                pass
        assert received < 40 << 20
        wire.close()


async def test_an_answer_that_is_read_slowly_but_steadily_arrives_whole() -> None:
    size = 8 << 20
    async with listening(_Large(size).app) as port:
        reader, writer = await opened(port, get("/"))
        await reader.readuntil(b"\r\n\r\n")
        received = 0
        while received < size:
            received += len(await reader.readexactly(min(1 << 19, size - received)))
            await asyncio.sleep(SHORT.unread_seconds / 4)
        writer.close()
    assert received == size


# --- bodies -----------------------------------------------------------------------------------------------------------


async def test_slow_bodies_without_a_token_keep_nobody_out() -> None:
    async with taking(SHORT._replace(connections=500), requests=4, body_seconds=60) as port:
        silent = [await opened(port, post(b"[", length=1000)) for _ in range(100)]
        assert [(await answer(each))[0] for each in silent] == [401] * 100
        status, body = await asked(port, post(json.dumps(EVENT).encode(), AUTHORIZED))
        assert (status, body) == (200, {"accepted": 1, "rejected": []})


@pytest.mark.parametrize("headers", [(AUTHORIZED,), ("X-Chatwoot-Signature: sha256=0", "X-Chatwoot-Timestamp: 1")])
async def test_slow_bodies_that_may_be_right_keep_nobody_out(headers: tuple[str, ...]) -> None:
    path = "/v1/events" if headers == (AUTHORIZED,) else "/v1/chatwoot/signed"
    async with taking(SHORT._replace(connections=500), requests=4, body_seconds=60) as port:
        for _ in range(100):
            await opened(port, post(b"[" * 1000, *headers, path=path, length=2000))
        await asyncio.sleep(0.1)
        assert (await asked(port, post(json.dumps(EVENT).encode(), AUTHORIZED)))[0] == 200


async def test_a_webhook_without_any_signature_is_refused_before_its_body_comes() -> None:
    async with taking(body_seconds=60) as port:
        status, body = await asked(port, post(b"{", path="/v1/chatwoot/signed", length=1000))
    assert (status, body["error"]["code"]) == (401, "bad_signature")


async def test_a_body_that_does_not_come_is_refused() -> None:
    async with taking() as port:
        peer = await opened(port, post(b"[", AUTHORIZED, length=1000))
        status, body = await answer(peer)
        assert (status, body["error"]["code"]) == (408, "too_slow")
    assert HTTP_BODY_SECONDS + PATIENCE_SECONDS <= ANSWER_SECONDS


async def test_bodies_hold_no_more_memory_than_there_is_room_for() -> None:
    """Four may be under way: three MiB of bodies of one caller fit, the next is told to come back."""
    async with taking(SHORT._replace(unread_seconds=60), requests=4, body_seconds=60) as port:
        held = [
            await opened(port, post(b" " * (MAX_BODY_BYTES - 1), AUTHORIZED, length=MAX_BODY_BYTES)) for _ in range(3)
        ]
        await asyncio.sleep(0.3)
        status, body = await asked(port, post(b" " * 1000, AUTHORIZED))
        assert (status, body["error"]["code"]) == (503, "busy")
        event = json.dumps({**EVENT, "account_id": "other"}).encode()
        assert (await asked(port, post(event, "Authorization: Bearer upstream-token")))[0] == 200
        for each in held:
            each[1].close()
        await asyncio.sleep(0.1)
        assert (await asked(port, post(json.dumps(EVENT).encode(), AUTHORIZED)))[0] == 200


async def test_one_caller_never_has_all_places() -> None:
    sender = FakeSender()
    sender.may_go_on.clear()
    event = json.dumps(EVENT).encode()
    async with taking(sender=sender, requests=4) as port:
        waiting = [await opened(port, post(event, AUTHORIZED)) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert (await asked(port, post(event, AUTHORIZED)))[0] == 503
        other = await opened(port, post(event, "Authorization: Bearer upstream-token"))
        await asyncio.sleep(0.1)
        sender.may_go_on.set()
        assert [(await answer(each))[0] for each in (*waiting, other)] == [200] * 4


async def test_a_body_that_grows_when_it_is_decompressed_is_refused() -> None:
    bomb = zlib.compress(b" " * (200 << 20), 9)
    assert len(bomb) < MAX_BODY_BYTES
    async with taking(body_seconds=10) as port:
        status, body = await asked(port, post(bomb, AUTHORIZED, "Content-Encoding: deflate"))
    assert (status, body["error"]["code"]) == (413, "too_large")
