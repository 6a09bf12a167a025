"""Behind a Redis Sentinel: the primary dies, its replica is promoted, and everything goes on by itself."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from redis.asyncio import Redis as RedisClient

from streams.local.ports import LOOPBACK, free_port
from streams.local.redis import Redis
from tests.conftest import KafkaAddress
from tests.faults.sentinel import SERVICE, Sentinel
from tests.support.cluster import Site, folded, golden
from tests.support.published import golden_differences, publish


async def test_a_failover_by_sentinel_is_followed_and_loses_nothing(
    kafka: KafkaAddress, namespace: str, tmp_path: Path
) -> None:
    accounts, events = golden()
    third = len(events) // 3
    primary = Redis(tmp_path / "a", options={"repl-diskless-sync-delay": "0"})
    replica = Redis(tmp_path / "b", options={"replicaof": f"{LOOPBACK} {primary.port}"})
    sentinel = Sentinel(tmp_path / "sentinel", primary)
    async with AsyncExitStack() as stack:
        for server in (primary, replica, sentinel):
            await stack.enter_async_context(server)
        watched: Any = RedisClient(host=LOOPBACK, port=sentinel.port)
        stack.push_async_callback(watched.aclose)
        await until(watched, lambda state: (state["num-slaves"], state["port"]) == (1, primary.port))
        # The first of the Sentinels is not there: the next one is asked, at once.
        addresses = f"{LOOPBACK}:{free_port()},{sentinel.address}"
        settings = {"REDIS_SENTINELS": addresses, "REDIS_SENTINEL_SERVICE": SERVICE}
        site = Site(kafka.bootstrap, "redis://sentinel/0", namespace, tmp_path, settings=settings)
        stack.push_async_callback(site.close)
        async with asyncio.timeout(2):
            await site.client.ping()
        await site.create_topics()
        await site.send(accounts, events[:third])
        worker = site.start_worker(BATCH_EVENTS="20", REDIS_TIMEOUT_SECONDS="2")
        await site.wait_for(lambda applied: applied == third)

        await site.send([], events[third : 2 * third])
        await asyncio.to_thread(primary.kill)
        await site.send([], events[2 * third :])
        await until(watched, lambda state: state["port"] == replica.port)
        await site.wait_for(lambda applied: applied == len(events))
        assert "claiming again" in site.told()
        assert await site.facts() == folded(accounts, events)

        await publish(site)
        assert await golden_differences(site) == []
        assert await site.stop(worker) == [0]


async def until(watched: Any, holds: Callable[[Mapping[str, Any]], bool]) -> None:
    """Wait for what the Sentinel says of its service."""
    async with asyncio.timeout(30):
        while not holds(await watched.sentinel_master(SERVICE)):  # noqa: ASYNC110 - a server's state
            await asyncio.sleep(0.1)


async def _is_in_step(server: Redis) -> None:
    """Wait until a replica has what its primary has."""
    client: Any = RedisClient(host=LOOPBACK, port=server.port)
    try:
        async with asyncio.timeout(30):
            while (await client.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110 - a server's state
                await asyncio.sleep(0.1)
    finally:
        await client.aclose()
