"""Rate limit: a token bucket per bearer token or address."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from streams.http.authorization import ACCESS, bearer_token
from streams.http.errors import ApiError, Handler
from streams.http.tokens import digest_of

BURST_SECONDS = 2.0
"""A caller who was quiet may ask this many seconds' worth at once: a page asks for several things when it opens."""

CALLERS = 10_000
"""Buckets kept at once, about 200 bytes each. Beyond that, the one unused the longest goes."""


class Rates:
    """The buckets. `per_second` is how fast each refills; `clock` gives seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second * BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Take one permission: 0 if there was one, else the seconds until there is."""
        now = self._clock()
        left, since = self._buckets.pop(caller, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._buckets[caller] = (left if wait else left - 1, now)
        if len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        return wait


def limiting(rates: Rates) -> Middleware:
    """The middleware: requests to the API beyond the rate are answered with 429 and when to come back."""

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/api/"):
            wait = rates.take(_caller(request))
            if wait:
                raise ApiError(
                    429,
                    "too_many_requests",
                    "This caller asks too often.",
                    "Wait as long as Retry-After says; …/events tells of new revisions without asking.",
                    retry_after_seconds=math.ceil(wait),
                )
        return await handler(request)

    return limit


def _caller(request: web.Request) -> str:
    """Whose bucket it is: the token's, or the address's. Guessed tokens count against the address they come from."""
    access, token = request.app[ACCESS], bearer_token(request)
    if access.needs_token and token is not None and access.opened_by(token):
        return f"token {digest_of(token)}"
    return f"address {request.remote}"
