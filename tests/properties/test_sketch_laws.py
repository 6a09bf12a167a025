"""Laws of the sketch: the stated error beside exact quantiles on data of every shape, and exact arithmetic."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.sketch import (
    BIN_COUNT,
    DISTRIBUTION_EDGES_MS,
    RELATIVE_ERROR,
    bin_of,
    distribution,
    quantile_ms,
    value_ms,
)

ABSOLUTE_ERROR_MS = 10
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
YEAR = 366 * DAY
LONGEST_MS = 100 * YEAR
FRACTIONS = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


def folded(durations: Sequence[int]) -> Counter[int]:
    return Counter(map(bin_of, durations))


def exact_quantile(durations: Sequence[int], fraction: float) -> float:
    """Interpolated linearly between the closest ranks."""
    ranked = sorted(durations)
    rank = fraction * (len(ranked) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (ranked[above] - ranked[below]) * (rank - below)


def within_the_stated_error(durations: Sequence[int], bins: Mapping[int, int]) -> bool:
    for fraction in FRACTIONS:
        exact, found = exact_quantile(durations, fraction), quantile_ms(bins, fraction)
        assert found is not None
        allowed = RELATIVE_ERROR * exact if exact >= SECOND else ABSOLUTE_ERROR_MS
        assert abs(found - exact) <= allowed, f"quantile {fraction}: {exact} ms exactly, {found} ms found"
    return True


def _zig_zag(random: Random) -> list[int]:
    """Up and down between two durations, by ever larger steps."""
    return [(1 if n % 2 else -1) * n * 7 * SECOND + 30 * 7 * MINUTE + random.randrange(3) for n in range(1_500)]


_RANDOM = Random(20260302)
DATA: dict[str, list[int]] = {
    "nothing but zeros": [0] * 1_000,
    "constant": [7 * MINUTE] * 1_000,
    "one": [83_411],
    "two far apart": [1, 30 * DAY],
    "two around a second": [999, 1_001],
    "rising": list(range(0, 3_000_000, 1_777)),
    "uniform": [_RANDOM.randrange(2 * HOUR) for _ in range(3_000)],
    "bimodal": [int(_RANDOM.gauss(mean, mean / 20)) for mean in (20 * SECOND, 9 * HOUR) for _ in range(1_000)],
    "heavy tail": [int(SECOND * _RANDOM.paretovariate(0.7)) for _ in range(3_000)],
    "log normal": [int(_RANDOM.lognormvariate(11, 2.5)) for _ in range(3_000)],
    "tiny": [0, 1, 2, 3, 4, 5, 7, 8, 9, 995, 996, 997, 998, 999, 1_000, 1_001],
    "below a second": [_RANDOM.randrange(1_100) for _ in range(2_000)],
    "mostly zero": [0] * 900 + [_RANDOM.randrange(HOUR) for _ in range(100)],
    "years": [_RANDOM.randrange(YEAR, LONGEST_MS) for _ in range(1_000)],
    "everything": [int(10 ** _RANDOM.uniform(0, 12)) for _ in range(3_000)],
    "zig-zag": _zig_zag(_RANDOM),
}


@pytest.mark.parametrize("name", DATA)
def test_quantiles_are_within_the_stated_error_on_data_of_every_shape(name: str) -> None:
    durations = [max(0, min(duration, LONGEST_MS)) for duration in DATA[name]]
    assert within_the_stated_error(durations, folded(durations))


durations_ms = st.integers(0, 20) | st.integers(0, 2 * SECOND) | st.integers(0, 3 * DAY) | st.integers(0, LONGEST_MS)
samples = st.lists(durations_ms, max_size=60)
fractions = st.floats(0, 1)


@given(samples.filter(bool))
def test_quantiles_are_within_the_stated_error(durations: list[int]) -> None:
    assert within_the_stated_error(durations, folded(durations))


@given(samples, samples)
def test_adding_sketches_is_folding_both_and_in_any_order(xs: list[int], ys: list[int]) -> None:
    assert folded(xs) + folded(ys) == folded(ys) + folded(xs) == folded(xs + ys)


@given(samples, samples, samples)
def test_adding_sketches_associates(xs: list[int], ys: list[int], zs: list[int]) -> None:
    assert (folded(xs) + folded(ys)) + folded(zs) == folded(xs) + (folded(ys) + folded(zs))


@given(samples, samples)
def test_subtracting_what_was_added_gives_the_sketch_back(xs: list[int], ys: list[int]) -> None:
    assert (folded(xs) + folded(ys)) - folded(ys) == folded(xs)


@given(st.integers(1, 50), st.integers(0, 50), durations_ms)
def test_zero_is_exact_and_only_zero_is_zero(zeros: int, others: int, other: int) -> None:
    bins = folded([0] * zeros + [other] * others)
    assert (quantile_ms(bins, 0.0), value_ms(0)) == (0.0, 0.0)
    assert (bin_of(other) == 0) == (other == 0)
    if zeros > others + 1:
        assert quantile_ms(bins, 0.5) == 0.0


@given(samples)
def test_the_distribution_counts_exactly(durations: list[int]) -> None:
    # Each edge belongs to the class below it.
    edges = [0, *(edge + 1 for edge in DISTRIBUTION_EDGES_MS), LONGEST_MS * 2]
    exact = [sum(low <= duration < high for duration in durations) for low, high in pairwise(edges)]
    assert distribution(folded(durations)) == exact


@given(durations_ms, durations_ms)
def test_the_median_of_two_values_is_their_mean(one: int, other: int) -> None:
    mean = (value_ms(bin_of(one)) + value_ms(bin_of(other))) / 2
    assert quantile_ms(folded([one, other]), 0.5) == pytest.approx(mean, rel=1e-12)


@given(samples.filter(bool), fractions, fractions)
def test_a_larger_fraction_never_gives_a_smaller_quantile(durations: list[int], one: float, other: float) -> None:
    bins = folded(durations)
    low, high = quantile_ms(bins, min(one, other)), quantile_ms(bins, max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high * (1 + 1e-12)


@given(durations_ms, durations_ms)
def test_bins_keep_the_order_of_durations(one: int, other: int) -> None:
    assert (bin_of(one) <= bin_of(other)) or one > other


def test_every_bin_stands_for_a_duration_within_itself() -> None:
    values = [value_ms(index) for index in range(BIN_COUNT)]
    assert values == sorted(set(values))
    assert all(bin_of(round(value)) == index for index, value in enumerate(values) if index > 0)
