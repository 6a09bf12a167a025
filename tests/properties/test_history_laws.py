"""Laws of a contact's history: batches, restarts and disorder leave the same contact, facts and entries."""

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aggregates import history as history_module
from aggregates.answers import Retracted
from aggregates.contact import closed_of, spend, standing_facts, step
from aggregates.contact_bytes import decode_contact, encode_contact
from aggregates.entry import STARTED, Entry
from aggregates.facts import Fact, fact_field, fact_value
from aggregates.history import QUIET_US, ContactHistory, FactChanges, Lateness, Outcome
from aggregates.journal import Journal, journal_of
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from schemas.events import Event, decode_event, instant_us
from tests.oracle.arrival import split
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.oracle.lives import ACCOUNTS
from tests.support.comparison import Plain

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
LATENESS = Lateness(3_600 * SECOND_US, 30 * DAY_US)
NOTHING_SETTLES = Lateness(LATENESS.conversation_us, 100_000 * DAY_US)
SHORT = Lateness(LATENESS.conversation_us, 10 * DAY_US)
"""Just longer than the contact's own events of `random_arrival` come late."""
BOOKS = {account["account_id"]: RulesBook(Rules(decode_settings(orjson.dumps(account)))) for account in ACCOUNTS}

Key = tuple[str, str]
Day = tuple[str, int]
Fields = dict[bytes, bytes]


class NeverStoodError(Exception):
    """A fact is taken away that does not stand so."""


class Contacts:
    """Histories, chunks and facts as a worker keeps them: a batch at a time, all of it read back from bytes."""

    def __init__(self, lateness: Lateness = LATENESS) -> None:
        self.lateness = lateness
        self.books = BOOKS
        self.states: dict[Key, bytes] = {}
        self.chunks: dict[Key, dict[int, bytes]] = {}
        self.days: dict[Day, Fields] = {}
        self.attached = 0
        """How often an event needed its contact's chunks."""
        self.dropped = 0
        """How many chunks were deleted again."""
        self._attached: set[Key] = set()  # by the batch; what it changed of them is not written yet

    def apply(self, batch: Iterable[Event], lateness: Lateness | None = None) -> list[Outcome]:
        """Fold a batch, event by event, and commit it."""
        held: dict[Key, ContactHistory] = {}
        outcomes = []
        for event in batch:
            key = (event.account_id, event.contact_id)
            if key not in held:
                held[key] = self.history(key)
            outcomes += self.fold(key, held[key], [event], lateness or self.lateness)
        for key, history in held.items():
            self.commit(key, history)
        return outcomes

    def fold(self, key: Key, history: ContactHistory, events: list[Event], lateness: Lateness) -> list[Outcome]:
        """Take events of a contact in together."""
        timed = [(event, instant_us(event.occurred_at)) for event in events]
        if key not in self._attached and any(history.needs_chunks(*each, lateness) for each in timed):
            self._attached.add(key)
            self.attached += 1
            history.attach_chunks(self.stored_chunks(key, history))
        changes = FactChanges()
        outcomes = history.fold(timed, self.books[key[0]], lateness, changes)
        removed, added = changes.net()
        for fact in removed:
            if self.days[key[0], fact.day].pop(fact_field(key[1], fact), None) != fact_value(fact):
                raise NeverStoodError(fact)
        for fact in added:
            day, field = self.days.setdefault((key[0], fact.day), {}), fact_field(key[1], fact)
            assert field not in day
            day[field] = fact_value(fact)
        return outcomes

    def stored_chunks(self, key: Key, history: ContactHistory) -> list[bytes]:
        return [self.chunks[key][number] for number in history.chunk_numbers()]

    def commit(self, key: Key, history: ContactHistory) -> None:
        self._attached.discard(key)
        self.write(key, history.compact(self.lateness))
        self.states[key] = history.encode()
        assert set(self.chunks.get(key, {})) == set(history.chunk_numbers())

    def write(self, key: Key, writes: Iterable[tuple[int, bytes | None]]) -> None:
        chunks = self.chunks.setdefault(key, {})
        for number, chunk in writes:
            if chunk is None:
                del chunks[number]
                self.dropped += 1
            else:
                chunks[number] = chunk

    def history(self, key: Key) -> ContactHistory:
        """A contact as its bytes tell of it; its chunks apart."""
        return ContactHistory.decode(self.states[key]) if key in self.states else ContactHistory()

    def whole(self, key: Key) -> ContactHistory:
        """A contact with its chunks."""
        history = self.history(key)
        history.attach_chunks(self.stored_chunks(key, history))
        return history

    def in_chunks(self, key: Key) -> list[Entry]:
        """What is kept of a contact's older events."""
        entries = self.whole(key).entries
        return entries[: len(entries) - self.history(key).journal_length]

    def contacts(self) -> dict[Key, dict[str, Any]]:
        """What each contact is by now."""
        return {key: plain_contact(self.history(key)) for key in self.states}

    def facts(self) -> dict[Day, Fields]:
        """The facts that stand."""
        return {day: dict(fields) for day, fields in self.days.items() if fields}

    def contributed(self) -> dict[Day, Fields]:
        """The facts that the states say their contacts contributed, unless their entries are settled."""
        days: dict[Day, Fields] = {}
        for account_id, contact_id in self.states:
            for fact in contribution(self.whole((account_id, contact_id))):
                day, field = days.setdefault((account_id, fact.day), {}), fact_field(contact_id, fact)
                assert field not in day
                day[field] = fact_value(fact)
        return days


