"""Probes, metrics server and the page's metrics, asked over HTTP."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from streams.http.errors import ApiError, errors_as_json
from streams.http.metrics import HttpMetrics, observing
from streams.monitoring import probes
from streams.monitoring.probes import add_probes, while_redis_answers
from streams.monitoring.server import MetricsServer
from streams.web.errors import PAGE_FAILURES


class Redis:
    """Answers PING as told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = False

    async def ping(self) -> bool:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.error is not None:
            raise self.error
        return True


async def test_redis_gone_or_silent_turns_readiness_off_and_back_turns_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PATIENCE_SECONDS", 0.05)
    redis = Redis()
    app = web.Application()
    add_probes(app, while_redis_answers(redis))
    async with TestClient(TestServer(app)) as client:

        async def asked(path: str) -> tuple[int, str]:
            async with client.get(path) as response:
                return response.status, await response.text()

        assert await asked("/readyz") == (200, "ok\n")
        redis.error = RedisConnectionError("refused, for user hunter2")
        assert await asked("/readyz") == (503, "Redis does not answer\n")
        redis.error, redis.hangs = None, True
        assert await asked("/readyz") == (503, "Redis does not answer\n")
        assert await asked("/livez") == (200, "ok\n")
        redis.hangs = False
        assert await asked("/readyz") == (200, "ok\n")


@pytest.fixture
async def server() -> AsyncIterator[tuple[MetricsServer, str]]:
    server = MetricsServer(CollectorRegistry(), "127.0.0.1", 0)
    yield server, f"http://127.0.0.1:{await server.start()}"
    await server.stop()


async def test_a_metrics_server_answers_from_the_start_and_is_ready_when_told(
    server: tuple[MetricsServer, str],
) -> None:
    metrics_server, url = server

    async def ready() -> str | None:
        return None

    async with ClientSession() as session:

        async def asked(path: str) -> tuple[int, str]:
            async with session.get(url + path) as response:
                return response.status, await response.text()

        assert await asked("/readyz") == (503, "starting\n")
        assert await asked("/livez") == (200, "ok\n")
        assert "\nmediana_ready 0.0\n" in (await asked("/metrics"))[1]
        metrics_server.ready = ready
        assert await asked("/readyz") == (200, "ok\n")
        text = (await asked("/metrics"))[1]
        assert "\nmediana_ready 1.0\n" in text
        assert "\nprocess_start_time_seconds " in text


async def test_requests_are_counted_by_pattern_and_by_the_status_that_the_client_sees() -> None:
    async def report(request: web.Request) -> web.Response:
        account = request.match_info["account_id"]
        if account == "closed":
            raise ApiError(403, "forbidden", "No.", "No.")
        if account == "broken":
            raise RuntimeError("no")
        return web.Response(text=account)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write_eof()
        return response

    registry = CollectorRegistry()
    app = web.Application(middlewares=[observing(HttpMetrics(registry)), errors_as_json(PAGE_FAILURES)])
    app.router.add_get("/accounts/{account_id}", report)
    app.router.add_get("/events", stream)
    async with TestClient(TestServer(app)) as client:
        for path in ("/accounts/a", "/accounts/b", "/accounts/closed", "/accounts/broken", "/nowhere", "/events"):
            async with client.get(path) as response:
                await response.read()
    counted = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "mediana_http_requests_total"
    }
    assert counted == {
        ("/accounts/{account_id}", "200"): 2,
        ("/accounts/{account_id}", "403"): 1,
        ("/accounts/{account_id}", "500"): 1,
        ("none", "404"): 1,
        ("/events", "200"): 1,
    }
    assert registry.get_sample_value("mediana_http_request_seconds_count", {"route": "/accounts/{account_id}"}) == 4
    assert registry.get_sample_value("mediana_http_request_seconds_count", {"route": "/events"}) is None
    assert registry.get_sample_value("mediana_http_requests_open", {"route": "/events"}) == 0


async def test_a_client_that_left_is_counted_as_gone_and_not_as_a_fault_of_ours() -> None:
    async def left(_: web.Request) -> web.Response:
        raise ConnectionResetError("Cannot write to closing transport")

    registry = CollectorRegistry()
    app = web.Application(middlewares=[observing(HttpMetrics(registry)), errors_as_json(PAGE_FAILURES)])
    app.router.add_get("/left", left)
    async with TestClient(TestServer(app)) as client:
        await client.get("/left")
    assert registry.get_sample_value("mediana_http_requests_total", {"route": "/left", "status": "gone"}) == 1
    assert registry.get_sample_value("mediana_http_requests_total", {"route": "/left", "status": "500"}) is None
