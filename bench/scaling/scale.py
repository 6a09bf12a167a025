"""How workers and partitions share a backlog: `make bench-scale`.

For each number of partitions and of workers, workers are started on empty topics of their own; then everything is sent
at once, and is a backlog as soon as it is there. Events a second until the last is committed, CPU time per event of all
workers together, and of Redis. More workers than cores only show that they get in each other's way: the machine is part
of the result.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

from msgspec import Struct

from bench.harness.errors import BenchError
from bench.harness.population import Population, prepare, steady_records
from bench.harness.report import Outcome, Table, publish
from bench.harness.servers import Cost, Stand
from bench.harness.tables import Cell
from bench.harness.variables import Variables
from bench.scaling.flat import now_ms, verify
from streams.local.errors import LocalStackError

ACCOUNTS = 10
CONTACTS = 20_000
"""Whom half of the visits are of; none is known at the beginning."""

RATE = 50.0
"""Events a second by their stamps: a burst covers minutes of event time, as real traffic does."""


class Row(Struct, frozen=True):
    """One combination."""

    workers: int
    partitions: int
    cost: Cost
    rss_mib: float
    """Of the largest worker."""


def main(_: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Measure; what stands in the way is told on standard error, with status 1."""
    variables = Variables(environment)
    try:
        workers = variables.numbers("SCALE_WORKERS", "1 2 4")
        partitions = variables.numbers("SCALE_PARTITIONS", "1 4 16 64")
        events = variables.number("SCALE_EVENTS", 40_000, lowest=1_000)
        with Stand(variables.folder("scale")) as stand:
            rows = [measure(stand, count, shards, events) for shards in partitions for count in workers]
        publish(outcome(rows, events), variables.documents())
    except (BenchError, LocalStackError) as error:
        print(f"scale: {error}", file=sys.stderr)
        return 1
    return 0


def measure(stand: Stand, workers: int, partitions: int, events: int) -> Row:
    """One combination, on topics and in a namespace of its own, in a Redis that is emptied first."""
    stand.client.flushall()
    config = stand.config(f"scale-{workers}-{partitions}", partitions)
    population = Population(
        contacts=CONTACTS, accounts=ACCOUNTS, days=1, partitions=partitions, until_ms=now_ms() - 3_600_000
    )
    stand.create_topics(config)
    asyncio.run(prepare(config, population))
    running = [stand.worker(config, f"worker-{number + 1}").start() for number in range(workers)]
    stand.wait_until_ready(config, running)
    begin_ms = now_ms() - int(events / RATE * 1000)
    cost = stand.measure(config, running, steady_records(population, events, begin_ms, RATE, "s"))
    stand.say(
        f"{workers} workers, {partitions} partitions: {cost.per_second:,.0f} events a second, {cost.cpu_us:.1f} us"
    )
    rss = max(worker.usage.rss_mib() for worker in running)
    verify(
        sum(worker.metrics("mediana_late_events_total") for worker in running),
        sum(worker.metrics("mediana_dead_letters_total") for worker in running),
    )
    stand.stop(running)
    return Row(workers, partitions, cost, rss)


def outcome(rows: Sequence[Row], events: int) -> Outcome:
    """Tables and summary."""
    alone = {row.partitions: row.cost.per_second for row in rows if row.workers == 1}
    cells: list[list[Cell]] = [
        [
            *(str(row.partitions), row.workers, float(round(row.cost.per_second))),
            row.cost.per_second / alone[row.partitions] if row.partitions in alone else None,
            *(row.cost.cpu_us, row.cost.server_us, row.rss_mib),
        ]
        for row in rows
    ]
    head = (
        *("partitions", "workers", "events/s", "times one worker", "workers' CPU µs/event", "Redis CPU µs/event"),
        "largest worker MiB",
    )
    summary = {
        f"{row.workers}x{row.partitions}": {
            "events_per_second": round(row.cost.per_second),
            "cpu_us_per_event": round(row.cost.cpu_us, 2),
            "redis_us_per_event": round(row.cost.server_us, 2),
        }
        for row in rows
    }
    return Outcome(
        name="scale",
        tables=[Table(f"A backlog of {events:,} events", head, cells)],
        summary=summary,
        notes=[
            f"Workers, Kafka, Redis and for a moment the sender share {os.cpu_count()} cores: that bounds events/s.",
        ],
    )
