"""Sparse vectors of counts: how they add up, and their bytes.

A vector maps slots to counts that are not 0. Vectors add and subtract exactly in any order, so a correction is the old
contribution taken away and the new one added. Equal vectors have equal bytes.
"""

from collections.abc import Iterable, Mapping

import msgspec

from aggregates.errors import NegativeCounter

Vector = dict[int, int]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


def added(vector: Mapping[int, int], change: Mapping[int, int]) -> Vector:
    """The sum of a vector and a change, which may be negative; slots that come to 0 are left out.

    Raises `NegativeCounter` when a slot falls below 0.
    """
    total = dict(vector)
    for slot, count in change.items():
        left = total.get(slot, 0) + count
        if left > 0:
            total[slot] = left
        elif left == 0:
            total.pop(slot, None)
        else:
            raise NegativeCounter(slot)
    return total


def summed(vectors: Iterable[Mapping[int, int]]) -> Vector:
    """The sum of vectors."""
    total: Vector = {}
    for vector in vectors:
        for slot, count in vector.items():
            total[slot] = total.get(slot, 0) + count
    return {slot: count for slot, count in total.items() if count}


def encode_vector(vector: Mapping[int, int]) -> bytes:
    """A vector as one msgpack array: slot steps and counts in turn, slots rising."""
    numbers: list[int] = []
    before = 0
    for slot in sorted(vector):
        numbers += (slot - before, vector[slot])
        before = slot
    return _encode(numbers)


def decode_vector(data: bytes) -> Vector:
    """The vector of `encode_vector`'s bytes. Raises `ValueError` when they are none."""
    numbers = _decode(data)
    vector: Vector = {}
    slot = 0
    for step, count in zip(numbers[::2], numbers[1::2], strict=True):
        slot += step
        vector[slot] = count
    return vector
