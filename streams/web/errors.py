"""What goes wrong when reports are read, in words for whoever asked: the page's part of `streams.http.errors`."""

import logging

from aiohttp import web
from redis.exceptions import RedisClusterException, RedisError

from aggregates.comparison import ComparisonRefused
from aggregates.filters import FilterError
from aggregates.lists import ListRefused
from aggregates.periods import RangeError
from streams.http.errors import ApiError, Failures, Words
from streams.http.metrics import PAGE_METRICS
from streams.snapshots.reader import MissingPart, NoReport
from streams.web.reader_protocol import OUTAGE

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 20
"""Past this a request is answered with 503: a Redis that hangs must not pile up requests."""


def explain(request: web.Request, error: Exception) -> ApiError | None:
    """What an exception means to the client; nothing for one that nobody foresaw."""
    match error:
        case NoReport():
            return ApiError(
                404,
                "no_report",
                f"No report has been published for account {error.account_id!r}.",
                "Check the account's name; a report is published by `mediana snapshot`.",
            )
        case MissingPart():
            logger.error("%s: %s", request.rel_url.raw_path, error)
            if PAGE_METRICS in request.app:
                request.app[PAGE_METRICS].missing_parts.inc()
            return ApiError(
                503,
                "part_missing",
                "A part of this report is missing in the store; its numbers are not known.",
                "The next round of the snapshotter makes it again; `mediana snapshot` does so at once.",
                retry_after_seconds=60,
            )
        case ComparisonRefused():
            return ApiError(
                422,
                "bad_comparison",
                f"There is no such comparison: {error}.",
                "Ask for another one with `compare`, or for a range that it fits.",
            )
        case ListRefused():
            return ApiError(
                422, "list_refused", f"The list cannot be given: {error}.", "Leave out what does not apply to it."
            )
        case RangeError():
            return ApiError(400, "bad_range", f"The range cannot be answered: {error}.", "Change `from` and `to`.")
        case FilterError():
            return ApiError(
                400,
                "too_many_values",
                f"The filters ask for too much: {error}.",
                "Ask for fewer values, in several requests.",
            )
        case RedisError() | RedisClusterException() | TimeoutError():
            problem = str(error) or type(error).__name__
            request.app[OUTAGE].failed(f"{request.rel_url.raw_path}: Redis does not answer: {problem}")
            return ApiError(
                503,
                "redis_unavailable",
                "The store of the reports does not answer.",
                "Try again in a moment; if it lasts, check that Redis runs and that MEDIANA_REDIS_URL names it.",
                retry_after_seconds=5,
            )
    return None


PAGE_FAILURES = Failures(
    answer_seconds=ANSWER_SECONDS,
    statuses={
        404: Words(
            "not_found", "There is nothing at this address.", "The page is at /, the API under /api/v1/accounts."
        ),
        405: Words("method_not_allowed", "This address does not answer to that method.", "Use GET or HEAD."),
    },
    explain=explain,
    internal=Words("internal", "The report could not be read.", "The server's log says why; tell its operator."),
)
