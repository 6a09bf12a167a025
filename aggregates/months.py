"""The roll-up of a month: its days' cubes added up, so that a year is read as twelve parts and the days at its edges.

A roll-up is a hash like a cube. `slice_key(mask, values)` holds what adds up over days, `days_key(slice_key)` how much
of it fell on each day, and `people_key(mask, origin)` the contacts reached and active: each mask has one such field,
and a mask with origins one for each origin. `VALUES_KEY` holds the values that occurred in the month.

A range may take a month from its roll-up if it contains the month's beginning and all of its published days. That is
why days before the month are kept of an active contact's last activity, and days in it are not: a contact that was
active in the month before counts on that day, or on an earlier one of the range.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from itertools import accumulate

import msgspec
from msgspec import Struct

from aggregates.counters import Vector
from aggregates.cube import (
    DIMENSIONS,
    ORIGIN,
    VALUES_KEY,
    Activity,
    Cube,
    Slice,
    Touches,
    decode_sets,
    decode_slice,
    decode_values,
    encode_values,
    ordered_values,
    query_keys,
    sets_key,
)
from aggregates.durations import Histogram, histogram
from aggregates.filters import Filters
from aggregates.periods import Period

WORTH_DAYS = 8
"""A month with fewer published days has no roll-up: reading those days costs little more."""


class MonthSlice(Struct, array_like=True, gc=False):
    """The counters of a month that add up, under one combination of filter values."""

    first_response: Histogram
    response: Histogram
    uncounted: int
    live: int
    deleted: int
    merged: int
    conversations: list[tuple[str, str, int]]
    """Channel, opener, how many."""
    hours: list[tuple[int, int, int]]
    """Weekday (0: Monday), hour, how many conversations started."""
    closed: int
    transferred: int
    origins: list[tuple[str | None, int, int, int, int]]
    """Origin, contacts, of them engaged, closed, resolved."""
    waiting: int
    snoozed: int
    oldest_ms: int | None


class MonthPeople(Struct, array_like=True, gc=False):
    """What does not add up over values; under a mask with origins, of one origin."""

    interactions: list[tuple[Touches, int, list[int]]]
    """How contacts were reached; how many so; and on which days: day after the first, count, and so on."""
    active: list[tuple[Activity, int]]
    """Contacts on days on which they may count; a last activity in the month is dated on its first day."""


DayCounts = tuple[int, int, int, int]
"""A day, as days after the month's first; its new contacts, new conversations, closures."""

_encode = msgspec.msgpack.Encoder().encode
decode_month_slice = msgspec.msgpack.Decoder(MonthSlice).decode
decode_month_people = msgspec.msgpack.Decoder(MonthPeople).decode
decode_day_counts = msgspec.msgpack.Decoder(list[DayCounts]).decode


def days_key(key: bytes) -> bytes:
    """The field of what fell on each day, beside the slice under `key`."""
    return b"days:" + key


def people_key(mask: int, origin: str | None = None) -> bytes:
    """The field of the people under a mask, of one origin if the mask has origins."""
    return sets_key(mask) + (b":" + _encode(origin) if mask & ORIGIN else b"")


def people_keys(filters: Filters, mask: int) -> list[bytes]:
    """The fields of the people under a mask whose origins these filters let through."""
    if filters.origin is None:
        return [people_key(mask)]
    return [people_key(mask, origin) for origin in filters.origin]


def month_keys(filters: Filters, *, whole: bool) -> list[bytes]:
    """The fields of a roll-up that answer these filters; with `whole`, day by day too."""
    slices = query_keys(filters)
    return [*slices, *(map(days_key, slices) if whole else ()), *people_keys(filters, filters.mask)]


def first_of_month(day: int) -> int:
    """The first day of a day's month (ordinals)."""
    return date.fromordinal(day).replace(day=1).toordinal()


def last_of_month(day: int) -> int:
    """The last day of a day's month (ordinals)."""
    return first_of_month(first_of_month(day) + 31) - 1


def rolled_up(published: Collection[int], today: int, oldest: int) -> dict[int, list[int]]:
    """The months that are to have a roll-up, by their first day, with their published days: those that are over, wholly
    kept (days before `oldest` are not), and worth it."""
    months: dict[int, list[int]] = {}
    for day in published:
        months.setdefault(first_of_month(day), []).append(day)
    current = first_of_month(today)
    return {
        first: sorted(days) for first, days in months.items() if oldest <= first < current and len(days) >= WORTH_DAYS
    }


def usable(period: Period, published: Iterable[int], months: Collection[int]) -> set[int]:
    """Of the months that have a roll-up, those that a period may take from it."""
    inside = {first for first in months if first in period.days}
    return inside - {first_of_month(day) for day in published if day >= period.days.stop}


def month_days(first: int) -> range:
    """All days of the month that begins on day `first`."""
    return range(first, last_of_month(first) + 1)


