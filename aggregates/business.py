"""The business clock: how much of a wait lies inside a schedule's working hours. Exact, in whole milliseconds.

A schedule is a list of versions, in any order. Each part of a wait is counted by the version then in force: the one
of the latest `valid_from` whose local midnight, in its own zone, has come. The first version (without `valid_from`,
else of the earliest) also covers all time before it. At its take-over a version applies as if it had always been
there: the old one's shift is cut, and a shift of its own that opened the evening before is open from that instant.

Hours covered by several shifts of a version count once. What opens and closes when is `aggregates/shifts.py`'s.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from aggregates.localtime import DAY_MS, EPOCH_DAY
from aggregates.shifts import Shifts
from schemas.accounts import ScheduleVersion

# UTC days a clock remembers, some 600 bytes each: most waits are of today, few are longer than a season.
_REMEMBERED_DAYS = 128

# A wait of more days is summed up by blocks of days, each of 64 of the size before, and some of each are remembered.
_WALKED_DAYS = 8
_BLOCK_DAYS = (1, 64, 64**2, 64**3)
_REMEMBERED_BLOCKS = 256

# Before this day (1800, counted from 1970) no clock in the zone database was ever changed.
_FIRST_CHANGE_DAY = -62_091

# A day with more open periods is searched, not walked.
_WALKED_SPANS = 8

# Earlier and later than any instant.
_EVER_MS = 1 << 62


class Span(NamedTuple):
    """A counted period `[start_ms, end_ms)`, and the version that counted it: its place in the list given."""

    start_ms: int
    end_ms: int
    version: int
    valid_from: str | None


class _Reign(NamedTuple):
    """The period `[from_ms, until_ms)` in which a version is in force."""

    from_ms: int
    until_ms: int
    version: int
    valid_from: str | None
    shifts: Shifts


class _OpenDay(NamedTuple):
    """What is open of one UTC day."""

    total_ms: int
    spans: tuple[Span, ...]

    def within_ms(self, start_ms: int, end_ms: int) -> int:
        """What of a period is open."""
        spans = self.spans
        if len(spans) > _WALKED_SPANS:
            spans = spans[bisect_right(spans, start_ms, key=_closing) : bisect_left(spans, end_ms, key=_opening)]
            if len(spans) > _WALKED_SPANS:
                return _within_ms((spans[0], spans[-1]), start_ms, end_ms) + sum(
                    close_ms - open_ms for open_ms, close_ms, _, _ in spans[1:-1]
                )
        return _within_ms(spans, start_ms, end_ms)


def _opening(span: Span) -> int:
    return span.start_ms


def _closing(span: Span) -> int:
    return span.end_ms


class BusinessClock:
    """Counts the time inside the working hours of one schedule.

    `versions` are the schedule's; one that names no zone is in `default_timezone`, the account's. Raises `ValueError`
    for no versions, or a zone, time or date that is none. A wait within a remembered day costs about a microsecond;
    a long one is summed up by weekdays and blocks of days, and costs no more than some hundred days.
    """

    def __init__(self, versions: Sequence[ScheduleVersion], default_timezone: str) -> None:
        self._reigns = _reigns(versions, default_timezone)
        self._starts_ms = [reign.from_ms for reign in self._reigns]
        self._open_day = lru_cache(maxsize=_REMEMBERED_DAYS)(self._find_open_day)
        # Of each size apart: many small ones are made for one large one.
        remembered = lru_cache(maxsize=_REMEMBERED_BLOCKS)
        self._block_ms = [remembered(partial(self._find_block_ms, level)) for level in range(len(_BLOCK_DAYS))]
        self._irregular_day_ms = lru_cache(maxsize=_REMEMBERED_BLOCKS)(self._find_day_ms)
        self._weekdays_ms: dict[tuple[int, int, int], int] = {}

    def between_ms(self, start_ms: int, end_ms: int) -> int:
        """The milliseconds of `[start_ms, end_ms)` inside working hours; 0 if it ends before it starts."""
        if end_ms <= start_ms:
            return 0
        first_day, last_day = start_ms // DAY_MS, (end_ms - 1) // DAY_MS
        counted = self._open_day(first_day).within_ms(start_ms, end_ms)
        if first_day == last_day:
            return counted
        if last_day - first_day > _WALKED_DAYS:
            counted += self._total_ms(first_day + 1, last_day, len(_BLOCK_DAYS) - 1)
        else:
            for day in range(first_day + 1, last_day):
                counted += self._open_day(day).total_ms
        return counted + self._open_day(last_day).within_ms(start_ms, end_ms)

    def spans(self, start_ms: int, end_ms: int) -> Iterator[Span]:
        """What `between_ms` counts, period by period, in order and as long as can be under one version."""
        pending: Span | None = None
        for day in range(start_ms // DAY_MS, (end_ms - 1) // DAY_MS + 1):
            for span in self._open_day(day).spans:
                part = span._replace(start_ms=max(span.start_ms, start_ms), end_ms=min(span.end_ms, end_ms))
                if part.start_ms >= part.end_ms:
                    continue
                if pending and pending.end_ms == part.start_ms and pending.version == part.version:
                    pending = pending._replace(end_ms=part.end_ms)
                    continue
                if pending:
                    yield pending
                pending = part
        if pending:
            yield pending

    def open_day(self, utc_day: int) -> tuple[int, list[tuple[int, int]]]:
        """What is open of a UTC day (counted from 1970): the milliseconds in all, and from when to when."""
        total_ms, spans = self._open_day(utc_day)
        return total_ms, [(span.start_ms, span.end_ms) for span in spans]

    def _total_ms(self, first_day: int, end_day: int, level: int) -> int:
        """What is open of the UTC days `[first_day, end_day)`, by blocks of this level and those below."""
        if not level:
            return sum(map(self._day_ms, range(first_day, end_day)))
        size = _BLOCK_DAYS[level]
        first, end = -(-first_day // size), end_day // size
        if first > end:
            return self._total_ms(first_day, end_day, level - 1)
        total_ms = sum(map(self._block_ms[level], range(first, end)))
        total_ms += self._total_ms(first_day, first * size, level - 1)
        return total_ms + self._total_ms(end * size, end_day, level - 1)

    def _find_block_ms(self, level: int, block: int) -> int:
        first_day, days = block * _BLOCK_DAYS[level], _BLOCK_DAYS[level]
        if self._is_ancient(first_day, first_day + days):
            weeks, more = divmod(days, 7)
            week_ms = [self._day_ms(first_day + day) for day in range(7)]
            return weeks * sum(week_ms) + sum(week_ms[:more])
        return self._total_ms(first_day, first_day + days, level - 1)

    def _is_ancient(self, first_day: int, end_day: int) -> bool:
        """Whether each week of these days is like the other: before clocks were changed, and under one version."""
        if end_day + 4 > _FIRST_CHANGE_DAY:
            return False
        reign = self._reign_of(first_day, end_day)
        if reign is None:
            return False
        irregular = reign.shifts.irregular_days
        return bisect_left(irregular, first_day - 2) == bisect_left(irregular, end_day + 2)

    def _day_ms(self, utc_day: int) -> int:
        """What is open of a UTC day in all. Most are like all of their weekday, and remembered with them."""
        reign = self._reign_of(utc_day, utc_day + 1)
        regular = None if reign is None else reign.shifts.regular(utc_day)
        if reign is None or regular is None:
            return self._irregular_day_ms(utc_day)
        kind = (reign.version, *regular)
        found = self._weekdays_ms.get(kind)
        if found is None:
            found = self._weekdays_ms[kind] = self._find_open_day(utc_day).total_ms
        return found

    def _find_day_ms(self, utc_day: int) -> int:
        return self._find_open_day(utc_day).total_ms

    def _reign_of(self, first_day: int, end_day: int) -> _Reign | None:
        """The version that is in force all through these UTC days, if one is."""
        reign = self._reigns[bisect_right(self._starts_ms, first_day * DAY_MS) - 1]
        return reign if end_day * DAY_MS <= reign.until_ms else None

    def _find_open_day(self, utc_day: int) -> _OpenDay:
        start_ms, end_ms = utc_day * DAY_MS, (utc_day + 1) * DAY_MS
        spans = tuple(
            Span(open_ms, close_ms, reign.version, reign.valid_from)
            for reign in self._reigns
            for open_ms, close_ms in _open_periods(
                reign.shifts, utc_day, max(start_ms, reign.from_ms), min(end_ms, reign.until_ms)
            )
        )
        return _OpenDay(sum(span.end_ms - span.start_ms for span in spans), spans)


def _reigns(versions: Sequence[ScheduleVersion], default_timezone: str) -> list[_Reign]:
    """Who is in force when, in order.

    A version ends where any later one begins. That also settles two dates so close, in zones so far apart, that the
    later one's midnight comes first: the earlier version is then never in force.
    """
    if not versions:
        raise ValueError("a schedule needs at least one version")
    order = sorted(range(len(versions)), key=lambda place: versions[place].valid_from or "")
    reigns: list[_Reign] = []
    until_ms = _EVER_MS
    for place in reversed(order):
        shifts = Shifts(versions[place], default_timezone)
        take_over_ms = shifts.take_over_ms()
        from_ms = -_EVER_MS if place == order[0] or take_over_ms is None else take_over_ms
        if from_ms < until_ms:
            reigns.append(_Reign(from_ms, until_ms, place, versions[place].valid_from, shifts))
            until_ms = from_ms
    return reigns[::-1]


def _open_periods(shifts: Shifts, utc_day: int, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """The parts of a period inside a UTC day that lie within any shift: in order, each instant once."""
    if start_ms >= end_ms:
        return
    # Local days are up to one ahead of the UTC day or behind it, and a shift may have opened the day before.
    day_number = EPOCH_DAY + utc_day
    near_days = range(day_number - 2, day_number + 2)
    periods = sorted(period for day in near_days for period in shifts.opened_on(day))
    for open_ms, close_ms in periods:
        open_ms, close_ms = max(open_ms, start_ms), min(close_ms, end_ms)
        if open_ms < close_ms:
            yield open_ms, close_ms
            start_ms = close_ms


def _within_ms(spans: tuple[Span, ...], start_ms: int, end_ms: int) -> int:
    counted = 0
    for open_ms, close_ms, _, _ in spans:
        if open_ms < start_ms:
            open_ms = start_ms
        if close_ms > end_ms:
            close_ms = end_ms
        if close_ms > open_ms:
            counted += close_ms - open_ms
    return counted
