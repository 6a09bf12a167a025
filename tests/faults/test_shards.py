"""Shards are independent: one that is slow, or fails, holds up no other, and loses nothing."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from tests.conftest import RedisAddress
from tests.faults.flood import ACCOUNT, flood, highest_memory
from tests.faults.proxy import Proxy
from tests.support.cluster import Counters, Site, folded, golden

SLOW = 3
FAST = (0, 1, 2)
SLOW_BY_SECONDS = 0.2
"""How long each request of the slow shard takes; a batch needs two or three."""


MOST = 0.5
"""The share of its own events that the slow shard may have applied when the others are done."""


class SlowShard:
    """A site whose workers reach Redis through a proxy that holds up one shard."""

    def __init__(self, site: Site, proxy: Proxy, events: Sequence[bytes]) -> None:
        self.site = site
        self.proxy = proxy
        self.events = events
        self.redis_url = f"redis://127.0.0.1:{proxy.port}/0"

    def sent(self, shard: int) -> int:
        """The events of one shard."""
        return sum(self.site.shard_of(line) == shard for line in self.events)

    async def begin(self) -> None:
        """From now on, when its worker has it, it is slow."""
        async with asyncio.timeout(30):
            for shard in range(self.site.partitions):
                while not await self.site.client.hexists(self.site.keys.shard(shard).ledger, "token"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        self.proxy.slow = b"%b}" % f"{{mediana:{self.site.config.namespace}:{SLOW}".encode(), SLOW_BY_SECONDS

    async def fast_ones(self) -> float:
        """Wait until the other shards have applied everything; the share that the slow one has by then."""
        async with asyncio.timeout(60):
            for shard in FAST:
                while await self.site.applied_of(shard) < self.sent(shard):  # noqa: ASYNC110 - it is in Redis
                    await asyncio.sleep(0.02)
        return await self.site.applied_of(SLOW) / self.sent(SLOW)


async def test_a_slow_shard_holds_up_no_other_and_what_waits_for_it_takes_little_memory(
    redis_server: RedisAddress, site: Site
) -> None:
    accounts, events = golden()
    async with Proxy(urlsplit(redis_server.url).port or 0) as proxy:
        slow = SlowShard(site, proxy, events)
        await site.create_topics()
        await site.send(accounts, [])
        worker = site.start_worker(REDIS_URL=slow.redis_url, BATCH_EVENTS="20")
        await site.wait_for_settings("acc0")
        async with highest_memory(worker.pid) as memory:
            await slow.begin()
            await site.send([], events)
            assert await slow.fast_ones() < MOST
            await flood(site, 60_000, range(SLOW, SLOW + 1), padding=1_000)
            await asyncio.sleep(1)
        assert memory.growth < 45_000, f"{memory.growth} kB for 60,000 kB that wait"
        proxy.slow = None
        async with asyncio.timeout(60):
            while await site.applied_of(SLOW) < slow.sent(SLOW):  # noqa: ASYNC110 - it is in Redis
                await asyncio.sleep(0.02)
        worker.kill()
        assert without_flood(await site.facts()) == folded(accounts, events)
        assert "claiming again" not in site.told()  # slow, and never a doubt


def without_flood(counters: Counters) -> Counters:
    return {day: fields for day, fields in counters.items() if day[0] != ACCOUNT}


async def test_with_one_agent_for_all_shards_a_slow_one_would_hold_up_the_others(
    redis_server: RedisAddress, site: Site
) -> None:
    accounts, events = golden()
    events = events[:600]
    async with Proxy(urlsplit(redis_server.url).port or 0) as proxy:
        slow = SlowShard(site, proxy, events)
        await site.create_topics()
        await site.send(accounts, [])
        site.start_worker(REDIS_URL=slow.redis_url, BATCH_EVENTS="20", AGENTS="1")
        await site.wait_for_settings("acc0")
        await slow.begin()
        await site.send([], events)
        assert await slow.fast_ones() > MOST


async def test_an_agent_that_raises_loses_nothing_and_the_batch_is_done_again(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    worker = site.start_worker(fault="agent_raises", BATCH_EVENTS="50")
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == folded(accounts, events)
    told = site.told()
    assert told.count("LookupError: sabotage: before") > 2
    assert told.count("LookupError: sabotage: after") > 2
    assert told.count("unforeseen; claiming again") == told.count("LookupError: sabotage")
    assert "until a person" not in told
    assert await site.stop(worker) == [0]


async def test_a_shard_whose_batch_fails_again_and_again_is_stopped_and_the_others_go_on(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    failing = sum(site.shard_of(line) == 1 for line in events)
    worker = site.start_worker(fault="agent_raises_for_shard_1")
    await site.wait_for(lambda applied: applied == len(events) - failing)
    async with asyncio.timeout(20):
        while "shard 1 is stopped until a person has looked at it: LookupError('sabotage')" not in site.told():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert site.told().count("unforeseen; claiming again") == 4
    assert await site.applied_of(1) == 0
    assert await site.stop(worker) == [0]
    # Nothing of it is lost: a worker without the fault does it.
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == folded(accounts, events)
    assert await site.stop(worker) == [0]
