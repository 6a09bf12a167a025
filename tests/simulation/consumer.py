"""Kafka's clients as the program uses them: the consumer with its membership, the producer, the ends of the log."""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable
from random import Random
from typing import Any

from aiokafka.errors import IllegalStateError, KafkaConnectionError, NoOffsetForPartitionError, OffsetOutOfRangeError

from streams.kafka.clients import ConsumerRecord, TopicPartition
from tests.simulation.group import Group
from tests.simulation.kafka_log import Log
from tests.simulation.loop import Process

REQUEST_SECONDS = 1.0
"""How long a request to a broker that is away takes to fail."""


class Consumer:
    """Stands in for `AIOKafkaConsumer`."""

    def __init__(self, log: Log, group: Group, process: Process, dice: Random, assignor: Any) -> None:
        self._assignor = assignor
        self._log = log
        self._group = group
        self._process = process
        self._dice = dice
        self._listener: Any = None
        self._positions: dict[TopicPartition, int | None] = {}
        self._known_ends: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._stopped = False
        self._joins = 0
        self._name = ""
        self._membership: asyncio.Task[None] | None = None
        self.slow: dict[TopicPartition, float] = {}
        """Partitions whose fetches bring nothing until some instant."""

    # --- membership --------------------------------------------------------------------------------------------------

    def subscribe(self, topics: Iterable[str], listener: Any) -> None:
        """Join the group, and stay in it."""
        self._listener = listener
        self._membership = asyncio.ensure_future(self._stay())

    async def stop(self) -> None:
        """Leave the group."""
        self._stopped = True
        if self._membership is not None:
            self._membership.cancel()
        await self._wire()
        if self._name:
            self._group.leave(self._name)

    async def _stay(self) -> None:
        name: str | None = None
        while not self._stopped:
            if name is None:
                self._joins += 1
                name = self._name = f"{self._process.name}/{self._joins}"
            await self._wire()
            if self._log.away:
                await asyncio.sleep(REQUEST_SECONDS)
                continue
            assigned = await self._group.join(self._name, self._assignor)
            await self._wire()
            self._positions = dict.fromkeys(assigned)
            self._known_ends, self._paused = {}, set()
            self._listener.on_partitions_assigned(assigned)
            while True:
                await asyncio.sleep(self._group.session_seconds / 4)
                await self._wire()
                answer = self._beat()
                if answer != "ok":
                    break
            if answer == "unknown":
                name = None
            self._listener.on_partitions_revoked(list(self._positions))

    def _beat(self) -> str:
        return "ok" if self._log.away else self._group.heartbeat(self._name)

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these, without a group. All positions are lost."""
        self._positions = dict.fromkeys(partitions)
        self._paused = set()

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch nothing of these."""
        self._paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch them again."""
        self._paused.difference_update(partitions)

    def assignment(self) -> set[TopicPartition]:
        """The partitions this member has, as far as it knows."""
        return set(self._positions)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """The numbers of a topic's partitions."""
        return set(range(self._log.count_of(topic))) or None

    # --- records -----------------------------------------------------------------------------------------------------

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on elsewhere."""
        if partition not in self._positions:
            raise IllegalStateError(f"{partition} is not assigned")
        self._positions[partition] = offset

    async def position(self, partition: TopicPartition) -> int:
        """Where the next fetch begins."""
        position = self._positions.get(partition)
        if position is None:
            raise IllegalStateError(f"{partition} has no position")
        return position

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        """Where the log ended when it was last fetched."""
        return self._known_ends.get(partition)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What has come of these partitions, and advance behind it."""
        if self._dice.random() < 0.3:
            await self._wire()
        else:
            await asyncio.sleep(0)
        if self._log.away:
            return {}
        left = max_records or 500
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        now = asyncio.get_running_loop().time()
        for partition in partitions or sorted(self._positions):
            if partition not in self._positions or partition in self._paused or self.slow.get(partition, 0.0) > now:
                continue
            records = self._fetched(partition, left)
            if records:
                found[partition] = records
                left -= len(records)
        return found

    def _fetched(self, partition: TopicPartition, most: int) -> list[ConsumerRecord]:
        position = self._positions[partition]
        if position is None:
            raise NoOffsetForPartitionError({partition})
        there = self._log.partitions[partition]
        if position < there.begin or position > there.end:
            raise OffsetOutOfRangeError({partition: position})
        self._known_ends[partition] = there.end
        first = bisect_left(there.offsets, position)
        records = there.records[first : first + most]
        last = first + len(records)
        at_end = last == len(there.records)
        if records:
            self._positions[partition] = records[-1].offset + 1
        elif at_end:
            self._positions[partition] = there.end
        return records

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the logs begin."""
        await self._request()
        return {partition: self._log.partitions[partition].begin for partition in partitions}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the logs end, as far as they are committed."""
        await self._request()
        return {partition: self._log.partitions[partition].end for partition in partitions}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Note positions for lag tools."""
        await self._request()

    async def _request(self) -> None:
        await self._wire()
        if self._log.away:
            await asyncio.sleep(REQUEST_SECONDS)
        self._log.check()

    async def _wire(self) -> None:
        await asyncio.sleep(0.0005 + 0.003 * self._dice.random())


class Producer:
    """Stands in for `AIOKafkaProducer`: appends dead letters."""

    def __init__(self, log: Log, dice: Random) -> None:
        self._log = log
        self._dice = dice

    async def send(self, topic: str, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> Any:
        """Begin to send; the future is done when the broker has it, or does not say."""
        loop: Any = asyncio.get_running_loop()
        acknowledged = loop.create_future()
        fate = self._dice.random()

        def arrive() -> None:
            if self._log.away or fate < 0.03:
                _end(acknowledged, KafkaConnectionError("not written"))
                return
            self._log.append(TopicPartition(topic, 0), key, value, 0, loop.now)
            # The broker has it, and the answer does not arrive: the letter will be sent again.
            _end(acknowledged, KafkaConnectionError("no answer") if fate > 0.97 else None)

        loop.call_outside(0.001 + 0.003 * self._dice.random(), arrive)
        return acknowledged


def _end(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if not future.done():
        future.set_exception(error) if error is not None else future.set_result(None)


class LogEnds:
    """Stands in for `streams.kafka.log_end.LogEnds`."""

    def __init__(self, consumer: Consumer, contacts: str, conversations: str) -> None:
        self._consumer = consumer
        self._topics = (contacts, conversations)

    async def read(self, partitions: int) -> dict[int, tuple[int, int]]:
        """Shard → the ends of its contacts and its conversations partition."""
        asked = [TopicPartition(topic, shard) for topic in self._topics for shard in range(partitions)]
        ends = await self._consumer.end_offsets(asked)
        contacts, conversations = self._topics
        return {
            shard: (ends[TopicPartition(contacts, shard)], ends[TopicPartition(conversations, shard)])
            for shard in range(partitions)
        }
