"""The OpenAPI document of the API, made from the types; `python -m streams.web.openapi` writes it again.

`openapi.json` beside this file is what the server sends. Tests compare it with this module, its paths with the routes,
and real answers with its schemas.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from aggregates.filters import FILTERED
from aggregates.periods import presets
from schemas.limits import MAX_PAGE_OFFSET, MAX_PAGE_ROWS
from schemas.lists import CLOCKS, LISTS, ORDERS
from schemas.published import EXAMPLES, SNAPSHOT, render
from schemas.snapshot import Day, Metrics, PreviousPeriod, PreviousPeriodToDate, Snapshot, UtcInstant
from streams.http.metrics import EVENT_STREAM
from streams.web.csv import TABLES, to_csv
from streams.web.lists_csv import COLUMNS, ROW_TABLES
from streams.web.query import COMPARE, LIST_PARAMETERS, PAGE_ROWS

FILE = Path(__file__).parent / "openapi.json"

_Value = Annotated[str | None, Meta(description="null stands for those that have none")]
Revision = Annotated[int, Meta(ge=1, description="rises by one with each publication")]


class Health(Struct, kw_only=True):
    """The server and its Redis answer."""

    status: str
    report_published: bool


class ListedAccount(Struct, kw_only=True):
    """An account with a report."""

    account_id: str


class Accounts(Struct, kw_only=True):
    """The accounts that have a report and that the caller may read, by name."""

    accounts: list[ListedAccount]


class AppliedFilters(Struct, kw_only=True):
    """The filters as they were understood; what is not filtered is not there."""

    origin: list[_Value] | msgspec.UnsetType = msgspec.UNSET
    group: list[_Value] | msgspec.UnsetType = msgspec.UNSET
    channel: list[_Value] | msgspec.UnsetType = msgspec.UNSET
    advisor: list[_Value] | msgspec.UnsetType = msgspec.UNSET


CompleteFrom = Annotated[
    UtcInstant | None,
    Meta(description="when records are missing for good: nothing that was sent from this instant on is; else null"),
]


class UnknownValues(Struct, kw_only=True):
    """Values of the filters that never occurred in the range and are in no settings, by dimension."""

    origin: list[str] | msgspec.UnsetType = msgspec.UNSET
    group: list[str] | msgspec.UnsetType = msgspec.UNSET
    channel: list[str] | msgspec.UnsetType = msgspec.UNSET
    advisor: list[str] | msgspec.UnsetType = msgspec.UNSET


class MetricsOfRange(Struct, kw_only=True, rename={"from_": "from"}):
    """The metrics of a range of days under filters, and of an earlier period."""

    account_id: str
    from_: Day
    to: Day
    timezone: str
    revision: Revision
    as_of: UtcInstant
    complete: Annotated[bool, Meta(description="false when something is missing; the report says what")]
    complete_from: CompleteFrom
    filters: AppliedFilters
    unknown_values: UnknownValues
    metrics: Metrics
    previous: PreviousPeriod | msgspec.UnsetType = msgspec.UNSET
    previous_to_date: PreviousPeriodToDate | msgspec.UnsetType = msgspec.UNSET
    year_before: Annotated[
        PreviousPeriodToDate | msgspec.UnsetType,
        Meta(description="whole, with all of `metrics`, unless the range contains today"),
    ] = msgspec.UNSET


class RowOfList(Struct, kw_only=True):
    """A row of a list; which other keys there are depends on the list."""

    contact_id: str
    at: UtcInstant


class PageOfList(Struct, kw_only=True, rename={"from_": "from"}):
    """Rows that a number counts. A newer revision may have others: compare `revision` between pages."""

    account_id: str
    list: str
    from_: Day | msgspec.UnsetType = msgspec.UNSET
    to: Day | msgspec.UnsetType = msgspec.UNSET
    timezone: str
    revision: Revision
    as_of: UtcInstant
    complete: bool
    complete_from: CompleteFrom
    filters: AppliedFilters
    unknown_values: UnknownValues
    over: float | None
    clock: str
    order: str
    offset: Annotated[int, Meta(ge=0)]
    limit: Annotated[int, Meta(ge=1)]
    total: Annotated[int, Meta(ge=0, description="rows of the whole list")]
    rows: Sequence[RowOfList]


class NewRevision(Struct, kw_only=True):
    """The data of a `revision` event."""

    account_id: str
    revision: Revision
    as_of: UtcInstant
    complete: bool
    complete_from: CompleteFrom


class ErrorText(Struct, kw_only=True):
    """What went wrong: a stable word for programs, and two texts for people."""

    code: Annotated[str, Meta(description="stays the same; the texts may change")]
    message: str
    hint: Annotated[str, Meta(description="what to do about it")]


class Error(Struct, kw_only=True):
    """The one shape of every error."""

    error: ErrorText


_TYPES = (Health, Accounts, MetricsOfRange, PageOfList, NewRevision, Snapshot, Error)

_ERRORS = {
    "400": ("BadRequest", "A parameter is unknown, repeated, missing or makes no sense.", "bad_range"),
    "401": ("TokenNeeded", "No token, or one that opens no account.", "token_needed"),
    "403": ("Forbidden", "The token does not open this account.", "forbidden"),
    "404": ("NoReport", "No report of this account is published.", "no_report"),
    "422": ("Refused", "What is asked for is understood, and cannot be given; the message says why.", "list_refused"),
    "429": ("TooManyRequests", "Too many requests; `Retry-After` says how many seconds to wait.", "too_many_requests"),
    "500": ("Internal", "A fault of the server's; its log says which.", "internal"),
    "503": (
        "Unavailable",
        "Redis does not answer, a part of the report is missing, or too many listen or load files; try later.",
        "redis_unavailable",
    ),
}
_RETRIED = ("429", "503")


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = " ".join(str(schema["description"]).split())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mediana",
            "version": "1",
            "description": "How fast and how well a team answers its contacts. Every number comes from the newest "
            "published snapshot. Fields may be added; none is renamed, removed or changes its meaning under /api/v1.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "parameters": _parameters(),
            "headers": {
                "ETag": {
                    "description": "In quotes: the revision; of what belongs to none, a digest.",
                    "schema": {"type": "string"},
                    "example": '"7"',
                },
                "RetryAfter": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
            },
            "responses": {
                name: _error(text, code, retried=status in _RETRIED) for status, (name, text, code) in _ERRORS.items()
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `mediana token create`. Not needed where the server is open.",
                }
            },
        },
    }


def _paths() -> dict[str, Any]:
    snapshot = json.loads((EXAMPLES / f"{SNAPSHOT}.json").read_text(encoding="utf-8"))
    newest = {name: snapshot[name] for name in ("account_id", "revision", "as_of", "complete", "complete_from")}
    account, tag = _parameter("account_id"), _parameter("if_none_match")
    narrowed = [_parameter(name) for name in ("from", "to", "period", *FILTERED)]
    week = snapshot["periods"]["last_7_days"]
    paths = {
        "/healthz": _get(
            "health",
            "Whether the server and its Redis answer",
            _json("Health", {"status": "ok", "report_published": True}),
            errors=["500", "503"],
        ),
        "/api/v1/openapi.json": _get(
            "description",
            "This document",
            _tagged({"description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}}),
            parameters=[tag],
            errors=["400", "429", "500"],
        ),
        "/api/v1/accounts": _get(
            "accounts",
            "The accounts that the caller may read",
            _tagged(_json("Accounts", {"accounts": [{"account_id": snapshot["account_id"]}]})),
            parameters=[tag],
            errors=["401", "429", "500", "503"],
        ),
        "/api/v1/accounts/{account_id}/report": _get(
            "report",
            "The newest snapshot document, as published",
            # No example: it is longer than all the rest, and schemas/examples/snapshot.json is one.
            _tagged(_json("Snapshot")),
            parameters=[account, tag],
        ),
        "/api/v1/accounts/{account_id}/metrics": _get(
            "metrics",
            "The metrics of any range of days and filters, and of the days before",
            _tagged(_json("MetricsOfRange", _example_of_range(snapshot, week))),
            parameters=[account, *narrowed, _parameter("compare"), tag],
        ),
        "/api/v1/accounts/{account_id}/lists/{list}": _get(
            "list",
            "The rows that a number counts, a page at a time",
            _tagged(_json("PageOfList", _example_of_list(snapshot, week))),
            parameters=[
                *(account, _parameter("list"), *narrowed),
                *map(_parameter, (*LIST_PARAMETERS, "offset", "limit")),
                tag,
            ],
        ),
        "/api/v1/accounts/{account_id}/lists/{list}.csv": _get(
            "list_file",
            "All rows that a number counts, as a CSV file",
            _tagged(_csv_content(_ROWS, _list_examples({name: name for name in COLUMNS}))),
            parameters=[account, _parameter("list"), *narrowed, *map(_parameter, LIST_PARAMETERS), tag],
        ),
        "/api/v1/accounts/{account_id}/metrics.csv": _get(
            "table",
            "One table of the metrics as a CSV file",
            _tagged(_csv(week["metrics"])),
            parameters=[account, _parameter("table"), *narrowed, tag],
        ),
        "/api/v1/accounts/{account_id}/rows.csv": _get(
            "rows",
            "The rows behind the metrics as a CSV file, by the name of their table",
            _tagged(_csv_content(_ROWS, _list_examples(ROW_TABLES))),
            parameters=[account, _parameter("row_table"), *narrowed, *map(_parameter, LIST_PARAMETERS), tag],
        ),
        "/api/v1/accounts/{account_id}/events": _get(
            "events",
            "New revisions as they are published",
            {
                "description": "Server-sent events named `revision`; `id` is the revision, `data` a NewRevision as "
                "JSON. Comments every 15 seconds keep the connection open.",
                "content": {
                    EVENT_STREAM: {
                        "schema": {"type": "string", "contentSchema": {"$ref": "#/components/schemas/NewRevision"}},
                        "example": f"id: {newest['revision']}\nevent: revision\n"
                        f"data: {json.dumps(newest, separators=(',', ':'))}\n\n",
                    }
                },
            },
            parameters=[account, _parameter("last_event_id")],
        ),
    }
    for open_to_all in ("/healthz", "/api/v1/openapi.json"):
        paths[open_to_all]["get"]["security"] = []
    return paths


def _example_of_range(snapshot: dict[str, Any], week: dict[str, Any]) -> dict[str, Any]:
    names = ("account_id", "timezone", "revision", "as_of", "complete", "complete_from")
    taken = {name: snapshot[name] for name in names}
    before = {"previous": week["previous"]}
    return {**taken, "from": week["from"], "to": week["to"], "filters": {}, "unknown_values": {}} | {
        "metrics": week["metrics"],
        **before,
    }


def _example_of_list(snapshot: dict[str, Any], week: dict[str, Any]) -> dict[str, Any]:
    names = ("account_id", "timezone", "revision", "as_of", "complete", "complete_from")
    asked = {"over": None, "clock": CLOCKS[0], "order": ORDERS[0], "offset": 0, "limit": PAGE_ROWS}
    row = {
        "contact_id": "c-1",
        "at": "2026-11-22T14:05:00.000Z",
        "day": "2026-11-22",
        "origin": "Instagram",
        "group": "sales",
        "channel": "whatsapp",
        "by": "contact",
        "deleted": False,
        "merged": False,
    }
    return {
        **{name: snapshot[name] for name in names},
        "list": "new_contacts",
        "from": week["from"],
        "to": week["to"],
        "filters": {},
        "unknown_values": {},
        **asked,
        "total": 1,
        "rows": [row],
    }


def _get(
    name: str,
    summary: str,
    answer: dict[str, Any],
    *,
    parameters: list[dict[str, str]] | None = None,
    errors: list[str] | None = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": answer}
    if "headers" in answer:
        responses["304"] = {"description": "The caller has it already.", "headers": answer["headers"]}
    for status in errors or _ERRORS:
        responses[status] = {"$ref": f"#/components/responses/{_ERRORS[status][0]}"}
    operation: dict[str, Any] = {"operationId": name, "summary": summary}
    if parameters:
        operation["parameters"] = parameters
    return {"get": {**operation, "responses": responses}}


def _json(schema: str, example: object = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    if example is not None:
        content["example"] = example
    return {"description": f"{schema}.", "content": {"application/json": content}}


_CSV = (
    "RFC 4180: header, commas, CRLF, UTF-8. An empty cell is null. A text that a spreadsheet would take for a "
    "formula has an apostrophe before it."
)
_ROWS = (
    "One line for each row, in the list's order; several values of one cell have `;` between them. Sent as it is made: "
    f"a file that breaks off is not whole. {_CSV}"
)


def _csv(metrics: dict[str, Any]) -> dict[str, Any]:
    return _csv_content(_CSV, {name: to_csv(table, metrics).decode() for name, table in TABLES.items()})


def _csv_content(description: str, examples: dict[str, str]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"text/csv": {"schema": {"type": "string"}, "examples": shown}}}


def _list_examples(tables: Mapping[str, str]) -> dict[str, str]:
    """One row of each list, as the column's names ask for it."""
    cells = {
        "contact_id": "c-1",
        "at": "2026-11-22T14:05:00.000Z",
        "day": "2026-11-22",
        "origin": "Instagram",
        "group": "sales",
        "channel": "whatsapp",
        "advisor": "ana",
        "conversation_id": "v-1",
        "from": "2026-11-22T14:00:00.000Z",
        "elapsed_seconds": "300.0",
        "business_seconds": "300.0",
        "advisors": "ana;beto",
        "channels": "email;whatsapp",
        "actions_days": "2026-11-21;2026-11-22",
        "by": "contact",
        "opener": "contact",
        "kind": "closed",
        "reason": "Resuelto",
    }
    examples = {}
    for name, listed in tables.items():
        line = [cells.get(column, "true") for column in COLUMNS[listed]]
        examples[name] = "".join(",".join(each) + "\r\n" for each in (COLUMNS[listed], line))
    return examples


