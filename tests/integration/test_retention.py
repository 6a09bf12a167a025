"""Days past the retention horizon, on a real Redis: they go, by the shard's writer, and nothing brings them back."""

from collections.abc import AsyncIterator
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio
from prometheus_client import CollectorRegistry

from aggregates.facts import ACTION, Fact
from streams.fold.batch_fold import DayFacts
from streams.intake.shard_feed import ShardFeed
from streams.kafka.clients import TopicPartition
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Changes, DayWrite, Positions, RedisLedger
from streams.shard.day_values import day_changes
from streams.shard.session import Session
from streams.worker.horizon import redis_seconds
from streams.worker.retention import Retention
from tests.conftest import RedisAddress

TODAY = date(2026, 11, 22)
KEPT_DAYS = 30
HORIZON = TODAY.toordinal() - KEPT_DAYS
OLD, LAST_KEPT, RECENT = HORIZON - 1, HORIZON, TODAY.toordinal()


@pytest.fixture
async def client(redis_server: RedisAddress) -> AsyncIterator[Any]:
    made = redis.asyncio.Redis.from_url(redis_server.url)
    yield made
    await made.aclose()


async def opened(client: Any, namespace: str) -> tuple[RedisLedger, ShardFeed, Session]:
    ledger = RedisLedger(client, NamespaceKeys(namespace).shard(0), 0)
    await ledger.create(Positions(0, 0))
    claim = await ledger.claim()
    assert claim is not None
    session = Session(0, ledger, claim, 10, 10)
    feed = ShardFeed(0, (TopicPartition("t", 0), TopicPartition("u", 0)), 10, 1000)
    feed.session = session
    return ledger, feed, session


def retention(client: Any, feed: ShardFeed, *, today: date = TODAY, redis_day: date = TODAY) -> Retention:
    ownership: Any = SimpleNamespace(shards={0: feed}, failed=lambda _, error: pytest.fail(str(error)))

    async def redis_today() -> date:
        return redis_day

    metrics = WorkerMetrics(CollectorRegistry())
    return Retention(ownership, client, metrics, KEPT_DAYS, lambda: today, redis_today)


async def test_days_before_the_horizon_go_and_the_others_stay(client: Any, namespace: str) -> None:
    ledger, feed, session = await opened(client, namespace)
    days = [DayWrite(day, account, [b"f", b"1"]) for day in (OLD, LAST_KEPT, RECENT) for account in ("acme", "b:c")]
    await session.commit(Positions(5, 7), Changes(days=days))
    await retention(client, feed).sweep(feed)
    left = {day: await client.exists(ledger.keys.day(day, "b:c")) for day in (OLD, LAST_KEPT, RECENT)}
    assert left == {OLD: 0, LAST_KEPT: 1, RECENT: 1}
    changed = {member for member, _ in await client.zrange(ledger.keys.changed, 0, -1, withscores=True)}
    assert changed == {b"%d:%s" % (day, account) for day in (LAST_KEPT, RECENT) for account in (b"acme", b"b:c")}
    assert session.positions == Positions(5, 7)


async def test_a_correction_of_a_forgotten_day_changes_nothing_now_or_after_another_claim(
    client: Any, namespace: str
) -> None:
    ledger, feed, session = await opened(client, namespace)
    days = [DayWrite(day, "acme", [b"f", b"1"]) for day in (OLD, RECENT)]
    await session.commit(Positions(1, 1), Changes(days=days))
    await retention(client, feed).sweep(feed)
    corrected = {(day, "acme"): DayFacts() for day in (OLD, RECENT)}
    for (day, _), facts in corrected.items():
        facts.add(b"ana", Fact(ACTION, day, 1_772_442_000_000, 0, "Web", None, "whatsapp"))
    assert [change.day for change in await day_changes(session, corrected)] == [(RECENT, "acme")]
    claim = await ledger.claim()
    assert claim is not None
    assert claim.horizon == HORIZON
    later = Session(0, ledger, claim, 10, 10)
    assert [change.day for change in await day_changes(later, corrected)] == [(RECENT, "acme")]


