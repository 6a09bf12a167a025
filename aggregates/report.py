"""The report: the `metrics` object of any range of days under any filters, from the days' cubes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from aggregates import counters, sketch
from aggregates.counters import Vector, business_bins, elapsed_bins, unpacked
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
from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period
from schemas.accounts import WEEKDAYS

Metrics = dict[str, Any]


def needed_keys(filters: Filters) -> list[bytes]:
    """The fields of each day's cube that `metrics` reads, its tables apart."""
    return [*query_keys(filters), sets_key(filters.mask), VALUES_KEY]


def table_filters(filters: Filters, cubes: Iterable[Cube]) -> dict[str, list[Filters]]:
    """The filters of each row of the tables per advisor and per group: one value each of those that occurred.

    A row's own `needed_keys` must then be in the cubes that `metrics` is given.
    """
    groups: set[str | None] = set()
    advisors: set[str | None] = set()
    for cube in cubes:
        if VALUES_KEY in cube:
            _, day_groups, _, day_advisors = decode_values(cube[VALUES_KEY])
            groups.update(day_groups)
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
    }


def metrics(
    period: Period,
    cubes: Mapping[int, Cube],
    filters: Filters,
    calendar: LocalCalendar,
    tables: Mapping[str, list[Filters]] | None = None,
) -> Metrics:
    """The metrics object. `cubes` holds the cube, or just its needed fields, of each day of the period that has one."""
    total = _Total(period, filters)
    for day in period.days:
        if day in cubes:
            total.add(day, cubes[day])
    document = total.document(calendar)
    for name, rows in (tables or {}).items():
        document[f"by_{name}"] = [_table_row(name, period, cubes, row, calendar) for row in rows]
    return document


def _table_row(
    name: str, period: Period, cubes: Mapping[int, Cube], filters: Filters, calendar: LocalCalendar
) -> Metrics:
    values = filters.advisor if name == "advisor" else filters.group
    assert values is not None
    whole = metrics(period, cubes, filters, calendar)
    row: Metrics = {name: values[0]}
    for box in (
        "first_response",
        "response",
        "interactions",
        "new_contacts",
        "new_conversations",
        "closed_conversations",
    ):
        if whole[box] is not None:
            row[box] = {key: value for key, value in whole[box].items() if key not in ("by_day", "distribution")}
    if name == "group":
        row["waiting"] = whole["waiting"]
    return row


