"""A log, a Redis and workers in memory, run step by step: any of them can be stopped between any two steps.

The workers are the program's own claims, feeds, batches and ledger; only their clients are fakes. A step is what
happens between two points at which a real worker would wait for a server.
"""

import random
import secrets
import types
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from schemas.accounts import decode_settings, encode_settings
from schemas.errors import InvalidEvent
from schemas.events import decode_event
from streams.config import Config
from streams.errors import SessionLost, Unavailable
from streams.intake.claims import Claims
from streams.intake.shard_feed import ShardFeed
from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.kafka.dead_letters import DeadLetter, DeadLetterLimit
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Positions, RedisLedger
from streams.redis.settings_store import RulesStore
from streams.shard.batch import Batch, BatchProcessor, Budget
from streams.worker.sealing import Sealing
from tests.support.fake_redis import FakeRedis, no_hook
from tests.support.shard_facts import Facts, OneByOne, contradictions, shard_facts

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
CONTACTS = TopicPartition("mediana.contacts", 0)
CONVERSATIONS = TopicPartition("mediana.conversations", 0)
PARTITIONS = (CONTACTS, CONVERSATIONS)
STAMP_MS = 1_780_000_000_000

CONFIG = Config(batch_events=5, cache_contacts=3, cache_days=2)
"""Small batches for many steps; caches smaller than a batch's needs, so that they are seen not to matter."""


def _no_clock() -> int:
    """Sequence numbers that only count. With the clock in them two workers' numbers hardly ever meet, and the guards
    that must hold without it would seem to.
    """
    return 0


_METRICS = WorkerMetrics(CollectorRegistry())


@types.coroutine
def step() -> Generator[None, None, None]:
    """A point at which a worker waits, and may be stopped for good."""
    yield


class World:
    """One shard's log and Redis."""

    def __init__(self, contacts: int) -> None:
        lines = (GOLDEN / "events.jsonl").read_bytes().splitlines()
        chosen = sorted({decode_event(line).contact_id for line in lines})[:contacts]
        self.lines = [line for line in lines if decode_event(line).contact_id in chosen]
        self.accounts = (GOLDEN / "accounts.jsonl").read_bytes().splitlines()
        self.log: dict[TopicPartition, list[ConsumerRecord]] = {partition: [] for partition in PARTITIONS}
        for place, line in enumerate(self.lines):
            event = decode_event(line)
            self._append(CONTACTS if event.topic == "contacts" else CONVERSATIONS, event.contact_id.encode(), line)
            if place % 9 == 4:
                self._append(CONVERSATIONS, b"nobody", b'{"not": "an event"}')
        self.redis = FakeRedis()
        self.keys = NamespaceKeys("chaos")
        self.letters: dict[bytes, DeadLetter] = {}
        self.lost = 0
        """How often a session was refused: a guard that never acts was not tested."""
        self.rebalances = random.Random(0)
        self.seals = random.Random(0)
        self.sealed_share = 0.3
        """After so many batches of one, what rests is made small."""
        self.lost_share = 0.05
        """So many fetches of one are lost in a rebalance."""
        self.rebalanced = 0
        """How often a fetch was lost because the consumer was given other partitions, while this shard was kept."""
        for line in self.accounts:
            settings = decode_settings(line)
            self.redis.hash(self.keys.settings)[settings.account_id.encode()] = line
        run(RedisLedger(self.redis, self.keys.shard(0), 0, now_ms=_no_clock).create(Positions(0, 0)))  # type: ignore[arg-type]

    def _append(self, partition: TopicPartition, key: bytes, value: bytes) -> None:
        log = self.log[partition]
        # Offsets with holes, as transactions leave them.
        offset = log[-1].offset + 1 + len(log) % 2 if log else 0
        log.append(ConsumerRecord(*partition, offset, STAMP_MS, 0, key, value, None, len(key), len(value), ()))

    def end(self, partition: TopicPartition) -> int:
        """Where a log ends: behind the mark of a transaction."""
        last: int = self.log[partition][-1].offset
        return last + 2

    def expected(self) -> Facts:
        """The facts of an undisturbed fold."""
        alone = OneByOne(map(decode_settings, self.accounts), CONFIG.lateness)
        for line in self.lines:
            alone.fold(decode_event(line))
        return alone.facts

    def facts(self) -> Facts:
        """The facts in Redis; each day's totals are held to them."""
        return shard_facts(self.redis.data, self.keys.shard(0))

    def is_right(self) -> bool:
        """Whether everything is applied exactly once, and every bad record is among the dead letters."""
        ledger = self.redis.data[self.keys.shard(0).ledger]
        bad = {b"mediana.conversations/0/%d" % r.offset for r in self.log[CONVERSATIONS] if _is_bad(r.value)}
        at_end = [int(ledger[name]) for name in (b"contacts", b"conversations")] == [self.end(p) for p in PARTITIONS]
        return at_end and self.facts() == self.expected() and set(self.letters) == bad

    def contradictions(self) -> list[str]:
        """Where the facts are not what the states say they made, each answer as it was counted."""
        accounts = {event.contact_id: event.account_id for event in map(decode_event, self.lines)}
        return contradictions(self.redis.data, self.keys.shard(0), accounts)

    def change_settings(self, channels: tuple[str, ...]) -> None:
        """Let other channels be effective in every account."""
        for line in self.accounts:
            settings = decode_settings(line)
            changed = encode_settings(msgspec.structs.replace(settings, effective_channels=channels))
            self.redis.hash(self.keys.settings)[settings.account_id.encode()] = changed
        self.redis.hash(self.keys.settings_log)[b"version"] = secrets.token_bytes(8)

    # --- what the program's parts see of it -----------------------------------------------------------------------

    async def beginning_offsets(self, partitions: tuple[TopicPartition, ...]) -> dict[TopicPartition, int]:
        await step()
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: tuple[TopicPartition, ...]) -> dict[TopicPartition, int]:
        await step()
        return {partition: self.end(partition) for partition in partitions}

    async def write(self, letters: list[DeadLetter]) -> None:
        await step()
        for letter in letters:
            self.letters[letter.key] = letter
        await step()

    def fetch(self, partition: TopicPartition, position: int) -> tuple[list[ConsumerRecord], int]:
        """The next three records, and where the consumer stands after them."""
        log = self.log[partition]
        found = [record for record in log if record.offset >= position][:3]
        at_end = not found or found[-1] is log[-1]
        return found, self.end(partition) if at_end else found[-1].offset + 1


