"""A long run at a steady rate: `make soak MINUTES=60 RATE=200`. What grows, what stays, and whether it is still right.

A Kafka and a Redis of its own, workers, a snapshotter, and the simulated service's traffic in *accelerated event time*:
a simulated day passes in seconds, so that contacts keep coming, account-days fill, and days older than the horizon
expire, many times over. Caches are set small, so that they are full early; Kafka keeps only the newest part of its log.
What the programs take the day from is the traffic (`bench.soak.program`); nothing else of them is changed.

On stderr a line for each look and tables at the end; on stdout one line of JSON, the last. The exit status is 1 when
a statement of the verdict (`bench.soak.verdict`) does not hold.
"""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
from aiokafka import AIOKafkaProducer
from msgspec import Struct
from redis import Redis as RedisClient

from bench.harness.errors import BenchError
from bench.harness.proc import Usage
from bench.soak.samples import RedisLook, Sample, programs_of
from bench.soak.truth import Truth, compare
from bench.soak.verdict import Limits, grows, judge, line, passed, report, table
from schemas.events import encode_event
from streams.config import Config, Secret
from streams.kafka import topics
from streams.kafka.clients import admin_client, client_options
from streams.local.errors import LocalStackError
from streams.local.kafka import Kafka
from streams.local.ports import LOOPBACK, free_port
from streams.local.process import Process
from streams.local.redis import Redis
from streams.redis.clients import connect
from streams.simulation.accounts import encoded_settings
from streams.simulation.contact import Timed
from streams.simulation.stream import Plan, simulate

NAMESPACE = "soak"
PARTITIONS = 4
EVENTS_PER_CONTACT = 12
TURNS = 5
"""How many times all retained days pass in a run: for half of them everything that expires does."""

LATENESS_IN_REAL_SECONDS = 5.0
"""The lateness window is at least as much event time as passes in this: a stall of the machine makes nothing late."""

CATCH_UP_SECONDS = 120.0
SMALL_CACHES = {"CACHE_CONTACTS": "500", "CACHE_DAYS": "100", "BATCH_EVENTS": "200"}
LOG_LIMITS = {
    "log.retention.bytes": str(16 << 20),
    "log.segment.bytes": str(4 << 20),
    "log.retention.check.interval.ms": "30000",
}
"""Per partition: all together stay below 200 MiB, and hold far more than workers are ever behind."""


class SoakSettings(Struct, frozen=True, kw_only=True):
    """What can be chosen."""

    minutes: float
    rate: float
    """Events a second."""
    workers: int = 2
    accounts: int = 4
    retained_days: int = 14
    seed: int = 7
    folder: Path
    sample_seconds: float = 15.0

    @property
    def seconds(self) -> float:
        """How long traffic flows."""
        return self.minutes * 60

    @property
    def day_seconds(self) -> float:
        """How long a simulated day lasts."""
        return self.seconds / (TURNS * self.retained_days)

    @property
    def pause_seconds(self) -> float:
        """Between two publications, and between two sweeps for old days."""
        return max(2.0, min(60.0, self.seconds / 30))

    @property
    def lateness_seconds(self) -> float:
        """The lateness window, in event time."""
        return max(3600.0, 86_400 * LATENESS_IN_REAL_SECONDS / self.day_seconds)

    def plan(self, now: datetime) -> Plan:
        """Traffic that begins long enough ago to end before `now`, at the rate's number of events a day."""
        days = 2 * TURNS * self.retained_days + 10
        midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=days)
        plan = Plan(now=midnight, days=0, accounts=self.accounts, contacts_per_day=1, live_rate=0, seed=self.seed)
        size = sum(company.size for company in plan.companies())
        per_day = max(1, round(self.rate * self.day_seconds / EVENTS_PER_CONTACT / size))
        return msgspec.structs.replace(plan, contacts_per_day=per_day)


