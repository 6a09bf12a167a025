"""`mediana rebuild`: computes everything again from the topics, in a new namespace.

Makes the new namespace at the beginning of the log, lets workers of its own read until they are up with the log,
publishes, and compares both. Nothing of the present namespace is touched, so it may go on meanwhile; which one is used
is a setting of whoever uses it. A rebuild that was interrupted goes on where it was.
"""

import asyncio
import dataclasses
import logging
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from msgspec import Struct
from redis.exceptions import RedisClusterException, RedisError

from aggregates.report import instant_text
from streams.cli.compare import Comparison, Side, compare
from streams.cli.rebuild_workers import RebuildWorkers
from streams.config import MAIN_NAMESPACE, Config
from streams.errors import Fatal, Unavailable
from streams.kafka.clients import TopicPartition, client_options
from streams.kafka.log_end import LogEnds
from streams.kafka.log_start import complete_from
from streams.logs import shown
from streams.outage import Outage
from streams.redis.clients import Client, connect
from streams.redis.keys import NamespaceKeys
from streams.redis.shard_reader import ShardReader
from streams.snapshots.snapshotter import Snapshotter
from streams.worker.startup import Partitions, check_redis, find_partitions, open_namespace

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
SAY_EVERY_SECONDS = 5.0
SETTLED_SECONDS = 5.0
"""The log goes on meanwhile. The workers are up with it when they reached an end within so long of its being asked."""

_AWAY = (KafkaError, RedisError, RedisClusterException, OSError)


class Plan(Struct, frozen=True, kw_only=True):
    """Where to, with how many workers, and whether a log without its beginning will do."""

    into: str
    workers: int = 1
    accept_gap: bool = False


class Missing(Struct, frozen=True):
    """The beginning of a partition that Kafka has no more."""

    topic: str
    partition: int
    first_offset: int
    since: str
    """What was sent from this instant on is there."""


class Rebuilt(Struct, frozen=True):
    """What was done; printed as JSON."""

    namespace: str
    records: int
    seconds: float
    missing: list[Missing]
    complete_from: str | None
    """From when on the log has everything that was sent; `None` when nothing is missing."""
    published: dict[str, bool]
    """Account → whether its report is complete."""
    comparison: Comparison | None
    """`None` when there is no other namespace to compare with."""


class _Mark:
    """What a rebuild leaves in its namespace while it is at work: who begins one again must know it from others."""

    def __init__(self, redis: Any, namespace: str) -> None:
        self._redis = redis
        self._key = NamespaceKeys(namespace).rebuild

    async def unfinished(self) -> bool:
        """Whether a rebuild into this namespace was begun and not ended."""
        return bool(await self._redis.exists(self._key))

    async def begin(self, old: str) -> None:
        """A rebuild is at work from here on."""
        await self._redis.hset(self._key, mapping={"from": old, "begun_at": int(time.time() * 1000)})

    async def end(self) -> None:
        """The namespace is one like others."""
        await self._redis.delete(self._key)


class _LogBegins:
    """In place of a consumer that is asked where the log begins: where it once began.

    What is there no more is then a gap, which workers refuse or mark for good, and not the beginning of the history.
    """

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)


def run(config: Config, plan: Plan, environ: Mapping[str, str]) -> int:
    """Rebuild, print what came of it as JSON, and return the exit status.

    Raises `Fatal` for what a person must decide or mend, `ConfigError` for a name that is none.
    """
    try:
        rebuilt = asyncio.run(_until_told_to_stop(config, plan, environ))
    except asyncio.CancelledError:
        raise Fatal("the rebuild was stopped; the same command goes on where it was") from None
    sys.stdout.write(orjson.dumps(msgspec.to_builtins(rebuilt), option=orjson.OPT_INDENT_2).decode() + "\n")
    _say(how_to_switch(config.namespace, plan.into))
    return 0


async def _until_told_to_stop(config: Config, plan: Plan, environ: Mapping[str, str]) -> Rebuilt:
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does: workers are stopped on the way out, and the next rebuild goes on where this one was.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await _rebuild(config, plan, environ)


async def _rebuild(config: Config, plan: Plan, environ: Mapping[str, str]) -> Rebuilt:
    if plan.into == config.namespace:
        raise Fatal(f"namespace {plan.into!r} is the one in use (MEDIANA_NAMESPACE): rebuild into another one")
    # A group that never read: this namespace is made on purpose, whoever may have had its name before.
    group = f"{config.group or 'mediana'}-rebuild-{plan.into}-{secrets.token_hex(4)}"
    new = dataclasses.replace(config, namespace=plan.into, group=group, accept_gap=config.accept_gap or plan.accept_gap)
    async with AsyncExitStack() as stack:
        redis = connect(new)
        stack.push_async_callback(redis.aclose)
        ends = LogEnds(new)
        stack.push_async_callback(ends.close)
        await check_redis(redis)
        partitions = await find_partitions(new)
        missing = await _missing(new, partitions.events)
        if missing and not new.accept_gap:
            raise Fatal(without_its_beginning(missing, plan.into))
        await _open(new, redis, partitions, config.namespace)
        started = time.monotonic()
        workers = RebuildWorkers(new, environ, plan.workers)
        stack.push_async_callback(workers.stop)
        await workers.start()
        records = await _CatchUp(redis, new, ends, partitions.events, workers).wait()
        published = await Snapshotter(redis, new, ends).publish(all_accounts=True)
        comparison = await _compared(redis, config.namespace, plan.into)
        await _Mark(redis, plan.into).end()
        return Rebuilt(
            namespace=plan.into,
            records=records,
            seconds=round(time.monotonic() - started, 1),
            missing=missing,
            complete_from=max((one.since for one in missing), default=None),
            published={done.account_id: done.manifest.complete for done in published},
            comparison=comparison,
        )


