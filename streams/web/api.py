"""The JSON API: health, accounts, the newest document as published, and the metrics of any range and filter.

Everything is read from published snapshots. A document or an answer is tagged with its snapshot's revision, so that
a client that has it is told so (304) instead of being sent it again.
"""

from datetime import date
from typing import Any, Protocol

import msgspec
from aiohttp import web
from msgspec import Struct

from aggregates.filters import Filters
from aggregates.periods import Period
from streams.reader import Answer, NoReport
from streams.web.access import Access
from streams.web.errors import ApiError
from streams.web.query import DIMENSIONS, parse_metrics_query


class Reader(Protocol):
    """What the API needs of `streams.reader.SnapshotReader`; every method raises `RedisError` when Redis is gone."""

    async def accounts(self) -> list[str]:
        """The accounts with a published report."""

    async def report(self, account_id: str) -> bytes | None:
        """The newest document, as published."""

    async def metrics(self, account_id: str, start: date, end: date, filters: Filters) -> Answer:
        """The metrics of `start` to `end`, both included. Raises `NoReport` and `RangeError`."""


READER = web.AppKey("reader", Reader)
ACCESS = web.AppKey("access", Access)


class _Days(Struct, rename={"start": "from", "end": "to"}):
    start: date
    end: date


class _Document(Struct):
    """The parts of a published document that the API itself reads."""

    revision: int
    periods: dict[str, _Days]


_decode_document = msgspec.json.Decoder(_Document).decode


def add_api(app: web.Application) -> None:
    """Add the API's routes to an application that holds `READER` and `ACCESS`."""
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/api/v1/accounts", accounts)
    app.router.add_get("/api/v1/accounts/{account_id}/report", report)
    app.router.add_get("/api/v1/accounts/{account_id}/metrics", metrics)


async def healthz(request: web.Request) -> web.Response:
    """200 when Redis answers (else 503), and whether any report is published yet; open to all, names no account."""
    published = bool(await request.app[READER].accounts())
    return _json({"status": "ok", "report_published": published})


async def accounts(request: web.Request) -> web.Response:
    """The accounts that have a report and that the caller may read."""
    opened = _opened(request)
    names = await request.app[READER].accounts()
    return _json({"accounts": [{"account_id": name} for name in sorted(names) if opened is None or name in opened]})


async def report(request: web.Request) -> web.StreamResponse:
    """The newest document of an account, byte for byte as published."""
    account_id = _authorized_account(request)
    _refuse_parameters(request)
    document = await request.app[READER].report(account_id)
    if document is None:
        raise NoReport(account_id)
    return _tagged(request, _decode_document(document).revision, document)


async def metrics(request: web.Request) -> web.StreamResponse:
    """The metrics of a range or preset under filters, with the previous period's beside them."""
    account_id = _authorized_account(request)
    query = parse_metrics_query(request.query)
    days = query.days or await _preset(request.app[READER], account_id, query.preset)
    answer = await request.app[READER].metrics(account_id, days.start, days.end, query.filters)
    filters: dict[str, Any] = {name: getattr(query.filters, name) for name in DIMENSIONS}
    body = {
        "account_id": account_id,
        **_ends(answer.period),
        "timezone": answer.timezone,
        "revision": answer.revision,
        "as_of": answer.as_of,
        "complete": answer.complete,
        "filters": {name: values for name, values in filters.items() if values is not None},
        "metrics": answer.metrics,
        "previous": {**_ends(answer.period.previous), "metrics": answer.previous},
    }
    return _tagged(request, answer.revision, msgspec.json.encode(body))


def authorize(request: web.Request, account_id: str) -> None:
    """Let the request through if its token opens the account, or if no tokens are in force. Raises `ApiError`.

    An account that does not exist and one that the token does not open are told apart by nobody.
    """
    opened = _opened(request)
    if opened is not None and account_id not in opened:
        raise ApiError(403, "forbidden", "This token does not open this account.", "Use a token of the account.")


def _authorized_account(request: web.Request) -> str:
    account_id = request.match_info["account_id"]
    authorize(request, account_id)
    return account_id


def _opened(request: web.Request) -> frozenset[str] | None:
    """The accounts open to this request; `None` means all. Raises `ApiError` without a token that opens any."""
    access = request.app[ACCESS]
    if not access.needs_token:
        return None
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(
            401, "token_needed", "A token is needed.", "Send it as the header `Authorization: Bearer TOKEN`."
        )
    opened = access.opened_by(token.strip())
    if not opened:
        raise ApiError(401, "token_unknown", "This token opens no account.", "Check the token, or ask for a new one.")
    return opened


async def _preset(reader: Reader, account_id: str, name: str | None) -> Period:
    """The days of a preset as the newest snapshot has them, so that every surface means the same days."""
    document = await reader.report(account_id)
    if document is None:
        raise NoReport(account_id)
    periods = _decode_document(document).periods
    days = periods.get(name or "")
    if days is None:
        raise ApiError(400, "unknown_period", f"There is no period {name!r}.", f"Known: {', '.join(periods)}.")
    return Period(days.start, days.end)


def _ends(days: Period) -> dict[str, date]:
    return {"from": days.start, "to": days.end}


def _refuse_parameters(request: web.Request) -> None:
    for name in request.query:
        hint = "The report takes no parameters; ranges and filters belong to …/metrics."
        raise ApiError(400, "unknown_parameter", f"Unknown parameter {name!r}.", hint)


def _json(body: object) -> web.Response:
    response = web.Response(body=msgspec.json.encode(body), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _tagged(request: web.Request, revision: int, body: bytes) -> web.Response:
    """The body under its revision's tag, or 304 if the caller has that revision already."""
    known = request.if_none_match or ()
    if any(tag.value in (str(revision), "*") for tag in known):
        response = web.Response(status=304)
    else:
        response = web.Response(body=body, content_type="application/json")
    response.etag = str(revision)
    # Ask again each time (the tag makes that cheap), and keep no copy where other people's requests pass.
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Authorization"
    return response
