"""Sweeps versions of settings that nothing needs any more from a shard's hash, by the shard's one writer.

Every commit stores the version of the settings it read events under, and the day: `rules-used` holds, per version, the
last day on which it was the account's newest. An account that changes 400 kB of settings every day would otherwise
leave 146 MB a year in every shard.

When is a version needed? Only to measure an answer again that was read under it, because a late event gave the answer
another wait. Taking back what was counted needs no version at all: the journal keeps the numbers. So:

- A conversation event is accepted within the lateness window behind its contact's newest event, and a contact's own
  event is meant to come within `CONTACT_LATENESS_DAYS`. An answer that such an event changes was read under a version
  that was the newest at the time, at most that long ago: its day of last use is not older.
- `kept_days` is the longer of both, and two days for clocks and the end of a day. A version whose last use is longer
  ago is deleted, in one commit with its mark, through the fence like everything else.
- The newest version of an account that fell silent may be deleted too. The next commit that reads events under it
  stores it again, as the session forgets that it was stored.
- What arrives later still, for a contact that had fallen silent, is read under the settings of its arrival. So are then
  the answers it changes (`add_versions` of `streams/redis/settings_store.py`), and a metric counts it. No number is
  taken back wrongly by that, and no shard stops.

A version whose mark lies in the future, by a clock that was ahead, is marked anew with today and goes later.
"""

import logging
from collections.abc import Callable
from datetime import date
from typing import Any

from mode import Service

from aggregates.localtime import EPOCH_DAY
from streams.errors import EngineError
from streams.intake.ownership import Ownership
from streams.intake.shard_feed import ShardFeed
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.clients import Client
from streams.redis.keys import split_rules_field
from streams.redis.ledger import Changes
from streams.shard.session import Session

logger = logging.getLogger(__name__)

EVERY_SECONDS = 3_600.0
VERSIONS_PER_COMMIT = 500

CONTACT_LATENESS_DAYS = 30
"""How late a contact's own event is expected at most; one that comes later is still applied."""

_MARGIN_DAYS = 2
_DAY_MS = 86_400_000


def kept_days(lateness_ms: int) -> int:
    """How long a version is kept after its last use."""
    return max(CONTACT_LATENESS_DAYS, -(-lateness_ms // _DAY_MS)) + _MARGIN_DAYS


class RulesSweep(Service):
    """Sweeps this worker's shards."""

    mundane_level = "debug"

    def __init__(
        self,
        ownership: Ownership,
        client: Client,
        metrics: WorkerMetrics,
        lateness_ms: int,
        today: Callable[[], date],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._ownership = ownership
        self._client = client
        self._metrics = metrics
        self._kept_days = kept_days(lateness_ms)
        self._today = today

    @Service.task
    async def _sweep_all(self) -> None:
        while not self.should_stop:
            await self.sleep(EVERY_SECONDS)
            for feed in list(self._ownership.shards.values()):
                await self.sweep(feed)

    async def sweep(self, feed: ShardFeed) -> None:
        """Sweep one shard."""
        session = feed.session
        if session is None:
            return
        try:
            await self.sweep_session(session)
        except EngineError as error:
            if feed.session is session:
                self._ownership.failed(feed, error)
        except Exception:
            # A shard that folds is not stopped for settings that stay a little longer.
            logger.exception("sweeping old settings of shard %d", feed.shard)

    async def sweep_session(self, session: Session) -> None:
        """Sweep the shard of a session. Raises what its commits raise."""
        today = self._today().toordinal() - EPOCH_DAY
        oldest = today - self._kept_days
        gone: list[bytes] = []
        ahead: list[bytes] = []
        async for name, value in self._client.hscan_iter(session.ledger.keys.rules_used, count=1000):
            last_used = int(value)
            if last_used > today:
                ahead.append(name)
            elif last_used < oldest:
                gone.append(name)
        for first in range(0, len(gone), VERSIONS_PER_COMMIT):
            if not await self._commit(session, oldest, Changes(rules_gone=gone[first : first + VERSIONS_PER_COMMIT])):
                return
        for first in range(0, len(ahead), VERSIONS_PER_COMMIT):
            marks = [part for name in ahead[first : first + VERSIONS_PER_COMMIT] for part in (name, b"%d" % today)]
            if not await self._commit(session, oldest, Changes(rules_used=marks)):
                return

    async def _commit(self, session: Session, oldest: int, changes: Changes) -> bool:
        """Between two batches. False when the session ended: the next round will."""
        while session.in_flight:
            await session.at_rest()
        if session.dropped:
            return False
        session.engage()
        try:
            gone = {name: split_rules_field(name) for name in changes.rules_gone}
            # A batch since the scan may have used one of them again.
            used = {version for version in gone.values() if session.stored_rules.get(version, -1) >= oldest}
            changes.rules_gone = [name for name, version in gone.items() if version not in used]
            await session.commit(session.positions, changes)
            for version in gone.values():
                if version not in used:
                    session.stored_rules.pop(version, None)
        finally:
            session.rest()
        self._metrics.expired_settings.inc(len(changes.rules_gone))
        return True