def roll_up(first: int, cubes: Mapping[int, Cube]) -> dict[bytes, bytes]:
    """The roll-up of the month that begins on day `first`, from the cubes of all its published days.

    Equal cubes give equal bytes, in whatever order they come.
    """
    slices: dict[bytes, list[tuple[int, Slice]]] = {}
    values: list[set[str | None]] = [set() for _ in range(DIMENSIONS)]
    people: dict[bytes, _People] = {}
    for day in sorted(cubes):
        cube = cubes[day]
        for key, data in cube.items():
            if not key.startswith(b"sets:") and key != VALUES_KEY:
                slices.setdefault(key, []).append((day, decode_slice(data)))
        for found, more in zip(values, decode_values(cube[VALUES_KEY]), strict=True):
            found.update(more)
        for mask in range(1 << DIMENSIONS):
            if sets_key(mask) in cube:
                _add_people(people, mask, first, day, cube[sets_key(mask)])
    month: dict[bytes, bytes] = {}
    for key, parts in slices.items():
        month[key] = _encode(_added(parts))
        month[days_key(key)] = _encode(_day_counts(first, parts))
    for key, each in people.items():
        month[key] = _encode(each.sorted())
    month[VALUES_KEY] = encode_values(tuple(map(ordered_values, values)))
    return month


def _added(parts: list[tuple[int, Slice]]) -> MonthSlice:
    first_response: Vector = {}
    response: Vector = {}
    conversations: dict[tuple[str, str], int] = {}
    hours: dict[tuple[int, int], int] = {}
    origins: dict[str | None, list[int]] = {}
    for day, part in parts:
        _add_vector(first_response, part.first_response)
        _add_vector(response, part.response)
        for channel, opener, hour, n in part.conversations:
            conversations[channel, opener] = conversations.get((channel, opener), 0) + n
            cell = ((day - 1) % 7, hour)
            hours[cell] = hours.get(cell, 0) + n
        for origin, engaged, closed, resolved, n in part.origins:
            row = origins.setdefault(origin, [0, 0, 0, 0])
            for place, counted in enumerate((True, engaged, closed, resolved)):
                row[place] += n * counted
    slices = [part for _, part in parts]
    return MonthSlice(
        first_response=histogram(first_response),
        response=histogram(response),
        uncounted=sum(part.uncounted for part in slices),
        live=sum(part.live for part in slices),
        deleted=sum(part.deleted for part in slices),
        merged=sum(part.merged for part in slices),
        conversations=sorted((*names, n) for names, n in conversations.items()),
        hours=sorted((*cell, n) for cell, n in hours.items()),
        closed=sum(part.closed for part in slices),
        transferred=sum(part.transferred for part in slices),
        origins=[(origin, *origins[origin]) for origin in ordered_values(origins)],  # type: ignore[misc]  # four
        waiting=sum(part.waiting for part in slices),
        snoozed=sum(part.snoozed for part in slices),
        oldest_ms=min((part.oldest_ms for part in slices if part.oldest_ms is not None), default=None),
    )


def _add_vector(total: Vector, part: list[int]) -> None:
    for slot, n in zip(accumulate(part[::2]), part[1::2], strict=True):  # as `counters.unpacked` reads it
        total[slot] = total.get(slot, 0) + n


def _day_counts(first: int, parts: Iterable[tuple[int, Slice]]) -> list[DayCounts]:
    counts = []
    for day, part in parts:
        conversations = sum(n for *_, n in part.conversations)
        numbers = (part.live + part.deleted + part.merged, conversations, part.closed + part.transferred)
        if any(numbers):
            counts.append((day - first, *numbers))
    return counts


class _People:
    """The people of a month under a mask while they are collected."""

    __slots__ = ("active", "interactions")

    def __init__(self) -> None:
        self.interactions: dict[Touches, list[int]] = {}
        self.active: dict[Activity, int] = {}

    def sorted(self) -> MonthPeople:
        interactions = [(touches, sum(days[1::2]), days) for touches, days in self.interactions.items()]
        return MonthPeople(sorted(interactions, key=_encode), sorted(self.active.items(), key=_encode))


def _add_people(people: dict[bytes, _People], mask: int, first: int, day: int, data: bytes) -> None:
    sets = decode_sets(data)
    for origin, touches, n in sets.interactions:
        into = people.setdefault(people_key(mask, origin), _People())
        days = into.interactions.setdefault(touches, [])
        days += (day - first, n)
    for origin, activity, n in sets.active:
        dated = tuple(
            (channel, group, active, first if before is not None and before >= first else before)
            for channel, group, active, before in activity
        )
        # Where each pair that was active had been so in the month, no filter lets this day be a contact's first.
        if any(active and before != first for _, _, active, before in dated):
            into = people.setdefault(people_key(mask, origin), _People())
            into.active[dated] = into.active.get(dated, 0) + n
