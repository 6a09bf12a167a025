"""Laws of a contact's history: batches, restarts and disorder leave the same contact, counters and entries."""

from collections import Counter
from collections.abc import Iterable
from random import Random

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import history as history_module
from aggregates.contact_bytes import encode_contact
from aggregates.counters import Deltas, Field, Value, added, encode_field, encode_value
from aggregates.entry import STARTED, Entry
from aggregates.history import ContactHistory, Outcome
from aggregates.journal import decode_entries, encode_entries, journal_of
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from schemas.events import Event, decode_event, instant_us
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.oracle.lives import ACCOUNTS
from tests.support.comparison import Plain

LATENESS_MS = 3_600_000
BOOKS = {account["account_id"]: RulesBook(Rules(decode_settings(orjson.dumps(account)))) for account in ACCOUNTS}

Key = tuple[str, str]


class Contacts:
    """Histories, archives and counters as a worker keeps them: a batch at a time, all of it read back from bytes."""

    def __init__(self) -> None:
        self.states: dict[Key, bytes] = {}
        self.archives: dict[Key, dict[int, bytes]] = {}
        self.days: dict[tuple[str, int], dict[Field, Value]] = {}

    def apply(self, batch: Iterable[Event], lateness_ms: int = LATENESS_MS) -> list[Outcome]:
        """Fold a batch, and commit it."""
        histories: dict[Key, ContactHistory] = {}
        outcomes = []
        for event in batch:
            key = (event.account_id, event.contact_id)
            if key not in histories:
                histories[key] = ContactHistory.decode(self.states[key]) if key in self.states else ContactHistory()
                histories[key].attach_archive(self.chunks(key))  # whether or not it will be needed
            deltas = Deltas()
            outcomes.append(histories[key].fold(event, BOOKS[event.account_id], lateness_ms, deltas))
            self._add(event.account_id, deltas)
        for key, history in histories.items():
            self.archives.setdefault(key, {}).update(history.compact(lateness_ms))
            self.states[key] = history.encode()
        return outcomes

    def history(self, key: Key) -> ContactHistory:
        return ContactHistory.decode(self.states[key])

    def chunks(self, key: Key) -> list[bytes]:
        count = self.history(key).archive_count if key in self.states else 0
        return [self.archives[key][number] for number in range(count)]

    def archived(self, key: Key) -> list[Entry]:
        """What is kept of a contact's older events."""
        return [entry for chunk in self.chunks(key) for entry in decode_entries(chunk)]

    def entries(self, key: Key) -> list[Entry]:
        """All that is kept of a contact's events."""
        return self.archived(key) + self.history(key).journal

    def contacts(self) -> dict[Key, bytes]:
        """What each contact is by now."""
        return {key: encode_contact(self.history(key).contact) for key in self.states}

    def counters(self) -> dict[tuple[str, int], dict[bytes, bytes]]:
        return {
            day: {encode_field(field): encode_value(value) for field, value in fields.items()}
            for day, fields in self.days.items()
            if fields
        }

    def _add(self, account_id: str, deltas: Deltas) -> None:
        for day, fields in deltas.days.items():
            stored = self.days.setdefault((account_id, day), {})
            for field, delta in fields.items():
                value = added(stored.pop(field, None), delta, field)
                if value is not None:
                    stored[field] = value


def decoded(log: Iterable[Plain]) -> list[Event]:
    return [decode_event(orjson.dumps(event)) for event in log]


def batches(events: list[Event], random: Random, most: int) -> Iterable[list[Event]]:
    at = 0
    while at < len(events):
        size = random.randint(1, most)
        yield events[at : at + size]
        at += size


def folded(events: list[Event], random: Random, most: int) -> Contacts:
    contacts = Contacts()
    for batch in batches(events, random, most):
        contacts.apply(batch)
    return contacts


@pytest.fixture(params=[1, 2, 5, 32], ids="chunks of {}".format, autouse=True)
def chunk_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(history_module, "CHUNK_ENTRIES", size)
    return size


