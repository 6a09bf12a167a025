"""A sketch of durations: counts in fixed bins, from which quantiles follow within a stated error.

The bins are one table of boundaries, the same everywhere and for ever: exact zero, steps of 4 ms up to one second,
then steps that grow by 1.5 %, up to a hundred years. Every edge of the published distribution is also a boundary,
so that the distribution's counts are exact. A duration's bin is the first whose upper boundary is not below it;
the value given back for a bin is the point that keeps the relative error of both of its ends equal, at most 0.75 %
(below one second: within 2 ms). A quantile interpolates between two such values, so it stays within 1 %, or within
10 ms below one second, wherever the two lie.

Bins are integers with integer counts: sketches add, merge and subtract exactly, in any order. About 1,730 bins
exist; a typical day of one advisor uses a few dozen. (Log-spaced bins after C. Masson, J. Rim, H. Lee: DDSketch,
VLDB 2019; the fixed table instead of a logarithm keeps every platform's bins the same.)
"""

from bisect import bisect_left
from collections.abc import Mapping

RELATIVE_ERROR = 0.01
"""The promised error of a published quantile; the bins themselves are finer, which leaves room for interpolation."""

DISTRIBUTION_EDGES_MS = tuple(
    seconds * 1000
    for seconds in (60, 300, 900, 1800, 3600, 4 * 3600, 8 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600)
)
"""Upper edges of the published distribution: 1, 5, 15, 30 min, 1, 4, 8 h, 1, 3, 7 days; the last class is open."""

_LINEAR_STEP_MS = 4
_LINEAR_END_MS = 1000
_GROWTH = 1.015
_END_MS = 100 * 366 * 24 * 3600 * 1000


def _boundaries() -> list[int]:
    points = {0, *range(_LINEAR_STEP_MS, _LINEAR_END_MS + 1, _LINEAR_STEP_MS), *DISTRIBUTION_EDGES_MS}
    upper = _LINEAR_END_MS
    while upper < _END_MS:
        upper = int(upper * _GROWTH)
        points.add(upper)
    return sorted(points)


_UPPER_MS = _boundaries()
_EDGE_BINS = tuple(_UPPER_MS.index(edge) for edge in DISTRIBUTION_EDGES_MS)


def _value(index: int) -> float:
    if index == 0:
        return 0.0
    low, high = _UPPER_MS[index - 1] + 1, _UPPER_MS[index]
    if high <= _LINEAR_END_MS:
        return (low + high) / 2
    return 2 * low * high / (low + high)


_VALUES_MS = [_value(index) for index in range(len(_UPPER_MS))]
BIN_COUNT = len(_UPPER_MS)


def bin_of(duration_ms: int) -> int:
    """The bin of a duration. Zero and below is bin 0; past a hundred years the last bin.

    Raises `TypeError` for what is no number; durations are integers, so NaN and infinity cannot occur.
    """
    if duration_ms <= 0:
        return 0
    return min(bisect_left(_UPPER_MS, duration_ms), BIN_COUNT - 1)


def value_ms(index: int) -> float:
    """The duration that stands for a bin, in milliseconds."""
    return _VALUES_MS[index]


def quantile_ms(bins: Mapping[int, int], fraction: float) -> float | None:
    """The quantile, interpolated linearly between the closest ranks; `None` when empty.

    The median of two values is their mean (Hyndman and Fan's type 7: rank `fraction * (n - 1)` from 0).
    """
    total = sum(bins.values())
    if total == 0:
        return None
    rank = fraction * (total - 1)
    lower_rank = int(rank)
    weight = rank - lower_rank
    seen = 0
    lower: float | None = None
    for index in sorted(bins):
        seen += bins[index]
        if lower is None and seen > lower_rank:
            lower = _VALUES_MS[index]
            if weight == 0 or seen > lower_rank + 1:
                return lower
        elif lower is not None and seen > lower_rank + 1:
            return lower + (_VALUES_MS[index] - lower) * weight
    return lower


def distribution(bins: Mapping[int, int]) -> list[int]:
    """Counts per class of `DISTRIBUTION_EDGES_MS`, the open last class included; exact."""
    counts = [0] * (len(_EDGE_BINS) + 1)
    for index, count in bins.items():
        counts[bisect_left(_EDGE_BINS, index)] += count
    return counts
