"""bytewax: a count per contact in the memory of one worker, without recovery, which would cost more.

Twice: with a step that takes whole batches, the cheapest there is and the number of the summary; and item by item, as
its guide writes it.
"""

import sys
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from confluent_kafka import OFFSET_BEGINNING

from bench.harness.task import Meter, Task, decode_item, read_task


class _Partition(StatelessSinkPartition[Any]):  # type: ignore[misc]  # an optional package, read untyped
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def write_batch(self, items: list[Any]) -> None:
        self._meter.count(len(items))


class _Sink(DynamicSink[Any]):  # type: ignore[misc]  # an optional package, read untyped
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def build(self, *_: object) -> _Partition:
        return _Partition(self._meter)


def flow_of(task: Task) -> Dataflow:
    """Read, decode, count by key."""
    meter = Meter(task)

    def pair(message: Any) -> tuple[str, None]:
        meter.begin()
        decode_item(message.value)
        return message.key.decode(), None

    def keyed(messages: list[Any]) -> list[tuple[str, None]]:
        meter.begin()
        for message in messages:
            decode_item(message.value)
        return [(message.key.decode(), None) for message in messages]

    def add_one(count: int | None, _: None) -> tuple[int, int]:
        count = (count or 0) + 1
        return count, count

    flow = Dataflow("bench")
    source: Any = KafkaSource(
        [task.bootstrap], task.topics, tail=False, starting_offset=OFFSET_BEGINNING, batch_size=2_000
    )
    messages = op.input("read", flow, source)
    by_batch = task.lane == "bytewax"
    pairs = op.flat_map_batch("decode", messages, keyed) if by_batch else op.map("decode", messages, pair)
    counted = op.stateful_map("count", pairs, add_one)
    op.output("done", counted, _Sink(meter))
    return flow


if __name__ == "__main__":
    run_main(flow_of(read_task(sys.argv)))
