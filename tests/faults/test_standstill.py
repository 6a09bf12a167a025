"""Workers that die, come and go: the shards of those that stay do not stand still, and every number is right."""

import asyncio
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.steadiness import Commits, SteadyTraffic
from tests.faults.test_rebalances import _shards
from tests.support.cluster import Site

SESSION_SECONDS = 8.0
LONGEST_SECONDS = 3.0
"""Of a shard that stays, on a busy machine; far less than the session time-out. Usually a fifth of a second."""

Act = Callable[[Site], object]


def killed(site: Site) -> None:
    """A worker dies."""
    site.workers[-1].kill()


def killed_and_started_again(site: Site) -> None:
    """A worker dies, and its supervisor starts another at once: the group waits for the dead one before it decides."""
    site.workers[-1].kill()
    started(site)


def started(site: Site) -> None:
    """Another worker comes."""
    site.start_worker(KAFKA_SESSION_TIMEOUT_SECONDS=str(SESSION_SECONDS))


def stopped(site: Site) -> None:
    """A worker goes in good order."""
    site.workers[-1].send_signal(signal.SIGTERM)


def owned(site: Site, count: int) -> dict[int, set[int]]:
    """What the group gave each worker last, once that is everything once; those that ended left out."""
    running = [number for number in range(count) if site.workers[number].poll() is None]
    return {number: _shards(site.log_of(number)) for number in running}


async def settled(site: Site, count: int) -> dict[int, set[int]]:
    """The same, once all shards are given and every worker has some."""
    async with asyncio.timeout(60):
        while True:
            shares = owned(site, count)
            given = sorted(shard for share in shares.values() for shard in share)
            if given == list(range(site.partitions)) and all(shares.values()):
                return shares
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("act", "moved_seconds"),
    [(killed, SESSION_SECONDS + 4), (killed_and_started_again, SESSION_SECONDS + 4), (started, 4.0), (stopped, 4.0)],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_shards_that_stay_with_their_worker_do_not_stand_still(
    site: Site, act: Act, moved_seconds: float
) -> None:
    await site.create_topics()
    for _ in range(2):
        started(site)
    before = await settled(site, 2)
    async with SteadyTraffic(site) as traffic, Commits(site) as commits:
        await site.wait_for((40 * site.partitions).__le__)
        begin = time.monotonic()
        act(site)
        await asyncio.sleep(moved_seconds + 2)
        end = time.monotonic()
    after = await settled(site, len(site.workers))
    stayed = {shard for number in before.keys() & after.keys() for shard in before[number] & after[number]}
    pauses = commits.pauses(begin, end)
    print({shard: (shard in stayed, round(seconds, 2)) for shard, seconds in pauses.items()})
    assert stayed
    if act is not started:
        assert stayed == before[0]  # nothing of the healthy worker moved
    assert max(pauses[shard] for shard in stayed) < LONGEST_SECONDS, (pauses, stayed)
    assert max(pauses.values()) < moved_seconds, (pauses, stayed)
    await site.wait_for(len(traffic.sent).__eq__)
    assert await site.facts() == traffic.expected()
