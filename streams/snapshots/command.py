"""`mediana snapshot`: one round of reports at once, or rounds by schedule until stopped."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import orjson
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from aggregates.report import instant_text
from streams import logs
from streams.config import Config
from streams.kafka.log_end import LogEnds
from streams.logs import shown
from streams.monitoring.probes import Ready, while_redis_answers
from streams.monitoring.server import MetricsServer
from streams.outage import Outage
from streams.redis.clients import connect
from streams.snapshots.cron import Schedule
from streams.snapshots.lock import LockLost
from streams.snapshots.metrics import SnapshotterMetrics
from streams.snapshots.publisher import Published
from streams.snapshots.snapshotter import NothingToPublish, Snapshotter

logger = logging.getLogger(__name__)

Publish: TypeAlias = Callable[..., Awaitable[list[Published]]]


def run(config: Config, account: str | None, watch: bool) -> int:
    """Publish once now, or with `watch` for ever by the cron setting. Returns the exit status."""
    if watch:
        logs.calm_libraries()
    return asyncio.run(_watch(config) if watch else _once(config, account))


async def _once(config: Config, account: str | None) -> int:
    redis = connect(config)
    ends = LogEnds(config)
    snapshotter = Snapshotter(redis, config, ends)
    try:
        published = await snapshotter.publish(account, all_accounts=True, next_due_ms=Schedule(config).next_due_ms())
    except (NothingToPublish, LockLost, RedisError) as error:
        print(shown(f"mediana: {error}"), file=sys.stderr)
        return 1
    finally:
        await ends.close()
        await redis.aclose()
    for done in published:
        line = {
            "account_id": done.account_id,
            "revision": done.manifest.revision,
            "complete": done.manifest.complete,
            "complete_from": instant_text(done.manifest.complete_from_ms),
            "changed_days": done.changed_days,
            "document_bytes": done.document_bytes,
        }
        sys.stdout.write(orjson.dumps(line).decode() + "\n")
    failed = {name: each for name, each in snapshotter.failures.items() if account in (None, name)}
    for name, failure in sorted(failed.items()):
        print(shown(f"mediana: account {name!r}: {failure.told()}"), file=sys.stderr)
    return 1 if failed else 0


async def _watch(config: Config) -> int:
    """Publish by the cron setting until told to stop. The first round, at the start, is of all accounts."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    registry = CollectorRegistry()
    metrics = SnapshotterMetrics(registry)
    redis = connect(config)
    ends = LogEnds(config)
    schedule = Schedule(config)
    outage = Outage("rounds", logger, settled_seconds=0)
    metrics.due.set(schedule.due)
    server = MetricsServer(
        registry, config.metrics_host, config.snapshotter_metrics_port, while_rounds_end_well(redis, schedule)
    )
    await server.start()
    snapshotter = Snapshotter(redis, config, ends)
    counted = 0
    try:
        while not stop.is_set():
            pause = await watched_round(snapshotter.publish, schedule, metrics, outage)
            metrics.set_failed(failure.reason for failure in snapshotter.failures.values())
            metrics.refused.inc(snapshotter.refused - counted)
            counted = snapshotter.refused
            metrics.unusable.set(len(snapshotter.unusable))
            metrics.zone_data_differs.set(snapshotter.zone_data.differs)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
    finally:
        await server.stop()
        await ends.close()
        await redis.aclose()
    return 0


def while_rounds_end_well(client: Any, schedule: Schedule) -> Ready:
    """Ready while Redis answers, the last round ended well or had nothing to publish, and none is missing."""
    redis_ready = while_redis_answers(client)

    async def ready() -> str | None:
        return await redis_ready() or schedule.why_not_ready()

    return ready


async def watched_round(
    publish: Publish, schedule: Schedule, metrics: SnapshotterMetrics, outage: Outage | None = None
) -> float:
    """One round of a schedule; whatever goes wrong is told to `outage`, counted and left to the next round.

    Returns how long to wait for that, in seconds. `publish` is `Snapshotter.publish`; until a round has succeeded, it
    is asked for all accounts.
    """
    started = time.monotonic()
    outage = outage or Outage("rounds", logger)
    try:
        published = await publish(all_accounts=not schedule.succeeded, next_due_ms=schedule.next_due_ms())
    except NothingToPublish as error:
        outage.failed(f"nothing to publish yet: {error}", level=logging.INFO)
        return schedule.had_nothing()
    except Exception as error:  # noqa: BLE001 — a scheduler that dies of one bad round publishes nothing any more
        metrics.failures.inc()
        outage.failed(f"the round failed, the next one goes on: {error!r}")
        return schedule.failed()
    outage.answered()
    seconds = time.monotonic() - started
    incomplete = sum(done.pending for done in published)
    days = sum(done.changed_days for done in published)
    metrics.seconds.observe(seconds)
    metrics.published.inc(len(published))
    metrics.days.inc(days)
    metrics.repaired.inc(sum(done.repaired for done in published))
    metrics.differing.inc(sum(done.differing_days for done in published))
    metrics.incomplete.set(incomplete)
    metrics.timestamp.set_to_current_time()
    logger.info("published %d accounts, %d days changed, in %.2f s", len(published), days, seconds)
    pause = schedule.ended_well()
    metrics.due.set(schedule.due)
    return pause
