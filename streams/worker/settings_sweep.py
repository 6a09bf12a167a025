"""Deletes versions of settings that no journal names any more, through the shard's fence.

Every commit stores the version of the settings it read events under, and the day: `rules-used` holds, per version, the
last day on which it was the account's newest. An account that changes 400 kB of settings every day would otherwise
leave 146 MB a year in every shard.

When is a version needed? Only to measure an answer again that was read under it, because a late event gave the answer
another wait. Taking back what was counted needs no version at all: the journal keeps the numbers. So:

- A conversation event is accepted within the lateness window behind its contact's newest event, and a contact's own
  event within a longer one. An answer that such an event changes was read under a version
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

from collections.abc import Callable
from datetime import date
from typing import Any

from aggregates.history import Lateness
from aggregates.localtime import EPOCH_DAY
from streams.intake.ownership import Ownership
from streams.intake.shard_feed import ShardFeed
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.clients import Client
from streams.redis.keys import split_rules_field
from streams.redis.ledger import Changes
from streams.shard.session import Session
from streams.worker.upkeep import Upkeep, between_batches

EVERY_SECONDS = 3_600.0
VERSIONS_PER_COMMIT = 500

_MARGIN_DAYS = 2
_DAY_MS = 86_400_000


def kept_days(lateness: Lateness) -> int:
    """How long a version is kept after its last use."""
    return -(-lateness.longest_us // (1000 * _DAY_MS)) + _MARGIN_DAYS


class RulesSweep(Upkeep):
    """Sweeps this worker's shards."""

    every_seconds = EVERY_SECONDS
    purpose = "the sweep of old settings"

    def __init__(
        self,
        ownership: Ownership,
        client: Client,
        metrics: WorkerMetrics,
        lateness: Lateness,
        today: Callable[[], date],
        **options: Any,
    ) -> None:
        super().__init__(ownership, **options)
        self._client = client
        self._metrics = metrics
        self._kept_days = kept_days(lateness)
        self._today = today

    async def work(self, _feed: ShardFeed, session: Session, /) -> None:
        """Sweep one shard."""
        await self.sweep_session(session)

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
        """One slice, between two batches. False when the session ended."""

        async def commit() -> bool:
            gone = {name: split_rules_field(name) for name in changes.rules_gone}
            # A batch since the scan may have used one of them again.
            used = {version for version in gone.values() if (session.stored_rules.last_used(*version) or -1) >= oldest}
            changes.rules_gone = [name for name, version in gone.items() if version not in used]
            await session.commit(session.positions, changes)
            for version in gone.values():
                if version not in used:
                    session.stored_rules.forget(*version)
            self._metrics.expired_settings.inc(len(changes.rules_gone))
            return True

        return bool(await between_batches(session, commit))
