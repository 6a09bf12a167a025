"""Contacts that are known already: their lives, and writing them through the real fold and the real ledger.

`python -m bench.harness.population TASK` folds a part of a population, every event of every contact, and commits states
and counters under a claim of each shard, as a worker does. Only Kafka is left out, and that a shard's counters are
written once, at the end. So what is in Redis afterwards is what the same events sent to workers would have left.
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

from aggregates.counters import Deltas
from aggregates.history import ContactHistory
from aggregates.rules import Rules, RulesBook
from bench.harness.errors import BenchError
from schemas import events as ev
from schemas.accounts import encode_settings
from schemas.events import Event, encode_event
from streams.config import Config, Secret
from streams.kafka import clients as kafka
from streams.redis.clients import Client, connect
from streams.redis.keys import NamespaceKeys, archive_field, contact_key, rules_field
from streams.redis.ledger import Changes, DayWrite, Fence, RedisLedger
from streams.shard.day_values import day_changes
from streams.simulation.accounts import DAY_MS, HOUR_MS, MINUTE_MS, Company, companies, encoded_settings, to_datetime
from streams.worker.startup import find_partitions, open_namespace, patiently

STATES_PER_COMMIT = 2_000
COUNTERS_PER_COMMIT = 10_000
LATENESS_MS = HOUR_MS
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
    producer = AIOKafkaProducer(**config.kafka_options(), linger_ms=20)
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
        self._fence: Fence | None = None

    async def write(self, population: Population, known: list[Company], books: list[RulesBook]) -> None:
        claim = await self._ledger.claim()
        assert claim is not None, "the namespace has no such shard: prepare it first"
        self._fence = claim.fence
        deltas: dict[str, Deltas] = {company.account_id: Deltas() for company in known}
        changes = Changes()
        for company, book in zip(known, books, strict=True):
            changes.rules += (
                rules_field(company.account_id, book.current.version),
                encode_settings(book.current.settings),
            )
        rng = Random(f"{population.seed}/{self._shard}")
        for number in _numbers(population, self._shard):
            place = number % population.accounts
            company = known[place]
            contact = contact_id(company, number)
            history = ContactHistory()
            key = contact_key(company.account_id, contact)
            into = deltas[company.account_id]
            for count, event in enumerate(
                life(company, contact, population.begin_ms(number), population.visits, rng), 1
            ):
                history.fold(event, books[place], LATENESS_MS, into)
                if count % 16 == 0:
                    changes.archive += _archived(key, history)
            changes.archive += _archived(key, history)
            changes.states += (key, history.encode())
            if len(changes.states) >= 2 * STATES_PER_COMMIT:
                changes = await self._commit(changes)
        await self._commit(changes)
        await self._counters(deltas)

    async def _commit(self, changes: Changes) -> Changes:
        assert self._fence is not None
        self._fence = await self._ledger.commit(self._fence, self._fence.positions, changes)
        return Changes()

    async def _counters(self, deltas: dict[str, Deltas]) -> None:
        days = {(day, account_id): fields for account_id, d in deltas.items() for day, fields in d.encoded().items()}
        nothing = {day: [b""] * len(fields) for day, fields in days.items()}
        waiting: list[DayWrite] = []
        count = 0
        for change in day_changes(nothing, days):
            waiting.append(change.write)
            count += len(change.values) + 1
            if count >= COUNTERS_PER_COMMIT:
                await self._commit(Changes(days=waiting))
                waiting, count = [], 0
        await self._commit(Changes(days=waiting))


def _numbers(population: Population, shard: int) -> Iterator[int]:
    accounts = population.accounts
    for first in range(shard * accounts, population.contacts, population.partitions * accounts):
        yield from range(first, min(first + accounts, population.contacts))


def _archived(key: bytes, history: ContactHistory) -> Iterator[bytes]:
    for number, chunk in history.compact(LATENESS_MS):
        yield archive_field(key, number)
        yield chunk


if __name__ == "__main__":
    asyncio.run(_write(msgspec.json.decode(sys.argv[1], type=_Task)))
