"""Settings as a worker sees them in Redis."""

from typing import Any

import pytest

from aggregates.business import BusinessClock
from schemas.accounts import decode_settings, default_settings, encode_settings
from schemas.limits import MAX_STORED_SETTINGS_BYTES
from streams.errors import Unavailable
from streams.redis.keys import ZONE_DATA, NamespaceKeys
from streams.redis.settings_store import RulesStore
from streams.redis.zone_data import announce, tell
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


# --- settings that cannot be used -----------------------------------------------------------------------------------

DAMAGED = b'{"account_id": "acme", "timezone": "Atlantis/Center"}'


def put(redis: FakeRedis, account_id: str, data: bytes, version: bytes, before: bytes | None = None) -> None:
    redis.hash(KEYS.settings)[account_id.encode()] = data
    redis.hash(KEYS.settings_log)[b"version"] = version
    if before is not None:
        redis.hash(KEYS.settings_before)[account_id.encode()] = before


async def test_a_worker_goes_on_with_the_settings_it_had_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    redis = FakeRedis()
    rules = store(redis)
    put(redis, "acme", encode_settings(settings("Asia/Tokyo")), b"1")
    put(redis, "other", encode_settings(default_settings("other")), b"1")
    assert await zone_of(rules) == "Asia/Tokyo"
    put(redis, "acme", DAMAGED, b"2")
    caplog.set_level("INFO")
    for _ in range(3):
        books = await rules.books({"acme", "other"})
        assert books["acme"].current.settings.timezone == "Asia/Tokyo"
        assert books["other"].current.settings == default_settings("other")
    assert list(rules.unusable) == ["acme"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("account 'acme': its newest settings cannot be used, the settings used until now go on: ")
    assert told.endswith("malformed: timezone: 'Atlantis/Center' is not an IANA time zone")
    put(redis, "acme", encode_settings(settings("America/Lima")), b"3")
    assert await zone_of(rules) == "America/Lima"
    assert rules.unusable == {}
    assert caplog.records[-1].getMessage() == "account 'acme': its newest settings are in use"


@pytest.mark.parametrize(
    ("before", "zone"),
    [(encode_settings(settings("Asia/Tokyo")), "Asia/Tokyo"), (DAMAGED, "UTC"), (None, "UTC")],
)
async def test_a_worker_that_starts_goes_on_with_the_settings_before_else_the_defaults(
    before: bytes | None, zone: str
) -> None:
    redis = FakeRedis()
    put(redis, "acme", DAMAGED, b"1", before)
    assert await zone_of(store(redis)) == zone


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\x00", id="no JSON"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"account_id": "another"}', id="of another account"),
        pytest.param(b'{"account_id": "acme", "targets": {"response_seconds": 1e306}}', id="past a limit"),
        pytest.param(b"x" * (MAX_STORED_SETTINGS_BYTES + 1), id="too large"),
    ],
)
async def test_whatever_stands_there_in_place_of_settings_concerns_its_account_only(data: bytes) -> None:
    redis = FakeRedis()
    put(redis, "acme", data, b"1")
    rules = store(redis)
    books = await rules.books({"acme", "other"})
    assert {name: book.current.settings for name, book in books.items()} == {
        "acme": default_settings("acme"),
        "other": default_settings("other"),
    }
    assert list(rules.unusable) == ["acme"]


async def test_a_fault_of_the_compiler_concerns_its_account_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(BusinessClock):
        def __init__(self, versions: Any, zone: str) -> None:
            if zone == "Asia/Tokyo":
                raise ZeroDivisionError("nobody foresaw this")
            super().__init__(versions, zone)

    monkeypatch.setattr("aggregates.rules.BusinessClock", Broken)
    redis = FakeRedis()
    office = b'{"account_id": "%s", "timezone": "%s", "schedules": {"office": [{}]}}'
    put(redis, "acme", office % (b"acme", b"Asia/Tokyo"), b"1")
    put(redis, "other", office % (b"other", b"America/Lima"), b"1")
    rules = store(redis)
    books = await rules.books({"acme", "other"})
    assert books["acme"].current.settings == default_settings("acme")
    assert books["other"].current.settings.timezone == "America/Lima"
    assert rules.unusable == {"acme": "they cannot be compiled: ZeroDivisionError: nobody foresaw this"}


async def test_an_account_that_is_not_remembered_any_more_is_not_told_as_unusable() -> None:
    redis = FakeRedis()
    put(redis, "acme", DAMAGED, b"1")
    client: Any = redis
    rules = RulesStore(client, KEYS, 1)
    await rules.books({"acme"})
    await rules.books({"other"})
    assert rules.unusable == {}


# --- zone data --------------------------------------------------------------------------------------------------------


async def test_other_zone_data_is_said_once_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    redis = FakeRedis()
    client: Any = redis
    rules = store(redis)
    await announce(client, KEYS)
    assert await zone_of(rules) == "UTC"
    assert not rules.zone_data.differs
    assert caplog.text == ""
    redis.hash(KEYS.settings_log)[ZONE_DATA] = b"2019z"
    for _ in range(3):
        assert await zone_of(rules) == "UTC"
        assert rules.zone_data.differs
    (record,) = caplog.records
    assert "counted with zone data '2019z', this program has" in record.getMessage()
    await tell(client, "test")
    assert len(caplog.records) == 2, "a program that reads says so as it starts"
    # The worker that starts last takes it over, and says from what.
    await announce(client, KEYS)
    assert "takes the place of 2019z" in caplog.text
    await zone_of(rules)
    assert not rules.zone_data.differs


async def test_a_partition_that_brought_nothing_yet_holds_nobody_up() -> None:
    redis = FakeRedis()
    rules = store(redis)
    await rules.take_over(0, None, 5, [])
    await rules.take_over(1, None, 9, [("acme", settings("Asia/Tokyo"))])
    assert await zone_of(rules) == "Asia/Tokyo"
