"""Forgets days past the retention horizon, a few at a time, by the shard's one writer and through its fence.

First the horizon is written: counters of days before it are not written again, so that a correction of a forgotten day
cannot bring half of it back. Then the days go.
"""

import logging
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from mode import Service

from streams.errors import EngineError
from streams.intake.ownership import Ownership
from streams.intake.shard_feed import ShardFeed
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.clients import Client
from streams.redis.keys import split_day_member
from streams.redis.ledger import Changes, DayWrite
from streams.shard.session import Session

logger = logging.getLogger(__name__)

EVERY_SECONDS = 600.0
DAYS_PER_COMMIT = 100


class Retention(Service):
    """Deletes old days of this worker's shards."""

    mundane_level = "debug"

    def __init__(
        self,
        ownership: Ownership,
        client: Client,
        metrics: WorkerMetrics,
        retention_days: int,
        today: Callable[[], date],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._ownership = ownership
        self._client = client
        self._metrics = metrics
        self._kept = timedelta(days=retention_days)
        self._today = today

    @Service.task
    async def _forget(self) -> None:
        while not self.should_stop:
            await self.sleep(EVERY_SECONDS)
            for feed in list(self._ownership.shards.values()):
                await self.sweep(feed)

    async def sweep(self, feed: ShardFeed) -> None:
        """Forget what one shard holds from before the horizon."""
        session = feed.session
        if session is None:
            return
        horizon = (self._today() - self._kept).toordinal()
        try:
            old = await self._days_before(session, horizon)
            while old:
                now, old = old[:DAYS_PER_COMMIT], old[DAYS_PER_COMMIT:]
                if not await self._commit(session, horizon, now):
                    return
        except EngineError as error:
            if feed.session is session:
                self._ownership.failed(feed, error)
        except Exception:
            # A shard that folds is not stopped for days that stay a little longer.
            logger.exception("forgetting old days of shard %d", feed.shard)

    async def _days_before(self, session: Session, horizon: int) -> list[tuple[int, str]]:
        old = []
        async for member, _ in self._client.zscan_iter(session.ledger.keys.changed, count=1000):
            ordinal, account_id = split_day_member(member)
            if ordinal < horizon:
                old.append((ordinal, account_id))
        return old

    async def _commit(self, session: Session, horizon: int, days: list[tuple[int, str]]) -> bool:
        """One slice, between two batches. False when the session ended: the next round will."""
        while session.in_flight:
            await session.at_rest()
        if session.dropped:
            return False
        session.engage()
        try:
            writes = [DayWrite(ordinal, account_id, whole=True) for ordinal, account_id in days]
            await session.commit(session.positions, Changes(days=writes, horizon=max(horizon, session.horizon)))
        finally:
            session.rest()
        session.horizon = max(horizon, session.horizon)
        for day in days:
            session.days.forget(day)
        self._metrics.expired_days.inc(len(days))
        return True
