"""The part of a batch that never waits: records become events, events are folded, each record has a verdict."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aggregates.counters import Deltas
from aggregates.errors import MissingRules, NegativeCounter
from aggregates.history import ContactHistory, Outcome
from aggregates.rules import RulesBook
from schemas.errors import InvalidEvent, UnknownType
from schemas.events import BaseEvent, Event, decode_timed_record, type_name
from streams.dead_letters import TOO_LATE, DeadLetter
from streams.kafka import EVENT_TOPICS, ConsumerRecord
from streams.keys import contact_key

TopicRecord = tuple[int, ConsumerRecord]
"""A record and its topic's place in `EVENT_TOPICS`."""

_TOO_LATE = "the event is further behind its contact's newest event than the lateness window"


class Decoded(NamedTuple):
    """A record that holds an event of ours."""

    contact: bytes
    event: Event
    record: ConsumerRecord
    at_us: int | None = None
    """When it happened, if reckoned already."""


@dataclass
class DecodedBatch:
    """What a batch's records hold."""

    events: list[Decoded] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    unknown: int = 0

    def contacts(self) -> set[bytes]:
        """The contacts of the batch."""
        return {decoded.contact for decoded in self.events}

    def accounts(self) -> set[str]:
        """The accounts of the batch."""
        return {decoded.event.account_id for decoded in self.events}


@dataclass
class Folded:
    """What a batch's events changed."""

    deltas: dict[str, Deltas] = field(default_factory=dict)
    """Per account."""
    touched: set[bytes] = field(default_factory=set)
    """Contacts whose history changed."""
    letters: list[DeadLetter] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

    def deltas_of(self, account_id: str) -> Deltas:
        """The account's deltas, to be added to."""
        deltas = self.deltas.get(account_id)
        if deltas is None:
            deltas = self.deltas[account_id] = Deltas()
        return deltas


def decode(records: Iterable[TopicRecord]) -> DecodedBatch:
    """Decode a batch; what breaks the contract becomes a dead letter, an unknown type is counted."""
    batch = DecodedBatch()
    events = batch.events
    heads: dict[str, bytes] = {}
    for topic, record in records:
        key = record.key
        try:
            event, at_us = decode_timed_record(EVENT_TOPICS[topic], key, record.value, record.timestamp)
        except UnknownType:
            batch.unknown += 1
        except InvalidEvent as error:
            batch.letters.append(DeadLetter(record, error.reason, error.detail))
        else:
            account_id = event.account_id
            head = heads.get(account_id)
            if head is None:
                head = heads[account_id] = contact_key(account_id, "")
            # The record's key is the contact's id, or it would not have passed.
            events.append(Decoded(head + key, event, record, at_us))
    return batch


class BrokenFold(Exception):
    """An event that could not be folded; histories and deltas are unusable."""

    def __init__(self, decoded: Decoded, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.decoded = decoded
        self.cause = cause


def fold(
    events: Sequence[Decoded],
    histories: Mapping[bytes, ContactHistory],
    books: Mapping[str, RulesBook],
    lateness_ms: int,
) -> Folded:
    """Fold all events in order into `histories`. Raises `BrokenFold`, `MissingRules`, `NegativeCounter`."""
    folded = Folded()
    types: Counter[type[BaseEvent]] = Counter()
    touched = folded.touched
    applied, too_late, late = Outcome.APPLIED, Outcome.TOO_LATE, 0
    into: dict[str, tuple[RulesBook, Deltas]] = {}
    for decoded in events:
        contact, event, record, at_us = decoded
        account_id = event.account_id
        try:
            known = into.get(account_id)
            if known is None:
                known = into[account_id] = (books[account_id], folded.deltas_of(account_id))
            outcome = histories[contact].fold(event, known[0], lateness_ms, known[1], at_us)
        except (MissingRules, NegativeCounter, MemoryError):
            raise
        except Exception as error:
            raise BrokenFold(decoded, error) from error
        if outcome is applied:
            touched.add(contact)
            types[event.__class__] += 1
        elif outcome is too_late:
            late += 1
            folded.letters.append(DeadLetter(record, TOO_LATE, _TOO_LATE))
    # Not counted one by one: hashing a member of an enumeration calls Python code.
    done = types.total()
    outcomes = {applied: done, too_late: late, Outcome.DUPLICATE: len(events) - done - late}
    folded.outcomes.update({outcome: count for outcome, count in outcomes.items() if count})
    folded.types.update({type_name(kind): count for kind, count in types.items()})
    return folded
