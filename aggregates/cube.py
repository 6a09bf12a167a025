"""The cube of a day: its counters, added up beforehand for every combination of filters.

A cube is a hash. For each of the 16 subsets of {origin, group, channel, advisor} (a mask), and each combination of
values of its dimensions that occurred, one *slice* under `slice_key(mask, values)` holds the counters that add up over
values. Under `sets_key(mask)` stand the counters that do not: of how many contacts each was reached by, and active in,
exactly this set of values, with all dimensions outside the mask forgotten. Under `VALUES_KEY`, the values that
occurred. So a query reads, per day, one slice per combination of its filters' values, and one entry of sets.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import msgspec
from msgspec import Struct

from aggregates import counters
from aggregates.counters import Field, Value, Vector, packed
from aggregates.filters import Filters, Values

ORIGIN, GROUP, CHANNEL, ADVISOR = 1, 2, 4, 8
DIMENSIONS = 4
VALUES_KEY = b"values"

Cube = Mapping[bytes, bytes]


class Slice(Struct, array_like=True, gc=False):
    """The counters of one day that add up, under one combination of filter values."""

    first_response: list[int] = []
    response: list[int] = []
    uncounted: int = 0
    live: int = 0
    deleted: int = 0
    merged: int = 0
    conversations: list[tuple[str, str, int, int]] = []
    """Channel, opener, hour, how many."""
    closed: int = 0
    transferred: int = 0
    origins: list[tuple[str | None, bool, bool, bool, int]] = []
    """Origin, engaged, closed, resolved, how many."""
    waiting: int = 0
    snoozed: int = 0
    oldest_ms: int | None = None


Touches = tuple[tuple[str | None, tuple[tuple[str | None, str | None], ...]], ...]
"""Per advisor (named when the mask has advisors): the (channel, group) in which it reached the contact."""
Activity = tuple[tuple[str | None, str | None, bool, int | None], ...]
"""Per (channel, group): whether active this day, and the day of the last activity before."""


class Sets(Struct, array_like=True, gc=False):
    """The counters of one day that do not add up over values: (origin, set, how many contacts)."""

    interactions: list[tuple[str | None, Touches, int]] = []
    active: list[tuple[str | None, Activity, int]] = []


_encode = msgspec.msgpack.Encoder().encode
decode_slice = msgspec.msgpack.Decoder(Slice).decode
decode_sets = msgspec.msgpack.Decoder(Sets).decode
decode_values = msgspec.msgpack.Decoder(tuple[list[str | None], ...]).decode


def slice_key(mask: int, values: tuple[str | None, ...]) -> bytes:
    """The cube's field of a slice; `values` are those of the mask's dimensions, in their order."""
    return _encode((mask, *values))


def sets_key(mask: int) -> bytes:
    """The cube's field of the sets under a mask."""
    return b"sets:%d" % mask


def query_keys(filters: Filters) -> list[bytes]:
    """The slices that answer these filters; they are the same for every day."""
    chosen = [values for values in filters.dimensions if values is not None]
    return [slice_key(filters.mask, values) for values in product(*chosen)]


def merged_counters(parts: Iterable[Iterable[tuple[Field, Value]]]) -> dict[Field, Value]:
    """One day's counters of several shards, added."""
    total: dict[Field, Value] = {}
    for part in parts:
        for field, value in part:
            summed = counters.added(total.get(field), value, field)
            assert summed is not None
            total[field] = summed
    return total


def build(day: Mapping[Field, Value]) -> dict[bytes, bytes]:
    """The cube of a day's counters."""
    slices = _Slices()
    interactions: list[tuple[Field, int]] = []
    active: list[tuple[Field, int]] = []
    for field, value in day.items():
        if field[0] == counters.INTERACTION:
            interactions.append((field, _count(value)))
        elif field[0] == counters.ACTIVE:
            active.append((field, _count(value)))
        else:
            slices.add(field, value)
    cube = dict(slices.encoded())
    for mask in range(1 << DIMENSIONS):
        sets = Sets(_interactions(interactions, mask), _active(active, mask))
        if sets.interactions or sets.active:
            cube[sets_key(mask)] = _encode(sets)
    if cube:
        cube[VALUES_KEY] = _encode(_occurring(day))
    return cube


def _count(value: Value) -> int:
    assert isinstance(value, int)
    return value


