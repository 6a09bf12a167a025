"""A rebalance, as a worker sees it: what stays goes on, what went elsewhere is dropped, what is new is claimed."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    NoOffsetForPartitionError,
)
from prometheus_client import CollectorRegistry

from streams.config import Config
from streams.errors import SessionLost
from streams.intake.claims import Claims
from streams.intake.membership import Membership
from streams.intake.ownership import Ownership
from streams.intake.service import Intake
from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Changes, Positions, RedisLedger
from streams.shard.batch import Batch
from tests.support.fake_redis import FakeRedis
from tests.support.records import at

CONFIG = Config()
TOPICS = CONFIG.topics
PATIENCE_SECONDS = 0.1
KEYS = NamespaceKeys("test")


class Log:
    """In place of both consumers: every partition has ten records."""

    def __init__(self) -> None:
        self.assigned: set[TopicPartition] = set()
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.told: list[tuple[str, Any]] = []
        self.away = False
        self.error: Exception | None = None

    # What a consumer is told.

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.assigned, self.positions, self.paused = set(partitions), {}, set()
        self.told.append(("assign", sorted(self.assigned)))

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener
        self.told.append(("subscribe", topics))

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    def pause(self, *partitions: TopicPartition) -> None:
        assert set(partitions) <= self.assigned
        self.paused |= set(partitions)

    def resume(self, partition: TopicPartition) -> None:
        self.paused.discard(partition)

    # What it answers.

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    def last_stable_offset(self, partition: TopicPartition) -> int | None:  # noqa: ARG002
        return None

    def partitions_for_topic(self, topic: str) -> set[int]:  # noqa: ARG002
        return {0}

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    async def getmany(self, *partitions: TopicPartition, **_: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        if self.error is not None:
            raise self.error
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        for partition in partitions:
            assert partition not in self.paused
            begin = self.positions[partition]
            if begin < 10 and partition.topic != TOPICS.accounts:
                found[partition] = [at(begin, "10:00")]
                self.positions[partition] = begin + 1
        return found

    async def topics(self) -> set[str]:
        if self.away:
            raise KafkaConnectionError
        return set()

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        if self.away:
            raise KafkaConnectionError
        return {partition: 0 if partition.topic == TOPICS.accounts else 10 for partition in partitions}


class Settings:
    """In place of the settings' store: it has everything."""

    async def position(self, partition: int) -> int | None:  # noqa: ARG002
        return 0

    async def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)


class Worker:
    """A worker's parts on a Redis and a log of the test's own."""

    def __init__(self, redis: FakeRedis) -> None:
        self.reader, self.member = Log(), Log()
        self.redis = redis
        self.registry = CollectorRegistry()
        self.failed: list[str] = []
        self.batches: list[Batch] = []
        member: Any = self.member
        reader: Any = self.reader
        settings: Any = Settings()
        claims = Claims(CONFIG, member, lambda shard: a_ledger(redis, shard))
        self.ownership = Ownership(CONFIG, member, claims, settings, WorkerMetrics(self.registry), self.failed.append)
        self.membership = Membership(member, self.ownership, TOPICS, PATIENCE_SECONDS)
        self.intake = Intake(CONFIG, reader, self.membership, self.ownership, self._keep, self._nothing)
        self.membership.join()

    async def _keep(self, batch: Batch) -> None:
        self.batches.append(batch)

    async def _nothing(self, batch: Any) -> None: ...

    def revoke(self) -> None:
        self.member.listener.on_partitions_revoked(self.member.assigned)

    def assign(self, *shards: int) -> None:
        given = {TopicPartition(topic, shard) for topic in (TOPICS.contacts, TOPICS.conversations) for shard in shards}
        self.member.assigned = given
        self.member.listener.on_partitions_assigned(given)

    async def settle(self) -> None:
        """Until claims are made and the intake has had some rounds."""
        for _ in range(30):
            await asyncio.sleep(0)
            await self.intake._read_once()

    def session(self, shard: int) -> Any:
        return self.ownership.shards[shard].session

    def dropped(self, cause: str) -> float:
        return self.registry.get_sample_value("mediana_sessions_dropped_total", {"cause": cause}) or 0.0


def a_ledger(redis: FakeRedis, shard: int) -> RedisLedger:
    return RedisLedger(redis, KEYS.shard(shard), shard)  # type: ignore[arg-type]


@pytest.fixture
async def redis() -> FakeRedis:
    made = FakeRedis()
    for shard in range(4):
        await a_ledger(made, shard).create(Positions(0, 0))
    return made


