"""Errors of `mediana ingest`, in words for the sender."""

from aiohttp import web

from schemas.limits import MAX_BODY_BYTES
from streams.http.errors import ApiError, Failures, Words
from streams.ingest.producer import NotSent, TooLarge
from streams.outage import Outage

OUTAGE = web.AppKey("outage", Outage)
"""Told when Kafka does not take what a request brings, and when it does."""

ANSWER_SECONDS = 30
"""Past this a request is given up: one that trickles in must not hold its place for ever."""

RETRY_AFTER_SECONDS = 5
"""When to come back after a 503."""


def explain(request: web.Request, error: Exception) -> ApiError | None:
    """What an exception means to the sender; nothing for one that nobody foresaw."""
    match error:
        case NotSent():
            request.app[OUTAGE].failed(f"{request.method} {request.rel_url.raw_path}: {error}")
            return ApiError(
                503,
                "kafka_unavailable",
                f"{error.problem}; nothing is taken as accepted.",
                "Send the same again: an event that arrives twice counts once.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        case TooLarge():
            return ApiError(413, "too_large", "This is longer than a record of Kafka may be.", "Shorten it.")
        case TimeoutError():
            return ApiError(
                408, "too_slow", "The request took too long to arrive.", "Send smaller requests, or over a better line."
            )
    return None


INGEST_FAILURES = Failures(
    answer_seconds=ANSWER_SECONDS,
    statuses={
        404: Words(
            "not_found",
            "There is nothing at this address.",
            "Events go to POST /v1/events, settings to PUT /v1/accounts/ACCOUNT, Chatwoot's to POST "
            "/v1/chatwoot/ACCOUNT.",
        ),
        405: Words(
            "method_not_allowed",
            "This address does not answer to that method.",
            "The header Allow names those it takes.",
        ),
        413: Words(
            "too_large", f"The body is longer than {MAX_BODY_BYTES} bytes.", "Send the events in several requests."
        ),
    },
    explain=explain,
    internal=Words("internal", "The request could not be handled.", "The server's log says why; tell its operator."),
)
