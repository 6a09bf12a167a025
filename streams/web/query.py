"""What a request for metrics or a list asks for: a range of days or a preset's name, filters, and what else there is.

A parameter nobody knows is refused: a misspelt filter that is passed over would give wrong numbers.
"""

import math
import re
from dataclasses import dataclass
from datetime import date

from aiohttp import web
from multidict import MultiMapping

from aggregates.filters import FILTERED, Filters
from aggregates.periods import Period, period
from schemas.limits import MAX_PAGE_OFFSET, MAX_PAGE_ROWS, MAX_TARGET_SECONDS
from schemas.lists import CLOCKS, COMPARISONS, ORDERS
from streams.http.errors import ApiError
from streams.snapshots.reader import ListQuery

PARAMETERS = ("from", "to", "period", *FILTERED)
NO_COMPARISON = "none"
COMPARE = (*COMPARISONS, NO_COMPARISON)
PAGE_ROWS = 100
"""Rows of a page, unless another number is asked for."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
RANGE_HINT = "Give `from` and `to` as YYYY-MM-DD, or `period` as a preset's name, such as last_7_days."


@dataclass(frozen=True, slots=True)
class MetricsQuery:
    """Either days or the name of a preset, never both; and the filters. Neither of both: all there is."""

    days: Period | None
    preset: str | None
    filters: Filters


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of a list."""

    offset: int
    limit: int


def parse_metrics_query(query: MultiMapping[str], *besides: str, needs_range: bool = True) -> MetricsQuery:
    """The query of a metrics request. Raises `ApiError` (400) for what it does not understand, `RangeError`,
    and `FilterError`.

    `besides` are parameters that are allowed too, and read by the caller.
    """
    known = (*PARAMETERS, *besides)
    for name in query:
        if name not in known:
            raise ApiError(400, "unknown_parameter", f"Unknown parameter {name!r}.", f"Known: {', '.join(known)}.")
    first, last, preset = (single(query, name) for name in ("from", "to", "period"))
    if preset is None and first is None and last is None and not needs_range:
        return MetricsQuery(days=None, preset=None, filters=_filters(query))
    if (preset is None) == (first is None and last is None):
        raise ApiError(400, "bad_range", "A range of days is needed: either its two ends or a preset.", RANGE_HINT)
    days = period(_day("from", first), _day("to", last)) if preset is None else None
    return MetricsQuery(days=days, preset=preset, filters=_filters(query))


def parse_comparison(query: MultiMapping[str]) -> str | None:
    """What the metrics are to be compared with. Raises `ApiError` (422)."""
    name = single(query, "compare") or COMPARISONS[0]
    if name not in COMPARE:
        raise refusal("bad_comparison", f"There is no comparison {name!r}.", f"Known: {', '.join(COMPARE)}.")
    return None if name == NO_COMPARISON else name


def parse_list_query(name: str, filters: Filters, query: MultiMapping[str]) -> ListQuery:
    """Which rows of a list, in which order. Raises `ApiError` (422)."""
    over, clock, order = (single(query, each) for each in LIST_PARAMETERS)
    return ListQuery(
        name,
        filters,
        over=None if over is None else _seconds(over),
        clock=_one_of("clock", clock, CLOCKS),
        order=_one_of("order", order, ORDERS),
    )


LIST_PARAMETERS = ("over", "clock", "order")
PAGE_PARAMETERS = ("offset", "limit")


def parse_page(query: MultiMapping[str]) -> Page:
    """Which page of a list. Raises `ApiError` (422)."""
    return Page(_number(query, "offset", 0, 0, MAX_PAGE_OFFSET), _number(query, "limit", PAGE_ROWS, 1, MAX_PAGE_ROWS))


def refusal(code: str, message: str, hint: str) -> ApiError:
    """An answer to what is understood, and cannot be given."""
    return ApiError(422, code, message, hint)


def _filters(query: MultiMapping[str]) -> Filters:
    origin, group, channel, advisor = (query.getall(name, []) for name in FILTERED)
    return Filters.parse(origin=origin, group=group, channel=channel, advisor=advisor)


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> str:
    if value is None:
        return known[0]
    if value not in known:
        raise refusal("list_refused", f"There is no {name} {value!r}.", f"Known: {', '.join(known)}.")
    return value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_TARGET_SECONDS:
        raise refusal("list_refused", f"`over` is {text!r}.", f"Give seconds, from 0 to {MAX_TARGET_SECONDS}.")
    return seconds


def _number(query: MultiMapping[str], name: str, default: int, lowest: int, highest: int) -> int:
    text = single(query, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and lowest <= int(text) <= highest):
        raise refusal("bad_page", f"`{name}` is {text[:50]!r}.", f"Give a number from {lowest} to {highest}.")
    return int(text)


_MOST_DIGITS = 10


def refuse_parameters(request: web.Request, hint: str) -> None:
    """Refuse any parameter (400), where a route takes none."""
    for name in request.query:
        raise ApiError(400, "unknown_parameter", f"Unknown parameter {name!r}.", hint)


def single(query: MultiMapping[str], name: str) -> str | None:
    """The one value of a parameter, if it is given. Raises `ApiError` (400) when it is given twice."""
    values = query.getall(name, [])
    if len(values) > 1:
        raise ApiError(400, "repeated_parameter", f"`{name}` is given {len(values)} times.", "Give it once.")
    return values[0] if values else None


def _day(name: str, text: str | None) -> date:
    if text is None:
        raise ApiError(400, "bad_range", f"`{name}` is missing.", RANGE_HINT)
    try:
        # `fromisoformat` alone would take 20261122 and 2026-W47-7 as well.
        return date.fromisoformat(text if _DATE.fullmatch(text) else "")
    except ValueError:
        raise ApiError(400, "bad_range", f"`{name}` is {text!r}, which is not a date.", RANGE_HINT) from None