# --- from a seed ------------------------------------------------------------------------------------------------------


def test_any_batches_of_any_timely_arrival_leave_the_same_contacts_and_counters() -> None:
    history = random_history(seed=71, contacts=80)
    in_order = folded(decoded(history.events), Random(1), most=10_000)
    for seed, most in ((72, 1), (73, 5), (74, 100)):
        arrived = folded(decoded(random_arrival(history.events, seed)), Random(seed), most)
        assert arrived.counters() == in_order.counters()
        assert arrived.contacts() == in_order.contacts()


def test_every_accepted_event_is_kept_once_and_in_order(chunk_entries: int) -> None:
    history = random_history(seed=75, contacts=80)
    contacts = folded(decoded(random_arrival(history.events, seed=76)), Random(76), most=20)
    expected: dict[Key, dict[str, tuple[int, int, int]]] = {}
    for event in decoded(history.events):
        ids = expected.setdefault((event.account_id, event.contact_id), {})
        order = (instant_us(event.occurred_at), event.sequence or 0, event.rank)
        ids[event.id] = min(order, ids.get(event.id, order))
    archived = 0
    for key, ids in expected.items():
        entries = contacts.entries(key)
        orders = [entry.order[:3] for entry in entries]
        assert orders == sorted(orders)
        assert Counter(orders) == Counter(ids.values())
        named = [entry for entry in entries if entry.id]
        assert {entry.id: entry.order[:3] for entry in named}.items() <= ids.items()
        assert len(named) == len({entry.id for entry in named})
        archived += contacts.history(key).archive_count > 0
    assert archived >= {1: 50, 2: 50, 5: 30, 32: 2}[chunk_entries]


def test_an_archive_holds_the_ids_of_the_contacts_own_events_and_no_others(chunk_entries: int) -> None:
    history = random_history(seed=82, contacts=80)
    contacts = folded(decoded(random_arrival(history.events, seed=83)), Random(83), most=20)
    own: dict[Key, set[str]] = {}
    for event in decoded(history.events):
        if event.rank < STARTED:
            own.setdefault((event.account_id, event.contact_id), set()).add(event.id)
    archived = Counter[bool]()
    for key in contacts.states:
        for entry in contacts.archived(key):
            is_own = entry.kind < STARTED
            assert entry.id in own[key] if is_own else entry.id == ""
            archived[is_own] += 1
        assert all(entry.id for entry in contacts.history(key).journal)
    assert min(archived[False], archived[True]) > {1: 100, 2: 100, 5: 50, 32: 2}[chunk_entries]


def test_an_archive_that_an_earlier_build_began_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    history = random_history(seed=84, contacts=80)
    in_order = folded(decoded(history.events), Random(1), most=10_000)
    events = decoded(random_arrival(history.events, seed=85))
    contacts, taken_over = Contacts(), len(events) * 2 // 3
    with monkeypatch.context() as build:
        build.setattr(history_module, "encode_entries", lambda chunk: msgspec.msgpack.encode(journal_of(chunk).parts()))
        build.setattr(history_module, "deflated", bytes)
        for batch in batches(events[:taken_over], Random(85), 20):
            contacts.apply(batch)
    named = sum(entry.kind >= STARTED and entry.id != "" for key in contacts.states for entry in contacts.archived(key))
    assert named > 0
    for batch in batches(events[taken_over:], Random(86), 20):
        contacts.apply(batch)
    assert contacts.counters() == in_order.counters()
    assert contacts.contacts() == in_order.contacts()


def test_little_of_a_journal_is_past_the_window(chunk_entries: int) -> None:
    history = random_history(seed=77, contacts=80)
    contacts = folded(decoded(random_arrival(history.events, seed=78)), Random(78), most=3)
    for key in contacts.states:
        found = contacts.history(key)
        horizon_us = found.newest_us - LATENESS_MS * 1000
        settled = sum(entry.at_us < horizon_us for entry in found.journal)
        # The mark is set when a chunk has gathered, and leaves with the first commit past it: meanwhile more gathers.
        assert settled <= max(2 * chunk_entries + 20, 40), key


