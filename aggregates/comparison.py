"""Fair comparisons: which earlier period a range is held against, and up to which instant.

A range that contains today has run only so far. Held against whole days, it looks worse than it is; so the earlier
period is cut at the same wall time, on the day that has in it the place that today has in the range.
"""

from datetime import date
from typing import NamedTuple

from aggregates.localtime import LocalCalendar
from aggregates.periods import Period, RangeError
from schemas.lists import COMPARISONS


class ComparisonRefused(RangeError):
    """A range that there is no such comparison of."""


class Comparison(NamedTuple):
    """An earlier period, and the instant before which its facts count; `None`: all of them."""

    period: Period
    cut_ms: int | None


def comparison(name: str, period: Period, calendar: LocalCalendar, as_of_ms: int) -> Comparison:
    """The comparison of a period. Raises `ComparisonRefused` where there is none: to date of a period without today."""
    today = date.fromordinal(calendar.day_of(as_of_ms))
    contains_today = period.start <= today <= period.end
    if name == "previous":
        return Comparison(period.previous, None)
    if name == "to-date":
        if not contains_today:
            raise ComparisonRefused(f"the range {period.start} to {period.end} does not contain today ({today})")
        previous = period.previous
        return Comparison(previous, _cut_ms(calendar, previous.start + (today - period.start), as_of_ms))
    if name == "year":
        earlier = Period(year_earlier(period.start), year_earlier(period.end))
        return Comparison(earlier, _cut_ms(calendar, year_earlier(today), as_of_ms) if contains_today else None)
    raise ComparisonRefused(f"there is no comparison {name!r}; there are: {', '.join(COMPARISONS)}")


def year_earlier(day: date) -> date:
    """The same date a year earlier; of 29 February the 28th. Raises `ComparisonRefused` where there is none."""
    if day.year == 1:
        raise ComparisonRefused(f"there is no year before {day}")
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)


def _cut_ms(calendar: LocalCalendar, day: date, as_of_ms: int) -> int:
    """When the clock shows on `day` what it shows at `as_of_ms`: the first time, or the first instant after a gap."""
    return calendar.first_instant_ms(day.toordinal(), calendar.time_of_day_ms(as_of_ms))
