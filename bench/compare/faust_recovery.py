"""`python -m bench.compare.faust_recovery TASK`: stock Faust with a table, until it is recovered and one event handled.

Its table is in memory, as in the comparison (`bench.compare.faust_agent`): what a new or replaced worker without a disk
of its own does. With RocksDB a worker that comes back to its own disk reads less; one that takes over partitions does
not.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import faust
import msgspec
from msgspec import Struct

from bench.harness.task import exit_now


class RecoveryTask(Struct, frozen=True):
    """What to do."""

    bootstrap: str
    app: str
    topic: str
    partitions: int
    folder: str
    result: str
    """Where the `Recovered` goes."""


class Recovered(Struct, frozen=True):
    """When the first event was handled, by the monotonic clock, and with how many keys in the table."""

    at: float
    keys: int


def create_app(task: RecoveryTask) -> faust.App:
    """An app that counts by key."""
    app = faust.App(
        task.app,
        broker=f"kafka://{task.bootstrap}",
        store="memory://",
        datadir=str(Path(task.folder) / "faust"),
        topic_partitions=task.partitions,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    topic = app.topic(task.topic, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw")
    counts: Any = app.Table("counts", default=int, partitions=task.partitions, key_type=bytes)

    @app.agent(topic)
    async def count(stream: Any) -> None:
        async for key, _ in stream.items():  # noqa: PERF102 - a stream has no keys()
            counts[key] += 1
            _tell(task, len(counts))
            exit_now()

    return app


def _tell(task: RecoveryTask, keys: int) -> None:
    Path(task.result).write_bytes(msgspec.json.encode(Recovered(time.monotonic(), keys)))


if __name__ == "__main__":
    logging.getLogger("faust").setLevel(logging.ERROR)
    _app = create_app(msgspec.json.decode(sys.argv[1], type=RecoveryTask))
    faust.Worker(_app, loglevel="ERROR", quiet=True).execute_from_commandline()
