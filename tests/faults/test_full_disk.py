"""A disk without room for Redis' append-only file, and a file that ends in the middle of a command."""

import asyncio
from pathlib import Path

from streams.local.redis import Redis
from tests.conftest import KafkaAddress
from tests.faults.disk import append_only_file, fill_disk, free_disk, torn
from tests.support.cluster import Site, folded, golden


async def test_a_full_disk_makes_workers_wait_and_loses_nothing(
    kafka: KafkaAddress, namespace: str, tmp_path: Path
) -> None:
    accounts, events = golden()
    with Redis(tmp_path / "redis") as server:
        site = Site(kafka.bootstrap, server.url, namespace, tmp_path)
        try:
            await site.create_topics()
            await site.send(accounts, events[:300])
            worker = site.start_worker(BATCH_EVENTS="20")
            await site.wait_for(lambda applied: applied == 300)
            fill_disk(server, 20_000)
            await site.send([], events[300:])
            async with asyncio.timeout(20):
                while "MISCONF" not in site.told():  # noqa: ASYNC110 - another process's log
                    await asyncio.sleep(0.05)
            await asyncio.sleep(3)
            assert await site.applied() < len(events)
            assert (await site.client.info("persistence"))["aof_last_write_status"] == "err"
            assert worker.poll() is None
            free_disk(server)
            await site.wait_for(lambda applied: applied == len(events))
            assert await site.facts() == folded(accounts, events)
            # What was acknowledged is on the disk: the file alone brings it back.
            assert await site.stop(worker) == [0]
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            await site.client.connection_pool.disconnect()
            assert await site.facts() == folded(accounts, events)
        finally:
            await site.close()


async def test_redis_that_comes_back_with_half_a_command_at_the_end_of_its_file_is_caught_up(
    kafka: KafkaAddress, namespace: str, tmp_path: Path
) -> None:
    accounts, events = golden()
    with Redis(tmp_path / "redis") as server:
        site = Site(kafka.bootstrap, server.url, namespace, tmp_path)
        try:
            await site.create_topics()
            await site.send(accounts, events)
            worker = site.start_worker(BATCH_EVENTS="20")
            await site.wait_for(lambda applied: applied == len(events))
            await asyncio.to_thread(server.kill)
            # The middle of the last commit's script, most of which is one long command.
            torn(append_only_file(server), 1_000)
            await asyncio.to_thread(server.start)
            assert "truncated" in server.process.log_text()  # type: ignore[union-attr]
            await site.client.connection_pool.disconnect()
            await site.wait_for(lambda applied: applied == len(events))
            assert await site.facts() == folded(accounts, events)
            assert "claiming again" in site.told()
            assert await site.stop(worker) == [0]
        finally:
            await site.close()
