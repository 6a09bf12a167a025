"""The snapshotter: turns the shards' facts into published reports, by cron and on demand.

A round looks at what changed in each shard since the round before, and publishes the accounts that changed, whose day
or settings changed, whose report was not complete, or of whose report a part is missing. Of an account only the changed
days are read and written; of the others it notes that their newest revision still says all there is.

One snapshotter works at a time, by a lock in Redis (`streams/snapshots/lock.py`); every script that writes compares it
(`streams/snapshots/fenced.py`). What keeps one account from being published ends no round: it is noted, and the account
is tried again in each round (`streams/snapshots/failures.py`).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec
from aiokafka.errors import KafkaError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aggregates.document import SETTINGS_UNUSABLE, Notice
from aggregates.localtime import LocalCalendar
from aggregates.rules import Rules
from streams.config import Config
from streams.kafka.gaps import complete_from
from streams.kafka.log_end import LogEnds
from streams.outage import Outage
from streams.redis.keys import ZONE_DATA, NamespaceKeys
from streams.redis.shard_reader import ROLL_BACK_MARGIN, Scan, ShardReader
from streams.redis.usable_settings import in_use
from streams.redis.zone_data import ZoneDataWatch
from streams.snapshots.blocks import Blocks
from streams.snapshots.completeness import completeness
from streams.snapshots.failures import Failure, decode_failure, encode_failure, reason_of, text_of
from streams.snapshots.fenced import FencedAccount, FenceLost, MissingParts, Superseded, missing_parts, note_quiet
from streams.snapshots.lock import LEASE_SECONDS, Lease, LockBusy, LockLost, SnapshotLock
from streams.snapshots.manifest import (
    Head,
    PublicKeys,
    SnapshotterKeys,
    decode_head,
    encode_head,
    load_manifest,
    settings_digest,
)
from streams.snapshots.parts import Part
from streams.snapshots.publisher import LogCut, Published, Publisher, Read, Round

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")

SECOND_TRY_SECONDS = 1.0
"""After so long an account that could not be published is tried once more."""
CATCH_UP_SECONDS = 5.0
"""How long a round waits for the workers to reach the end that the log had when it began."""
CATCH_UP_POLL_SECONDS = 0.1

FIELDS_PER_SCAN = 500
"""How many accounts' settings, of about a kilobyte each, one command reads."""

PARTS_LOOKED_FOR = 200_000
"""How many parts of reports that need nothing a round makes sure of, in about a second of Redis; the next round goes
on with the accounts after those."""


ACCOUNTS_TOGETHER = 50
"""How many accounts are read ahead together: few enough that little changes until they are published."""

QUIET_TOGETHER = 100

MOST_BYTES = 64 << 20
"""Of days that are remembered between publications, so that only those that changed are read and decoded."""


class NothingToPublish(RuntimeError):
    """There is no namespace to publish from."""


