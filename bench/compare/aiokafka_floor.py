"""Lanes on plain aiokafka: the floor, the floor with Mediana's own decoding, and one HINCRBY per event."""

import asyncio
import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from bench.harness.task import Meter, Task, decode_item, read_task
from schemas.events import decode_record

Records = dict[TopicPartition, list[Any]]

_MOST_RECORDS = 2_000
_POLL_MS = 1_000


async def _read(task: Task, handle: Callable[[TopicPartition, list[Any]], object]) -> None:
    """Both topics, from the beginning, without a group: nothing is spent on offsets."""
    consumer = AIOKafkaConsumer(bootstrap_servers=task.bootstrap, group_id=None, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for topic in task.topics for number in range(task.partitions)])
    await consumer.seek_to_beginning()
    meter = Meter(task)
    meter.begin()  # before the first fetch: a lane this short would else be given much of its fetching
    while True:
        found: Records = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
        if not found:
            continue
        for partition, records in found.items():
            handle(partition, records)
        meter.count(sum(map(len, found.values())))


async def floor(task: Task) -> None:
    """Fetch and decode to a small struct: what reading the events costs at the very least."""

    def handle(_: TopicPartition, records: list[Any]) -> None:
        for record in records:
            decode_item(record.value)

    await _read(task, handle)


async def records(task: Task) -> None:
    """Fetch and decode to the events themselves, with every check of the contract."""

    def handle(partition: TopicPartition, records: Iterable[Any]) -> None:
        topic: Literal["contacts", "conversations"]
        topic = "contacts" if partition.topic == task.topics[0] else "conversations"
        for record in records:
            decode_record(topic, record.key, record.value, record.timestamp)

    await _read(task, handle)


async def hincrby(task: Task) -> None:
    """Count per contact in Redis: one HINCRBY per event, one pipeline per batch, offsets committed by the client.

    What one would write first. A crash between the pipeline and the next commit of offsets counts twice.
    """
    consumer = AIOKafkaConsumer(
        *task.topics, bootstrap_servers=task.bootstrap, group_id=task.name, auto_offset_reset="earliest"
    )
    client = Redis.from_url(task.redis_url)
    await client.ping()
    await consumer.start()
    meter = Meter(task)
    meter.begin()
    while True:
        found: Records = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
        if not found:
            continue
        pipeline = client.pipeline(transaction=False)
        count = 0
        for records in found.values():
            for record in records:
                pipeline.hincrby(f"{task.name}:events", decode_item(record.value).contact_id, 1)
            count += len(records)
        await pipeline.execute()
        meter.count(count)


_LANES = {"floor": floor, "decode_record": records, "hincrby": hincrby}

if __name__ == "__main__":
    _task = read_task(sys.argv)
    asyncio.run(_LANES[_task.lane](_task))
