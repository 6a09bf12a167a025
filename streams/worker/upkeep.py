"""Work on a worker's shards beside folding: shard by shard, every so often, each write between two batches.

A shard that folds is not stopped for it: what fails is told, and tried again in the next round. Only what ends the
shard's session ends it here, too.
"""

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from mode import Service
from redis.exceptions import RedisClusterException, RedisError

from streams.errors import EngineError
from streams.intake.ownership import Ownership
from streams.intake.shard_feed import ShardFeed
from streams.shard.session import Session

logger = logging.getLogger(__name__)


class Upkeep(Service):
    """One such work; its subclasses say in `work` what it is."""

    mundane_level = "debug"
    every_seconds: ClassVar[float]
    purpose: ClassVar[str]
    """What it is called where it fails: "sealing"."""

    def __init__(self, ownership: Ownership, **options: Any) -> None:
        super().__init__(**options)
        self.ownership = ownership

    @abstractmethod
    async def work(self, feed: ShardFeed, session: Session, /) -> None:
        """One round in one shard. May raise what Redis and the session's commits raise."""

    @Service.task
    async def _rounds(self) -> None:
        while True:
            await self.sleep(self.every_seconds)
            if self.should_stop:  # which ends the sleep
                return
            for feed in list(self.ownership.shards.values()):
                await self.sweep(feed)

    async def sweep(self, feed: ShardFeed) -> None:
        """One round in one shard, if it is folded here. Raises nothing."""
        session = feed.session
        if session is None:
            return
        try:
            await self.work(feed, session)
        except EngineError as error:
            if feed.session is session:
                self.ownership.failed(feed, error)
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            logger.debug("%s of shard %d waits until Redis answers: %r", self.purpose, feed.shard, error)
        except Exception:
            logger.exception("%s of shard %d", self.purpose, feed.shard)


async def between_batches(session: Session, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do something between two batches, and give what it gives. `None` when the session ended: the next round will."""
    while session.in_flight:
        await session.at_rest()
    if session.dropped:
        return None
    session.engage()
    try:
        return await work()
    finally:
        session.rest()
