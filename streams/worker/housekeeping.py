"""Periodic checks of a worker beside folding, and its gauges."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from mode import Service
from redis.exceptions import RedisClusterException, RedisError

from streams.errors import SessionLost, Unavailable
from streams.intake.service import Intake
from streams.intake.shard_feed import ShardFeed
from streams.kafka.clients import EVENT_TOPICS, TopicPartition
from streams.monitoring.catalogue import WorkerMetrics
from streams.outage import Outage
from streams.redis.clients import Client

logger = logging.getLogger(__name__)

EVERY_SECONDS = 5.0


class Housekeeping(Service):
    """Verifies sessions, idle ones too; commits group offsets for lag tools; measures lag; watches for a standstill."""

    mundane_level = "debug"

    def __init__(
        self,
        intake: Intake,
        consumer: AIOKafkaConsumer,
        client: Client,
        metrics: WorkerMetrics,
        watchdog_seconds: float,
        fail: Callable[[str], None],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._intake = intake
        self._consumer = consumer
        self._client = client
        self._metrics = metrics
        self._watchdog_seconds = watchdog_seconds
        self._fail = fail
        self.kafka_answers = True
        """Whether it did when it was last asked."""
        self._kafka = Outage("Kafka", logger)

    @Service.task
    async def _keep(self) -> None:
        while not self.should_stop:
            try:
                await self.keep_once()
            except asyncio.CancelledError:
                raise
            except Exception:
                # Nothing here may end a worker that folds; what is wrong shows where it matters.
                logger.exception("housekeeping")
            await self.sleep(EVERY_SECONDS)

    async def keep_once(self) -> None:
        """One round."""
        feeds = list(self._intake.ownership.shards.values())
        await asyncio.gather(*(self._verify(feed) for feed in feeds))
        with contextlib.suppress(Unavailable):  # the shards have said so
            await self._intake.ownership.verify_settings()
        await self._intake.commit_offsets()
        await self._measure(feeds)
        await self._watch(feeds)

    async def _verify(self, feed: ShardFeed) -> None:
        session = feed.session
        if session is None:
            return
        try:
            await session.verify()
            self._intake.ownership.outage.answered(feed.shard)
        except (SessionLost, Unavailable) as error:
            if feed.session is session:
                self._intake.ownership.failed(feed, error)

    async def _measure(self, feeds: list[ShardFeed]) -> None:
        partitions = [partition for feed in feeds for partition in feed.partitions]
        ends: dict[TopicPartition, int] = {}
        if partitions:
            try:
                ends = await asyncio.wait_for(self._consumer.end_offsets(partitions), EVERY_SECONDS)
                self.kafka_answers = True
                self._kafka.answered()
            except (KafkaError, TimeoutError) as error:
                self.kafka_answers = False
                self._kafka.failed(f"Kafka does not say where its logs end: {error!r}")
        metrics = self._metrics
        metrics.lag.clear()
        for feed in feeds:
            for topic, partition in enumerate(feed.partitions):
                feed.ends[topic] = max(feed.ends[topic], ends.get(partition, 0))
            for name, lag in zip(EVENT_TOPICS, feed.lag(), strict=True):
                metrics.lag.labels(name, str(feed.shard)).set(lag)
        sessions = [feed.session for feed in feeds if feed.session is not None]
        metrics.shards.labels("owned").set(len(feeds))
        metrics.shards.labels("open").set(len(sessions))
        metrics.shards.labels("stopped").set(sum(feed.stopped for feed in feeds))
        metrics.cached_contacts.set(sum(len(session.states) for session in sessions))
        metrics.cached_counters.set(sum(len(session.days) for session in sessions))

    async def _watch(self, feeds: list[ShardFeed]) -> None:
        """End a worker that has work, and servers that answer, and yet gets nowhere: a restart may help it."""
        now = monotonic()
        stuck = []
        for feed in feeds:
            if feed.stopped or not any(feed.lag()):
                feed.idle_since = now
            elif now - feed.idle_since > self._watchdog_seconds:
                stuck.append(feed)
        if not stuck:
            return
        try:
            await self._client.ping()
            await asyncio.wait_for(self._consumer.end_offsets(stuck[0].partitions), EVERY_SECONDS)
        except (RedisError, RedisClusterException, KafkaError, OSError, TimeoutError):
            for feed in stuck:
                feed.idle_since = now
            return
        shards = ", ".join(str(feed.shard) for feed in stuck)
        self._fail(
            f"nothing committed for {self._watchdog_seconds:.0f} s, though shards {shards} have work: restart me"
        )
