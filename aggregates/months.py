"""Roll-ups: the cubes of a month's days added up, and of each third of it, so that a year is read as some twenty parts.

A roll-up is a hash like a cube, of a `Span` of days. `slice_key(mask, values)` holds what adds up over days,
`detail_key(slice_key)` what only the whole of a report needs of it and not the rows of its tables, and
`people_key(mask, origin)` the contacts reached and active: each mask has one such field, and a mask with origins one
for each origin. `VALUES_KEY` holds the values that occurred in the span.

A range may take a span from its roll-up if it contains the span's beginning and all of its published days. That is why
days before the span are kept of an active contact's last activity, and days in it are not: a contact that was active in
the month before counts on that day, or on an earlier one of the range.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from itertools import accumulate
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from aggregates.counters import Vector
from aggregates.cube import (
    DIMENSIONS,
    ORIGIN,
    VALUES_KEY,
    Activity,
    Cube,
    Sets,
    Slice,
    added_numbers,
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

WORTH_DAYS = 6
"""A span with fewer published days has no roll-up: reading those days costs little more."""

_THIRDS = (1, 11, 21)
"""The days of the month on which a third begins."""


class Span(NamedTuple):
    """Days that are rolled up together: a month or a third of one, first and last day (ordinals)."""

    first: int
    last: int

    @property
    def days(self) -> range:
        """All of its days."""
        return range(self.first, self.last + 1)


class SpanSlice(Struct, array_like=True, gc=False):
    """The counters of a span that add up, under one combination of filter values."""

    first_response: Histogram
    response: Histogram
    uncounted: int
    live: int
    deleted: int
    merged: int
    closed: int
    transferred: int
    waiting: int
    snoozed: int
    oldest_ms: int | None
    conversations: list[tuple[str, str, int]]
    """Channel, opener, how many."""


DayCounts = tuple[int, int, int, int]
"""A day, as days after the span's first; its new contacts, new conversations, closures."""


class SpanDetail(Struct, array_like=True, gc=False):
    """More counters that add up: those which the rows of tables do not show."""

    hours: list[tuple[int, int, int]]
    """Weekday (0: Monday), hour, how many conversations started."""
    origins: list[tuple[str | None, int, int, int, int]]
    """Origin, contacts, of them engaged, closed, resolved."""
    days: list[DayCounts]
    """Of the days that have any."""


class SpanPeople(Struct, array_like=True, gc=False):
    """What does not add up over values; under a mask with origins, of one origin.

    `touches`, `contacts` and `days` belong together: how contacts were reached, as the bytes of a `Touches`; how many
    so; and on which days: day after the first, count, and so on.
    """

    touches: list[bytes]
    contacts: list[int]
    active: list[tuple[Activity, int]]
    """Contacts on days on which they may count; a last activity in the span is dated on its first day."""
    days: list[list[int]]


class SpanPeopleOfTable(SpanPeople, array_like=True, gc=False):
    """The same for those who do not ask for days: these stay bytes."""

    days: Raw  # type: ignore[assignment]


_encode = msgspec.msgpack.Encoder().encode
decode_span_slice = msgspec.msgpack.Decoder(SpanSlice).decode
decode_span_detail = msgspec.msgpack.Decoder(SpanDetail).decode
decode_span_people = msgspec.msgpack.Decoder(SpanPeople).decode
decode_span_people_of_table = msgspec.msgpack.Decoder(SpanPeopleOfTable).decode


def detail_key(key: bytes) -> bytes:
    """The field of what rows of tables do not show, beside the slice under `key`."""
    return b"detail:" + key


def people_key(mask: int, origin: str | None = None) -> bytes:
    """The field of the people under a mask, of one origin if the mask has origins."""
    return sets_key(mask) + (b":" + _encode(origin) if mask & ORIGIN else b"")


def people_keys(filters: Filters, mask: int) -> list[bytes]:
    """The fields of the people under a mask whose origins these filters let through."""
    if filters.origin is None:
        return [people_key(mask)]
    return [people_key(mask, origin) for origin in filters.origin]


def span_keys(filters: Filters, *, whole: bool) -> list[bytes]:
    """The fields of a roll-up that answer these filters; with `whole`, in all detail."""
    slices = query_keys(filters)
    return [*slices, *(map(detail_key, slices) if whole else ()), *people_keys(filters, filters.mask)]


def spans_of(day: int) -> tuple[Span, Span]:
    """The month and the third that a day (ordinal) lies in."""
    at = date.fromordinal(day)
    before = day - at.day
    end = (date.fromordinal(before + 32).replace(day=1)).toordinal() - 1
    begins = max(first for first in _THIRDS if first <= at.day)
    return Span(before + 1, end), Span(before + begins, end if begins == _THIRDS[-1] else before + begins + 9)


def rolled_up(published: Iterable[int], today: int, oldest: int) -> dict[Span, list[int]]:
    """The spans that are to have a roll-up, with their published days: those that are over, wholly kept (days before
    `oldest` are not), and worth it."""
    spans: dict[Span, list[int]] = {}
    for day in sorted(published):
        for span in spans_of(day):
            spans.setdefault(span, []).append(day)
    return {
        span: days
        for span, days in spans.items()
        if oldest <= span.first and span.last < today and len(days) >= WORTH_DAYS
    }