async def test_a_worker_that_was_replaced_forgets_nothing(client: Any, namespace: str) -> None:
    ledger, feed, session = await opened(client, namespace)
    days = [DayWrite(day, "acme", [b"f", b"1"]) for day in (OLD, RECENT)]
    await session.commit(Positions(1, 1), Changes(days=days))
    await ledger.claim()  # another worker
    refused: list[Exception] = []
    ownership: Any = SimpleNamespace(shards={0: feed}, failed=lambda _, error: refused.append(error))
    await Retention(ownership, client, WorkerMetrics(CollectorRegistry()), KEPT_DAYS, lambda: TODAY).sweep(feed)
    assert len(refused) == 1
    assert await client.exists(ledger.keys.day(OLD, "acme"))


AHEAD = TODAY.replace(year=TODAY.year + 5)


@pytest.mark.parametrize(
    ("today", "redis_day", "newest"),
    [(AHEAD, TODAY, RECENT), (TODAY, AHEAD, RECENT), (AHEAD, AHEAD, RECENT), (AHEAD, TODAY, AHEAD.toordinal())],
)
async def test_a_clock_that_is_years_ahead_forgets_no_more_than_the_right_one(
    client: Any, namespace: str, today: date, redis_day: date, newest: int, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, feed, session = await opened(client, namespace)
    days = [DayWrite(day, "acme", [b"f", b"1"]) for day in (OLD, LAST_KEPT, RECENT, newest)]
    await session.commit(Positions(5, 7), Changes(days=days))
    sweeper = retention(client, feed, today=today, redis_day=redis_day)
    for _ in range(5):
        await sweeper.sweep(feed)
    left = {day: await client.exists(ledger.keys.day(day, "acme")) for day in (OLD, LAST_KEPT, RECENT, newest)}
    assert left == {OLD: 0, LAST_KEPT: 1, RECENT: 1, newest: 1}
    told = [message for message in caplog.messages if "the clock here says" in message]
    assert len(told) == (today != redis_day)


async def test_where_everything_is_years_ahead_a_round_forgets_a_week_and_no_more(client: Any, namespace: str) -> None:
    ledger, feed, session = await opened(client, namespace)
    held = [*range(RECENT - 20, RECENT + 1), AHEAD.toordinal()]
    days = [DayWrite(day, "acme", [b"f", b"1"]) for day in held]
    await session.commit(Positions(5, 7), Changes(days=days))
    sweeper = retention(client, feed, today=AHEAD, redis_day=AHEAD)
    left = []
    for _ in range(3):
        await sweeper.sweep(feed)
        left.append(await client.zcard(ledger.keys.changed))
    assert left == [15, 8, 1]


async def test_a_shard_without_news_forgets_by_the_news_of_another(client: Any, namespace: str) -> None:
    ledger, feed, session = await opened(client, namespace)
    await session.commit(Positions(1, 1), Changes(days=[DayWrite(OLD, "acme", [b"f", b"1"])]))
    sweeper = retention(client, feed)
    await sweeper.sweep(feed)
    assert await client.zcard(ledger.keys.changed) == 1
    other_ledger, other, other_session = await opened(client, f"{namespace}-other")
    other.shard = other_session.shard = 1
    await other_session.commit(Positions(1, 1), Changes(days=[DayWrite(RECENT, "acme", [b"f", b"1"])]))
    await sweeper.sweep(other)
    await sweeper.sweep(feed)
    assert await client.zcard(ledger.keys.changed) == 0
    assert await client.zcard(other_ledger.keys.changed) == 1


async def test_redis_says_its_time_without_a_right_of_its_own(client: Any) -> None:
    told = await redis_seconds(client)
    seconds, _ = await client.time()
    assert told is not None
    assert abs(told - seconds) < 5