class Soak:
    """One run. Its folder is emptied first."""

    def __init__(self, settings: SoakSettings) -> None:
        self._settings = settings
        self._folder = settings.folder
        self._clock = self._folder / "event-time"
        self._began = time.monotonic()
        self._plan = settings.plan(datetime.now(UTC))
        self._sent = 0
        self._at_ms = self._plan.now_ms
        self._samples: list[Sample] = []
        self._problems: list[str] = []
        self._ports: dict[str, int] = {}

    def run(self) -> int:
        """All of it; the last line on standard output is the summary."""
        if not sys.platform.startswith("linux"):
            raise BenchError("memory of the programs is read from /proc: this needs Linux")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._tell_time()
        kafka = Kafka(self._folder / "kafka", properties=LOG_LIMITS, report=self._say)
        with kafka, Redis(self._folder / "redis") as redis:
            config = Config(
                kafka_bootstrap=kafka.bootstrap,
                redis_url=Secret(redis.url),
                topic_prefix=NAMESPACE,
                namespace=NAMESPACE,
                partitions=PARTITIONS,
                lateness_seconds=self._settings.lateness_seconds,
                retention_days=self._settings.retained_days,
            )
            truth = asyncio.run(self._run(config))
        limits = Limits(
            retained_days=self._settings.retained_days,
            rate=self._settings.rate,
            accounts=self._settings.accounts,
            partitions=PARTITIONS,
            sweep_days=self._settings.pause_seconds / self._settings.day_seconds,
        )
        findings = judge(self._samples, limits, truth, self._problems)
        told = [table(self._samples), *([grows(self._samples[-1])] if self._samples else []), report(findings)]
        print("\n" + "\n\n".join(told) + "\n", file=sys.stderr)
        print(msgspec.json.encode(line(self._samples, findings, truth)).decode(), flush=True)
        return 0 if passed(findings) else 1

    async def _run(self, config: Config) -> Truth | None:
        admin = admin_client(config)
        await admin.start()
        try:
            await topics.create(admin, config)
        finally:
            await admin.close()
        programs = self._programs(config)
        producer = AIOKafkaProducer(**client_options(config), enable_idempotence=True, linger_ms=20)
        await producer.start()
        try:
            for program in programs.values():
                program.start()
            self._say(
                f"{len(programs)} programs run; a day lasts {self._settings.day_seconds:.1f} s, "
                f"{self._settings.retained_days} are kept, from {self._plan.now:%Y-%m-%d} on"
            )
            for company in self._plan.companies():
                key = company.account_id.encode()
                await producer.send_and_wait(config.topics.accounts, encoded_settings(company), key=key)
            with RedisClient.from_url(config.redis_url) as client:
                accounts = [company.account_id for company in self._plan.companies()]
                look = RedisLook(client, NAMESPACE, PARTITIONS, accounts, self._settings.seed)
                await self._settled(programs, look)  # both workers have their shards before the clock runs
                sending = asyncio.ensure_future(self._send(config, producer))
                await self._watch(programs, look, sending)
                await sending
                await self._settled(programs, look)
            if self._problems:
                return None
            return await self._compare(config)
        finally:
            await producer.stop()
            for program in programs.values():
                await asyncio.to_thread(program.stop)

    def _programs(self, config: Config) -> dict[str, Process]:
        names = [f"worker {number + 1}" for number in range(self._settings.workers)]
        pause = self._settings.pause_seconds
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
        common = {
            "KAFKA_BOOTSTRAP": config.kafka_bootstrap,
            "REDIS_URL": str(config.redis_url),
            "TOPIC_PREFIX": NAMESPACE,
            "NAMESPACE": NAMESPACE,
            "LATENESS_SECONDS": str(config.lateness_seconds),
            "RETENTION_DAYS": str(config.retention_days),
            "SNAPSHOT_INTERVAL_SECONDS": str(pause),
            "LOG_LEVEL": "warning",
            **SMALL_CACHES,
        }
        programs = {}
        for name in [*names, "snapshotter"]:
            port = self._ports[name] = free_port()
            settings = common | {"METRICS_PORT": str(port), "SNAPSHOTTER_METRICS_PORT": str(port)}
            command = ["worker"] if name != "snapshotter" else ["snapshot", "--watch"]
            programs[name] = Process(
                name,
                [sys.executable, "-m", "bench.soak.program", str(self._clock), str(pause), *command],
                log_path=self._folder / f"{name.replace(' ', '-')}.log",
                environment=kept | {f"MEDIANA_{variable}": value for variable, value in settings.items()},
            )
        return programs

    # --- traffic -----------------------------------------------------------------------------------------------------

    async def _send(self, config: Config, producer: AIOKafkaProducer) -> None:
        """The plan's events, evenly spread over the run."""
        began = time.monotonic()
        waiting: list[Any] = []
        told = 0.0
        for at_ms, event in self._events():
            due = began + self._sent / self._settings.rate
            if (ahead := due - time.monotonic()) > 0.02:
                await asyncio.sleep(ahead)
            if time.monotonic() - began >= self._settings.seconds:
                break
            topic = config.topics.contacts if event.topic == "contacts" else config.topics.conversations
            waiting.append(await producer.send(topic, encode_event(event), key=event.contact_id.encode()))
            self._sent, self._at_ms = self._sent + 1, at_ms
            if len(waiting) >= 1000:
                await asyncio.gather(*waiting)
                waiting.clear()
            if due - told >= 0.5:
                told = due
                self._tell_time()
        await asyncio.gather(*waiting)
        self._tell_time()

    def _events(self) -> Iterator[Timed]:
        for at_ms, event in simulate(self._plan):
            if at_ms > time.time() * 1000:
                raise BenchError("event time has caught up with the clock: fewer minutes, or a higher rate")
            yield at_ms, event

    def _tell_time(self) -> None:
        part = self._clock.with_suffix(".part")
        part.write_text(str(self._at_ms))
        part.rename(self._clock)

    # --- looking -----------------------------------------------------------------------------------------------------

    async def _watch(self, programs: Mapping[str, Process], look: RedisLook, sending: "asyncio.Future[None]") -> None:
        began = time.monotonic()
        every = min(self._settings.sample_seconds, self._settings.seconds / 12)
        while not sending.done():
            await asyncio.wait([sending], timeout=every)
            if not self._alive(programs):
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                return
            sample = await asyncio.to_thread(self._look, programs, look, time.monotonic() - began)
            self._samples.append(sample)
            with (self._folder / "samples.jsonl").open("ab") as out:
                out.write(msgspec.json.encode(sample) + b"\n")
            self._say(
                f"{sample.sent:,} events, lag {sample.lag:,}, "
                + ", ".join(f"{name} {each.rss_mib:.0f} MiB" for name, each in sample.programs.items())
                + f", Redis {sample.redis_bytes / (1 << 20):.1f} MiB: {sample.contacts.count:,} contacts, "
                f"{sample.days.count} days, {sample.blocks.count} blocks"
            )

    def _look(self, programs: Mapping[str, Process], look: RedisLook, seconds: float) -> Sample:
        days = look.days()
        blocks, oldest_block = look.blocks()
        sent = self._sent
        return Sample(
            seconds=seconds,
            day=datetime.fromtimestamp(self._at_ms / 1000, UTC).date().toordinal(),
            sent=sent,
            applied=look.applied(),
            commits=sum(self._commits(name) for name in programs if name != "snapshotter"),
            programs=programs_of({name: Usage(_pid(program)) for name, program in programs.items()}),
            redis_bytes=look.used_bytes(),
            contacts=look.contacts(),
            chunks=look.chunks(),
            days=days.all,
            open_days=days.unsealed.count,
            oldest_day=days.oldest,
            blocks=blocks,
            oldest_block=oldest_block,
        )

    def _commits(self, name: str) -> int:
        with urlopen(f"http://{LOOPBACK}:{self._ports[name]}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        found = [each for each in text.splitlines() if each.startswith("mediana_batch_records_count")]
        return int(float(found[0].rpartition(" ")[2])) if found else 0

    def _alive(self, programs: Mapping[str, Process]) -> bool:
        for name, program in programs.items():
            if not program.running:
                self._problems.append(f"{name} ended by itself ({program.status}): {program.last_lines(3)}")
        return not self._problems

    async def _settled(self, programs: Mapping[str, Process], look: RedisLook) -> None:
        """Return when all that was sent is applied, and every program is ready; else it is a problem."""
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while self._alive(programs):
            applied = await asyncio.to_thread(look.applied)
            if applied == self._sent and all([await asyncio.to_thread(self._is_ready, name) for name in programs]):
                return
            if time.monotonic() > deadline:
                self._problems.append(f"{applied:,} of {self._sent:,} applied after {CATCH_UP_SECONDS:.0f} s")
                return
            await asyncio.sleep(0.5)

    def _is_ready(self, name: str) -> bool:
        try:
            with urlopen(f"http://{LOOPBACK}:{self._ports[name]}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    # --- comparing ---------------------------------------------------------------------------------------------------

    async def _compare(self, config: Config) -> Truth:
        """Publish once more, then compare with the plan folded in this process."""
        today = datetime.fromtimestamp(self._at_ms / 1000, UTC).date().toordinal()
        environment = self._programs(config)["snapshotter"].environment
        last = Process(
            "last snapshot",
            [sys.executable, "-m", "bench.soak.program", str(self._clock), "60", "snapshot"],
            log_path=self._folder / "last-snapshot.log",
            environment=environment,
        )
        await asyncio.to_thread(last.start)
        if await asyncio.to_thread(last.wait, CATCH_UP_SECONDS) != 0:
            self._problems.append(f"the last publication failed: {last.last_lines(3)}")
        self._say("comparing with a batch recomputation")
        client = connect(config)
        try:
            return await compare(client, config, self._plan, self._sent, today)
        finally:
            await client.aclose()

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:7.1f} s] {text}", file=sys.stderr, flush=True)


def _pid(program: Process) -> int:
    assert program.pid is not None
    return program.pid


def main(arguments: Sequence[str]) -> int:
    """The command; what stands in the way is told on standard error, with status 1."""
    parser = argparse.ArgumentParser(prog="python -m bench soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="how long traffic flows")
    parser.add_argument("--rate", type=float, default=200, help="events a second")
    parser.add_argument("--days", type=int, default=14, help="days that are kept")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path(".local"), help="where data and logs go, and stay")
    asked = parser.parse_args(arguments)
    settings = SoakSettings(
        minutes=asked.minutes,
        rate=asked.rate,
        workers=asked.workers,
        retained_days=asked.days,
        seed=asked.seed,
        folder=asked.folder.resolve() / "mediana-soak",
    )
    try:
        return Soak(settings).run()
    except (BenchError, LocalStackError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
