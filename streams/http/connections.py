"""Deadlines and a maximum number of connections for the HTTP servers.

aiohttp alone waits for the rest of a header as long as for the next request, waits for ever for a client that reads
its answer slowly, and takes as many connections as come. Every server of ours is run by a `BoundedRunner`, which looks
at each connection about once a second:

- a header must be complete `header_seconds` after it, or the connection, began;
- between two requests a connection may rest for `idle_seconds`;
- a client must take its answer: some of it every `unread_seconds`;
- past `connections`, the one that has waited longest without a request is closed to make room.

The time for a body, and for an answer to be made, is the handlers' matter.
"""

import asyncio
import resource
import signal
from collections.abc import Awaitable
from typing import Any, NamedTuple, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

from schemas.limits import (
    HTTP_CONNECTIONS,
    HTTP_HEADER_SECONDS,
    HTTP_HEADERS,
    HTTP_IDLE_SECONDS,
    HTTP_LINE_BYTES,
    HTTP_UNREAD_SECONDS,
)
from streams.http.access_log import AccessLogger
from streams.http.errors import ApiError, error_response
from streams.http.guards import SECURITY_HEADERS

LOOK_SECONDS = 1.0
"""How often connections are looked at; deadlines are kept to this precision."""

PROGRESS_BYTES = 64 * 1024
"""What a client must take of a long answer in `unread_seconds`."""

LINGERING_SECONDS = 5.0
"""How long the rest of a body is read and thrown away after its request was answered with an error."""

_OTHER_FILES = 256
"""Open files that are left to everything that is not a client's connection."""


class Bounds(NamedTuple):
    """What a server allows; the defaults are those of `schemas.limits`."""

    header_seconds: float = HTTP_HEADER_SECONDS
    idle_seconds: float = HTTP_IDLE_SECONDS
    unread_seconds: float = HTTP_UNREAD_SECONDS
    connections: int = HTTP_CONNECTIONS


class _Connection(web.RequestHandler):
    """One client. The server looks at it from time to time (`is_overdue`)."""

    __slots__ = ("_header_since", "_idle_since", "_seen_requests", "_unsent", "_unsent_since", "_wire")

    def __init__(self, server: "_Server", **options: Any) -> None:
        super().__init__(server, **options)
        self._wire: asyncio.Transport | None = None
        self._idle_since = self._loop.time()
        self._header_since: float | None = self._idle_since
        self._seen_requests = 0
        self._unsent = 0
        self._unsent_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # aiohttp forgets the transport when it closes it, though what is unsent keeps it open.
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._request_count != self._seen_requests:
            self._seen_requests, self._header_since = self._request_count, None
            self._idle_since = self._loop.time()
        elif data and self.is_waiting and self._header_since is None:
            self._header_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent = 0  # most of it was taken: what is unsent is looked at anew

    @property
    def is_waiting(self) -> bool:
        """Whether no request is there: neither being answered nor its body being read."""
        return not self._messages and self._waiter is not None and not self._waiter.done()

    @property
    def waiting_since(self) -> float:
        """When it began to wait for a request, while it `is_waiting`."""
        return self._idle_since

    def is_overdue(self, now: float, bounds: Bounds) -> bool:
        """Whether the client has taken longer than it may, by what was seen of it so far."""
        return self._is_unread(now, bounds) or self._is_late(now, bounds)

    def drop(self) -> None:
        """Close the connection at once; what is unsent is thrown away."""
        if self._wire is not None:
            self._wire.abort()

    def _is_unread(self, now: float, bounds: Bounds) -> bool:
        unsent = 0 if self._wire is None else self._wire.get_write_buffer_size()
        if not unsent or not self._unsent or unsent <= self._unsent - PROGRESS_BYTES:
            self._unsent, self._unsent_since = unsent, now
            return False
        return now - self._unsent_since > bounds.unread_seconds

    def _is_late(self, now: float, bounds: Bounds) -> bool:
        if not self.is_waiting:
            self._idle_since = now
            return False
        if self._header_since is not None and now - self._header_since > bounds.header_seconds:
            return True
        return now - self._idle_since > bounds.idle_seconds

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not a request that can be read in the shape of all errors; its words stay out of the log."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun, another one cannot follow")
        response = error_response(_explained(exc))
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response