class Snapshotter:
    """Publishes rounds of reports of one namespace."""

    def __init__(self, redis: Any, config: Config, ends: LogEnds, lease_seconds: float = LEASE_SECONDS) -> None:
        self._redis = redis
        self._config = config
        self._ends = ends
        self._namespace = NamespaceKeys(config.namespace)
        self._keys = SnapshotterKeys(config.namespace)
        self._shards: list[ShardReader] = []
        self._lock = SnapshotLock(redis, self._keys, lease_seconds)
        self._log_end = Outage("the log's end", logger)
        self._looked_up_to = b""
        self._blocks = Blocks(redis, MOST_BYTES)
        self.failures: Mapping[str, Failure] = {}
        """The accounts that had no newer report after the last round, and those whose report lacks days for good."""
        self.unusable: dict[str, str] = {}
        """The accounts whose newest settings cannot be used, and why; their reports are made with those before."""
        self.zone_data = ZoneDataWatch(config.namespace)
        self.refused = 0
        """How often a write was refused, since another snapshotter had taken over."""

    async def publish(
        self, only: str | None = None, *, all_accounts: bool, next_due_ms: int | None = None
    ) -> list[Published]:
        """One round: all accounts, or those that need it, or `only` one. Reports say when the next round is due.

        Raises `NothingToPublish`; `LockBusy` and `LockLost` when another snapshotter is at work. Whatever keeps a
        single account from being published is told by `failures`.
        """
        await self._find_shards()

        async def work(lease: Lease) -> list[Published]:
            log = await self._log_cut()
            await self._catch_up(log)
            return await self._round(lease, log, only, all_accounts=all_accounts, next_due_ms=next_due_ms)

        try:
            return await self._lock.run(work)
        except LockBusy as error:
            raise NothingToPublish(str(error)) from error
        except LockLost:
            self.refused += 1
            raise

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
            ends = await self._ends.read(len(self._shards))
        except (KafkaError, OSError, TimeoutError) as error:
            self._log_end.failed(f"the log's end is not known, reports will say they are not complete: {error!r}")
            return LogCut(as_of_ms, None)
        self._log_end.answered()
        return LogCut(as_of_ms, ends)

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

    async def _round(
        self, lease: Lease, log: LogCut, only: str | None, *, all_accounts: bool, next_due_ms: int | None
    ) -> list[Published]:
        self.zone_data.look(await self._redis.hget(self._namespace.settings_log, ZONE_DATA))
        scans = await self._scans()
        complete_from_ms = complete_from(scan.state.gaps for scan in scans)
        changed = {account_id.encode() for scan in scans for account_id in scan.changes}
        heads = await self._hash(self._keys.heads)
        failures = await self._hash(self._keys.failures)
        # As bytes: most accounts did not change, and nothing of theirs is worth decoding.
        settings = dict.fromkeys((*heads, *failures, *changed), b"")
        settings |= await self._hash(self._namespace.settings)
        if only is not None and only.encode() not in settings:
            raise NothingToPublish(f"account {only!r} has neither settings nor events in this namespace")
        today = _Today(log.as_of_ms)
        publisher = Publisher(
            self._redis,
            self._config.namespace,
            self._shards,
            self._config.snapshot_history,
            self._config.retention_days,
            lease,
            self._blocks,
        )
        left_out = frozenset(account.decode(errors="replace") for account in failures)
        due = {
            account
            for account, data in settings.items()
            if (only is None or account == only.encode())
            and (
                all_accounts
                or account in changed
                or account in failures
                or _is_due(heads.get(account), data, today, complete_from_ms)
            )
        }
        if only is None:
            due |= await self._damaged(lease, heads, due)
        round_ = Round(log, scans, left_out, next_due_ms, _revisions(heads, due))
        published: list[Published] = []
        left = sorted(due)
        for is_last in (False, True):
            failed: list[bytes] = []
            for some in _portions(left, ACCOUNTS_TOGETHER):
                read = await self._read(publisher, some, round_)
                new_heads = {}
                for account in some:
                    try:
                        done, head = await self._publish_one(
                            lease, publisher, account, settings[account], round_, read.get(account)
                        )
                    except LockLost:
                        raise
                    except Exception as error:  # whatever is wrong with one account
                        if not await self._only_this_account(error):
                            raise
                        failed.append(account)
                        if is_last:
                            await self._failed(lease, account, error, failures, log)
                        continue
                    published.append(done)
                    new_heads[account] = encode_head(head)
                    await self._succeeded(lease, account, done, failures, log)
                await lease.set(self._keys.heads, new_heads)
            left = failed
            if not left or is_last:
                break
            # A connection that a server closed, a shard in a commit: the next round may be hours away.
            await asyncio.sleep(SECOND_TRY_SECONDS)
        if only is None:
            quiet = {account: head for account, head in heads.items() if account not in due}
            if not completeness([scan.state for scan in scans], log.ends).pending:
                await self._note_quiet(lease, quiet, log.as_of_ms)
            cursors = {scan.state.shard: f"{scan.state.seq}:{scan.state.token}" for scan in scans}
            await lease.set(self._keys.cursors, cursors)
        self.failures = _decoded(failures)
        return published

    async def _read(self, publisher: Publisher, accounts: Sequence[bytes], round_: Round) -> dict[bytes, Read]:
        """What is known of accounts before each is published; nothing where that cannot be read together."""
        try:
            names = [account.decode() for account in accounts]
            found = await publisher.read(names, round_)
        except Exception as error:  # each account's publication says what is wrong, and with which
            if not await self._only_this_account(error):
                raise
            return {}
        return {name.encode(): read for name, read in found.items()}

    async def _note_quiet(self, lease: Lease, heads: Mapping[bytes, bytes], as_of_ms: int) -> None:
        """Of accounts that did not change, the newest revision says all there is up to now."""
        for some in _portions(sorted(heads.items()), QUIET_TOGETHER):
            accounts = {}
            for account, head in some:
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    keys = PublicKeys(self._config.namespace, account.decode())
                    accounts[keys] = decode_head(head).revision
            await note_quiet(self._redis, lease, accounts, as_of_ms)

    async def _damaged(self, lease: Lease, heads: Mapping[bytes, bytes], due: set[bytes]) -> set[bytes]:
        """Accounts that need nothing else, and of whose report a part is missing: as many as a round looks at.

        On the way parts are swept that were written and never named.
        """
        found = set()
        order = sorted(heads)
        begin = next((place for place, account in enumerate(order) if account > self._looked_up_to), 0)
        left = PARTS_LOOKED_FOR
        for account in [*order[begin:], *order[:begin]]:
            if left <= 0:
                break
            self._looked_up_to = account
            if account in due:
                continue
            try:
                keys = PublicKeys(self._config.namespace, account.decode())
                manifest = await load_manifest(self._redis, keys)
                # A key counts as often as it is named, so that one command tells which of them are there.
                there = await self._redis.exists(keys.report, *[keys.revision] * 2, *[keys.garbage] * 4)
                if there & 4:
                    await FencedAccount(self._redis, keys, lease).sweep()
                if manifest is None or there & 3 != 3:
                    found.add(account)
                    continue
                named = [Part(name, version) for name, version in manifest.parts.items()]
                left -= 1 + len(named)
                missing = await missing_parts(self._redis, keys, named)
                if any(part.name not in manifest.absent for part in missing):
                    found.add(account)
            except Exception as error:  # its publication says what is wrong
                if not await self._only_this_account(error):
                    raise
                found.add(account)
        return found

    async def _only_this_account(self, error: Exception) -> bool:
        """Whether an error can be this account's alone: not when Redis is gone, for then it is everybody's."""
        if isinstance(error, RedisConnectionError | RedisTimeoutError | RedisClusterException | OSError):
            try:
                await self._redis.get(self._keys.lock)
            except (RedisError, RedisClusterException, OSError):
                return False
        return True

    async def _failed(
        self, lease: Lease, account: bytes, error: Exception, failures: dict[bytes, bytes], log: LogCut
    ) -> None:
        # The trace of what nobody foresaw is worth its lines; of the rest the text says all.
        reason = reason_of(error)
        text = text_of(error)
        logger.warning(
            "account %r is not published, its report stays as it is: %s (%s)",
            account.decode(errors="replace"),
            text,
            reason,
            exc_info=error if reason == "unforeseen" else None,
        )
        before = _decode_failure(failures.get(account))
        since_ms = log.as_of_ms if before is None or before.is_published else before.since_ms
        failures[account] = encode_failure(Failure(reason, since_ms, text))
        await lease.set(self._keys.failures, {account: failures[account]})

    async def _succeeded(
        self, lease: Lease, account: bytes, done: Published, failures: dict[bytes, bytes], log: LogCut
    ) -> None:
        absent = done.manifest.absent
        if absent:
            before = _decode_failure(failures.get(account))
            since_ms = log.as_of_ms if before is None else before.since_ms
            text = f"{len(absent)} days are lost, in Redis and in the shards"
            failures[account] = encode_failure(Failure("parts", since_ms, text, is_published=True))
            await lease.set(self._keys.failures, {account: failures[account]})
        elif failures.pop(account, None) is not None:
            await lease.delete(self._keys.failures, [account])

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
        self,
        lease: Lease,
        publisher: Publisher,
        account: bytes,
        data: bytes,
        round_: Round,
        read: Read | None,
    ) -> tuple[Published, Head]:
        account_id = account.decode()
        rules, notices = await self._settings(account_id, data)
        try:
            done = await publisher.publish(rules, round_, notices=notices, read=read)
        except (FenceLost, Superseded, MissingParts) as error:
            self.refused += not isinstance(error, MissingParts)
            await lease.renew()  # if the lock is another's, the account is too
            logger.warning("account %s: %s; trying again", account_id, error)
            suspects = error.parts if isinstance(error, MissingParts) else ()
            done = await publisher.publish(rules, round_, notices=notices, suspects=suspects)
        manifest = done.manifest
        return done, Head(
            revision=manifest.revision,
            today=manifest.today,
            rules=manifest.rules,
            settled=not done.pending,
            complete_from_ms=manifest.complete_from_ms,
            timezone=manifest.timezone,
            settings=settings_digest(data),
        )

    async def _settings(self, account_id: str, data: bytes) -> tuple[Rules, tuple[Notice, ...]]:
        """The settings that the account goes on with, and what its report says of them."""
        found = await in_use(self._redis, self._namespace, account_id, data or None)
        if found.problem is None:
            self.unusable.pop(account_id, None)
            return found.rules, ()
        if self.unusable.get(account_id) != found.problem:
            self.unusable[account_id] = found.problem
            logger.warning(
                "account %r: its newest settings cannot be used, %s: %s", account_id, found.instead, found.problem
            )
        return found.rules, (Notice(SETTINGS_UNUSABLE, 1, (found.problem,)),)

    async def _hash(self, name: str | bytes) -> dict[bytes, bytes]:
        """All of a hash that grows with the accounts: read in parts, so that none holds the server for long."""
        return {field: value async for field, value in self._redis.hscan_iter(name, count=FIELDS_PER_SCAN)}


def _portions(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """So many of them at a time."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


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
    try:
        shown = decode_head(head)
        shown_today = today.of(shown.timezone)
    except Exception:  # noqa: BLE001 - a damaged head, a zone that is no more: publishing finds out what is wrong
        return True
    return (
        not shown.settled
        or shown.complete_from_ms != complete_from_ms
        or shown.settings != settings_digest(settings)
        or shown.today != shown_today
    )


def _revisions(heads: Mapping[bytes, bytes], accounts: Iterable[bytes]) -> dict[str, int]:
    """The newest revision of accounts, as far as their heads can be read."""
    found = {}
    for account in accounts:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            if (head := heads.get(account)) is not None:
                found[account.decode()] = decode_head(head).revision
    return found


def _decode_failure(data: bytes | None) -> Failure | None:
    if data is None:
        return None
    try:
        return decode_failure(data)
    except msgspec.DecodeError:
        return None


def _decoded(failures: Mapping[bytes, bytes]) -> dict[str, Failure]:
    decoded = ((account.decode(errors="replace"), _decode_failure(data)) for account, data in failures.items())
    return {account: failure for account, failure in decoded if failure is not None}
