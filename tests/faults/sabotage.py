"""A program with a fault inside it, or without one of its guards: `python -m tests.faults.sabotage FAULT COMMAND…`.

What a test from outside cannot bring about: the program is changed in memory, then runs as it always does.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from streams.cli import main as cli
from streams.intake.membership import Membership
from streams.kafka import clients as kafka
from streams.shard.batch import Batch, BatchProcessor, Budget
from streams.snapshots import fenced, snapshotter
from streams.snapshots import lock as snapshot_lock
from streams.snapshots.fenced import FencedAccount
from streams.worker import app, sealing

SHORT_POLL_MS = 3_000


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

    look = Membership.look

    async def look_with_shards(self: Membership) -> None:
        if self._ownership.shards:
            await look(self)

    kafka._NO_POLL_LIMIT_MS = SHORT_POLL_MS
    Membership.look = look_with_shards  # type: ignore[method-assign]


def small_and_soon() -> None:
    """Commits of less memory than may be set; and what rests is made small at once, some facts at a time."""
    vars(app)["Budget"] = lambda seconds, memory: Budget(seconds, min(memory, 20_000))
    sealing.Sealing.every_seconds = 0.5
    sealing.REST_DAYS = 0  # type: ignore[misc]
    sealing.FIRST_REST_MS = 300  # type: ignore[misc]
    sealing.REST_MS = 800  # type: ignore[misc]
    sealing.FACTS_PER_COMMIT = 50  # type: ignore[misc]


SHORT_LEASE_SECONDS = 1.5


def snapshotter_stops() -> None:
    """It stops itself, as by SIGSTOP at the worst moment: all is read, and nothing is published yet."""
    snapshotter.Snapshotter.__init__.__defaults__ = (SHORT_LEASE_SECONDS,)
    run = FencedAccount._run
    numbers = itertools.count()

    async def stopping(self: FencedAccount, action: str, *arguments: Any) -> list[bytes]:
        if action == "publish" and next(numbers) == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        return await run(self, action, *arguments)

    FencedAccount._run = stopping  # type: ignore[method-assign,assignment]


def snapshotter_stops_with_its_parts_written() -> None:
    """The same of an account whose parts are too many for one script: they are written, and no manifest names them."""
    snapshotter_stops()
    fenced.MOST_INLINE_PARTS = 0


def _take_the_guards_out() -> None:
    for module, name, guards in (
        (
            fenced,
            "PUBLICATION",
            (
                "if held_epoch ~= epoch or held_token ~= token then",
                "if tonumber(held_epoch or '0') > tonumber(epoch) then",
                "if known ~= ARGV[5] then",
            ),
        ),
        (snapshot_lock, "LOCK", ("if holder ~= token then",)),
    ):
        text = vars(module)[name]
        for guard in guards:
            assert guard in text
            text = text.replace(guard, "if false then")
        vars(module)[name] = text


def snapshotter_stops_unguarded() -> None:
    """It stops, and no script compares the fence, the lock or the revision any more."""
    snapshotter_stops()
    _take_the_guards_out()


def snapshotter_stops_with_its_parts_written_unguarded() -> None:
    """It stops with its parts written, and no script compares anything any more."""
    snapshotter_stops_with_its_parts_written()
    _take_the_guards_out()


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (
        agent_raises,
        agent_raises_for_shard_1,
        short_poll_interval,
        small_and_soon,
        snapshotter_stops,
        snapshotter_stops_with_its_parts_written,
        snapshotter_stops_with_its_parts_written_unguarded,
        snapshotter_stops_unguarded,
    )
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
