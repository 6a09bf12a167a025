"""Exact quantiles and shares of durations.

A quantile interpolates linearly between the closest ranks, as the median of two values is their mean (Hyndman and
Fan's type 7: rank `fraction * (n - 1)`, counted from 0). Nothing is approximated: the values are those of the rows.
"""

import numpy as np

from aggregates.day_block import Numbers
from aggregates.sketch import DISTRIBUTION_EDGES_MS


def order_of(numbers: Numbers) -> Numbers:
    """The places of numbers, none of them negative, from the smallest to the largest; in linear time."""
    width = max(2, numbers.itemsize)
    halves = numbers.astype(f"<u{width}", copy=False).view("<u2").reshape(len(numbers), width // 2)
    return np.lexsort(halves.T)  # two bytes at a time, which is how it takes time in proportion


class Durations:
    """Durations in milliseconds, ordered once for every question."""

    def __init__(self, values_ms: Numbers) -> None:
        self._order = order_of(values_ms)
        self._ordered = values_ms[self._order].astype(np.int64)

    def quantile_seconds(self, fraction: float) -> float | None:
        """A quantile of all durations, in seconds; `None` when there are none."""
        everything = np.zeros(len(self._ordered), dtype=np.uint8)
        return self.quantiles_by(everything, 1, (fraction,))[0][0]

    def quantiles_by(self, codes: Numbers, length: int, fractions: tuple[float, ...]) -> list[list[float | None]]:
        """For each fraction, and each code below `length`, the quantile of the durations with that code, in seconds."""
        # Durations stay in order within each code. Codes of one or two bytes are sorted in linear time.
        places = np.argsort(codes[self._order], kind="stable")
        sizes = np.bincount(codes, minlength=length)
        present = np.flatnonzero(sizes)
        last = sizes[present] - 1
        first = np.cumsum(sizes)[present] - sizes[present]
        found = []
        for fraction in fractions:
            rank = fraction * last
            below = rank.astype(np.int64)
            low = self._ordered[places[first + below]]
            high = self._ordered[places[first + np.minimum(below + 1, last)]]
            seconds: list[float | None] = [None] * length
            for code, value in zip(
                present.tolist(), ((low + (high - low) * (rank - below)) / 1000).tolist(), strict=True
            ):
                seconds[code] = value
            found.append(seconds)
        return found

    def distribution(self) -> list[int]:
        """How many durations are in each class of `DISTRIBUTION_EDGES_MS`, the open last one included."""
        until = np.searchsorted(self._ordered, DISTRIBUTION_EDGES_MS, side="right")
        found: list[int] = np.diff(until, prepend=0, append=len(self._ordered)).tolist()
        return found
