"""Every error of `mediana ingest` in the one JSON shape: `{"error": {"code", "message", "hint"}}`."""

import asyncio
import logging
from typing import Any

import msgspec
from aiohttp import web

from streams.accepting import MAX_BODY_BYTES
from streams.sending import NotSent, TooLarge
from streams.web.errors import ApiError, Handler

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 30
"""Past this a request is given up: one that trickles in must not hold its place for ever."""

_KNOWN_STATUSES = {
    404: (
        "not_found",
        "There is nothing at this address.",
        "Events go to POST /v1/events, settings to PUT /v1/accounts/ACCOUNT, Chatwoot's to POST /v1/chatwoot/ACCOUNT.",
    ),
    405: (
        "method_not_allowed",
        "This address does not answer to that method.",
        "The header Allow names those it takes.",
    ),
    413: ("too_large", f"The body is longer than {MAX_BODY_BYTES} bytes.", "Send the events in several requests."),
}


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure in the one shape; responses below 400 pass untouched."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await handler(request)
    except ApiError as error:
        return error_response(error)
    except NotSent as error:
        logger.warning("%s %s: %s", request.method, request.path, error)
        message = f"{error.problem}; nothing is taken as accepted."
        return error_response(
            ApiError(503, "kafka_unavailable", message, "Send the same again: an event that arrives twice counts once.")
        )
    except TooLarge:
        return error_response(
            ApiError(413, "too_large", "This is longer than a record of Kafka may be.", "Shorten it.")
        )
    except TimeoutError:
        return error_response(
            ApiError(
                408, "too_slow", "The request took too long to arrive.", "Send smaller requests, or over a better line."
            )
        )
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code, message, hint = _KNOWN_STATUSES.get(
            error.status, (f"http_{error.status}", f"{error.reason}.", "Check the request.")
        )
        response = error_response(ApiError(error.status, code, message, hint))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except ConnectionError:
        raise  # the sender left while it was answered
    except Exception:
        # The outermost guard: whatever went wrong, the client gets the one shape and the log gets the trace.
        logger.exception("%s %s failed", request.method, request.path)
        return error_response(
            ApiError(
                500, "internal", "The request could not be handled.", "The server's log says why; tell its operator."
            )
        )


def error_response(error: ApiError, **beside: Any) -> web.Response:
    """The answer to a request that failed, with what else belongs into its body."""
    body = {**beside, "error": {"code": error.code, "message": error.message, "hint": error.hint}}
    response = web.Response(status=error.status, body=msgspec.json.encode(body), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="mediana"'
    if error.status == 503:
        response.headers["Retry-After"] = "5"
    return response
