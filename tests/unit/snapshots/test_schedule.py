"""When the snapshotter's rounds are due, how each one's end is taken, and what readiness says of it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from streams.config import Config
from streams.snapshots.command import watched_round, while_rounds_end_well
from streams.snapshots.cron import Schedule
from streams.snapshots.metrics import SnapshotterMetrics
from streams.snapshots.publisher import Published
from streams.snapshots.snapshotter import NothingToPublish

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.seconds = NOON + HOUR / 2

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_next_round_is_that_of_the_cron_setting_in_utc(clock: Clock) -> None:
    schedule = Schedule(Config(snapshot_cron="0 */4 * * *"), clock)
    assert schedule.ended_well() == 3.5 * HOUR
    assert schedule.due == NOON + 4 * HOUR
    clock.seconds = NOON + 4 * HOUR
    assert schedule.ended_well() == 4 * HOUR


def test_an_interval_takes_the_place_of_cron(clock: Clock) -> None:
    schedule = Schedule(Config(snapshot_interval_seconds=10), clock)
    assert schedule.ended_well() == 10
    assert schedule.due == NOON + HOUR / 2 + 10


def test_a_failed_round_is_tried_again_soon_and_stays_due(clock: Clock) -> None:
    schedule = Schedule(Config(), clock)
    assert schedule.failed() == 2, "nothing was published since the start"
    schedule.ended_well()
    clock.seconds = NOON + 4 * HOUR
    assert schedule.failed() == 60
    assert schedule.due == NOON + 4 * HOUR
    assert schedule.ended_well() == 4 * HOUR


def test_a_short_interval_is_not_made_longer_by_a_failure(clock: Clock) -> None:
    schedule = Schedule(Config(snapshot_interval_seconds=10), clock)
    schedule.ended_well()
    assert schedule.failed() == 10


def test_ready_is_who_published_or_had_nothing_to_publish(clock: Clock) -> None:
    schedule = Schedule(Config(), clock)
    assert schedule.why_not_ready() == "starting"
    schedule.had_nothing()
    assert schedule.why_not_ready() is None
    schedule.ended_well()
    assert schedule.why_not_ready() is None
    schedule.failed()
    assert schedule.why_not_ready() == "the last round failed"
    schedule.ended_well()
    assert schedule.why_not_ready() is None


def test_a_round_that_does_not_end_shows_a_quarter_of_an_hour_after_it_was_due(clock: Clock) -> None:
    schedule = Schedule(Config(), clock)
    schedule.ended_well()
    clock.seconds = NOON + 4.25 * HOUR
    assert schedule.why_not_ready() is None
    clock.seconds += 1
    assert schedule.why_not_ready() == "a round has been due for 901 s"


class Redis:
    """Answers PING as told."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def ping(self) -> None:
        if self.error is not None:
            raise self.error


async def test_readiness_looks_at_redis_and_then_at_the_rounds(clock: Clock) -> None:
    redis, schedule = Redis(), Schedule(Config(), clock)
    ready = while_rounds_end_well(redis, schedule)
    assert await ready() == "starting"
    schedule.ended_well()
    assert await ready() is None
    redis.error = RedisConnectionError("refused, for user hunter2")
    assert await ready() == "Redis does not answer"


class Publisher:
    """A snapshotter whose rounds end as told; it remembers what it was asked for."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends = list(ends)
        self.asked: list[dict[str, Any]] = []

    async def publish(self, **options: Any) -> list[Published]:
        self.asked.append(options)
        end = self._ends.pop(0)
        if end is not None:
            raise end
        return []


async def test_every_account_is_published_until_a_round_succeeds_and_each_end_is_counted(clock: Clock) -> None:
    registry = CollectorRegistry()
    metrics, schedule = SnapshotterMetrics(registry), Schedule(Config(), clock)
    publisher = Publisher(NothingToPublish("no namespace"), RuntimeError("a fault"), None, None)
    pauses = [await watched_round(publisher.publish, schedule, metrics) for _ in range(4)]
    assert pauses == [2, 2, 3.5 * HOUR, 3.5 * HOUR]
    assert [options["all_accounts"] for options in publisher.asked] == [True, True, True, False]
    assert registry.get_sample_value("mediana_snapshot_failures_total") == 1
    assert registry.get_sample_value("mediana_snapshot_seconds_count") == 2
    assert registry.get_sample_value("mediana_snapshot_due_timestamp_seconds") == NOON + 4 * HOUR
