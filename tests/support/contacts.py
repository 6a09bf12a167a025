"""Contacts as a worker keeps them: a batch at a time, states, chunks and facts as bytes, all of it read back."""

from collections.abc import Iterable

import orjson

from aggregates.counters import Vector, added
from aggregates.entry import Entry
from aggregates.facts import Fact, fact_field, fact_value, read_fact
from aggregates.history import ContactHistory, FactChanges, Lateness, Outcome
from aggregates.rules import RulesBook
from aggregates.totals import add_fact, totals_of
from schemas.events import Event, decode_event, instant_us
from tests.support.comparison import Plain

LATENESS = Lateness(3_600_000_000, 30 * 86_400_000_000)

Key = tuple[str, str]
"""Account and contact."""
Day = tuple[str, int]
"""Account and day."""


def decoded(log: Iterable[Plain]) -> list[Event]:
    """The events of plain ones."""
    return [decode_event(orjson.dumps(event)) for event in log]


class Contacts:
    """A shard's states, chunks, facts and totals. A fact that is removed must be there; no total falls below zero."""

    def __init__(self, books: dict[str, RulesBook], lateness: Lateness = LATENESS, *, chunks: bool = True) -> None:
        """`chunks`: read all chunks, needed or not; else those that an event of the batch needs."""
        self.books = books
        self.lateness = lateness
        self.states: dict[Key, bytes] = {}
        self.chunks: dict[Key, dict[int, bytes]] = {}
        self.days: dict[Day, dict[bytes, bytes]] = {}
        self.totals: dict[Day, Vector] = {}
        self.chunks_read = 0
        self._reads_all = chunks

    def apply(self, batch: Iterable[Event]) -> list[Outcome]:
        """Fold a batch, contact by contact, and commit it. The events' outcomes, in the order of the batch."""
        events = list(batch)
        outcomes: dict[int, Outcome] = {}
        of_contacts: dict[Key, list[int]] = {}
        for place, event in enumerate(events):
            of_contacts.setdefault((event.account_id, event.contact_id), []).append(place)
        for key, places in of_contacts.items():
            found = [(events[place], instant_us(events[place].occurred_at)) for place in places]
            history = self.history(key)
            if self._reads_all or any(history.needs_chunks(*each, self.lateness) for each in found):
                self.attach(key, history)
            changes = FactChanges()
            outcomes |= zip(places, history.fold(found, self.books[key[0]], self.lateness, changes), strict=True)
            self._commit(key, changes)
            self._write(key, history, history.compact(self.lateness))
        return [outcomes[place] for place in range(len(events))]

    def rest(self, now_us: int) -> int:
        """Shrink the contacts that have been quiet; how many were."""
        count = 0
        for key in self.states:
            history = self.history(key)
            writes = history.rest(now_us, self.lateness)
            if writes is not None:
                count += 1
                self._write(key, history, writes, small=True)
        return count

    def history(self, key: Key) -> ContactHistory:
        """A contact's history, read from its bytes; without its chunks."""
        return ContactHistory.decode(self.states[key]) if key in self.states else ContactHistory()

    def attach(self, key: Key, history: ContactHistory) -> None:
        """Hand a history its chunks."""
        chunks = self.chunks.get(key, {})
        self.chunks_read += len(chunks)
        history.attach_chunks([chunks[number] for number in history.chunk_numbers()])

    def entries(self, key: Key) -> list[Entry]:
        """All that is kept of a contact's events."""
        history = self.history(key)
        self.attach(key, history)
        return history.entries

    def facts(self) -> dict[Day, dict[bytes, bytes]]:
        """The facts of all days that have some, by field."""
        return {day: facts for day, facts in self.days.items() if facts}

    def check_totals(self) -> None:
        """The totals that were kept are those of the facts that are there."""
        kept = {day: totals for day, totals in self.totals.items() if totals}
        assert kept == {
            day: totals_of(read_fact(day[1], field, value)[1] for field, value in facts.items())
            for day, facts in self.facts().items()
        }

    def _commit(self, key: Key, changes: FactChanges) -> None:
        removed, new = changes.net()
        totals: dict[Day, Vector] = {}
        for fact in removed:
            self._count(totals, key, fact, -1)
            assert self.days[key[0], fact.day].pop(fact_field(key[1], fact)) == fact_value(fact)
        for fact in new:
            self._count(totals, key, fact, 1)
            facts = self.days.setdefault((key[0], fact.day), {})
            field = fact_field(key[1], fact)
            assert field not in facts
            facts[field] = fact_value(fact)
        for day, change in totals.items():
            self.totals[day] = added(self.totals.get(day, {}), change)

    def _count(self, totals: dict[Day, Vector], key: Key, fact: Fact, times: int) -> None:
        add_fact(totals.setdefault((key[0], fact.day), {}), fact, times)

    def _write(
        self, key: Key, history: ContactHistory, writes: list[tuple[int, bytes | None]], *, small: bool = False
    ) -> None:
        kept = self.chunks.setdefault(key, {})
        for number, chunk in writes:
            if chunk is None:
                del kept[number]
            else:
                kept[number] = chunk
        assert sorted(kept) == list(history.chunk_numbers())
        self.states[key] = history.encode(small=small)
