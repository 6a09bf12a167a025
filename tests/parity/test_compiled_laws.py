"""The compiled fold gives what the fold in Python gives: every state, archive, counter, verdict, byte by byte.

Both take the same records, batch by batch, each from what it stored itself. The fold in Python is held to the contract
by the other laws; here it is the oracle.
"""

import ctypes
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import count, groupby, takewhile
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
from streams.fold.batch_fold import Folded, accounts_of, fold, sort_out
from streams.fold.compiled import open_library
from streams.fold.compiled_fold import CompiledFold
from streams.intake.shard_feed import RunOf
from streams.records.columns import DecodedRun, Taken
from streams.records.decoded import Arrival
from streams.redis.keys import contact_key
from streams.shard.caches import DayKey
from streams.shard.day_values import Sums
from streams.simulation.stream import Plan, simulate
from tests import native
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.oracle.lives import ACCOUNTS
from tests.support.comparison import Plain
from tests.support.records import record, taken_of

HEAD: Plain = {"id": "e1", "account_id": "plain", "contact_id": "ana", "occurred_at": "2026-03-01T12:30:15.250Z"}
LATENESS_MS = 3_600_000
LATER_MS = 4_000_000_000_000


BOOKS = {account["account_id"]: RulesBook(Rules(decode_settings(orjson.dumps(account)))) for account in ACCOUNTS}


@pytest.fixture(scope="module")
def compiled() -> CompiledFold:
    return CompiledFold(native.library(), cache_accounts=2)


class Shard:
    """What a worker stores of a shard, a batch at a time, with or without the library."""

    def __init__(self, compiled: CompiledFold | None, known: Mapping[str, RulesBook]) -> None:
        self.compiled = compiled
        self.run_of: RunOf = DecodedRun if compiled is None else compiled.run_of
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
        records = arrived(log, first, self.run_of)
        events = sort_out(records.looked_at()).events
        folded, rest = Folded(), list(events.values())
        scanned = None if self.compiled is None else self.compiled.contacts(records)
        contacts = accounts_of(rest) if scanned is None else accounts_of(rest) | scanned.accounts
        states = {contact: self.states.get(contact, b"") for contact in contacts}
        if scanned is not None:
            rest = [records[place] for place in scanned.fold(states, self.books, LATENESS_MS, folded, events)]
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


def topic_of(event: Plain) -> int:
    return 0 if event["type"].startswith("contact.") else 1


def arrived(log: Iterable[Plain], first: int, run_of: RunOf) -> Taken:
    offsets = count(first)
    return taken_of(
        *(
            run_of(
                topic,
                [
                    record(next(offsets), orjson.dumps(event), key=event["contact_id"].encode(), at_ms=LATER_MS)
                    for event in events
                ],
            )
            for topic, events in groupby(log, topic_of)
        )
    )


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
    assert fast.outcomes.keys() == set(Outcome) - {Outcome.TOO_LARGE}


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


def test_what_the_settings_cannot_answer_is_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    event = {**HEAD, "type": "message.received", "conversation_id": "k", "channel": "email"}
    fresh = CompiledFold(native.library(), cache_accounts=2)
    scanned = fresh.contacts(arrived([event], 0, fresh.run_of))
    (contact,) = scanned.accounts
    monkeypatch.setattr(LocalCalendar, "offsets_of_day", lambda *_: date.fromordinal(0))  # there is no such day
    left = scanned.fold({contact: b""}, BOOKS, LATENESS_MS, Folded(), {})
    assert left == [0]
    assert scanned.contact_at(0) == contact


def test_no_class_is_made_for_an_answer(compiled: CompiledFold) -> None:
    event = {**HEAD, "type": "message.received", "conversation_id": "k", "channel": "email"}
    contact = contact_key(HEAD["account_id"], HEAD["contact_id"])
    before = len(object.__subclasses__()), len(ctypes.Array.__subclasses__())
    for length in range(1, 40):
        scanned = compiled.contacts(arrived([event] * length, 0, compiled.run_of))
        scanned.fold({contact: b""}, BOOKS, LATENESS_MS, Folded(), {})
        arrived([{**event, "account_id": "a" * length}], 0, compiled.run_of)
    assert (len(object.__subclasses__()), len(ctypes.Array.__subclasses__())) == before
