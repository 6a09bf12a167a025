"""From an event's sending to its committed counters: `make bench-latency`.

A worker with some contacts known. First its capacity: the rate it keeps up with while a sender shares the machine. Then
an even rate at shares of it, each event stamped with the moment of its sending; and at last single events on topics
that are quiet. A time is from the call that hands an event to the Kafka client to the ledger's new position in Redis.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.harness.commit_times import Observations, observe, waits
from bench.harness.errors import BenchError
from bench.harness.population import Population, Record, steady_records
from bench.harness.rate_sender import Paced, PaceTask
from bench.harness.report import Outcome, Table, publish
from bench.harness.servers import Stand, Worker
from bench.harness.statistics import quantile
from bench.harness.tables import Cell
from bench.harness.variables import Variables
from bench.scaling.flat import now_ms, verify, written
from streams.config import Config
from streams.local.errors import LocalStackError

PARTITIONS = 4
ACCOUNTS = 10
SKIPPED_SECONDS = 1.0
"""Of each run: the first fetches and cold caches."""

LEAD_SECONDS = 2.0
"""How long a sending program takes to start; events are stamped for then."""

SETTLED_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""For what is left to be committed after the last event was sent."""

QUIET_SECONDS = 0.7
"""Between two single events."""


class Run(Struct, frozen=True):
    """One rate."""

    title: str
    rate: float
    waits: list[float]
    """Seconds."""
    latest: float
    """By how much the sender was late at most."""
    last: float
    """When the last event was committed, after the last was sent, in seconds."""
    cpu_us: float
    """CPU time of the worker per event: small batches cost more."""


