"""Every error of every route in one JSON shape: `{"error": {"code", "message", "hint"}}`.

`code` is a stable word for programs, `message` says what happened, `hint` what to do about it. Nothing of the
program's inside (traces, addresses, queries) is ever sent; the log has it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import msgspec
from aiohttp import web
from redis.exceptions import RedisError

from aggregates.periods import RangeError
from streams.reader import NoReport

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ANSWER_SECONDS = 20
"""Past this a request is answered with 503: a Redis that hangs must not pile up requests."""

_deadline: ContextVar[asyncio.Timeout] = ContextVar("deadline")

_KNOWN_STATUSES = {
    404: ("not_found", "There is nothing at this address.", "The page is at /, the API under /api/v1/accounts."),
    405: ("method_not_allowed", "This address does not answer to that method.", "Use GET or HEAD."),
}


class ApiError(Exception):
    """A request that is answered with an error: its HTTP status and the three parts of the body.

    `retry_after_seconds` tells the client when to come back.
    """

    def __init__(
        self, status: int, code: str, message: str, hint: str, *, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure in the one shape; responses below 400 pass untouched."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS) as deadline:
            _deadline.set(deadline)
            return await handler(request)
    except ApiError as error:
        return _response(error)
    except NoReport as error:
        return _response(
            ApiError(
                404,
                "no_report",
                f"No report has been published for account {error.account_id!r}.",
                "Check the account's name; a report is published by `mediana snapshot`.",
            )
        )
    except RangeError as error:
        return _response(
            ApiError(400, "bad_range", f"The range cannot be answered: {error}.", "Change `from` and `to`.")
        )
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _from_http(error)
    except (RedisError, TimeoutError) as error:
        logger.warning("%s: Redis does not answer: %s", request.rel_url.raw_path, error)
        return _response(
            ApiError(
                503,
                "redis_unavailable",
                "The store of the reports does not answer.",
                "Try again in a moment; if it lasts, check that Redis runs and that MEDIANA_REDIS_URL names it.",
                retry_after_seconds=5,
            )
        )
    except Exception:
        # The outermost guard: whatever went wrong, the client gets the one shape and the log gets the trace.
        logger.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return _response(
            ApiError(500, "internal", "The report could not be read.", "The server's log says why; tell its operator.")
        )


def lift_deadline() -> None:
    """For a handler whose answer has begun and goes on for as long as the client likes: it is not cut off any more."""
    _deadline.get().reschedule(None)


def _from_http(error: web.HTTPException) -> web.Response:
    code, message, hint = _KNOWN_STATUSES.get(
        error.status, (f"http_{error.status}", f"{error.reason}.", "Check the request.")
    )
    response = _response(ApiError(error.status, code, message, hint))
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _response(error: ApiError) -> web.Response:
    body = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    response = web.Response(status=error.status, body=msgspec.json.encode(body), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="mediana"'
    return response
