"""Adding up many vectors of durations, and what a report says of the sum.

A day's vector is sparse, and adding one costs time for each of its slots. A month's uses many of the slots between its
shortest and its longest duration, so a `Histogram` keeps those as *lanes* of bytes, which are added as one large
integer: two months are one addition, whatever they hold. No lane overflows, for a histogram says how large its largest
lane is. What took no time at all is counted beside the lanes: so many answers do, outside the schedule, that one byte
would be too little for them alone.
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

_FIRST_LANE = FIRST_BUSINESS_BIN + 1
"""The slots before it, flags and each clock's bin of zero, are in no lane."""

_NO_HEAD = (0,) * _FIRST_LANE

_NARROW, _WIDE = 1, 2
"""Bytes of a lane. Lanes whose sum fits into one byte are added so, and are numbers as they stand."""
_LIMIT = {_NARROW: 1 << 8 * _NARROW, _WIDE: 1 << 8 * _WIDE}

_DENSE = 8
"""Lanes are kept where at least every eighth is in use: they then take at most four times the bytes of a sparse
vector, and are added ten times as fast."""

_CLOCKS = (
    ("elapsed", FIRST_ELAPSED_BIN, counters.WITHIN_ELAPSED),
    ("business", FIRST_BUSINESS_BIN, counters.WITHIN_BUSINESS),
)

# An edge of the distribution is the upper boundary of its bin.
_EDGE_BINS = [sketch.bin_of(edge) for edge in sketch.DISTRIBUTION_EDGES_MS]
_UP_TO_SECONDS = [*(edge / 1000 for edge in sketch.DISTRIBUTION_EDGES_MS), None]


class Histogram(Struct, array_like=True, frozen=True, gc=False):
    """A vector of durations: its first slots, lanes from slot `first` on, and what is in neither."""

    head: list[int] = []
    """As many as come before any lane; of an empty vector none."""
    rest: list[int] = []
    """As `counters.packed`."""
    first: int = 0
    largest: int = 0
    """The largest lane."""
    lanes: bytes = b""


def histogram(vector: Vector) -> Histogram:
    """The histogram of a vector: its bins as lanes where that is worth it. Equal vectors give equal bytes."""
    if not vector:
        return Histogram()
    head = [vector.get(slot, 0) for slot in range(_FIRST_LANE)]
    bins = [slot for slot in vector if slot >= _FIRST_LANE]
    if not bins:
        return Histogram(head)
    first, last, largest = min(bins), max(bins), max(vector[slot] for slot in bins)
    if _DENSE * len(bins) < last - first + 1 or largest >= _LIMIT[_WIDE]:
        return Histogram(head, packed({slot: vector[slot] for slot in bins}))
    counts = [0] * (last - first + 1)
    for slot in bins:
        counts[slot - first] = vector[slot]
    lanes = bytes(counts) if largest < _LIMIT[_NARROW] else pack(f"<{len(counts)}H", *counts)
    return Histogram(head, [], first, largest, lanes)


class Durations:
    """A sum of vectors, sparse ones and histograms."""

    __slots__ = ("_heads", "_histograms", "_vectors")

    def __init__(self, histograms: Sequence[Histogram], vectors: Sequence[list[int]]) -> None:
        """Sum histograms, and vectors in the form of `counters.packed`."""
        self._heads = [part.head for part in histograms if part.head]
        self._histograms = [part for part in histograms if part.lanes]
        self._vectors = [*(part.rest for part in histograms if part.rest), *filter(None, vectors)]

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
        total: Vector = {slot: n for slot, n in enumerate(map(sum, zip(_NO_HEAD, *self._heads, strict=True))) if n}
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
        lanes, *more = sorted(_added_lanes(self._histograms), key=len, reverse=True)
        length = max(len(lanes), _FIRST_LANE, max((sum(vector[::2]) + 1 for vector in self._vectors), default=0))
        slots = [*lanes, *[0] * (length - len(lanes))]
        for lanes in more:
            slots[: len(lanes)] = map(add, slots, lanes)
        slots[:_FIRST_LANE] = map(sum, zip(_NO_HEAD, *self._heads, strict=True))
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


def _added_lanes(parts: Iterable[Histogram]) -> Iterator[Sequence[int]]:
    """The lanes of all parts, from slot 0 on, added: at once as far as no sum can overflow its lane."""
    sums: dict[int, tuple[int, int]] = {}
    for part in parts:
        width = _NARROW if part.largest < _LIMIT[_NARROW] else _WIDE
        total, largest = sums.get(width, (0, 0))
        if largest + part.largest >= _LIMIT[width]:
            yield _lanes(total, width)
            total = largest = 0
        total += int.from_bytes(part.lanes, "little") << 8 * width * part.first
        sums[width] = (total, largest + part.largest)
    for width, (total, _) in sums.items():
        yield _lanes(total, width)


def _lanes(total: int, width: int) -> Sequence[int]:
    length = -(-total.bit_length() // (8 * width))
    lanes = total.to_bytes(length * width, "little")
    return lanes if width == _NARROW else unpack(f"<{length}H", lanes)


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
