"""The shards and settings partitions that this worker owns, and their state: claimed, dropped, stopped.

A rebalance stops nothing that stays: until the group has decided, every shard goes on, for the claim token in Redis
refuses a worker whose shard another one has claimed. Then what went elsewhere is dropped, and what is new is claimed.
Claims run in tasks of their own, one per shard, wait between tries, and wait while the group decides. Every error of a
shard ends up in `failed`, which decides by its kind.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from streams.config import Config
from streams.errors import EngineError, Fatal, SessionLost, ShardStopped, Unavailable
from streams.intake.claims import Claims
from streams.intake.settings_feed import SettingsFeed
from streams.intake.shard_feed import ShardFeed
from streams.kafka.clients import TopicPartition
from streams.monitoring.catalogue import Cause, WorkerMetrics
from streams.outage import Outage
from streams.redis.ledger import Positions
from streams.redis.settings_store import RulesStore
from streams.shard.pace import Pace

logger = logging.getLogger(__name__)

LONGEST_BACKOFF_SECONDS = 5.0

UNFORESEEN_TRIES = 5
"""How often a batch may fail for a reason that nobody foresaw; by then, seconds later, it is no accident."""

SETTINGS_PATIENCE_SECONDS = 5.0
SETTINGS_POLL_SECONDS = 0.02
"""How long, and how often, it is asked whether an unknown account's settings have arrived."""


