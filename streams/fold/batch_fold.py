"""The part of a batch that reads and writes nothing: events are folded, each record has a verdict.

It goes contact by contact, and stops in between every few milliseconds, for a worker has more to do than to fold: to
tell Kafka that it lives, to answer a probe, to commit other shards' batches.
"""

from collections import Counter
from collections.abc import Container, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from aggregates.counters import Deltas, combined
from aggregates.errors import MissingRules, NegativeCounter
from aggregates.history import ContactHistory, Outcome
from aggregates.rules import RulesBook
from schemas.events import BaseEvent, type_name
from streams.kafka.dead_letters import TOO_LATE, DeadLetter
from streams.kafka.dead_letters import CONTACT_TOO_LARGE, TOO_LATE, DeadLetter
from streams.records.decoded import Arrival
from streams.redis.keys import archive_field
from streams.shard.caches import DayKey

_APPLIED = Outcome.APPLIED
_TOO_LATE = "the event is further behind its contact's newest event than the lateness window, or than its journal"
_TOO_LARGE = "its contact has as many events, conversations or older events as are kept of one: see docs/limits.md"
_REASONS = {Outcome.TOO_LATE: (TOO_LATE, _TOO_LATE), Outcome.TOO_LARGE: (CONTACT_TOO_LARGE, _TOO_LARGE)}


@dataclass
class SortedOut:
    """What records of a batch hold."""

    events: dict[int, Arrival] = field(default_factory=dict)
    """Those that hold an event, by their place in the batch."""
    letters: list[DeadLetter] = field(default_factory=list)
    unknown: int = 0


@dataclass
class Folded:
    """What a batch's events changed."""

    states: dict[bytes, bytes] = field(default_factory=dict)
    """The new state of each contact whose history changed."""
    archive: list[bytes] = field(default_factory=list)
    """Fields and chunks of contacts' archives, in turn."""
    days: dict[DayKey, dict[bytes, bytes]] = field(default_factory=dict)
    """Per account's day, how much to add to each field."""
    letters: list[DeadLetter] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Folded") -> None:
        """Take in what became of other contacts of the batch."""
        self.states |= other.states
        self.archive += other.archive
        for day, fields in other.days.items():
            self.add_day(day, fields)
        self.letters += other.letters
        self.outcomes += other.outcomes
        self.types += other.types

    def add_day(self, day: DayKey, fields: dict[bytes, bytes]) -> None:
        """Take in the deltas of an account's day; `fields` is of no more use."""
        into = self.days.setdefault(day, fields)
        if into is fields:
            return
        for name in into.keys() & fields.keys():
            both = combined(into[name], fields.pop(name))
            if both:
                into[name] = both
            else:
                del into[name]
        into |= fields


def accounts_of(events: Iterable[Arrival]) -> dict[bytes, str]:
    """The contacts of events, each with its account."""
    return {arrival.contact: arrival.account_id for arrival in events}


def sort_out(looked_at: Mapping[int, Arrival]) -> SortedOut:
    """What the records of a batch that Python has looked at hold; by their place in the batch."""
    events = {place: arrival for place, arrival in looked_at.items() if arrival.contact}
    others = [arrival.letter for arrival in looked_at.values() if not arrival.contact]
    letters = [letter for letter in others if letter is not None]
    return SortedOut(events, letters, unknown=len(others) - len(letters))


class BrokenFold(Exception):
    """An event that could not be folded; histories and deltas are unusable."""

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
    lateness_ms: int,
) -> Folded:
    """Fold all events in order into `histories`. Raises `BrokenFold`, `MissingRules`, `NegativeCounter`."""
    steps = folding(events, histories, books, lateness_ms)
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
    lateness_ms: int,
    one_by_one: Container[bytes] = (),
) -> Generator[None, None, Folded]:
    """Fold as `fold` does, in steps of some milliseconds. Raises `BrokenContact` too, but for those in `one_by_one`."""
    folded = Folded()
    types: Counter[type[BaseEvent]] = Counter()
    letters: list[tuple[int, DeadLetter]] = []
    into: dict[str, tuple[RulesBook, Deltas]] = {}
    of_contacts: dict[bytes, list[int]] = {}
    for place, arrival in enumerate(events):
        of_contacts.setdefault(arrival.contact, []).append(place)
    for contact, places in of_contacts.items():
        history, account_id = histories[contact], events[places[0]].account_id
        known = into.get(account_id)
        if known is None:
            known = into[account_id] = (books[account_id], Deltas())
        book, deltas = known
        take = history.fold if contact in one_by_one else history.take
        applied = False
        for place in places:
            arrival = events[place]
            try:
                event = arrival.event
                outcome = take(event, book, lateness_ms, deltas, arrival.at_us)
            except (MissingRules, NegativeCounter, MemoryError):
                raise
            except Exception as error:
                raise BrokenFold(arrival, error) from error
            if outcome is _APPLIED:
                applied = True
                types[event.__class__] += 1
            else:
                folded.outcomes[outcome] += 1
                if outcome in _REASONS:
                    letters.append((place, DeadLetter(arrival.record, *_REASONS[outcome])))
        try:
            yield from history.settling(book, lateness_ms, deltas)
        except (MissingRules, NegativeCounter, MemoryError):
            raise
        except Exception as error:
            raise BrokenContact(contact) from error
        if applied:
            for number, chunk in history.compact(lateness_ms):
                folded.archive += (archive_field(contact, number), chunk)
            folded.states[contact] = history.encode()
        yield
    if types:
        folded.outcomes[_APPLIED] = types.total()
    folded.letters = [letter for _, letter in sorted(letters, key=itemgetter(0))]
    folded.types.update({type_name(kind): count for kind, count in types.items()})
    for account_id, (_, deltas) in into.items():
        folded.days |= {(day, account_id): fields for day, fields in deltas.encoded().items()}
        yield
    return folded
