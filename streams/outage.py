"""Logs an outage of a server in two lines: when it begins and when it is over.

Loops that try again tell an `Outage` of every failure and every success. While Redis is away for a minute, a worker of
sixty shards fails thousands of times; its log has two lines, and the second one says how often and for how long.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

SETTLED_SECONDS: Final = 3.0
"""It is over once nothing failed for so long: connections that broke meanwhile are found broken one after the other."""

TOLD_AT_MOST: Final = 6
WITHIN_SECONDS: Final = 60.0
"""What comes and goes faster than so often in so long is one outage, with pauses that are not worth a line."""


class Outage:
    """Failures and successes of one thing, such as a server, tried by several at once, each under a `key` of its own.

    It is away from the first failure until everyone who failed has succeeded and nothing has failed for
    `settled_seconds` since. `what` names it in the second line, the lines go to `log`. `clock` gives seconds.
    """

    def __init__(
        self,
        what: str,
        log: logging.Logger,
        *,
        settled_seconds: float = SETTLED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._log, self._clock = what, log, clock
        self.settled_seconds = settled_seconds
        """For how long everything must go well before it is over."""
        self._failing: set[Hashable] = set()
        self._failures = 0
        self._since = 0.0
        self._back_at: float | None = None
        self._is_told, self._level = False, logging.WARNING
        self._told_at: deque[float] = deque(maxlen=TOLD_AT_MOST)

    @property
    def is_on(self) -> bool:
        """Whether it is away."""
        return self._failures > 0

    def failed(self, problem: object, key: Hashable = None, *, level: int = logging.WARNING) -> None:
        """A try failed. The first one is told, with its `problem`; the others are lines of level debug.

        `level` is that of both lines.
        """
        now = self._clock()
        if not self._failures:
            self._since = now
        self._failures += 1
        self._failing.add(key)
        self._back_at = None
        if self._is_told or not self._may_tell(now):
            self._log.debug("%s (try %d)", problem, self._failures)
            return
        self._is_told, self._level = True, level
        self._told_at.append(now)
        self._log.log(level, "%s (told once, and again when it is over)", problem)

    def answered(self, key: Hashable = None) -> None:
        """A try succeeded: when nobody else is failing any more, it is over, which is told. Costs nothing else."""
        if not self._failures:
            return
        self._failing.discard(key)
        if self._failing:
            return
        now = self._clock()
        if self._back_at is None:
            self._back_at = now
        if now - self._back_at < self.settled_seconds:
            return
        if self._is_told:
            tries = "try" if self._failures == 1 else "tries"
            seconds = self._back_at - self._since
            self._log.log(
                self._level, "%s: over after %.1f s and %d failed %s", self._what, seconds, self._failures, tries
            )
            self._is_told = False
            self._failures = 0
        elif self._may_tell(now):
            self._failures = 0  # it came and went again unseen, and is calm now

    def gave_up(self, key: Hashable) -> None:
        """Who failed under this key will not try again; whether it is over is for others to find out."""
        self._failing.discard(key)

    def _may_tell(self, now: float) -> bool:
        return len(self._told_at) < TOLD_AT_MOST or now - self._told_at[0] >= WITHIN_SECONDS