@pytest.mark.parametrize("lateness_ms", [LATENESS_MS, 10**12], ids=["the same window", "a longer window"])
def test_a_run_of_events_read_again_changes_nothing_wherever_it_starts(lateness_ms: int) -> None:
    history = random_history(seed=79, contacts=60)
    events = decoded(random_arrival(history.events, seed=80))
    contacts, random = Contacts(), Random(81)
    at = 0
    while at < len(events):
        size = random.randint(1, 40)
        contacts.apply(events[at : at + size])
        at += size
        start = random.randrange(min(at, len(events)))
        counters, states = contacts.counters(), contacts.contacts()
        outcomes = contacts.apply(events[start : start + random.randint(1, 40)][: at - start], lateness_ms)
        assert set(outcomes) <= {Outcome.DUPLICATE, Outcome.TOO_LATE}
        assert (contacts.counters(), contacts.contacts()) == (counters, states)


# --- drawn by hypothesis ----------------------------------------------------------------------------------------------

one_size = pytest.mark.parametrize("chunk_entries", [2], indirect=True)


@one_size
@settings(max_examples=50)
@given(st.data())
def test_batches_and_disorder_leave_the_same_contact(data: st.DataObject) -> None:
    history: History = data.draw(histories(max_contacts=1, max_steps=30))
    log = data.draw(arrivals(history.events))
    most = data.draw(st.integers(1, 8))
    in_order = folded(decoded(history.events), Random(1), most=10_000)
    arrived = folded(decoded(log), Random(2), most)
    assert arrived.counters() == in_order.counters()
    assert arrived.contacts() == in_order.contacts()


@one_size
@settings(max_examples=30)
@given(st.data())
def test_a_contact_whose_every_event_is_taken_back_has_contributed_nothing(data: st.DataObject) -> None:
    history: History = data.draw(histories(max_contacts=1, max_steps=20))
    kept = ContactHistory()
    deltas = Deltas()
    for event in decoded(history.events):
        kept.fold(event, BOOKS[event.account_id], 10**12, deltas)
    account_id = next((event["account_id"] for event in history.events), "plain")
    for _ in kept._refold(kept.journal, [], BOOKS[account_id], -1, deltas):
        pass
    deltas.clear_zeros()
    assert deltas.days == {}


entries = st.builds(
    Entry,
    at_us=st.integers(0, 1 << 60),
    sequence=st.integers(-5, 5),
    kind=st.integers(0, 12),
    id=st.text(min_size=1, max_size=5),
    rules=st.binary(min_size=16, max_size=16),
    day=st.integers(1, 3_000_000),
    hour=st.integers(0, 23),
    flags=st.integers(0, 15),
    actor=st.none() | st.sampled_from(["contact", "bot"]),
    channel=st.none() | st.text(max_size=5),
    conversation=st.none() | st.text(max_size=5),
    advisor=st.none() | st.text(max_size=5),
    group=st.none() | st.text(max_size=5),
    to_conversation=st.none() | st.text(max_size=5),
    origin=st.none() | st.text(max_size=5),
    counted=st.lists(st.integers(-8, 1 << 60), max_size=2).map(tuple),
)


@one_size
@given(st.lists(entries, max_size=5))
def test_a_chunk_of_the_archive_survives_its_bytes_but_for_the_ids_of_conversation_events(chunk: list[Entry]) -> None:
    expected = [entry if entry.kind < STARTED else msgspec.structs.replace(entry, id="") for entry in chunk]
    assert decode_entries(encode_entries(chunk)) == expected
    assert decode_entries(msgspec.msgpack.encode(journal_of(chunk).parts())) == chunk  # as of an earlier build
