"""Sums of durations: histograms with lanes and sparse vectors give what one vector of them all gives."""

from random import Random

import pytest

from aggregates import sketch
from aggregates.counters import COUNT, TARGETED, WITHIN_ELAPSED, Vector, added, elapsed_bins, observation, packed
from aggregates.durations import Durations, histogram


def vector(seed: int, count: int, longest_ms: int = 10_000_000) -> Vector:
    rng = Random(seed)
    total: Vector = {}
    for _ in range(count):
        more = added(total, observation(rng.randrange(longest_ms), rng.randrange(longest_ms), 60_000))
        assert isinstance(more, dict)
        total = more
    return total


def test_few_durations_are_kept_sparse_and_many_in_lanes() -> None:
    few, many = histogram(vector(1, 3)), histogram(vector(2, 2_000))
    assert (few.lanes, few.rest) == (b"", packed(vector(1, 3)))
    assert many.largest == max(n for slot, n in vector(2, 2_000).items() if slot >= many.first)
    assert many.rest == packed({slot: n for slot, n in vector(2, 2_000).items() if slot < many.first})


@pytest.mark.parametrize("times", [1, 40, 300, 9_000])
def test_sums_of_months_and_days_are_exact_however_large(times: int) -> None:
    # 300 make lanes of two bytes, 9,000 more than two of them could be added in those.
    month = {slot: n * times for slot, n in vector(3, 2_000).items()}
    day = vector(4, 20)
    total = Durations()
    for _ in range(3):
        total.add(histogram(month))
    total.add_packed(packed(day))
    whole: Vector = {slot: 3 * n for slot, n in month.items()}
    expected = added(whole, day)
    assert isinstance(expected, dict)
    box = total.box()
    assert box["count"] == expected[COUNT] == 6_000 * times + 20
    assert box["within_target"]["elapsed"] == expected[WITHIN_ELAPSED] / expected[TARGETED]
    bins = elapsed_bins(expected)
    for name, fraction in (("median", 0.5), ("p90", 0.9)):
        assert box["elapsed"][name] == round((sketch.quantile_ms(bins, fraction) or 0) / 1000, 6)
    assert [each["count"] for each in box["distribution"]["elapsed"]] == sketch.distribution(bins)


def test_nothing_has_no_quantiles() -> None:
    box = Durations().box()
    assert (box["count"], box["elapsed"]) == (0, {"median": None, "p90": None})
    assert [each["count"] for each in box["distribution"]["business"]] == [0] * 11