class Disturbances:
    """A hook that loses some replies and requests, by a seed."""

    def __init__(self, seed: random.Random, share: float) -> None:
        self._random = seed
        self._share = share

    async def __call__(self, command: str, moment: str) -> None:
        await step()
        if self._random.random() < self._share:
            raise ConnectionResetError(f"{command}: cut {moment}")


async def stepwise(command: str, moment: str) -> None:  # noqa: ARG001
    """A hook that only makes each command two steps."""
    await step()


Passing = Callable[[Batch], Batch | None]
"""What becomes of a batch on its way to the agent: nothing, when the agent that took it raised and told nobody."""


def as_it_is(batch: Batch) -> Batch:
    """Nothing happens to it."""
    return batch


async def work(world: World, hook: Any = stepwise, passing: Passing = as_it_is, budget: Budget | None = None) -> None:
    """A worker with the shard to itself or not, until it has applied the whole log."""
    client: Any = world.redis.sharing(hook)
    log: Any = world
    rules = RulesStore(client, world.keys, 10)
    limit = DeadLetterLimit(1, 100, 0)
    processor = BatchProcessor(rules, log, limit, _METRICS, CONFIG.lateness, budget=budget)
    sealing = Sealing(_Ownership(), client, _METRICS, CONFIG.lateness, now_ms=_long_after)  # type: ignore[arg-type]
    claims = Claims(CONFIG, log, lambda shard: RedisLedger(client, world.keys.shard(shard), shard, now_ms=_no_clock))
    feed = ShardFeed(0, PARTITIONS, CONFIG.batch_events, CONFIG.batch_bytes)
    while True:
        try:
            if await _session(world, feed, claims, processor, sealing, passing):
                return
        except (SessionLost, Unavailable) as error:
            world.lost += isinstance(error, SessionLost)
            feed.drop()


class _Ownership:
    """What sealing needs of one."""

    def failed(self, feed: ShardFeed, error: Exception) -> None:  # noqa: ARG002
        """The session ends, as with a batch that fails."""
        raise error


def _long_after() -> int:
    """When every day has been at rest for long: sequence numbers only count here."""
    return STAMP_MS


async def _session(
    world: World,
    feed: ShardFeed,
    claims: Claims,
    processor: BatchProcessor,
    sealing: Sealing,
    passing: Passing,
) -> bool:
    await claims.claim(feed)
    session = feed.session
    assert session is not None
    positions = feed.seeks()
    while True:
        lost = False
        for partition in feed.wanted():
            records, position = world.fetch(partition, positions[partition])
            if world.rebalances.random() < world.lost_share:
                world.rebalanced += 1
                positions, lost = feed.places(), True
                continue
            positions[partition] = position
            feed.accept(partition, records, position)
        batch = feed.next_batch(0.0, STAMP_MS + 60_000)
        if batch is None and lost:
            continue
        if batch is None:
            await session.verify()
            if world.sealed_share:
                await sealing.sweep(feed)
            return True
        passed = passing(batch)
        try:
            if passed is not None:
                await processor.apply(passed)
        finally:
            session.rest()
        if world.seals.random() < world.sealed_share:
            await sealing.sweep(feed)


def run(coroutine: Coroutine[Any, Any, Any]) -> int:
    """Run to the end; the number of steps."""
    steps = 0
    while advance(coroutine):
        steps += 1
    return steps


def advance(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """One step; whether there are more."""
    try:
        coroutine.send(None)
    except StopIteration:
        return False
    return True


def _is_bad(value: bytes | None) -> bool:
    try:
        decode_event(value or b"")
    except InvalidEvent:
        return True
    return False


__all__ = ["Disturbances", "World", "advance", "as_it_is", "no_hook", "run", "step", "stepwise", "work"]
