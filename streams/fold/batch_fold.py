"""The part of a batch that never waits: events are folded, each record has a verdict."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aggregates.counters import Deltas, combined
from aggregates.errors import MissingRules, NegativeCounter
from aggregates.history import ContactHistory, Outcome
from aggregates.rules import RulesBook
from schemas.events import BaseEvent, type_name
from streams.kafka.dead_letters import TOO_LATE, DeadLetter
from streams.records.decoded import Arrival
from streams.redis.keys import archive_field
from streams.shard.caches import DayKey

_TOO_LATE = "the event is further behind its contact's newest event than the lateness window, or than its journal"


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


def fold(
    events: Sequence[Arrival],
    histories: Mapping[bytes, ContactHistory],
    books: Mapping[str, RulesBook],
    lateness_ms: int,
) -> Folded:
    """Fold all events in order into `histories`. Raises `BrokenFold`, `MissingRules`, `NegativeCounter`."""
    folded = Folded()
    types: Counter[type[BaseEvent]] = Counter()
    touched: set[bytes] = set()
    applied, too_late, late = Outcome.APPLIED, Outcome.TOO_LATE, 0
    into: dict[str, tuple[RulesBook, Deltas]] = {}
    for arrival in events:
        account_id = arrival.account_id
        try:
            known = into.get(account_id)
            if known is None:
                known = into[account_id] = (books[account_id], Deltas())
            event = arrival.event
            outcome = histories[arrival.contact].fold(event, known[0], lateness_ms, known[1], arrival.at_us)
        except (MissingRules, NegativeCounter, MemoryError):
            raise
        except Exception as error:
            raise BrokenFold(arrival, error) from error
        if outcome is applied:
            touched.add(arrival.contact)
            types[event.__class__] += 1
        elif outcome is too_late:
            late += 1
            folded.letters.append(DeadLetter(arrival.record, TOO_LATE, _TOO_LATE))
    # Not counted one by one: hashing a member of an enumeration calls Python code.
    done = types.total()
    outcomes = {applied: done, too_late: late, Outcome.DUPLICATE: len(events) - done - late}
    folded.outcomes.update({outcome: count for outcome, count in outcomes.items() if count})
    folded.types.update({type_name(kind): count for kind, count in types.items()})
    for account_id, (_, deltas) in into.items():
        folded.days |= {(day, account_id): fields for day, fields in deltas.encoded().items()}
    for contact in touched:
        history = histories[contact]
        for number, chunk in history.compact(lateness_ms):
            folded.archive += (archive_field(contact, number), chunk)
        folded.states[contact] = history.encode()
    return folded
