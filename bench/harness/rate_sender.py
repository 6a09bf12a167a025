"""`python -m bench.harness.rate_sender TASK`: sends records at an even rate, and notes when each was sent.

A program of its own, so that neither the one that watches nor the worker is held up by it.
"""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench.harness.population import Record
from bench.harness.servers import confluent_kafka

TICK_SECONDS = 0.002


class PaceTask(Struct, frozen=True):
    """What to send."""

    bootstrap: str
    topics: dict[str, str]
    """Full names of `contacts` and `conversations`."""
    records: str
    """A file of records, msgpack."""
    result: str
    """Where the `Paced` goes."""
    rate: float


class Paced(Struct, frozen=True):
    """What was sent: for each topic and shard the instants, by the monotonic clock, in the order of offsets."""

    sent: dict[str, list[float]]
    """By `TOPIC/SHARD`."""
    began: float
    ended: float
    latest: float
    """By how much the sender itself was late, at most, in seconds."""


def main(task: PaceTask) -> None:
    """Send everything; returns when Kafka has it. Raises `RuntimeError` when it refuses a record."""
    records = msgspec.msgpack.decode(Path(task.records).read_bytes(), type=list[Record])
    refused: list[str] = []
    producer: Any = confluent_kafka().Producer(
        {"bootstrap.servers": task.bootstrap, "enable.idempotence": True, "linger.ms": 0}
    )

    def delivered(error: object, _: object) -> None:
        if error is not None:
            refused.append(str(error))

    producer.list_topics(timeout=30)  # connects, so that the first record does not wait for it
    sent: dict[str, list[float]] = {}
    began = time.monotonic()
    latest = 0.0
    for place, record in enumerate(records):
        due = began + place / task.rate
        while (now := time.monotonic()) < due:
            producer.poll(0)
            time.sleep(min(TICK_SECONDS, max(0.0, due - time.monotonic())))
        latest = max(latest, now - due)
        sent.setdefault(f"{record.topic}/{record.shard}", []).append(now)
        producer.produce(task.topics[record.topic], record.value, record.key, record.shard, on_delivery=delivered)
        producer.poll(0)
    ended = time.monotonic()
    producer.flush(30)
    if refused:
        raise RuntimeError(f"Kafka refused {len(refused)} records: {refused[0]}")
    Path(task.result).write_bytes(msgspec.msgpack.encode(Paced(sent, began, ended, latest)))


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=PaceTask))
