"""The stage of a campaign: a Kafka, two Redis servers, workers and a snapshotter, behind proxies of the test's own.

Workers and snapshotter are processes as an operator runs them. What the campaign itself sends and reads goes past the
proxies, so that a fault between the program and its servers never disturbs the traffic or the verdict.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from streams.config import Config, Secret
from streams.kafka.clients import TopicPartition, client_options
from streams.kafka.log_end import LogEnds
from streams.local.kafka import Kafka
from streams.local.ports import LOOPBACK, free_port
from streams.local.process import Process
from streams.local.redis import Redis
from streams.redis.clients import connect
from streams.redis.keys import NamespaceKeys
from streams.snapshots.manifest import SnapshotterKeys
from streams.snapshots.snapshotter import Snapshotter
from tests.faults.proxy import Proxy
from tests.faults.traffic import Send, Settings

NAMESPACE = "chaos"
SHARDS = 4
SESSION_SECONDS = 4.0
REDIS_TIMEOUT_SECONDS = 3.0
PATIENCE_SECONDS = 90.0
"""How long everything may take to be applied once the servers are back."""
POLL_SECONDS = 0.1


class Stall(RuntimeError):
    """Records that are not applied although every server is back."""


@dataclass
class Worker:
    """A worker and its way to Redis."""

    process: Process
    redis: Proxy

    def told(self, text: str) -> int:
        """How often it wrote this so far."""
        return self.process.log_text().count(text)


class Stage:
    """Everything that runs during a campaign. Use it with `async with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        port, controller_port, proxied, self._kafka_door_port, redis_a, redis_b = (free_port() for _ in range(6))
        self.kafka_door = Proxy(proxied, self._kafka_door_port)
        names = {"PLAINTEXT": "PLAINTEXT", "PROXIED": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        self.kafka = Kafka(
            folder / "kafka",
            port=port,
            controller_port=controller_port,
            properties={
                "listeners": f"PLAINTEXT://{LOOPBACK}:{port},PROXIED://{LOOPBACK}:{proxied},"
                f"CONTROLLER://{LOOPBACK}:{controller_port}",
                "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port},PROXIED://{LOOPBACK}:{self._kafka_door_port}",
                "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in names.items()),
                "inter.broker.listener.name": "PLAINTEXT",
            },
        )
        self.primary = Redis(folder / "redis-a", port=redis_a)
        self.replica = Redis(folder / "redis-b", port=redis_b)
        self.redis_door = Proxy(self.primary.port)
        """The way of the campaign itself and of the snapshotter; it only follows the primary."""
        self.workers: list[Worker] = []
        self.snapshotters: list[Process] = []
        """Two, which take turns by their lock."""
        self.problems: list[str] = []
        """What went wrong beside the numbers: a worker that ended by itself, say."""
        self._gone: list[Worker] = []
        self._started = 0
        self._copies: list[Path] = []
        self.keys = NamespaceKeys(NAMESPACE)
        self.redis_turn = asyncio.Lock()

    # --- life --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(asyncio.to_thread(each.start) for each in (self.kafka, self.primary, self.replica)))
            await self.kafka_door.start()
            await self.redis_door.start()
            self.config = Config(
                kafka_bootstrap=self.kafka.bootstrap,
                redis_url=Secret(f"redis://{LOOPBACK}:{self.redis_door.port}/0"),
                namespace=NAMESPACE,
                topic_prefix=NAMESPACE,
            )
            self.client: Any = connect(self.config)
            await self._create_topics()
            self._producer = AIOKafkaProducer(
                **client_options(self.config), enable_idempotence=True, linger_ms=5, request_timeout_ms=60_000
            )
            await self._producer.start()
            self._consumer = AIOKafkaConsumer(**client_options(self.config))
            await self._consumer.start()
            self._ends = LogEnds(self.config)
            self._snapshotter = Snapshotter(self.client, self.config, self._ends)
            for name in ("snapshotter-a", "snapshotter-b"):
                self.snapshotters.append(self._snapshotter_process(name))
                self.snapshotters[-1].start()
        except BaseException:
            await asyncio.to_thread(self._kill)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._kill)
        for close in (self._ends.close, self._consumer.stop, self._producer.stop, self.client.aclose):
            with contextlib.suppress(KafkaError, TimeoutError, OSError):  # its server is killed already
                await asyncio.wait_for(close(), 5)
        for proxy in (self.kafka_door, self.redis_door, *(worker.redis for worker in (*self.workers, *self._gone))):
            await proxy.stop()

    def _kill(self) -> None:
        for worker in self.workers:
            worker.process.kill()
        for snapshotter in self.snapshotters:
            snapshotter.kill()
        for server in (self.kafka, self.primary, self.replica):
            server.kill()

    def _snapshotter_process(self, name: str) -> Process:
        return Process(
            name,
            [sys.executable, "-m", "streams.cli.main", "snapshot", "--watch"],
            log_path=self._folder / f"{name}.log",
            environment=self._environment(
                {
                    "MEDIANA_REDIS_URL": str(self.config.redis_url),
                    "MEDIANA_SNAPSHOT_INTERVAL_SECONDS": "4",
                    "MEDIANA_SNAPSHOTTER_METRICS_PORT": "0",
                }
            ),
        )

    async def _create_topics(self) -> None:
        topics = self.config.topics
        counts = {topics.contacts: SHARDS, topics.conversations: SHARDS, topics.accounts: 1, topics.dead_letters: 1}
        admin = AIOKafkaAdminClient(**client_options(self.config))
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, count, 1) for name, count in counts.items()])
        finally:
            await admin.close()
        await asyncio.sleep(0.5)

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
        return {
            **kept,
            "MEDIANA_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self._kafka_door_port}",
            "MEDIANA_NAMESPACE": NAMESPACE,
            "MEDIANA_TOPIC_PREFIX": NAMESPACE,
            "MEDIANA_REDIS_TIMEOUT_SECONDS": str(REDIS_TIMEOUT_SECONDS),
            **settings,
        }

    # --- workers -----------------------------------------------------------------------------------------------------

    async def start_worker(self) -> Worker:
        """Another worker. Small batches and budgets make many commits, small caches many reads.

        What rests is made small at once, so that days are sealed and opened, and contacts shrink, while faults strike.
        """
        self._started += 1
        proxy = Proxy(self.primary.port)
        await proxy.start()
        settings = {
            "MEDIANA_REDIS_URL": f"redis://{LOOPBACK}:{proxy.port}/0",
            "MEDIANA_KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
            "MEDIANA_METRICS_PORT": "0",
            "MEDIANA_BATCH_EVENTS": "60",
            "MEDIANA_BATCH_SECONDS": "0.01",
            "MEDIANA_CACHE_CONTACTS": "60",
            "MEDIANA_CACHE_DAYS": "30",
        }
        name = f"worker-{self._started}"
        process = Process(
            name,
            [sys.executable, "-m", "tests.faults.sabotage", "small_and_soon", "worker"],
            log_path=self._folder / f"{name}.log",
            environment=self._environment(settings),
        )
        process.start()
        worker = Worker(process, proxy)
        self.workers.append(worker)
        return worker

    def leaves(self, worker: Worker) -> None:
        """From now on this worker may end."""
        self.workers.remove(worker)
        self._gone.append(worker)

    async def replace_dead(self) -> None:
        """Start a worker for each that ended although nobody asked it to; that is a problem."""
        for worker in list(self.workers):
            if not worker.process.running:
                self.problems.append(
                    f"{worker.process.name} ended by itself ({worker.process.status}): {worker.process.last_lines(3)}"
                )
                self.leaves(worker)
                await self.start_worker()

    def told(self, text: str) -> int:
        """How often all workers together wrote this so far."""
        return sum(worker.told(text) for worker in (*self.workers, *self._gone))

    def refusals(self) -> int:
        """Commits that Redis refused so far."""
        return sum(worker.redis.refusals for worker in (*self.workers, *self._gone))

    # --- Redis -------------------------------------------------------------------------------------------------------

    def keep_copy(self) -> None:
        """Copy the primary's append-only file, as a backup does. The first copy stays, and the latest two."""
        copy = self._folder / f"copy-{time.monotonic_ns()}"
        shutil.copytree(self.primary.data_folder / "appendonlydir", copy)
        self._copies.append(copy)
        if len(self._copies) > 3:
            shutil.rmtree(self._copies.pop(1))

    @property
    def copies(self) -> tuple[Path, ...]:
        """The copies at hand, the oldest first."""
        return tuple(self._copies)

    async def restore(self, copy: Path) -> None:
        """Put an older copy in place of what the primary, which does not run, has on its disk; start it."""
        folder = self.primary.data_folder / "appendonlydir"
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        await asyncio.to_thread(self.primary.start)

    async def commits(self) -> list[bytes | None]:
        """What tells one commit of a shard from another, per shard."""
        return [await self.client.hget(self.keys.shard(shard).ledger, "seq") for shard in range(SHARDS)]

    def exchange(self) -> None:
        """The replica is the primary from now on; the old one keeps what it has."""
        self.primary, self.replica = self.replica, self.primary
        self.redis_door.divert(self.primary.port)

    # --- records -----------------------------------------------------------------------------------------------------

    async def send(self, sends: Iterable[Send], rate: float) -> None:
        """Send records at that many a second, and return when all of them are acknowledged."""
        topics = {"contacts": self.config.topics.contacts, "conversations": self.config.topics.conversations}
        waiting = []
        began = time.monotonic()
        for number, send in enumerate(sends):
            if (ahead := began + number / rate - time.monotonic()) > 0.01:
                await asyncio.sleep(ahead)
            partition = zlib.crc32(send.key or b"") % SHARDS
            waiting.append(await self._producer.send(topics[send.topic], send.value, key=send.key, partition=partition))
        await asyncio.gather(*waiting)

    async def send_settings(self, settings: Settings) -> None:
        """Send an account's settings."""
        key = settings["account_id"].encode()
        await self._producer.send_and_wait(self.config.topics.accounts, orjson.dumps(settings), key=key)

    async def settle(self) -> None:
        """Return when all that was sent is applied. Raises `Stall`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        topics = self.config.topics
        partitions = [TopicPartition(t, s) for t in (topics.contacts, topics.conversations) for s in range(SHARDS)]
        partitions.append(TopicPartition(topics.accounts, 0))
        ends = await self._consumer.end_offsets(partitions)
        while behind := await self._behind(ends):
            if time.monotonic() > deadline:
                told = "; ".join(f"{w.process.name}: {w.process.last_lines(3)}" for w in self.workers)
                raise Stall(f"not applied after {PATIENCE_SECONDS:.0f} s: {behind}; {told}")
            await self.replace_dead()
            await asyncio.sleep(POLL_SECONDS)

    async def _behind(self, ends: dict[TopicPartition, int]) -> dict[str, str]:
        try:
            found: dict[TopicPartition, int] = {}
            for shard in range(SHARDS):
                held = await self.client.hmget(self.keys.shard(shard).ledger, "contacts", "conversations")
                for topic, value in zip(
                    (self.config.topics.contacts, self.config.topics.conversations), held, strict=True
                ):
                    found[TopicPartition(topic, shard)] = int(value or 0)
            settings = await self.client.hget(self.keys.settings_log, "position:0")
            found[TopicPartition(self.config.topics.accounts, 0)] = int(settings or 0)
        except Exception as error:  # noqa: BLE001 - Redis is not back yet, in one of the many ways it has to say so
            return {"redis": repr(error)}
        return {f"{p.topic}/{p.partition}": f"{found[p]} of {end}" for p, end in ends.items() if found[p] != end}

    async def publish(self) -> None:
        """Publish what changed since the last time, whoever published then."""
        await self._break_lock()
        await self._snapshotter.publish(all_accounts=False)

    async def free_lock(self) -> None:
        """Let the snapshotter's lock end now, as it does by itself a minute after its holder went silent."""
        await self.client.delete(SnapshotterKeys(NAMESPACE).lock)

    async def _break_lock(self) -> None:
        """Free the snapshotter's lock if its holder lost it with its connection; it would be free in a minute."""
        lock = SnapshotterKeys(NAMESPACE).lock
        holder = await self.client.get(lock)
        for _ in range(50):
            if holder is None or await self.client.get(lock) != holder:
                return
            await asyncio.sleep(POLL_SECONDS)
        await self.client.delete(lock)