def _tagged(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "headers": {"ETag": {"$ref": "#/components/headers/ETag"}}}


def _error(text: str, code: str, *, retried: bool) -> dict[str, Any]:
    example = {"error": {"code": code, "message": "What happened.", "hint": "What to do about it."}}
    content = {"schema": {"$ref": "#/components/schemas/Error"}, "example": example}
    answer: dict[str, Any] = {"description": text, "content": {"application/json": content}}
    if retried:
        answer["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    return answer


def _parameter(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{name}"}


def _table_parameter(tables: Iterable[str]) -> dict[str, Any]:
    return {"required": True, "description": "Which table.", "schema": {"type": "string", "enum": list(tables)}}


def _parameters() -> dict[str, Any]:
    text = {"type": "string"}
    day = {"type": "string", "format": "date"}
    found: dict[str, Any] = {
        "account_id": {"in": "path", "required": True, "schema": text},
        "from": {"description": "The first day, with `to`; or else `period`.", "schema": day},
        "to": {"description": "The last day, itself included.", "schema": day},
        "period": {
            "description": "A preset, as the newest snapshot has it, instead of `from` and `to`.",
            "schema": {"type": "string", "enum": list(presets(date(2026, 11, 22)))},
        },
        "compare": {
            "description": "Which earlier period stands beside the metrics; `to-date` needs a range with today.",
            "schema": {"type": "string", "enum": list(COMPARE), "default": COMPARE[0]},
        },
        "list": {
            "in": "path",
            "required": True,
            "description": "Which list. `waiting` needs no range: it then lists all who wait.",
            "schema": {"type": "string", "enum": list(LISTS)},
        },
        "over": {
            "description": "Only rows that took strictly more seconds, on `clock`; of lists with durations.",
            "schema": {"type": "number", "minimum": 0},
        },
        "clock": {"schema": {"type": "string", "enum": list(CLOCKS), "default": CLOCKS[0]}},
        "order": {
            "description": "By instant, or the longest first where rows have durations.",
            "schema": {"type": "string", "enum": list(ORDERS), "default": ORDERS[0]},
        },
        "offset": {
            "description": "Rows before the first one.",
            "schema": {"type": "integer", "minimum": 0, "maximum": MAX_PAGE_OFFSET, "default": 0},
        },
        "limit": {
            "description": "Rows of the answer.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_ROWS, "default": PAGE_ROWS},
        },
        "table": _table_parameter(TABLES),
        "row_table": _table_parameter(ROW_TABLES),
    }
    for name in FILTERED:
        found[name] = {
            "description": f"Only this {name}; as often as needed. `none` asks for what has none, `=none` for a name.",
            "schema": {"type": "array", "items": text},
            "style": "form",
            "explode": True,
        }
    parameters = {name: {"name": name, "in": "query", **parameter} for name, parameter in found.items()}
    parameters["row_table"]["name"] = "table"
    parameters["if_none_match"] = {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag of an answer the caller has.",
        "schema": text,
    }
    parameters["last_event_id"] = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The newest revision the caller knows; another one is told at once.",
        "schema": text,
    }
    return parameters


if __name__ == "__main__":
    FILE.write_text(render(document()), encoding="utf-8")
    print(FILE.name, file=sys.stderr)
