"""The API's routes: health, accounts, the newest document as published, the metrics of any range and filter.

Everything is read from published snapshots. A document or an answer is tagged with its snapshot's revision, so that
a client that has it is told so (304) instead of being sent it again.
"""

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from aggregates.periods import Period
from aggregates.rows import ROW_TABLES
from streams.http.authorization import authorized_account, opened_accounts
from streams.http.errors import ApiError
from streams.http.etags import is_known, tag_of, tagged
from streams.snapshots.reader import Answer, NoReport
from streams.web.csv import TABLES, Names, to_csv
from streams.web.downloads import DOWNLOADS, Downloads, send_rows
from streams.web.event_stream import events
from streams.web.query import DIMENSIONS, MetricsQuery, parse_metrics_query, refuse_parameters, single
from streams.web.reader_protocol import READER, Reader

_Table = TypeVar("_Table")

_OPENAPI = web.AppKey("openapi", bytes)


class _Days(Struct, rename={"start": "from", "end": "to"}):
    start: date
    end: date


class _Team(Struct):
    groups: dict[str, str | None] = {}
    advisors: dict[str, str | None] = {}


class _Document(Struct):
    """The parts of a published document that the API itself reads."""

    revision: int
    periods: dict[str, _Days]
    account: _Team


_decode_document = msgspec.json.Decoder(_Document).decode


def add_api(app: web.Application) -> None:
    """Add the API's routes to an application that holds `READER`, `ACCESS` and `REVISIONS`."""
    app[DOWNLOADS] = Downloads()
    app[_OPENAPI] = (Path(__file__).parent / "openapi.json").read_bytes()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/api/v1/accounts", accounts)
    app.router.add_get("/api/v1/accounts/{account_id}/report", report)
    app.router.add_get("/api/v1/accounts/{account_id}/metrics", metrics)
    app.router.add_get("/api/v1/accounts/{account_id}/metrics.csv", metrics_csv)
    app.router.add_get("/api/v1/accounts/{account_id}/rows.csv", rows_csv)
    app.router.add_get("/api/v1/accounts/{account_id}/events", events, allow_head=False)
    app.router.add_get("/api/v1/openapi.json", openapi)


async def healthz(request: web.Request) -> web.Response:
    """200 when Redis answers (else 503), and whether any report is published yet; open to all, names no account."""
    published = bool(await request.app[READER].accounts())
    response = web.Response(
        body=msgspec.json.encode({"status": "ok", "report_published": published}), content_type="application/json"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


async def accounts(request: web.Request) -> web.StreamResponse:
    """The accounts that have a report and that the caller may read."""
    opened = opened_accounts(request)
    names = await request.app[READER].accounts()
    listed = [{"account_id": name} for name in sorted(names) if opened is None or name in opened]
    body = msgspec.json.encode({"accounts": listed})
    return tagged(request, tag_of(body), body)


async def report(request: web.Request) -> web.StreamResponse:
    """The newest document of an account, byte for byte as published."""
    account_id = authorized_account(request)
    refuse_parameters(request, "The report takes none; ranges and filters belong to …/metrics.")
    document = await request.app[READER].report(account_id)
    if document is None:
        raise NoReport(account_id)
    return tagged(request, str(_decode_document(document).revision), document)


async def metrics(request: web.Request) -> web.StreamResponse:
    """The metrics of a range or preset under filters, with the previous period's beside them."""
    account_id = authorized_account(request)
    query = parse_metrics_query(request.query)
    answer = await _answer(request.app[READER], account_id, query, with_previous=True)
    filters: dict[str, Any] = {name: getattr(query.filters, name) for name in DIMENSIONS}
    body = {
        "account_id": account_id,
        **_ends(answer.period),
        "timezone": answer.timezone,
        "revision": answer.revision,
        "as_of": answer.as_of,
        "complete": answer.complete,
        "complete_from": answer.complete_from,
        "filters": {name: values for name, values in filters.items() if values is not None},
        "metrics": answer.metrics,
        "previous": {**_ends(answer.period.previous), "metrics": answer.previous},
    }
    return tagged(request, str(answer.revision), msgspec.json.encode(body))


async def metrics_csv(request: web.Request) -> web.StreamResponse:
    """One table of the metrics of a range or preset under filters, as a CSV file."""
    account_id = authorized_account(request)
    query = parse_metrics_query(request.query, "table")
    name, table = _table(request, TABLES)
    reader = request.app[READER]
    answer = await _answer(reader, account_id, query, with_previous=False)
    names = await _names(reader, account_id, name)
    response = tagged(request, str(answer.revision), to_csv(table, answer.metrics, names), "text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(account_id, name, answer.period)}"'
    return response


async def rows_csv(request: web.Request) -> web.StreamResponse:
    """The counts behind the metrics, one row for each combination of dimensions that occurred, as a CSV file."""
    account_id = authorized_account(request)
    query = parse_metrics_query(request.query, "table")
    name, table = _table(request, ROW_TABLES)
    reader = request.app[READER]
    days = query.days or await _preset(reader, account_id, query.preset)
    slices = await reader.slices(account_id, days.start, days.end, table.mask)
    if is_known(request, str(slices.revision)):
        return tagged(request, str(slices.revision), b"", "text/csv")
    return await send_rows(request, table, slices, query.filters, _file_name(account_id, name, days))


async def openapi(request: web.Request) -> web.StreamResponse:
    """The API's description, which `streams.web.openapi` makes; open to all, as it names no account."""
    refuse_parameters(request, "The description takes none.")
    body = request.app[_OPENAPI]
    return tagged(request, tag_of(body), body)


def _table(request: web.Request, tables: Mapping[str, _Table]) -> tuple[str, _Table]:
    """The table that is asked for, and its name. Raises `ApiError` (400)."""
    name = single(request.query, "table")
    if name is None or name not in tables:
        message = "`table` is missing." if name is None else f"There is no table {name!r}."
        raise ApiError(400, "unknown_table", message, f"Known: {', '.join(tables)}.")
    return name, tables[name]


def _file_name(account_id: str, table: str, days: Period) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", account_id)
    return f"mediana_{plain}_{table}_{days.start}_{days.end}.csv"


async def _answer(reader: Reader, account_id: str, query: MetricsQuery, *, with_previous: bool) -> Answer:
    days = query.days or await _preset(reader, account_id, query.preset)
    return await reader.metrics(account_id, days.start, days.end, query.filters, with_previous=with_previous)


async def _names(reader: Reader, account_id: str, table: str) -> Names:
    """The names of who a table is about, by id, as the newest document has them."""
    document = await reader.report(account_id) if table in ("advisors", "groups") else None
    if document is None:
        return {}
    team = _decode_document(document).account
    return team.advisors if table == "advisors" else team.groups


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