async def test_a_shard_that_stays_keeps_its_session_what_was_fetched_and_its_place(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.assign(0, 1)
    await worker.settle()
    kept = worker.session(0)
    feed = worker.ownership.shards[0]
    places = feed.places()
    assert set(places.values()) == {10}
    worker.revoke()
    joined = [worker.ownership.joined]
    worker.assign(0, 1, 2)
    await worker.settle()
    joined.append(worker.ownership.joined)
    assert joined == [False, True]
    assert worker.session(0) is kept
    assert worker.ownership.shards[0] is feed
    assert not kept.dropped
    assert {partition: worker.reader.positions[partition] for partition in places} == places
    assert worker.session(2) is not None
    assert worker.dropped("rebalance") == 0


async def test_while_the_group_decides_shards_are_read_and_committed(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.assign(0)
    await asyncio.sleep(0.01)
    worker.revoke()
    assert worker.ownership.shards[0].session is not None
    await worker.settle()
    assert set(worker.reader.positions.values()) == {10}
    (batch,) = worker.batches
    await batch.session.commit(batch.end, Changes())
    await worker.intake.done(batch, None)
    assert not batch.session.dropped
    assert batch.session.positions == batch.end


async def test_a_shard_that_went_elsewhere_is_dropped_with_what_was_fetched_and_read_no_more(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.assign(0, 1)
    await worker.settle()
    gone = worker.session(1)
    worker.revoke()
    worker.assign(0)
    assert gone.dropped
    assert 1 not in worker.ownership.shards
    assert worker.dropped("rebalance") == 1
    await worker.settle()
    assert {partition.partition for partition in worker.reader.assigned} == {0}


async def test_a_worker_left_with_nothing_reads_nothing(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.assign(0)
    await worker.settle()
    worker.revoke()
    worker.assign()
    await worker.settle()
    assert worker.reader.paused == worker.reader.assigned
    worker.revoke()
    worker.assign(0)
    await worker.settle()
    assert worker.session(0) is not None
    assert worker.reader.paused == set()


async def test_nothing_is_claimed_while_the_group_decides(redis: FakeRedis) -> None:
    worker, other = Worker(redis), Worker(redis)
    worker.assign(0)
    await worker.settle()
    zombie = worker.session(0)
    worker.revoke()
    other.assign(0)
    await other.settle()
    with pytest.raises(SessionLost) as refused:
        await zombie.commit(Positions(5, 5), Changes())
    worker.ownership.failed(worker.ownership.shards[0], refused.value)
    assert zombie.dropped
    await asyncio.sleep(0.3)  # longer than it waits after one failure
    assert worker.session(0) is None
    await other.session(0).read([])  # the claim is still the other one's
    assert (worker.dropped("rebalance"), worker.dropped("lost")) == (1, 0)
    worker.assign()
    await asyncio.sleep(0.01)
    await other.session(0).read([])


async def test_what_a_kept_shard_lost_meanwhile_is_claimed_again_once_the_group_says_that_it_stays(
    redis: FakeRedis,
) -> None:
    worker = Worker(redis)
    worker.assign(0)
    await worker.settle()
    await a_ledger(redis, 0).claim()  # somebody else, who dies
    worker.revoke()
    feed = worker.ownership.shards[0]
    with pytest.raises(SessionLost) as refused:
        await feed.session.read([])  # type: ignore[union-attr]
    worker.ownership.failed(feed, refused.value)
    worker.assign(0)
    await asyncio.sleep(0.5)
    await worker.settle()
    assert worker.session(0) is not None
    await worker.session(0).read([])


async def test_a_worker_without_kafka_does_not_take_a_shard_from_one_that_has_it(redis: FakeRedis) -> None:
    worker, other = Worker(redis), Worker(redis)
    other.assign(0)
    await other.settle()
    worker.member.away = True
    worker.assign(0)
    await asyncio.sleep(0.5)
    await other.session(0).read([])
    worker.member.away = False
    await asyncio.sleep(1)
    with pytest.raises(SessionLost):
        await other.session(0).read([])


async def test_the_member_fetches_nothing_itself(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.assign(0, 3)
    assert worker.member.paused == worker.member.assigned


async def test_unequal_partitions_of_the_event_topics_end_the_worker(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.member.assigned = {TopicPartition(TOPICS.contacts, 1)}
    worker.member.listener.on_partitions_assigned(worker.member.assigned)
    (message,) = worker.failed
    assert "every member of it must be a Mediana worker" in message


async def test_a_group_that_gives_only_errors_ends_the_worker_after_a_while(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.member.error = GroupAuthorizationFailedError("mediana")
    await worker.membership.look()
    await asyncio.sleep(PATIENCE_SECONDS)
    assert worker.failed == []
    await worker.membership.look()
    (message,) = worker.failed
    assert "GroupAuthorizationFailedError" in message


@pytest.mark.parametrize("error", [NoOffsetForPartitionError("t", 0), None])
async def test_a_group_that_works_again_is_given_its_patience_again(redis: FakeRedis, error: Exception | None) -> None:
    worker = Worker(redis)
    for each in (GroupAuthorizationFailedError("mediana"), error, GroupAuthorizationFailedError("mediana")):
        worker.member.error = each
        await worker.membership.look()
        await asyncio.sleep(PATIENCE_SECONDS)
    assert worker.failed == []


async def test_a_member_that_is_being_stopped_has_no_errors(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.member.error = ConsumerStoppedError()
    await worker.membership.look()
    assert worker.failed == []


async def test_while_kafka_is_away_a_worker_waits_for_the_group(redis: FakeRedis) -> None:
    worker = Worker(redis)
    worker.member.error, worker.member.away = KafkaConnectionError(), True
    for _ in range(3):
        await worker.membership.look()
        await asyncio.sleep(PATIENCE_SECONDS)
    assert worker.failed == []
