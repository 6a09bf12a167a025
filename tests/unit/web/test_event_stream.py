"""Server-sent events: who is told what and when, over a reader that publishes when the test says so."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from redis.exceptions import ConnectionError as RedisConnectionError

from streams.cli.tokens import create, revoke
from streams.http.errors import ApiError
from streams.http.tokens import FileAccess
from streams.snapshots.reader import Newest
from streams.web import event_stream, revisions
from streams.web import server as http
from streams.web.errors import PAGE_FAILURES
from streams.web.revisions import REVISIONS, Revisions
from streams.web.server import create_web_app
from tests.support.fake_reader import FakeReader

EVENTS = "/api/v1/accounts/acme/events"
NEWEST = Newest("acme", 7, "2026-11-22T17:03:00.000Z", True)

Client = TestClient[Any, Any]


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader("acme", "globex")


@pytest.fixture
def app(reader: FakeReader) -> web.Application:
    return create_web_app(reader)


@pytest.fixture
async def client(app: web.Application) -> AsyncIterator[Client]:
    async with TestClient(TestServer(app)) as client:
        yield client


async def read_block(response: ClientResponse) -> list[str]:
    """The lines up to the next empty one."""
    async with asyncio.timeout(5):
        return (await response.content.readuntil(b"\n\n")).decode().splitlines()[:-1]


async def revision_of(response: ClientResponse) -> int:
    """The revision that the next event tells, after checking its form."""
    number, kind, data = await read_block(response)
    told = json.loads(data.removeprefix("data: "))
    assert (number, kind) == (f"id: {told['revision']}", "event: revision")
    assert list(told) == ["account_id", "revision", "as_of", "complete", "complete_from"]
    return int(told["revision"])


@asynccontextmanager
async def listening(client: Client, path: str = EVENTS, **headers: str) -> AsyncIterator[ClientResponse]:
    async with client.get(path, headers=headers) as response:
        assert response.status == 200
        assert await read_block(response) == ["retry: 5000"]
        yield response


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for is deep inside the server
            await asyncio.sleep(0.01)


async def test_a_listener_is_told_the_newest_revision_and_each_new_one(client: Client, reader: FakeReader) -> None:
    async with listening(client) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        assert await revision_of(response) == 7
        for revision in (8, 9):
            reader.publish(revision)
            assert await revision_of(response) == revision


async def test_who_comes_back_is_told_only_what_it_does_not_know(client: Client, reader: FakeReader) -> None:
    async with listening(client, **{"Last-Event-ID": "5"}) as response:
        assert await revision_of(response) == 7
    async with listening(client, **{"Last-Event-ID": "7"}) as response:
        await until(lambda: reader.subscriptions != [])
        reader.publish(8)
        assert await revision_of(response) == 8


async def test_listeners_of_an_account_share_one_subscription_until_the_last_leaves(
    client: Client, app: web.Application, reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.05)
    async with listening(client) as first:
        async with listening(client) as second, listening(client, EVENTS.replace("acme", "globex")):
            assert [await revision_of(each) for each in (first, second)] == [7, 7]
            await until(lambda: sorted(reader.subscriptions) == ["acme", "globex"])
        await until(lambda: reader.subscriptions == ["acme"])
    await until(lambda: reader.subscriptions == [] and app[REVISIONS].followed == [])


async def test_a_quiet_stream_stays_open_by_comments_and_longer_than_an_answer_may_take(
    reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(http, "PAGE_FAILURES", dataclasses.replace(PAGE_FAILURES, answer_seconds=0.1))
    async with TestClient(TestServer(create_web_app(reader))) as client, listening(client) as response:
        assert await revision_of(response) == 7
        for _ in range(5):
            assert await read_block(response) == [": listening"]
        reader.publish(8)
        blocks = [await read_block(response) for _ in range(2)]
        assert any(block[0] == "id: 8" for block in blocks)


async def test_a_notification_that_was_lost_is_made_up_for(
    client: Client, reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(revisions, "PAUSE_SECONDS", 0.01)
    async with listening(client) as response:
        assert await revision_of(response) == 7
        reader.revision = 8  # nobody says so
        assert await revision_of(response) == 8


async def test_listeners_outlive_a_redis_that_goes_away(
    client: Client, reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "PAUSE_SECONDS", 0.01)
    async with listening(client) as response:
        assert await revision_of(response) == 7
        for failure in (RedisConnectionError("gone"), RuntimeError("ours")):
            reader.failure = failure
            reader.publish(reader.revision + 1)
            await asyncio.sleep(0.05)
            reader.failure = None
            assert await revision_of(response) == reader.revision


async def test_a_token_that_is_revoked_ends_its_stream(
    tmp_path: Path, reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.05)
    file = tmp_path / "tokens.toml"
    token = str(create(file, "acme")["token"])
    app = create_web_app(reader, FileAccess(file))
    async with TestClient(TestServer(app)) as client:
        assert (await client.get(EVENTS)).status == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await client.get(EVENTS.replace("acme", "globex"), headers=bearer)).status == 403
        async with listening(client, **bearer) as response:
            assert await revision_of(response) == 7
            revoke(file, "acme", None)
            async with asyncio.timeout(5):
                rest = await response.content.read()
            assert rest.replace(b": listening\n\n", b"") == b""


async def test_a_server_that_stops_ends_its_streams(reader: FakeReader) -> None:
    server = TestServer(create_web_app(reader))
    async with TestClient(server) as client, listening(client) as response:
        assert await revision_of(response) == 7
        async with asyncio.timeout(5):
            await server.app.shutdown()
            assert await response.content.read() == b""
    assert reader.subscriptions == []


async def test_listeners_are_bounded_by_account_and_by_server(reader: FakeReader) -> None:
    hub = Revisions(reader, listeners=3, listeners_of_account=2)
    async with hub.listening("acme", NEWEST), hub.listening("acme", NEWEST):
        with pytest.raises(ApiError) as refused:
            async with hub.listening("acme", NEWEST):
                pass
        assert (refused.value.status, refused.value.code) == (503, "too_many_listeners")
        async with hub.listening("globex", NEWEST):
            with pytest.raises(ApiError):
                async with hub.listening("initech", NEWEST):
                    pass
        async with hub.listening("initech", NEWEST):
            assert hub.followed == ["acme", "initech"]
    assert hub.followed == []


async def test_a_head_of_a_stream_is_refused(client: Client) -> None:
    assert (await client.head(EVENTS)).status == 405
