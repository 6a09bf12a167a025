"""When the snapshotter's rounds are due, and whether they end as they should: what its readiness says."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from streams.config import Config
from streams.cron import next_time

LATE_SECONDS = 900.0
"""How long past its time a round may end before it counts as missing; the alert MedianaSnapshotStale says the same."""

FIRST_PAUSE_SECONDS = 2.0
"""Pause until a first round has succeeded: right after an install, the worker may not have claimed its shards yet."""

RETRY_SECONDS = 60.0
"""Longest pause after a round that failed: the next one by cron may be hours away."""


class Schedule:
    """Told how each round ended, it says when the next one begins, and whether reports come as they should.

    `clock` gives seconds since the epoch.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self.due = clock()
        """When the next round should begin, in seconds since the epoch; in the past while rounds fail."""
        self.succeeded = False
        """Whether any round ended well."""
        self._problem: str | None = "starting"

    def ended_well(self) -> float:
        """A round published what there was. How long until the next one, in seconds."""
        self.succeeded, self._problem = True, None
        pause = self._seconds_to_next()
        self.due = self._clock() + pause
        return pause

    def had_nothing(self) -> float:
        """There is nothing to publish from yet, which is no failure. How long until the next look, in seconds."""
        self._problem = None
        self.due = self._clock() + FIRST_PAUSE_SECONDS
        return FIRST_PAUSE_SECONDS

    def failed(self) -> float:
        """A round failed, and what it should have published is still due. How long until the next, in seconds."""
        self._problem = "the last round failed"
        return min(RETRY_SECONDS if self.succeeded else FIRST_PAUSE_SECONDS, self._seconds_to_next())

    def why_not_ready(self) -> str | None:
        """Why readers cannot rely on the next report, or nothing: every round ended well, and none is missing."""
        late_seconds = self._clock() - self.due
        if self._problem is None and late_seconds > LATE_SECONDS:
            return f"a round has been due for {late_seconds:.0f} s"
        return self._problem

    def next_due_ms(self) -> int:
        """When the round after one that begins now is due, in milliseconds since the epoch."""
        return round((self._clock() + self._seconds_to_next()) * 1000)

    def _seconds_to_next(self) -> float:
        """The interval if one is set, else the time to the next one by cron, in UTC."""
        if self._config.snapshot_interval_seconds is not None:
            return self._config.snapshot_interval_seconds
        now = datetime.fromtimestamp(self._clock(), UTC)
        following = next_time(self._config.snapshot_cron, now)
        return max(0.0, (following - now).total_seconds())
