"""Seconds inside working hours, the plain way: lay out every shift as real instants, clip, merge, add up.

No index, no arithmetic on weeks: each local day a wait touches is opened in the calendar and its shifts are turned into
instants one by one. Everything is in whole microseconds, so nothing is rounded.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from schemas import zones
from tests.oracle.instants import local, to_us

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Interval = tuple[int, int]


class Schedule:
    """One named schedule: its versions in the order they take over.

    `versions` are the plain dicts of the account's settings; `account_zone` serves those that name no zone.
    """

    def __init__(self, versions: Sequence[Mapping[str, Any]], account_zone: str) -> None:
        in_order = sorted(versions, key=lambda version: version.get("valid_from") or "")
        self._versions = [Version(version, account_zone) for version in in_order]

    def worked_us(self, start_us: int, end_us: int) -> int:
        """Microseconds of `[start, end)` inside working hours, each part by the version then in force."""
        total = 0
        for version, since_us, until_us in self._reigns():
            part = (max(start_us, since_us), min(end_us, until_us))
            if part[0] < part[1]:
                total += version.worked_us(*part)
        return total

    def _reigns(self) -> Iterable[tuple["Version", int, int]]:
        """Each version with the instants between which it is in force: till any later one takes over."""
        for index, version in enumerate(self._versions):
            since_us = version.takes_over_us if index else -(10**30)
            later = [following.takes_over_us for following in self._versions[index + 1 :]]
            yield version, since_us, min(later, default=10**30)


class Version:
    """One version of a schedule: weekly hours, holidays and special days in one zone."""

    def __init__(self, settings: Mapping[str, Any], account_zone: str) -> None:
        self._zone = zones.zone(settings.get("timezone") or account_zone)
        self._weekly: Mapping[str, Any] = settings.get("weekly") or {}
        self._holidays = {date.fromisoformat(day) for day in settings.get("holidays") or ()}
        special: Mapping[str, Any] = settings.get("special_days") or {}
        self._special_days = {date.fromisoformat(day): hours for day, hours in special.items()}
        self._known: dict[date, list[Interval]] = {}
        valid_from = settings.get("valid_from")
        self.takes_over_us = first_instant_us(date.fromisoformat(valid_from), "00:00", self._zone) if valid_from else 0

    def worked_us(self, start_us: int, end_us: int) -> int:
        """Microseconds of `[start, end)` inside this version's shifts, as if it had always been in force."""
        day = local(start_us, self._zone).date() - timedelta(days=2)  # a shift of the day before may still run
        last = local(end_us, self._zone).date() + timedelta(days=1)
        parts: list[Interval] = []
        while day <= last:
            parts += [(max(opens, start_us), min(closes, end_us)) for opens, closes in self._shifts(day)]
            day += timedelta(days=1)
        return length_of_union_us(parts)

    def _shifts(self, day: date) -> list[Interval]:
        """The shifts that open on that day, as instants."""
        if day not in self._known:
            self._known[day] = [self._shift(day, *hours) for hours in self._hours(day)]
        return self._known[day]

    def _hours(self, day: date) -> Sequence[tuple[str, str]]:
        """The opening and closing texts of a day: a special day is stronger than a holiday, that than the week."""
        if day in self._special_days:
            return self._special_days[day] or ()
        if day in self._holidays:
            return ()
        return self._weekly.get(WEEKDAYS[day.weekday()]) or ()

    def _shift(self, day: date, opens: str, closes: str) -> Interval:
        next_day = day + timedelta(days=1)
        if closes == "24:00":
            end_us = last_instant_us(next_day, "00:00", self._zone)
        elif closes <= opens:  # "HH:MM" texts sort as times do
            end_us = last_instant_us(next_day, closes, self._zone)
        else:
            end_us = last_instant_us(day, closes, self._zone)
        return first_instant_us(day, opens, self._zone), end_us


def first_instant_us(day: date, clock: str, zone: tzinfo) -> int:
    """When the clock on the wall first shows that time; in a skipped hour, the first real instant after it."""
    return _instant_us(day, clock, zone, fold=0)


def last_instant_us(day: date, clock: str, zone: tzinfo) -> int:
    """When the clock on the wall last shows that time; in a skipped hour, the first real instant after it."""
    return _instant_us(day, clock, zone, fold=1)


def _instant_us(day: date, clock: str, zone: tzinfo, *, fold: int) -> int:
    wall = datetime.combine(day, time.fromisoformat(clock))
    moment = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return to_us(moment)
    return to_us(_end_of_gap(wall, zone))


def _end_of_gap(wall: datetime, zone: tzinfo) -> datetime:
    """The instant the clock jumped over `wall`, found by halving: before it the offset is the old one."""
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    old_offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == old_offset:
            before = middle
        else:
            after = middle
    return after


def length_of_union_us(parts: Iterable[Interval]) -> int:
    """Total length of the intervals, what they share counted once; empty or inverted ones count nothing."""
    total = 0
    covered_to: int | None = None
    for start_us, end_us in sorted(part for part in parts if part[0] < part[1]):
        from_us = start_us if covered_to is None else max(start_us, covered_to)
        if end_us > from_us:
            total += end_us - from_us
            covered_to = end_us
    return total


class Clock:
    """The business clock of an account: whose hours count for whom."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        zone = settings.get("timezone") or "UTC"
        schedules: Mapping[str, Any] = settings.get("schedules") or {}
        self._schedules = {name: Schedule(versions, zone) for name, versions in schedules.items()}
        self._groups: Mapping[str, Any] = settings.get("groups") or {}
        self._advisors: Mapping[str, Any] = settings.get("advisors") or {}
        self._default: str | None = settings.get("default_schedule")

    def worked_us(self, advisor: str | None, start_us: int, end_us: int) -> int:
        """Microseconds of `[start, end)` the advisor was on duty; all of them where nobody has a schedule."""
        return self.worked_by_us(self.schedule_of(advisor), start_us, end_us)

    def worked_by_us(self, schedule: str | None, start_us: int, end_us: int) -> int:
        """Microseconds of `[start, end)` inside a schedule; all of them without one."""
        return end_us - start_us if schedule is None else self._schedules[schedule].worked_us(start_us, end_us)

    def schedule_of_group(self, group: str | None) -> str | None:
        """The group's schedule, else the account's: of a wait that nobody has answered yet."""
        return (self._groups.get(group or "") or {}).get("schedule") or self._default

    def schedule_of(self, advisor: str | None) -> str | None:
        """The advisor's own schedule, else that of the advisor's group in the settings, else the account's."""
        known = self._advisors.get(advisor or "") or {}
        group = self._groups.get(known.get("group_id") or "") or {}
        return known.get("schedule") or group.get("schedule") or self._default
