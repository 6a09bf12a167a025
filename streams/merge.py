"""Reads the two event topics of a shard in the order of event time, as far as they are fetched.

Each topic's records keep their order. Between the topics, the one whose next record happened earlier goes first. A
record of the conversations topic counts as old as the oldest one fetched behind it: so a late conversation event is
not made later still by contact events that could have waited, for those are taken in at any time, and it is not.
"""

from collections import deque
from dataclasses import dataclass

from streams.arrivals import UNKNOWN_US, Arrival, Scan, arrivals_of
from streams.kafka import EVENT_TOPICS, ConsumerRecord
from streams.ledger import Positions

LIVE_GRACE_MS = 100
HISTORY_GRACE_MS = 2_000
"""How old a record must be to be taken while the other topic has none: a producer of both may still be sending."""

MAX_CLOCK_SKEW_MS = 3_000
"""A record stamped further ahead of our clock tells nothing about when it was sent, and waits for nothing."""

CONTACTS, CONVERSATIONS = range(len(EVENT_TOPICS))

_NEVER_US = 1 << 62


class TopicBuffer:
    """Records of one partition that are fetched and not yet in a batch. `topic` is its place in `EVENT_TOPICS`."""

    __slots__ = ("_scan", "_topic", "bytes", "fetched", "records")

    def __init__(self, topic: int, fetched: int, scan: Scan | None = None) -> None:
        self._topic = topic
        self._scan = scan
        self.fetched = fetched
        """The consumer's position after the last fetch."""
        self.records: deque[Arrival] = deque()
        self.bytes = 0

    def add(self, records: list[ConsumerRecord], fetched: int) -> None:
        """Take in what a fetch brought, and where it ended."""
        arrivals = arrivals_of(self._topic, records, self._scan)
        self.bytes += sum([arrival.size for arrival in arrivals])
        self.fetched = fetched
        if self._topic == CONVERSATIONS:
            self._age(arrivals)
        self.records.extend(arrivals)

    def _age(self, added: list[Arrival]) -> None:
        """Let each record count as old as the oldest behind it."""
        oldest = _NEVER_US
        for arrival in reversed(added):
            if arrival.order_us > oldest:
                arrival.order_us = oldest
            elif arrival.order_us != UNKNOWN_US:
                oldest = arrival.order_us
        for arrival in reversed(self.records):
            if arrival.order_us > oldest:
                arrival.order_us = oldest
            elif arrival.order_us != UNKNOWN_US:
                break  # what stands before it was aged when it came

    @property
    def position(self) -> int:
        """Where this topic goes on after what was taken."""
        return self.records[0].record.offset if self.records else self.fetched

    def clear(self) -> None:
        """Forget all records."""
        self.records.clear()
        self.bytes = 0


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

    def waits(self, arrival: Arrival) -> bool:
        """Whether a record, its topic's next, waits for the other topic, which has run dry."""
        timestamp_ms: int = arrival.record.timestamp
        happened_ms = arrival.order_us // 1000
        dry = 1 - arrival.topic
        if self.behind[dry]:
            return not self.stalled[dry] or 0 <= happened_ms <= self.now_ms - self.history_ms
        is_history = 0 <= happened_ms <= timestamp_ms - self.history_ms
        return -MAX_CLOCK_SKEW_MS <= self.now_ms - timestamp_ms < (HISTORY_GRACE_MS if is_history else LIVE_GRACE_MS)


def take_merged(
    buffers: tuple[TopicBuffer, TopicBuffer], most: int, most_bytes: int, patience: Patience
) -> tuple[list[Arrival], Positions]:
    """The next records of both topics in event time, and where both go on after them.

    At most `most` records, and as many bytes; a longer record goes alone. None, when all that there is must wait.
    """
    contacts, conversations = buffers
    left, right = contacts.records, conversations.records
    taken: list[Arrival] = []
    size = 0
    while len(taken) < most:
        if left and right:
            queue = left if left[0].order_us <= right[0].order_us else right
        elif left or right:
            queue = left or right
            if patience.waits(queue[0]):
                break
        else:
            break
        arrival = queue[0]
        size += arrival.size
        if taken and size > most_bytes:
            break
        taken.append(queue.popleft())
        buffers[arrival.topic].bytes -= arrival.size
    return taken, Positions(contacts.position, conversations.position)
