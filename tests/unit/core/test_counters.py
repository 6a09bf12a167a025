"""Counters and their bytes, literally: what the ledger holds must stay readable."""

import pytest

from aggregates import counters
from aggregates.counters import (
    Deltas,
    added,
    decode_field,
    decode_value,
    encode_field,
    encode_value,
    observation,
    packed,
)
from aggregates.errors import NegativeCounter


def test_a_field_is_one_msgpack_array() -> None:
    # fixarray of 3: "n", nil, fixarray of 2: true, 5
    assert encode_field(("n", None, (True, 5))) == b"\x93\xa1n\xc0\x92\xc3\x05"
    assert decode_field(b"\x93\xa1n\xc0\x92\xc3\x05") == ("n", None, (True, 5))


def test_a_count_is_one_msgpack_integer() -> None:
    assert encode_value(7) == b"\x07"
    assert decode_value(b"\x07") == 7


def test_a_vector_is_packed_as_steps_and_counts_of_rising_slots() -> None:
    assert packed({20: 1, 3: 2, 4: 5}) == [3, 2, 1, 5, 16, 1]
    assert encode_value({20: 1, 3: 2, 4: 5}) == b"\x96\x03\x02\x01\x05\x10\x01"
    assert decode_value(b"\x96\x03\x02\x01\x05\x10\x01") == {3: 2, 4: 5, 20: 1}


def test_an_observation_of_zero_within_target() -> None:
    # Bins begin at slot 8, elapsed and business in turn; the bin of zero is 0.
    assert observation(0, 0, 300_000) == {
        counters.COUNT: 1,
        counters.TARGETED: 1,
        counters.WITHIN_ELAPSED: 1,
        counters.WITHIN_BUSINESS: 1,
        8: 1,
        9: 1,
    }


def test_an_observation_late_by_the_wall_clock_and_in_time_in_working_hours() -> None:
    # 8 ms is bin 2 (slot 8 + 4), 4 ms is bin 1 (slot 9 + 2).
    assert observation(8, 4, 5) == {counters.COUNT: 1, counters.TARGETED: 1, counters.WITHIN_BUSINESS: 1, 12: 1, 11: 1}


def test_an_observation_without_a_schedule_has_elapsed_on_both_clocks() -> None:
    assert observation(8, None, None) == {counters.COUNT: 1, counters.WITHOUT_SCHEDULE: 1, 12: 1, 13: 1}


@pytest.mark.parametrize("data", [b"", b"\x93\xa1n", b"\xa1n", b"\x93\x01\x02\x03\x04", b"\xff\xff"])
def test_bytes_that_are_no_field_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_field(data)


@pytest.mark.parametrize("data", [b"", b"\xa1n", b"\x93\x01\x02\x03", b"\x92\x01", b"\xc0"])
def test_bytes_that_are_no_value_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_value(data)


def test_a_counter_that_would_fall_below_zero_is_named() -> None:
    with pytest.raises(NegativeCounter) as caught:
        added(1, -2, ("n", "Web"))
    assert caught.value.field == ("n", "Web")
    assert "('n', 'Web')" in str(caught.value)
    with pytest.raises(NegativeCounter):
        added({0: 2, 8: 1}, {0: -1, 9: -1})


def test_what_falls_to_zero_is_gone() -> None:
    assert added(2, -2) is None
    assert added({0: 2, 8: 1}, {0: -1, 8: -1}) == {0: 1}
    assert added({0: 1}, {0: -1}) is None


def test_deltas_gather_by_day_and_field() -> None:
    deltas = Deltas()
    deltas.count(5, ("n",), 1)
    deltas.count(5, ("n",), 1)
    deltas.count(6, ("n",), -1)
    deltas.observe(5, ("r",), {0: 1, 8: 1}, 1)
    deltas.observe(5, ("r",), {0: 1, 9: 1}, 2)
    assert deltas.days == {5: {("n",): 2, ("r",): {0: 3, 8: 1, 9: 2}}, 6: {("n",): -1}}


def test_clearing_zeros_keeps_what_still_says_something() -> None:
    deltas = Deltas()
    deltas.count(5, ("n",), 1)
    deltas.count(5, ("n",), -1)
    deltas.count(5, ("x",), 1)
    deltas.observe(6, ("r",), {0: 1}, 1)
    deltas.observe(6, ("r",), {0: 1}, -1)
    deltas.clear_zeros()
    assert deltas.days == {5: {("x",): 1}}
