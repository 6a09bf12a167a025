"""The programs that run in a simulation: workers, snapshotters and a reader, wired as `streams` wires them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from streams.config import Config
from streams.intake.claims import Claims
from streams.intake.membership import Membership
from streams.intake.ownership import Ownership
from streams.intake.service import Intake
from streams.intake.settings_feed import SettingsBatch
from streams.kafka.assignor import ShardAssignor
from streams.kafka.dead_letters import DeadLetterLimit, DeadLetters
from streams.kafka.log_start import instant_of
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import RedisLedger
from streams.redis.settings_store import RulesStore
from streams.shard.batch import Batch, BatchProcessor
from streams.snapshots.command import watched_round
from streams.snapshots.cron import Schedule
from streams.snapshots.metrics import SnapshotterMetrics
from streams.snapshots.snapshotter import Snapshotter
from streams.worker.housekeeping import Housekeeping
from streams.worker.retention import Retention
from streams.worker.sealing import Sealing
from streams.worker.settings_agent import take_over_settings
from tests.simulation.consumer import Consumer, LogEnds, Producer
from tests.simulation.redis_client import Client

# Shared by all: what they count is not looked at here, and to make them costs a thousandth of a second.
_WORKER_METRICS = WorkerMetrics(CollectorRegistry())
LEASE_SECONDS = 5.0

_SNAPSHOTTER_METRICS = SnapshotterMetrics(CollectorRegistry())


class Worker:
    """What `streams.worker.app.create_app` makes, with plain queues where it has Faust's channels."""

    def __init__(
        self,
        config: Config,
        client: Client,
        connect: Callable[[Any], Consumer],
        producer: Producer,
        fail: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """`connect` makes a consumer with an assignor."""
        self.consumer = connect(None)
        kafka: Any = self.consumer
        member: Any = connect(ShardAssignor(config.topics))
        letters_to: Any = producer

        def today() -> date:
            return datetime.fromtimestamp(clock(), UTC).date()

        metrics = _WORKER_METRICS
        keys = NamespaceKeys(config.namespace)
        rules = RulesStore(client, keys, config.cache_accounts)
        dead_letters = DeadLetters(letters_to, config.topics.dead_letters)
        limit = DeadLetterLimit(config.dead_letter_ratio, config.dead_letter_window, config.dead_letter_run)
        processor = BatchProcessor(rules, dead_letters, limit, metrics, config.lateness)
        claims = Claims(
            config, member, lambda shard: RedisLedger(client, keys.shard(shard), shard), instants=_no_instants
        )
        self.ownership = Ownership(config, member, claims, rules, metrics, fail)
        rules.until_read = self.ownership.until_settings_are_read
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()
        self._settings: asyncio.Queue[SettingsBatch] = asyncio.Queue()
        self.intake = Intake(
            config,
            kafka,
            Membership(member, self.ownership, config.topics, 10.0),
            self.ownership,
            self._batches.put,
            self._settings.put,
        )
        self.retention = Retention(self.ownership, client, metrics, config.retention_days, today)
        self.housekeeping = Housekeeping(self.intake, member, client, metrics, config.watchdog_seconds, fail)
        self.sealing = Sealing(self.ownership, client, metrics, config.lateness, lambda: int(clock() * 1000))
        self._services: tuple[Any, ...] = (self.housekeeping, self.retention, self.sealing, self.intake)

        async def apply_batches() -> None:
            while True:
                batch = await self._batches.get()
                error: Exception | None = None
                try:
                    await processor.apply(batch)
                except Exception as caught:  # noqa: BLE001 - the intake sorts them
                    error = caught
                await self.intake.done(batch, error)

        async def apply_settings() -> None:
            while True:
                batch = await self._settings.get()
                error: Exception | None = None
                try:
                    await take_over_settings(batch, rules, dead_letters, metrics)
                except Exception as caught:  # noqa: BLE001 - the intake sorts them
                    error = caught
                await self.intake.settings_done(batch, error)

        self._agents = [apply_batches] * config.agents + [apply_settings]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to work."""
        self._tasks = [asyncio.ensure_future(agent()) for agent in self._agents]
        for service in self._services:
            await service.start()

    async def stop(self) -> None:
        """Hand over and end."""
        for service in reversed(self._services):
            await service.stop()
        for task in self._tasks:
            task.cancel()


async def _no_instants(begins: Any) -> dict[Any, int]:
    return dict.fromkeys(begins, instant_of(None, 0))


async def snapshot_for_ever(config: Config, client: Client, ends: LogEnds, clock: Callable[[], float]) -> None:
    """What `streams.snapshots.command` does with `--watch`."""
    schedule = Schedule(config, clock)
    log: Any = ends
    snapshotter = Snapshotter(client, config, log, LEASE_SECONDS)
    while True:  # noqa: ASYNC110 - as long as the process lives
        await asyncio.sleep(await watched_round(snapshotter.publish, schedule, _SNAPSHOTTER_METRICS))
