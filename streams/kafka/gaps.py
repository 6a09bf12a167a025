"""Gaps: records that Kafka dropped before they were read, and the instant from which the log is complete.

A shard's ledger keeps its gaps for good, as JSON under `gap`. It once was a text for people, without instants: such a
one is still read, as `earlier`.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from streams.kafka.clients import TopicPartition

FORMAT = 1


class Gap(Struct, frozen=True):
    """A run of records of one partition that were never read."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    complete_from_ms: int
    """What was sent from this instant on, in milliseconds since 1970, is behind the gap."""

    @property
    def text(self) -> str:
        """Which records, for people."""
        return records_text(TopicPartition(self.topic, self.partition), self.first_offset, self.last_offset)


class Gaps(Struct, frozen=True):
    """Every gap of one shard, oldest first; empty for a shard that has read everything."""

    lost: tuple[Gap, ...] = ()
    earlier: str = ""
    """Gaps in the words of a version that noted no instants: from when on everything is there is not known."""
    format: int = FORMAT

    @property
    def text(self) -> str:
        """Which records are missing, for people; empty when none is."""
        return "; ".join([*([self.earlier] if self.earlier else []), *(one.text for one in self.lost)])

    def with_more(self, gaps: Iterable[Gap]) -> "Gaps":
        """These gaps, and more of them."""
        return Gaps((*self.lost, *gaps), self.earlier)


def gap(partition: TopicPartition, first_offset: int, begin: int, complete_from_ms: int) -> Gap:
    """The gap of a partition whose first record should be at `first_offset`, and is at `begin`."""
    return Gap(partition.topic, partition.partition, first_offset, begin - 1, complete_from_ms)


def records_text(partition: TopicPartition, first_offset: int, last_offset: int) -> str:
    """A run of records, for people."""
    return f"{partition.topic} partition {partition.partition} offsets {first_offset} to {last_offset}"


def complete_from(shards: Iterable[Gaps]) -> int | None:
    """The instant, in milliseconds since 1970, from which on all of these shards have everything that was sent.

    `None` when nothing is missing in any of them, and when one has a gap of which the instant is not known.
    """
    found = list(shards)
    if any(gaps.earlier for gaps in found):
        return None
    return max((one.complete_from_ms for gaps in found for one in gaps.lost), default=None)


def encode_gaps(gaps: Gaps) -> bytes:
    """As the ledger keeps them."""
    return msgspec.json.encode(gaps)


def decode_gaps(data: bytes | None) -> Gaps:
    """What the ledger has under `gap`, whichever version wrote it; what is not understood is still a gap."""
    if not data:
        return Gaps()
    try:
        found = _decode(data)
    except msgspec.MsgspecError:
        found = None
    if found is None or found.format != FORMAT:
        return Gaps(earlier=data.decode("utf-8", "replace"))
    return found


_decode = msgspec.json.Decoder(Gaps).decode
