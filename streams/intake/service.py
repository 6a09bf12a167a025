"""The intake: one Kafka consumer for all three topics, feeding batches of owned shards to the agents.

One task tells the consumer what to read and from where, fetches and builds batches, so that nothing fetched before a
seek lands after it. Claims run beside it (`streams.intake.ownership`), and so does the consumer group
(`streams.intake.membership`); agents hand back what became of a batch. What a fetch brings may come as a run
(`streams.kafka.fetch`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from time import monotonic, time
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from mode import Service

from streams.config import Config
from streams.errors import Fatal
from streams.intake.membership import LOOK_SECONDS as MEMBERSHIP_SECONDS
from streams.intake.membership import Membership
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
        membership: Membership,
        ownership: Ownership,
        send_batch: Callable[[Batch], Awaitable[None]],
        send_settings: Callable[[SettingsBatch], Awaitable[None]],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.ownership = ownership
        self._consumer = consumer
        self._membership = membership
        self._assigned: set[TopicPartition] = set()
        self._most_records = 2 * config.batch_events
        self._send_batch = send_batch
        self._send_settings = send_settings
        self._stopping = False
        self._looked_at = 0.0

    # --- life --------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Join the group; what follows comes from there."""
        self._membership.join()

    async def on_stop(self) -> None:
        """Let batches under way finish, then leave the group, so that others take over at once."""
        self._stopping = True
        self.ownership.wake.set()
        sessions = [feed.session for feed in self.ownership.shards.values() if feed.session is not None]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(session.at_rest() for session in sessions)), HAND_OVER_SECONDS)
        await self.commit_offsets()
        await self.ownership.close()
        await self._membership.leave()
        await self._consumer.stop()

    @Service.task
    async def _stay(self) -> None:
        while not (self.should_stop or self._stopping):
            await self._membership.look()
            await self.sleep(MEMBERSHIP_SECONDS)

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
        self._follow()
        for feed in self._feeds():
            for partition, offset in feed.seeks().items():
                self._consumer.seek(partition, offset)
                self._consumer.resume(partition)
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

    def _follow(self) -> None:
        """Let the consumer read what this worker has now: it loses all positions then, and goes on at the old ones."""
        feeds = self._feeds()
        now = {partition for feed in feeds for partition in feed.all_partitions}
        if now == self._assigned:
            return
        self._assigned = now
        if not now:  # to aiokafka, none would mean that it asks for all topics there are
            self._consumer.pause(*self._consumer.assignment())
            return
        self._consumer.assign(sorted(now))
        for feed in feeds:
            places = feed.places()
            for partition in feed.all_partitions:
                # Never without a position, or aiokafka would look for one itself.
                self._consumer.seek(partition, places.get(partition, 0))
                if partition not in places:
                    self._consumer.pause(partition)

    async def _fetch(self, wanted: Iterable[TopicPartition]) -> Fetched:
        assigned = self._consumer.assignment()
        ready = [partition for partition in wanted if partition in assigned]
        if not ready:  # to aiokafka, none would mean all
            return {}
        try:
            found = await self._consumer.getmany(*ready, timeout_ms=0, max_records=self._most_records)
            fetched = {
                partition: (records, await self._consumer.position(partition)) for partition, records in found.items()
            }
        except KafkaError as error:
            # A position out of the log, or a topic that went away: the claim finds out and says so.
            self.ownership.outage.failed(f"fetching failed: {error!r}", "fetch")
            for feed in self._feeds():
                if isinstance(feed, SettingsFeed):
                    if feed.partition in ready:
                        self.ownership.drop_settings(feed)
                elif not set(feed.partitions).isdisjoint(ready):
                    self.ownership.drop(feed, "fetch")
            await asyncio.sleep(FETCH_BACKOFF_SECONDS)
            return {}
        self.ownership.outage.answered("fetch")
        return fetched

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
        self.ownership.outage.answered(session.shard)
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
            self.ownership.outage.answered(feed.partition)
            feed.failures = 0
            self.ownership.wake.set()
        elif isinstance(error, Fatal):
            self.ownership.fail(str(error))
        else:
            self.ownership.outage.failed(f"{error}; reading settings again", feed.partition)
            feed.failures += 1
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
        await self._membership.commit(offsets)


def _epoch(feed: ShardFeed | SettingsFeed) -> object:
    return feed.session if isinstance(feed, ShardFeed) else (feed.epoch, feed.open, feed.in_flight)