def contribution(history: ContactHistory) -> list[Fact]:
    """The facts of the entries of a history as they were counted, and those that stand."""
    facts: list[Fact] = []
    contact = history.start()
    for entry in history.entries:
        step(contact, entry, Retracted(), facts)
    return [*facts, *standing_facts(contact)]


def plain_contact(history: ContactHistory) -> dict[str, Any]:
    """What a contact is, whether or not its closed conversations are known by name."""
    contact = decode_contact(encode_contact(history.contact))
    spend(contact, closed_of(contact))
    found = msgspec.structs.asdict(contact)
    channels, hashes, places = contact.spent.parts()
    found["spent"] = {
        hashes[8 * at : 8 * at + 8]: channels[int.from_bytes(places[2 * at : 2 * at + 2], "little")]
        for at in range(len(contact.spent))
    }
    return found


def decoded(log: Iterable[Plain]) -> list[Event]:
    return [decode_event(orjson.dumps(event)) for event in log]


def batches(events: list[Event], random: Random, most: int) -> Iterable[list[Event]]:
    at = 0
    while at < len(events):
        size = random.randint(1, most)
        yield events[at : at + size]
        at += size


def folded(events: list[Event], random: Random, most: int, lateness: Lateness = LATENESS) -> Contacts:
    contacts = Contacts(lateness)
    for batch in batches(events, random, most):
        contacts.apply(batch)
    return contacts


@pytest.fixture(params=[2, 5, 32], ids="chunks of {}".format, autouse=True)
def chunk_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(history_module, "CHUNK_ENTRIES", size)
    return size


def orders_of(log: Iterable[Plain]) -> dict[Key, dict[str, tuple[int, int, int]]]:
    """Of each contact the ids of its events, and where the earliest content of each belongs."""
    orders: dict[Key, dict[str, tuple[int, int, int]]] = {}
    for event in decoded(log):
        ids = orders.setdefault((event.account_id, event.contact_id), {})
        order = (instant_us(event.occurred_at), event.sequence or 0, event.rank)
        ids[event.id] = min(order, ids.get(event.id, order))
    return orders


# --- from a seed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lateness", [LATENESS, SHORT, NOTHING_SETTLES], ids=["usual", "short", "endless"])
def test_any_batches_of_any_timely_arrival_leave_the_same_contacts_and_facts(
    lateness: Lateness, chunk_entries: int
) -> None:
    history = random_history(seed=71, contacts=80)
    in_order = folded(decoded(history.events), Random(1), 10_000, NOTHING_SETTLES)
    attached = dropped = 0
    for seed, most in ((72, 1), (73, 5), (74, 100)):
        arrived = folded(decoded(random_arrival(history.events, seed)), Random(seed), most, lateness)
        assert arrived.facts() == in_order.facts()
        assert arrived.contacts() == in_order.contacts()
        attached, dropped = attached + arrived.attached, dropped + arrived.dropped
    assert attached > (20 if chunk_entries < 32 else 0)
    if lateness is SHORT:
        assert dropped > (20 if chunk_entries < 32 else -1)
    if lateness is NOTHING_SETTLES:
        assert dropped == 0


