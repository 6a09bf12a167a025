"""A worker whose Redis is away for a while: two lines in its log, and nothing lost."""

import asyncio
from urllib.parse import urlsplit

from streams.local.ports import free_port
from tests.conftest import RedisAddress
from tests.faults.proxy import Proxy
from tests.support.cluster import Site, folded, golden

AWAY_SECONDS = 8


async def test_a_redis_that_is_away_is_two_lines_of_a_workers_log(site: Site, redis_server: RedisAddress) -> None:
    accounts, events = golden()
    half = len(events) // 2
    await site.create_topics()
    await site.send(accounts, events[:half])
    there = urlsplit(redis_server.url).port or 6379
    async with Proxy(there) as proxy:
        worker = site.start_worker(REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0", REDIS_TIMEOUT_SECONDS="1")
        await site.wait_for(lambda applied: applied == half)
        before = len(site.told())
        proxy.divert(free_port())
        await site.send([], events[half:])
        await asyncio.sleep(AWAY_SECONDS)
        proxy.divert(there)
        await site.wait_for(lambda applied: applied == len(events))
        await asyncio.sleep(12)
        assert await site.facts() == folded(accounts, events)
        assert await site.stop(worker) == [0]
    loud = [line for line in site.told()[before:].splitlines() if " INFO " not in line]
    assert len(loud) == 2, "\n".join(loud)
    assert "Redis" in loud[0]
    assert "(told once, and again when it is over)" in loud[0]
    assert "Redis or Kafka: over after " in loud[1]
