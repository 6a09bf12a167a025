"""The ledger's scripts on a real Redis: the same contract as the fake, and what only a server can show."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from schemas.accounts import AccountSettings, decode_settings, encode_settings
from streams.config import Config, Secret
from streams.errors import Fatal, SessionLost, ShardStopped, Unavailable
from streams.redis.clients import connect
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import COMMIT, Changes, DayWrite, Reads, RedisLedger
from streams.redis.settings_store import RulesStore
from streams.worker.startup import check_redis
from tests.conftest import RedisAddress
from tests.support.ledger_contract import NEXT, START, LedgerContract


@pytest.fixture
async def client(redis_server: RedisAddress) -> AsyncIterator[Any]:
    client = connect(Config(redis_url=Secret(redis_server.url)))
    yield client
    await client.aclose()


class TestRedisLedger(LedgerContract):
    async def leave_half_written(self, client: Any, key: bytes) -> None:
        await client.hset(key, "busy", "1")


async def claimed(client: Any, namespace: str) -> tuple[RedisLedger, Any]:
    ledger = RedisLedger(client, NamespaceKeys(namespace).shard(0), 0, now_ms=lambda: 0)
    await ledger.create(START)
    claim = await ledger.claim()
    assert claim is not None
    return ledger, claim


async def test_what_changed_is_listed_with_the_commit_that_changed_it(client: Any, namespace: str) -> None:
    ledger, claim = await claimed(client, namespace)
    first = Changes(days=[DayWrite(1, "acme", [b"f", b"1"]), DayWrite(2, "acme:co", [b"f", b"1"])])
    fence = await ledger.commit(claim.fence, NEXT, first)
    await ledger.commit(fence, NEXT, Changes(days=[DayWrite(1, "acme", [b"f", b"2"])]))
    changed = await client.zrange(ledger.keys.changed, 0, -1, withscores=True)
    assert changed == [(b"2:acme:co", 1.0), (b"1:acme", 2.0)]


async def test_nothing_is_written_when_a_key_is_of_another_kind(client: Any, namespace: str) -> None:
    ledger, claim = await claimed(client, namespace)
    await client.set(ledger.keys.day(5, "acme"), "not a hash")
    changes = Changes(states=[b"ana", b"state"], days=[DayWrite(5, "acme", [b"f", b"1"])])
    with pytest.raises(ShardStopped, match="is a string"):
        await ledger.commit(claim.fence, NEXT, changes)
    assert await ledger.read(claim.fence, [Reads(ledger.keys.states, [b"ana"])]) == [[None]]
    assert not await client.hexists(ledger.keys.ledger, "busy")


async def test_nothing_is_written_when_arguments_are_missing(client: Any, namespace: str) -> None:
    ledger, claim = await claimed(client, namespace)
    names, arguments = ledger._arguments(
        claim.fence, claim.fence._replace(positions=NEXT, seq=1), Changes(states=[b"ana", b"state"])
    )
    with pytest.raises(Exception, match="were announced"):
        await client.eval(COMMIT, len(names), *names, *arguments[:-1])
    assert await ledger.read(claim.fence, [Reads(ledger.keys.states, [b"ana"])]) == [[None]]


async def test_a_script_that_redis_forgot_is_loaded_again_by_the_next_claim(client: Any, namespace: str) -> None:
    ledger, claim = await claimed(client, namespace)
    ledger._commit_sha = "0" * 40  # what a restarted server says to the right one
    with pytest.raises(Unavailable, match="not committed"):
        await ledger.commit(claim.fence, NEXT, Changes())
    again = await ledger.claim()
    assert again is not None
    fence = await ledger.commit(again.fence, NEXT, Changes())
    assert fence.positions == NEXT


async def test_a_client_without_a_server_says_unavailable(namespace: str) -> None:
    client = connect(Config(redis_url=Secret("redis://127.0.0.1:1/0"), redis_timeout_seconds=1))
    ledger = RedisLedger(client, NamespaceKeys(namespace).shard(0), 0)
    with pytest.raises(Unavailable):
        await ledger.claim()
    await client.aclose()


async def test_a_redis_that_evicts_is_refused(client: Redis) -> None:
    await check_redis(client)
    await client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Fatal, match="noeviction"):
            await check_redis(client)
    finally:
        await client.config_set("maxmemory-policy", "noeviction")


# --- settings -------------------------------------------------------------------------------------------------------


def acme(name: str) -> AccountSettings:
    return decode_settings(f'{{"account_id": "acme", "name": "{name}", "timezone": "America/Santiago"}}')


async def test_settings_are_seen_by_other_workers_at_their_next_batch(client: Any, namespace: str) -> None:
    keys = NamespaceKeys(namespace)
    writer, reader = RulesStore(client, keys, 10), RulesStore(client, keys, 10)
    before = (await reader.books({"acme"}))["acme"].current
    assert before.settings.timezone == "UTC"
    await writer.take_over(0, None, 1, [("acme", acme("one"))])
    book = (await reader.books({"acme"}))["acme"]
    assert book.current.settings == acme("one")
    assert before.version in book
    await writer.take_over(0, 1, 3, [("acme", acme("two")), ("acme", None)])
    assert (await reader.books({"acme"}))["acme"].current.settings.timezone == "UTC"
    assert await reader.positions([0, 1]) == {0: 3, 1: 0}


async def test_what_an_account_had_before_is_kept_until_it_has_no_settings_any_more(
    client: Any, namespace: str
) -> None:
    keys = NamespaceKeys(namespace)
    store = RulesStore(client, keys, 10)
    await store.take_over(0, None, 1, [("acme", acme("one"))])
    assert await client.hget(keys.settings_before, "acme") is None
    await store.take_over(0, 1, 2, [("acme", acme("one"))])
    assert await client.hget(keys.settings_before, "acme") is None
    await store.take_over(0, 2, 3, [("acme", acme("two"))])
    assert await client.hget(keys.settings_before, "acme") == encode_settings(acme("one"))
    await store.take_over(0, 3, 4, [("acme", None)])
    assert await client.hget(keys.settings_before, "acme") is None


async def test_an_account_met_for_the_first_time_waits_for_settings_on_their_way(client: Any, namespace: str) -> None:
    keys = NamespaceKeys(namespace)
    writer, reader = RulesStore(client, keys, 10), RulesStore(client, keys, 10)
    waited: list[int] = []

    async def until_read() -> None:
        waited.append(len(waited))
        if len(waited) == 1:
            await writer.take_over(0, None, 1, [("acme", acme("one"))])

    reader.until_read = until_read
    assert (await reader.books({"acme"}))["acme"].current.settings == acme("one")
    assert (await reader.books({"acme", "bare"}))["bare"].current.settings.timezone == "UTC"
    await reader.books({"acme", "bare"})
    assert waited == [0, 1], "once for each account that had none"


async def test_settings_of_a_worker_that_was_overtaken_are_refused(client: Any, namespace: str) -> None:
    store = RulesStore(client, NamespaceKeys(namespace), 10)
    await store.take_over(0, None, 2, [("acme", acme("new"))])
    with pytest.raises(SessionLost):
        await store.take_over(0, None, 1, [("acme", acme("old"))])
    assert (await store.books({"acme"}))["acme"].current.settings == acme("new")


async def test_more_accounts_than_are_remembered_are_all_served(client: Any, namespace: str) -> None:
    store = RulesStore(client, NamespaceKeys(namespace), 2)
    await store.take_over(0, None, 1, [("acme", acme("one"))])
    names = {"acme", "b", "c", "d"}
    assert set(await store.books(names)) == names
    assert (await store.books({"acme"}))["acme"].current.settings == acme("one")
