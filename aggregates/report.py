"""The report: the `metrics` object of any range of days under any filters, from the days' cubes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from operator import add
from typing import Any

import msgspec

from aggregates import counters, sketch
from aggregates.counters import Vector, business_bins, elapsed_bins
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
) -> Metrics:
    """The metrics object. `cubes` holds the cube, or just its needed fields, of each day of the period that has one."""
    document = _added(period, cubes, filters).document(calendar)
    for name, rows in (tables or {}).items():
        document[f"by_{name}"] = [_table_row(name, period, cubes, row) for row in rows]
    return document


def _table_row(name: str, period: Period, cubes: Mapping[int, Cube], filters: Filters) -> Metrics:
    (value,) = getattr(filters, name)
    total = _added(period, cubes, filters)
    row = {name: value, **total.row()}
    if name != "advisor":
        row["waiting"] = total.waiting_box()
    return row


def _added(period: Period, cubes: Mapping[int, Cube], filters: Filters) -> "_Total":
    total = _Total(period, filters)
    for day in period.days:
        if day in cubes:
            total.add(day, cubes[day])
    return total


class _Total:
    """What the days of a period add up to."""

    def __init__(self, period: Period, filters: Filters) -> None:
        self._period = period
        self._filters = filters
        # Equal for all days, of which a year has many.
        self._slice_keys = query_keys(filters)
        self._sets_key = sets_key(filters.mask)
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
        for key in self._slice_keys:
            if key in cube:
                self._add_slice(day, decode_slice(cube[key]))
        sets = cube.get(self._sets_key)
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
        # Plain loops: for a year of a large account this is asked millions of times.
        origins, groups, channels, advisors = self._filters.dimensions
        contacts = advisor_contacts = 0
        for origin, touches, n in sets.interactions:
            if origins is not None and origin not in origins:
                continue
            reached_by = 0
            for advisor, pairs in touches:
                if advisors is None or advisor in advisors:
                    for channel, group in pairs:
                        if (channels is None or channel in channels) and (groups is None or group in groups):
                            reached_by += 1
                            break
            if reached_by:
                contacts += n
                advisor_contacts += n * reached_by
        self._interactions[day] = (contacts, advisor_contacts)
        start = self._period.days.start
        for origin, activity, n in sets.active:
            if origins is not None and origin not in origins:
                continue
            # A contact counts on its first matching day of the period.
            active_today = active_before = False
            for channel, group, active, before in activity:
                if (channels is None or channel in channels) and (groups is None or group in groups):
                    active_today = active_today or active
                    active_before = active_before or (before is not None and before >= start)
            if active_today and not active_before:
                self._active += n

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
            "waiting": self.waiting_box(),
            "uncounted_advisor_messages": self._uncounted,
        }

    def row(self) -> Metrics:
        """The boxes of a table's row: those of `document`, without days and distributions."""
        row: Metrics = {
            "first_response": _durations(self._first_response, whole=False),
            "response": _durations(self._response, whole=False),
            "interactions": self._interactions_box(whole=False),
        }
        by_advisor = bool(self._filters.mask & ADVISOR)
        if not by_advisor:
            row["new_contacts"] = self._contacts_box(whole=False)
            row["new_conversations"] = self._conversations_box(whole=False)
        row["closed_conversations"] = self._closed_box(whole=False)
        return row

    def _by_day(self, values: Mapping[int, Any], empty: Any) -> dict[str, Any]:
        return {date.fromordinal(day).isoformat(): values.get(day, empty) for day in self._period.days}

    def _interactions_box(self, *, whole: bool = True) -> Metrics:
        box: Metrics = {
            "contacts": sum(contacts for contacts, _ in self._interactions.values()),
            "advisor_contacts": sum(advisor_contacts for _, advisor_contacts in self._interactions.values()),
        }
        if whole:
            days = {day: {"contacts": c, "advisor_contacts": a} for day, (c, a) in self._interactions.items()}
            box["by_day"] = self._by_day(days, {"contacts": 0, "advisor_contacts": 0})
        return box

    def _contacts_box(self, *, whole: bool = True) -> Metrics:
        by_day = {day: sum(statuses) for day, statuses in self._contacts.items()}
        box: Metrics = {
            "total": sum(by_day.values()),
            "deleted": sum(deleted for _, deleted, _ in self._contacts.values()),
            "merged": sum(merged for _, _, merged in self._contacts.values()),
        }
        if whole:
            box["by_day"] = self._by_day(by_day, 0)
        return box

    def _conversations_box(self, *, whole: bool = True) -> Metrics:
        by_channel: dict[str, int] = {}
        by_opener: dict[str, int] = {}
        by_day: dict[int, int] = {}
        for day, rows in self._conversations.items():
            for channel, opener, _, n in rows:
                by_channel[channel] = by_channel.get(channel, 0) + n
                by_opener[opener] = by_opener.get(opener, 0) + n
                by_day[day] = by_day.get(day, 0) + n
        box: Metrics = {
            "total": sum(by_day.values()),
            "active_contacts": self._active,
            "by_channel": dict(sorted(by_channel.items())),
            "by_opener": dict(sorted(by_opener.items())),
        }
        if whole:
            box["by_day"] = self._by_day(by_day, 0)
        return box

    def _closed_box(self, *, whole: bool = True) -> Metrics:
        closed = sum(closed for closed, _ in self._closed.values())
        transferred = sum(transferred for _, transferred in self._closed.values())
        box: Metrics = {"total": closed + transferred, "closed": closed, "transferred": transferred}
        if whole:
            box["by_day"] = self._by_day({day: sum(kinds) for day, kinds in self._closed.items()}, 0)
        return box

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
            weekday = _weekday(day)
            cells[weekday] = [*map(add, cells[weekday], calendar.hours_of_day(day))]
        return cells

    def waiting_box(self) -> Metrics | None:
        """Who is still waiting; a contact that waits has no advisor to filter by."""
        if self._filters.mask & ADVISOR:
            return None
        return {"contacts": self._waiting, "snoozed": self._snoozed, "oldest": instant_text(self._oldest_ms)}


def instant_text(instant_ms: int | None) -> str | None:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    if instant_ms is None:
        return None
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _weekday(day: int) -> str:
    return WEEKDAYS[(day - 1) % 7]


def _add(total: Vector, part: list[int]) -> None:
    get, slot = total.get, 0
    for step, n in zip(part[::2], part[1::2], strict=True):  # as `unpacked` reads it, without a vector in between
        slot += step
        total[slot] = get(slot, 0) + n


def _durations(vector: Vector, *, whole: bool = True) -> Metrics:
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
        if not whole:
            continue
        edges: list[float | None] = [edge / 1000 for edge in sketch.DISTRIBUTION_EDGES_MS]
        counts = sketch.distribution(bins)
        spread[clock] = [{"up_to": edge, "count": n} for edge, n in zip([*edges, None], counts, strict=True)]
    document["within_target"] = within
    if whole:
        document["distribution"] = spread
    document["without_schedule"] = vector.get(counters.WITHOUT_SCHEDULE, 0)
    return document


def _seconds(bins: Vector, fraction: float) -> float | None:
    value = sketch.quantile_ms(bins, fraction)
    return None if value is None else round(value / 1000, 6)
