"""Closed conversations of a contact in ten bytes each, so that their ids are not used again.

A contact may have tens of thousands in its life, and its state is read and written with each of its events. An id is
kept as 64 bits of its BLAKE2b hash: by chance, two ids of one contact with 50,000 conversations share them once in ten
billion contacts.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b

SpentParts = tuple[list[str], bytes, bytes]
"""The channels, the hashes in rising order as little-endian numbers of 64 bits, and of each its channel's place as one
of 16 bits."""

_IS_BIG_ENDIAN = array("H", [1]).tobytes() == b"\0\1"


class SpentConversations:
    """Closed conversations and the channels that opened them. Mutable."""

    __slots__ = ("_channels", "_hashes", "_places", "count")

    def __init__(self, parts: SpentParts | None = None) -> None:
        """Those of another's `parts`; most contacts have none. Raises `ValueError` when they are damaged."""
        self.count = 0
        """How many there are."""
        if parts is None:
            return
        channels, hashes, places = parts
        self._channels = list(channels)
        self._hashes = _numbers("Q", hashes)
        self._places = _numbers("H", places)
        if len(self._hashes) != len(self._places):
            raise ValueError("as many channels as conversations are needed")
        self.count = len(self._hashes)

    def __len__(self) -> int:
        return self.count

    def parts(self) -> SpentParts:
        """What an equal one is made of."""
        if not self.count:
            return [], b"", b""
        return self._channels, _bytes(self._hashes), _bytes(self._places)

    def channel(self, conversation_id: str) -> str | None:
        """The channel of a conversation, `None` when it is not among these."""
        if not self.count:
            return None
        number = _hash(conversation_id)
        place = bisect_left(self._hashes, number)
        if place == len(self._hashes) or self._hashes[place] != number:
            return None
        return self._channels[self._places[place]]

    def add(self, conversations: Iterable[tuple[str, str]]) -> None:
        """Take in conversations: id and channel."""
        if not self.count:
            self._channels, self._hashes, self._places = [], array("Q"), array("H")
        for conversation_id, channel in conversations:
            number = _hash(conversation_id)
            place = bisect_left(self._hashes, number)
            if place < len(self._hashes) and self._hashes[place] == number:
                continue
            if channel not in self._channels:
                self._channels.append(channel)
            self._hashes.insert(place, number)
            self._places.insert(place, self._channels.index(channel))
            self.count += 1


def _hash(conversation_id: str) -> int:
    return int.from_bytes(blake2b(conversation_id.encode(), digest_size=8).digest(), "little")


def _numbers(kind: str, data: bytes) -> "array[int]":
    numbers = array(kind)
    numbers.frombytes(data)
    if _IS_BIG_ENDIAN:
        numbers.byteswap()
    return numbers


def _bytes(numbers: "array[int]") -> bytes:
    if _IS_BIG_ENDIAN:
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()