def _explained(error: HttpProcessingError) -> ApiError:
    if isinstance(error, LineTooLong) or ("headers" in error.message.lower() and "too many" in error.message.lower()):
        return ApiError(
            431,
            "headers_too_large",
            f"The address or a header is longer than {HTTP_LINE_BYTES} bytes, or there are more than {HTTP_HEADERS}.",
            "Send fewer filters or a shorter header.",
        )
    if isinstance(error, BadHttpMessage):
        return ApiError(400, "malformed_request", "This is not a request of HTTP.", "Speak HTTP/1.1 to this port.")
    return ApiError(400, "malformed_request", "The request cannot be read.", "Send it anew, in one piece.")


class _Server(web.Server):
    """aiohttp's server, with an eye on its connections while it has any."""

    def __init__(self, handler: Any, *, bounds: Bounds, **options: Any) -> None:
        super().__init__(handler, **options)
        self._bounds = bounds
        self._options = {**options, "loop": self._loop}
        self._options.pop("request_factory")
        self._open: dict[_Connection, None] = {}
        shortest = min(bounds.header_seconds, bounds.idle_seconds, bounds.unread_seconds)
        self._look_seconds = min(LOOK_SECONDS, shortest / 4)
        self._look_handle: asyncio.TimerHandle | None = None

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, **self._options)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        connection = cast("_Connection", handler)
        self._open[connection] = None
        if len(self._open) > self._bounds.connections:
            self._make_room(connection)
        if self._look_handle is None:
            self._look_handle = self._loop.call_later(self._look_seconds, self._look)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._open.pop(cast("_Connection", handler), None)
        super().connection_lost(handler, exc)

    def _make_room(self, newcomer: _Connection) -> None:
        waiting = [each for each in self._open if each is not newcomer and each.is_waiting]
        victim = min(waiting, key=lambda each: each.waiting_since, default=newcomer)
        del self._open[victim]
        victim.drop()

    def _look(self) -> None:
        self._look_handle = None
        now = self._loop.time()
        for connection in [each for each in self._open if each.is_overdue(now, self._bounds)]:
            connection.drop()
        if self._open:
            self._look_handle = self._loop.call_later(self._look_seconds, self._look)


class BoundedRunner(web.AppRunner):
    """Runs an application as aiohttp's runner does, within bounds."""

    __slots__ = ("_bounds",)

    def __init__(self, app: web.Application, *, bounds: Bounds | None = None, **options: Any) -> None:
        super().__init__(
            app,
            lingering_time=LINGERING_SECONDS,
            max_line_size=HTTP_LINE_BYTES,
            max_field_size=HTTP_LINE_BYTES,
            max_headers=HTTP_HEADERS,
            **options,
        )
        self._bounds = bounds or Bounds(connections=allowed_connections())

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            bounds=self._bounds,
            request_factory=made.request_factory,
            keepalive_timeout=self._bounds.idle_seconds,
            **self._kwargs,
        )


def allowed_connections() -> int:
    """How many connections a server may have: fewer than `HTTP_CONNECTIONS` where open files are few.

    The process asks for as many open files as it may have, once; it never has fewer afterwards.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * HTTP_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return HTTP_CONNECTIONS
    return max(1, min(HTTP_CONNECTIONS, soft - _OTHER_FILES, soft // 2))


def serve(app: Awaitable[web.Application], host: str, port: int, bounds: Bounds | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then end what is under way. Raises `OSError` when it cannot listen there."""
    asyncio.run(_serve(app, host, port, bounds))


async def _serve(app: Awaitable[web.Application], host: str, port: int, bounds: Bounds | None) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    runner = BoundedRunner(await app, bounds=bounds, access_log_class=AccessLogger)
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        await told_to_stop.wait()
    finally:
        await runner.cleanup()
