"""Backlogs: read in event time, whatever the broker does meanwhile, and never more of it in memory than is needed."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import orjson

from streams.local.kafka import Kafka
from streams.local.redis import Redis
from tests.conftest import KafkaAddress, RedisAddress
from tests.faults.flood import busy_share, flood, highest_memory
from tests.support.cluster import Site, folded, golden

DAYS = 40
MESSAGES = 150
"""Of each day. With what pads them, a day's are more than a fetch brings."""


def history() -> list[bytes]:
    """One contact who writes every few minutes on every day, and moves to another group each night."""
    dice = Random(1)  # what pads them does not compress well
    begin = datetime.now(UTC) - timedelta(days=DAYS + 2)
    lines = [_event("contact.created", 0, begin, origin="Web", channel="sms")]
    for day in range(DAYS):
        dawn = begin + timedelta(days=day)
        for number in range(1, MESSAGES):
            at = dawn + timedelta(minutes=5 * number)
            lines.append(
                _event(
                    "message.received",
                    number,
                    at,
                    conversation_id=f"v{day}",
                    channel="sms",
                    padding=dice.randbytes(4_000).hex(),
                )
            )
        lines.append(_event("contact.moved", 0, dawn + timedelta(hours=23), group_id=f"g{day}"))
    return lines


def _event(kind: str, number: int, at: datetime, **fields: str) -> bytes:
    common = {"type": kind, "account_id": "acme", "contact_id": "ana", "occurred_at": at.isoformat()}
    return orjson.dumps({"id": f"{kind} {number} {at:%j}", **common, **fields})


async def test_a_broker_that_stalls_in_a_backlog_makes_nothing_too_late(
    redis_server: RedisAddress, namespace: str, tmp_path: Path
) -> None:
    events = history()
    with Kafka(tmp_path / "kafka") as broker:
        site = Site(broker.bootstrap, redis_server.url, namespace, tmp_path, partitions=1)
        try:
            await site.create_topics()
            await site.send([], events)
            worker = site.start_worker(BATCH_EVENTS="20")
            await site.wait_for(lambda applied: applied > 500)
            broker.pause()
            await asyncio.sleep(8)
            stalled_at = await site.applied()
            broker.resume()
            assert stalled_at < len(events) / 2  # it stalled in the middle
            await site.wait_for(lambda applied: applied == len(events))
            assert await site.dead_letters() == []
            assert await site.facts() == folded([], events)
            assert await site.stop(worker) == [0]
        finally:
            broker.resume()
            await site.close()


WAITING = 1_000_000
MOST_GROWTH_KILOBYTES = 70_000
"""About twice what 4 shards with 2 batches of 1,000 records and the fetched bytes of some more take."""


async def test_a_worker_without_redis_holds_no_more_of_a_backlog_than_its_limits_say(
    kafka: KafkaAddress, namespace: str, tmp_path: Path
) -> None:
    accounts, _ = golden()
    with Redis(tmp_path / "redis") as server:
        site = Site(kafka.bootstrap, server.url, namespace, tmp_path)
        try:
            await site.create_topics()
            await site.send(accounts, [])
            worker = site.start_worker(REDIS_TIMEOUT_SECONDS="2", BATCH_EVENTS="1000")
            await site.wait_for_settings("acc0")
            async with highest_memory(worker.pid) as memory:
                flooding = asyncio.ensure_future(flood(site, WAITING, range(site.partitions)))
                await site.wait_for(lambda applied: applied > 0)
                server.pause()  # in the middle of it, with records fetched and batches under way
                await flooding
                assert await busy_share(worker.pid, 6) < 0.5
                server.resume()
            assert memory.growth < MOST_GROWTH_KILOBYTES, f"{memory.growth} kB for {WAITING} records that wait"
            await site.wait_for(lambda applied: applied > 50_000)
            worker.kill()
        finally:
            await site.close()
