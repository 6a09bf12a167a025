"""A worker with a fault inside it, or without one of its guards: `python -m tests.faults.sabotage FAULT worker`.

What a test from outside cannot bring about: the program is changed in memory, then runs as it always does.
"""

import itertools
import sys
from collections.abc import Callable

from streams.cli import main as cli
from streams.intake.membership import Membership
from streams.kafka import clients as kafka
from streams.shard.batch import Batch, BatchProcessor

SHORT_POLL_MS = 1_500


def agent_raises() -> None:
    """Every other batch ends in an exception that nobody foresaw: before anything is done, or after all is."""
    apply = BatchProcessor.apply
    numbers = itertools.count()

    async def raising(self: BatchProcessor, batch: Batch) -> None:
        number = next(numbers)
        if number % 4 == 1:
            raise LookupError("sabotage: before")
        await apply(self, batch)
        if number % 4 == 3:
            raise LookupError("sabotage: after")

    BatchProcessor.apply = raising  # type: ignore[method-assign]


def agent_raises_for_shard_1() -> None:
    """No batch of shard 1 can be applied."""
    apply = BatchProcessor.apply

    async def raising(self: BatchProcessor, batch: Batch) -> None:
        if batch.session.shard == 1:
            raise LookupError("sabotage")
        await apply(self, batch)

    BatchProcessor.apply = raising  # type: ignore[method-assign]


def short_poll_interval() -> None:
    """The consumer group is left by whoever fetches nothing for a moment, as clients do that are not told otherwise."""

    async def not_looking(self: Membership) -> None:
        """As with a client that polls only when it has partitions."""

    kafka._NO_POLL_LIMIT_MS = SHORT_POLL_MS
    Membership.look = not_looking  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault for fault in (agent_raises, agent_raises_for_shard_1, short_poll_interval)
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
