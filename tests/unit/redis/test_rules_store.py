"""Settings as a worker sees them in Redis."""

from typing import Any

import pytest

from schemas.accounts import decode_settings
from streams.errors import Unavailable
from streams.redis.keys import NamespaceKeys
from streams.redis.settings_store import RulesStore
from tests.support.fake_redis import FakeRedis

KEYS = NamespaceKeys("test")


def store(redis: FakeRedis) -> RulesStore:
    client: Any = redis
    return RulesStore(client, KEYS, 10)


def settings(zone: str) -> Any:
    return decode_settings(f'{{"account_id": "acme", "timezone": "{zone}"}}'.encode())


async def zone_of(rules: RulesStore) -> str:
    return (await rules.books({"acme"}))["acme"].current.settings.timezone


async def test_a_change_is_seen_by_every_worker() -> None:
    redis = FakeRedis()
    owner, other = store(redis), store(redis)
    assert await zone_of(other) == "UTC"
    await owner.take_over(0, None, 5, [("acme", settings("Asia/Tokyo"))])
    assert [await zone_of(owner), await zone_of(other)] == ["Asia/Tokyo", "Asia/Tokyo"]


@pytest.mark.parametrize("seen_by_another", [True, False])
async def test_nothing_is_read_under_settings_that_redis_went_back_to(seen_by_another: bool) -> None:
    redis = FakeRedis()
    owner, other = store(redis), store(redis)
    await owner.take_over(0, None, 5, [("acme", settings("Asia/Tokyo"))])
    assert await zone_of(other) == "Asia/Tokyo"
    copy = redis.copied()
    await owner.take_over(0, 5, 7, [("acme", settings("America/Lima"))])
    if seen_by_another:
        assert await zone_of(other) == "America/Lima"
    redis.restore(copy)
    for rules in (owner, other) if seen_by_another else (owner,):
        with pytest.raises(Unavailable, match="went back"):
            await zone_of(rules)
    # Whoever owns the topic finds its position gone, and reads from the one it finds.
    await store(redis).take_over(0, 5, 7, [("acme", settings("America/Lima"))])
    assert [await zone_of(owner), await zone_of(other)] == ["America/Lima", "America/Lima"]


async def test_a_partition_that_brought_nothing_yet_holds_nobody_up() -> None:
    redis = FakeRedis()
    rules = store(redis)
    await rules.take_over(0, None, 5, [])
    await rules.take_over(1, None, 9, [("acme", settings("Asia/Tokyo"))])
    assert await zone_of(rules) == "Asia/Tokyo"
