"""The OpenAPI document of the API, made from the types; `python -m streams.web.openapi` writes it again.

`openapi.json` beside this file is what the server sends. Tests compare it with this module, its paths with the routes,
and real answers with its schemas.
"""

import json
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from aggregates.periods import presets
from aggregates.rows import ROW_TABLES, Cell
from schemas.published import EXAMPLES, SNAPSHOT, render
from schemas.snapshot import Day, Metrics, PreviousPeriod, Snapshot, UtcInstant
from streams.http.metrics import EVENT_STREAM
from streams.web.csv import TABLES, to_csv
from streams.web.query import DIMENSIONS

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


class MetricsOfRange(Struct, kw_only=True, rename={"from_": "from"}):
    """The metrics of a range of days under filters, and of as many days just before."""

    account_id: str
    from_: Day
    to: Day
    timezone: str
    revision: Revision
    as_of: UtcInstant
    complete: Annotated[bool, Meta(description="false when something is missing; the report says what")]
    complete_from: CompleteFrom
    filters: AppliedFilters
    metrics: Metrics
    previous: PreviousPeriod


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


_TYPES = (Health, Accounts, MetricsOfRange, NewRevision, Snapshot, Error)

_ERRORS = {
    "400": ("BadRequest", "A parameter is unknown, repeated, missing or makes no sense.", "bad_range"),
    "401": ("TokenNeeded", "No token, or one that opens no account.", "token_needed"),
    "403": ("Forbidden", "The token does not open this account.", "forbidden"),
    "404": ("NoReport", "No report of this account is published.", "no_report"),
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
    narrowed = [_parameter(name) for name in ("from", "to", "period", *DIMENSIONS)]
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
            parameters=[account, *narrowed, tag],
        ),
        "/api/v1/accounts/{account_id}/metrics.csv": _get(
            "table",
            "One table of the metrics as a CSV file",
            _tagged(_csv(week["metrics"])),
            parameters=[account, _parameter("table"), *narrowed, tag],
        ),
        "/api/v1/accounts/{account_id}/rows.csv": _get(
            "rows",
            "The counts behind the metrics, at their finest grain, as a CSV file",
            _tagged(_csv_content(_ROWS, _row_examples())),
            parameters=[account, _parameter("row_table"), *narrowed, tag],
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
    return {**taken, "filters": {}, **week}


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
    "One row for each day and combination of dimensions that occurred, with its count; durations by clock, in seconds, "
    f"within 1 %. Sent as it is read: a file that breaks off is not whole. {_CSV}"
)


def _csv(metrics: dict[str, Any]) -> dict[str, Any]:
    return _csv_content(_CSV, {name: to_csv(table, metrics).decode() for name, table in TABLES.items()})


def _csv_content(description: str, examples: dict[str, str]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"text/csv": {"schema": {"type": "string"}, "examples": shown}}}


def _row_examples() -> dict[str, str]:
    """One row of each row table, as the column's names ask for it."""
    cells: dict[str, Cell] = {
        "day": "2026-11-22",
        "origin": "Instagram",
        "group": "sales",
        "channel": "whatsapp",
        "advisor": "ana",
        "clock": "business",
        "seconds": 90.364,
        "count": 2,
        "status": "live",
        "opener": "contact",
        "hour": 9,
        "kind": "closed",
        "engaged": 1,
        "closed": 1,
        "resolved": 0,
        "contacts": 2,
        "snoozed": 1,
        "oldest": "2026-11-22T14:05:00.000Z",
    }
    lines = {name: (table.columns, [str(cells[name]) for name in table.columns]) for name, table in ROW_TABLES.items()}
    return {name: "".join(",".join(line) + "\r\n" for line in both) for name, both in lines.items()}


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
        "table": _table_parameter(TABLES),
        "row_table": _table_parameter(ROW_TABLES),
    }
    for name in DIMENSIONS:
        found[name] = {
            "description": f"Only this {name}; as often as needed. `none` asks for what has none.",
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