class _Sum:
    """A slice while it is added up."""

    __slots__ = ("conversations", "first_response", "origins", "response", "slice")

    def __init__(self) -> None:
        self.slice = Slice()
        self.first_response: Vector = {}
        self.response: Vector = {}
        self.conversations: dict[tuple[str, str, int], int] = {}
        self.origins: dict[tuple[str | None, bool, bool, bool], int] = {}

    def add(self, field: Field, value: Value) -> None:
        metric, total = field[0], self.slice
        if isinstance(value, dict):
            into = self.first_response if metric == counters.FIRST_RESPONSE else self.response
            for slot, n in value.items():
                into[slot] = into.get(slot, 0) + n
        elif metric == counters.NEW_CONVERSATION:
            cell = field[3:]
            self.conversations[cell] = self.conversations.get(cell, 0) + value
        elif metric == counters.ORIGIN:
            row = (field[1], *field[4:])
            self.origins[row] = self.origins.get(row, 0) + value
        elif metric == counters.NEW_CONTACT:
            name = ("live", "deleted", "merged")[field[4]]
            setattr(total, name, getattr(total, name) + value)
        elif metric == counters.CLOSED:
            name = "transferred" if field[5] else "closed"
            setattr(total, name, getattr(total, name) + value)
        elif metric == counters.WAITING:
            total.waiting += value
            total.snoozed += value * field[4]
            total.oldest_ms = field[5] if total.oldest_ms is None else min(total.oldest_ms, field[5])
        else:
            total.uncounted += value

    def encoded(self) -> bytes:
        total = self.slice
        total.first_response = packed(self.first_response)
        total.response = packed(self.response)
        total.conversations = sorted((*cell, n) for cell, n in self.conversations.items())
        rows = sorted(self.origins.items(), key=lambda item: (item[0][0] is None, item[0][0] or "", item[0][1:]))
        total.origins = [(*row, n) for row, n in rows]
        return _encode(total)


_WITH_ADVISOR = frozenset((counters.FIRST_RESPONSE, counters.RESPONSE, counters.UNCOUNTED, counters.CLOSED))


class _Slices:
    """All slices of a day."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Any, ...], _Sum] = {}

    def add(self, field: Field, value: Value) -> None:
        with_advisor = field[0] in _WITH_ADVISOR
        dimensions = field[1:5] if with_advisor else field[1:4]
        for mask, positions in _MASKS_WITH_ADVISOR if with_advisor else _MASKS:
            key = (mask, *[dimensions[position] for position in positions])
            total = self._sums.get(key)
            if total is None:
                total = self._sums[key] = _Sum()
            total.add(field, value)

    def encoded(self) -> Iterator[tuple[bytes, bytes]]:
        for key, total in self._sums.items():
            yield _encode(key), total.encoded()


def _masks(dimensions: int) -> list[tuple[int, tuple[int, ...]]]:
    return [
        (mask, tuple(position for position in range(dimensions) if mask >> position & 1))
        for mask in range(1 << dimensions)
    ]


_MASKS = _masks(DIMENSIONS - 1)
_MASKS_WITH_ADVISOR = _masks(DIMENSIONS)


def _interactions(fields: list[tuple[Field, int]], mask: int) -> list[tuple[str | None, Touches, int]]:
    projected: dict[tuple[str | None, Touches], int] = {}
    for (_, origin, touches), n in fields:
        by_advisor: dict[str | None, set[tuple[str | None, str | None]]] = {}
        for advisor, channel, group in touches:
            pair = (channel if mask & CHANNEL else None, group if mask & GROUP else None)
            by_advisor.setdefault(advisor, set()).add(pair)
        key = (
            origin if mask & ORIGIN else None,
            _sorted((advisor if mask & ADVISOR else None, _sorted(pairs)) for advisor, pairs in by_advisor.items()),
        )
        projected[key] = projected.get(key, 0) + n
    return [(*key, n) for key, n in sorted(projected.items(), key=repr)]


def _active(fields: list[tuple[Field, int]], mask: int) -> list[tuple[str | None, Activity, int]]:
    if mask & ADVISOR:
        return []
    projected: dict[tuple[str | None, Activity], int] = {}
    for (_, origin, pairs), n in fields:
        merged: dict[tuple[str | None, str | None], tuple[bool, int | None]] = {}
        for channel, group, active, before in pairs:
            pair = (channel if mask & CHANNEL else None, group if mask & GROUP else None)
            was_active, was_before = merged.get(pair, (False, None))
            latest = before if was_before is None else was_before if before is None else max(before, was_before)
            merged[pair] = (was_active or active, latest)
        key = (origin if mask & ORIGIN else None, _sorted((*pair, *rest) for pair, rest in merged.items()))
        projected[key] = projected.get(key, 0) + n
    return [(*key, n) for key, n in sorted(projected.items(), key=repr)]


def _sorted(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(items, key=repr))


def _occurring(day: Iterable[Field]) -> tuple[list[str | None], ...]:
    """The values of each dimension that occurred on the day, `None` last."""
    found: tuple[set[str | None], ...] = (set(), set(), set(), set())
    for field in day:
        found[0].add(field[1])
        if field[0] == counters.INTERACTION:
            for advisor, channel, group in field[2]:
                found[1].add(group)
                found[2].add(channel)
                found[3].add(advisor)
        elif field[0] == counters.ACTIVE:
            for channel, group, active, _ in field[2]:
                if active:
                    found[1].add(group)
                    found[2].add(channel)
        else:
            found[1].add(field[2])
            found[2].add(field[3])
            if field[0] in _WITH_ADVISOR:
                found[3].add(field[4])
    return tuple(ordered_values(values) for values in found)


def ordered_values(values: Iterable[str | None]) -> list[str | None]:
    """Values by name, `None` last."""
    return sorted(values, key=lambda value: (value is None, value or ""))


def matches(values: Values | None, value: str | None) -> bool:
    """Whether a dimension's filter lets a value through."""
    return values is None or value in values
