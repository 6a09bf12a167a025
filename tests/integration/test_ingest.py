"""Ingest, import and the examples of producers against a real Kafka: every record where a worker expects it."""

import asyncio
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.accounts import decode_settings_record
from schemas.events import decode_record, type_name
from schemas.published import EXAMPLES
from streams.cli.main import main
from streams.config import Config
from streams.ingest.access import IngestAccess
from streams.ingest.producer import NotSent, Outgoing, Sender
from streams.ingest.server import create_ingest_app
from streams.kafka.clients import admin_client
from streams.kafka.topics import create
from streams.local.jars import java_command, kafka_jars
from streams.local.kafka import Kafka
from tests import npm, programs
from tests.conftest import KafkaAddress

PRODUCERS = Path(__file__).parents[2] / "docs" / "use" / "producers"

# Of the past, whatever the clock here says: what is ahead of it would be refused.
EXAMPLE_EVENTS = [
    json.loads(path.read_text(encoding="utf-8").replace("2026-", "2024-"))
    for path in sorted(EXAMPLES.iterdir())
    if path.stem not in ("account", "snapshot")
]


@pytest.fixture
async def config(kafka: KafkaAddress, namespace: str) -> Config:
    config = Config(kafka_bootstrap=kafka.bootstrap, topic_prefix=namespace, partitions=3)
    admin = admin_client(config)
    await admin.start()
    try:
        await create(admin, config)
    finally:
        await admin.close()
    return config


@asynccontextmanager
async def served(config: Config) -> AsyncIterator[TestClient[Any, Any]]:
    app = create_ingest_app(Sender(config, "test"), IngestAccess(), config.topics)
    async with TestClient(TestServer(app)) as client:
        yield client


