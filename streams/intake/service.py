"""The intake: one Kafka consumer for all three topics, feeding batches of owned shards to the agents.

One task seeks, fetches and builds batches, so that nothing fetched before a seek lands after it. Claims run beside it
(`streams.intake.ownership`); agents hand back what became of a batch. Of aiokafka only the public surface is used;
what a fetch brings may come as a run (`streams.records.fetch`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from time import monotonic, time
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError, NoOffsetForPartitionError
from mode import Service

from schemas.topics import Topics
from streams.config import Config
from streams.errors import Fatal
from streams.intake.ownership import Ownership
from streams.intake.settings_feed import SettingsBatch, SettingsFeed
from streams.intake.shard_feed import ShardFeed
from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.records.columns import Run
from streams.shard.batch import Batch

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.02
"""How long to sleep when nothing was fetched and no agent has finished."""

HAND_OVER_SECONDS = 15.0
"""How long a stopping worker waits for batches under way."""

LOOK_SECONDS = 1.0
"""How often idle partitions are asked whether their position moved over records that are not ours to see."""

FETCH_BACKOFF_SECONDS = 1.0

Wanted = dict[TopicPartition, tuple[ShardFeed | SettingsFeed, object]]
"""Partitions to fetch, for whom, and under which session or epoch."""

Fetched = Mapping[TopicPartition, tuple[list[Run | ConsumerRecord], int]]
"""What came, and the consumer's position after it."""


