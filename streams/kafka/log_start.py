"""Estimates the instant from which a truncated topic is complete.

A record that is gone was written before the first one that is left, so it was sent no later than that one, as far as
the senders' clocks agree. The instant is the later of that record's timestamp and of its event's `occurred_at`, and
never later than now. When no record is left, or none can be read in time, it is now: what is gone is gone already.
"""

from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, time
from typing import TypeAlias

from aiokafka import AIOKafkaConsumer

from schemas.errors import InvalidEvent, UnknownType
from schemas.events import decode_event, instant_us
from streams.config import Config
from streams.kafka.clients import ConsumerRecord, TopicPartition, client_options

PATIENCE_SECONDS = 10.0
"""How long the first records may take; an open transaction at the beginning can hold them back for minutes."""

_POLL_MS = 200

Instants: TypeAlias = Callable[[Mapping[TopicPartition, int]], Awaitable[dict[TopicPartition, int]]]
"""Partition → where its log begins now, to partition → from which instant on it is complete, in milliseconds."""


async def complete_from(config: Config, begins: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Partition → the instant, in milliseconds since 1970, from which on its log has everything that was sent.

    `begins` says where each partition's log begins now. Raises `KafkaError` and its like.
    """
    if not begins:
        return {}
    firsts = await _first_records(config, begins)
    now_ms = int(time() * 1000)
    return {partition: instant_of(firsts.get(partition), now_ms) for partition in begins}


def instant_of(first: ConsumerRecord | None, now_ms: int) -> int:
    """From which instant on a log is complete, given the first record that is left of it."""
    if first is None or first.timestamp <= 0:  # a record without a timestamp says nothing of those before it
        return now_ms
    try:
        occurred_ms = instant_us(decode_event(first.value or b"").occurred_at) // 1000
    except (InvalidEvent, UnknownType):
        occurred_ms = 0
    timestamp_ms: int = first.timestamp
    return min(max(timestamp_ms, occurred_ms), now_ms)


async def _first_records(config: Config, begins: Mapping[TopicPartition, int]) -> dict[TopicPartition, ConsumerRecord]:
    # No group: this reads a record here and there, and takes nothing from the workers.
    consumer = AIOKafkaConsumer(
        **client_options(config),
        client_id="mediana-log-begins",
        auto_offset_reset="none",
        isolation_level="read_committed",
    )
    found: dict[TopicPartition, ConsumerRecord] = {}
    await consumer.start()
    try:
        consumer.assign(list(begins))
        ends = await consumer.end_offsets(list(begins))
        for partition, begin in begins.items():
            consumer.seek(partition, begin)
        waiting = {partition for partition, begin in begins.items() if begin < ends[partition]}
        deadline = monotonic() + PATIENCE_SECONDS
        while waiting and monotonic() < deadline:
            for partition, records in (await consumer.getmany(*waiting, timeout_ms=_POLL_MS)).items():
                found[partition] = records[0]
                consumer.pause(partition)
            waiting = {
                partition
                for partition in waiting - found.keys()
                if await consumer.position(partition) < ends[partition]
            }
    finally:
        await consumer.stop()
    return found
