"""A commit whose answer never comes is sent once: that is how the client is set up, and not how it is by itself."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from streams.config import Config, Secret
from streams.errors import SessionLost
from streams.redis.clients import connect
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Changes, Fence, Positions, Reads, RedisLedger
from tests.conftest import RedisAddress
from tests.faults.proxy import Moment, Proxy

TIMEOUT_SECONDS = 0.5
START, NEXT = Positions(10, 20), Positions(11, 25)
CHANGES = Changes(states=[b"ana", b"state"])


@pytest.fixture
async def proxy(redis_server: RedisAddress) -> AsyncIterator[Proxy]:
    async with Proxy(urlsplit(redis_server.url).port or 0) as proxy:
        yield proxy


@pytest.fixture
async def ours(proxy: Proxy) -> AsyncIterator[Any]:
    """The client of the program."""
    url = f"redis://127.0.0.1:{proxy.port}/0"
    client = connect(Config(redis_url=Secret(url), redis_timeout_seconds=TIMEOUT_SECONDS))
    yield client
    await client.aclose()


@pytest.fixture
async def usual(proxy: Proxy) -> AsyncIterator[Any]:
    """A client of the same library with its own defaults, but for the time-out."""
    client: Redis = Redis(host="127.0.0.1", port=proxy.port, socket_timeout=TIMEOUT_SECONDS)
    yield client
    await client.aclose()


async def claimed(client: Any, namespace: str) -> tuple[RedisLedger, Fence]:
    ledger = RedisLedger(client, NamespaceKeys(namespace).shard(0), 0, now_ms=lambda: 0)
    await ledger.create(START)
    claim = await ledger.claim()
    assert claim is not None
    return ledger, claim.fence


async def test_a_commit_without_an_answer_is_sent_once_and_found_done(ours: Any, proxy: Proxy, namespace: str) -> None:
    ledger, fence = await claimed(ours, namespace)
    trap = proxy.set_trap(Moment.SWALLOWED)
    fence = await ledger.commit(fence, NEXT, CHANGES)
    assert trap.sprung.is_set()
    assert fence.positions == NEXT
    assert proxy.commits == 1
    assert proxy.refusals == 0
    assert await ledger.read(fence, [Reads(ledger.keys.states, [b"ana"])]) == [[b"state"]]


async def test_a_client_that_sends_again_takes_its_own_commit_for_somebody_elses(
    usual: Any, proxy: Proxy, namespace: str
) -> None:
    ledger, fence = await claimed(usual, namespace)
    trap = proxy.set_trap(Moment.SWALLOWED)
    with pytest.raises(SessionLost, match="refused"):
        await ledger.commit(fence, NEXT, CHANGES)
    assert trap.sprung.is_set()
    assert proxy.commits == 2
    assert proxy.refusals == 1


async def test_a_script_without_an_answer_runs_once_from_our_client_and_twice_from_the_usual_one(
    ours: Any, usual: Any, proxy: Proxy, namespace: str
) -> None:
    counted = "return redis.call('INCR', KEYS[1])"
    for client, key in ((ours, f"{namespace}-ours"), (usual, f"{namespace}-usual")):
        sha = await client.script_load(counted)
        proxy.set_trap(Moment.SWALLOWED)
        if client is ours:
            with pytest.raises(RedisTimeoutError):
                await client.evalsha(sha, 1, key)
        else:
            await client.evalsha(sha, 1, key)
    assert await ours.mget(f"{namespace}-ours", f"{namespace}-usual") == [b"1", b"2"]
