"""What a lane is told, how it measures itself, and what it tells.

Every lane but Mediana's own is a program of its own, `python -m MODULE TASK`, which reads both event topics from their
beginning and stops after so many events. CPU time is that of its own process, user and system, all threads: from the
first record it is handed, or where it fetches itself from its first fetch, to the last.
"""

import os
import resource
import sys
import time
from pathlib import Path
from typing import NoReturn

import msgspec
from msgspec import Struct


class Task(Struct, frozen=True):
    """What one run of one lane shall do."""

    lane: str
    bootstrap: str
    redis_url: str
    topic_prefix: str
    partitions: int
    events: int
    """How many events to read; fewer than there are for slow lanes."""
    name: str
    """Unique per run: consumer group, application id, namespace."""
    path: str
    """An empty folder of its own."""

    @property
    def folder(self) -> Path:
        """The folder, as a path."""
        return Path(self.path)

    @property
    def topics(self) -> list[str]:
        """Both event topics."""
        return [f"{self.topic_prefix}.contacts", f"{self.topic_prefix}.conversations"]

    @property
    def result(self) -> Path:
        """The file that the lane writes its `Measured` to."""
        return self.folder / "result.json"


class Measured(Struct, frozen=True, kw_only=True):
    """What one run cost."""

    events: int
    cpu_seconds: float
    wall_seconds: float
    peak_mib: float
    server_seconds: float | None = None
    """CPU time of the Redis server, where it is measured."""


class Item(Struct, gc=False):
    """What lanes that decode decode into: enough of an event to count it by type, contact and time.

    The cheapest that still reads the value. Mediana decodes every event into a full, checked struct of its type.
    """

    type: str
    contact_id: str
    occurred_at: str


decode_item = msgspec.json.Decoder(Item).decode


def read_task(arguments: list[str]) -> Task:
    """The task on a lane's command line."""
    return msgspec.json.decode(arguments[1], type=Task)


class Meter:
    """Measures this process from the first record to the last, then ends it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._left = task.events
        self._cpu = 0.0
        self._wall = 0.0

    def begin(self) -> None:
        """The first record, or the first batch, is here. Harmless when called again."""
        if not self._wall:
            self._cpu, self._wall = time.process_time(), time.monotonic()

    def count(self, events: int) -> None:
        """So many events are done. Does not return when they were the last."""
        self._left -= events
        if self._left <= 0:
            self.finish()

    @property
    def done(self) -> int:
        """How many events are done."""
        return self._task.events - self._left

    def finish(self) -> NoReturn:
        """Write the result, and end at once: how long a framework takes to shut down is not asked here."""
        cpu, wall = time.process_time() - self._cpu, time.monotonic() - self._wall
        write_result(self._task, self.done, cpu, wall)
        sys.stdout.flush()
        sys.stderr.flush()
        exit_now()


def write_result(task: Task, events: int, cpu_seconds: float, wall_seconds: float) -> None:
    """Hand a lane's numbers over."""
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measured = Measured(events=events, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds, peak_mib=peak_mib)
    task.result.write_bytes(msgspec.json.encode(measured))


def exit_now() -> NoReturn:
    """End without ceremony."""
    os._exit(0)
