"""How long a batch holds up others, how much it reads, and what is left of it when its session goes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import orjson
import pytest

from aggregates import history as history_module
from aggregates.counters import encode_vector
from aggregates.facts import Fact, fact_field, fact_value
from aggregates.history import ContactHistory, FactChanges
from aggregates.rules import Rules, RulesBook
from aggregates.sealed import TOTALS
from aggregates.totals import totals_of
from schemas.accounts import default_settings
from schemas.events import decode_event, instant_us
from streams.errors import SessionLost
from streams.records.columns import Run
from streams.redis.keys import chunk_field, contact_key
from streams.redis.ledger import Positions
from streams.shard import batch as batch_module
from streams.shard.batch import Batch, BatchProcessor, Budget
from streams.shard.pace import Pace
from tests.support.records import record
from tests.unit.shard.test_batch import KEYS, LATENESS, Shard

BOOK = RulesBook(Rules(default_settings("acme")))
START_S = 1_772_540_000


def plain(number: int, second: float, contact: str = "ana", **fields: object) -> bytes:
    head = {"id": f"e{number}", "type": "message.received", "account_id": "acme", "contact_id": contact}
    at = {"occurred_at": f"2026-03-0{1 + int(second // 86_400)}T{int(second % 86_400 // 3600):02}:"}
    at["occurred_at"] += f"{int(second % 3600 // 60):02}:{second % 60:09.6f}Z"
    return orjson.dumps({**head, **at, "conversation_id": "c", "channel": "whatsapp", **fields})


class Budgeted(Shard):
    """A shard whose batches have a budget."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        made = self.processor
        self.processor = BatchProcessor(
            made._rules, made._dead_letters, made._limit, self.metrics, LATENESS, budget=budget
        )
        self.commits: list[float] = []
        self.redis.hook = self._note

    async def _note(self, command: str, moment: str) -> None:
        if (command, moment) == ("commit", "after"):
            self.commits.append(perf_counter())

    def know(self, contacts: list[str], past: list[bytes], in_batches_of: int) -> None:
        """Each of these contacts has this past, as if it had been folded."""
        history = ContactHistory()
        chunks: dict[int, bytes] = {}
        facts: dict[tuple[int, bytes], Fact] = {}
        for first in range(0, len(past), in_batches_of):
            changes = FactChanges()
            for value in past[first : first + in_batches_of]:
                event = decode_event(value)
                history.take(event, instant_us(event.occurred_at), BOOK, LATENESS, changes)
            for _ in history.settling(BOOK, changes):
                pass
            removed, added = changes.net()
            for fact in removed:
                del facts[fact.day, fact_field("", fact)]
            facts.update({(fact.day, fact_field("", fact)): fact for fact in added})
            chunks.update({number: chunk for number, chunk in history.compact(LATENESS) if chunk is not None})
            history = ContactHistory.decode(history.encode())
        keys = KEYS.shard(0)
        for contact in contacts:
            key = contact_key("acme", contact)
            self.redis.hash(keys.states)[key] = history.encode()
            for number, chunk in chunks.items():
                self.redis.hash(keys.chunks)[chunk_field(key, number)] = chunk
        for day in {fact.day for fact in facts.values()}:
            held = self.redis.hash(keys.day(day, "acme"))
            of_day = [fact for fact in facts.values() if fact.day == day]
            held |= {fact_field(contact, fact): fact_value(fact) for contact in contacts for fact in of_day}
            held[TOTALS] = encode_vector(totals_of(of_day * len(contacts)))

    def days(self) -> dict[bytes, dict[bytes, bytes]]:
        return {key: dict(held) for key, held in self.redis.data.items() if b":day:" in key}


@asynccontextmanager
async def others() -> AsyncIterator[Callable[[], float]]:
    """Something else that runs in the loop; how long it had to wait at most."""
    longest, ended = 0.0, False

    async def tick() -> None:
        nonlocal longest
        last = perf_counter()
        while not ended:
            await asyncio.sleep(0)
            now = perf_counter()
            longest, last = max(longest, now - last), now

    task = asyncio.create_task(tick())
    await asyncio.sleep(0)
    yield lambda: longest
    ended = True
    await task


