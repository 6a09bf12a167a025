"""The tables of a `metrics` object as CSV, for spreadsheets: the numbers of the JSON, in rows.

RFC 4180: a header, commas, CRLF, UTF-8. What is `null` is an empty cell; a table that a filter makes `null` has its
header only. Durations are seconds.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

Cell = str | int | float | None
Row = list[Cell]
Names = Mapping[str, str | None]

_SEPARATORS = "\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029,;|"
_UNSEEN = '\\x00-\\x08\\x0e-\\x1b\\x7f \\u00a0\\u1680\\u2000-\\u200f\\u202f\\u205f\\u2060\\u3000\\ufeff"'
_FORMULA_START = re.compile(rf"(?:^|(?<=[{_SEPARATORS}]))(?=[{_UNSEEN}]*[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\n\r])")
"""Where a spreadsheet may take what follows for a formula, and run it: at the beginning of a cell.

A cell begins with the text, and, where a program guesses another separator than ours, after it: Excel splits at `;`
where `,` is the decimal mark, and the quotes around a text count for nothing there. Spaces and quotes before a formula
are dropped by some.
"""


class Table(NamedTuple):
    """A table's columns, and its rows from a `metrics` object and names by id."""

    columns: tuple[str, ...]
    rows: Callable[[Mapping[str, Any], Names], Iterable[Row]]


def to_csv(table: Table, metrics: Mapping[str, Any], names: Names | None = None) -> bytes:
    """A table as the bytes of a CSV file. `names` are shown beside ids, where the table has a column for them."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(table.columns)
    for row in table.rows(metrics, names or {}):
        writer.writerow(safe_row(row))
    return out.getvalue().encode()


def safe_text(text: str) -> str:
    """A text of which no spreadsheet takes a part for a formula: an apostrophe stands before each that it would."""
    return _FORMULA_START.sub("'", text)


def safe_row(row: Iterable[Cell]) -> Row:
    """The cells of a row, each text of them safe."""
    return [safe_text(cell) if isinstance(cell, str) else cell for cell in row]


def _days(metrics: Mapping[str, Any], _: Names) -> Iterable[Row]:
    contacts, opened = metrics["new_contacts"], metrics["new_conversations"]
    closed, reached = metrics["closed_conversations"]["by_day"], metrics["interactions"]["by_day"]
    for day, people in reached.items():
        yield [
            day,
            None if contacts is None else contacts["by_day"][day],
            None if opened is None else opened["by_day"][day],
            closed[day],
            people["contacts"],
            people["advisor_contacts"],
        ]


_ORIGIN_COLUMNS = ("origin", "new_contacts", "engaged", "closed", "resolved", "at_rest")


def _origins(metrics: Mapping[str, Any], _: Names) -> Iterable[Row]:
    return [[row[column] for column in _ORIGIN_COLUMNS] for row in metrics["origins"] or ()]


def _openers(metrics: Mapping[str, Any], _: Names) -> Iterable[Row]:
    box = metrics["new_conversations"]
    return [] if box is None else [[name, count] for name, count in box["by_opener"].items()]


def _heatmap(metrics: Mapping[str, Any], _: Names) -> Iterable[Row]:
    for weekday, hours in (metrics["heatmap"] or {}).items():
        for hour, (count, times) in enumerate(zip(hours, metrics["heatmap_occurrences"][weekday], strict=True)):
            yield [weekday, hour, count, times]


_CLOCKS = ("elapsed", "business")
_DURATION_COLUMNS = tuple(
    f"{box}_{column}"
    for box in ("first_response", "response")
    for column in (
        "count",
        *(f"{clock}_{figure}_seconds" for clock in _CLOCKS for figure in ("median", "p90")),
        *(f"within_target_{clock}" for clock in _CLOCKS),
        "without_schedule",
    )
)
_COUNT_COLUMNS = ("contacts", "advisor_contacts", "closed_conversations", "closed", "transferred")


def _team_row(row: Mapping[str, Any]) -> Row:
    cells: Row = []
    for box in (row["first_response"], row["response"]):
        cells.append(box["count"])
        cells += [box[clock][figure] for clock in _CLOCKS for figure in ("median", "p90")]
        cells += [box["within_target"][clock] for clock in _CLOCKS]
        cells.append(box["without_schedule"])
    reached, ended = row["interactions"], row["closed_conversations"]
    return [
        *cells,
        *(reached["contacts"], reached["advisor_contacts"]),
        *(ended["total"], ended["closed"], ended["transferred"]),
    ]


def _advisors(metrics: Mapping[str, Any], names: Names) -> Iterable[Row]:
    for row in metrics.get("by_advisor") or ():
        yield [row["advisor"], names.get(row["advisor"]), *_team_row(row)]


_WAITING_COLUMNS = ("waiting_contacts", "waiting_snoozed", "waiting_oldest")


def _groups(metrics: Mapping[str, Any], names: Names) -> Iterable[Row]:
    for row in metrics.get("by_group") or ():
        contacts, opened, waiting = _without_advisor(row)
        yield [
            row["group"],
            names.get(row["group"]),
            *_team_row(row),
            *(contacts.get("total"), opened.get("total"), opened.get("active_contacts")),
            *(waiting.get("contacts"), waiting.get("snoozed"), waiting.get("oldest")),
        ]


def _channels(metrics: Mapping[str, Any], _: Names) -> Iterable[Row]:
    for row in metrics.get("by_channel") or ():
        contacts, opened, waiting = _without_advisor(row)
        yield [
            row["channel"],
            opened.get("total"),
            *_team_row(row),
            *(contacts.get("total"), opened.get("active_contacts")),
            *(waiting.get("contacts"), waiting.get("snoozed"), waiting.get("oldest")),
        ]


def _without_advisor(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The boxes of a row that an advisor filter leaves out, or makes null."""
    return [row.get(box) or {} for box in ("new_contacts", "new_conversations", "waiting")]


def _distribution(metrics: Mapping[str, Any], _: Names) -> Iterable[Row]:
    for box in ("first_response", "response"):
        spread = metrics[box]["distribution"]
        for elapsed, business in zip(spread["elapsed"], spread["business"], strict=True):
            yield [box, elapsed["up_to"], elapsed["count"], business["count"]]


TABLES: Mapping[str, Table] = {
    "days": Table(
        ("day", "new_contacts", "new_conversations", "closed_conversations", "contacts", "advisor_contacts"), _days
    ),
    "origins": Table(_ORIGIN_COLUMNS, _origins),
    "channels": Table(
        (
            *("channel", "new_conversations", *_DURATION_COLUMNS, *_COUNT_COLUMNS),
            *("new_contacts", "active_contacts", *_WAITING_COLUMNS),
        ),
        _channels,
    ),
    "openers": Table(("opener", "new_conversations"), _openers),
    "heatmap": Table(("weekday", "hour", "new_conversations", "occurrences"), _heatmap),
    "advisors": Table(("advisor", "name", *_DURATION_COLUMNS, *_COUNT_COLUMNS), _advisors),
    "groups": Table(
        (
            *("group", "name", *_DURATION_COLUMNS, *_COUNT_COLUMNS),
            *("new_contacts", "new_conversations", "active_contacts", *_WAITING_COLUMNS),
        ),
        _groups,
    ),
    "distribution": Table(("box", "up_to_seconds", "elapsed_count", "business_count"), _distribution),
}
"""The tables by their names in the address."""
