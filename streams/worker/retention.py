"""Deletes days past the retention horizon, a few at a time, through the shard's fence.

How far a round goes is not for this machine's clock alone to say (`streams.worker.horizon`).

First the horizon is written: counters of days before it are not written again, so that a correction of a forgotten day
cannot bring half of it back. Then the days go.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

from streams.intake.ownership import Ownership
from streams.intake.shard_feed import ShardFeed
from streams.monitoring.catalogue import WorkerMetrics
from streams.outage import Outage
from streams.redis.clients import Client
from streams.redis.keys import split_day_member
from streams.redis.ledger import Changes, DayWrite
from streams.shard.session import Session
from streams.worker.horizon import bounded_horizon, disagree, redis_day
from streams.worker.upkeep import Upkeep, between_batches

logger = logging.getLogger(__name__)

EVERY_SECONDS = 600.0
DAYS_PER_COMMIT = 100


class Retention(Upkeep):
    """Deletes old days of this worker's shards."""

    every_seconds = EVERY_SECONDS
    purpose = "forgetting old days"

    def __init__(
        self,
        ownership: Ownership,
        client: Client,
        metrics: WorkerMetrics,
        retention_days: int,
        today: Callable[[], date],
        redis_today: Callable[[], Awaitable[date | None]] | None = None,
        **options: Any,
    ) -> None:
        """`today` is the day by this machine's clock, `redis_today` by Redis' (default: Redis is asked)."""
        super().__init__(ownership, **options)
        self._client = client
        self._metrics = metrics
        self._kept_days = retention_days
        self._today = today
        self._redis_today = redis_today or (lambda: redis_day(client))
        self._clocks = Outage("the clocks", logger)
        self._newest: dict[int, int] = {}
        """Of each shard that was swept, the newest day that has data."""

    async def work(self, _feed: ShardFeed, session: Session, /) -> None:
        """Forget what one shard holds from before the horizon."""
        clocks = await self._days_by_clocks()
        oldest, old = await self._held(session, min(clocks) - self._kept_days)
        # A shard may be quiet: what happened in another one is as good a witness of the time.
        witnesses = (*clocks, max(self._newest.values(), default=0))
        horizon = bounded_horizon(self._kept_days, witnesses, oldest, session.horizon)
        old = [day for day in old if day[0] < horizon]
        while old:
            now, old = old[:DAYS_PER_COMMIT], old[DAYS_PER_COMMIT:]
            if not await self._commit(session, horizon, now):
                return

    async def _days_by_clocks(self) -> tuple[int, ...]:
        """The day by the clock here, and by Redis' where that can be had."""
        here, there = self._today(), await self._redis_today()
        if there is None:
            return (here.toordinal(),)
        clocks = here.toordinal(), there.toordinal()
        if disagree(clocks):
            self._clocks.failed(f"the clock here says {here}, Redis' {there}: no day is forgotten past the earlier one")
        else:
            self._clocks.answered()
        return clocks

    async def _held(self, session: Session, before: int) -> tuple[int | None, list[tuple[int, str]]]:
        """The oldest day that has counters in a shard, and the days and accounts before one. Notes the newest day."""
        oldest = newest = None
        old = []
        async for member, _ in self._client.zscan_iter(session.ledger.keys.changed, count=1000):
            ordinal, account_id = split_day_member(member)
            oldest = ordinal if oldest is None else min(oldest, ordinal)
            newest = ordinal if newest is None else max(newest, ordinal)
            if ordinal < before:
                old.append((ordinal, account_id))
        if newest is not None:
            self._newest[session.shard] = newest
        return oldest, old

    async def _commit(self, session: Session, horizon: int, days: list[tuple[int, str]]) -> bool:
        """One slice, between two batches. False when the session ended."""

        async def commit() -> bool:
            writes = [DayWrite(ordinal, account_id, whole=True) for ordinal, account_id in days]
            await session.commit(session.positions, Changes(days=writes, horizon=max(horizon, session.horizon)))
            session.horizon = max(horizon, session.horizon)
            for day in days:
                session.days.forget(day)
            self._metrics.expired_days.inc(len(days))
            return True

        return bool(await between_batches(session, commit))