class _Total:
    """What the days of a period add up to."""

    def __init__(self, period: Period, filters: Filters) -> None:
        self._period = period
        self._filters = filters
        self._first_response: Vector = {}
        self._response: Vector = {}
        self._uncounted = 0
        self._contacts: dict[int, tuple[int, int, int]] = {}
        self._conversations: dict[int, list[tuple[str, str, int, int]]] = {}
        self._closed: dict[int, tuple[int, int]] = {}
        self._interactions: dict[int, tuple[int, int]] = {}
        self._active = 0
        self._origins: dict[str | None, list[int]] = {}
        self._waiting = 0
        self._snoozed = 0
        self._oldest_ms: int | None = None

    def add(self, day: int, cube: Cube) -> None:
        for key in query_keys(self._filters):
            if key in cube:
                self._add_slice(day, decode_slice(cube[key]))
        sets = cube.get(sets_key(self._filters.mask))
        if sets is not None:
            self._add_sets(day, decode_sets(sets))

    def _add_slice(self, day: int, part: Slice) -> None:
        _add(self._first_response, part.first_response)
        _add(self._response, part.response)
        self._uncounted += part.uncounted
        live, deleted, merged = self._contacts.get(day, (0, 0, 0))
        self._contacts[day] = (live + part.live, deleted + part.deleted, merged + part.merged)
        self._conversations.setdefault(day, []).extend(part.conversations)
        closed, transferred = self._closed.get(day, (0, 0))
        self._closed[day] = (closed + part.closed, transferred + part.transferred)
        for origin, engaged, was_closed, resolved, n in part.origins:
            row = self._origins.setdefault(origin, [0, 0, 0, 0])
            row[0] += n
            row[1] += n * engaged
            row[2] += n * was_closed
            row[3] += n * resolved
        self._waiting += part.waiting
        self._snoozed += part.snoozed
        if part.oldest_ms is not None:
            self._oldest_ms = part.oldest_ms if self._oldest_ms is None else min(self._oldest_ms, part.oldest_ms)

    def _add_sets(self, day: int, sets: Sets) -> None:
        filters = self._filters
        contacts = advisor_contacts = 0
        for origin, touches, n in sets.interactions:
            if filters.origin is not None and origin not in filters.origin:
                continue
            advisors = sum(
                matches(filters.advisor, advisor)
                and any(matches(filters.channel, channel) and matches(filters.group, group) for channel, group in pairs)
                for advisor, pairs in touches
            )
            contacts += n * bool(advisors)
            advisor_contacts += n * advisors
        self._interactions[day] = (contacts, advisor_contacts)
        start = self._period.days.start
        for origin, activity, n in sets.active:
            if filters.origin is not None and origin not in filters.origin:
                continue
            # A contact counts on its first matching day of the period.
            active_today = active_before = False
            for channel, group, active, before in activity:
                if matches(filters.channel, channel) and matches(filters.group, group):
                    active_today = active_today or active
                    active_before = active_before or (before is not None and before >= start)
            self._active += n * (active_today and not active_before)

    def document(self, calendar: LocalCalendar) -> Metrics:
        by_advisor = bool(self._filters.mask & ADVISOR)
        return {
            "first_response": _durations(self._first_response),
            "response": _durations(self._response),
            "interactions": self._interactions_box(),
            "new_contacts": None if by_advisor else self._contacts_box(),
            "new_conversations": None if by_advisor else self._conversations_box(),
            "closed_conversations": self._closed_box(),
            "origins": None if by_advisor else self._origin_rows(),
            "heatmap": None if by_advisor else self._heatmap(),
            "heatmap_occurrences": self._occurrences(calendar),
            "waiting": None if by_advisor else self._waiting_box(),
            "uncounted_advisor_messages": self._uncounted,
        }

    def _by_day(self, values: Mapping[int, Any], empty: Any) -> dict[str, Any]:
        return {date.fromordinal(day).isoformat(): values.get(day, empty) for day in self._period.days}

    def _interactions_box(self) -> Metrics:
        days = {day: {"contacts": c, "advisor_contacts": a} for day, (c, a) in self._interactions.items()}
        return {
            "contacts": sum(day["contacts"] for day in days.values()),
            "advisor_contacts": sum(day["advisor_contacts"] for day in days.values()),
            "by_day": self._by_day(days, {"contacts": 0, "advisor_contacts": 0}),
        }

    def _contacts_box(self) -> Metrics:
        by_day = {day: sum(statuses) for day, statuses in self._contacts.items()}
        return {
            "total": sum(by_day.values()),
            "deleted": sum(deleted for _, deleted, _ in self._contacts.values()),
            "merged": sum(merged for _, _, merged in self._contacts.values()),
            "by_day": self._by_day(by_day, 0),
        }

    def _conversations_box(self) -> Metrics:
        by_channel: dict[str, int] = {}
        by_opener: dict[str, int] = {}
        by_day: dict[int, int] = {}
        for day, rows in self._conversations.items():
            for channel, opener, _, n in rows:
                by_channel[channel] = by_channel.get(channel, 0) + n
                by_opener[opener] = by_opener.get(opener, 0) + n
                by_day[day] = by_day.get(day, 0) + n
        return {
            "total": sum(by_day.values()),
            "active_contacts": self._active,
            "by_channel": dict(sorted(by_channel.items())),
            "by_opener": dict(sorted(by_opener.items())),
            "by_day": self._by_day(by_day, 0),
        }

    def _closed_box(self) -> Metrics:
        closed = sum(closed for closed, _ in self._closed.values())
        transferred = sum(transferred for _, transferred in self._closed.values())
        by_day = {day: sum(kinds) for day, kinds in self._closed.items()}
        return {
            "total": closed + transferred,
            "closed": closed,
            "transferred": transferred,
            "by_day": self._by_day(by_day, 0),
        }

    def _origin_rows(self) -> list[Metrics]:
        rows = sorted(self._origins.items(), key=lambda item: (-item[1][0], item[0] is None, item[0] or ""))
        names = ("new_contacts", "engaged", "closed", "resolved")
        return [{"origin": origin, **dict(zip(names, row, strict=True))} for origin, row in rows]

    def _heatmap(self) -> dict[str, list[int]]:
        cells: dict[str, list[int]] = {weekday: [0] * 24 for weekday in WEEKDAYS}
        for day, rows in self._conversations.items():
            hours = cells[_weekday(day)]
            for _, _, hour, n in rows:
                hours[hour] += n
        return cells

    def _occurrences(self, calendar: LocalCalendar) -> dict[str, list[int]]:
        cells: dict[str, list[int]] = {weekday: [0] * 24 for weekday in WEEKDAYS}
        for day in self._period.days:
            hours = cells[_weekday(day)]
            for hour, times in enumerate(calendar.hours_of_day(day)):
                hours[hour] += times
        return cells

    def _waiting_box(self) -> Metrics:
        return {"contacts": self._waiting, "snoozed": self._snoozed, "oldest": instant_text(self._oldest_ms)}


def instant_text(instant_ms: int | None) -> str | None:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    if instant_ms is None:
        return None
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _weekday(day: int) -> str:
    return WEEKDAYS[(day - 1) % 7]


def _add(total: Vector, part: list[int]) -> None:
    for slot, n in unpacked(part).items():
        total[slot] = total.get(slot, 0) + n


def _durations(vector: Vector) -> Metrics:
    targeted = vector.get(counters.TARGETED, 0)
    document: Metrics = {"count": vector.get(counters.COUNT, 0)}
    within: Metrics = {}
    spread: Metrics = {}
    clocks = (
        ("elapsed", elapsed_bins(vector), counters.WITHIN_ELAPSED),
        ("business", business_bins(vector), counters.WITHIN_BUSINESS),
    )
    for clock, bins, within_slot in clocks:
        document[clock] = {"median": _seconds(bins, 0.5), "p90": _seconds(bins, 0.9)}
        within[clock] = vector.get(within_slot, 0) / targeted if targeted else None
        edges: list[float | None] = [edge / 1000 for edge in sketch.DISTRIBUTION_EDGES_MS]
        counts = sketch.distribution(bins)
        spread[clock] = [{"up_to": edge, "count": n} for edge, n in zip([*edges, None], counts, strict=True)]
    document["within_target"] = within
    document["distribution"] = spread
    document["without_schedule"] = vector.get(counters.WITHOUT_SCHEDULE, 0)
    return document


def _seconds(bins: Vector, fraction: float) -> float | None:
    value = sketch.quantile_ms(bins, fraction)
    return None if value is None else round(value / 1000, 6)
