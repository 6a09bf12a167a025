"""Reads the two event topics of a shard in the order of event time, as far as they are fetched.

Each topic's records keep their order. Between the topics, the one whose next record happened earlier goes first. A
record of the conversations topic counts as old as the oldest one fetched behind it: so a late conversation event is
not made later still by contact events that could have waited, for those are taken in at any time, and it is not.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec import Struct

from schemas.events import instant_us
from streams.folding import TopicRecord
from streams.kafka import EVENT_TOPICS, ConsumerRecord
from streams.ledger import Positions

LIVE_GRACE_MS = 100
HISTORY_GRACE_MS = 2_000
"""How old a record must be to be taken while the other topic has none: a producer of both may still be sending."""

MAX_CLOCK_SKEW_MS = 3_000
"""A record stamped further ahead of our clock tells nothing about when it was sent, and waits for nothing."""

CONTACTS, CONVERSATIONS = range(len(EVENT_TOPICS))

_UNKNOWN_US = -1
"""When a record that tells no time happened: before all others, for it holds nothing back."""
_NEVER_US = 1 << 62


class _Head(Struct, gc=False):
    occurred_at: datetime


_decode_head = msgspec.json.Decoder(_Head).decode


def occurred_us(value: bytes | None) -> int:
    """When the event in a record's value happened, or -1; never raises."""
    if value is None:
        return _UNKNOWN_US
    try:
        at = _decode_head(value).occurred_at
        return instant_us(at) if at.tzinfo is not None else _UNKNOWN_US
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return _UNKNOWN_US


class TopicBuffer:
    """Records of one partition that are fetched and not yet in a batch."""

    __slots__ = ("_keep_late", "_times_us", "bytes", "fetched", "records", "sizes")

    def __init__(self, fetched: int, keep_late: bool) -> None:
        self.fetched = fetched
        """The consumer's position after the last fetch."""
        self.records: deque[ConsumerRecord] = deque()
        self.sizes: deque[int] = deque()
        """Bytes of each record."""
        self.bytes = 0
        self._times_us: deque[int] = deque()
        self._keep_late = keep_late

    def add(self, records: list[ConsumerRecord], fetched: int) -> None:
        """Take in what a fetch brought, and where it ended."""
        times = [occurred_us(record.value) for record in records]
        self.records.extend(records)
        sizes = list(map(_size, records))
        self.sizes.extend(sizes)
        self.bytes += sum(sizes)
        self.fetched = fetched
        if self._keep_late:
            self._age(times)
        self._times_us.extend(times)

    def _age(self, added: list[int]) -> None:
        """Let each record count as old as the oldest behind it."""
        oldest = _NEVER_US
        for place in range(len(added) - 1, -1, -1):
            if added[place] > oldest:
                added[place] = oldest
            elif added[place] != _UNKNOWN_US:
                oldest = added[place]
        times = self._times_us
        for place in range(len(times) - 1, -1, -1):
            if times[place] > oldest:
                times[place] = oldest
            elif times[place] != _UNKNOWN_US:
                break  # what stands before it was aged when it came

    @property
    def next_us(self) -> int:
        """When the next record happened."""
        return self._times_us[0]

    @property
    def position(self) -> int:
        """Where this topic goes on after what was taken."""
        return self.records[0].offset if self.records else self.fetched

    def clear(self) -> None:
        """Forget all records."""
        self.records.clear()
        self.sizes.clear()
        self._times_us.clear()
        self.bytes = 0

    def take(self) -> ConsumerRecord:
        """The next record."""
        record = self.records.popleft()
        self._times_us.popleft()
        self.bytes -= self.sizes.popleft()
        return record


@dataclass(frozen=True)
class Patience:
    """What one topic waits for while the other has nothing fetched.

    `behind`: per topic, whether its log is known to hold records that are not fetched yet; `stalled`: whether that has
    been so for some seconds. Then live traffic goes on, whose events differ by no more, but a backlog still waits: what
    happened `history_ms` ago or earlier must not overtake, or all that the other topic has of the time between would
    come too late.

    A record younger than a moment waits too, for what was sent just before it, to the other topic, may still be on its
    way: a short moment for live traffic, and a longer one for history, which is sent long after it happened.
    """

    behind: tuple[bool, bool] = (False, False)
    stalled: tuple[bool, bool] = (False, False)
    now_ms: int = 1 << 62
    history_ms: int = 0

    def waits(self, buffer: "TopicBuffer", dry: int) -> bool:
        """Whether the buffer's next record waits for the topic that has run dry."""
        timestamp_ms: int = buffer.records[0].timestamp
        happened_ms = buffer.next_us // 1000
        if self.behind[dry]:
            return not self.stalled[dry] or 0 <= happened_ms <= self.now_ms - self.history_ms
        is_history = 0 <= happened_ms <= timestamp_ms - self.history_ms
        return -MAX_CLOCK_SKEW_MS <= self.now_ms - timestamp_ms < (HISTORY_GRACE_MS if is_history else LIVE_GRACE_MS)


def take_merged(
    buffers: tuple[TopicBuffer, TopicBuffer], most: int, most_bytes: int, patience: Patience
) -> tuple[list[TopicRecord], Positions]:
    """The next records of both topics in event time, and where both go on after them.

    At most `most` records, and as many bytes; a longer record goes alone. None, when all that there is must wait.
    """
    contacts, conversations = buffers
    taken: list[TopicRecord] = []
    size = 0
    while len(taken) < most:
        if contacts.records and conversations.records:
            topic = CONTACTS if contacts.next_us <= conversations.next_us else CONVERSATIONS
        elif contacts.records or conversations.records:
            topic = CONTACTS if contacts.records else CONVERSATIONS
            if patience.waits(buffers[topic], dry=1 - topic):
                break
        else:
            break
        size += buffers[topic].sizes[0]
        if taken and size > most_bytes:
            break
        taken.append((topic, buffers[topic].take()))
    return taken, Positions(contacts.position, conversations.position)


def _size(record: ConsumerRecord) -> int:
    return (len(record.key) if record.key else 0) + (len(record.value) if record.value else 0)
