"""Merges the two event topics of a shard by event time, as far as they are fetched.

Each topic's records keep their order. Between the topics, the one whose next record happened earlier goes first. A
record of the conversations topic counts as old as the oldest one fetched behind it. A contact event may come much later
than a conversation event, so a late conversation event never queues behind contact events.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, takewhile

from streams.kafka.clients import CONTACTS, CONVERSATIONS, EVENT_TOPICS
from streams.records.columns import RUN_NUMBERS, Run, Taken, names_of, split, topic_of
from streams.records.decoded import UNKNOWN_US
from streams.redis.ledger import Positions

LIVE_GRACE_MS = 100
HISTORY_GRACE_MS = 2_000
"""How old a record must be to be taken while the other topic has none: a producer of both may still be sending."""

MAX_CLOCK_SKEW_MS = 3_000
"""A record stamped further ahead of our clock tells nothing about when it was sent, and waits for nothing."""

_NEVER_US = 1 << 62


class TopicBuffer:
    """Records of one partition that are fetched and not yet in a batch. `topic` is its place in `EVENT_TOPICS`."""

    __slots__ = ("_next_number", "_sizes", "bytes", "fetched", "names", "order_us", "runs", "topic")

    def __init__(self, topic: int, fetched: int) -> None:
        self.topic = topic
        self._next_number = topic
        self._sizes = array("q")
        self.fetched = fetched
        """The consumer's position after the last fetch."""
        self.runs: dict[int, Run] = {}
        """By number."""
        self.names = array("Q")
        """Of all records, in order; see `streams.records.columns`."""
        self.order_us = array("q")
        """When each counts as having happened. It rises in the conversations topic; in that of contacts it may not."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.names)

    def add(self, run: Run, first: int = 0) -> None:
        """Take in what a fetch brought, from a place on."""
        if first >= len(run):
            return
        self.runs[self._next_number] = run
        self.names.extend(names_of(self._next_number, run, first))
        # A session may last for years: numbers begin again long after the first ones are forgotten.
        self._next_number = (self._next_number + len(EVENT_TOPICS)) % RUN_NUMBERS
        sizes = run.sizes[first:]
        self._sizes += sizes
        self.bytes += sum(sizes)
        order_us = run.order_us[first:]
        self.order_us += self._aged(order_us) if self.topic == CONVERSATIONS else order_us

    def _aged(self, added: "array[int]") -> "array[int]":
        """Let each record count as old as the oldest behind it; one that tells no time, as the one before it."""
        tells_all = UNKNOWN_US not in added
        behind = added if tells_all else [at_us if at_us != UNKNOWN_US else _NEVER_US for at_us in added]
        aged = array("q", accumulate(reversed(behind), min))[::-1]
        waiting = self.order_us
        younger = bisect_right(waiting, aged[0])
        waiting[younger:] = aged[:1] * (len(waiting) - younger)
        if not tells_all:
            before = waiting[-1] if waiting else UNKNOWN_US
            for place, at_us in enumerate(added):
                before = aged[place] = before if at_us == UNKNOWN_US else aged[place]
        return aged

    def run(self, name: int) -> tuple[Run, int]:
        """A record's run, and its place there."""
        number, place = split(name)
        return self.runs[number], place

    @property
    def position(self) -> int:
        """Where this topic goes on after what was taken."""
        if not self.names:
            return self.fetched
        run, place = self.run(self.names[0])
        return run.offsets[place]

    def take(self, count: int) -> Mapping[int, Run]:
        """Forget the first so many records; the runs they are of."""
        if not count:
            return {}
        last, _ = split(self.names[count - 1])
        # Runs stand in the order they came in; their numbers may have begun again between them.
        numbers = [*takewhile(lambda number: number != last, self.runs), last]
        taken = {number: self.runs[number] for number in numbers}
        self.bytes -= sum(self._sizes[:count])
        for column in (self.names, self.order_us, self._sizes):
            del column[:count]
        if self.names and split(self.names[0])[0] == last:
            numbers.pop()
        for number in numbers:
            del self.runs[number]
        return taken

    def clear(self) -> None:
        """Forget all records."""
        self.take(len(self.names))


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

    def waits(self, topic: int, order_us: int, timestamp_ms: int) -> bool:
        """Whether a record, its topic's next, waits for the other topic, which has run dry."""
        happened_ms = order_us // 1000
        dry = 1 - topic
        if self.behind[dry]:
            return not self.stalled[dry] or 0 <= happened_ms <= self.now_ms - self.history_ms
        is_history = 0 <= happened_ms <= timestamp_ms - self.history_ms
        return -MAX_CLOCK_SKEW_MS <= self.now_ms - timestamp_ms < (HISTORY_GRACE_MS if is_history else LIVE_GRACE_MS)


def take_merged(
    buffers: tuple[TopicBuffer, TopicBuffer], most: int, most_bytes: int, patience: Patience
) -> tuple[Taken, Positions]:
    """The next records of both topics in event time, and where both go on after them.

    At most `most` records, and as many bytes; a longer record goes alone. None, when all that there is must wait.
    """
    contacts, conversations = buffers
    names, of_contacts = _in_order(contacts, conversations, most, patience)
    if contacts.bytes + conversations.bytes > most_bytes:
        names = names[: max(1, _fitting(buffers, names, most_bytes))]
        of_contacts = sum(topic_of(name) == CONTACTS for name in names)
    runs = {**contacts.take(of_contacts), **conversations.take(len(names) - of_contacts)}
    return Taken(runs, names), Positions(contacts.position, conversations.position)


def _in_order(
    contacts: TopicBuffer, conversations: TopicBuffer, most: int, patience: Patience
) -> tuple["array[int]", int]:
    """The names of the next records, and how many are of the contacts topic."""
    names = array("Q")
    left, right = contacts.order_us, conversations.order_us
    of_contacts = of_conversations = 0
    while of_contacts < len(left) and of_conversations < len(right) and len(names) < most:
        # All conversation events that happened before the next contact event.
        before = bisect_left(right, left[of_contacts], of_conversations)
        before = min(before, of_conversations + most - len(names))
        names += conversations.names[of_conversations:before]
        of_conversations = before
        if of_conversations < len(right) and len(names) < most:
            names.append(contacts.names[of_contacts])
            of_contacts += 1
    if of_conversations < len(right):
        names += _without_other(conversations, of_conversations, most - len(names), patience)
        return names, of_contacts
    more = _without_other(contacts, of_contacts, most - len(names), patience)
    return names + more, of_contacts + len(more)


def _without_other(buffer: TopicBuffer, first: int, most: int, patience: Patience) -> "array[int]":
    """The names of a topic's next records that need not wait for the other topic, which has run dry."""
    for place in range(first, min(first + most, len(buffer))):
        run, place_in_run = buffer.run(buffer.names[place])
        if patience.waits(run.topic, buffer.order_us[place], run.timestamp_ms(place_in_run)):
            return buffer.names[first:place]
    return buffer.names[first : first + most]


def _fitting(buffers: tuple[TopicBuffer, TopicBuffer], names: Iterable[int], most_bytes: int) -> int:
    """How many of the records have no more bytes than that."""
    found = (buffers[topic_of(name)].run(name) for name in names)
    return bisect_right(list(accumulate(run.sizes[place] for run, place in found)), most_bytes)
