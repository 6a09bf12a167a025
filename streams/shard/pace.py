"""Limits how much of a shard is folded at a time: what takes too long or too much memory becomes several commits.

A batch longer than the consumer group's session time-out would pass between workers for ever. So a commit has a budget
of time and one of memory; and a session that is lost in the middle of a batch halves the shard's next batches, which
grow back by a tenth with each commit.
"""

import logging
from typing import Final

logger = logging.getLogger(__name__)

_GROWTH: Final = 1.1

SLOWEST_PER_SECOND: Final = 1_000
"""Entries that the slowest machine folds in a second: below, it is not the number of entries that takes the time."""

_FIRST_PER_SECOND: Final = 50_000
"""Before anything was measured: a third of what a slow machine does."""

_WEIGHT: Final = 0.3
"""How much the latest measurement counts."""


class Pace:
    """How many records a shard's batch may have. Outlives sessions, and the shard's coming and going."""

    def __init__(self, shard: int, most: int) -> None:
        self._shard = shard
        self._most = most
        self._records = float(most)

    @property
    def records(self) -> int:
        """Most records of the next batch."""
        return max(1, int(self._records))

    @property
    def share(self) -> float:
        """The same as a share of the most that is ever taken."""
        return self.records / self._most

    def lost(self) -> None:
        """A batch was lost with its session."""
        self._records = max(1.0, self._records / 2)
        logger.warning(
            "shard %d: a session was lost while its batch was under way; the next batch has at most %d records",
            self._shard,
            self.records,
        )

    def committed(self) -> None:
        """A batch was committed."""
        # By one at least: a tenth of one record would take its time.
        self._records = min(float(self._most), max(self._records * _GROWTH, self._records + 0.5))


class Speed:
    """How many entries this worker folds in a second, in Python, as measured."""

    def __init__(self) -> None:
        self._per_second = float(_FIRST_PER_SECOND)

    def entries_in(self, seconds: float) -> int:
        """How many are folded in so many seconds."""
        return max(1, int(self._per_second * seconds))

    def measured(self, entries: int, seconds: float) -> None:
        """So many took so long."""
        if entries < SLOWEST_PER_SECOND // 10 or seconds <= 0:
            return  # too few to tell anything
        measured = max(float(SLOWEST_PER_SECOND), entries / seconds)
        self._per_second += _WEIGHT * (measured - self._per_second)
