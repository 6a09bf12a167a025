"""A backlog is read in event time, whatever the broker does meanwhile: nothing in it becomes too late."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import orjson

from streams.local.kafka import Kafka
from tests.integration.conftest import RedisAddress
from tests.integration.workers import Site, folded

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
            assert await site.counters() == folded([], events)
            assert await site.stop(worker) == [0]
        finally:
            broker.resume()
            await site.close()
