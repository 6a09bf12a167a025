"""The snapshotter: turns the shards' counters into published reports, by cron and on demand.

A round looks at what changed in each shard since the round before, and publishes the accounts that changed, whose day
or settings changed, or whose report was not complete. Of an account only the changed days are read and written. One
snapshotter works at a time, by a lock in Redis; the script that publishes compares the revision anyway.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError

from aggregates.localtime import LocalCalendar
from schemas.accounts import decode_settings, default_settings
from streams.config import Config
from streams.kafka.gaps import complete_from
from streams.kafka.log_end import LogEnds
from streams.redis.keys import NamespaceKeys
from streams.redis.shard_reader import ROLL_BACK_MARGIN, Scan, ShardReader, UnsteadyShard
from streams.snapshots.manifest import Head, SnapshotterKeys, Superseded, decode_head, encode_head, settings_digest
from streams.snapshots.publisher import LogCut, Published, Publisher

logger = logging.getLogger(__name__)

LOCK_SECONDS = 60
CATCH_UP_SECONDS = 5.0
"""How long a round waits for the workers to reach the end that the log had when it began."""
CATCH_UP_POLL_SECONDS = 0.1

FIELDS_PER_SCAN = 500
"""How many accounts' settings, of about a kilobyte each, one command reads."""


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
        complete_from_ms = complete_from(scan.state.gaps for scan in scans)
        changed = {account_id for scan in scans for account_id in scan.changes}
        heads = await self._hash(self._keys.heads)
        # As bytes: most accounts did not change, and nothing of theirs is worth decoding.
        settings = dict.fromkeys((*heads, *(account_id.encode() for account_id in changed)), b"")
        settings |= await self._hash(self._namespace.settings)
        today = _Today(log.as_of_ms)
        publisher = Publisher(
            self._redis,
            self._config.namespace,
            self._shards,
            self._config.snapshot_history,
            self._config.retention_days,
        )
        published: list[Published] = []
        failed = False
        for account, data in sorted(settings.items()):
            account_id = account.decode()
            if only is not None and account_id != only:
                continue
            due = all_accounts or account_id in changed
            if not due and not _is_due(heads.get(account), data, today, complete_from_ms):
                continue
            try:
                done = await self._publish_one(publisher, account_id, data, log, scans)
            except UnsteadyShard as error:
                failed = True
                logger.warning("account %s is left for the next round: %s", account_id, error)
                continue
            published.append(done)
            await self._renew()
        if only is not None and only.encode() not in settings:
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
        self, publisher: Publisher, account_id: str, data: bytes, log: LogCut, scans: list[Scan]
    ) -> Published:
        settings = decode_settings(data) if data else default_settings(account_id)
        try:
            done = await publisher.publish(settings, log, scans)
        except Superseded as error:
            # Whoever was faster holds no lock of ours any more; the newest counters are still worth publishing.
            logger.warning("account %s: %s; trying again", account_id, error)
            done = await publisher.publish(settings, log, scans)
        manifest = done.manifest
        head = Head(
            revision=manifest.revision,
            today=manifest.today,
            rules=manifest.rules,
            settled=not done.pending,
            complete_from_ms=manifest.complete_from_ms,
            timezone=manifest.timezone,
            settings=settings_digest(data),
        )
        await self._redis.hset(self._keys.heads, account_id, encode_head(head))
        return done

    async def _hash(self, name: str | bytes) -> dict[bytes, bytes]:
        """All of a hash that grows with the accounts: read in parts, so that none holds the server for long."""
        return {field: value async for field, value in self._redis.hscan_iter(name, count=FIELDS_PER_SCAN)}

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


class _Today:
    """The day it is, by time zone."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._days: dict[str, int] = {}

    def of(self, timezone: str) -> int:
        day = self._days.get(timezone)
        if day is None:
            day = self._days[timezone] = LocalCalendar(timezone).day_of(self._now_ms)
        return day


def _is_due(head: bytes | None, settings: bytes, today: _Today, complete_from_ms: int | None) -> bool:
    """Whether an unchanged account's report shows what is no longer so: its day, its settings, what it lacks."""
    if head is None:
        return True
    shown = decode_head(head)
    return (
        not shown.settled
        or shown.complete_from_ms != complete_from_ms
        or shown.settings != settings_digest(settings)
        or shown.today != today.of(shown.timezone)
    )
