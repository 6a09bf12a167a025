"""The compiled fold gives what the fold in Python gives: every state, archive, counter, verdict, byte by byte.

Both take the same records, batch by batch, each from what it stored itself. The fold in Python is held to the contract
by the other laws; here it is the oracle.
"""

import ctypes
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import takewhile
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates.counters import sums
from aggregates.history import ContactHistory, Outcome
from aggregates.localtime import LocalCalendar
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from schemas.events import encode_event
from streams.absolute import Sums
from streams.arrivals import Arrival, Scan, arrivals_of
from streams.caches import DayKey
from streams.compiled import open_library
from streams.compiled_fold import CompiledFold
from streams.folding import Folded, accounts_of, fold, sort_out
from streams.simulation import Plan, simulate
from tests.laws.comparison import Plain
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.oracle.lives import ACCOUNTS
from tests.unit.records import record

HEAD: Plain = {"id": "e1", "account_id": "plain", "contact_id": "ana", "occurred_at": "2026-03-01T12:30:15.250Z"}
LATENESS_MS = 3_600_000
LATER_MS = 4_000_000_000_000


BOOKS = {account["account_id"]: RulesBook(Rules(decode_settings(orjson.dumps(account)))) for account in ACCOUNTS}


@pytest.fixture(scope="module")
def compiled() -> CompiledFold:
    library = open_library()  # raises, and does not skip, where it was not built
    return CompiledFold(library, cache_accounts=2)


class Shard:
    """What a worker stores of a shard, a batch at a time, with or without the library."""

    def __init__(self, compiled: CompiledFold | None, known: Mapping[str, RulesBook]) -> None:
        self.compiled = compiled
        self.scan: Scan | None = None if compiled is None else compiled.scan
        self.sums: Sums = sums if compiled is None else compiled.sums
        self.books = known
        self.states: dict[bytes, bytes] = {}
        self.archive: dict[bytes, dict[bytes, bytes]] = {}
        self.days: dict[DayKey, dict[bytes, bytes]] = {}
        self.outcomes: Counter[Outcome] = Counter()
        self.types: Counter[str] = Counter()
        self.letters: list[tuple[int, str]] = []
        self.left_to_python = 0

    def apply(self, log: Sequence[Plain], first: int) -> None:
        """Take in a batch of records of both topics."""
        events = sort_out(arrived(log, first, self.scan)).events
        states = {contact: self.states.get(contact, b"") for contact in accounts_of(events)}
        folded, rest = Folded(), events
        if self.compiled is not None:
            rest = self.compiled.fold(events, states, self.books, LATENESS_MS, folded)
            self.left_to_python += len(rest)
        if rest:
            folded.add(self._folded(rest, states))
        self._commit(folded)

    def _folded(self, events: list[Arrival], states: dict[bytes, bytes]) -> Folded:
        histories = {}
        for contact in accounts_of(events):
            history = ContactHistory.decode(states[contact]) if states[contact] else ContactHistory()
            chunks = self.archive.get(contact, {})
            history.attach_archive([chunks[b"%s#%d" % (contact, number)] for number in range(history.archive_count)])
            histories[contact] = history
        return fold(events, histories, self.books, LATENESS_MS)

    def _commit(self, folded: Folded) -> None:
        self.states |= folded.states
        for field, chunk in zip(folded.archive[::2], folded.archive[1::2], strict=True):
            self.archive.setdefault(field.rpartition(b"#")[0], {})[field] = chunk
        for day, deltas in folded.days.items():
            stored = self.days.setdefault(day, {})
            totals = self.sums(deltas, [stored.get(field, b"") for field in deltas], deltas.values())
            for field, total in zip(deltas, totals, strict=True):
                if total:
                    stored[field] = total
                else:
                    stored.pop(field, None)
        self.outcomes += folded.outcomes
        self.types += folded.types
        self.letters += [(letter.record.offset, letter.reason) for letter in folded.letters]


