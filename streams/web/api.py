"""The API's routes: health, accounts, the newest document, the metrics and lists of any range and filter.

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

from aggregates.filters import FILTERED, Filters
from aggregates.lists import check_list
from aggregates.periods import Period
from streams.http.authorization import authorized_account, opened_accounts
from streams.http.errors import ApiError
from streams.http.etags import is_known, tag_of, tagged
from streams.snapshots.reader import Answer, Compared, ListPage, NoReport
from streams.web.csv import TABLES, Names, to_csv
from streams.web.downloads import DOWNLOADS, Downloads, send_rows
from streams.web.event_stream import events
from streams.web.lists_csv import COLUMNS, ROW_TABLES
from streams.web.query import (
    LIST_PARAMETERS,
    PAGE_PARAMETERS,
    MetricsQuery,
    parse_comparison,
    parse_list_query,
    parse_metrics_query,
    parse_page,
    refuse_parameters,
    single,
)
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
    as_of: str
    periods: dict[str, _Days]
    account: _Team


AS_OF = "Mediana-As-Of"
"""The header that says up to when a document still says all there is."""

_COMPARED = {"previous": "previous", "to-date": "previous_to_date", "year": "year_before"}
"""The key of each comparison in an answer."""

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
    app.router.add_get("/api/v1/accounts/{account_id}/lists/{list}.csv", list_csv)
    app.router.add_get("/api/v1/accounts/{account_id}/lists/{list}", rows_of_list)
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
    """The newest document of an account, byte for byte as published; a header says up to when it holds."""
    account_id = authorized_account(request)
    refuse_parameters(request, "The report takes none; ranges and filters belong to …/metrics.")
    document = await request.app[READER].report(account_id)
    newest = await request.app[READER].newest(account_id)
    if document is None:
        raise NoReport(account_id)
    decoded = _decode_document(document)
    response = tagged(request, str(decoded.revision), document)
    is_newest = newest is not None and newest.revision == decoded.revision
    response.headers[AS_OF] = newest.as_of if newest is not None and is_newest else decoded.as_of
    return response


async def metrics(request: web.Request) -> web.StreamResponse:
    """The metrics of a range or preset under filters, with those of an earlier period beside them."""
    account_id = authorized_account(request)
    query = parse_metrics_query(request.query, "compare")
    compare = parse_comparison(request.query)
    answer = await _answer(request.app[READER], account_id, query, compare)
    body = {
        "account_id": account_id,
        **_ends(answer.period),
        **_origin_of(answer),
        "filters": _asked(query.filters),
        "unknown_values": answer.unknown_values,
        "metrics": answer.metrics,
        **_compared(answer.compared),
    }
    return tagged(request, _tag(answer), msgspec.json.encode(body))


async def metrics_csv(request: web.Request) -> web.StreamResponse:
    """One table of the metrics of a range or preset under filters, as a CSV file."""
    account_id = authorized_account(request)
    query = parse_metrics_query(request.query, "table")
    name, table = _table(request, TABLES)
    reader = request.app[READER]
    answer = await _answer(reader, account_id, query, None)
    names = await _names(reader, account_id, name)
    response = tagged(request, _tag(answer), to_csv(table, answer.metrics, names), "text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(account_id, name, answer.period)}"'
    return response


async def rows_of_list(request: web.Request) -> web.StreamResponse:
    """A page of the rows that a number counts, under a range or preset and filters."""
    account_id = authorized_account(request)
    name = request.match_info["list"]
    query = parse_metrics_query(request.query, *LIST_PARAMETERS, *PAGE_PARAMETERS, needs_range=name != "waiting")
    asked, page = parse_list_query(name, query.filters, request.query), parse_page(request.query)
    check_list(name, query.filters, over=asked.over, clock=asked.clock, order=asked.order)
    reader = request.app[READER]
    days = await _days(reader, account_id, query)
    found = (await reader.list(account_id, days, asked)).page(page.offset, page.limit)
    body = {
        "account_id": account_id,
        "list": name,
        **({} if days is None else _ends(days)),
        **_origin_of(found),
        "filters": _asked(query.filters),
        "unknown_values": found.unknown_values,
        "over": asked.over,
        "clock": asked.clock,
        "order": asked.order,
        "offset": page.offset,
        "limit": page.limit,
        "total": found.total,
        "rows": found.rows,
    }
    return tagged(request, _tag(found), msgspec.json.encode(body))


async def list_csv(request: web.Request) -> web.StreamResponse:
    """All rows of a list as a CSV file."""
    name = request.match_info["list"]
    return await _send_list(request, name, name, *LIST_PARAMETERS)


async def rows_csv(request: web.Request) -> web.StreamResponse:
    """The rows behind the metrics as a CSV file, by the name of their table."""
    table, name = _table(request, ROW_TABLES)
    return await _send_list(request, table, name, "table", *LIST_PARAMETERS)


async def _send_list(request: web.Request, title: str, name: str, *besides: str) -> web.StreamResponse:
    account_id = authorized_account(request)
    query = parse_metrics_query(request.query, *besides, needs_range=name != "waiting")
    asked = parse_list_query(name, query.filters, request.query)
    check_list(name, query.filters, over=asked.over, clock=asked.clock, order=asked.order)
    reader = request.app[READER]
    days = await _days(reader, account_id, query)
    rows = await reader.list(account_id, days, asked)
    tag = _tag(rows.page(0, 0))
    if is_known(request, tag):
        return tagged(request, tag, b"", "text/csv")
    return await send_rows(request, COLUMNS[name], rows, tag, _file_name(account_id, title, days))


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


def _file_name(account_id: str, table: str, days: Period | None) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", account_id)
    return f"mediana_{plain}_{table}_{'all' if days is None else f'{days.start}_{days.end}'}.csv"


def _tag(found: Answer | ListPage) -> str:
    """The revision; and the instant, once that has moved on: some numbers follow from it."""
    moved = found.as_of != found.as_of_published
    return f"{found.revision}-{found.as_of}" if moved and found.as_of_published else str(found.revision)


def _origin_of(found: Answer | ListPage) -> dict[str, Any]:
    return {
        "timezone": found.timezone,
        "revision": found.revision,
        "as_of": found.as_of,
        "complete": found.complete,
        "complete_from": found.complete_from,
    }


def _asked(filters: Filters) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(filters, name) for name in FILTERED}
    return {name: each for name, each in values.items() if each is not None}


def _compared(found: Compared | None) -> dict[str, Any]:
    return {} if found is None else {_COMPARED[found.name]: {**_ends(found.period), "metrics": found.metrics}}


async def _answer(reader: Reader, account_id: str, query: MetricsQuery, compare: str | None) -> Answer:
    days = query.days or await _preset(reader, account_id, query.preset)
    return await reader.metrics(account_id, days.start, days.end, query.filters, compare=compare)


async def _days(reader: Reader, account_id: str, query: MetricsQuery) -> Period | None:
    """The days that are asked for, if any."""
    if query.days is not None or query.preset is None:
        return query.days
    return await _preset(reader, account_id, query.preset)


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
