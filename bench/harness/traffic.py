"""The events that all lanes read: the simulated messaging service's history, as `mediana simulate` sends it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from aiokafka import AIOKafkaProducer
from msgspec import Struct

from bench.harness.errors import BenchError
from schemas.events import encode_event, type_name
from streams.config import Config
from streams.kafka import topics
from streams.kafka.clients import admin_client, client_options
from streams.simulation.accounts import encoded_settings
from streams.simulation.contact import Timed
from streams.simulation.stream import Plan, simulate

ACCOUNTS = 6
DAYS = 14

EVENTS_PER_CONTACT = 8
"""At least so many of a contact's events fall into the plan's days: it has about 12 in the end, over weeks."""

_SENDS_AWAITED_TOGETHER = 2_000


class Traffic(Struct, frozen=True):
    """What was sent."""

    events: int
    bytes_per_event: float
    contacts: int
    """Contacts created."""
    types: dict[str, int]
    days: float


def plan_of(events: int, seed: int, now: datetime) -> Plan:
    """A plan that has this many events in its days, all of them past at `now`."""
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=1)
    plan = Plan(now=midnight, days=DAYS, accounts=ACCOUNTS, contacts_per_day=1, live_rate=0, seed=seed)
    size = sum(company.size for company in plan.companies())
    per_day = int(events / EVENTS_PER_CONTACT / DAYS / size) + 1
    return Plan(now=midnight, days=DAYS, accounts=ACCOUNTS, contacts_per_day=per_day, live_rate=0, seed=seed)


def events_of(plan: Plan, events: int) -> Iterator[Timed]:
    """The plan's first events. Raises `BenchError` when they do not all happen by its `now`."""
    for at_ms, event in islice(simulate(plan), events):
        if at_ms > plan.now_ms:
            raise BenchError(f"{events:,} events do not fit into the {plan.days} days that are simulated")
        yield at_ms, event


def send(config: Config, plan: Plan, events: int, say: Callable[[str], None]) -> Traffic:
    """Make the topics, and put settings and events into them."""
    return asyncio.run(_send(config, plan, events, say))


async def _send(config: Config, plan: Plan, events: int, say: Callable[[str], None]) -> Traffic:
    admin = admin_client(config)
    await admin.start()
    try:
        await topics.create(admin, config)
    finally:
        await admin.close()
    producer = AIOKafkaProducer(**client_options(config), enable_idempotence=True, linger_ms=20)
    await producer.start()
    types: Counter[str] = Counter()
    size, first_ms, last_ms = 0, 0, 0
    try:
        for company in plan.companies():
            await producer.send_and_wait(
                config.topics.accounts, key=company.account_id.encode(), value=encoded_settings(company)
            )
        waiting = []
        for at_ms, event in events_of(plan, events):
            topic = config.topics.contacts if event.topic == "contacts" else config.topics.conversations
            value = encode_event(event)
            # Sent as it happened: the record's own time is the event's.
            waiting.append(await producer.send(topic, key=event.contact_id.encode(), value=value, timestamp_ms=at_ms))
            types[type_name(event)] += 1
            size += len(value)
            first_ms, last_ms = first_ms or at_ms, at_ms
            if len(waiting) >= _SENDS_AWAITED_TOGETHER:
                await asyncio.gather(*waiting)
                waiting = []
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
    traffic = Traffic(
        events=types.total(),
        bytes_per_event=size / events,
        contacts=types["contact.created"],
        types=dict(types.most_common()),
        days=(last_ms - first_ms) / 86_400_000,
    )
    say(
        f"{traffic.events:,} events of {traffic.contacts:,} contacts in {traffic.days:.1f} days, "
        f"{traffic.bytes_per_event:.0f} bytes each, {config.partitions} partitions"
    )
    return traffic