def main(_: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Measure; what stands in the way is told on standard error, with status 1."""
    variables = Variables(environment)
    try:
        contacts = variables.number("LATENCY_CONTACTS", 20_000)
        seconds = variables.number("LATENCY_SECONDS", 12, lowest=3)
        shares = variables.numbers("LATENCY_SHARES", "10 50 90")
        singles = variables.number("LATENCY_SINGLES", 30)
        folder = variables.folder("latency")
        with Stand(folder) as stand:
            bench = _Bench(stand, folder, contacts)
            capacity = bench.capacity()
            runs = [bench.run(f"{share} %", capacity * share / 100, seconds) for share in shares]
            runs.append(bench.singles(singles))
            bench.close()
        publish(outcome(capacity, runs), variables.documents())
    except (BenchError, LocalStackError) as error:
        print(f"latency: {error}", file=sys.stderr)
        return 1
    return 0


class _Bench:
    def __init__(self, stand: Stand, folder: Path, contacts: int) -> None:
        self._stand = stand
        self._folder = folder
        self._config: Config = stand.config("latency", PARTITIONS)
        self._population = Population(
            contacts=contacts, accounts=ACCOUNTS, days=10, partitions=PARTITIONS, until_ms=now_ms() - 3_600_000
        )
        written(stand, self._config, self._population)
        self._worker: Worker = stand.worker(self._config).start()
        stand.wait_until_ready(self._config, [self._worker])
        self._runs = 0

    def capacity(self) -> float:
        """Events a second that are committed while more are sent than the worker can take."""
        backlog = self._records(40_000, 40_000)
        burst = self._stand.measure(self._config, [self._worker], backlog).per_second
        paced, seen = self._paced(self._records(int(burst * 6), burst), burst)
        end = paced.ended
        done = sum(_position_at(points, end) - _position_at(points, end - 4) for points in seen.seen.values())
        self._stand.say(f"a backlog at {burst:,.0f} events a second; beside a sender at that rate, {done / 4:,.0f}")
        return done / 4

    def run(self, title: str, rate: float, seconds: float) -> Run:
        """An even rate for a while."""
        records = self._records(int(rate * seconds), rate)
        before = self._worker.usage.cpu_seconds()
        paced, seen = self._paced(records, rate)
        cpu_us = (self._worker.usage.cpu_seconds() - before) / len(records) * 1e6
        found = waits(paced, seen.seen, SKIPPED_SECONDS)
        last = max(points[-1][0] for points in seen.seen.values()) - paced.ended
        self._stand.say(f"{title}: {rate:,.0f} events a second, median {quantile(found, 0.5) * 1000:.0f} ms")
        return Run(title, rate, found, paced.latest, last, cpu_us)

    def singles(self, count: int) -> Run:
        """Single events on quiet topics."""
        rate = 1 / QUIET_SECONDS
        paced, seen = self._paced(self._records(count, rate), rate)
        return Run("single events", rate, waits(paced, seen.seen), paced.latest, 0.0, 0.0)

    def close(self) -> None:
        verify(self._worker.metrics("mediana_late_events_total"), self._worker.metrics("mediana_dead_letters_total"))
        self._stand.stop([self._worker])

    def _records(self, count: int, rate: float) -> list[Record]:
        self._runs += 1
        begin_ms = now_ms() + int(LEAD_SECONDS * 1000)
        return steady_records(self._population, count, begin_ms, rate, f"l{self._runs}-")

    def _paced(self, records: list[Record], rate: float) -> tuple[Paced, Observations]:
        time.sleep(SETTLED_SECONDS)
        return paced_and_seen(self._stand, self._folder, self._config, records, rate)


def paced_and_seen(
    stand: Stand, folder: Path, config: Config, records: Sequence[Record], rate: float
) -> tuple[Paced, Observations]:
    """Send records at a rate, and watch until everything is committed. Raises `BenchError` when it is not."""
    path, result = folder / "records", folder / "sent"
    path.write_bytes(msgspec.msgpack.encode(records))
    result.unlink(missing_ok=True)
    names = {"contacts": config.topics.contacts, "conversations": config.topics.conversations}
    task = PaceTask(config.kafka_bootstrap, names, str(path), str(result), rate)
    target = stand.applied(config) + len(records)
    sender = subprocess.Popen([sys.executable, "-m", "bench.harness.rate_sender", msgspec.json.encode(task).decode()])
    deadline = time.monotonic() + len(records) / rate + PATIENCE_SECONDS
    try:
        seen = observe(
            lambda: stand.positions(config),
            lambda found: found.total >= target or time.monotonic() > deadline or sender.poll() not in (None, 0),
        )
        if sender.wait(30) != 0 or seen.total < target:
            raise BenchError(f"{seen.total - target + len(records):,} of {len(records):,} events were committed")
    finally:
        sender.kill()
    return msgspec.msgpack.decode(result.read_bytes(), type=Paced), seen


def _position_at(points: Sequence[tuple[float, int]], instant: float) -> int:
    return max((position for at, position in points if at <= instant), default=points[0][1])


def outcome(capacity: float, runs: Sequence[Run]) -> Outcome:
    """Tables and summary."""
    rows: list[list[Cell]] = [
        [
            run.title,
            float(round(run.rate)) if run.rate > 10 else run.rate,
            len(run.waits),
            *(quantile(run.waits, share) * 1000 for share in (0.5, 0.9, 0.99, 1.0)),
            *(run.last * 1000, run.latest * 1000, run.cpu_us or None),
        ]
        for run in runs
    ]
    head = (
        *("of the capacity", "events/s", "measured", "median ms", "p90 ms", "p99 ms", "longest ms"),
        *("last one after the end ms", "sender late by ms", "CPU µs/event"),
    )
    summary = {
        "capacity_per_second": round(capacity),
        "milliseconds": {
            run.title: {
                "p50": round(quantile(run.waits, 0.5) * 1000, 1),
                "p99": round(quantile(run.waits, 0.99) * 1000, 1),
            }
            for run in runs
        },
    }
    return Outcome(
        name="latency",
        tables=[Table("From sending an event to its committed counters", head, rows)],
        summary=summary,
        notes=[
            f"Capacity: {capacity:,.0f} events a second of one worker, beside Kafka, Redis and the sender.",
            "A record that is alone in its topic waits until it is 100 ms old for what the other topic may bring.",
        ],
    )
