"""The snapshotter: turns the shards' counters into published reports, by cron and on demand.

A round looks at what changed in each shard since the round before, and publishes the accounts that changed, whose day
or settings changed, or whose report was not complete. Of an account only the changed days are read and written. One
snapshotter works at a time, by a lock in Redis; the script that publishes compares the revision anyway.
"""

import asyncio
import logging
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka.errors import KafkaError
from croniter import croniter
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from redis.exceptions import RedisError

from aggregates.rules import Rules
from schemas.accounts import AccountSettings, decode_settings, default_settings
from streams.config import Config
from streams.keys import NamespaceKeys
from streams.log_ends import LogEnds
from streams.published import Head, SnapshotterKeys, Superseded, decode_head, encode_head
from streams.publisher import LogCut, Published, Publisher
from streams.redis import connect
from streams.shards import ROLL_BACK_MARGIN, Scan, ShardReader, UnsteadyShard
from streams.snapshot_metrics import SnapshotterMetrics

logger = logging.getLogger(__name__)

LOCK_SECONDS = 60
CATCH_UP_SECONDS = 5.0
"""How long a round waits for the workers to reach the end that the log had when it began."""
CATCH_UP_POLL_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 2.0
"""Pause until a first round has succeeded: right after an install, the worker may not have claimed its shards yet."""


class NothingToPublish(RuntimeError):
    """There is no namespace to publish from."""


class Snapshotter:
    """Publishes rounds of reports of one namespace."""

    def __init__(self, redis: Any, config: Config, ends: LogEnds) -> None:
        self._redis = redis
        self._config = config
        self._ends = ends
        self._namespace = NamespaceKeys(config.namespace)
        self._keys = SnapshotterKeys(config.namespace)
        self._shards: list[ShardReader] = []
        self._token = uuid.uuid4().hex

    async def publish(self, only: str | None = None, *, all_accounts: bool) -> list[Published]:
        """One round: all accounts, or those that need it, or `only` one. Raises `NothingToPublish`."""
        await self._find_shards()
        async with self._lock():
            log = await self._log_cut()
            await self._catch_up(log)
            return await self._round(log, only, all_accounts=all_accounts)

    async def _find_shards(self) -> None:
        partitions = await self._redis.hget(self._namespace.meta, "partitions")
        if partitions is None:
            raise NothingToPublish(
                f"namespace {self._config.namespace!r} is empty in {self._config.redis_address}: "
                "start a worker first, or point MEDIANA_REDIS_URL and MEDIANA_NAMESPACE at the right place"
            )
        if len(self._shards) != int(partitions):
            self._shards = [ShardReader(self._redis, self._namespace, shard) for shard in range(int(partitions))]

    async def _log_cut(self) -> LogCut:
        as_of_ms = int(time.time() * 1000)
        try:
            return LogCut(as_of_ms, await self._ends.read(len(self._shards)))
        except (KafkaError, OSError, TimeoutError) as error:
            logger.warning("the log's end is not known, reports will say they are not complete: %r", error)
            return LogCut(as_of_ms, None)

    async def _catch_up(self, log: LogCut) -> None:
        """Wait, for a while, until the workers have folded what the log held at the cut."""
        if log.ends is None:
            return
        deadline = time.monotonic() + CATCH_UP_SECONDS
        waiting = {shard.shard: shard for shard in self._shards}
        while waiting and time.monotonic() < deadline:
            for number, shard in list(waiting.items()):
                state = await shard.state()
                contacts_end, conversations_end = log.ends[number]
                if (
                    state.contacts is not None
                    and state.conversations is not None
                    and state.contacts >= contacts_end
                    and state.conversations >= conversations_end
                ):
                    del waiting[number]
            if waiting:
                await asyncio.sleep(CATCH_UP_POLL_SECONDS)

    async def _round(self, log: LogCut, only: str | None, *, all_accounts: bool) -> list[Published]:
        scans = await self._scans()
        changed = {account_id for scan in scans for account_id in scan.changes}
        heads = {
            account.decode(): decode_head(head)
            for account, head in (await self._redis.hgetall(self._keys.heads)).items()
        }
        settings = await self._settings(changed | set(heads))
        publisher = Publisher(
            self._redis,
            self._config.namespace,
            self._shards,
            self._config.snapshot_history,
            self._config.retention_days,
        )
        published: list[Published] = []
        failed = False
        for account_id, account in sorted(settings.items()):
            if only is not None and account_id != only:
                continue
            due = all_accounts or account_id in changed or _is_due(heads.get(account_id), account, log.as_of_ms)
            if not due:
                continue
            try:
                done = await self._publish_one(publisher, account, log, scans)
            except UnsteadyShard as error:
                failed = True
                logger.warning("account %s is left for the next round: %s", account_id, error)
                continue
            published.append(done)
            await self._renew()
        if only is not None and only not in settings:
            raise NothingToPublish(f"account {only!r} has neither settings nor events in this namespace")
        if only is None and not failed:
            cursors = {scan.state.shard: f"{scan.state.seq}:{scan.state.token}" for scan in scans}
            await self._redis.hset(self._keys.cursors, mapping=cursors)
        return published

    async def _scans(self) -> list[Scan]:
        """What changed in each shard since the round before."""
        cursors = await self._redis.hgetall(self._keys.cursors)
        scans = []
        for shard in self._shards:
            seq, _, token = cursors.get(b"%d" % shard.shard, b"0:").decode().partition(":")
            state = await shard.state()
            # Another claim: perhaps after a roll-back, and what is committed again must be published again.
            since_seq = int(seq) if token == state.token else max(0, int(seq) - ROLL_BACK_MARGIN)
            scans.append(await shard.scan(since_seq))
        return scans

    async def _publish_one(
        self, publisher: Publisher, account: AccountSettings, log: LogCut, scans: list[Scan]
    ) -> Published:
        try:
            done = await publisher.publish(account, log, scans)
        except Superseded as error:
            # Whoever was faster holds no lock of ours any more; the newest counters are still worth publishing.
            logger.warning("account %s: %s; trying again", account.account_id, error)
            done = await publisher.publish(account, log, scans)
        manifest = done.manifest
        head = Head(manifest.revision, manifest.today, manifest.rules, manifest.complete)
        await self._redis.hset(self._keys.heads, account.account_id, encode_head(head))
        return done

    async def _settings(self, account_ids: set[str]) -> dict[str, AccountSettings]:
        """The settings of every account that sent any, and the default ones of those that did not."""
        found = {account_id: default_settings(account_id) for account_id in account_ids}
        for account, data in (await self._redis.hgetall(self._namespace.settings)).items():
            found[account.decode()] = decode_settings(data)
        return found

    @asynccontextmanager
    async def _lock(self) -> AsyncIterator[None]:
        deadline = time.monotonic() + 2 * LOCK_SECONDS
        while not await self._redis.set(self._keys.lock, self._token, nx=True, ex=LOCK_SECONDS):
            if await self._redis.get(self._keys.lock) == self._token.encode():
                break  # left by a round of ours whose connection broke
            if time.monotonic() > deadline:
                raise NothingToPublish("another snapshotter has been at work for two minutes; is it stuck?")
            await asyncio.sleep(0.2)
        await self._renew()
        try:
            yield
        finally:
            if await self._redis.get(self._keys.lock) == self._token.encode():
                await self._redis.delete(self._keys.lock)

    async def _renew(self) -> None:
        if await self._redis.get(self._keys.lock) == self._token.encode():
            await self._redis.expire(self._keys.lock, LOCK_SECONDS)


