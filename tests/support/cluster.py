"""Workers as processes of their own, on topics and a namespace of the test's own; what they left in Redis."""

import asyncio
import dataclasses
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from schemas.accounts import decode_settings
from schemas.events import decode_event
from streams.config import PREFIX, Secret, load
from streams.kafka.clients import TopicPartition, client_options
from streams.redis.clients import connect
from streams.redis.keys import NamespaceKeys, split_day_member
from tests.support.shard_facts import Facts, OneByOne, day_facts, merged

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
CODECS = ("gzip", "snappy", "lz4", "zstd")

Counters = dict[tuple[str, int], dict[bytes, bytes]]
"""Account and day → each fact's field and value."""


class Site:
    """One test's corner of Kafka and Redis, and the workers in it."""

    def __init__(
        self,
        bootstrap: str,
        redis_url: str,
        namespace: str,
        logs: Path,
        partitions: int = 4,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` hold for everything in this corner, as environment variables without their prefix."""
        self._settings = dict(settings or {})
        config = load({f"{PREFIX}{name}": value for name, value in self._settings.items()})
        self.config = dataclasses.replace(
            config, kafka_bootstrap=bootstrap, redis_url=Secret(redis_url), namespace=namespace, topic_prefix=namespace
        )
        self.partitions = partitions
        self.client: Any = connect(self.config)
        self.keys = NamespaceKeys(namespace)
        self._logs = logs
        self.workers: list[subprocess.Popen[bytes]] = []

    async def create_topics(self, **counts: int) -> None:
        """The four topics."""
        topics = self.config.topics
        wanted = {topics.contacts: self.partitions, topics.conversations: self.partitions}
        wanted |= {topics.accounts: 1, topics.dead_letters: 1, **counts}
        admin = AIOKafkaAdminClient(**client_options(self.config))
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, count, 1) for name, count in wanted.items()])
        finally:
            await admin.close()
        await asyncio.sleep(0.5)

    async def delete_topics(self, *names: str) -> None:
        """Topics that somebody throws away."""
        admin = AIOKafkaAdminClient(**client_options(self.config))
        await admin.start()
        try:
            await admin.delete_topics(list(names))
        finally:
            await admin.close()
        await asyncio.sleep(1)

    async def send(self, accounts: Iterable[bytes], events: Iterable[bytes]) -> None:
        """Settings, then events, each partition in another codec."""
        topics = self.config.topics
        producers = [
            AIOKafkaProducer(**client_options(self.config), compression_type=codec, linger_ms=5) for codec in CODECS
        ]
        try:
            for producer in producers:
                await producer.start()
            for line in accounts:
                key = decode_settings(line).account_id.encode()
                await producers[0].send_and_wait(topics.accounts, line, key=key)
            waiting = []
            for line in events:
                event = decode_event(line)
                topic = topics.contacts if event.topic == "contacts" else topics.conversations
                key = event.contact_id.encode()
                partition = zlib.crc32(key) % self.partitions
                send = producers[partition % len(producers)].send
                waiting.append(await send(topic, line, key=key, partition=partition))
            await asyncio.gather(*waiting)
        finally:
            for producer in producers:
                await producer.stop()

    async def send_raw(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """Any record."""
        producer = AIOKafkaProducer(**client_options(self.config))
        await producer.start()
        try:
            await producer.send_and_wait(topic, value, key=key, partition=partition)
        finally:
            await producer.stop()

    async def dead_letters(self) -> list[Any]:
        """Everything on the dead-letter topic."""
        partition = TopicPartition(self.config.topics.dead_letters, 0)
        consumer = AIOKafkaConsumer(**client_options(self.config), auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            found: list[Any] = []
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(partition, timeout_ms=500)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def sent_ms(self, topic: str, partition: int, offset: int) -> int:
        """The timestamp of one record."""
        place = TopicPartition(topic, partition)
        consumer = AIOKafkaConsumer(**client_options(self.config), auto_offset_reset="none")
        await consumer.start()
        try:
            consumer.assign([place])
            consumer.seek(place, offset)
            record = await asyncio.wait_for(consumer.getone(place), 30)
            assert record.offset == offset
            return int(record.timestamp)
        finally:
            await consumer.stop()

    async def trim(self, topic: str, partition: int, begin: int) -> None:
        """Drop the records before an offset, as retention does."""
        admin = AIOKafkaAdminClient(**client_options(self.config))
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=begin)})
        finally:
            await admin.close()

    # --- workers --------------------------------------------------------------------------------------------------

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """The environment of a program in this corner; `settings` as environment variables without their prefix."""
        given = {
            "KAFKA_BOOTSTRAP": self.config.kafka_bootstrap,
            "REDIS_URL": str(self.config.redis_url),
            "NAMESPACE": self.config.namespace,
            "TOPIC_PREFIX": self.config.topic_prefix,
            **self._settings,
            **settings,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return {**kept, **{f"{PREFIX}{name}": value for name, value in given.items()}}

    def start_worker(self, *arguments: str, fault: str | None = None, **settings: str) -> subprocess.Popen[bytes]:
        """A worker in a process of its own; `settings` as environment variables without their prefix.

        With a `fault` of `tests.faults.sabotage` in it.
        """
        program = ["streams.cli.main"] if fault is None else ["tests.faults.sabotage", fault]
        own = {"METRICS_PORT": "0", "KAFKA_SESSION_TIMEOUT_SECONDS": "3", **settings}
        log = self.log_of(len(self.workers)).open("wb")
        worker = subprocess.Popen(
            [sys.executable, "-m", *program, "worker", *arguments],
            env=self.environment(own),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        self.workers.append(worker)
        return worker

    def log_of(self, number: int) -> Path:
        """What the worker of this number wrote."""
        return self._logs / f"worker-{number}.log"

    def told(self) -> str:
        """What the latest worker wrote."""
        return self.log_of(len(self.workers) - 1).read_text()

    async def ended(self, worker: subprocess.Popen[bytes], patience_seconds: float = 30) -> int:
        """A worker's exit status."""
        return await asyncio.to_thread(worker.wait, patience_seconds)

    async def stop(self, *workers: subprocess.Popen[bytes]) -> list[int]:
        """Stop workers as an operator does; their exit statuses."""
        for worker in workers:
            worker.terminate()
        return [await self.ended(worker) for worker in workers]

    async def close(self) -> None:
        """No process and no connection stays behind."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        await self.client.aclose()

    # --- what they left -------------------------------------------------------------------------------------------

    async def applied(self) -> int:
        """Records before the positions of all shards; the topics of a test begin at 0."""
        return sum([await self.applied_of(shard) for shard in range(self.partitions)])

    async def applied_of(self, shard: int) -> int:
        """Records before the positions of one shard."""
        held = await self.client.hmget(self.keys.shard(shard).ledger, "contacts", "conversations")
        return sum(int(value or 0) for value in held)

    def shard_of(self, line: bytes) -> int:
        """The partition to which an event is sent."""
        return zlib.crc32(decode_event(line).contact_id.encode()) % self.partitions

    async def wait_for(self, condition: Callable[[int], bool], patience_seconds: float = 60) -> int:
        """Wait until so many records are applied."""
        deadline = time.monotonic() + patience_seconds
        while not condition(applied := await self.applied()):
            assert time.monotonic() < deadline, (
                f"only {applied} records applied after {patience_seconds} s: {self.told()}"
            )
            await asyncio.sleep(0.05)
        return applied

    async def wait_for_settings(self, account_id: str) -> None:
        """Wait until an account's settings are taken over."""
        async with asyncio.timeout(30):
            while not await self.client.hexists(self.keys.settings, account_id):  # noqa: ASYNC110 - it is in Redis
                await asyncio.sleep(0.05)

    async def facts(self) -> Facts:
        """The facts of all shards together; each day's totals are held to them."""
        return merged([await self.facts_of(shard) for shard in range(self.partitions)])

    async def facts_of(self, shard: int) -> Facts:
        """The facts of one shard."""
        keys = self.keys.shard(shard)
        found: Facts = {}
        for member in await self.client.zrange(keys.changed, 0, -1):
            ordinal, account_id = split_day_member(member)
            if facts := day_facts(ordinal, await self.client.hgetall(keys.day(ordinal, account_id))):
                found[account_id, ordinal] = facts
        return found


def golden() -> tuple[list[bytes], list[bytes]]:
    """Settings and events of the golden history."""
    accounts, events = ((GOLDEN / f"{name}.jsonl").read_bytes().splitlines() for name in ("accounts", "events"))
    return accounts, events


def folded(accounts: Sequence[bytes], events: Sequence[bytes]) -> Facts:
    """The facts of the same events, folded in this process."""
    alone = OneByOne(map(decode_settings, accounts))
    for line in events:
        alone.fold(decode_event(line))
    return alone.facts
