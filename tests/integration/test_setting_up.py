"""Topics, check and simulate against the real Kafka and Redis, as a new user runs them."""

from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.accounts import decode_settings_record
from schemas.events import decode_record
from streams.cli import check
from streams.config import Config
from streams.findings import failed
from streams.kafka.clients import admin_client
from streams.kafka.topics import create, describe, topic_findings
from streams.simulation import command as simulate
from streams.simulation.stream import Plan
from streams.simulation.stream import simulate as simulated
from tests.conftest import KafkaAddress, RedisAddress


@pytest.fixture
def config(kafka: KafkaAddress, redis_server: RedisAddress, namespace: str) -> Config:
    return Config.from_env(
        {
            "MEDIANA_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "MEDIANA_REDIS_URL": redis_server.url,
            "MEDIANA_NAMESPACE": namespace,
            "MEDIANA_TOPIC_PREFIX": namespace,
            "MEDIANA_PARTITIONS": "3",
        }
    )


async def _created(config: Config) -> list[str]:
    admin: AIOKafkaAdminClient = admin_client(config)
    await admin.start()
    try:
        return await create(admin, config)
    finally:
        await admin.close()


async def test_created_topics_fit_and_are_created_once(config: Config) -> None:
    assert sorted(await _created(config)) == sorted(msgspec.structs.astuple(config.topics))
    assert await _created(config) == []
    admin: AIOKafkaAdminClient = admin_client(config)
    await admin.start()
    try:
        states = await describe(admin, config.topics)
    finally:
        await admin.close()
    assert {name: state.partitions for name, state in states.items()} == {
        config.topics.contacts: 3,
        config.topics.conversations: 3,
        config.topics.accounts: 1,
        config.topics.dead_letters: 1,
    }
    assert states[config.topics.accounts].settings["cleanup.policy"] == "compact"
    assert not failed(topic_findings(config.topics, states))


async def test_a_missing_event_topic_gets_as_many_partitions_as_its_twin(config: Config) -> None:
    admin: AIOKafkaAdminClient = admin_client(config)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(config.topics.conversations, 5, 1)])
        assert config.topics.contacts in await create(admin, config)
        states = await describe(admin, config.topics)
    finally:
        await admin.close()
    assert states[config.topics.contacts].partitions == 5


async def test_asking_about_topics_creates_none(config: Config) -> None:
    admin: AIOKafkaAdminClient = admin_client(config)
    await admin.start()
    try:
        assert await describe(admin, config.topics) == {}
        assert config.topics.contacts not in await admin.list_topics()
    finally:
        await admin.close()


async def test_check_is_content_with_a_fresh_install(
    config: Config, kafka: KafkaAddress, redis_server: RedisAddress
) -> None:
    environment = {
        "MEDIANA_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MEDIANA_REDIS_URL": redis_server.url,
        "MEDIANA_NAMESPACE": config.namespace,
        "MEDIANA_TOPIC_PREFIX": config.topic_prefix,
    }
    assert failed(await check.check(environment))
    await _created(config)
    findings = await check.check(environment)
    assert [finding.what for finding in findings if finding.status == "fail"] == []
    assert findings[-1].what.startswith(f"namespace {config.namespace} is new")


async def test_check_notices_a_group_that_read_what_redis_does_not_know(config: Config) -> None:
    await _created(config)
    environment = {
        "MEDIANA_KAFKA_BOOTSTRAP": config.kafka_bootstrap,
        "MEDIANA_REDIS_URL": str(config.redis_url),
        "MEDIANA_NAMESPACE": config.namespace,
        "MEDIANA_TOPIC_PREFIX": config.topic_prefix,
    }
    producer = AIOKafkaProducer(bootstrap_servers=config.kafka_bootstrap)
    consumer = AIOKafkaConsumer(
        config.topics.contacts,
        bootstrap_servers=config.kafka_bootstrap,
        group_id=config.group_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await producer.start()
    await consumer.start()
    try:
        await producer.send_and_wait(config.topics.contacts, b"x")
        await consumer.getone()
        await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()
    found = [finding.what for finding in await check.check(environment) if finding.status == "fail"]
    assert found == [f"namespace {config.namespace} is empty, yet group {config.group_id} has read before"]


async def test_simulated_traffic_arrives_whole_valid_and_in_order(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    await _created(config)
    plan = Plan(now=datetime.now(UTC), days=2, accounts=2, contacts_per_day=10, live_rate=50.0, seed=5)
    await simulate.play(config, plan, live_seconds=2.0)
    history = sum(1 for at_ms, _ in simulate.history(plan, simulated(plan)))

    consumer = AIOKafkaConsumer(
        config.topics.contacts,
        config.topics.conversations,
        config.topics.accounts,
        bootstrap_servers=config.kafka_bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    events, accounts = Counter[str](), []
    newest: dict[tuple[str, int], datetime] = {}
    try:
        while batches := await consumer.getmany(timeout_ms=3_000):
            for partition, records in batches.items():
                for record in records:
                    if partition.topic == config.topics.accounts:
                        settings = decode_settings_record(record.key, record.value)
                        assert settings is not None
                        accounts.append(settings.account_id)
                        continue
                    kind = "contacts" if partition.topic == config.topics.contacts else "conversations"
                    event = decode_record(kind, record.key, record.value, record.timestamp)  # type: ignore[arg-type]
                    place = (partition.topic, partition.partition)
                    assert event.occurred_at >= newest.get(place, event.occurred_at)
                    newest[place] = event.occurred_at
                    events[event.id] += 1
    finally:
        await consumer.stop()
    assert accounts == ["andes", "sonrisa"]
    assert set(events.values()) == {1}
    live = len(events) - history
    assert 20 <= live <= 250
    said = capsys.readouterr().err
    assert f"history: {history:,} events of 2 days sent" in said
    assert f"live: {live:,} events sent" in said