def _is_due(head: Head | None, settings: AccountSettings, as_of_ms: int) -> bool:
    """Whether an unchanged account's report shows what is no longer so: its day, its settings, incompleteness."""
    if head is None or not head.complete:
        return True
    rules = Rules(settings)
    return head.rules != rules.version or head.today != rules.calendar.day_of(as_of_ms)


def run(config: Config, account: str | None, watch: bool) -> int:
    """Publish once now, or with `watch` for ever by the cron setting. Returns the exit status."""
    return asyncio.run(_watch(config) if watch else _once(config, account))


async def _once(config: Config, account: str | None) -> int:
    redis = connect(config)
    ends = LogEnds(config)
    try:
        published = await Snapshotter(redis, config, ends).publish(account, all_accounts=True)
    except (NothingToPublish, RedisError) as error:
        print(f"mediana: {error}", file=sys.stderr)
        return 1
    finally:
        await ends.close()
        await redis.aclose()
    for done in published:
        line = {
            "account_id": done.account_id,
            "revision": done.manifest.revision,
            "complete": done.manifest.complete,
            "changed_days": done.changed_days,
            "document_bytes": done.document_bytes,
        }
        sys.stdout.write(orjson.dumps(line).decode() + "\n")
    return 0


async def _watch(config: Config) -> int:
    """Publish by the cron setting until told to stop. The first round, at the start, is of all accounts."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = SnapshotterMetrics(registry)
    metrics.due.set_to_current_time()
    server, thread = start_http_server(config.snapshotter_metrics_port, config.metrics_host, registry)
    redis = connect(config)
    ends = LogEnds(config)
    snapshotter = Snapshotter(redis, config, ends)
    all_accounts = True
    try:
        while not stop.is_set():
            if await _watched_round(snapshotter, metrics, all_accounts=all_accounts):
                all_accounts = False
                metrics.due.set(time.time() + _seconds_to_next(config, datetime.now(UTC)))
            pause = FIRST_PAUSE_SECONDS if all_accounts else _seconds_to_next(config, datetime.now(UTC))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
    finally:
        await ends.close()
        await redis.aclose()
        server.shutdown()
        thread.join()
    return 0


async def _watched_round(snapshotter: Snapshotter, metrics: SnapshotterMetrics, *, all_accounts: bool) -> bool:
    """One round of `_watch`; whatever goes wrong is logged, counted and left to the next round."""
    started = time.monotonic()
    try:
        published = await snapshotter.publish(all_accounts=all_accounts)
    except NothingToPublish as error:
        logger.info("nothing to publish yet: %s", error)
        return False
    except Exception as error:  # noqa: BLE001 — a scheduler that dies of one bad round publishes nothing any more
        metrics.failures.inc()
        logger.warning("the round failed, the next one goes on: %r", error)
        return False
    seconds = time.monotonic() - started
    incomplete = sum(not done.manifest.complete for done in published)
    days = sum(done.changed_days for done in published)
    metrics.seconds.observe(seconds)
    metrics.published.inc(len(published))
    metrics.days.inc(days)
    metrics.incomplete.set(incomplete)
    metrics.timestamp.set_to_current_time()
    logger.info("published %d accounts, %d days changed, in %.2f s", len(published), days, seconds)
    return True


def _seconds_to_next(config: Config, now: datetime) -> float:
    """How long until the next round: the interval if one is set, else by cron, in UTC."""
    if config.snapshot_interval_seconds is not None:
        return config.snapshot_interval_seconds
    following: datetime = croniter(config.snapshot_cron, now).get_next(datetime)
    return max(0.0, (following - now).total_seconds())
