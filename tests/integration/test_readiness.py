"""A worker and a page whose servers freeze and thaw: ready goes off and on, and nobody is restarted for it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout

from streams.local.kafka import Kafka
from streams.local.ports import free_port
from streams.local.process import Process
from streams.local.redis import Redis
from tests.integration.workers import Site, golden

PATIENCE_SECONDS = 60.0
Answer = tuple[int, str]


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    async with Redis(tmp_path / "redis") as server:
        yield server
        server.resume()


async def asked(session: ClientSession, url: str) -> Answer:
    """The status and text of an answer; 0 when there is none."""
    try:
        async with session.get(url, timeout=ClientTimeout(total=5)) as response:
            return response.status, (await response.text()).strip()
    except (ClientError, TimeoutError) as error:
        return 0, repr(error)


async def until(session: ClientSession, url: str, status: int) -> str:
    """Ask until it answers with the status; its text."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := await asked(session, url))[0] != status:
        assert time.monotonic() < deadline, f"{url}: still {answer}, wanted {status}"
        await asyncio.sleep(0.2)
    return answer[1]


async def test_a_worker_is_not_ready_while_redis_or_kafka_is_frozen_and_ready_again_after(
    redis: Redis, namespace: str, tmp_path: Path
) -> None:
    accounts, events = golden()
    port = free_port()
    probe = f"http://127.0.0.1:{port}"
    redis.pause()
    async with Kafka(tmp_path / "kafka") as kafka, ClientSession() as session:
        site = Site(kafka.bootstrap, redis.url, namespace, tmp_path)
        try:
            await site.create_topics()
            worker = site.start_worker(METRICS_PORT=str(port), REDIS_TIMEOUT_SECONDS="1")
            assert await until(session, f"{probe}/readyz", 503) == "starting", "it answers while it waits for Redis"
            redis.resume()
            await until(session, f"{probe}/readyz", 200)

            redis.pause()
            assert (await until(session, f"{probe}/readyz", 503)).startswith("shards not open: ")
            assert await asked(session, f"{probe}/livez") == (200, "ok")
            assert "\nmediana_ready 0.0\n" in (await asked(session, f"{probe}/metrics"))[1]
            redis.resume()
            await until(session, f"{probe}/readyz", 200)

            kafka.pause()
            assert await until(session, f"{probe}/readyz", 503) == "Kafka does not answer"
            assert await asked(session, f"{probe}/livez") == (200, "ok")
            kafka.resume()
            await until(session, f"{probe}/readyz", 200)

            await site.send(accounts, events)
            await site.wait_for(lambda applied: applied == len(events))
            assert "\nmediana_ready 1.0\n" in (await asked(session, f"{probe}/metrics"))[1]
            assert await site.stop(worker) == [0]
        finally:
            kafka.resume()
            await site.close()


async def test_a_page_is_not_ready_while_redis_is_frozen_and_ready_again_after(redis: Redis, tmp_path: Path) -> None:
    http, metrics = free_port(), free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
    page = Process(
        "page",
        [sys.executable, "-m", "streams.cli", "serve"],
        log_path=tmp_path / "page.log",
        environment={
            **kept,
            "MEDIANA_REDIS_URL": redis.url,
            "MEDIANA_HTTP_PORT": str(http),
            "MEDIANA_PAGE_METRICS_PORT": str(metrics),
            "MEDIANA_LOG_FORMAT": "json",
        },
        working_folder=Path(__file__).parents[2],
    )
    page.start()
    try:
        async with ClientSession() as session:
            for port in (http, metrics):
                assert await until(session, f"http://127.0.0.1:{port}/readyz", 200) == "ok"
            redis.pause()
            for port in (http, metrics):
                assert await until(session, f"http://127.0.0.1:{port}/readyz", 503) == "Redis does not answer"
                assert await asked(session, f"http://127.0.0.1:{port}/livez") == (200, "ok")
            redis.resume()
            for port in (http, metrics):
                assert await until(session, f"http://127.0.0.1:{port}/readyz", 200) == "ok"
            await asked(session, f"http://127.0.0.1:{http}/api/v1/accounts/secretive/report")
            counted = (await asked(session, f"http://127.0.0.1:{metrics}/metrics"))[1]
    finally:
        page.stop()
    assert 'mediana_http_requests_total{route="/readyz",status="503"}' in counted
    route = "/api/v1/accounts/{account_id}/report"
    assert f'mediana_http_requests_total{{route="{route}",status="404"}} 1.0' in counted
    assert "secretive" not in counted
    assert page.status == 0
    assert all(line.startswith('{"time":"') for line in page.log_text().splitlines())
