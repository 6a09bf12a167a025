"""A stand: a Kafka and a Redis of its own, workers on them, and ways to watch what they do from outside."""

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer
from msgspec import Struct
from redis import Redis as RedisClient

from bench.harness.errors import BenchError, LaneFailed
from bench.harness.population import CONTACTS as CONTACTS_TOPIC
from bench.harness.population import Record
from bench.harness.proc import Usage
from streams.config import Config, Secret
from streams.kafka import topics
from streams.kafka.clients import TopicPartition, admin_client, client_options
from streams.local.kafka import Kafka
from streams.local.ports import LOOPBACK, free_port
from streams.local.process import Process
from streams.local.redis import Redis
from streams.redis.keys import CONTACTS, CONVERSATIONS, NamespaceKeys

PATIENCE_SECONDS = 180.0
POLL_SECONDS = 0.01
READY_POLL_SECONDS = 0.02


class Cost(Struct, frozen=True):
    """What some events cost."""

    events: int
    wall_seconds: float
    worker_seconds: float
    """CPU time of all workers together."""
    server_seconds: float
    """CPU time of the Redis server, its background processes included."""

    @property
    def cpu_us(self) -> float:
        """Workers' CPU microseconds per event."""
        return self.worker_seconds / self.events * 1e6

    @property
    def server_us(self) -> float:
        """Redis' CPU microseconds per event."""
        return self.server_seconds / self.events * 1e6

    @property
    def per_second(self) -> float:
        """Events per second."""
        return self.events / self.wall_seconds