def moved(number: int, contact: str) -> bytes:
    event = {"id": f"m{number}", "type": "contact.moved", "account_id": "acme", "contact_id": contact}
    return orjson.dumps({**event, "occurred_at": "2026-03-01T00:00:00.5Z", "group_id": "sales"})


async def test_late_events_of_many_contacts_with_a_past_hold_up_nobody() -> None:
    contacts = [f"k{number}" for number in range(150)]
    past = [plain(number, 40.0 * number) for number in range(3000)]
    shard = Budgeted(Budget(seconds=0.3))
    shard.know(contacts, past, 100)
    whole = Budgeted(Budget(seconds=1e6))
    whole.know(contacts, past, 100)
    events = [moved(number, contact) for number, contact in enumerate(contacts)]
    await whole.apply(await whole.session(), *events, topic=0)
    assert len(whole.commits) == 1
    session = await shard.session()
    async with others() as waited:
        await shard.apply(session, *events, topic=0)
        longest = waited()
    assert session.positions == Positions(150, 0)
    assert shard.days() == whole.days()
    assert longest < 3  # a slice of a fold, or one contact's chunks
    assert len(shard.commits) > 3
    assert shard.metrics.batches_cut.labels("time")._value.get() > 0


async def test_a_contact_with_a_full_window_and_every_twentieth_event_late_is_folded_once_per_batch() -> None:
    events = [plain(number, 0.15 * number) for number in range(20_000)]
    for place in range(20, 20_000, 20):
        events[place - 1], events[place] = events[place], events[place - 1]
    shard = Budgeted(Budget())
    session = await shard.session()
    started = perf_counter()
    async with others() as waited:
        for first in range(0, len(events), 2_000):
            await shard.apply(session, *events[first : first + 2_000])
        longest = waited()
    assert perf_counter() - started < 60  # a fold for each late event takes minutes
    assert longest < 3
    assert shard.history("ana").journal_length == 20_000
    assert shard.letters.written == []


async def test_a_batch_reads_no_more_states_than_it_may() -> None:
    contacts = [f"k{number}" for number in range(300)]
    past = [plain(number, 0.1 * number, conversation_id=f"c{number}") for number in range(400)]
    shard = Budgeted(Budget(memory=1 << 20))
    shard.know(contacts, past, 50)
    longest = len(shard.redis.data[KEYS.shard(0).states][contact_key("acme", "k0")])
    assert longest * len(contacts) > 4 << 20
    session = await shard.session()
    read: list[int] = []

    async def counted(reads: Any, wrapped: Callable[..., Awaitable[Any]] = session.read) -> Any:
        found = await wrapped(reads)
        read.append(sum(len(value or b"") for values in found for value in values))
        return found

    session.read = counted  # type: ignore[method-assign]
    await shard.apply(session, *(plain(1000 + number, 90, contact) for number, contact in enumerate(contacts)))
    assert session.positions == Positions(0, 300)
    assert len(shard.commits) > 3
    assert max(read[1:]) <= 1 << 20  # the first told how long they are
    assert shard.metrics.batches_cut.labels("memory")._value.get() > 0
    assert all(shard.history(contact).journal_length == 401 for contact in contacts)


async def test_what_was_folded_for_a_session_that_is_gone_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "_BREATH_SECONDS", 0.0)
    past = [plain(number, 0.5 * number) for number in range(6_000)]
    shard = Budgeted(Budget())
    shard.know(["ana"], past, 1_000)
    before = shard.redis.copied()
    session = await shard.session()

    async def dropping() -> None:
        session.drop()

    task = asyncio.create_task(dropping())
    with pytest.raises(SessionLost, match="dropped while"):
        await shard.apply(session, plain(9_999, 1.1))
    await task
    shard.redis.data.pop(KEYS.shard(0).ledger)
    assert shard.redis.data == before


async def test_the_next_part_is_not_begun_when_the_session_is_gone() -> None:
    contacts = [f"k{number}" for number in range(40)]
    shard = Budgeted(Budget(seconds=1e-9))
    session = await shard.session()

    async def drop_after_commit(command: str, moment: str) -> None:
        await Budgeted._note(shard, command, moment)
        if (command, moment) == ("commit", "after"):
            session.drop()

    shard.redis.hook = drop_after_commit
    with pytest.raises(SessionLost):
        await shard.apply(session, *(plain(number, 1, contact) for number, contact in enumerate(contacts)))
    assert len(shard.commits) == 1
    assert 0 < session.positions.conversations < 40


