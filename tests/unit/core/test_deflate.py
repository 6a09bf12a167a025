"""Deflated bytes: read back whole, or refused."""

import msgspec
import pytest

from aggregates.deflate import deflated, inflated

ARRAY = msgspec.msgpack.encode([1, "conversation-1", "conversation-2", "conversation-3", "conversation-4"])


def test_deflated_bytes_are_fewer_and_are_read_back() -> None:
    assert len(deflated(ARRAY)) < len(ARRAY)
    assert inflated(deflated(ARRAY)) == ARRAY


@pytest.mark.parametrize("length", [0, 6, 11, 15, 16, 70_000])
def test_an_array_that_was_never_deflated_is_left_as_it_is(length: int) -> None:
    array = msgspec.msgpack.encode([120] * length)
    assert inflated(array) == array


def test_damaged_bytes_are_refused() -> None:
    data = deflated(ARRAY)
    for broken in (data[:-1], data[:1], data[:9] + bytes([data[9] ^ 1]) + data[10:]):
        with pytest.raises(ValueError, match="damaged"):
            inflated(broken)
