"""The report: the `metrics` object of any range of days under any filters, from cubes of days and months."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from operator import add
from typing import Any, NamedTuple

import msgspec

from aggregates.cube import (
    ADVISOR,
    VALUES_KEY,
    Cube,
    Sets,
    Slice,
    decode_sets,
    decode_slice,
    decode_values,
    matches,
    ordered_values,
    query_keys,
    sets_key,
)
from aggregates.durations import Durations
from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.months import (
    MonthPeople,
    MonthSlice,
    days_key,
    decode_day_counts,
    decode_month_people,
    decode_month_slice,
    month_days,
)
from aggregates.people import People, PeopleCounter
from aggregates.periods import Period
from schemas.accounts import WEEKDAYS

Metrics = dict[str, Any]


def needed_keys(filters: Filters) -> list[bytes]:
    """The fields of each day's cube that `metrics` reads, its tables apart."""
    return [*query_keys(filters), sets_key(filters.mask), VALUES_KEY]


def table_filters(filters: Filters, cubes: Iterable[Cube]) -> dict[str, list[Filters]]:
    """The filters of each row of the tables per advisor, group and channel: one value each of those that occurred.

    A row's own `needed_keys` must then be in the cubes that `metrics` is given.
    """
    groups: set[str | None] = set()
    channels: set[str | None] = set()
    advisors: set[str | None] = set()
    for cube in cubes:
        if VALUES_KEY in cube:
            _, day_groups, day_channels, day_advisors = decode_values(cube[VALUES_KEY])
            groups.update(day_groups)
            channels.update(day_channels)
            advisors.update(day_advisors)
    return {
        "advisor": [
            msgspec.structs.replace(filters, advisor=(value,))
            for value in ordered_values(advisors)
            if value is not None and matches(filters.advisor, value)
        ],
        "group": [
            msgspec.structs.replace(filters, group=(value,))
            for value in ordered_values(groups)
            if matches(filters.group, value)
        ],
        "channel": [
            msgspec.structs.replace(filters, channel=(value,))
            for value in ordered_values(channels)
            if matches(filters.channel, value)
        ],
    }


def metrics(
    period: Period,
    cubes: Mapping[int, Cube],
    filters: Filters,
    calendar: LocalCalendar,
    tables: Mapping[str, list[Filters]] | None = None,
    months: Mapping[int, Cube] | None = None,
) -> Metrics:
    """The metrics object.

    `cubes` holds the cube, or just its needed fields, of each day of the period that has one. Days of months whose
    roll-up (`aggregates.months`), or just its needed fields, is in `months`, by first day, are not looked at; each of
    them must be `usable` for the period. It makes no difference to any number whether a month comes by days or whole.
    """
    parts = _Parts(period, cubes, months or {})
    document = _Total(parts, filters, _people(parts, filters, None)[None]).document(calendar)
    for name, rows in (tables or {}).items():
        people = _people(parts, filters, name)
        document[f"by_{name}"] = [_table_row(parts, name, row, people) for row in rows]
    return document


class _Parts:
    """What a period is added up from."""

    def __init__(self, period: Period, cubes: Mapping[int, Cube], months: Mapping[int, Cube]) -> None:
        rolled_up = {day for first in months for day in month_days(first)}
        self.period = period
        self.months = sorted(months.items())
        self.days = [(day, cubes[day]) for day in period.days if day in cubes and day not in rolled_up]
        self.dates = [(day, date.fromordinal(day).isoformat()) for day in period.days]
        self._people: dict[tuple[bytes, ...], _DecodedPeople] = {}

    def people(self, day_key: bytes, month_keys: Sequence[bytes]) -> "_DecodedPeople":
        """The sets of days and the people of months under these keys. A table and the whole often share them."""
        found = self._people.get((day_key, *month_keys))
        if found is None:
            found = self._people[day_key, *month_keys] = _DecodedPeople(
                [(day, decode_sets(cube[day_key])) for day, cube in self.days if day_key in cube],
                [
                    (first, decode_month_people(month[key]))
                    for first, month in self.months
                    for key in month_keys
                    if key in month
                ],
            )
        return found


class _DecodedPeople(NamedTuple):
    days: list[tuple[int, Sets]]
    months: list[tuple[int, MonthPeople]]


