"""Late events of a batch that are folded together leave what each of them leaves alone."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import contact as contact_module
from aggregates import history as history_module
from aggregates.history import Lateness, Outcome
from schemas.events import Event
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.properties.test_history_laws import LATENESS, SHORT, Contacts, Key, batches, decoded


class Together(Contacts):
    """Contacts whose late events are folded once per batch, as a worker does it."""

    def apply(self, batch: Iterable[Event], lateness: Lateness | None = None) -> list[Outcome]:
        events = list(batch)
        outcomes: dict[int, Outcome] = {}
        of_contacts: dict[Key, list[int]] = {}
        for place, event in enumerate(events):
            of_contacts.setdefault((event.account_id, event.contact_id), []).append(place)
        for key, places in of_contacts.items():
            history = self.history(key)
            found = self.fold(key, history, [events[place] for place in places], lateness or self.lateness)
            outcomes.update(zip(places, found, strict=True))
            self.commit(key, history)
        return [outcomes[place] for place in range(len(events))]


def compared(events: list[Event], seed: int, most: int, lateness: Lateness = LATENESS) -> Together:
    alone, together = Contacts(lateness), Together(lateness)
    for batch in batches(events, Random(seed), most):
        assert together.apply(batch) == alone.apply(batch)
        assert together.facts() == alone.facts()
    assert together.contacts() == alone.contacts()
    for key in alone.states:
        assert together.whole(key).entries == alone.whole(key).entries
    return together


@pytest.fixture(params=[2, 32], ids="chunks of {}".format, autouse=True)
def chunk_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(history_module, "CHUNK_ENTRIES", size)
    return size


@pytest.mark.parametrize("seed", [801, 802, 803])
def test_any_arrival_of_long_histories(seed: int, chunk_entries: int) -> None:
    log = random_arrival(random_history(seed, contacts=60).events, seed, too_late_percent=5)
    together = compared(decoded(log), seed, 100, SHORT if seed == 803 else LATENESS)
    assert together.attached > (2 if chunk_entries == 2 else -1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_arrival_of_any_history(data: st.DataObject) -> None:
    history: History = data.draw(histories())
    log = data.draw(arrivals(history.events, too_late_percent=data.draw(st.sampled_from([0, 10]))))
    compared(decoded(log), len(log), data.draw(st.integers(1, 60)), data.draw(st.sampled_from([LATENESS, SHORT])))


@pytest.mark.parametrize("many", [1, 2, 5])
def test_closed_conversations_that_are_kept_apart_count_as_ever(many: int) -> None:
    log = decoded(random_arrival(random_history(seed=804, contacts=80).events, seed=804, too_late_percent=5))
    usual, apart = Contacts(), Together()
    for batch in batches(log, Random(1), 50):
        usual.apply(batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contact_module, "NAMED_CLOSED", many)
        for batch in batches(log, Random(2), 200):
            apart.apply(batch)
    assert apart.facts() == usual.facts()
    assert sum(len(apart.history(key).contact.spent) for key in apart.states) > {1: 20, 2: 10, 5: 3}[many]
