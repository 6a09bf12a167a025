"""Kafka records as a consumer hands them over, and batches of them."""

from array import array

from aiokafka.structs import ConsumerRecord

from streams.records.columns import Run, Taken, names_of

STAMP_MS = 1_772_540_000_000  # half a day after the events of `at`


def record(
    offset: int, value: bytes | None = b"{}", *, key: bytes | None = b"ana", topic: str = "t", at_ms: int = STAMP_MS
) -> ConsumerRecord:
    """A record of partition 3."""
    return ConsumerRecord(topic, 3, offset, at_ms, 0, key, value, None, len(key or b""), len(value or b""), ())


def at(offset: int, clock: str, **options: object) -> ConsumerRecord:
    """A record whose event happened on 2026-03-02 at `clock` UTC."""
    value = b'{"occurred_at": "2026-03-02T%s:00Z"}' % clock.encode()
    return record(offset, value, **options)  # type: ignore[arg-type]


def taken_of(*runs: Run) -> Taken:
    """All records of these runs as one batch, in this order."""
    numbered = {2 * number + run.topic: run for number, run in enumerate(runs)}
    return Taken(numbered, array("Q", [name for number, run in numbered.items() for name in names_of(number, run)]))
