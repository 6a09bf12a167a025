"""A straight line through points, and quantiles: what measurements are summed up with."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """`y = at_zero + slope * x`, by least squares."""

    at_zero: float
    slope: float

    def at(self, x: float) -> float:
        """The line's value at `x`."""
        return self.at_zero + self.slope * x


def fitted(points: Sequence[tuple[float, float]]) -> Line:
    """The line through (x, y) points with the least squares of differences in y.

    One point, or points that share one x, give a level line through their mean. Raises `ValueError` without points.
    """
    if not points:
        raise ValueError("no line goes through no points")
    count = len(points)
    mean_x = math.fsum(x for x, _ in points) / count
    mean_y = math.fsum(y for _, y in points) / count
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return Line(mean_y, 0.0)
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return Line(mean_y - slope * mean_x, slope)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies, between the closest ranks. Raises `ValueError` without values."""
    if not values:
        raise ValueError("no values have no quantile")
    ordered = sorted(values)
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)