class Ownership:
    """The feeds of one worker. `wake` is set whenever the intake may have something to do."""

    def __init__(
        self,
        config: Config,
        consumer: AIOKafkaConsumer,
        claims: Claims,
        rules: RulesStore,
        metrics: WorkerMetrics,
        fail: Callable[[str], None],
    ) -> None:
        self.shards: dict[int, ShardFeed] = {}
        self.settings: dict[int, SettingsFeed] = {}
        self.joined = False
        """Whether the group has given this worker its share, be it none, and is not about to give it another."""
        self._decided = asyncio.Event()
        self.wake = asyncio.Event()
        self.fail = fail
        self.outage = Outage("Redis or Kafka", logger)
        """Told of everything that fails, and succeeds, because a server does or does not answer."""
        self._topics = config.topics
        # An event sent this long after it happened is history: overtaken, it could come too late.
        self._limits = (config.batch_events, config.batch_bytes, config.lateness.conversation_us // 2000)
        self._consumer = consumer
        self._claims = claims
        self._rules = rules
        self._metrics = metrics
        self._paces: dict[int, Pace] = {}
        """Of every shard this worker ever had; a shard that comes back is not forgotten to be a heavy one."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._unforeseen: dict[int, tuple[Positions, int]] = {}
        """Per shard, where it stood at its last unforeseen failure, and how many there were at that place."""

    # --- the group's word --------------------------------------------------------------------------------------------

    def revoked(self) -> None:
        """The group is about to decide anew: what this worker has is in doubt, and goes on meanwhile. Does not wait.

        Nothing is claimed until then, or a shard could be taken from the worker that the group gave it to.
        """
        self.joined = False
        self._decided.clear()

    def assigned(self, shards: Iterable[int], settings: Iterable[int]) -> None:
        """The group gave this worker these shards and these partitions of the accounts topic. Does not wait."""
        shards, settings = list(shards), list(settings)
        now = asyncio.get_running_loop().time()
        for shard in self.shards.keys() - set(shards):
            self._release(self.shards.pop(shard))
        for partition in self.settings.keys() - set(settings):
            gone = self.settings.pop(partition)
            gone.released = True
            gone.drop()
        for shard in shards:
            if shard in self.shards:
                continue
            partitions = (
                TopicPartition(self._topics.contacts, shard),
                TopicPartition(self._topics.conversations, shard),
            )
            pace = self._paces.setdefault(shard, Pace(shard, self._limits[0]))
            feed = self.shards[shard] = ShardFeed(shard, partitions, *self._limits, pace)
            feed.idle_since = now
            self._start(self._claim(feed))
        for partition in settings:
            if partition in self.settings:
                continue
            opened = self.settings[partition] = SettingsFeed(TopicPartition(self._topics.accounts, partition))
            self._start(self._open_settings(opened))
        self.joined = True
        self._decided.set()
        self.wake.set()

    def _release(self, feed: ShardFeed) -> None:
        feed.released = True
        self.outage.gave_up(feed.shard)
        self._drop(feed, "rebalance")

    async def close(self) -> None:
        """No more claims."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    def failed(self, feed: ShardFeed, error: Exception) -> None:
        """Do what an error of a shard asks for: claim again, stop the shard, or end the worker."""
        if isinstance(error, SessionLost):
            logger.info("%s; claiming again", error)
            feed.failures += 1
            self.drop(feed, "lost")
        elif isinstance(error, Unavailable):
            self.outage.failed(f"{error}; claiming again", feed.shard)
            feed.failures += 1
            self.drop(feed, "unavailable")
        elif isinstance(error, Fatal):
            self.fail(str(error))
        elif not isinstance(error, ShardStopped) and self._may_try_again(feed):
            logger.error("shard %d: unforeseen; claiming again", feed.shard, exc_info=error)
            feed.failures += 1
            self.drop(feed, "unforeseen")
        else:
            self._stop_shard(feed, error)

    def _may_try_again(self, feed: ShardFeed) -> bool:
        """Whether a batch may fail again where the shard stands, for a reason that nobody foresaw."""
        if feed.session is None:
            return False
        here = feed.session.positions
        place, times = self._unforeseen.get(feed.shard, (here, 0))
        times = times + 1 if place == here else 1
        self._unforeseen[feed.shard] = here, times
        return times < UNFORESEEN_TRIES

    def drop(self, feed: ShardFeed, cause: Cause) -> None:
        """End a shard's session, if it has one, and claim it again."""
        # Refused while the group decides: another worker has it already.
        taken = cause == "lost" and not self.joined
        if self._drop(feed, "rebalance" if taken else cause):
            self._start(self._claim(feed))

    def _drop(self, feed: ShardFeed, cause: Cause) -> bool:
        """End a shard's session; whether it had one."""
        session = feed.session
        if session is None:
            return False
        if session.in_flight:
            self._metrics.batches_cut.labels("session").inc()
        feed.drop()
        self._metrics.sessions_dropped.labels(cause).inc()
        return True

    def drop_settings(self, feed: SettingsFeed) -> None:
        """Read a partition's settings again from where the store stands."""
        feed.drop()
        self._start(self._open_settings(feed))

    def _stop_shard(self, feed: ShardFeed, error: Exception) -> None:
        feed.stopped = True
        feed.drop()
        foreseen = isinstance(error, ShardStopped)
        logger.error(
            "shard %d is stopped until a person has looked at it: %s", feed.shard, error if foreseen else repr(error)
        )
        if all(other.stopped for other in self.shards.values()):
            self.fail(f"every shard of this worker is stopped; the last one: {error}")

    # --- claims ------------------------------------------------------------------------------------------------------

    async def _claim(self, feed: ShardFeed) -> None:
        while not (feed.released or feed.stopped):
            await asyncio.sleep(_backoff(feed.failures))
            await self._decided.wait()
            if self.shards.get(feed.shard) is not feed:
                return
            try:
                await self._claims.claim(feed, self._await_settings)
            except (SessionLost, Unavailable) as error:
                feed.failures += 1
                self.outage.failed(f"claiming shard {feed.shard}: {error}", feed.shard)
            except EngineError as error:
                if not feed.released:
                    self.failed(feed, error)
                return
            else:
                self._metrics.claims.inc()
                self.outage.answered(feed.shard)
                self.wake.set()
                return

    async def _open_settings(self, feed: SettingsFeed) -> None:
        while not feed.released:
            await asyncio.sleep(_backoff(feed.failures))
            await self._decided.wait()
            if self.settings.get(feed.partition.partition) is not feed:
                return
            try:
                start = await self._rules.position(feed.partition.partition)
                begin = (await self._consumer.beginning_offsets([feed.partition]))[feed.partition]
                end = (await self._consumer.end_offsets([feed.partition]))[feed.partition]
            except (Unavailable, KafkaError) as error:
                feed.failures += 1
                self.outage.failed(f"opening the accounts topic: {error}", feed.partition)
            else:
                self.outage.answered(feed.partition)
                # Settings are whole and absolute: where a position means nothing any more, all of them are read again.
                feed.offer(start, begin if start is None or not begin <= start <= end else start)
                self.wake.set()
                return

    async def _await_settings(self, feed: ShardFeed) -> None:
        """Wait until all settings sent before this claim are in Redis, whoever puts them there.

        At a start they may never have been read; later, Redis may have gone back to before some of them. Raises
        `Unavailable`.
        """
        try:
            ends = await self._settings_ends()
        except KafkaError as error:
            raise Unavailable(f"settings: Kafka: {error!r}") from error
        while not feed.released:
            positions = await self._rules.positions(ends)
            if all(positions[partition] >= end for partition, end in ends.items()):
                return
            self._compare_settings(positions)
            await asyncio.sleep(SETTINGS_POLL_SECONDS)

    async def verify_settings(self) -> None:
        """Read settings again that Redis has forgotten; with no shard at work, a roll-back is noticed only here.

        Raises `Unavailable`. Nothing is written to a Redis that was emptied: the claims will say what is the matter.
        """
        if self.settings and await self._rules.has_namespace():
            self._compare_settings(await self._rules.positions(self.settings))

    def _compare_settings(self, positions: Mapping[int, int]) -> None:
        for partition, feed in list(self.settings.items()):
            if feed.open and not feed.in_flight and positions.get(partition, feed.start or 0) < (feed.start or 0):
                logger.info(
                    "accounts partition %d: Redis is at %d, not at %s any more; reading settings again",
                    partition,
                    positions[partition],
                    feed.start,
                )
                self.drop_settings(feed)

    async def until_settings_are_read(self) -> None:
        """Wait until the settings sent before now are in Redis, for some seconds at most; never raises."""
        try:
            async with asyncio.timeout(SETTINGS_PATIENCE_SECONDS):
                ends = await self._settings_ends()
                while True:
                    positions = await self._rules.positions(ends)
                    if all(positions[partition] >= end for partition, end in ends.items()):
                        break
                    await asyncio.sleep(SETTINGS_POLL_SECONDS)
        except (TimeoutError, Unavailable, KafkaError) as error:
            self.outage.failed(f"accounts without settings are read under the default ones: {error!r}", "settings")
        else:
            self.outage.answered("settings")

    async def _settings_ends(self) -> dict[int, int]:
        topic = self._topics.accounts
        partitions = [TopicPartition(topic, number) for number in self._consumer.partitions_for_topic(topic) or ()]
        return {partition.partition: end for partition, end in (await self._consumer.end_offsets(partitions)).items()}

    def _start(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run beside the intake. None of these is meant to fail: what one raises ends the worker."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("unforeseen", exc_info=error)
            self.fail(f"{type(error).__name__}: {error}")


def _backoff(failures: int) -> float:
    return 0.0 if failures == 0 else min(0.1 * 2.0 ** min(failures, 10), LONGEST_BACKOFF_SECONDS)