async def records(config: Config, topic: str) -> list[Any]:
    """Every record of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=config.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [
            TopicPartition(topic, number)
            for number in range(1 if topic == config.topics.accounts else config.partitions)
        ]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[Any] = []
        while len(found) < sum(ends.values()):
            batches = await consumer.getmany(timeout_ms=500)
            found += [record for batch in batches.values() for record in batch]
        return found
    finally:
        await consumer.stop()


async def decoded(config: Config) -> tuple[list[str], set[int]]:
    """The ids on both event topics, as a worker decodes them, and the partitions of the contact `contact-1001`."""
    ids, partitions = [], set()
    for kind in ("contacts", "conversations"):
        for record in await records(config, getattr(config.topics, kind)):
            event = decode_record(kind, record.key, record.value, record.timestamp)
            ids.append(event.id)
            if event.contact_id == "contact-1001":
                partitions.add(record.partition)
            assert type_name(event) in {example["type"] for example in EXAMPLE_EVENTS}
    return sorted(ids), partitions


async def test_what_is_accepted_lies_in_kafka_as_a_worker_reads_it(config: Config) -> None:
    settings = json.loads((EXAMPLES / "account.json").read_text(encoding="utf-8"))
    async with served(config) as client:
        assert (await client.get("/readyz")).status == 200
        response = await client.post("/v1/events", json=[*EXAMPLE_EVENTS, {"type": "nothing"}])
        answer = await response.json()
        assert (response.status, answer["accepted"], len(answer["rejected"])) == (207, len(EXAMPLE_EVENTS), 1)
        response = await client.put(f"/v1/accounts/{settings['account_id']}", json=settings)
        assert response.status == 200
    ids, partitions = await decoded(config)
    assert ids == sorted(event["id"] for event in EXAMPLE_EVENTS)
    assert len(partitions) == 1
    (record,) = await records(config, config.topics.accounts)
    kept = decode_settings_record(record.key, record.value)
    assert kept is not None
    assert kept.account_id == settings["account_id"]


async def test_a_megabyte_of_events_is_taken_at_once(config: Config) -> None:
    events = [
        {**EXAMPLE_EVENTS[0], "id": f"e-{number}", "type": "contact.deleted", "contact_id": f"c-{number}"}
        for number in range(3_000)
    ]
    body = "\n".join(json.dumps(event) for event in events)
    assert 500_000 < len(body) < 1 << 20
    async with served(config) as client:
        response = await client.post("/v1/events", data=body, headers={"Content-Type": "application/x-ndjson"})
        assert (response.status, (await response.json())["accepted"]) == (200, 3_000)
    assert len(await records(config, config.topics.contacts)) == 3_000


async def test_topics_that_are_not_there_are_named(kafka: KafkaAddress, namespace: str) -> None:
    config = Config(kafka_bootstrap=kafka.bootstrap, topic_prefix=namespace)
    sender = Sender(config, "test", patience_seconds=3)
    try:
        with pytest.raises(NotSent, match="topics create"):
            await sender.send([Outgoing(config.topics.contacts, b"c", b"{}")])
    finally:
        await sender.stop()


async def test_nothing_is_claimed_while_kafka_is_away_and_the_same_events_are_taken_after(tmp_path: Path) -> None:
    with Kafka(tmp_path / "kafka") as server:
        config = Config(kafka_bootstrap=server.bootstrap, partitions=3)
        admin = admin_client(config)
        await admin.start()
        await create(admin, config)
        await admin.close()
        sender = Sender(config, "test", patience_seconds=3)
        app = create_ingest_app(sender, IngestAccess(), config.topics)
        async with TestClient(TestServer(app)) as client:
            assert (await client.post("/v1/events", json=EXAMPLE_EVENTS)).status == 200
            await asyncio.to_thread(server.stop)
            response = await client.post("/v1/events", json=EXAMPLE_EVENTS)
            assert (response.status, (await response.json())["error"]["code"]) == (503, "kafka_unavailable")
            assert (await client.get("/readyz")).status == 503
            assert (await client.get("/livez")).status == 200
            await asyncio.to_thread(server.start)
            for _ in range(20):  # each attempt waits for Kafka for 3 s
                if (await client.post("/v1/events", json=EXAMPLE_EVENTS)).status == 200:
                    break
            assert (await client.get("/readyz")).status == 200
        ids, _ = await decoded(config)
        assert set(ids) == {event["id"] for event in EXAMPLE_EVENTS}
        assert len(ids) >= 2 * len(EXAMPLE_EVENTS)


async def test_the_command_takes_events_until_it_is_stopped(config: Config) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.cli.main", "ingest"),
        env={
            **os.environ,
            "MEDIANA_KAFKA_BOOTSTRAP": config.kafka_bootstrap,
            "MEDIANA_TOPIC_PREFIX": config.topic_prefix,
            "MEDIANA_INGEST_PORT": str(port),
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            response = None
            while response is None:
                try:
                    response = await client.post("/v1/events?token=a-secret", json=EXAMPLE_EVENTS)
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.2)
            assert (response.status, (await response.json())["accepted"]) == (200, len(EXAMPLE_EVENTS))
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert len((await decoded(config))[0]) == len(EXAMPLE_EVENTS)
    assert process.stderr is not None
    log = (await process.stderr.read()).decode()
    assert re.search(r'127\.0\.0\.1 "POST /v1/events" 200 \d+ \d+\.\d{3}$', log, re.MULTILINE)
    assert "secret" not in log


async def test_an_export_is_imported_into_kafka(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mapping.toml").write_text(
        'account_id = "acme"\n[[events]]\ntype = "contact.deleted"\ncontact_id = "who"\noccurred_at = "at"\n'
    )
    lines = [f"contact-1001,2024-11-22T{hour:02}:00:00Z" for hour in range(23, -1, -1)]
    (tmp_path / "rows.csv").write_text("who,at\n" + "\n".join(lines))
    monkeypatch.setenv("MEDIANA_KAFKA_BOOTSTRAP", config.kafka_bootstrap)
    monkeypatch.setenv("MEDIANA_TOPIC_PREFIX", config.topic_prefix)
    command = ["import", str(tmp_path / "rows.csv"), "--mapping", str(tmp_path / "mapping.toml")]
    assert await asyncio.to_thread(main, command) == 0
    assert json.loads(capsys.readouterr().out)["written"] == 24
    found = await records(config, config.topics.contacts)
    assert [json.loads(record.value)["occurred_at"][11:13] for record in found] == [f"{hour:02}" for hour in range(24)]
    assert {record.key for record in found} == {b"contact-1001"}


# --- examples of producers --------------------------------------------------------------------------------------------


async def produced(config: Config, *command: str | Path) -> str:
    """Run an example on the example events; what it says on stderr."""
    with tempfile.TemporaryFile() as lines:
        lines.write(b"".join(json.dumps(event).encode() + b"\n" for event in EXAMPLE_EVENTS))
        lines.seek(0)
        process = await asyncio.create_subprocess_exec(
            *(*command, config.kafka_bootstrap, config.topic_prefix),
            stdin=lines,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(), 90)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def check_example(config: Config, said: str) -> None:
    assert f"{len(EXAMPLE_EVENTS)} events acknowledged" in said
    ids, partitions = await decoded(config)
    assert ids == sorted(event["id"] for event in EXAMPLE_EVENTS)
    assert len(partitions) == 1
    # All examples, whatever their language, put a contact where this program does.
    sender = Sender(config, "test")
    await sender.send([Outgoing(config.topics.contacts, b"contact-1001", b"{}")])
    await sender.stop()
    own = [record.partition for record in await records(config, config.topics.contacts) if record.value == b"{}"]
    assert set(own) == partitions


async def test_the_python_example_sends_what_a_worker_reads(config: Config) -> None:
    await check_example(config, await produced(config, sys.executable, PRODUCERS / "producer.py"))


async def test_the_java_example_sends_what_a_worker_reads(config: Config) -> None:
    jars = f"{kafka_jars()}/*"
    command = [java_command(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", jars]
    await check_example(config, await produced(config, *command, PRODUCERS / "Producer.java"))


async def test_the_node_example_sends_what_a_worker_reads(config: Config, tmp_path: Path) -> None:
    # Imports are looked up from where the file lies.
    npm.unpack(npm.NODE_EXAMPLES, tmp_path / "node_modules")
    example = tmp_path / "producer.mjs"
    shutil.copyfile(PRODUCERS / "producer.mjs", example)
    await check_example(config, await produced(config, programs.need("Node 18 or newer"), example))