def test_every_accepted_event_is_kept_once_and_in_order(chunk_entries: int) -> None:
    history = random_history(seed=75, contacts=80)
    log = random_arrival(history.events, seed=76)
    contacts = folded(decoded(log), Random(76), 20, NOTHING_SETTLES)
    with_chunks = 0
    for key, ids in orders_of(history.events).items():
        entries = contacts.whole(key).entries
        orders = [entry.order[:3] for entry in entries]
        assert orders == sorted(orders)
        assert Counter(orders) == Counter(ids.values())
        named = [entry for entry in entries if entry.id]
        assert {entry.id: entry.order[:3] for entry in named}.items() <= ids.items()
        assert len(named) == len({entry.id for entry in named})
        with_chunks += bool(contacts.history(key).chunk_ends)
    assert with_chunks >= {2: 50, 5: 30, 32: 2}[chunk_entries]


def test_what_is_kept_are_the_newest_entries_and_what_is_not_was_past_both_windows(chunk_entries: int) -> None:
    history = random_history(seed=75, contacts=80)
    contacts = Contacts(SHORT)
    log, accepted = random_arrival(history.events, seed=76), list[Plain]()
    while log:
        batch, log = log[:20], log[20:]
        outcomes = zip(batch, contacts.apply(decoded(batch)), strict=True)
        accepted += [event for event, outcome in outcomes if outcome is Outcome.APPLIED]
    settled = 0
    for key, ids in orders_of(accepted).items():
        found = contacts.whole(key)
        kept = Counter(entry.order[:3] for entry in found.entries)
        assert kept == Counter(order for order in ids.values() if order[0] > found.settled_us)
        assert found.settled_us < found.newest_us - SHORT.longest_us
        settled += kept.total() < len(ids)
    assert settled >= {2: 5, 5: 3, 32: 0}[chunk_entries]


def test_chunks_hold_the_ids_of_the_contacts_own_events_and_no_others(chunk_entries: int) -> None:
    history = random_history(seed=82, contacts=80)
    contacts = folded(decoded(random_arrival(history.events, seed=83)), Random(83), most=20)
    own: dict[Key, set[str]] = {}
    for event in decoded(history.events):
        if event.rank < STARTED:
            own.setdefault((event.account_id, event.contact_id), set()).add(event.id)
    found = Counter[bool]()
    for key in contacts.states:
        for entry in contacts.in_chunks(key):
            is_own = entry.kind < STARTED
            assert entry.id in own[key] if is_own else entry.id == ""
            found[is_own] += 1
        assert all(entry.id for entry in contacts.history(key).entries)
    assert min(found[False], found[True]) > {2: 100, 5: 50, 32: 2}[chunk_entries]


def test_little_of_a_journal_is_past_the_window(chunk_entries: int) -> None:
    history = random_history(seed=77, contacts=80)
    contacts = folded(decoded(random_arrival(history.events, seed=78)), Random(78), most=3)
    for key in contacts.states:
        found = contacts.history(key)
        horizon_us = found.newest_us - LATENESS.conversation_us
        past = sum(entry.at_us < horizon_us for entry in found.entries)
        # Every commit lets a whole chunk go.
        assert past < chunk_entries, key


@pytest.mark.parametrize("lateness", [LATENESS, Lateness(10**15, 10**16)], ids=["the same windows", "longer windows"])
def test_a_run_of_events_read_again_changes_nothing_wherever_it_starts(lateness: Lateness) -> None:
    history = random_history(seed=79, contacts=60)
    events = decoded(random_arrival(history.events, seed=80))
    contacts, random = Contacts(), Random(81)
    at = 0
    while at < len(events):
        size = random.randint(1, 40)
        contacts.apply(events[at : at + size])
        at += size
        start = random.randrange(min(at, len(events)))
        facts, states = contacts.facts(), contacts.contacts()
        outcomes = contacts.apply(events[start : start + random.randint(1, 40)][: at - start], lateness)
        assert set(outcomes) <= {Outcome.DUPLICATE, Outcome.TOO_LATE}
        assert (contacts.facts(), contacts.contacts()) == (facts, states)