def usable(period: Period, published: Iterable[int], spans: Iterable[Span]) -> list[Span]:
    """Of the spans that have a roll-up, those that a period takes from it: the longest, by their first day."""
    days = period.days
    following = min((day for day in published if day >= days.stop), default=None)
    found: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.first, -each.last)):
        inside = span.first in days and (following is None or span.last < following)
        if inside and not (found and span.first <= found[-1].last):
            found.append(span)
    return found


def roll_up(span: Span, cubes: Mapping[int, Cube]) -> dict[bytes, bytes]:
    """The roll-up of a span, from the cubes of all its published days.

    Equal cubes give equal bytes, in whatever order they come.
    """
    slices: dict[bytes, list[tuple[int, Slice]]] = {}
    values: list[set[str | None]] = [set() for _ in range(DIMENSIONS)]
    people: dict[bytes, _People] = {}
    known: dict[bytes, Slice] = {}
    for day in sorted(cubes):
        cube = cubes[day]
        for key, data in cube.items():
            if not key.startswith(b"sets:") and key != VALUES_KEY:
                # Where a value has others to itself, several masks have the same slice.
                part = known.get(data)
                if part is None:
                    part = known[data] = decode_slice(data)
                slices.setdefault(key, []).append((day, part))
        for found, more in zip(values, decode_values(cube[VALUES_KEY]), strict=True):
            found.update(more)
        for mask in range(1 << DIMENSIONS):
            if sets_key(mask) in cube:
                _add_people(people, mask, span.first, day, decode_sets(cube[sets_key(mask)]))
    rolled: dict[bytes, bytes] = {}
    for key, parts in slices.items():
        rolled[key] = _encode(_added([part for _, part in parts]))
        rolled[detail_key(key)] = _encode(_detail(span.first, parts))
    for key, each in people.items():
        rolled[key] = _encode(each.sorted())
    rolled[VALUES_KEY] = encode_values(tuple(map(ordered_values, values)))
    return rolled


def _added(slices: list[Slice]) -> SpanSlice:
    first_response: Vector = {}
    response: Vector = {}
    conversations: dict[tuple[str, str], int] = {}
    for part in slices:
        if part.first_response:
            _add_vector(first_response, part.first_response)
        if part.response:
            _add_vector(response, part.response)
        for channel, opener, _, n in part.conversations:
            conversations[channel, opener] = conversations.get((channel, opener), 0) + n
    return SpanSlice(
        first_response=histogram(first_response),
        response=histogram(response),
        **added_numbers(slices),
        oldest_ms=min((part.oldest_ms for part in slices if part.oldest_ms is not None), default=None),
        conversations=sorted((*names, n) for names, n in conversations.items()),
    )


def _add_vector(total: Vector, part: list[int]) -> None:
    get = total.get
    for slot, n in zip(accumulate(part[::2]), part[1::2], strict=True):  # as `counters.unpacked` reads it
        total[slot] = get(slot, 0) + n


def _detail(first: int, parts: Iterable[tuple[int, Slice]]) -> SpanDetail:
    hours: dict[tuple[int, int], int] = {}
    origins: dict[str | None, list[int]] = {}
    days: list[DayCounts] = []
    for day, part in parts:
        for _, _, hour, n in part.conversations:
            cell = ((day - 1) % 7, hour)
            hours[cell] = hours.get(cell, 0) + n
        for origin, engaged, closed, resolved, n in part.origins:
            row = origins.setdefault(origin, [0, 0, 0, 0])
            for place, counted in enumerate((True, engaged, closed, resolved)):
                row[place] += n * counted
        conversations = sum(n for *_, n in part.conversations)
        numbers = (part.live + part.deleted + part.merged, conversations, part.closed + part.transferred)
        if any(numbers):
            days.append((day - first, *numbers))
    return SpanDetail(
        hours=sorted((*cell, n) for cell, n in hours.items()),
        origins=[(origin, *origins[origin]) for origin in ordered_values(origins)],  # type: ignore[misc]  # four
        days=days,
    )


class _People:
    """The people of a span under a mask while they are collected."""

    __slots__ = ("active", "interactions")

    def __init__(self) -> None:
        self.interactions: dict[bytes, list[int]] = {}
        self.active: dict[Activity, int] = {}

    def sorted(self) -> SpanPeople:
        interactions = sorted(self.interactions.items())
        return SpanPeople(
            touches=[touches for touches, _ in interactions],
            contacts=[sum(days[1::2]) for _, days in interactions],
            active=sorted(self.active.items(), key=_encode),
            days=[days for _, days in interactions],
        )


def _add_people(people: dict[bytes, _People], mask: int, first: int, day: int, sets: Sets) -> None:
    origins = {origin for origin, *_ in (*sets.interactions, *sets.active)}
    into = {origin: people.setdefault(people_key(mask, origin), _People()) for origin in origins}
    for origin, touches, n in sets.interactions:
        days = into[origin].interactions.setdefault(bytes(touches), [])
        days += (day - first, n)
    for origin, activity, n in sets.active:
        dated = tuple(
            (channel, group, active, first if before is not None and before >= first else before)
            for channel, group, active, before in activity
        )
        # Where each pair that was active had been so in the span, no filter lets this day be a contact's first.
        if any(active and before != first for _, _, active, before in dated):
            counted = into[origin].active
            counted[dated] = counted.get(dated, 0) + n