def test_a_lost_batch_halves_the_next_ones_which_grow_back() -> None:
    pace = Pace(3, 2_000)
    pace.lost()
    assert pace.records == 1_000
    for _ in range(20):
        pace.lost()
    assert pace.records == 1
    sizes = []
    for _ in range(100):
        pace.committed()
        sizes.append(pace.records)
    assert sizes == sorted(sizes)
    assert sizes[20] < 40
    assert sizes[-1] == 2_000


async def test_a_batch_whose_session_goes_makes_the_next_one_shorter() -> None:
    from streams.intake.shard_feed import ShardFeed
    from streams.kafka.clients import TopicPartition

    partitions = (TopicPartition("t", 3), TopicPartition("u", 3))
    shard = Budgeted(Budget())
    feed = ShardFeed(3, partitions, 10, 1 << 20)
    for expected in (10, 5, 2, 1):
        session = await shard.session()
        feed.offer(session, (None, None), (0, 0), (20, 0))
        feed.seeks()
        feed.accept(partitions[0], [record(offset) for offset in range(20)], 20)
        batch = feed.next_batch(0.0, 10**15)
        assert isinstance(batch, Batch)
        assert len(batch.records) == expected
        feed.drop()
    assert feed.pace.records == 1


def test_a_prefix_of_a_batch_ends_where_its_next_records_stand() -> None:
    from array import array

    from streams.records.columns import Taken

    contacts = Run(0, [record(offset) for offset in (3, 7)])
    conversations = Run(1, [record(offset) for offset in (5, 6, 9)])
    names = array("Q", [1 << 32, 0, 1 << 32 | 1, 1 << 32 | 2, 1])
    session: Any = object()
    batch = Batch(session, Positions(1, 5), Positions(20, 30), Taken({0: contacts, 1: conversations}, names))
    ends = [batch.first(count).end for count in range(1, 6)]
    assert ends == [Positions(3, 6), Positions(7, 6), Positions(7, 9), Positions(7, 30), Positions(20, 30)]
    for count in range(1, 5):
        first = batch.first(count)
        left = batch.after(first)
        assert (first.start, left.start, left.end) == (batch.start, first.end, batch.end)
        offsets = [arrival.record.offset for arrival in (*first.records, *left.records)]
        assert offsets == [5, 3, 6, 9, 7]


# --- bounds of one contact --------------------------------------------------------------------------------------------


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MAX_CONTACT_ENTRIES", 40)
    monkeypatch.setattr(history_module, "MAX_CONTACT_CONVERSATIONS", 20)
    monkeypatch.setattr(history_module, "MAX_CONTACT_OPEN_CONVERSATIONS", 10)


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("size", [1, 3, 50])
async def test_events_beyond_a_full_window_are_set_aside_and_taken_again_later(size: int) -> None:
    events = [plain(number, 10 * number) for number in range(50)]
    events += [plain(100, 55), plain(101, 3700 + 55), plain(3, 30)]
    shard = Budgeted(Budget())
    session = await shard.session()
    for first in range(0, len(events), size):
        await shard.apply(session, *events[first : first + size])
    # The window of the one at 3,755 s begins at 155 s; the last is a repeated one.
    assert shard.letters.written == [(offset, "contact-too-large") for offset in range(40, 51)]
    assert shard.events_of("ana")[-2:] == ["e39", "e101"]


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("size", [1, 3, 50])
async def test_conversations_beyond_the_bound_are_set_aside(size: int) -> None:
    events = [plain(number, number, conversation_id=f"c{number}") for number in range(12)]  # two too many are open
    events += [plain(20, 20, conversation_id="c3"), plain(21, 21, type="note.added", conversation_id="c99")]
    shard = Budgeted(Budget())
    session = await shard.session()
    for first in range(0, len(events), size):
        await shard.apply(session, *events[first : first + size])
    assert shard.letters.written == [(10, "contact-too-large"), (11, "contact-too-large")]
    assert shard.events_of("ana")[-2:] == ["e20", "e21"]
