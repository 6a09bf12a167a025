"""The part of a batch that never waits: records become events, events are folded, each record has a verdict."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aggregates.counters import Deltas, NegativeCounter
from aggregates.history import ContactHistory, Outcome
from aggregates.rules import MissingRules, RulesBook
from schemas.errors import InvalidEvent, UnknownType
from schemas.events import BaseEvent, Event, decode_record, type_name
from streams.dead_letters import TOO_LATE, DeadLetter
from streams.kafka import EVENT_TOPICS, ConsumerRecord
from streams.keys import contact_key

TopicRecord = tuple[int, ConsumerRecord]
"""A record and its topic's place in `EVENT_TOPICS`."""

_TOO_LATE = "the event is further behind its contact's newest event than the lateness window; a rebuild includes it"


class Decoded(NamedTuple):
    """A record that holds an event of ours."""

    contact: bytes
    event: Event
    record: ConsumerRecord


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
    for topic, record in records:
        try:
            event = decode_record(EVENT_TOPICS[topic], record.key, record.value, record.timestamp)
            contact = contact_key(event.account_id, event.contact_id)
        except UnknownType:
            batch.unknown += 1
        except InvalidEvent as error:
            batch.letters.append(DeadLetter(record, error.reason, error.detail))
        else:
            batch.events.append(Decoded(contact, event, record))
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
    outcomes: Counter[Outcome] = Counter()
    types: Counter[type[BaseEvent]] = Counter()
    applied, too_late = Outcome.APPLIED, Outcome.TOO_LATE
    for decoded in events:
        contact, event, record = decoded
        account_id = event.account_id
        try:
            outcome = histories[contact].fold(event, books[account_id], lateness_ms, folded.deltas_of(account_id))
        except (MissingRules, NegativeCounter, MemoryError):
            raise
        except Exception as error:
            raise BrokenFold(decoded, error) from error
        outcomes[outcome] += 1
        if outcome is applied:
            folded.touched.add(contact)
            types[event.__class__] += 1
        elif outcome is too_late:
            folded.letters.append(DeadLetter(record, TOO_LATE, _TOO_LATE))
    folded.outcomes = outcomes
    folded.types.update({type_name(kind): count for kind, count in types.items()})
    return folded
