"""The cube of a day: its counters, added up beforehand for every combination of filters.

A cube is a hash. For each of the 16 subsets of {origin, group, channel, advisor} (a mask), and each combination of
values of its dimensions that occurred, one *slice* under `slice_key(mask, values)` holds the counters that add up over
values. Under `sets_key(mask)` stand the counters that do not: of how many contacts each was reached by, and active in,
exactly this set of values, with all dimensions outside the mask forgotten. Under `VALUES_KEY`, the values that
occurred. So a query reads, per day, one slice per combination of its filters' values, and one entry of sets.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from operator import add, attrgetter
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

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

    interactions: list[tuple[str | None, Raw, int]] = []
    """A set is the bytes of a `Touches`: it is told from others without being decoded."""
    active: list[tuple[str | None, Activity, int]] = []


_encode = msgspec.msgpack.Encoder().encode
decode_slice = msgspec.msgpack.Decoder(Slice).decode
decode_sets = msgspec.msgpack.Decoder(Sets).decode
decode_touches = msgspec.msgpack.Decoder(Touches).decode
encode_values = _encode
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


def added_numbers(slices: Iterable[Struct]) -> dict[str, int]:
    """The counters of slices, of days or spans, that are plain numbers: their sums by name."""
    columns = zip([0] * len(_NUMBERS), *map(_numbers, slices), strict=True)
    return dict(zip(_NUMBERS, map(sum, columns), strict=True))


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
    """The cube of a day's counters. Equal counters give equal bytes, in whatever order they come."""
    finest = _finest_slices(day)
    interactions: _Counted = {}
    active: _Counted = {}
    for field, value in day.items():
        if field[0] == counters.INTERACTION:
            _count(interactions, (field[1], _sorted(_by_advisor(field[2]))), value)
        elif field[0] == counters.ACTIVE:
            _count(active, (field[1], _sorted(field[2])), value)
    cube: dict[bytes, bytes] = {}
    for mask, sums in _coarsened(finest).items():
        for values, total in sums.items():
            cube[slice_key(mask, values)] = total.encoded()
    reached = _projected(interactions, ALL, _less_touched)
    were_active = _projected(active, ALL & ~ADVISOR, _less_active)
    for mask, counted in reached.items():
        sets = Sets(_rows(counted), _rows(were_active.get(mask, {})))
        if sets.interactions or sets.active:
            cube[sets_key(mask)] = _encode(sets)
    if cube:
        cube[VALUES_KEY] = _encode(_occurring(day))
    return cube


# Every mask but the finest is made of the one that has one dimension more, the lowest it lacks: each step has less to
# add up. Masks fall, so that the one they are made of is there.
ALL = (1 << DIMENSIONS) - 1


def _finer(mask: int) -> int:
    """The mask that a mask is made of."""
    return mask | (mask + 1)


class _Sum:
    """A slice while it is added up."""

    __slots__ = ("_encoded", "conversations", "first_response", "numbers", "oldest_ms", "origins", "response")

    def __init__(self) -> None:
        self.first_response: Vector = {}
        self.response: Vector = {}
        self.conversations: dict[tuple[str, str, int], int] = {}
        self.origins: dict[tuple[str | None, bool, bool, bool], int] = {}
        self.numbers = [0] * len(_NUMBERS)
        self.oldest_ms: int | None = None
        self._encoded: bytes | None = None

    def add(self, field: Field, value: Value) -> None:
        metric = field[0]
        if isinstance(value, dict):
            _add(self.first_response if metric == counters.FIRST_RESPONSE else self.response, value)
        elif metric == counters.NEW_CONVERSATION:
            _add(self.conversations, {field[3:]: value})
        elif metric == counters.ORIGIN:
            _add(self.origins, {(field[1], *field[4:]): value})
        elif metric == counters.NEW_CONTACT:
            self.numbers[_LIVE + field[4]] += value
        elif metric == counters.CLOSED:
            self.numbers[_TRANSFERRED if field[5] else _CLOSED] += value
        elif metric == counters.WAITING:
            self.numbers[_WAITING] += value
            self.numbers[_SNOOZED] += value * field[4]
            self.oldest_ms = field[5] if self.oldest_ms is None else min(self.oldest_ms, field[5])
        else:
            self.numbers[_UNCOUNTED] += value

    def merge(self, other: "_Sum") -> None:
        _add(self.first_response, other.first_response)
        _add(self.response, other.response)
        _add(self.conversations, other.conversations)
        _add(self.origins, other.origins)
        self.numbers = list(map(add, self.numbers, other.numbers))
        if other.oldest_ms is not None:
            self.oldest_ms = other.oldest_ms if self.oldest_ms is None else min(self.oldest_ms, other.oldest_ms)

    def encoded(self) -> bytes:
        if self._encoded is None:
            rows = sorted(self.origins.items(), key=lambda item: (item[0][0] is None, item[0][0] or "", item[0][1:]))
            total = Slice(
                first_response=packed(self.first_response),
                response=packed(self.response),
                conversations=sorted((*cell, n) for cell, n in self.conversations.items()),
                origins=[(*row, n) for row, n in rows],
                oldest_ms=self.oldest_ms,
            )
            for name, n in zip(_NUMBERS, self.numbers, strict=True):
                setattr(total, name, n)
            self._encoded = _encode(total)
        return self._encoded


