"""Rebalances at bad moments, and readiness while a server is away."""

import asyncio
import contextlib
import re
import urllib.error
import urllib.request
from pathlib import Path

from streams.local.redis import Redis
from tests.conftest import KafkaAddress, RedisAddress
from tests.faults.sabotage import SHORT_POLL_MS
from tests.support.cluster import Site, folded, golden

SHARDS_LINE = re.compile(r"shards of this worker: ([\d, ]+|none)")
METRICS_LINE = re.compile(r"metrics at (http://\S+)/metrics")


async def test_redis_that_is_away_during_a_rebalance_delays_it_and_no_more(
    kafka: KafkaAddress, namespace: str, tmp_path: Path
) -> None:
    accounts, events = golden()
    third = len(events) // 3
    server = Redis(tmp_path / "redis")
    server.start()
    site = Site(kafka.bootstrap, server.url, namespace, tmp_path)
    try:
        await site.create_topics()
        await site.send(accounts, events[:third])
        small = {"BATCH_EVENTS": "10", "REDIS_TIMEOUT_SECONDS": "1"}
        first, second = site.start_worker(**small), site.start_worker(**small)
        await site.wait_for(lambda applied: applied == third)
        await site.send([], events[third : 2 * third])
        server.pause()
        second.kill()
        await site.send([], events[2 * third :])
        await asyncio.sleep(6)  # twice the session time-out: the first worker has all shards by now, and no Redis
        assert first.poll() is None
        assert _shards(site.log_of(0)) == {0, 1, 2, 3}
        assert await _readiness(site.log_of(0)) == 503
        server.resume()
        await site.wait_for(lambda applied: applied == len(events))
        assert await site.facts() == folded(accounts, events)
        assert await _readiness(site.log_of(0)) == 200
        assert await site.stop(first) == [0]
    finally:
        await site.close()
        server.resume()
        await asyncio.to_thread(server.stop)


async def test_equal_partitions_of_both_topics_meet_in_one_worker_with_any_number_of_workers(
    kafka: KafkaAddress, redis_server: RedisAddress, namespace: str, tmp_path: Path
) -> None:
    accounts, events = golden()
    site = Site(kafka.bootstrap, redis_server.url, namespace, tmp_path, partitions=6)
    try:
        await site.create_topics()
        await site.send(accounts, events)
        workers = [site.start_worker(BATCH_EVENTS="20") for _ in range(4)]
        await site.wait_for(lambda applied: applied == len(events))
        # The first one may have applied everything before the others are in the group.
        async with asyncio.timeout(20):
            while sorted(len(_shards(site.log_of(number))) for number in range(4)) != [1, 1, 2, 2]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert sorted(shard for n in range(4) for shard in _shards(site.log_of(n))) == [0, 1, 2, 3, 4, 5]
        assert await site.facts() == folded(accounts, events)
        assert await site.stop(*workers) == [0, 0, 0, 0]
    finally:
        await site.close()


async def idle_standby(site: Site, fault: str | None) -> int:
    """Two workers on one shard; after a while the one that has it is killed. What the other one has applied then."""
    accounts, events = golden()
    half = len(events) // 2
    await site.create_topics()
    workers = [site.start_worker(fault=fault), site.start_worker(fault=fault)]
    async with asyncio.timeout(30):
        while sorted(map(_shards, map(site.log_of, (0, 1))), key=len) != [set(), {0}] or not _joined(site, 2):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await site.send(accounts, events[:half])
    await site.wait_for(lambda applied: applied == half)
    await asyncio.sleep(2 * SHORT_POLL_MS / 1000)
    assert [worker.poll() for worker in workers] == [None, None]
    workers[0 if _shards(site.log_of(0)) else 1].kill()
    await site.send([], events[half:])
    with contextlib.suppress(AssertionError):
        await site.wait_for(len(events).__eq__, patience_seconds=8)  # the session time-out is 3 s
    return await site.applied()


async def test_an_idle_standby_takes_over_and_with_a_short_poll_interval_would_have_left_the_group(
    kafka: KafkaAddress, redis_server: RedisAddress, namespace: str, tmp_path: Path
) -> None:
    accounts, events = golden()
    sites = []
    for name in (namespace, f"{namespace}-short"):
        (logs := tmp_path / name).mkdir()
        sites.append(Site(kafka.bootstrap, redis_server.url, name, logs, partitions=1))
    try:
        applied = await asyncio.gather(idle_standby(sites[0], None), idle_standby(sites[1], "short_poll_interval"))
        assert list(applied) == [len(events), len(events) // 2]
        assert await sites[0].facts() == folded(accounts, events)
    finally:
        for site in sites:
            await site.close()


def _joined(site: Site, count: int) -> bool:
    """Whether so many workers have heard what the group gives them."""
    return all(SHARDS_LINE.search(site.log_of(number).read_text()) for number in range(count))


def _shards(log: Path) -> set[int]:
    """The shards that the group gave a worker last."""
    found = SHARDS_LINE.findall(log.read_text())
    return set() if not found or found[-1] == "none" else {int(shard) for shard in found[-1].split(",")}


async def _readiness(log: Path) -> int:
    """What a worker answers to the question whether it is ready."""

    def ask() -> int:
        found = METRICS_LINE.search(log.read_text())
        assert found is not None
        try:
            with urllib.request.urlopen(f"{found[1]}/readyz", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    return await asyncio.to_thread(ask)
