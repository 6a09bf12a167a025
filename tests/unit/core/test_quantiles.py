"""Exact quantiles, against a plain reading of their definition."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.quantiles import Durations, order_of
from aggregates.sketch import DISTRIBUTION_EDGES_MS

VALUES = st.integers(0, 9) | st.integers(0, 1 << 20) | st.integers(0, (1 << 45) - 1)


def plain_quantile(values_ms: list[int], fraction: Fraction) -> float | None:
    """The value at rank `fraction * (n - 1)`, between two as far as the rank is between theirs; in seconds."""
    if not values_ms:
        return None
    ordered = sorted(values_ms)
    rank = fraction * (len(ordered) - 1)
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return float((ordered[below] + (ordered[above] - ordered[below]) * (rank - below)) / 1000)


def test_the_median_of_two_values_is_their_mean() -> None:
    assert Durations(np.array([4000, 1000])).quantile_seconds(0.5) == 2.5


def test_the_ninetieth_percentile_lies_between_the_closest_ranks() -> None:
    # Eleven values have rank 9 exactly; five have rank 3.6, between 40 and 50.
    assert Durations(np.arange(11) * 1000).quantile_seconds(0.9) == 9.0
    assert Durations(np.array([50, 10, 40, 20, 30]) * 1000).quantile_seconds(0.9) == pytest.approx(46.0)


def test_nothing_has_no_quantile() -> None:
    nothing = Durations(np.zeros(0, dtype=np.int64))
    assert nothing.quantile_seconds(0.5) is None
    assert nothing.distribution() == [0] * 11
    assert nothing.quantiles_by(np.zeros(0, dtype=np.uint8), 2, (0.5,)) == [[None, None]]


def test_each_edge_of_the_distribution_belongs_to_the_class_below_it() -> None:
    on, above = (np.array([edge + more for edge in DISTRIBUTION_EDGES_MS]) for more in (0, 1))
    assert Durations(on).distribution() == [1] * 10 + [0]
    assert Durations(above).distribution() == [0] + [1] * 10
    assert DISTRIBUTION_EDGES_MS[0] == 60_000
    assert DISTRIBUTION_EDGES_MS[-1] == 604_800_000


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i8"])
def test_numbers_of_every_width_are_ordered(dtype: str) -> None:
    numbers = (np.arange(1000, dtype=np.int64) * 2_654_435_761 % (1 << 40)).astype(dtype)
    assert numbers[order_of(numbers)].tolist() == sorted(numbers.tolist())


@given(st.lists(st.tuples(VALUES, st.integers(0, 3)), max_size=40), st.sampled_from(["0.5", "0.9", "0", "1"]))
def test_quantiles_are_those_of_the_definition(rows: list[tuple[int, int]], fraction: str) -> None:
    values = np.array([value for value, _ in rows], dtype=np.int64)
    codes = np.array([code for _, code in rows], dtype=np.uint8)
    durations = Durations(values)
    whole = plain_quantile([value for value, _ in rows], Fraction(fraction))
    assert durations.quantile_seconds(float(fraction)) == (whole if whole is None else pytest.approx(whole, rel=1e-12))
    for code, found in enumerate(durations.quantiles_by(codes, 5, (float(fraction),))[0]):
        expected = plain_quantile([value for value, of in rows if of == code], Fraction(fraction))
        assert found == (expected if expected is None else pytest.approx(expected, rel=1e-12))
