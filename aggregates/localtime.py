"""Converts between instants (UTC milliseconds) and local time in an IANA zone.

Days are numbered as `date.toordinal()` numbers them. A wall reading is written as an integer too: the milliseconds
from 1970-01-01T00:00 to it, as if no clock had ever been changed (`wall_ms`).

Where a change of the clock repeats a reading or skips it, `first_instant_ms` and `last_instant_ms` decide: the first
or the second occurrence of a repeated one, the first real instant after the gap for a skipped one.
"""

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from schemas import zones

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

EPOCH_DAY = date(1970, 1, 1).toordinal()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall reading has no zone until one is asked for it
_MILLISECOND = timedelta(milliseconds=1)

# Offsets are asked within these years only: a day before or after them would leave the range of `datetime`.
_EARLIEST_MS = (date(2, 1, 1).toordinal() - EPOCH_DAY) * DAY_MS
_LATEST_MS = (date(9999, 1, 1).toordinal() - EPOCH_DAY) * DAY_MS

# UTC days whose offset a calendar remembers. Live events touch a few, a replay of a year's history 366.
_REMEMBERED_DAYS = 512

# Days whose hours are remembered, of all zones together: every report asks for each of its days, and reports of all
# accounts for the same ones.
_REMEMBERED_HOURS = 8192


def offset_ms(zone: tzinfo, instant_ms: int) -> int:
    """How far the wall clock is ahead of UTC at an instant (negative: behind)."""
    instant_ms = min(max(instant_ms, _EARLIEST_MS), _LATEST_MS)
    return _whole_ms((_EPOCH + timedelta(milliseconds=instant_ms)).astimezone(zone).utcoffset())


def first_instant_ms(zone: tzinfo, wall_ms: int) -> int:
    """When the clock first shows a reading; if it skips it, the first instant after the gap."""
    return _instants_ms(zone, wall_ms)[0]


def last_instant_ms(zone: tzinfo, wall_ms: int) -> int:
    """When the clock shows a reading for the last time; if it skips it, the first instant after the gap."""
    return _instants_ms(zone, wall_ms)[1]


def midnight_wall_ms(day_number: int) -> int:
    """The wall reading with which a day begins."""
    return (day_number - EPOCH_DAY) * DAY_MS


