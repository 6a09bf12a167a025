"""The run: a Kafka and a Redis of its own, traffic, and the lanes in turn, round after round."""

import asyncio
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from redis import Redis as RedisClient

from bench.compare import mediana
from bench.compare.contenders import LANES, MEDIANA, Lane
from bench.harness import charts, traffic
from bench.harness.errors import BenchError, LaneFailed
from bench.harness.options import BenchSettings
from bench.harness.results import LaneResult, as_json, from_json, last_line, markdown, summarize, table
from bench.harness.task import Measured, Task
from streams.config import Config, Secret
from streams.kafka.log_end import LogEnds
from streams.local.errors import LocalStackError
from streams.local.kafka import Kafka
from streams.local.process import Process
from streams.local.redis import Redis

PARTITIONS = 4
LANE_SECONDS = 90.0
"""How long a lane may take, its start included, before it is ended and counts as failed."""


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Measure, or draw charts of an earlier run; what stands in the way is told on standard error, with status 1."""
    try:
        if arguments:
            command, results, folder = arguments
            if command != "charts":
                raise BenchError(f"{command!r} is no command of the bench")
            save(Path(results).read_bytes(), Path(folder))
            return 0
        return Bench(BenchSettings.read(environment)).run()
    except (BenchError, LocalStackError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


class Bench:
    """One run. `folder` is emptied first."""

    def __init__(self, settings: BenchSettings) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._lanes = [lane for lane in LANES if not settings.lanes or lane.name in settings.lanes]
        if unknown := settings.lanes - {lane.name for lane in LANES}:
            raise BenchError(f"BENCH_LANES names {', '.join(sorted(unknown))}, which is no lane")

    def run(self) -> int:
        """All of it; the last line on standard output is the summary."""
        if not sys.platform.startswith("linux"):
            raise BenchError("CPU time of the worker is read from /proc: this needs Linux")
        folder = self._settings.folder
        shutil.rmtree(folder, ignore_errors=True)
        kafka, redis = Kafka(folder / "kafka", report=self._say), Redis(folder / "redis")
        with kafka, redis:
            self._say("Kafka and Redis run")
            config = Config(
                kafka_bootstrap=kafka.bootstrap,
                redis_url=Secret(redis.url),
                topic_prefix="bench",
                namespace="bench",
                partitions=PARTITIONS,
            )
            plan = traffic.plan_of(self._settings.events, self._settings.seed, datetime.now(UTC))
            sent = traffic.send(config, plan, self._settings.events, self._say)
            ends = asyncio.run(_ends(config))
            rounds: list[dict[str, Measured | str]] = []
            for number in range(self._settings.rounds):
                rounds.append({})
                # Each round begins elsewhere, so that no lane always runs after the same one.
                turn = number * len(self._lanes) // self._settings.rounds
                for lane in (*self._lanes[turn:], *self._lanes[:turn]):
                    rounds[-1][lane.name] = self._run(lane, number, config, sent, ends)
        results = summarize(rounds)
        self._publish(results, sent)
        return 0

    def _run(
        self, lane: Lane, number: int, config: Config, sent: traffic.Traffic, ends: Mapping[int, tuple[int, int]]
    ) -> Measured | str:
        name = f"bench-{number + 1}-{lane.name}"
        task = Task(
            lane=lane.name,
            bootstrap=config.kafka_bootstrap,
            redis_url=str(config.redis_url),
            topic_prefix=config.topic_prefix,
            partitions=config.partitions,
            events=max(1, round(sent.events * lane.share)),
            name=name,
            path=str(self._settings.folder / name),
        )
        task.folder.mkdir()
        try:
            if lane.needs is not None and importlib.util.find_spec(lane.needs) is None:
                raise LaneFailed(f"{lane.needs} is not installed (requirements/bench.txt)")
            _empty(task.redis_url)
            measured = mediana.run(task, ends, sent) if lane.name == MEDIANA else _run_program(lane, task)
        except LaneFailed as failure:
            self._say(f"round {number + 1}, {lane.name}: {failure}")
            return str(failure)
        cost = measured.cpu_seconds / measured.events * 1e6
        server = (measured.server_seconds or 0.0) / measured.events * 1e6
        extra = f", its Redis {server:.2f}" if server else ""
        self._say(f"round {number + 1}, {lane.name}: {cost:.2f} us of CPU per event{extra}")
        return measured

    def _publish(self, results: Sequence[LaneResult], sent: traffic.Traffic) -> None:
        about: dict[str, Any] = {
            "events": msgspec.to_builtins(sent),
            "rounds": self._settings.rounds,
            "partitions": PARTITIONS,
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
        }
        data = as_json(results, about)
        for folder in filter(None, (self._settings.folder, self._settings.charts)):
            save(data, folder)
        self._say(f"results and charts are in {self._settings.folder}")
        print(f"\n{table(results)}\n", file=sys.stderr)
        print(data.decode())
        print(last_line(results), flush=True)

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:5.1f} s] {text}", file=sys.stderr, flush=True)


def save(data: bytes, folder: Path) -> None:
    """Write the JSON of a run, its table and its charts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_bytes(data)
    (folder / "table.md").write_text(markdown(from_json(data)) + "\n", encoding="utf-8")
    charts.draw(data, folder)


def _run_program(lane: Lane, task: Task) -> Measured:
    """Run a lane that measures itself. Raises `LaneFailed`."""
    program = Process(
        lane.name,
        [sys.executable, "-W", "ignore", "-m", lane.module, msgspec.json.encode(task).decode()],
        log_path=task.folder / "lane.log",
    )
    program.start()
    status = program.wait(LANE_SECONDS)
    program.kill()
    if status is None:
        raise LaneFailed(f"not done after {LANE_SECONDS:.0f} s")
    if not task.result.exists():
        raise LaneFailed(f"ended with status {status}: {program.last_lines(3)}")
    return msgspec.json.decode(task.result.read_bytes(), type=Measured)


def _empty(redis_url: str) -> None:
    """Leave nothing of the lane before, and let what it set off in the server come to its end."""
    with RedisClient.from_url(redis_url) as redis:
        redis.flushall()
        deadline = time.monotonic() + 20
        while redis.info("persistence")["aof_rewrite_in_progress"] and time.monotonic() < deadline:
            time.sleep(0.05)


async def _ends(config: Config) -> dict[int, tuple[int, int]]:
    ends = LogEnds(config)
    try:
        return await ends.read(config.partitions)
    finally:
        await ends.close()
