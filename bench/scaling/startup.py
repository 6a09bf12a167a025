"""From a worker's start to its first commit, and what a rebalance stops: `make bench-startup`.

A worker has no state of its own to bring back, so both should not depend on how much is known. Beside it stock Faust,
which reads a table's changelog topic before it handles its first event.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from threading import Timer

import msgspec
from aiokafka.admin import NewTopic
from msgspec import Struct

from bench.compare.faust_recovery import Recovered, RecoveryTask
from bench.harness.commit_times import longest_pauses
from bench.harness.errors import BenchError, LaneFailed
from bench.harness.population import Population, live_records, steady_records
from bench.harness.report import Outcome, Table, publish
from bench.harness.servers import POLL_SECONDS, Stand, Worker, confluent_kafka
from bench.harness.tables import Cell
from bench.harness.variables import Variables
from bench.scaling.flat import now_ms, written
from bench.scaling.latency import LEAD_SECONDS, paced_and_seen
from streams.config import Config
from streams.kafka.clients import admin_client
from streams.local.errors import LocalStackError
from streams.local.process import Process

PARTITIONS = 4
ACCOUNTS = 10
STARTS = 3
REBALANCE_RATE = 200.0
BEFORE_SECONDS = 5.0
"""Of traffic before a worker goes."""
FAUST_SECONDS = 120.0
FAUST_EVENT_SECONDS = 0.25
"""Between two events for Faust."""


class Start(Struct, frozen=True):
    """One start, in seconds from the process' beginning."""

    ready: float
    first_commit: float
    rss_mib: float


class Pause(Struct, frozen=True):
    """What the end of one of two workers did, in seconds without a commit."""

    title: str
    moved: float
    """The longest, of the shards that it had."""
    stayed: float
    """The longest, of the others."""


