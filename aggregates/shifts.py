"""The shifts of one version of a schedule, as instants.

A shift belongs to the local day it opens on. It opens at the first occurrence of its opening and closes at the second
of its close; where the clock skips either, that is the first real instant after the gap. The same holds at midnight:
`24:00`, or `00:00` of the next day, is a close like any other, so where the clock shows midnight twice (Havana) a
shift until `24:00` ends at the second one. A version takes over at the first local midnight of its `valid_from`.
"""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import get_args

from aggregates.localtime import (
    DAY_MS,
    EPOCH_DAY,
    HOUR_MS,
    MINUTE_MS,
    first_instant_ms,
    last_instant_ms,
    midnight_wall_ms,
    offset_ms,
)
from schemas import zones
from schemas.accounts import Interval, ScheduleVersion, Weekday

# The days looked at for one day are its neighbours; a long wait is walked in order, so these few are asked again.
_REMEMBERED_DAYS = 16

# UTC midnights whose offset is remembered: those around the days of a long wait, which is summed up 64 days at a time.
_REMEMBERED_OFFSETS = 256


class Shifts:
    """When one version of a schedule is open, by local day, whether or not the version is in force.

    Raises `ValueError` for an unknown zone or for a time or date that is none; settings were checked for both when
    they were decoded.
    """

    def __init__(self, version: ScheduleVersion, default_timezone: str) -> None:
        self._zone = zones.zone(default_timezone if version.timezone is None else version.timezone)
        self._weekly = [_hours(version.weekly.get(weekday, ())) for weekday in get_args(Weekday)]  # Monday first
        self._holidays = {_day_number(day) for day in version.holidays}
        self._special_days = {_day_number(day): _hours(hours) for day, hours in version.special_days.items()}
        self._valid_from = version.valid_from
        self._irregular = self._holidays | self._special_days.keys()
        self.irregular_days = sorted(day - EPOCH_DAY for day in self._irregular)
        """Local days (counted from 1970) with hours of their own."""
        self.opened_on = lru_cache(maxsize=_REMEMBERED_DAYS)(self._opened_on)
        self._offset_at = lru_cache(maxsize=_REMEMBERED_OFFSETS)(self._offset_at_midnight)

    def take_over_ms(self) -> int | None:
        """The first instant of the local day `valid_from`; `None` for a version without one."""
        if self._valid_from is None:
            return None
        return first_instant_ms(self._zone, midnight_wall_ms(_day_number(self._valid_from)))

    def regular(self, utc_day: int) -> tuple[int, int] | None:
        """The weekday and offset of a UTC day (counted from 1970) on which what is open follows from these two alone.

        `None` near a day with hours of its own or a change of the clock.
        """
        # What is open of a UTC day was opened on a local day from two before it to one after it.
        if self._irregular and any(EPOCH_DAY + utc_day + near in self._irregular for near in (-2, -1, 0, 1)):
            return None
        offset = self._steady_offset(utc_day - 3, utc_day + 4)
        return None if offset is None else (utc_day % 7, offset)

    def _steady_offset(self, first_day: int, last_day: int) -> int | None:
        """The offset at all these UTC midnights, if it is one: no zone changes its clock and back within a day."""
        offset = self._offset_at(first_day)
        for utc_day in range(first_day + 1, last_day + 1):
            if self._offset_at(utc_day) != offset:
                return None
        return offset

    def _offset_at_midnight(self, utc_day: int) -> int:
        return offset_ms(self._zone, utc_day * DAY_MS)

    def _opened_on(self, day_number: int) -> tuple[tuple[int, int], ...]:
        """The shifts that open on a local day, as `(open_ms, close_ms)`; they may overlap, or last no time in a gap."""
        midnight = midnight_wall_ms(day_number)
        # A shift ends within two days of its midnight, and no clock is further than a day from UTC.
        offset = self._steady_offset(day_number - EPOCH_DAY - 1, day_number - EPOCH_DAY + 4)
        if offset is not None:
            start_ms = midnight - offset
            return tuple((start_ms + opening, start_ms + close) for opening, close in self._hours_of(day_number))
        return tuple(
            (first_instant_ms(self._zone, midnight + opening), last_instant_ms(self._zone, midnight + close))
            for opening, close in self._hours_of(day_number)
        )

    def _hours_of(self, day_number: int) -> tuple[tuple[int, int], ...]:
        special = self._special_days.get(day_number)
        if special is not None:
            return special
        if day_number in self._holidays:
            return ()
        return self._weekly[(day_number - 1) % 7]  # day number 1 is a Monday


def _hours(intervals: Iterable[Interval]) -> tuple[tuple[int, int], ...]:
    """Intervals as milliseconds after midnight, those that meet or overlap as one, in order.

    A close not after its opening is the next day's.
    """
    hours: list[tuple[int, int]] = []
    for opening, close in intervals:
        opening_ms, close_ms = _after_midnight_ms(opening), _after_midnight_ms(close)
        hours.append((opening_ms, close_ms if close_ms > opening_ms else close_ms + DAY_MS))
    merged: list[tuple[int, int]] = []
    for opening_ms, close_ms in sorted(hours):
        if merged and opening_ms <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], close_ms))
        else:
            merged.append((opening_ms, close_ms))
    return tuple(merged)


def _after_midnight_ms(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * HOUR_MS + int(minutes) * MINUTE_MS


def _day_number(text: str) -> int:
    return date.fromisoformat(text).toordinal()
