"""Programs whose servers freeze and thaw: ready goes off and on, and nobody is restarted for it."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout

from schemas.published import EXAMPLES
from streams.cli.tokens import create, revoke
from streams.http.tokens import LOOK_SECONDS, digest_of
from streams.local.kafka import Kafka
from streams.local.ports import free_port
from streams.local.process import Process
from streams.local.redis import Redis
from tests.conftest import KafkaAddress
from tests.support.cluster import Site, golden

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


@asynccontextmanager
async def program(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[Process]:
    """`mediana ARGUMENTS` as a process of its own, which must end well; `settings` without their prefix."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
    given = {f"MEDIANA_{name}": value for name, value in {"LOG_FORMAT": "json", **settings}.items()}
    process = Process(
        arguments[0],
        [sys.executable, "-m", "streams.cli.main", *arguments],
        log_path=folder / f"{arguments[0]}.log",
        environment={**kept, **given},
        working_folder=Path(__file__).parents[2],
    )
    process.start()
    try:
        yield process
    finally:
        await asyncio.to_thread(process.stop)
    assert process.status == 0, process.last_lines()
    assert all(line.startswith('{"time":"') for line in process.log_text().splitlines())


async def test_a_page_is_not_ready_while_redis_is_frozen_and_ready_again_after(redis: Redis, tmp_path: Path) -> None:
    http, metrics = free_port(), free_port()
    settings = {"REDIS_URL": redis.url, "HTTP_PORT": str(http), "PAGE_METRICS_PORT": str(metrics)}
    async with program(tmp_path, "serve", **settings), ClientSession() as session:
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
    assert 'mediana_http_requests_total{route="/readyz",status="503"}' in counted
    route = "/api/v1/accounts/{account_id}/report"
    assert f'mediana_http_requests_total{{route="{route}",status="404"}} 1.0' in counted
    assert "secretive" not in counted


async def test_a_snapshotter_is_not_ready_while_redis_is_frozen_and_ready_again_after(
    redis: Redis, tmp_path: Path
) -> None:
    port = free_port()
    probe = f"http://127.0.0.1:{port}"
    settings = {"REDIS_URL": redis.url, "SNAPSHOTTER_METRICS_PORT": str(port), "REDIS_TIMEOUT_SECONDS": "1"}
    async with program(tmp_path, "snapshot", "--watch", **settings), ClientSession() as session:
        assert await until(session, f"{probe}/readyz", 200) == "ok", "it has nothing to publish, which is no fault"
        redis.pause()
        assert await until(session, f"{probe}/readyz", 503) == "Redis does not answer"
        assert await asked(session, f"{probe}/livez") == (200, "ok")
        assert "\nmediana_ready 0.0\n" in (await asked(session, f"{probe}/metrics"))[1]
        redis.resume()
        assert await until(session, f"{probe}/readyz", 200) == "ok"
        assert "\nmediana_ready 1.0\n" in (await asked(session, f"{probe}/metrics"))[1]


async def test_an_ingest_service_counts_what_it_takes_and_follows_its_tokens_file(
    kafka: KafkaAddress, namespace: str, tmp_path: Path
) -> None:
    http, metrics, tokens = free_port(), free_port(), tmp_path / "tokens.toml"
    first = str(create(tokens, "acme")["token"])
    settings = {
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "TOPIC_PREFIX": namespace,
        "INGEST_PORT": str(http),
        "INGEST_METRICS_PORT": str(metrics),
        "INGEST_TOKENS_FILE": str(tokens),
    }
    site = Site(kafka.bootstrap, "redis://127.0.0.1:1", namespace, tmp_path)
    await site.create_topics()
    await site.close()
    event = json.loads((EXAMPLES / "message.received.json").read_bytes())
    event |= {"account_id": "acme", "occurred_at": "2024-11-22T17:00:00Z"}

    async def send(session: ClientSession, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with session.post(f"http://127.0.0.1:{http}/v1/events", json=[event, {}], headers=headers) as response:
            return response.status

    async with program(tmp_path, "ingest", **settings), ClientSession() as session:
        for port in (http, metrics):
            assert await until(session, f"http://127.0.0.1:{port}/readyz", 200) == "ok"
        assert await send(session, first) == 207
        second = str(create(tokens, "acme")["token"])
        revoke(tokens, "acme", digest_of(first)[:12])
        await asyncio.sleep(LOOK_SECONDS)
        assert [await send(session, token) for token in (first, second)] == [401, 207]
        counted = (await asked(session, f"http://127.0.0.1:{metrics}/metrics"))[1]
    route = 'route="/v1/events"'
    for line in (
        f'mediana_ingest_requests_total{{{route},status="207"}} 2.0',
        f'mediana_ingest_requests_total{{{route},status="401"}} 1.0',
        f"mediana_ingest_request_seconds_count{{{route}}} 3.0",
        f"mediana_ingest_requests_open{{{route}}} 0.0",
        "mediana_ingest_events_accepted_total 2.0",
        'mediana_ingest_events_refused_total{reason="malformed"} 2.0',
        "mediana_ingest_produce_seconds_count 2.0",
        "mediana_ingest_produce_failures_total 0.0",
        "mediana_ready 1.0",
    ):
        assert f"\n{line}\n" in counted
