"""New revisions reach listeners over HTTP from a real Redis, also after its connections were cut."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from streams.config import Config, Secret
from streams.redis.clients import connect
from streams.snapshots.manifest import PublicKeys
from streams.snapshots.reader import SnapshotReader
from streams.web import revisions
from streams.web.server import create_web_app
from tests.conftest import RedisAddress
from tests.integration.test_snapshots import AS_OF_MS, Shards, client, golden_lines, publish, shards

__all__ = ["client", "shards"]

Page = TestClient[Any, Any]


@pytest.fixture
async def page(redis_server: RedisAddress, namespace: str) -> AsyncIterator[Page]:
    # Shorter than the pauses below: a subscription outlives the time-out of ordinary answers.
    redis = connect(Config(redis_url=Secret(redis_server.url), redis_timeout_seconds=0.5))
    async with TestClient(TestServer(create_web_app(SnapshotReader(redis, namespace)))) as page:
        yield page
    await redis.aclose()


async def next_event(response: ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            block = (await response.content.readuntil(b"\n\n")).decode()
            if block.startswith("id: "):
                told: dict[str, Any] = orjson.loads(block.partition("data: ")[2])
                return told


async def subscribers(client: Any, namespace: str) -> int:
    ((_, count),) = await client.pubsub_numsub(PublicKeys(namespace, "acc0").channel)
    return int(count)


async def subscribed(client: Any) -> set[str]:
    """The connections that are subscribed to anything, by id."""
    return {each["id"] for each in await client.client_list(_type="pubsub")}


async def until_subscribed(client: Any, namespace: str, count: int) -> None:
    async with asyncio.timeout(10):
        while await subscribers(client, namespace) != count:  # noqa: ASYNC110 - another connection's doing
            await asyncio.sleep(0.05)


async def test_listeners_are_told_of_publications_over_one_subscription(
    client: Any, shards: Shards, page: Page, namespace: str
) -> None:
    await shards.commit(golden_lines())
    assert (await page.get("/api/v1/accounts/acc0/events")).status == 404
    await publish(client, shards)
    async with (
        page.get("/api/v1/accounts/acc0/events") as first,
        page.get("/api/v1/accounts/acc0/events", headers={"Last-Event-ID": "1"}) as second,
    ):
        assert await next_event(first) == {
            "account_id": "acc0",
            "revision": 1,
            "as_of": "2026-03-31T23:33:20.000Z",
            "complete": True,
            "complete_from": None,
        }
        await until_subscribed(client, namespace, 1)
        await asyncio.sleep(1)
        await publish(client, shards, as_of_ms=AS_OF_MS + 60_000)
        for response in (first, second):
            told = await next_event(response)
            assert (told["revision"], told["as_of"]) == (2, "2026-03-31T23:34:20.000Z")
        # What is told is there to be read.
        report = await (await page.get("/api/v1/accounts/acc0/report")).json()
        assert report["revision"] == 2


async def test_listeners_learn_what_was_published_while_redis_was_cut_off(
    client: Any, shards: Shards, page: Page, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "PAUSE_SECONDS", 0.5)
    await shards.commit(golden_lines())
    await publish(client, shards)
    others = await subscribed(client)
    async with page.get("/api/v1/accounts/acc0/events") as response:
        assert (await next_event(response))["revision"] == 1
        await until_subscribed(client, namespace, 1)
        for subscriber in await subscribed(client) - others:
            await client.client_kill_filter(_id=subscriber)
        await publish(client, shards, as_of_ms=AS_OF_MS + 60_000)
        assert (await next_event(response))["revision"] == 2
        await until_subscribed(client, namespace, 1)
        await publish(client, shards, as_of_ms=AS_OF_MS + 120_000)
        assert (await next_event(response))["revision"] == 3


async def test_nobody_is_subscribed_when_nobody_listens(
    client: Any, shards: Shards, page: Page, namespace: str
) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    async with page.get("/api/v1/accounts/acc0/events") as response:
        await next_event(response)
        await until_subscribed(client, namespace, 1)
    await page.server.app.shutdown()  # type: ignore[attr-defined]
    await until_subscribed(client, namespace, 0)