class Worker:
    """A worker process."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port

    def start(self) -> "Worker":
        """Start it; it is not ready yet."""
        self.process.start()
        return self

    @property
    def usage(self) -> Usage:
        """What the process uses."""
        assert self.process.pid is not None, "the worker was never started"
        return Usage(self.process.pid)

    def metrics(self, name: str) -> float:
        """The sum of a metric's samples."""
        with urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        lines = (line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def shards(self) -> set[int]:
        """The shards it owns, as of some seconds ago at most."""
        with urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return {int(found) for found in re.findall(r'^mediana_lag_records{.*shard="(\d+)"', text, re.MULTILINE)}

    def is_ready(self) -> bool:
        """Whether all its shards are open."""
        try:
            with urlopen(f"http://{LOOPBACK}:{self.port}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Stand:
    """Use it with `with`. Its folder is emptied first."""

    def __init__(self, folder: Path, kafka_properties: Mapping[str, str] | None = None) -> None:
        if not sys.platform.startswith("linux"):
            raise BenchError("CPU time of the workers is read from /proc: this needs Linux")
        self._folder = folder
        self._began = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        self.kafka = Kafka(folder / "kafka", properties=kafka_properties, report=self.say)
        self.redis = Redis(folder / "redis")
        self._workers: list[Worker] = []
        self._client: Any = None

    def __enter__(self) -> Self:
        self.kafka.__enter__()
        try:
            self.redis.__enter__()
        except BaseException:
            self.kafka.kill()
            raise
        # Emptying a server of millions of contacts takes it a while.
        self._client = RedisClient.from_url(self.redis.url, socket_timeout=PATIENCE_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
        self._client.close()
        self.redis.stop()
        self.kafka.stop()

    def say(self, text: str) -> None:
        """Tell a person how far it is."""
        print(f"[{time.monotonic() - self._began:5.1f} s] {text}", file=sys.stderr, flush=True)

    @property
    def client(self) -> Any:
        """A blocking client of Redis that answers bytes."""
        return self._client

    # --- topics and records ------------------------------------------------------------------------------------------

    def config(self, name: str, partitions: int, topic_prefix: str | None = None) -> Config:
        """The settings of a namespace."""
        return Config(
            kafka_bootstrap=self.kafka.bootstrap,
            redis_url=Secret(self.redis.url),
            namespace=name,
            topic_prefix=topic_prefix or name,
            partitions=partitions,
        )

    def create_topics(self, config: Config) -> None:
        """The namespace's topics."""
        asyncio.run(_create_topics(config))

    def send(self, config: Config, records: Sequence[Record]) -> None:
        """Send records as fast as it goes, each topic and partition in its order; return when Kafka has them all."""
        library = confluent_kafka()
        refused: list[str] = []
        producer = library.Producer(
            {
                "bootstrap.servers": config.kafka_bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
            }
        )

        def delivered(error: object, _: object) -> None:
            if error is not None:
                refused.append(str(error))

        for record in records:
            topic = topic_of(config, record)
            while True:
                try:
                    producer.produce(topic, record.value, record.key, record.shard, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        producer.flush(PATIENCE_SECONDS)
        if refused:
            raise BenchError(f"Kafka refused {len(refused)} records: {refused[0]}")

    # --- workers -----------------------------------------------------------------------------------------------------

    def worker(self, config: Config, name: str = "worker", **settings: str) -> Worker:
        """A worker, not started yet; `settings` are environment variables without their prefix."""
        port = free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MEDIANA_")}
        own = {
            "KAFKA_BOOTSTRAP": config.kafka_bootstrap,
            "REDIS_URL": str(config.redis_url),
            "TOPIC_PREFIX": config.topic_prefix,
            "NAMESPACE": config.namespace,
            "METRICS_PORT": str(port),
            "LOG_LEVEL": "warning",
            **settings,
        }
        process = Process(
            name,
            [sys.executable, "-m", "streams.cli.main", "worker"],
            log_path=self._folder / f"{config.namespace}-{name}.log",
            environment=kept | {f"MEDIANA_{key}": value for key, value in own.items()},
        )
        worker = Worker(process, port)
        self._workers.append(worker)
        return worker

    def stop(self, workers: Iterable[Worker]) -> None:
        """Stop workers in good order."""
        for worker in workers:
            worker.process.stop()
            self._workers.remove(worker)

    def wait_until_ready(self, config: Config, workers: Sequence[Worker]) -> None:
        """Wait until these workers have all shards open among them, each at least one, and all settings taken over.

        Raises `LaneFailed`.
        """
        wanted = min(len(workers), config.partitions)
        end = asyncio.run(_end_of(config, config.topics.accounts))
        settings_log = NamespaceKeys(config.namespace).settings_log

        def settled() -> bool:
            if not all(worker.is_ready() for worker in workers):
                return False
            # Who joined last has claimed, so the group has been divided among all of them.
            claimed = sum(worker.metrics("mediana_claims_total") > 0 for worker in workers)
            return claimed >= wanted and int(self._client.hget(settings_log, "position:0") or 0) >= end

        self.until(settled, workers, READY_POLL_SECONDS)

    def until(self, condition: Callable[[], bool], workers: Sequence[Worker], poll_seconds: float) -> None:
        """Wait for a condition. Raises `LaneFailed` when a worker ends, or after `PATIENCE_SECONDS`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            for worker in workers:
                if not worker.process.running:
                    raise LaneFailed(
                        f"{worker.process.name} ended by itself ({worker.process.status}): "
                        f"{worker.process.last_lines(3)}"
                    )
            if time.monotonic() > deadline:
                told = "; ".join(worker.process.last_lines(3) for worker in workers)
                raise LaneFailed(f"not done after {PATIENCE_SECONDS:.0f} s: {told}")
            time.sleep(poll_seconds)

    # --- watching ----------------------------------------------------------------------------------------------------

    def positions(self, config: Config) -> list[tuple[int, int]]:
        """How far each shard is, in both topics."""
        keys = NamespaceKeys(config.namespace)
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(config.partitions):
            pipeline.hmget(keys.shard(shard).ledger, CONTACTS, CONVERSATIONS)
        return [(int(contacts or 0), int(rest or 0)) for contacts, rest in pipeline.execute()]

    def applied(self, config: Config) -> int:
        """Records before all positions, of topics that begin at 0."""
        return sum(map(sum, self.positions(config)))

    def server_seconds(self) -> float:
        """CPU time of the Redis server, its background processes included."""
        info: Mapping[str, float] = self._client.info("cpu")
        names = ("used_cpu_user", "used_cpu_sys", "used_cpu_user_children", "used_cpu_sys_children")
        return sum(float(info[name]) for name in names)

    def measure(self, config: Config, workers: Sequence[Worker], records: Sequence[Record]) -> Cost:
        """Send records to ready workers, wait until they are committed; what that cost. Raises `LaneFailed`."""
        target = self.applied(config) + len(records)
        usages = [worker.usage for worker in workers]
        wall, server = time.monotonic(), self.server_seconds()
        cpu = sum(usage.cpu_seconds() for usage in usages)
        self.send(config, records)
        self.until(lambda: self.applied(config) >= target, workers, POLL_SECONDS)
        return Cost(
            len(records),
            time.monotonic() - wall,
            sum(usage.cpu_seconds() for usage in usages) - cpu,
            self.server_seconds() - server,
        )

    def without_file(self) -> None:
        """Let Redis keep its data in memory only, while much is written that need not survive."""
        self._client.config_set("appendonly", "no")

    def with_file(self) -> None:
        """Switch the append-only file on again, and wait until it is written."""
        self._client.config_set("appendonly", "yes")
        while True:
            info = self._client.info("persistence")
            if not (info["aof_rewrite_in_progress"] or info.get("aof_rewrite_scheduled")):
                return
            time.sleep(0.05)


def topic_of(config: Config, record: Record) -> str:
    """The full name of a record's topic."""
    return config.topics.contacts if record.topic == CONTACTS_TOPIC else config.topics.conversations


def confluent_kafka() -> Any:
    """The library that sends: in C, so that the sender takes little of a small machine. Raises `BenchError`."""
    try:
        return import_module("confluent_kafka")
    except ImportError as error:
        raise BenchError(
            f"confluent_kafka, which sends the events, is not installed ({error}): "
            "pip install --require-hashes -r requirements/bench.txt"
        ) from error


async def _create_topics(config: Config) -> None:
    admin = admin_client(config)
    await admin.start()
    try:
        await topics.create(admin, config)
    finally:
        await admin.close()


async def _end_of(config: Config, topic: str) -> int:
    consumer = AIOKafkaConsumer(**client_options(config))
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        ends: dict[Any, int] = await consumer.end_offsets([partition])
        return ends[partition]
    finally:
        await consumer.stop()
