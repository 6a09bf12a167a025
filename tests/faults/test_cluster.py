"""On a Redis Cluster of three nodes: workers, snapshotter, page and commands, while a node dies and comes back."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis.asyncio
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from streams.config import Config, Secret
from streams.redis.clients import connect
from streams.snapshots.reader import SnapshotReader
from streams.web.server import create_web_app
from tests.conftest import KafkaAddress
from tests.faults.cluster import NODES, Cluster
from tests.support.cluster import GOLDEN, Site, folded, golden
from tests.support.commands import answered, run_command
from tests.support.published import golden_differences, publish

# When a node is lost, the library forgets its connections, and leaves it to the garbage collector to close them.
pytestmark = pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning", "ignore:loop is closed:ResourceWarning")

SHARDS = 6
RANGE = ("--from", "2026-03-01", "--to", "2026-03-31")


@pytest.fixture(autouse=True)
def forgotten_connections() -> Iterator[None]:
    """Closed here, and not during somebody else's test."""
    yield
    gc.collect()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
async def site(kafka: KafkaAddress, cluster: Cluster, tmp_path: Path) -> AsyncIterator[Site]:
    # A fixed name: where a shard is follows from it, and here each node has some.
    name = "cluster"
    site = Site(kafka.bootstrap, cluster.url, name, tmp_path, partitions=SHARDS, settings={"REDIS_CLUSTER": "true"})
    yield site
    await site.close()


async def test_everything_works_on_a_cluster_one_of_whose_nodes_dies_and_comes_back(
    site: Site, cluster: Cluster
) -> None:
    accounts, events = golden()
    half = len(events) // 2
    nodes = [cluster.node_of(key_slot(site.keys.shard(shard).ledger)) for shard in range(SHARDS)]
    assert len({node.port for node in nodes}) == NODES
    await site.create_topics()
    await site.send(accounts, events[:half])
    worker = site.start_worker(BATCH_EVENTS="20", REDIS_TIMEOUT_SECONDS="2")
    await site.wait_for(lambda applied: applied == half)
    assert {done.account_id for done in await publish(site)} == {"acc0", "acc1", "acc2"}

    pages: Any = connect(site.config)
    try:
        async with (
            TestClient(TestServer(create_web_app(SnapshotReader(pages, site.config.namespace)))) as page,
            page.get("/api/v1/accounts/acc0/events") as announcements,
        ):
            assert (await next_event(announcements))["revision"] == 1
            away = cluster.nodes[0]  # the one that is named in the settings
            await asyncio.to_thread(away.kill)
            await site.send([], events[half:])
            await all_applied(site, [shard for shard in range(SHARDS) if nodes[shard] is not away])
            assert worker.poll() is None
            await asyncio.to_thread(away.start)
            await all_applied(site, range(SHARDS))
            assert await site.facts() == folded(accounts, events)
            await publish(site)
            assert (await next_event(announcements))["revision"] == 2
            answer = await page.get(f"/api/v1/accounts/acc0/metrics?from={RANGE[1]}&to={RANGE[3]}")
            assert answer.status == 200
            over_http = (await answer.json())["metrics"]
    finally:
        await pages.aclose()
    assert await golden_differences(site) == []

    files = (str(GOLDEN / "events.jsonl"), "--accounts", str(GOLDEN / "accounts.jsonl"))
    replayed = json.loads((await answered(site, "replay", *files, "--account", "acc0", *RANGE)).stdout)
    assert json.loads((await answered(site, "report", "--account", "acc0", *RANGE)).stdout) == replayed == over_http
    checked = (await run_command(site, "check")).stdout
    assert "all 6 shards have their ledger" in checked
    assert all(f"Redis {node.address} keeps an append-only file" in checked for node in cluster.nodes)
    assert await site.stop(worker) == [0]
    await answered(site, "namespace", "drop", site.config.namespace, "--yes", NAMESPACE="another")
    assert [key async for key in site.client.scan_iter(count=1_000)] == []


async def next_event(response: ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            block = (await response.content.readuntil(b"\n\n")).decode()
            if block.startswith("id: "):
                told: dict[str, Any] = orjson.loads(block.partition("data: ")[2])
                return told


async def all_applied(site: Site, shards: Iterable[int]) -> None:
    """Wait until these shards have applied all golden events that are theirs, while a node may be away."""
    _, events = golden()
    async with asyncio.timeout(40):
        for shard in shards:
            sent = sum(site.shard_of(line) == shard for line in events)
            while True:
                with contextlib.suppress(RedisError, OSError):
                    if await site.applied_of(shard) == sent:
                        break
                await asyncio.sleep(0.1)


COUNT = "return redis.call('INCR', KEYS[1])"


async def test_a_script_without_an_answer_runs_once_from_our_client_and_again_from_the_usual_one(
    cluster: Cluster,
) -> None:
    ours: Any = connect(Config(redis_url=Secret(cluster.url), redis_cluster=True, redis_timeout_seconds=0.3))
    usual: Any = redis.asyncio.RedisCluster.from_url(cluster.url, socket_timeout=0.3)
    try:
        for client, key in ((ours, "ours"), (usual, "usual")):
            assert await client.get(key) is None
            node = cluster.node_of(key_slot(key.encode()))
            node.pause()
            sent = asyncio.ensure_future(client.eval(COUNT, 1, key))
            await asyncio.sleep(0.5)  # it waits in vain; what it sent is still there, and is run later
            node.resume()
            with pytest.raises(RedisTimeoutError) if client is ours else contextlib.nullcontext():
                await sent
        assert await usual.get("ours") == b"1"
        assert int(await usual.get("usual")) > 1
    finally:
        for client in (ours, usual):
            await client.aclose()
