"""The report: the `metrics` object of any range of days under any filters, from cubes of days and roll-ups."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import msgspec

from aggregates.cube import (
    ADVISOR,
    VALUES_KEY,
    Cube,
    Sets,
    Slice,
    added_numbers,
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
    Span,
    SpanDetail,
    SpanPeople,
    SpanSlice,
    decode_span_detail,
    decode_span_people,
    decode_span_people_of_table,
    decode_span_slice,
    detail_key,
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
    spans: Mapping[Span, Cube] | None = None,
) -> Metrics:
    """The metrics object.

    `cubes` holds the cube, or just its needed fields, of each day of the period that has one. Days of spans whose
    roll-up (`aggregates.months`), or just its needed fields, is in `spans` are not looked at; the spans must be
    `usable` for the period. It makes no difference to any number whether a span comes by days or whole.
    """
    parts = _Parts(period, cubes, spans or {})
    document = _Total(parts, filters, _people(parts, filters, None)[None]).document(calendar)
    for name, rows in (tables or {}).items():
        people = _people(parts, filters, name)
        document[f"by_{name}"] = [_table_row(parts, name, row, people) for row in rows]
    return document


class _Parts:
    """What a period is added up from."""

    def __init__(self, period: Period, cubes: Mapping[int, Cube], spans: Mapping[Span, Cube]) -> None:
        rolled_up = {day for span in spans for day in span.days}
        self.period = period
        self.spans = [(span.first, rolled) for span, rolled in sorted(spans.items())]
        self.days = [(day, cubes[day]) for day in period.days if day in cubes and day not in rolled_up]
        self.dates = [(day, date.fromordinal(day).isoformat()) for day in period.days]
        self._people: dict[tuple[bytes, ...], _DecodedPeople] = {}

    def people(self, day_key: bytes, span_keys: Sequence[bytes], *, dated: bool) -> "_DecodedPeople":
        """The sets of days and the people of spans under these keys, with the days of each if `dated`.

        A table and the whole often share them; the whole, which needs days, must ask first.
        """
        decode: Callable[[bytes], SpanPeople] = decode_span_people if dated else decode_span_people_of_table
        found = self._people.get((day_key, *span_keys))
        if found is None:
            found = self._people[day_key, *span_keys] = _DecodedPeople(
                [(day, decode_sets(cube[day_key])) for day, cube in self.days if day_key in cube],
                [(first, decode(rolled[key])) for first, rolled in self.spans for key in span_keys if key in rolled],
            )
        return found


class _DecodedPeople(NamedTuple):
    days: list[tuple[int, Sets]]
    spans: list[tuple[int, SpanPeople]]


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
    decoded = parts.people(counter.day_key, counter.span_keys, dated=table is None)
    for first, people in decoded.spans:
        counter.add_span(first, people)
    for day, sets in decoded.days:
        counter.add_day(day, sets)
    return counter.people()


class _Total:
    """What the parts of a period add up to: for a `document` if `whole`, else for the `row` of a table."""

    def __init__(self, parts: _Parts, filters: Filters, people: People, *, whole: bool = True) -> None:
        self._dates = parts.dates
        self._by_advisor = bool(filters.mask & ADVISOR)
        self._people = people
        keys = query_keys(filters)
        spans = [decode_span_slice(rolled[key]) for _, rolled in parts.spans for key in keys if key in rolled]
        days = [(day, decode_slice(cube[key])) for day, cube in parts.days for key in keys if key in cube]
        slices: list[SpanSlice | Slice] = [*spans, *(part for _, part in days)]
        self._first_response = Durations(
            [part.first_response for part in spans], [part.first_response for _, part in days]
        )
        self._response = Durations([part.response for part in spans], [part.response for _, part in days])
        self._numbers = added_numbers(slices)
        self._oldest_ms = min((part.oldest_ms for part in slices if part.oldest_ms is not None), default=None)
        by_channel: defaultdict[str, int] = defaultdict(int)
        by_opener: defaultdict[str, int] = defaultdict(int)
        for rolled_up in spans:
            for channel, opener, n in rolled_up.conversations:
                by_channel[channel] += n
                by_opener[opener] += n
        for _, part in days:
            for channel, opener, _, n in part.conversations:
                by_channel[channel] += n
                by_opener[opener] += n
        self._by_channel, self._by_opener = by_channel, by_opener
        self._cells = [[0] * 24 for _ in WEEKDAYS]
        self._origins: dict[str | None, list[int]] = {}
        # Of each day that has any: new contacts, new conversations, closures.
        self._days: dict[int, tuple[int, int, int]] = {}
        if whole:
            for first, rolled in parts.spans:
                for key in map(detail_key, keys):
                    if key in rolled:
                        self._add_detail(first, decode_span_detail(rolled[key]))
            for day, part in days:
                self._add_day(day, part)

    def _add_detail(self, first: int, detail: SpanDetail) -> None:
        for weekday, hour, n in detail.hours:
            self._cells[weekday][hour] += n
        for origin, *counts in detail.origins:
            self._add_origin(origin, *counts)
        for days_after, *counts in detail.days:
            self._add_counts(first + days_after, *counts)

    def _add_day(self, day: int, part: Slice) -> None:
        hours = self._cells[(day - 1) % 7]
        for _, _, hour, n in part.conversations:
            hours[hour] += n
        for origin, engaged, closed, resolved, n in part.origins:
            self._add_origin(origin, n, n * engaged, n * closed, n * resolved)
        conversations = sum(n for *_, n in part.conversations)
        self._add_counts(day, part.live + part.deleted + part.merged, conversations, part.closed + part.transferred)

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
            "uncounted_advisor_messages": self._numbers["uncounted"],
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
        live, deleted, merged = (self._numbers[name] for name in ("live", "deleted", "merged"))
        box: Metrics = {"total": live + deleted + merged, "deleted": deleted, "merged": merged}
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
        closed, transferred = self._numbers["closed"], self._numbers["transferred"]
        box: Metrics = {"total": closed + transferred, "closed": closed, "transferred": transferred}
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
        cells: dict[str, list[int]] = {}
        for place, weekday in enumerate(WEEKDAYS):
            hours = (calendar.hours_of_day(day) for day, _ in self._dates if (day - 1) % 7 == place)
            cells[weekday] = [*map(sum, zip([0] * 24, *hours, strict=True))]
        return cells

    def waiting_box(self) -> Metrics | None:
        """Who is still waiting; a contact that waits has no advisor to filter by."""
        if self._by_advisor:
            return None
        waiting, snoozed = self._numbers["waiting"], self._numbers["snoozed"]
        return {"contacts": waiting, "snoozed": snoozed, "oldest": instant_text(self._oldest_ms)}


def instant_text(instant_ms: int | None) -> str | None:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    if instant_ms is None:
        return None
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