def _table_row(parts: _Parts, name: str, filters: Filters, people: Mapping[str | None, People]) -> Metrics:
    (value,) = getattr(filters, name)
    total = _Total(parts, filters, people[value], whole=False)
    row = {name: value, **total.row()}
    if name != "advisor":
        row["waiting"] = total.waiting_box()
    return row


def _people(parts: _Parts, filters: Filters, table: str | None) -> Mapping[str | None, People]:
    """The people under the filters, per value of the table's dimension."""
    counter = PeopleCounter(filters, table, parts.period.days.start)
    decoded = parts.people(counter.day_key, counter.month_keys)
    for first, people in decoded.months:
        counter.add_month(first, people)
    for day, sets in decoded.days:
        counter.add_day(day, sets)
    return counter.people


class _Total:
    """What the parts of a period add up to: for a `document` if `whole`, else for the `row` of a table."""

    def __init__(self, parts: _Parts, filters: Filters, people: People, *, whole: bool = True) -> None:
        self._dates = parts.dates
        self._by_advisor = bool(filters.mask & ADVISOR)
        self._whole = whole
        self._people = people
        self._first_response = Durations()
        self._response = Durations()
        self._uncounted = 0
        self._live = self._deleted = self._merged = 0
        self._by_channel: dict[str, int] = {}
        self._by_opener: dict[str, int] = {}
        self._cells = [[0] * 24 for _ in WEEKDAYS]
        self._closed = self._transferred = 0
        self._origins: dict[str | None, list[int]] = {}
        self._waiting = 0
        self._snoozed = 0
        self._oldest_ms: int | None = None
        # Of each day that has any: new contacts, new conversations, closures.
        self._days: dict[int, tuple[int, int, int]] = {}
        keys = query_keys(filters)
        for _, month in parts.months:
            for key in keys:
                if key in month:
                    self._add_month(decode_month_slice(month[key]))
        for day, cube in parts.days:
            for key in keys:
                if key in cube:
                    self._add_day(day, decode_slice(cube[key]))
        if whole:
            for first, month in parts.months:
                for key in map(days_key, keys):
                    for days_after, *counts in decode_day_counts(month[key]) if key in month else ():
                        self._add_counts(first + days_after, *counts)

    def _add_month(self, part: MonthSlice) -> None:
        self._first_response.add(part.first_response)
        self._response.add(part.response)
        self._add_numbers(part)
        for channel, opener, n in part.conversations:
            self._by_channel[channel] = self._by_channel.get(channel, 0) + n
            self._by_opener[opener] = self._by_opener.get(opener, 0) + n
        if self._whole:
            for weekday, hour, n in part.hours:
                self._cells[weekday][hour] += n
            for origin, *counts in part.origins:
                self._add_origin(origin, *counts)

    def _add_day(self, day: int, part: Slice) -> None:
        self._first_response.add_packed(part.first_response)
        self._response.add_packed(part.response)
        self._add_numbers(part)
        conversations = 0
        hours = self._cells[(day - 1) % 7]
        for channel, opener, hour, n in part.conversations:
            self._by_channel[channel] = self._by_channel.get(channel, 0) + n
            self._by_opener[opener] = self._by_opener.get(opener, 0) + n
            hours[hour] += n
            conversations += n
        if self._whole:
            for origin, engaged, closed, resolved, n in part.origins:
                self._add_origin(origin, n, n * engaged, n * closed, n * resolved)
            self._add_counts(day, part.live + part.deleted + part.merged, conversations, part.closed + part.transferred)

    def _add_numbers(self, part: Slice | MonthSlice) -> None:
        self._uncounted += part.uncounted
        self._live += part.live
        self._deleted += part.deleted
        self._merged += part.merged
        self._closed += part.closed
        self._transferred += part.transferred
        self._waiting += part.waiting
        self._snoozed += part.snoozed
        if part.oldest_ms is not None:
            self._oldest_ms = part.oldest_ms if self._oldest_ms is None else min(self._oldest_ms, part.oldest_ms)

    def _add_origin(self, origin: str | None, contacts: int, engaged: int, closed: int, resolved: int) -> None:
        row = self._origins.setdefault(origin, [0, 0, 0, 0])
        row[0] += contacts
        row[1] += engaged
        row[2] += closed
        row[3] += resolved

    def _add_counts(self, day: int, contacts: int, conversations: int, closures: int) -> None:
        had = self._days.get(day, (0, 0, 0))
        self._days[day] = (had[0] + contacts, had[1] + conversations, had[2] + closures)

    def document(self, calendar: LocalCalendar) -> Metrics:
        by_advisor = self._by_advisor
        return {
            "first_response": self._first_response.box(),
            "response": self._response.box(),
            "interactions": self._interactions_box(),
            "new_contacts": None if by_advisor else self._contacts_box(),
            "new_conversations": None if by_advisor else self._conversations_box(),
            "closed_conversations": self._closed_box(),
            "origins": None if by_advisor else self._origin_rows(),
            "heatmap": None if by_advisor else self._heatmap(),
            "heatmap_occurrences": self._occurrences(calendar),
            "waiting": self.waiting_box(),
            "uncounted_advisor_messages": self._uncounted,
        }

    def row(self) -> Metrics:
        """The boxes of a table's row: those of `document`, without days and distributions."""
        row: Metrics = {
            "first_response": self._first_response.box(whole=False),
            "response": self._response.box(whole=False),
            "interactions": self._interactions_box(whole=False),
        }
        by_advisor = self._by_advisor
        if not by_advisor:
            row["new_contacts"] = self._contacts_box(whole=False)
            row["new_conversations"] = self._conversations_box(whole=False)
        row["closed_conversations"] = self._closed_box(whole=False)
        return row

    def _by_day(self, values: Mapping[int, Any], empty: Any) -> dict[str, Any]:
        return {text: values.get(day, empty) for day, text in self._dates}

    def _counts_by_day(self, place: int) -> dict[str, int]:
        return self._by_day({day: counts[place] for day, counts in self._days.items()}, 0)

    def _interactions_box(self, *, whole: bool = True) -> Metrics:
        people = self._people
        box: Metrics = {"contacts": people.contacts, "advisor_contacts": people.advisor_contacts}
        if whole:
            days = {day: {"contacts": c, "advisor_contacts": a} for day, (c, a) in people.days.items()}
            box["by_day"] = self._by_day(days, {"contacts": 0, "advisor_contacts": 0})
        return box

    def _contacts_box(self, *, whole: bool = True) -> Metrics:
        total = self._live + self._deleted + self._merged
        box: Metrics = {"total": total, "deleted": self._deleted, "merged": self._merged}
        if whole:
            box["by_day"] = self._counts_by_day(0)
        return box

    def _conversations_box(self, *, whole: bool = True) -> Metrics:
        box: Metrics = {
            "total": sum(self._by_channel.values()),
            "active_contacts": self._people.active,
            "by_channel": dict(sorted(self._by_channel.items())),
            "by_opener": dict(sorted(self._by_opener.items())),
        }
        if whole:
            box["by_day"] = self._counts_by_day(1)
        return box

    def _closed_box(self, *, whole: bool = True) -> Metrics:
        total = self._closed + self._transferred
        box: Metrics = {"total": total, "closed": self._closed, "transferred": self._transferred}
        if whole:
            box["by_day"] = self._counts_by_day(2)
        return box

    def _origin_rows(self) -> list[Metrics]:
        rows = sorted(self._origins.items(), key=lambda item: (-item[1][0], item[0] is None, item[0] or ""))
        names = ("new_contacts", "engaged", "closed", "resolved")
        return [{"origin": origin, **dict(zip(names, row, strict=True))} for origin, row in rows]

    def _heatmap(self) -> dict[str, list[int]]:
        return dict(zip(WEEKDAYS, self._cells, strict=True))

    def _occurrences(self, calendar: LocalCalendar) -> dict[str, list[int]]:
        cells: dict[str, list[int]] = {weekday: [0] * 24 for weekday in WEEKDAYS}
        for day, _ in self._dates:
            weekday = _weekday(day)
            cells[weekday] = [*map(add, cells[weekday], calendar.hours_of_day(day))]
        return cells

    def waiting_box(self) -> Metrics | None:
        """Who is still waiting; a contact that waits has no advisor to filter by."""
        if self._by_advisor:
            return None
        return {"contacts": self._waiting, "snoozed": self._snoozed, "oldest": instant_text(self._oldest_ms)}


def instant_text(instant_ms: int | None) -> str | None:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    if instant_ms is None:
        return None
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _weekday(day: int) -> str:
    return WEEKDAYS[(day - 1) % 7]
