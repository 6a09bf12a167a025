"""Sums of durations: histograms with lanes and sparse vectors give what one vector of them all gives."""

from random import Random

import pytest

from aggregates import sketch
from aggregates.counters import COUNT, TARGETED, WITHIN_ELAPSED, Vector, added, elapsed_bins, observation, packed
from aggregates.durations import Durations, Histogram, histogram


def vector(seed: int, count: int, longest_ms: int = 10_000_000) -> Vector:
    rng = Random(seed)
    total: Vector = {}
    for _ in range(count):
        more = added(total, observation(rng.randrange(longest_ms), rng.randrange(longest_ms), 60_000))
        assert isinstance(more, dict)
        total = more
    return total


def test_few_durations_are_kept_sparse_and_many_in_lanes() -> None:
    few, many = vector(1, 3), vector(2, 2_000)
    sparse, lanes = histogram(few), histogram(many)
    assert sparse.head == head(few)
    assert (sparse.lanes, sparse.rest) == (b"", packed({slot: n for slot, n in few.items() if slot >= 10}))
    assert lanes.head == head(many)
    assert lanes.rest == []
    assert lanes.largest == max(n for slot, n in many.items() if slot >= lanes.first)
    assert histogram({}) == Histogram()


def head(of: Vector) -> list[int]:
    """Flags, and the bins of zero by both clocks."""
    return [of.get(slot, 0) for slot in range(10)]


def test_answers_that_took_no_time_do_not_widen_the_lanes() -> None:
    hasty = observation(0, 0, None)
    many = added(vector(2, 2_000), {slot: n * 5_000 for slot, n in hasty.items()})
    assert isinstance(many, dict)
    assert histogram(many).largest < 256
    assert Durations([histogram(many)], []).box()["count"] == 7_000


@pytest.mark.parametrize("times", [1, 40, 300, 9_000])
def test_sums_of_months_and_days_are_exact_however_large(times: int) -> None:
    # 40 make more than one byte of two lanes, 300 lanes of two bytes, 9,000 more than two of them could be added in.
    month = {slot: n * times for slot, n in vector(3, 2_000).items()}
    little, day = vector(5, 2_000), vector(4, 20)
    whole = added({slot: 3 * n for slot, n in month.items()}, little)
    expected = added(whole, day)
    assert isinstance(expected, dict)
    box = Durations([histogram(little), *[histogram(month)] * 3, Histogram()], [packed(day), []]).box()
    assert box["count"] == expected[COUNT] == 6_000 * times + 2_020
    assert box["within_target"]["elapsed"] == expected[WITHIN_ELAPSED] / expected[TARGETED]
    bins = elapsed_bins(expected)
    for name, fraction in (("median", 0.5), ("p90", 0.9)):
        assert box["elapsed"][name] == round((sketch.quantile_ms(bins, fraction) or 0) / 1000, 6)
    assert [each["count"] for each in box["distribution"]["elapsed"]] == sketch.distribution(bins)


def test_nothing_has_no_quantiles() -> None:
    box = Durations([], []).box()
    assert (box["count"], box["elapsed"]) == (0, {"median": None, "p90": None})
    assert [each["count"] for each in box["distribution"]["business"]] == [0] * 11
