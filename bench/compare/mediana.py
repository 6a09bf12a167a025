"""Mediana's lane: the real worker, against an empty namespace, until it has committed everything.

Its CPU time is taken from outside, from the moment it claims its first shard (so fetching, the whole of it, is
included) to the commit that reaches the end of the log. The Redis server's is taken over the same time.
"""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.request import urlopen

from redis import Redis

from bench.harness.errors import LaneFailed
from bench.harness.proc import Usage
from bench.harness.task import Measured, Task
from bench.harness.traffic import Traffic
from streams.local.ports import LOOPBACK, free_port
from streams.local.process import Process
from streams.redis.keys import CONTACTS, CONVERSATIONS, TOKEN, ShardKeys

TIMEOUT_SECONDS = 120.0
CLAIM_POLL_SECONDS = 0.005
POLL_SECONDS = 0.02


def server_seconds(redis: Any) -> float:
    """CPU time of the Redis server, its background processes (that rewrite its file) included."""
    info: Mapping[str, float] = redis.info("cpu")
    names = ("used_cpu_user", "used_cpu_sys", "used_cpu_user_children", "used_cpu_sys_children")
    return sum(float(info[name]) for name in names)


def environment(task: Task, metrics_port: int) -> dict[str, str]:
    """The worker's whole environment: our own without its settings, and the task's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
    return kept | {
        "MEDIANA_KAFKA_BOOTSTRAP": task.bootstrap,
        "MEDIANA_REDIS_URL": task.redis_url,
        "MEDIANA_TOPIC_PREFIX": task.topic_prefix,
        "MEDIANA_NAMESPACE": task.name,
        "MEDIANA_METRICS_PORT": str(metrics_port),
        "MEDIANA_LOG_LEVEL": "warning",
    }


def run(task: Task, ends: Mapping[int, tuple[int, int]], traffic: Traffic) -> Measured:
    """Measure one run. `ends` are those of both topics' logs, per shard. Raises `LaneFailed`."""
    port = free_port()
    worker = Process(
        "worker",
        [sys.executable, "-m", "streams.cli.main", "worker"],
        log_path=task.folder / "worker.log",
        environment=environment(task, port),
    )
    with Redis.from_url(task.redis_url) as redis:
        worker.start()
        try:
            assert worker.pid is not None
            usage = Usage(worker.pid)
            deadline = time.monotonic() + TIMEOUT_SECONDS
            keys = [ShardKeys(task.name, shard).ledger for shard in sorted(ends)]
            while not any(_ask(redis, keys, (TOKEN,))):
                _check(worker, deadline)
                time.sleep(CLAIM_POLL_SECONDS)
            cpu, server, wall = usage.cpu_seconds(), server_seconds(redis), time.monotonic()
            wanted = [
                (b"%d" % contacts, b"%d" % conversations) for _, (contacts, conversations) in sorted(ends.items())
            ]
            while _ask(redis, keys, (CONTACTS, CONVERSATIONS)) != wanted:
                _check(worker, deadline)
                time.sleep(POLL_SECONDS)
            measured = Measured(
                events=task.events,
                cpu_seconds=usage.cpu_seconds() - cpu,
                wall_seconds=time.monotonic() - wall,
                peak_mib=usage.peak_mib(),
                server_seconds=server_seconds(redis) - server,
            )
            _verify(port, traffic)
        finally:
            worker.stop()
    return measured


def _ask(redis: Any, keys: list[bytes], fields: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """Those fields of each ledger that has all of them."""
    pipeline = redis.pipeline(transaction=False)
    for key in keys:
        pipeline.hmget(key, fields)
    return [tuple(values) for values in pipeline.execute() if None not in values]


def _check(worker: Process, deadline: float) -> None:
    if not worker.running:
        raise LaneFailed(f"the worker ended by itself (status {worker.status}): {worker.last_lines(3)}")
    if time.monotonic() > deadline:
        raise LaneFailed(f"the worker was not done after {TIMEOUT_SECONDS:.0f} s: {worker.last_lines(3)}")


def _verify(metrics_port: int, traffic: Traffic) -> None:
    """A fast lane that dropped events would be no lane: every event must have been folded, once."""
    with urlopen(f"http://{LOOPBACK}:{metrics_port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    folded: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("mediana_events_total{"):
            folded[name.partition('type="')[2].partition('"')[0]] = int(float(value))
    folded = {kind: count for kind, count in folded.items() if count}  # the others' counters stand at 0
    if folded != traffic.types:
        raise LaneFailed(f"the worker folded {folded}, but was sent {traffic.types}")