class LocalCalendar:
    """An account's days and hours, in its zone. Raises `ValueError` for an unknown zone.

    Every instant belongs to the day and hour the wall clock shows at it. Fast where it is asked per event: the offset
    is remembered by UTC day, and looked up anew only on the few days on which it changes.
    """

    def __init__(self, timezone: str) -> None:
        self._zone = zones.zone(timezone)
        self._offset_of_utc_day = lru_cache(maxsize=_REMEMBERED_DAYS)(self._find_offset_of_utc_day)

    def day_and_hour(self, instant_ms: int) -> tuple[int, int]:
        """The day number and the hour, 0 to 23, the wall clock shows at an instant."""
        offset = self._offset_of_utc_day(instant_ms // DAY_MS)
        if offset is None:
            offset = offset_ms(self._zone, instant_ms)
        day, in_day_ms = divmod(instant_ms + offset, DAY_MS)
        return EPOCH_DAY + day, in_day_ms // HOUR_MS

    def day_of(self, instant_ms: int) -> int:
        """The day number the wall clock shows at an instant."""
        return self.day_and_hour(instant_ms)[0]

    def time_of_day_ms(self, instant_ms: int) -> int:
        """What the wall clock shows at an instant, in milliseconds since midnight."""
        return (instant_ms + offset_ms(self._zone, instant_ms)) % DAY_MS

    def first_instant_ms(self, day_number: int, time_ms: int) -> int:
        """When the wall clock first shows a time on a day; if it skips it, the first instant after the gap."""
        return first_instant_ms(self._zone, midnight_wall_ms(day_number) + time_ms)

    def day_bounds_ms(self, day_number: int) -> tuple[int, int]:
        """The half-open period `[start_ms, end_ms)` of a day: from its first midnight to the next day's.

        It lasts as many hours as it really had: 23 or 25 when the clock changes, 23.5 or 24.5 on Lord Howe, and none
        for a day its zone left out (Samoa's 30 December 2011). A midnight the clock skips is the first instant after
        the gap, one it shows twice is the first. Adjacent days therefore meet without gap or overlap. They differ
        from `day_of` only where a clock fell back across midnight after showing some of the new day: one hour a
        year in Newfoundland until 2011, nowhere under the rules in force since.
        """
        start_ms = first_instant_ms(self._zone, midnight_wall_ms(day_number))
        return start_ms, first_instant_ms(self._zone, midnight_wall_ms(day_number + 1))

    def hours_of_day(self, day_number: int, until_ms: int | None = None) -> list[int]:
        """How often each of the hours 0 to 23 occurs on a day: 24 numbers, each 0, 1 or 2.

        With `until_ms`, only hours that have begun by that instant count.

        An hour occurs as often as the clock shows the moment of it that it shows most often, so a part of an hour
        counts as the hour: an event can fall into it. When Lord Howe goes back from 02:00 to 01:30, hour 1 occurs
        twice, for the readings from 01:30 on do; when it goes forward from 02:00 to 02:30, hour 2 still occurs once.
        """
        if until_ms is not None:
            today = self.day_of(until_ms)
            if day_number > today + 1:
                return [0] * 24
            if day_number >= today - 1:
                return list(_hours_begun(self._zone, day_number, until_ms))
        return list(_hours_of_day(self._zone, day_number))

    def _find_offset_of_utc_day(self, utc_day: int) -> int | None:
        """The offset that holds all through a UTC day (counted from 1970), `None` if it changes meanwhile.

        Comparing the ends is enough: no zone has ever changed its clock and changed it back within one UTC day.
        """
        offset = offset_ms(self._zone, utc_day * DAY_MS)
        return offset if offset == offset_ms(self._zone, (utc_day + 1) * DAY_MS - 1) else None


@lru_cache(maxsize=_REMEMBERED_HOURS)
def _hours_of_day(zone: tzinfo, day_number: int) -> tuple[int, ...]:
    return _hours_begun(zone, day_number, None)


def _hours_begun(zone: tzinfo, day_number: int, until_ms: int | None) -> tuple[int, ...]:
    midnight = midnight_wall_ms(day_number)
    start_ms = first_instant_ms(zone, midnight)
    end_ms = last_instant_ms(zone, midnight + DAY_MS)
    if until_ms is not None:
        end_ms = min(end_ms, until_ms + 1)
    runs = _wall_runs(zone, start_ms, end_ms)
    if runs == [(midnight, midnight + DAY_MS)]:
        return (1,) * 24
    return tuple(_most_shown(runs, midnight + hour * HOUR_MS) for hour in range(24))


def _wall_runs(zone: tzinfo, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """The wall readings shown from one instant to another, a run for each stretch without a change of offset."""
    runs = []
    while start_ms < end_ms:
        offset = offset_ms(zone, start_ms)
        steady = offset == offset_ms(zone, end_ms - 1)
        until_ms = end_ms if steady else _change_ms(zone, start_ms, end_ms - 1)
        runs.append((start_ms + offset, until_ms + offset))
        start_ms = until_ms
    return runs


def _most_shown(runs: list[tuple[int, int]], hour_wall_ms: int) -> int:
    """How often the moment of an hour that is shown most often is shown."""
    shown = [(max(start, hour_wall_ms), min(end, hour_wall_ms + HOUR_MS)) for start, end in runs]
    shown = [(start, end) for start, end in shown if start < end]
    # The deepest overlap of intervals is found at the start of one of them.
    return max((sum(start <= moment < end for start, end in shown) for moment, _ in shown), default=0)


def _instants_ms(zone: tzinfo, wall_ms: int) -> tuple[int, int]:
    """The first and the last instant at which the clock shows a reading; both the end of the gap if it never does."""
    reading = (_NAIVE_EPOCH + timedelta(milliseconds=wall_ms)).replace(tzinfo=zone)
    first_ms = wall_ms - _whole_ms(reading.utcoffset())
    last_ms = wall_ms - _whole_ms(reading.replace(fold=1).utcoffset())
    if first_ms <= last_ms:
        return first_ms, last_ms
    # A skipped reading: the offset before the change puts it after the change, the offset after puts it before.
    change_ms = _change_ms(zone, last_ms, first_ms)
    return change_ms, change_ms


def _change_ms(zone: tzinfo, before_ms: int, after_ms: int) -> int:
    """The first instant of the new offset, between two instants whose offsets differ (found by halving)."""
    offset = offset_ms(zone, before_ms)
    while after_ms - before_ms > 1:
        middle_ms = (before_ms + after_ms) // 2
        if offset_ms(zone, middle_ms) == offset:
            before_ms = middle_ms
        else:
            after_ms = middle_ms
    return after_ms


def _whole_ms(offset: timedelta | None) -> int:
    assert offset is not None  # every zone knows its offset at every instant
    return offset // _MILLISECOND