# --- the log and the namespace ----------------------------------------------------------------------------------------


async def _missing(config: Config, partitions: int) -> list[Missing]:
    """Which partitions of the event topics have lost their beginning."""
    topics = config.topics
    asked = [TopicPartition(topic, n) for topic in (topics.contacts, topics.conversations) for n in range(partitions)]
    consumer = AIOKafkaConsumer(**client_options(config), client_id="mediana-rebuild")
    await consumer.start()
    try:
        begins = await consumer.beginning_offsets(asked)
    finally:
        await consumer.stop()
    since = await complete_from(config, {partition: begins[partition] for partition in asked if begins[partition] > 0})
    return [
        Missing(partition.topic, partition.partition, begins[partition], instant_text(since_ms) or "")
        for partition, since_ms in since.items()
    ]


def without_its_beginning(missing: list[Missing], into: str) -> str:
    """Why such a log needs a person's word, and from when a rebuild would have everything."""
    begins = ", ".join(f"{one.topic} partition {one.partition} begins at offset {one.first_offset}" for one in missing)
    since = max(one.since for one in missing)
    return (
        f"Kafka no longer has the beginning of the log: {begins}. A rebuild would have everything that was sent "
        f"from {since} on; its reports would say complete: false for good, and complete_from: that instant. If that "
        f"will do: mediana rebuild --into {into} --accept-gap"
    )


async def _open(config: Config, redis: Client, partitions: Partitions, old: str) -> None:
    mark = _Mark(redis, config.namespace)
    keys = NamespaceKeys(config.namespace)
    there: Any = redis.exists(keys.meta)  # redis-py's hints do not say that it is awaited
    if await there:
        if not await mark.unfinished():
            raise Fatal(
                f"namespace {config.namespace!r} is there already: choose another one, or delete it first with "
                f"'mediana namespace drop {config.namespace} --yes'"
            )
        _say(f"going on with the rebuild of {config.namespace} that was begun before")
    else:
        await mark.begin(old)
    await open_namespace(config, redis, _LogBegins(), partitions)


# --- catching up -----------------------------------------------------------------------------------------------------


class _CatchUp:
    """Waits until the workers are up with the log, and says how far they are."""

    def __init__(self, redis: Client, config: Config, ends: LogEnds, partitions: int, workers: RebuildWorkers) -> None:
        keys = NamespaceKeys(config.namespace)
        self._shards = [ShardReader(redis, keys, shard) for shard in range(partitions)]
        self._ends = ends
        self._workers = workers
        self._said = 0.0
        self._outage = Outage("the rebuild waits", logger)

    async def wait(self) -> int:
        """How many records the log had when they were. Raises `Fatal` when a worker ends."""
        while True:
            asked = time.monotonic()
            ends = await self._asked_ends()
            total = sum(sum(pair) for pair in ends.values())
            while (behind := await self._behind(ends)) != 0:
                self._workers.check()
                if behind is not None and time.monotonic() - self._said >= SAY_EVERY_SECONDS:
                    self._said = time.monotonic()
                    _say(f"{total - behind:,} of {total:,} records")
                await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() - asked <= SETTLED_SECONDS:
                _say(f"{total:,} of {total:,} records")
                return total

    async def _asked_ends(self) -> dict[int, tuple[int, int]]:
        while True:
            try:
                ends = await self._ends.read(len(self._shards))
                self._outage.answered("Kafka")
                return ends
            except _AWAY as error:
                self._outage.failed(f"Kafka does not answer, waiting: {error or type(error).__name__}", "Kafka")
            self._workers.check()
            await asyncio.sleep(SAY_EVERY_SECONDS)

    async def _behind(self, ends: Mapping[int, tuple[int, int]]) -> int | None:
        """Records up to those ends that are yet to be read; `None` while Redis does not say."""
        try:
            states = [await shard.state() for shard in self._shards]
        except _AWAY as error:
            self._outage.failed(f"Redis does not answer, waiting: {error or type(error).__name__}", "Redis")
            return None
        self._outage.answered("Redis")
        behind = 0
        for state in states:
            contacts, conversations = ends[state.shard]
            behind += max(0, contacts - (state.contacts or 0)) + max(0, conversations - (state.conversations or 0))
        return behind


# --- both namespaces --------------------------------------------------------------------------------------------------


async def _compared(redis: Client, old: str, new: str) -> Comparison | None:
    sides = Side(redis, old), Side(redis, new)
    if not await sides[0].open():
        _say(f"namespace {old} is empty: nothing to compare with")
        return None
    if not await sides[1].open():
        raise Unavailable(f"namespace {new!r} has vanished from Redis")
    return await compare(*sides)


def how_to_switch(old: str, new: str) -> str:
    """What is to be done so that the new namespace takes the old one's place."""
    key = "mediana:{ACCOUNT}:report" if new == MAIN_NAMESPACE else f"{new}:mediana:{{ACCOUNT}}:report"
    return (
        f"to switch: set MEDIANA_NAMESPACE={new} for workers, snapshotter and pages, and start them again; programs "
        f"that read Redis themselves find reports under {key}. Then delete the old one: mediana namespace drop {old} "
        "--yes"
    )


def _say(text: str) -> None:
    print(shown(f"rebuild: {text}"), file=sys.stderr, flush=True)