def arrived(log: Iterable[Plain], first: int, scan: Scan | None) -> list[Arrival]:
    found = []
    for place, event in enumerate(log, first):
        topic = 0 if event["type"].startswith("contact.") else 1
        key = event["contact_id"].encode()
        found += arrivals_of(topic, [record(place, orjson.dumps(event), key=key, at_ms=LATER_MS)], scan)
    return found


def compared(
    log: Sequence[Plain], random: Random, most: int, compiled: CompiledFold, known: Mapping[str, RulesBook] = BOOKS
) -> Shard:
    """Both shards after the same batches; they must hold the same after each."""
    pure, fast = Shard(None, known), Shard(compiled, known)
    at = 0
    while at < len(log):
        size = random.randint(1, most)
        for shard in (pure, fast):
            shard.apply(log[at : at + size], at)
        at += size
        assert fast.states == pure.states
        assert fast.archive == pure.archive
        assert fast.days == pure.days
    assert (fast.outcomes, fast.types) == (pure.outcomes, pure.types)
    assert sorted(fast.letters) == sorted(pure.letters)
    return fast


@pytest.mark.parametrize("most", [1, 7, 200, 2_000])
def test_a_history_in_order_is_folded_alike_whatever_the_batches(most: int, compiled: CompiledFold) -> None:
    history = random_history(seed=301 + most, contacts=150)
    fast = compared(history.events, Random(most), most, compiled)
    assert fast.left_to_python < len(history.events)


@pytest.mark.parametrize("seed", [311, 312, 313])
def test_late_doubled_and_shuffled_events_are_folded_alike(seed: int, compiled: CompiledFold) -> None:
    log = random_arrival(random_history(seed, contacts=120).events, seed, too_late_percent=5)
    fast = compared(log, Random(seed), 40, compiled)
    assert 0 < fast.left_to_python < len(log)
    assert fast.outcomes.keys() == set(Outcome)


def test_of_what_a_service_sends_hardly_anything_is_left_to_python(compiled: CompiledFold) -> None:
    plan = Plan(datetime(2026, 10, 28, tzinfo=UTC), days=7, accounts=2, contacts_per_day=40, live_rate=0, seed=5)
    lived = takewhile(lambda timed: timed[0] < plan.now_ms, simulate(plan))
    log = [orjson.loads(encode_event(event)) for _, event in lived]
    known = {company.account_id: RulesBook(Rules(company.settings)) for company in plan.companies()}
    fast = compared(log, Random(5), 700, compiled, known)
    assert len(log) > 2_000
    assert fast.left_to_python < len(log) / 20


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_arrival_of_any_history_is_folded_alike(compiled: CompiledFold, data: st.DataObject) -> None:
    history: History = data.draw(histories())
    log = data.draw(arrivals(history.events))
    compared(log, Random(len(log)), data.draw(st.integers(1, 40)), compiled)


def test_what_the_settings_cannot_answer_is_left_to_python(
    compiled: CompiledFold, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {**HEAD, "type": "message.received", "conversation_id": "k", "channel": "email"}
    contact = arrived([event], 0, compiled.scan)[0].contact
    fresh = CompiledFold(open_library(), cache_accounts=2)
    monkeypatch.setattr(LocalCalendar, "offsets_of_day", lambda *_: date.fromordinal(0))  # there is no such day
    left = fresh.fold(arrived([event], 0, compiled.scan), {contact: b""}, BOOKS, LATENESS_MS, Folded())
    assert [arrival.contact for arrival in left] == [contact]


def test_no_class_is_made_for_an_answer(compiled: CompiledFold) -> None:
    event = {**HEAD, "type": "message.received", "conversation_id": "k", "channel": "email"}
    events = arrived([event], 0, compiled.scan)
    before = len(object.__subclasses__()), len(ctypes.Array.__subclasses__())
    for length in range(1, 40):
        compiled.fold(events, {events[0].contact: b""}, BOOKS, LATENESS_MS, Folded())
        arrived([{**event, "account_id": "a" * length}], 0, compiled.scan)
    assert (len(object.__subclasses__()), len(ctypes.Array.__subclasses__())) == before