_NUMBERS = ("uncounted", "live", "deleted", "merged", "closed", "transferred", "waiting", "snoozed")
_numbers = attrgetter(*_NUMBERS)
_UNCOUNTED, _LIVE, _, _, _CLOSED, _TRANSFERRED, _WAITING, _SNOOZED = range(len(_NUMBERS))
_WITH_ADVISOR = frozenset((counters.FIRST_RESPONSE, counters.RESPONSE, counters.UNCOUNTED, counters.CLOSED))
_OF_PEOPLE = frozenset((counters.INTERACTION, counters.ACTIVE))

_Sums = dict[Values, _Sum]


def _finest_slices(day: Mapping[Field, Value]) -> dict[int, _Sums]:
    """What is counted per advisor, and what is not, each under the finest mask it has."""
    finest: dict[int, _Sums] = {ALL: {}, ALL & ~ADVISOR: {}}
    for field, value in day.items():
        metric = field[0]
        if metric in _OF_PEOPLE:
            continue
        mask, values = (ALL, field[1:5]) if metric in _WITH_ADVISOR else (ALL & ~ADVISOR, field[1:4])
        total = finest[mask].get(values)
        if total is None:
            total = finest[mask][values] = _Sum()
        total.add(field, value)
    return finest


def _coarsened(finest: Mapping[int, _Sums]) -> dict[int, _Sums]:
    """The slices of every mask."""
    masks: dict[int, _Sums] = {ALL: finest[ALL]}
    for mask in range(ALL - 1, -1, -1):
        parts: dict[Values, list[_Sum]] = {}
        finer = _finer(mask)
        dropped = (finer & ~mask).bit_length() - 1
        # Of the mask's values those of lower dimensions stand first, and it has all of them.
        for values, total in masks[finer].items():
            parts.setdefault(values[:dropped] + values[dropped + 1 :], []).append(total)
        for values, total in finest[mask].items() if mask in finest else ():
            parts.setdefault(values, []).append(total)
        masks[mask] = {values: _merged(totals) for values, totals in parts.items()}
    return masks


def _merged(totals: list[_Sum]) -> _Sum:
    """The sum of slices; one alone is its own sum, and encoded once however many masks have it."""
    if len(totals) == 1:
        return totals[0]
    whole = _Sum()
    for total in totals:
        whole.merge(total)
    return whole


_Key = TypeVar("_Key")


def _add(total: dict[_Key, int], part: Mapping[_Key, int]) -> None:
    for key, n in part.items():
        total[key] = total.get(key, 0) + n


_Set = tuple[Any, ...]
_Counted = dict[tuple[str | None, _Set], int]
"""Origin and set, and of how many contacts."""


def _count(counted: _Counted, key: tuple[str | None, _Set], value: Value) -> None:
    assert isinstance(value, int)
    counted[key] = counted.get(key, 0) + value


def _projected(finest: _Counted, all_dimensions: int, less: Callable[[_Set, int], _Set]) -> dict[int, _Counted]:
    """The sets under every mask of `all_dimensions`; `less` is a set without a dimension."""
    masks = {all_dimensions: finest}
    for mask in range(all_dimensions - 1, -1, -1):
        dropped = _finer(mask) & ~mask
        counted = masks[mask] = {}
        for (origin, members), n in masks[_finer(mask)].items():
            key = (None, members) if dropped == ORIGIN else (origin, less(members, dropped))
            counted[key] = counted.get(key, 0) + n
    return masks


def _by_advisor(touches: Iterable[tuple[str, str, str | None]]) -> Touches:
    by_advisor: dict[str, list[tuple[str | None, str | None]]] = {}
    for advisor, channel, group in touches:
        by_advisor.setdefault(advisor, []).append((channel, group))
    return tuple((advisor, _sorted(pairs)) for advisor, pairs in by_advisor.items())


def _less_touched(touches: Touches, dropped: int) -> Touches:
    if dropped == ADVISOR:
        return _sorted((None, pairs) for _, pairs in touches)
    return _sorted((advisor, _sorted({_without(pair, dropped) for pair in pairs})) for advisor, pairs in touches)


def _less_active(activity: Activity, dropped: int) -> Activity:
    merged: dict[tuple[str | None, str | None], tuple[bool, int | None]] = {}
    for channel, group, active, before in activity:
        pair = _without((channel, group), dropped)
        was_active, was_before = merged.get(pair, (False, None))
        latest = before if was_before is None else was_before if before is None else max(before, was_before)
        merged[pair] = (was_active or active, latest)
    return _sorted((*pair, *rest) for pair, rest in merged.items())


def _without(pair: tuple[str | None, str | None], dropped: int) -> tuple[str | None, str | None]:
    return (None, pair[1]) if dropped == CHANNEL else (pair[0], None)


def _rows(counted: _Counted) -> list[Any]:
    return [(*key, n) for key, n in sorted(counted.items(), key=_encode)]


def _sorted(items: Iterable[Any]) -> tuple[Any, ...]:
    """In an order of their own, whatever they are: that of their bytes."""
    found = tuple(items)
    return found if len(found) < 2 else tuple(sorted(found, key=_encode))


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