def main(_: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Measure; what stands in the way is told on standard error, with status 1."""
    variables = Variables(environment)
    try:
        sizes = variables.numbers("STARTUP_CONTACTS", "10000 1000000")
        keys = variables.numbers("STARTUP_FAUST_KEYS", "0 100000", lowest=0)
        folder = variables.folder("startup")
        with Stand(folder) as stand:
            starts = {contacts: measure(stand, contacts) for contacts in sizes}
            # In the namespace of the largest population, which is the last.
            pauses = rebalances(stand, folder, sizes[-1])
            stand.client.flushall()
            faust = {count: recovery(stand, folder, count) for count in keys}
        publish(outcome(starts, pauses, faust, sizes[-1]), variables.documents())
    except (BenchError, LocalStackError) as error:
        print(f"startup: {error}", file=sys.stderr)
        return 1
    return 0


def _site(stand: Stand, contacts: int) -> tuple[Config, Population]:
    config = stand.config(f"startup-{contacts}", PARTITIONS)
    until_ms = now_ms() - 7_200_000
    return config, Population(contacts=contacts, accounts=ACCOUNTS, days=10, partitions=PARTITIONS, until_ms=until_ms)


def measure(stand: Stand, contacts: int) -> list[Start]:
    """Start a worker some times, each time with a few new events waiting."""
    stand.client.flushall()
    config, population = _site(stand, contacts)
    written(stand, config, population)
    return [_start(stand, config, population, number) for number in range(STARTS)]


def _start(stand: Stand, config: Config, population: Population, number: int) -> Start:
    begin_ms = now_ms() - 600_000 + number * 120_000
    records = live_records(population, range(200), begin_ms, 60_000, f"u{number}-")
    stand.send(config, records)
    before = stand.applied(config)
    worker = stand.worker(config)
    began = time.monotonic()
    worker.start()
    stand.until(lambda: stand.applied(config) > before, [worker], POLL_SECONDS)
    first_commit = time.monotonic() - began
    stand.until(worker.is_ready, [worker], POLL_SECONDS)
    start = Start(time.monotonic() - began, first_commit, worker.usage.rss_mib())
    stand.say(f"  start {number + 1}: first commit after {first_commit:.2f} s")
    stand.until(lambda: stand.applied(config) >= before + len(records), [worker], POLL_SECONDS)
    stand.stop([worker])
    return start


def rebalances(stand: Stand, folder: Path, contacts: int) -> list[Pause]:
    """Under steady traffic: one of two workers ends in good order, another one starts, one of two is killed,
    with and without a new one in its place."""
    config, population = _site(stand, contacts)
    group = _Group(stand, folder, config, population)
    patience = BEFORE_SECONDS + 2 * config.kafka_session_timeout_seconds
    found = [
        group.pause("one of two stops (SIGTERM)", group.terminate, 7.0),
        group.pause("a second one starts", group.add, 7.0),
        group.pause("one of two is killed and started again at once", group.restart, patience),
        group.pause("one of two is killed (kill -9)", group.kill, patience),
    ]
    stand.stop(group.workers)
    return found


class _Group:
    """Workers that come and go."""

    def __init__(self, stand: Stand, folder: Path, config: Config, population: Population) -> None:
        self._stand = stand
        self._folder = folder
        self._config = config
        self._population = population
        self._number = 0
        self.workers: list[Worker] = []
        self.add()
        self.add()
        stand.wait_until_ready(config, self.workers)

    def add(self) -> None:
        """Another worker."""
        self._number += 1
        self.workers.append(self._stand.worker(self._config, f"worker-{self._number}").start())

    def terminate(self) -> None:
        """The last one is asked to stop."""
        self.workers[-1].process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """The last one is killed."""
        self.workers[-1].process.send_signal(signal.SIGKILL)

    def restart(self) -> None:
        """The last one is killed, and its supervisor starts another."""
        self.kill()
        self.add()

    def pause(self, title: str, act: Callable[[], object], seconds: float) -> Pause:
        """Traffic, and after a while `act`; how long the shards that changed hands stood still."""
        first = self.workers[0]
        wait_until_shards_are_told(self._stand, self.workers)
        before = first.shards()
        count = int((BEFORE_SECONDS + seconds) * REBALANCE_RATE)
        begin_ms = now_ms() + int(LEAD_SECONDS * 1000)
        records = steady_records(self._population, count, begin_ms, REBALANCE_RATE, f"p{self._number}{title[:9]}-")
        acted: list[float] = []

        def strike() -> None:
            acted.append(time.monotonic())
            act()

        timer = Timer(LEAD_SECONDS + BEFORE_SECONDS, strike)
        timer.start()
        try:
            paced, seen = paced_and_seen(self._stand, self._folder, self._config, records, REBALANCE_RATE)
        finally:
            timer.join()
        self.workers = [worker for worker in self.workers if worker.process.running]
        wait_until_shards_are_told(self._stand, self.workers)
        moved = before ^ first.shards()
        pauses = longest_pauses(seen.seen, acted[0] - 0.5, paced.ended)
        # The conversations topic has an event every few milliseconds; the other one is sparse.
        by_shard = {shard: pauses[f"conversations/{shard}"] for shard in range(self._config.partitions)}
        pause = Pause(
            title,
            max((by_shard[shard] for shard in moved), default=0.0),
            max((wait for shard, wait in by_shard.items() if shard not in moved), default=0.0),
        )
        self._stand.say(f"{title}: {pause.moved:.2f} s without a commit where it moved, else {pause.stayed:.2f} s")
        return pause


def wait_until_shards_are_told(stand: Stand, workers: Sequence[Worker]) -> None:
    """A worker's metrics name its shards some seconds after they changed."""
    running = [worker for worker in workers if worker.process.running]

    def told() -> bool:
        shares = [worker.shards() for worker in running]
        return sum(map(len, shares)) == PARTITIONS == len(set().union(*shares)) and all(shares)

    stand.until(told, running, 0.2)


def recovery(stand: Stand, folder: Path, keys: int) -> float:
    """Seconds from the start of a Faust worker to its first handled event, with so many keys in its changelog."""
    app, topic = f"faust-{keys}", f"faust-{keys}-events"
    changelog = f"{app}-counts-changelog"
    asyncio.run(_create(stand.kafka.bootstrap, {topic: {}, changelog: {"cleanup.policy": "compact"}}))
    _fill(stand.kafka.bootstrap, changelog, [b"contact-%08d" % number for number in range(keys)])
    result = folder / f"{app}.json"
    task = RecoveryTask(stand.kafka.bootstrap, app, topic, PARTITIONS, str(folder), str(result))
    program = Process(
        app,
        [sys.executable, "-W", "ignore", "-m", "bench.compare.faust_recovery", msgspec.json.encode(task).decode()],
        log_path=folder / f"{app}.log",
    )
    began = time.monotonic()
    program.start()
    status, deadline = None, began + FAUST_SECONDS
    while status is None and time.monotonic() < deadline:
        # Events keep coming, as in life: what waited from before a long recovery Faust may not take up by itself.
        _fill(stand.kafka.bootstrap, topic, [b"contact-%08d" % number for number in range(PARTITIONS)])
        status = program.wait(FAUST_EVENT_SECONDS)
    program.kill()
    if status is None or not result.exists():
        raise LaneFailed(f"Faust did not recover {keys:,} keys in {FAUST_SECONDS:.0f} s: {program.last_lines(3)}")
    recovered = msgspec.json.decode(result.read_bytes(), type=Recovered)
    if recovered.keys < keys:
        raise LaneFailed(f"Faust recovered {recovered.keys:,} of {keys:,} keys: it did not read its changelog")
    stand.say(f"Faust, {keys:,} keys: first event after {recovered.at - began:.1f} s")
    return recovered.at - began


async def _create(bootstrap: str, topics: Mapping[str, dict[str, str]]) -> None:
    admin = admin_client(Config(kafka_bootstrap=bootstrap))
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(name, PARTITIONS, 1, topic_configs=settings) for name, settings in topics.items()]
        )
    finally:
        await admin.close()
    await asyncio.sleep(0.5)


