"""Contacts that are known already: their lives, and writing them through the real fold and the real ledger.

`python -m bench.harness.population TASK` folds a part of a population, every event of every contact, and commits states
and facts under a claim of each shard, as a worker does. Only Kafka is left out. So what is in Redis afterwards is what
the same events sent to workers would have left.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from random import Random

import msgspec
from aiokafka import AIOKafkaProducer
from msgspec import Struct

from aggregates.history import ContactHistory, FactChanges, Lateness
from aggregates.rules import Rules, RulesBook
from bench.harness.errors import BenchError
from schemas import events as ev
from schemas.accounts import encode_settings
from schemas.events import Event, encode_event, instant_us
from streams.config import Config, Secret
from streams.fold.batch_fold import Folded
from streams.kafka import clients as kafka
from streams.kafka.clients import client_options
from streams.redis.clients import Client, connect
from streams.redis.keys import NamespaceKeys, chunk_field, contact_key, rules_field
from streams.redis.ledger import Changes, RedisLedger
from streams.shard.day_values import day_changes
from streams.shard.session import Session
from streams.simulation.accounts import DAY_MS, HOUR_MS, MINUTE_MS, Company, companies, encoded_settings, to_datetime
from streams.worker.startup import find_partitions, open_namespace, patiently

STATES_PER_COMMIT = 2_000
EVENTS_AT_ONCE = 16
"""Of one contact: what is due to leave its journal leaves it in between."""
LATENESS = Lateness(HOUR_MS * 1000, 30 * DAY_MS * 1000)
"""The default windows."""
CACHED_DAYS = 1_000_000
PROCESSES = 2

VISITS_AT_ONCE = 200

CONTACTS, CONVERSATIONS = "contacts", "conversations"


class Population(Struct, frozen=True, kw_only=True):
    """Contacts of some accounts, whose lives began evenly over the days before `until_ms`.

    Contact `n` is of account `n % accounts`, and of shard `n // accounts % partitions`.
    """

    contacts: int
    accounts: int
    days: int
    partitions: int
    until_ms: int
    visits: int = 1
    """Conversations of each contact: one of four events; its creation is another event."""
    seed: int = 7

    def companies(self) -> list[Company]:
        """The accounts."""
        return companies(self.accounts, to_datetime(self.until_ms).year)

    def shard(self, number: int) -> int:
        """The partition of a contact."""
        return number // self.accounts % self.partitions

    def begin_ms(self, number: int) -> int:
        """When a contact is created: at least three hours before the end for each of its visits."""
        span = self.days * DAY_MS - (self.visits + 2) * HOUR_MS
        return self.until_ms - self.days * DAY_MS + number * span // self.contacts


class Record(Struct, frozen=True):
    """A record to be sent."""

    topic: str
    """`contacts` or `conversations`."""
    shard: int
    key: bytes
    value: bytes


def contact_id(company: Company, number: int) -> str:
    """The contact's id, in the form of the simulated service's."""
    return f"{company.account_id}-6921a380-{number:08d}"


def life(company: Company, contact: str, begin_ms: int, visits: int, rng: Random) -> Iterator[Event]:
    """A contact's events: its creation, then its visits, an hour apart."""
    channel = company.channels.pick(rng) or "whatsapp"
    yield ev.ContactCreated(
        id=f"{contact}-e1",
        account_id=company.account_id,
        contact_id=contact,
        occurred_at=to_datetime(begin_ms),
        origin=company.origins.pick(rng),
        channel=channel,
        group_id=company.entry_groups.pick(rng),
    )
    for number in range(visits):
        yield from visit(company, contact, begin_ms + 1_000 + number * HOUR_MS, channel, f"{number + 1}", rng)


