"""What a request for metrics asks for: a range of days or a preset's name, and the filters.

A parameter nobody knows is refused: a misspelt filter that is passed over would give wrong numbers.
"""

import re
from dataclasses import dataclass
from datetime import date

from aiohttp import web
from multidict import MultiMapping

from aggregates.filters import Filters
from aggregates.periods import Period, period
from streams.http.errors import ApiError

DIMENSIONS = ("origin", "group", "channel", "advisor")
PARAMETERS = ("from", "to", "period", *DIMENSIONS)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
RANGE_HINT = "Give `from` and `to` as YYYY-MM-DD, or `period` as a preset's name, such as last_7_days."


@dataclass(frozen=True, slots=True)
class MetricsQuery:
    """Either days or the name of a preset, never both; and the filters."""

    days: Period | None
    preset: str | None
    filters: Filters


def parse_metrics_query(query: MultiMapping[str], *besides: str) -> MetricsQuery:
    """The query of a metrics request. Raises `ApiError` (400) for what it does not understand, `RangeError`,
    and `FilterError`.

    `besides` are parameters that are allowed too, and read by the caller.
    """
    known = (*PARAMETERS, *besides)
    for name in query:
        if name not in known:
            raise ApiError(400, "unknown_parameter", f"Unknown parameter {name!r}.", f"Known: {', '.join(known)}.")
    first, last, preset = (single(query, name) for name in ("from", "to", "period"))
    if (preset is None) == (first is None and last is None):
        raise ApiError(400, "bad_range", "A range of days is needed: either its two ends or a preset.", RANGE_HINT)
    days = period(_day("from", first), _day("to", last)) if preset is None else None
    origin, group, channel, advisor = (query.getall(name, []) for name in DIMENSIONS)
    filters = Filters.parse(origin=origin, group=group, channel=channel, advisor=advisor)
    return MetricsQuery(days=days, preset=preset, filters=filters)


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
