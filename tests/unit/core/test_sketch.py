"""Bins and quantiles, by hand."""

import pytest

from aggregates.sketch import (
    BIN_COUNT,
    DISTRIBUTION_EDGES_MS,
    RELATIVE_ERROR,
    bin_of,
    distribution,
    quantile_ms,
    value_ms,
)

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def test_the_first_second_has_zero_and_steps_of_four_milliseconds() -> None:
    assert [bin_of(duration) for duration in (0, 1, 4, 5, 8, 9)] == [0, 1, 1, 2, 2, 3]
    assert [value_ms(index) for index in (0, 1, 2)] == [0.0, 2.5, 6.5]
    assert bin_of(1000) == 250
    assert bin_of(1001) == 251


def test_a_negative_duration_is_zero() -> None:
    assert bin_of(-5) == 0


def test_past_a_hundred_years_everything_is_in_the_last_bin() -> None:
    assert bin_of(101 * 366 * DAY) == bin_of(500 * 366 * DAY) == BIN_COUNT - 1


def test_a_duration_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError):
        bin_of("60")  # type: ignore[arg-type]


def test_a_bins_value_is_within_two_milliseconds_and_above_a_second_within_three_quarters_of_a_percent() -> None:
    for step in range(2_000):
        duration = round(1.0125**step)
        if duration > 100 * 366 * DAY:
            break
        off = abs(value_ms(bin_of(duration)) - duration)
        assert off <= (2 if duration <= 1_000 else 0.0075 * duration), duration


def test_nothing_has_no_quantile() -> None:
    assert quantile_ms({}, 0.5) is None
    assert quantile_ms({3: 0}, 0.5) is None


def test_the_median_of_two_is_their_mean_and_of_three_the_middle_one() -> None:
    low, high = bin_of(2), bin_of(5)  # 2.5 and 6.5 ms
    assert quantile_ms({low: 1, high: 1}, 0.5) == 4.5
    assert quantile_ms({low: 2, high: 1}, 0.5) == 2.5
    assert quantile_ms({low: 1, high: 2}, 0.5) == 6.5


def test_a_quantile_interpolates_between_the_closest_ranks() -> None:
    # Ranks 0..3: 0, 2.5, 6.5, 10.5; rank 0.9 * 3 = 2.7.
    bins = {0: 1, bin_of(2): 1, bin_of(5): 1, bin_of(10): 1}
    assert quantile_ms(bins, 0.9) == pytest.approx(6.5 + 0.7 * 4)
    assert quantile_ms(bins, 0.0) == 0.0
    assert quantile_ms(bins, 1.0) == 10.5


def test_an_empty_bin_between_is_passed_over() -> None:
    assert quantile_ms({0: 1, 1: 0, 2: 1}, 0.5) == 3.25


def test_the_distribution_counts_each_edge_in_the_class_below_it() -> None:
    durations = [0, 60_000, 60_001, 5 * MINUTE, 4 * HOUR, 4 * HOUR + 1, 7 * DAY, 7 * DAY + 1]
    bins: dict[int, int] = {}
    for duration in durations:
        bins[bin_of(duration)] = bins.get(bin_of(duration), 0) + 1
    #                            1m 5m 15 30 1h 4h 8h 1d 3d 7d more
    assert distribution(bins) == [2, 2, 0, 0, 0, 1, 1, 0, 0, 1, 1]


def test_the_published_edges_and_error() -> None:
    in_minutes = [edge / MINUTE for edge in DISTRIBUTION_EDGES_MS]
    assert in_minutes == [1, 5, 15, 30, 60, 240, 480, 1_440, 4_320, 10_080]
    assert RELATIVE_ERROR == 0.01


def test_the_table_of_bins_is_the_one_that_stored_counters_use() -> None:
    """Moving a boundary would change what every stored counter means: it takes a new namespace, and this test."""
    assert BIN_COUNT == 1_733
    assert [bin_of(duration) for duration in (MINUTE, HOUR, DAY, 365 * DAY)] == [528, 807, 1_023, 1_423]