def visit(company: Company, contact: str, at_ms: int, channel: str, name: str, rng: Random) -> Iterator[Event]:
    """A conversation of four events: started, a message, its answer by an advisor, closed."""
    conversation, advisor = f"{contact}-c{name}", rng.choice([*company.settings.advisors])
    answered_ms = at_ms + 1_000 + rng.randrange(5_000, 3 * MINUTE_MS)

    def common(number: int, occurred_ms: int) -> dict[str, object]:
        return {
            "id": f"{contact}-e{name}-{number}",
            "account_id": company.account_id,
            "contact_id": contact,
            "conversation_id": conversation,
            "occurred_at": to_datetime(occurred_ms),
        }

    yield ev.ConversationStarted(**common(1, at_ms), channel=channel, by="contact")  # type: ignore[arg-type]
    yield ev.MessageReceived(**common(2, at_ms + 1_000), channel=channel)  # type: ignore[arg-type]
    author = ev.Author("advisor", advisor)
    yield ev.MessageSent(**common(3, answered_ms), channel=channel, author=author)  # type: ignore[arg-type]
    reason = company.close_reasons.pick(rng) or ""
    closed_ms = answered_ms + rng.randrange(10_000, 2 * MINUTE_MS)
    yield ev.ConversationClosed(**common(4, closed_ms), reason=reason, advisor_id=advisor)  # type: ignore[arg-type]


LONGEST_VISIT_MS = 6 * MINUTE_MS


def live_records(
    population: Population, numbers: Iterable[int], begin_ms: int, span_ms: int, name: str
) -> list[Record]:
    """A visit of each of these known contacts, begun within `span_ms`, in the order of event time.

    `name` tells one call's conversations from another's.
    """
    known = population.companies()
    rng = Random(f"{population.seed}/{name}")
    timed: list[tuple[datetime, int, Record]] = []
    for place, number in enumerate(numbers):
        company = known[number % population.accounts]
        contact = contact_id(company, number)
        for event in visit(company, contact, begin_ms + rng.randrange(span_ms), "whatsapp", f"{name}{place}", rng):
            timed.append((event.occurred_at, len(timed), _record(population, number, event)))
    timed.sort(key=lambda each: each[:2])
    return [record for *_, record in timed]


def steady_records(population: Population, count: int, begin_ms: int, rate: float, name: str) -> list[Record]:
    """So many events at an even rate, each happening when it is to be sent: visits under way side by side.

    Every second visit is of a new contact, so that one event of nine is its creation, on the other topic.
    """
    known = population.companies()
    rng = Random(f"{population.seed}/{name}")
    open_visits: list[tuple[int, Iterator[Event]]] = []
    visits = 0
    records = []
    for place in range(count):
        if len(open_visits) < VISITS_AT_ONCE:
            visits += 1
            number = population.contacts + visits if visits % 2 else rng.randrange(population.contacts)
            company = known[number % population.accounts]
            contact = contact_id(company, number)
            if visits % 2:
                # As long as `name` differs, so do the new contacts.
                contact = f"{contact}-{name}"
                open_visits.append((number, life(company, contact, 0, 1, rng)))
            else:
                open_visits.append((number, visit(company, contact, 0, "whatsapp", f"{name}{visits}", rng)))
        chosen = rng.randrange(len(open_visits))
        number, events = open_visits[chosen]
        event = next(events, None)
        while event is None:
            open_visits.pop(chosen)
            chosen = rng.randrange(len(open_visits))
            number, events = open_visits[chosen]
            event = next(events, None)
        event = msgspec.structs.replace(event, occurred_at=to_datetime(begin_ms + int(place * 1000 / rate)))
        records.append(_record(population, number, event))
    return records


def _record(population: Population, number: int, event: Event) -> Record:
    topic = CONTACTS if event.topic == "contacts" else CONVERSATIONS
    return Record(topic, population.shard(number), event.contact_id.encode(), encode_event(event))


# --- writing it -------------------------------------------------------------------------------------------------------


class _Task(Struct, frozen=True):
    population: Population
    redis_url: str
    namespace: str
    shards: list[int]


async def prepare(config: Config, population: Population) -> None:
    """Make the namespace and send the accounts' settings; topics must be there, and be empty."""
    client, consumer = connect(config), kafka.event_consumer(config)
    producer = AIOKafkaProducer(**client_options(config), linger_ms=20)
    await consumer.start()
    await producer.start()
    try:
        partitions = await find_partitions(config)
        # A broker that was never asked for a group makes its table of groups first.
        await patiently("Kafka", lambda: open_namespace(config, client, consumer, partitions))
        waiting = []
        for company in population.companies():
            key = company.account_id.encode()
            waiting.append(await producer.send(config.topics.accounts, encoded_settings(company), key=key))
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
        await consumer.stop()
        await client.aclose()