@pytest.mark.parametrize("lateness", [LATENESS, Lateness(SECOND_US, DAY_US)], ids=["usual", "short"])
def test_a_contact_that_rests_while_it_is_quiet_contributes_what_it_would_have(lateness: Lateness) -> None:
    history = random_history(seed=87, contacts=80)
    undisturbed = folded(decoded(history.events), Random(1), 10_000, NOTHING_SETTLES)
    contacts, rested, seen = Contacts(lateness), Counter[bool](), list[Event]()
    random = Random(88)
    for event in decoded(history.events):
        key, now_us = (event.account_id, event.contact_id), instant_us(event.occurred_at)
        found = contacts.history(key)
        if (writes := found.rest(now_us, lateness)) is not None:
            contacts.write(key, writes)
            contacts.states[key] = found.encode(small=random.random() < 0.5)
            assert now_us - found.newest_us > QUIET_US + lateness.conversation_us
            rested[not found.journal_length] += 1
            again = random.choice([each for each in seen if (each.account_id, each.contact_id) == key])
            assert contacts.apply([again]) in ([Outcome.DUPLICATE], [Outcome.TOO_LATE])
        contacts.apply([event])
        seen.append(event)
    assert contacts.facts() == undisturbed.facts()
    assert min(rested[False], rested[True]) > (10 if lateness is not LATENESS else -1)
    assert rested.total() > 50


# --- drawn by hypothesis ----------------------------------------------------------------------------------------------

one_size = pytest.mark.parametrize("chunk_entries", [2], indirect=True)


@one_size
@settings(max_examples=30)
@given(st.data())
def test_batches_and_disorder_leave_the_same_contact(data: st.DataObject) -> None:
    history: History = data.draw(histories(max_contacts=1, max_steps=30))
    log = data.draw(arrivals(history.events))
    most = data.draw(st.integers(1, 8))
    lateness = data.draw(st.sampled_from([LATENESS, SHORT, NOTHING_SETTLES]))
    assume(lateness is not SHORT or not split(log, 3_600, SHORT.contact_us / SECOND_US).too_late)
    in_order = folded(decoded(history.events), Random(1), 10_000, NOTHING_SETTLES)
    arrived = folded(decoded(log), Random(2), most, lateness)
    assert arrived.facts() == in_order.facts()
    assert arrived.contacts() == in_order.contacts()


@one_size
@settings(max_examples=30)
@given(st.data())
def test_the_facts_that_stand_are_those_that_the_entries_give(data: st.DataObject) -> None:
    history: History = data.draw(histories(max_contacts=2, max_steps=25))
    log = data.draw(arrivals(history.events, too_late_percent=10))
    contacts = folded(decoded(log), Random(3), data.draw(st.integers(1, 20)), NOTHING_SETTLES)
    assert contacts.facts() == contacts.contributed()


texts = st.none() | st.text(max_size=5)
entries = st.builds(
    Entry,
    at_us=st.integers(0, 1 << 60),
    sequence=st.integers(-5, 5),
    kind=st.integers(0, 14),
    id=st.text(min_size=1, max_size=5),
    rules=st.binary(min_size=16, max_size=16),
    day=st.integers(1, 3_000_000),
    hour=st.integers(0, 23),
    flags=st.integers(0, 15),
    actor=st.none() | st.sampled_from(["contact", "advisor", "import", "bot", "system"]),
    channel=texts,
    conversation=texts,
    advisor=texts,
    group=texts,
    to_conversation=texts,
    origin=texts,
    reason=texts,
    since_ms=st.none() | st.integers(0, 1 << 50),
    since_day=st.integers(0, 3_000_000),
    conversations=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=2).map(tuple),
    counted=st.lists(st.integers(0, 1 << 60), max_size=2).map(tuple),
).map(lambda entry: entry if entry.since_ms is not None or entry.conversations else _never_absorbed(entry))


def _never_absorbed(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, since_day=0)


@one_size
@settings(max_examples=40)
@given(st.lists(entries, max_size=5), st.none() | st.binary(max_size=5))
def test_entries_survive_the_bytes_of_journals_and_of_chunks_but_for_the_ids_of_conversation_events(
    drawn: list[Entry], start: bytes | None
) -> None:
    assert Journal(journal_of(drawn).parts()).entries() == drawn
    expected = [entry if entry.kind < STARTED else msgspec.structs.replace(entry, id="") for entry in drawn]
    assert history_module._read_chunk(history_module._chunk_bytes(start, drawn)) == (start, expected)