def _fill(bootstrap: str, topic: str, keys: Sequence[bytes]) -> None:
    producer = confluent_kafka().Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 2_000_000}
    )
    for number, key in enumerate(keys):
        producer.produce(topic, b"1", key, number % PARTITIONS)
        producer.poll(0)
    producer.flush(60)


def outcome(
    starts: Mapping[int, Sequence[Start]], pauses: Sequence[Pause], faust: Mapping[int, float], contacts: int
) -> Outcome:
    """Tables and summary."""
    rows: list[list[Cell]] = [
        [
            f"Mediana, {count:,} contacts known",
            median(start.first_commit for start in found),
            max(start.first_commit for start in found),
            median(start.ready for start in found),
            median(start.rss_mib for start in found),
        ]
        for count, found in starts.items()
    ]
    rows += [[f"Faust, a table of {keys:,} keys", seconds, None, None, None] for keys, seconds in faust.items()]
    summary = {
        "first_commit_seconds": {
            str(count): round(median(start.first_commit for start in found), 2) for count, found in starts.items()
        },
        "faust_first_event_seconds": {str(keys): round(seconds, 2) for keys, seconds in faust.items()},
        "pause_seconds": {pause.title: round(pause.moved, 2) for pause in pauses},
    }
    return Outcome(
        name="startup",
        tables=[
            Table(
                "From the start of a process to its first commit",
                ("", "first commit s", "slowest s", "ready s", "MiB"),
                rows,
                2,
            ),
            Table(
                f"Time without a commit at {REBALANCE_RATE:.0f} events a second, {contacts:,} contacts known",
                ("", "shards that moved, s", "shards that stayed, s"),
                [[pause.title, pause.moved, pause.stayed] for pause in pauses],
                2,
            ),
        ],
        summary=summary,
        notes=[
            "A killed worker is missed after MEDIANA_KAFKA_SESSION_TIMEOUT_SECONDS, 12 s unless set.",
            "Faust waits for a time-out of its own, then reads the changelog of the partitions that it takes over.",
        ],
    )
