"""Counters and their bytes, literally: what the ledger holds must stay readable."""

from typing import Any

import pytest

from aggregates import facts
from aggregates.counters import added, decode_vector, encode_vector, summed
from aggregates.errors import NegativeCounter
from aggregates.facts import Fact
from aggregates.totals import totals_of


def test_a_vector_is_steps_and_counts_of_rising_slots() -> None:
    # An array of six: 3 twice, 4 five times, 20 once.
    assert encode_vector({20: 1, 3: 2, 4: 5}) == b"\x96\x03\x02\x01\x05\x10\x01"
    assert decode_vector(b"\x96\x03\x02\x01\x05\x10\x01") == {3: 2, 4: 5, 20: 1}


@pytest.mark.parametrize("data", [b"", b"\xa1n", b"\x93\x01\x02\x03", b"\x92\x01", b"\xc0", b"\x92\x01\xa1n"])
def test_bytes_that_are_no_vector_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_vector(data)


def test_a_counter_that_would_fall_below_zero_is_named() -> None:
    with pytest.raises(NegativeCounter) as caught:
        added({0: 2, 8: 1}, {0: -1, 9: -1})
    assert "9" in str(caught.value)
    with pytest.raises(NegativeCounter):
        added({8: 1}, {8: -2})


def test_what_falls_to_zero_is_gone() -> None:
    assert added({0: 2, 8: 1}, {0: -1, 8: -1}) == {0: 1}
    assert summed([{0: 2, 8: 1}, {8: -1}]) == {0: 2}
    assert summed([]) == {}


def test_the_totals_of_a_day() -> None:
    at = {"day": 739_677, "at_ms": 1_772_442_000_000, "tie": 0}
    nine: dict[str, Any] = {**at, "origin": None, "group": None, "channel": "sms"}
    day = [
        Fact(facts.STARTED, **nine, flags=9),
        Fact(facts.STARTED, **nine, flags=23),
        Fact(facts.CLOSED, **nine),
        Fact(facts.CLOSED, **nine, flags=facts.TRANSFERRED),
        # 8 ms is bin 2, 4 ms is bin 1; bins begin at slot 48, four to a bin.
        Fact(facts.RESPONSE, **nine, since_ms=1_772_441_999_992, business_ms=4, flags=15),
        Fact(facts.FIRST_RESPONSE, **nine, since_ms=1_772_442_000_000),
    ]  # fmt: skip
    assert totals_of(day) == {
        facts.FIRST_RESPONSE: 1,
        facts.RESPONSE: 1,
        facts.STARTED: 2,
        facts.CLOSED: 2,
        9: 1,  # a transfer
        16 + 9: 1,
        16 + 23: 1,
        48 + 0: 1,  # no time at all, on both clocks
        48 + 1: 1,
        48 + 4 * 2 + 2: 1,
        48 + 4 * 1 + 3: 1,
    }
