"""What the traffic of `make demo` takes in Redis after 60 days, kind by kind, once everything is at rest.

The demo's simulated service is sent to a real worker. Then its days are sealed and its quiet contacts shrink, as a
worker does in the course of minutes and weeks: here by the same code, its clock put ahead. What that leaves is
published, once: a history of more documents is so many more of them.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from prometheus_client import CollectorRegistry

from bench.harness import traffic
from bench.harness.errors import BenchError
from bench.harness.report import Table
from bench.harness.servers import Stand
from bench.harness.tables import Cell
from bench.soak.samples import Days, Kind, RedisLook
from streams.config import Config
from streams.kafka.log_end import LogEnds
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.clients import Client, connect
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import RedisLedger
from streams.shard.session import Session
from streams.simulation.stream import Plan, simulate
from streams.snapshots.snapshotter import Snapshotter
from streams.worker.sealing import Sealing

ACCOUNTS, CONTACTS_PER_DAY, DAYS = 2, 60, 60
PARTITIONS = 4
_MINUTES_AHEAD: Final = 20
"""By how much the sealing's clock is ahead: past the time that a day has to be at rest."""

BEFORE: Final = 320.0
"""Bytes per event of the same traffic in the design before: counters of every day, added up for every filter."""


class Memory(Struct, frozen=True, kw_only=True):
    """What was found."""

    events: int
    event_bytes: float
    """Of an event's JSON."""
    used_bytes: int
    """The server's used_memory, beside that of an empty one."""
    contacts: Kind
    chunks: Kind
    days: Days
    blocks: Kind
    documents: Kind


def measure_memory(stand: Stand) -> Memory:
    """Measure it, in a Redis that is emptied first. Raises `LaneFailed`, `BenchError`."""
    stand.client.flushall()
    empty = int(stand.client.info("memory")["used_memory"])
    config = stand.config("memory", PARTITIONS)
    now = datetime.now(UTC)
    plan = Plan(now=now, days=DAYS, accounts=ACCOUNTS, contacts_per_day=CONTACTS_PER_DAY, live_rate=0, seed=7)
    count = sum(1 for _ in _past(plan))
    sent = traffic.send(config, plan, count, stand.say)
    worker = stand.worker(config).start()
    stand.until(lambda: stand.applied(config) >= count, [worker], 0.1)
    stand.stop([worker])
    asyncio.run(_rest(config))
    asyncio.run(_publish(config))
    look = RedisLook(stand.client, config.namespace, PARTITIONS, [c.account_id for c in plan.companies()], 7)
    blocks, _ = look.blocks()
    found = Memory(
        events=count,
        event_bytes=sent.bytes_per_event,
        used_bytes=int(stand.client.info("memory")["used_memory"]) - empty,
        contacts=look.contacts(),
        chunks=look.chunks(),
        days=look.days(),
        blocks=blocks,
        documents=look.documents(),
    )
    stand.say(f"the demo's traffic takes {found.used_bytes / count:.1f} bytes an event")
    return found


def memory_table(memory: Memory) -> Table:
    """The table."""
    kinds: list[tuple[str, Kind]] = [
        ("contacts' states", memory.contacts),
        ("chunks of older entries", memory.chunks),
        ("days in shards, sealed", memory.days.sealed),
        ("days in shards, open", memory.days.unsealed),
        ("published days", memory.blocks),
        ("documents and manifests", memory.documents),
    ]
    rest = memory.used_bytes - sum(kind.bytes for _, kind in kinds)
    rows: list[list[Cell]] = [
        [name, kind.count, kind.each, kind.bytes / memory.events, kind.bytes / max(1, memory.contacts.count)]
        for name, kind in kinds
    ]
    rows.append(["everything else", None, None, rest / memory.events, rest / max(1, memory.contacts.count)])
    rows.append(
        ["all of it", None, None, memory.used_bytes / memory.events, memory.used_bytes / max(1, memory.contacts.count)]
    )
    rows.append(["all of it, with counters for every filter", None, None, BEFORE, None])
    return Table(
        f"The demo's traffic in Redis: {memory.events:,} events of {memory.event_bytes:.0f} bytes, {DAYS} days",
        ("", "count", "bytes each", "B/event", "B/contact"),
        rows,
    )


def _past(plan: Plan) -> Iterable[object]:
    for at_ms, event in simulate(plan):
        if at_ms > plan.now_ms:
            return
        yield event


async def _publish(config: Config) -> None:
    client, ends = connect(config), LogEnds(config)
    try:
        snapshotter = Snapshotter(client, config, ends)
        published = await snapshotter.publish(all_accounts=True)
        if len(published) < ACCOUNTS or snapshotter.failures:
            raise BenchError(f"{len(published)} of {ACCOUNTS} accounts were published: {snapshotter.failures}")
    finally:
        await ends.close()
        await client.aclose()


class _Feed:
    """As much of a `ShardFeed` as sealing looks at."""

    def __init__(self, shard: int, session: Session) -> None:
        self.shard, self.session = shard, session

    def lag(self) -> tuple[int, int]:
        """All is read."""
        return 0, 0


class _Ownership:
    """Tells what went wrong."""

    def failed(self, _: object, error: Exception) -> None:
        raise BenchError(f"sealing: {error}")


async def _rest(config: Config) -> None:
    """Seal and shrink as a worker does, until nothing changes any more."""
    client = connect(config)
    try:
        for shard in range(PARTITIONS):
            await _rest_shard(config, client, shard)
    finally:
        await client.aclose()


async def _rest_shard(config: Config, client: Client, shard: int) -> None:
    any_client: Any = client
    keys = NamespaceKeys(config.namespace).shard(shard)
    ledger = RedisLedger(client, keys, shard)
    claim = await ledger.claim()
    assert claim is not None
    session = Session(shard, ledger, claim, 0, 0)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    session.ages.saw(now_ms * 1000, now_ms * 1000)
    ahead_ms = now_ms + _MINUTES_AHEAD * 60_000
    ownership: Any = _Ownership()
    feed: Any = _Feed(shard, session)
    registry = CollectorRegistry()
    sealing = Sealing(ownership, client, WorkerMetrics(registry), config.lateness, lambda: ahead_ms)
    contacts = await any_client.hlen(keys.states)
    # Each look takes 64 days and some 200 contacts; twice as many looks as that needs.
    for _ in range(10 + max(await any_client.zcard(keys.open) // 32, contacts // 100)):
        await sealing.sweep(feed)
    for name in ("mediana_sealed_days_total", "mediana_shrunk_contacts_total"):
        if not registry.get_sample_value(name):
            raise BenchError(f"sealing did nothing: {name} is 0 (shard {shard})")
