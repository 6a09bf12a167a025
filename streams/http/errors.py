"""Errors of all HTTP services in one JSON shape: `{"error": {"code", "message", "hint"}}`.

`code` is a stable word for programs, `message` says what happened, `hint` what to do about it. Nothing of the
program's inside (traces, addresses, queries) is ever sent; the log has it. What differs from service to service, the
words and the failures it knows, is its `Failures`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_deadline: ContextVar[asyncio.Timeout] = ContextVar("deadline")


class ApiError(Exception):
    """A request that is answered with an error: its HTTP status and the three parts of the body.

    `retry_after_seconds` tells the client when to come back, `beside` is what else belongs into the body.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str,
        *,
        retry_after_seconds: int | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds
        self.beside = beside or {}


class Words(NamedTuple):
    """The three parts of an error's body."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Failures:
    """How one service answers what goes wrong in it.

    `answer_seconds` is how long a request may take; past it, `explain` is asked about a `TimeoutError`. `statuses` has
    the words for what the web server itself refuses. `explain` says what an exception means to the client, and logs
    what it must not be told; nothing for one it does not know, which is a fault of ours and answered with `internal`.
    """

    answer_seconds: float
    statuses: Mapping[int, Words]
    explain: Callable[[web.Request, Exception], ApiError | None]
    internal: Words


def errors_as_json(failures: Failures) -> Middleware:
    """The middleware that answers every failure in the one shape; responses below 400 pass untouched."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(failures.answer_seconds) as deadline:
                _deadline.set(deadline)
                return await handler(request)
        except ApiError as error:
            return error_response(error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _from_http(error, failures.statuses)
        except ConnectionError:
            raise  # the client left while it was answered
        except Exception as error:
            explained = failures.explain(request, error)
            if explained is None:
                # The outermost guard: whatever went wrong, the client gets the one shape and the log gets the trace.
                logger.exception("%s %s failed", request.method, request.rel_url.raw_path)
                explained = ApiError(500, *failures.internal)
            return error_response(explained)

    return answer


def lift_deadline() -> None:
    """For a handler whose answer has begun and goes on for as long as the client likes: it is not cut off any more."""
    _deadline.get().reschedule(None)


def error_response(error: ApiError) -> web.Response:
    """The answer to a request that failed."""
    body = {**error.beside, "error": {"code": error.code, "message": error.message, "hint": error.hint}}
    response = web.Response(status=error.status, body=msgspec.json.encode(body), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="mediana"'
    return response


def _from_http(error: web.HTTPException, statuses: Mapping[int, Words]) -> web.Response:
    unknown = Words(f"http_{error.status}", f"{error.reason}.", "Check the request.")
    response = error_response(ApiError(error.status, *statuses.get(error.status, unknown)))
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response
