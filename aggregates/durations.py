"""Adding up many vectors of durations, and what a report says of the sum.

A day's vector is sparse, and adding one costs time for each of its slots. A month's uses many of the slots between its
shortest and its longest duration, so a `Histogram` keeps those as *lanes* of bytes, which are added as one large
integer: two months are one addition, whatever they hold. No lane overflows, for a histogram says how large its largest
lane is.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from operator import add
from struct import pack, unpack
from typing import Any, NamedTuple

from msgspec import Struct

from aggregates import counters, sketch
from aggregates.counters import FIRST_BUSINESS_BIN, FIRST_ELAPSED_BIN, Vector, packed

_LANE_BYTES = 2
"""Of a lane while lanes are added. A histogram whose largest fits into one byte is kept in one byte each."""
_LANE_LIMIT = 1 << 8 * _LANE_BYTES
_NARROW_LIMIT = 1 << 8

_DENSE = 8
"""Lanes are kept where at least every eighth is in use: they then take at most four times the bytes of a sparse vector,
and are added ten times as fast."""

_CLOCKS = (
    ("elapsed", FIRST_ELAPSED_BIN, counters.WITHIN_ELAPSED),
    ("business", FIRST_BUSINESS_BIN, counters.WITHIN_BUSINESS),
)

# An edge of the distribution is the upper boundary of its bin.
_EDGE_BINS = [sketch.bin_of(edge) for edge in sketch.DISTRIBUTION_EDGES_MS]
_UP_TO_SECONDS = [*(edge / 1000 for edge in sketch.DISTRIBUTION_EDGES_MS), None]


class Histogram(Struct, array_like=True, frozen=True, gc=False):
    """A vector of durations: lanes from slot `first` on, and beside them, as `counters.packed`, what is in none."""

    rest: list[int] = []
    first: int = 0
    largest: int = 0
    """The largest lane."""
    lanes: bytes = b""


def histogram(vector: Vector) -> Histogram:
    """The histogram of a vector: its bins as lanes where that is worth it. Equal vectors give equal bytes."""
    bins = [slot for slot in vector if slot >= FIRST_ELAPSED_BIN]
    if not bins:
        return Histogram(packed(vector))
    first, last, largest = min(bins), max(bins), max(vector[slot] for slot in bins)
    if _DENSE * len(bins) < last - first + 1 or largest >= _LANE_LIMIT:
        return Histogram(packed(vector))
    counts = [vector.get(slot, 0) for slot in range(first, last + 1)]
    lanes = bytes(counts) if largest < _NARROW_LIMIT else pack(f"<{len(counts)}H", *counts)
    return Histogram(packed({slot: n for slot, n in vector.items() if slot < FIRST_ELAPSED_BIN}), first, largest, lanes)


class Durations:
    """A sum of vectors, sparse ones and histograms."""

    __slots__ = ("_histograms", "_vectors")

    def __init__(self) -> None:
        self._vectors: list[list[int]] = []
        self._histograms: list[Histogram] = []

    def add_packed(self, vector: list[int]) -> None:
        """Add a vector in the form of `counters.packed`."""
        if vector:
            self._vectors.append(vector)

    def add(self, part: Histogram) -> None:
        """Add a histogram."""
        self.add_packed(part.rest)
        if part.lanes:
            self._histograms.append(part)

    def box(self, *, whole: bool = True) -> dict[str, Any]:
        """The report's box of the sum; with `whole`, its distribution too. Durations in seconds; `None` where empty."""
        flags, *clocks = self._dense() if self._histograms else self._sparse()
        targeted = flags[counters.TARGETED]
        document: dict[str, Any] = {"count": flags[counters.COUNT]}
        within: dict[str, float | None] = {}
        spread: dict[str, Any] = {}
        for (clock, _, within_slot), bins in zip(_CLOCKS, clocks, strict=True):
            document[clock] = {"median": _quantile_seconds(bins, 0.5), "p90": _quantile_seconds(bins, 0.9)}
            within[clock] = flags[within_slot] / targeted if targeted else None
            if whole:
                spread[clock] = _distribution(bins)
        document["within_target"] = within
        if whole:
            document["distribution"] = spread
        document["without_schedule"] = flags[counters.WITHOUT_SCHEDULE]
        return document

    def _sparse(self) -> Iterator[Any]:
        """The sum of vectors: the slots before the bins, then the bins of each clock."""
        total: Vector = {}
        get = total.get
        for vector in self._vectors:
            for slot, n in zip(accumulate(vector[::2]), vector[1::2], strict=True):  # as `counters.unpacked` reads it
                total[slot] = get(slot, 0) + n
        yield [get(slot, 0) for slot in range(FIRST_ELAPSED_BIN)]
        used = sorted(total)
        for _, first, _ in _CLOCKS:
            slots = [slot for slot in used if slot >= first and not (slot - first) & 1]
            yield _Bins([(slot - first) >> 1 for slot in slots], list(accumulate(map(total.__getitem__, slots))))

    def _dense(self) -> Iterator[Any]:
        """The same where there are many: every bin up to the last."""
        lanes, *more = _added_lanes(self._histograms)
        length = max(FIRST_ELAPSED_BIN, *(sum(vector[::2]) + 1 for vector in self._vectors), *map(len, more))
        slots = [*lanes, *[0] * (length - len(lanes))]
        for lanes in more:
            slots[: len(lanes)] = map(add, slots, lanes)
        for vector in self._vectors:
            for slot, n in zip(accumulate(vector[::2]), vector[1::2], strict=True):
                slots[slot] += n
        yield slots[:FIRST_ELAPSED_BIN]
        for _, first, _ in _CLOCKS:
            until = list(accumulate(slots[first::2]))
            yield _Bins(range(len(until)), until)


