"""The Faust app of a worker: its services, channels and agents.

Faust's own Kafka client is off: the intake service reads the topics with aiokafka and hands whole batches to agents
over channels. Faust's consumer costs 50 times as much per event, and keeps positions where they cannot be committed
together with what follows from them.
"""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust.app.base import BootStrategy
from prometheus_client import CollectorRegistry

from streams.config import Config
from streams.intake.claims import Claims
from streams.intake.membership import Membership
from streams.intake.ownership import Ownership
from streams.intake.service import Intake
from streams.intake.settings_feed import SettingsBatch
from streams.kafka.dead_letters import DeadLetterLimit, DeadLetters
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.clients import Client
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import RedisLedger
from streams.redis.settings_store import RulesStore
from streams.shard.batch import Batch, BatchProcessor, Budget
from streams.worker.housekeeping import Housekeeping
from streams.worker.retention import Retention
from streams.worker.sealing import Sealing
from streams.worker.settings_agent import take_over_settings
from streams.worker.settings_sweep import RulesSweep

logger = logging.getLogger(__name__)

Stream: TypeAlias = "faust.StreamT[Any]"


class _WithoutKafka(BootStrategy):
    """Faust without its Kafka consumer, producer and web server."""

    enable_kafka = False
    enable_kafka_consumer = False
    enable_kafka_producer = False
    enable_web = False


class WorkerApp(faust.App):
    """A worker. `ownership` and `housekeeping` are there once it is made by `create_app`."""

    BootStrategy = _WithoutKafka
    ownership: Ownership | None = None
    housekeeping: Housekeeping | None = None
    mundane_level = "debug"

    def _create_directories(self) -> None:
        """Nothing is kept on disk."""

    async def why_not_ready(self) -> str | None:
        """Why this worker does not fold, or nothing when all its shards are open (having none is fine)."""
        if self.ownership is None or self.housekeeping is None:
            return "starting"
        if not self.ownership.joined:
            return "waiting for the consumer group"
        if not self.housekeeping.kafka_answers:
            return "Kafka does not answer"
        closed = [str(shard) for shard, feed in sorted(self.ownership.shards.items()) if feed.session is None]
        return f"shards not open: {', '.join(closed)}" if closed else None


def create_app(
    config: Config,
    client: Client,
    consumer: AIOKafkaConsumer,
    member: AIOKafkaConsumer,
    producer: AIOKafkaProducer,
    registry: CollectorRegistry,
    fail: Callable[[str], None],
) -> WorkerApp:
    """The app of one worker; call it inside the event loop that will run it.

    Clients are started and stopped by the caller, except that the intake stops both consumers when it hands over.
    `consumer` reads; `member` is in the group, and answers questions about the logs, for it never waits for records.
    `fail` is called with a message when the worker cannot go on.
    """
    app = WorkerApp(
        config.group_id,
        broker=f"kafka://{config.kafka_bootstrap}",
        store="memory://",
        topic_disable_leader=True,
        web_enabled=False,
    )
    metrics = WorkerMetrics(registry)
    keys = NamespaceKeys(config.namespace)
    rules = RulesStore(client, keys, config.cache_accounts)
    dead_letters = DeadLetters(producer, config.topics.dead_letters)
    limit = DeadLetterLimit(config.dead_letter_ratio, config.dead_letter_window, config.dead_letter_run)
    budget = Budget(config.batch_seconds, config.batch_memory)
    processor = BatchProcessor(rules, dead_letters, limit, metrics, config.lateness, budget=budget)
    claims = Claims(config, member, lambda shard: RedisLedger(client, keys.shard(shard), shard))
    batches = app.channel()
    settings = app.channel()
    ownership = app.ownership = Ownership(config, member, claims, rules, metrics, fail)
    rules.until_read = ownership.until_settings_are_read
    options: dict[str, Any] = {"loop": app.loop, "beacon": app.beacon}
    # Faust's hints ask for its own events; whatever is put on a channel comes out of it.
    send_batch: Any = batches.put
    send_settings: Any = settings.put
    membership = Membership(member, ownership, config.topics, config.watchdog_seconds)
    intake = Intake(config, consumer, membership, ownership, send_batch, send_settings, **options)

    # Nothing may escape an agent: Faust would restart it, and the batch would be gone.
    @app.agent(batches, name="batches", concurrency=config.agents)
    async def apply_batches(stream: Stream) -> None:
        async for batch in stream:
            assert isinstance(batch, Batch)
            error: Exception | None = None
            try:
                await processor.apply(batch)
            except Exception as caught:  # noqa: BLE001 - the intake sorts them
                error = caught
            await intake.done(batch, error)

    @app.agent(settings, name="settings")
    async def apply_settings(stream: Stream) -> None:
        async for batch in stream:
            assert isinstance(batch, SettingsBatch)
            error: Exception | None = None
            try:
                await take_over_settings(batch, rules, dead_letters, metrics)
            except Exception as caught:  # noqa: BLE001 - the intake sorts them
                error = caught
            await intake.settings_done(batch, error)

    # Channels are held shut until Faust's own consumer has its partitions. There is none.
    app.flow_control.resume()
    housekeeping = app.housekeeping = Housekeeping(
        intake, member, client, metrics, config.watchdog_seconds, fail, **options
    )
    retention = Retention(ownership, client, metrics, config.retention_days, _today, **options)
    rules_sweep = RulesSweep(ownership, client, metrics, config.lateness, _today, **options)
    sealing = Sealing(ownership, client, metrics, config.lateness, **options)
    for service in (housekeeping, retention, rules_sweep, sealing, intake):
        app.service(service)  # type: ignore[arg-type]  # an instance is as good as a class, says its code
    return app


def _today() -> date:
    return datetime.now(UTC).date()
