"""The part of a batch that never waits: events are folded, each record has a verdict."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aggregates.counters import Deltas
from aggregates.errors import MissingRules, NegativeCounter
from aggregates.history import ContactHistory, Outcome
from aggregates.rules import RulesBook
from schemas.events import BaseEvent, type_name
from streams.arrivals import Arrival
from streams.dead_letters import TOO_LATE, DeadLetter

_TOO_LATE = "the event is further behind its contact's newest event than the lateness window"


@dataclass
class SortedOut:
    """What a batch's records hold."""

    events: list[Arrival] = field(default_factory=list)
    """Those that hold an event."""
    letters: list[DeadLetter] = field(default_factory=list)
    unknown: int = 0


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


def accounts_of(events: Iterable[Arrival]) -> dict[bytes, str]:
    """The contacts of events, each with its account."""
    return {arrival.contact: arrival.event.account_id for arrival in events if arrival.event is not None}


def sort_out(arrivals: Iterable[Arrival]) -> SortedOut:
    """A batch's events, and what else it holds."""
    batch = SortedOut()
    for arrival in arrivals:
        if arrival.event is not None:
            batch.events.append(arrival)
        elif arrival.letter is not None:
            batch.letters.append(arrival.letter)
        else:
            batch.unknown += 1
    return batch


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
    touched = folded.touched
    applied, too_late, late = Outcome.APPLIED, Outcome.TOO_LATE, 0
    into: dict[str, tuple[RulesBook, Deltas]] = {}
    for arrival in events:
        event = arrival.event
        assert event is not None
        account_id = event.account_id
        try:
            known = into.get(account_id)
            if known is None:
                known = into[account_id] = (books[account_id], folded.deltas_of(account_id))
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
    return folded
