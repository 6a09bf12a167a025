"""Two snapshotters on a real Redis, one of them a process that is stopped just before it publishes."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from aggregates.filters import Filters
from streams.config import Config, Secret
from streams.snapshots.fenced import GARBAGE_MS
from streams.snapshots.manifest import PublicKeys, load_manifest
from streams.snapshots.reader import SnapshotReader
from streams.snapshots.snapshotter import Snapshotter
from tests.conftest import RedisAddress
from tests.faults.sabotage import SHORT_LEASE_SECONDS
from tests.integration.test_snapshots import WHOLE, Ends, Shards, client, golden_lines, shards

__all__ = ["client", "shards"]  # fixtures


async def slow_one(redis_server: RedisAddress, namespace: str, fault: str) -> asyncio.subprocess.Process:
    """A `mediana snapshot` with that fault inside; it has stopped itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
    settings = {
        "MEDIANA_REDIS_URL": redis_server.url,
        "MEDIANA_NAMESPACE": namespace,
        "MEDIANA_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.sabotage", fault, "snapshot"),
        env={**kept, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        while process.returncode is None:
            told = Path(f"/proc/{process.pid}/stat").read_text()  # noqa: ASYNC240 - no file of a disk
            if told.rpartition(")")[2].split()[0] == "T":
                return process
            await asyncio.sleep(0.05)
    _, said = await process.communicate()
    raise AssertionError(f"it ended instead: {said.decode()}")


async def overtaken(
    client: Any, shards: Shards, redis_server: RedisAddress, fault: str
) -> tuple[bool, int | None, str]:
    """Whether the reports are right after the slow one went on, its exit status, and what it said."""
    namespace = shards.keys.namespace
    lines = golden_lines()
    await shards.commit(lines[:900])
    slow = await slow_one(redis_server, namespace, fault)
    try:
        await asyncio.sleep(SHORT_LEASE_SECONDS)
        await shards.commit(lines[900:])
        config = Config(redis_url=Secret(redis_server.url), namespace=namespace)
        quick = Snapshotter(client, config, Ends(shards.ends()))
        assert len(await quick.publish(all_accounts=True)) == 3
        slow.send_signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            _, said = await slow.communicate()
    finally:
        if slow.returncode is None:
            slow.kill()
            await slow.wait()
    reader, right = SnapshotReader(client, namespace), True
    for account_id in ("acc0", "acc1", "acc2"):
        answer = await reader.metrics(account_id, *WHOLE, Filters())
        manifest = await load_manifest(client, PublicKeys(namespace, account_id))
        assert manifest is not None
        right = right and answer.metrics == shards.whole.metrics(account_id, *WHOLE) and answer.complete
        right = right and manifest.positions == {shard: (10 * seq, 20 * seq) for shard, seq in enumerate(shards.seqs)}
    return right, slow.returncode, said.decode()


STOPS = ["snapshotter_stops", "snapshotter_stops_with_its_parts_written"]


@pytest.mark.parametrize("fault", STOPS)
async def test_a_snapshotter_that_was_stopped_for_longer_than_its_lease_writes_nothing_any_more(
    client: Any, shards: Shards, redis_server: RedisAddress, fault: str
) -> None:
    right, status, said = await overtaken(client, shards, redis_server, fault)
    assert right
    # The guard acted, and a person is told.
    assert status == 1
    assert "another snapshotter has taken the lock" in said


@pytest.mark.parametrize("fault", STOPS)
async def test_without_its_guards_it_takes_numbers_back(
    client: Any, shards: Shards, redis_server: RedisAddress, fault: str
) -> None:
    right, *_ = await overtaken(client, shards, redis_server, f"{fault}_unguarded")
    assert not right


async def test_what_a_killed_snapshotter_leaves_behind_goes_in_time(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    await shards.commit(golden_lines())
    namespace = shards.keys.namespace
    slow = await slow_one(redis_server, namespace, "snapshotter_stops_with_its_parts_written")
    slow.kill()
    await slow.communicate()
    keys = PublicKeys(namespace, "acc0")
    orphans = [member for member in await client.hkeys(keys.garbage) if b":" in member]
    assert len(orphans) > 10
    config = Config(redis_url=Secret(redis_server.url), namespace=namespace)
    snapshotter = Snapshotter(client, config, Ends(shards.ends()))
    for _ in range(2):
        await snapshotter.publish(all_accounts=True)
    age, seen = (await client.hget(keys.garbage, "clock")).split(b":")
    await client.hset(keys.garbage, "clock", b"%d:%s" % (int(age) + GARBAGE_MS - 60_000, seen))
    await snapshotter.publish(all_accounts=False)
    assert set(orphans) <= set(await client.hkeys(keys.garbage))
    await client.hset(keys.garbage, "clock", b"%d:%s" % (int(age) + GARBAGE_MS, seen))
    await snapshotter.publish(all_accounts=False)
    assert not await client.exists(keys.garbage)
    manifest = await load_manifest(client, keys)
    assert manifest is not None
    found = [key async for key in client.scan_iter(match=f"{namespace}:mediana:{{acc0}}:*")]
    assert len([key for key in found if b":part:" in key]) == len(manifest.parts)
