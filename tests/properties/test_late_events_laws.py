"""Late events of a batch that are folded together leave what each of them leaves alone."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import contact as contact_module
from aggregates import history as history_module
from aggregates.counters import Deltas
from aggregates.history import ContactHistory, Outcome
from schemas.events import Event
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.properties.test_history_laws import BOOKS, LATENESS_MS, Contacts, Key, batches, decoded


class Together(Contacts):
    """Contacts whose late events are folded once per batch, as a worker does it."""

    def apply(self, batch: Iterable[Event], lateness_ms: int = LATENESS_MS) -> list[Outcome]:
        events = list(batch)
        outcomes: dict[int, Outcome] = {}
        of_contacts: dict[Key, list[int]] = {}
        for place, event in enumerate(events):
            of_contacts.setdefault((event.account_id, event.contact_id), []).append(place)
        for key, places in of_contacts.items():
            history = ContactHistory.decode(self.states[key]) if key in self.states else ContactHistory()
            history.attach_archive(self.chunks(key))
            book, deltas = BOOKS[key[0]], Deltas()
            for place in places:
                outcomes[place] = history.take(events[place], book, lateness_ms, deltas)
            history.settle(book, lateness_ms, deltas)
            self._add(key[0], deltas)
            self.archives.setdefault(key, {}).update(history.compact(lateness_ms))
            self.states[key] = history.encode()
        return [outcomes[place] for place in range(len(events))]


def compared(events: list[Event], seed: int, most: int) -> None:
    alone, together = Contacts(), Together()
    for number, batch in enumerate(batches(events, Random(seed), most)):
        mine, others = together.apply(batch), alone.apply(batch)
        # A repeated event is known for as long as its contact's journal has it, which differs by some entries.
        assert list(map(Outcome.APPLIED.__eq__, mine)) == list(map(Outcome.APPLIED.__eq__, others))
        assert number or mine == others
        assert together.contacts() == alone.contacts()
    assert together.counters() == alone.counters()
    for key in alone.states:
        assert [entry.order[:3] for entry in together.entries(key)] == [entry.order[:3] for entry in alone.entries(key)]


@pytest.fixture(params=[2, 32], ids="chunks of {}".format, autouse=True)
def chunk_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "CHUNK_ENTRIES", request.param)


@pytest.mark.parametrize("seed", [801, 802, 803])
def test_any_arrival_of_long_histories(seed: int) -> None:
    log = random_arrival(random_history(seed, contacts=60).events, seed, too_late_percent=5)
    compared(decoded(log), seed, most=400)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_arrival_of_any_history(data: st.DataObject) -> None:
    history: History = data.draw(histories())
    log = data.draw(arrivals(history.events))
    compared(decoded(log), len(log), data.draw(st.integers(1, 60)))


@pytest.mark.parametrize("many", [1, 2, 5])
def test_closed_conversations_that_are_kept_apart_count_as_ever(many: int) -> None:
    log = decoded(random_arrival(random_history(seed=804, contacts=80).events, seed=804, too_late_percent=5))
    usual, apart = Contacts(), Together()
    for batch in batches(log, Random(1), 50):
        usual.apply(batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contact_module, "MANY_CONVERSATIONS", many)
        for batch in batches(log, Random(2), 200):
            apart.apply(batch)
    assert apart.counters() == usual.counters()
    kept = [apart.history(key).contact.spent for key in apart.states]
    assert sum(len(spent) for spent in kept if spent is not None) > 20
