"""Stock Faust: its own Kafka client, topics, agents and tables."""

import logging
import sys
from typing import Any

import faust

from bench.harness.task import Meter, Task, decode_item, read_task


def create_app(task: Task) -> faust.App:
    """An app with one agent on both topics. Values stay bytes: no codec of Faust's is paid for."""
    app = faust.App(
        task.name,
        broker=f"kafka://{task.bootstrap}",
        store="memory://",
        datadir=str(task.folder / "faust"),
        topic_partitions=task.partitions,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    topic = app.topic(*task.topics, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw")
    meter = Meter(task)
    if task.lane == "faust_empty":

        @app.agent(topic)
        async def read(stream: Any) -> None:
            async for _ in stream:
                meter.begin()
                meter.count(1)

    else:
        counts: Any = app.Table("counts", default=int, partitions=task.partitions, key_type=bytes)

        @app.agent(topic)
        async def count(stream: Any) -> None:
            async for key, value in stream.items():
                meter.begin()
                decode_item(value)
                counts[key] += 1
                meter.count(1)

    return app


if __name__ == "__main__":
    logging.getLogger("faust").setLevel(logging.ERROR)
    _app = create_app(read_task(sys.argv))
    faust.Worker(_app, loglevel="ERROR", quiet=True).execute_from_commandline()