class Intake(Service):
    """Reads the topics for the agents."""

    mundane_level = "debug"

    def __init__(
        self,
        config: Config,
        consumer: AIOKafkaConsumer,
        ownership: Ownership,
        send_batch: Callable[[Batch], Awaitable[None]],
        send_settings: Callable[[SettingsBatch], Awaitable[None]],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.ownership = ownership
        self._consumer = consumer
        self._topics = config.topics
        self._most_records = 2 * config.batch_events
        self._send_batch = send_batch
        self._send_settings = send_settings
        self._stopping = False
        self._looked_at = 0.0

    # --- life --------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Join the group; what follows comes from the rebalance listener."""
        topics = self._topics
        self._consumer.subscribe(
            [topics.contacts, topics.conversations, topics.accounts], listener=_Listener(self.ownership, topics)
        )

    async def on_stop(self) -> None:
        """Let batches under way finish, then leave the group, so that others take over at once."""
        self._stopping = True
        self.ownership.wake.set()
        sessions = [feed.session for feed in self.ownership.shards.values() if feed.session is not None]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(session.at_rest() for session in sessions)), HAND_OVER_SECONDS)
        await self.commit_offsets()
        await self.ownership.close()
        await self._consumer.stop()

    @Service.task
    async def _read(self) -> None:
        try:
            while not (self.should_stop or self._stopping):
                if not await self._read_once():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.ownership.wake.wait(), IDLE_SECONDS)
                    self.ownership.wake.clear()
        except Fatal as error:
            self.ownership.fail(str(error))
        except Exception as error:
            logger.exception("the intake failed")
            self.ownership.fail(f"the intake failed: {type(error).__name__}: {error}")

    # --- one round ---------------------------------------------------------------------------------------------------

    async def _read_once(self) -> bool:
        """Seek for new sessions, fetch for open gates, hand out batches. Whether anything was fetched."""
        wanted: Wanted = {}
        for feed in self._feeds():
            for partition, offset in feed.seeks().items():
                self._consumer.seek(partition, offset)
            epoch = _epoch(feed)
            for partition in feed.wanted():
                wanted[partition] = (feed, epoch)
        fetched = await self._fetch(wanted)
        for partition, (feed, _) in wanted.items():
            if isinstance(feed, ShardFeed) and partition in self._consumer.assignment():
                feed.see_end(partition, self._consumer.last_stable_offset(partition))
        await self._look_at_positions(wanted, fetched)
        batches = []
        for partition, (records, position) in fetched.items():
            feed, epoch = wanted[partition]
            # What was fetched for a session that a rebalance dropped meanwhile will be fetched again.
            if _epoch(feed) != epoch:
                continue
            if isinstance(feed, ShardFeed):
                feed.accept(partition, records, position)
            else:
                batches.append(feed.batch(records, position))
        for batch in batches:
            await self._send_settings(batch)
        for shard_feed in list(self.ownership.shards.values()):
            await self._hand_out(shard_feed)
        return bool(fetched)

    async def _fetch(self, wanted: Iterable[TopicPartition]) -> Fetched:
        assigned = self._consumer.assignment()
        ready = [partition for partition in wanted if partition in assigned]
        if not ready:  # to aiokafka, none would mean all
            return {}
        try:
            found = await self._consumer.getmany(*ready, timeout_ms=0, max_records=self._most_records)
            return {
                partition: (records, await self._consumer.position(partition)) for partition, records in found.items()
            }
        except NoOffsetForPartitionError:
            return {}  # noted by the consumer before we told it where to begin
        except KafkaError as error:
            # A position out of the log, or a topic that went away: the claim finds out and says so.
            logger.warning("fetching failed: %r", error)
            for feed in self._feeds():
                if isinstance(feed, SettingsFeed):
                    if feed.partition in ready:
                        self.ownership.drop_settings(feed)
                elif not set(feed.partitions).isdisjoint(ready):
                    self.ownership.drop(feed, "fetch")
            await asyncio.sleep(FETCH_BACKOFF_SECONDS)
            return {}

    async def _look_at_positions(self, wanted: Wanted, fetched: Container[TopicPartition]) -> None:
        """See whether positions moved on where nothing came: over aborted records and the marks of transactions.

        In the task that fetches, for a position ahead of records that are not yet accepted would lose them.
        """
        if monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = monotonic()
        for partition, (feed, epoch) in wanted.items():
            if partition in fetched or partition not in self._consumer.assignment() or _epoch(feed) != epoch:
                continue
            position = await self._consumer.position(partition)
            if _epoch(feed) != epoch:
                continue
            if isinstance(feed, ShardFeed):
                feed.accept(partition, [], position)
            elif position > (feed.start or 0):
                await self._send_settings(feed.batch([], position))

    def _feeds(self) -> list[ShardFeed | SettingsFeed]:
        return [*self.ownership.shards.values(), *self.ownership.settings.values()]

    async def _hand_out(self, feed: ShardFeed) -> None:
        batch = None if self._stopping else feed.next_batch(monotonic(), int(time() * 1000))
        if batch is not None:
            await self._send_batch(batch)

    # --- what agents report ------------------------------------------------------------------------------------------

    async def done(self, batch: Batch, error: Exception | None) -> None:
        """A batch was applied, or failed: go on, begin again, or stop."""
        session = batch.session
        session.rest()
        feed = self.ownership.shards.get(session.shard)
        if feed is None or feed.session is not session:
            return
        if error is not None:
            self.ownership.failed(feed, error)
            return
        feed.failures = 0
        feed.idle_since = monotonic()
        await self._hand_out(feed)
        self.ownership.wake.set()

    async def settings_done(self, batch: SettingsBatch, error: Exception | None) -> None:
        """A batch of settings was taken over, or failed."""
        feed = batch.feed
        feed.in_flight = False
        if feed.released or feed.epoch != batch.epoch:
            return
        if error is None:
            feed.start = batch.end
            self.ownership.wake.set()
        elif isinstance(error, Fatal):
            self.ownership.fail(str(error))
        else:
            logger.warning("%s; reading settings again", error)
            self.ownership.drop_settings(feed)

    async def commit_offsets(self) -> None:
        """Tell the group where the shards stand, for lag tools only: nothing here reads it back."""
        offsets: dict[TopicPartition, int] = {}
        for feed in self.ownership.shards.values():
            if feed.session is not None:
                offsets.update(zip(feed.partitions, feed.session.positions, strict=True))
        for settings in self.ownership.settings.values():
            if settings.open and settings.start is not None:
                offsets[settings.partition] = settings.start
        assigned = self._consumer.assignment()
        offsets = {partition: offset for partition, offset in offsets.items() if partition in assigned}
        if not offsets:
            return
        try:
            await asyncio.wait_for(self._consumer.commit(offsets), 5)
        except (KafkaError, TimeoutError) as error:
            logger.debug("group offsets were not committed: %r", error)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Drops and takes feeds at a rebalance. Never waits: the group is standing still meanwhile."""

    def __init__(self, ownership: Ownership, topics: Topics) -> None:
        self._ownership = ownership
        self._topics = topics

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - all of them, always
        self._ownership.released()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._ownership.released()
        owned: dict[str, set[int]] = {}
        for partition in assigned:
            owned.setdefault(partition.topic, set()).add(partition.partition)
        contacts = owned.get(self._topics.contacts, set())
        conversations = owned.get(self._topics.conversations, set())
        if contacts != conversations:
            self._ownership.fail(
                f"the group gave this worker partitions {sorted(contacts)} of {self._topics.contacts} but "
                f"{sorted(conversations)} of {self._topics.conversations}: every member of it must be a Mediana worker"
            )
            return
        shards = sorted(contacts)
        logger.info("shards of this worker: %s", ", ".join(map(str, shards)) or "none, others have all")
        self._ownership.assigned(shards, sorted(owned.get(self._topics.accounts, ())))


def _epoch(feed: ShardFeed | SettingsFeed) -> object:
    return feed.session if isinstance(feed, ShardFeed) else (feed.epoch, feed.open, feed.in_flight)
