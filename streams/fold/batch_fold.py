"""Folds a batch without I/O: new states, changed facts, and a verdict on each record.

It goes contact by contact, and stops in between every few milliseconds, for a worker has more to do than to fold: to
tell Kafka that it lives, to answer a probe, to commit other shards' batches.
"""

from collections import Counter
from collections.abc import Container, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from aggregates.counters import Vector
from aggregates.errors import MissingRules
from aggregates.facts import Fact, fact_value, field_of
from aggregates.history import ContactHistory, FactChanges, Lateness, Outcome
from aggregates.rules import RulesBook
from aggregates.totals import add_fact
from schemas.events import BaseEvent, type_name
from streams.kafka.dead_letters import CONTACT_TOO_LARGE, TOO_LATE, DeadLetter
from streams.records.decoded import Arrival
from streams.redis.keys import chunk_field

DayKey = tuple[int, str]
"""A local day's ordinal and its account."""

_APPLIED = Outcome.APPLIED
_TOO_LATE = "the event is further behind its contact's newest event than the lateness window"
_TOO_LARGE = "its contact has as many events or conversations as are kept of one: see docs/run/limits.md"
_REASONS = {Outcome.TOO_LATE: (TOO_LATE, _TOO_LATE), Outcome.TOO_LARGE: (CONTACT_TOO_LARGE, _TOO_LARGE)}


@dataclass
class SortedOut:
    """What records of a batch hold."""

    events: dict[int, Arrival] = field(default_factory=dict)
    """Those that hold an event, by their index in the batch."""
    letters: list[DeadLetter] = field(default_factory=list)
    unknown: int = 0


@dataclass
class DayFacts:
    """What a batch changes of an account's day."""

    added: dict[bytes, bytes] = field(default_factory=dict)
    """Facts by field (`aggregates.facts.fact_field`), as `fact_value` writes them."""
    removed: set[bytes] = field(default_factory=set)
    """Fields of facts that are no longer true."""
    totals: Vector = field(default_factory=dict)
    """How much to add to the day's totals (`aggregates/totals.py`)."""

    def remove(self, contact: bytes, fact: Fact) -> None:
        """A fact of a contact, named by its id, is no longer true."""
        name = field_of(contact, fact)
        self.added.pop(name, None)
        self.removed.add(name)
        add_fact(self.totals, fact, -1)

    def add(self, contact: bytes, fact: Fact) -> None:
        """A fact of a contact, named by its id, is true from now on."""
        name = field_of(contact, fact)
        if self.removed:
            self.removed.discard(name)
        self.added[name] = fact_value(fact)
        add_fact(self.totals, fact, 1)


@dataclass
class Folded:
    """What a batch's events changed."""

    states: dict[bytes, bytes] = field(default_factory=dict)
    """The new state of each contact whose history changed."""
    chunks: dict[bytes, bytes | None] = field(default_factory=dict)
    """Chunks of contacts' entries by field; `None`: they go."""
    days: dict[DayKey, DayFacts] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

    def add_changes(self, account_id: str, contact_id: str, changes: FactChanges) -> None:
        """Take in the facts that a contact's events changed."""
        removed, added = changes.net()
        contact = contact_id.encode()
        for fact in removed:
            self._day(fact.day, account_id).remove(contact, fact)
        ordinal, day = -1, None
        for fact in added:
            if day is None or fact.day != ordinal:  # most are of one day
                ordinal = fact.day
                day = self._day(ordinal, account_id)
            day.add(contact, fact)

    def _day(self, ordinal: int, account_id: str) -> DayFacts:
        key = (ordinal, account_id)
        day = self.days.get(key)
        if day is None:
            day = self.days[key] = DayFacts()
        return day


def accounts_of(events: Iterable[Arrival]) -> dict[bytes, str]:
    """The contacts of events, each with its account."""
    return {arrival.contact: arrival.account_id for arrival in events}


def sort_out(records: Sequence[Arrival]) -> SortedOut:
    """What the records of a batch hold."""
    found = SortedOut()
    for index, arrival in enumerate(records):
        if arrival.contact:
            found.events[index] = arrival
        elif arrival.letter is not None:
            found.letters.append(arrival.letter)
        else:
            found.unknown += 1
    return found


class BrokenFold(Exception):
    """An event that could not be folded; histories and changes are unusable."""

    def __init__(self, arrival: Arrival, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.arrival = arrival
        self.cause = cause


class BrokenContact(Exception):
    """A contact whose late events could not be folded together; one by one they will show which of them it is."""

    def __init__(self, contact: bytes) -> None:
        super().__init__()
        self.contact = contact


def fold(
    events: Sequence[Arrival],
    histories: Mapping[bytes, ContactHistory],
    books: Mapping[str, RulesBook],
    lateness: Lateness,
) -> Folded:
    """Fold all events in order into `histories`. Raises `BrokenFold`, `BrokenContact`, `MissingRules`."""
    steps = folding(events, histories, books, lateness)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            folded: Folded = done.value
            return folded


def folding(
    events: Sequence[Arrival],
    histories: Mapping[bytes, ContactHistory],
    books: Mapping[str, RulesBook],
    lateness: Lateness,
    one_by_one: Container[bytes] = (),
) -> Generator[None, None, Folded]:
    """Fold as `fold` does, in steps of some milliseconds. Contacts in `one_by_one` are settled after each event."""
    folded = Folded()
    kinds: list[type[BaseEvent]] = []
    letters: list[tuple[int, DeadLetter]] = []
    of_contacts: dict[bytes, list[int]] = {}
    for index, arrival in enumerate(events):
        indices = of_contacts.get(arrival.contact)
        if indices is None:
            of_contacts[arrival.contact] = [index]
        else:
            indices.append(index)
    for contact, indices in of_contacts.items():
        history, first = histories[contact], events[indices[0]]
        book, contact_id = books[first.account_id], first.event.contact_id
        changes = FactChanges()
        applied, settles, take = False, contact in one_by_one, history.take
        for index in indices:
            arrival = events[index]
            try:
                outcome = take(arrival.event, arrival.at_us, book, lateness, changes)
                if settles:
                    yield from history.settling(book, changes)
            except (MissingRules, MemoryError):
                raise
            except Exception as error:
                raise BrokenFold(arrival, error) from error
            if outcome is _APPLIED:
                applied = True
                kinds.append(arrival.event.__class__)
            else:
                folded.outcomes[outcome] += 1
                if outcome in _REASONS:
                    letters.append((index, DeadLetter(arrival.record, *_REASONS[outcome])))
        try:
            yield from history.settling(book, changes)
        except (MissingRules, MemoryError):
            raise
        except Exception as error:
            raise BrokenContact(contact) from error
        if applied:
            folded.add_changes(first.account_id, contact_id, changes)
            for number, chunk in history.compact(lateness):
                folded.chunks[chunk_field(contact, number)] = chunk
            folded.states[contact] = history.encode()
        yield
    if kinds:
        folded.outcomes[_APPLIED] = len(kinds)
    folded.letters = [letter for _, letter in sorted(letters, key=itemgetter(0))]
    folded.types.update({type_name(kind): count for kind, count in Counter(kinds).items()})
    return folded