class _Bins(NamedTuple):
    """Bins of a sketch: their indices, rising, and how many durations are in all bins up to each."""

    indices: Sequence[int]
    until: Sequence[int]


def _added_lanes(parts: Iterable[Histogram]) -> Iterator[tuple[int, ...]]:
    """The lanes of all parts, from slot 0 on, added: at once as far as no sum can overflow its lane."""
    total = largest = 0
    for part in parts:
        if largest + part.largest >= _LANE_LIMIT:
            yield _lanes(total)
            total = largest = 0
        total += int.from_bytes(_wide(part), "little") << 8 * _LANE_BYTES * part.first
        largest += part.largest
    if total:
        yield _lanes(total)


def _wide(part: Histogram) -> bytes | bytearray:
    if part.largest >= _NARROW_LIMIT:
        return part.lanes
    wide = bytearray(_LANE_BYTES * len(part.lanes))
    wide[::_LANE_BYTES] = part.lanes
    return wide


def _lanes(total: int) -> tuple[int, ...]:
    length = -(-total.bit_length() // (8 * _LANE_BYTES))
    return unpack(f"<{length}H", total.to_bytes(length * _LANE_BYTES, "little"))


def _quantile_seconds(bins: _Bins, fraction: float) -> float | None:
    """As `sketch.quantile_ms`."""
    if not bins.until:
        return None
    rank = fraction * (bins.until[-1] - 1)
    lower_rank = int(rank)
    weight = rank - lower_rank
    lower = bisect_right(bins.until, lower_rank)
    value = sketch.value_ms(bins.indices[lower])
    if weight and bins.until[lower] <= lower_rank + 1:
        upper = bisect_right(bins.until, lower_rank + 1)
        value += (sketch.value_ms(bins.indices[upper]) - value) * weight
    return round(value / 1000, 6)


def _distribution(bins: _Bins) -> list[dict[str, float | int | None]]:
    """As `sketch.distribution`, with the classes' upper edges."""
    below = [bins.until[last - 1] if (last := bisect_right(bins.indices, edge)) else 0 for edge in _EDGE_BINS]
    below.append(bins.until[-1] if bins.until else 0)
    return [
        {"up_to": up_to, "count": until - before}
        for up_to, before, until in zip(_UP_TO_SECONDS, [0, *below], below, strict=False)
    ]