def populate(config: Config, population: Population) -> None:
    """Write the population into a namespace that `prepare` made, by several processes. Raises `BenchError`."""
    parts = [list(range(population.partitions))[part::PROCESSES] for part in range(PROCESSES)]
    tasks = [_Task(population, str(config.redis_url), config.namespace, shards) for shards in parts if shards]
    children = [
        subprocess.Popen([sys.executable, "-m", "bench.harness.population", msgspec.json.encode(task).decode()])
        for task in tasks
    ]
    try:
        statuses = [child.wait() for child in children]
    finally:
        for child in children:
            child.kill()
    if any(statuses):
        raise BenchError(f"a population was not written: its programs ended with {statuses}")


async def _write(task: _Task) -> None:
    config = Config(redis_url=Secret(task.redis_url), namespace=task.namespace, redis_timeout_seconds=120)
    client = connect(config)
    known = task.population.companies()
    books = [RulesBook(Rules(company.settings)) for company in known]
    try:
        for shard in task.shards:
            await _Shard(client, config.namespace, shard).write(task.population, known, books)
    finally:
        await client.aclose()


class _Shard:
    """Writes one shard of a population."""

    def __init__(self, client: Client, namespace: str, shard: int) -> None:
        self._ledger = RedisLedger(client, NamespaceKeys(namespace).shard(shard), shard)
        self._shard = shard

    async def write(self, population: Population, known: list[Company], books: list[RulesBook]) -> None:
        claim = await self._ledger.claim()
        assert claim is not None, "the namespace has no such shard: prepare it first"
        session = Session(self._shard, self._ledger, claim, 0, CACHED_DAYS)
        rules = Changes()
        for company, book in zip(known, books, strict=True):
            rules.rules += (
                rules_field(company.account_id, book.current.version),
                encode_settings(book.current.settings),
            )
        await session.commit(session.positions, rules)
        rng = Random(f"{population.seed}/{self._shard}")
        folded = Folded()
        for number in _numbers(population, self._shard):
            place = number % population.accounts
            company = known[place]
            contact = contact_id(company, number)
            events = life(company, contact, population.begin_ms(number), population.visits, rng)
            take_life(folded, company.account_id, contact, events, books[place])
            if len(folded.states) >= STATES_PER_COMMIT:
                await _commit(session, folded)
                folded = Folded()
        await _commit(session, folded)


def take_life(folded: Folded, account_id: str, contact: str, events: Iterable[Event], book: RulesBook) -> None:
    """Fold all events of a new contact, some at a time, as they would have come."""
    history, changes, key = ContactHistory(), FactChanges(), contact_key(account_id, contact)
    for some in batched([(event, instant_us(event.occurred_at)) for event in events], EVENTS_AT_ONCE):
        history.fold(some, book, LATENESS, changes)
        for number, chunk in history.compact(LATENESS):
            name = chunk_field(key, number)
            if chunk is None:
                folded.chunks.pop(name, None)
            else:
                folded.chunks[name] = chunk
    folded.add_changes(account_id, contact, changes)
    folded.states[key] = history.encode()


def batched(events: list[tuple[Event, int]], size: int) -> Iterator[list[tuple[Event, int]]]:
    """So many of them at a time."""
    for first in range(0, len(events), size):
        yield events[first : first + size]


async def _commit(session: Session, folded: Folded) -> None:
    days = await day_changes(session, folded.days)
    changes = Changes(days=[change.write for change in days])
    for contact, state in folded.states.items():
        changes.states += (contact, state)
    for name, chunk in folded.chunks.items():
        assert chunk is not None
        changes.chunks += (name, chunk)
    await session.commit(session.positions, changes)
    for change in days:
        session.days.put(change.day, change.totals)


def _numbers(population: Population, shard: int) -> Iterator[int]:
    accounts = population.accounts
    for first in range(shard * accounts, population.contacts, population.partitions * accounts):
        yield from range(first, min(first + accounts, population.contacts))


if __name__ == "__main__":
    asyncio.run(_write(msgspec.json.decode(sys.argv[1], type=_Task)))
