"""Limits what `mediana ingest` holds in memory: bytes of bodies, and requests that wait for Kafka.

A request takes room only after its token was looked at, and only for what has arrived of it: a client that sends its
body slowly holds a few bytes and no place among those under way. No caller may take all of the room, so that one who
floods the service leaves something to the others. A webhook that is signed can be checked only once it is there: until
then all of these together have a quarter of the bytes.
"""

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from schemas.limits import HTTP_BODY_SECONDS, MAX_BODY_BYTES
from streams.http.errors import ApiError
from streams.ingest.errors import RETRY_AFTER_SECONDS

UNPROVEN: Final = "unproven"
"""The caller of a request whose right to send is known only once its body is there."""

_ONE_CALLER, _UNPROVEN = 3 / 4, 1 / 4


class Room:
    """Room for `requests` at once and the longest bodies of as many.

    `shared` says whether there may be several callers; one who is alone may have it all.
    """

    def __init__(self, requests: int, *, shared: bool, body_seconds: float = HTTP_BODY_SECONDS) -> None:
        self._requests, self._bytes = requests, requests * MAX_BODY_BYTES
        self._shared = shared
        self.body_seconds = body_seconds
        """How long a body may take to arrive."""
        self._requests_of: Counter[Hashable] = Counter()
        self._bytes_of: Counter[Hashable] = Counter()

    def of(self, caller: Hashable) -> "Place":
        """A place for one request of a caller; enter it, and what it took is given back at the end."""
        return Place(self, caller)

    @contextmanager
    def handling(self, caller: Hashable) -> Iterator[None]:
        """A place among the requests under way. Raises `ApiError` (503)."""
        requests = self._requests_of
        if requests.total() >= self._requests or requests[caller] >= self._part(self._requests, caller):
            raise _busy("Too many requests are under way")
        requests[caller] += 1
        try:
            yield
        finally:
            requests -= Counter({caller: 1})  # who has none left is not kept

    def hold(self, caller: Hashable, size: int) -> None:
        """Hold bytes of a caller. Raises `ApiError` (503)."""
        held, part = self._bytes_of, max(MAX_BODY_BYTES, self._part(self._bytes, caller))
        if held.total() + size > self._bytes or held[caller] + size > part:
            raise _busy("Too much is being sent at once")
        held[caller] += size

    def let_go(self, caller: Hashable, size: int) -> None:
        """The opposite."""
        self._bytes_of -= Counter({caller: size})

    def _part(self, whole: int, caller: Hashable) -> int:
        part = _UNPROVEN if caller == UNPROVEN else _ONE_CALLER if self._shared else 1
        return max(1, int(whole * part))


class Place:
    """What one request holds of a `Room`."""

    def __init__(self, room: Room, caller: Hashable) -> None:
        self._room = room
        self._caller = caller
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.let_go(self._caller, self._held)
        self._held = 0

    async def body(self, request: web.Request) -> bytes:
        """The body of a request, whole. Raises `ApiError` (413, 503) and `TimeoutError`."""
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length or 0)
        body = bytearray()
        async with asyncio.timeout(self._room.body_seconds):
            async for chunk in request.content.iter_any():
                if len(body) + len(chunk) > MAX_BODY_BYTES:
                    raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, len(body) + len(chunk))
                self._room.hold(self._caller, len(chunk))
                self._held += len(chunk)
                body += chunk
        return bytes(body)

    def handling(self, caller: Hashable | None = None) -> AbstractContextManager[None]:
        """A place among the requests under way, of `caller` if that is known only now. Raises `ApiError` (503)."""
        return self._room.handling(self._caller if caller is None else caller)


def _busy(problem: str) -> ApiError:
    return ApiError(
        503, "busy", f"{problem}; nothing was taken.", "Try again in a moment.", retry_after_seconds=RETRY_AFTER_SECONDS
    )
