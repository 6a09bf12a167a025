"""Publishing one account: the cubes of the days that changed, the roll-ups they are in, document and manifest."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import orjson
from msgspec import Struct
from redis.exceptions import ResponseError

from aggregates import cube
from aggregates.counters import Field, Value
from aggregates.cube import Cube
from aggregates.document import (
    Publication,
    first_keys,
    period_days,
    snapshot_document,
    table_keys,
    waiting_of,
)
from aggregates.months import Span, roll_up, rolled_up, spans_of
from aggregates.report import instant_text
from aggregates.rules import Rules
from schemas.accounts import AccountSettings
from streams.redis.shard_reader import ROLL_BACK_MARGIN, Scan, ShardCut, ShardReader
from streams.snapshots.completeness import completeness
from streams.snapshots.manifest import (
    PUBLISH,
    DayCube,
    Garbage,
    Manifest,
    PublicKeys,
    Superseded,
    disposable,
    encode_manifest,
    garbage_note,
    load_manifest,
)

FIELDS_PER_WRITE = 500
BYTES_PER_WRITE = 200_000
"""Per HSET of a cube, so that no single command holds the server for long."""

READS_AT_ONCE = 100


class LogCut(Struct, frozen=True):
    """Where the log ended at an instant: shard → (end of contacts, end of conversations). `None`: not known."""

    as_of_ms: int
    ends: dict[int, tuple[int, int]] | None


class Published(Struct, frozen=True):
    """What was published of an account."""

    account_id: str
    manifest: Manifest
    changed_days: int
    document_bytes: int
    pending: bool
    """Whether a later revision may have what this one lacks."""


class Publisher:
    """Publishes accounts under a namespace."""

    def __init__(
        self, redis: Any, namespace: str, shards: list[ShardReader], history: int, retention_days: int
    ) -> None:
        self._redis = redis
        self._namespace = namespace
        self._shards = shards
        self._history = history
        self._retention_days = retention_days

    async def publish(self, settings: AccountSettings, log: LogCut, scans: list[Scan]) -> Published:
        """Publish the account's next revision.

        `scans` tells, shard by shard, what changed since a time when every account was published. Raises `Superseded`
        when another snapshotter was faster, `UnsteadyShard` when a shard cannot be read now.
        """
        keys = PublicKeys(self._namespace, settings.account_id)
        before = await load_manifest(self._redis, keys)
        rules = Rules(settings)
        revision = before.revision + 1 if before is not None else 1
        now_ms = int(time.time() * 1000)
        today = rules.calendar.day_of(log.as_of_ms)

        cuts, changed = await self._changed_counters(settings.account_id, before, scans)
        fresh = {day: cube.build(cube.merged_counters(parts)) for day, parts in changed.items()}
        days = {} if before is None else dict(before.days)
        for day, built in fresh.items():
            days.pop(day, None)
            if built:
                days[day] = DayCube(revision, waiting_of(built))
        oldest = today - self._retention_days
        days = {day: there for day, there in days.items() if day >= oldest}
        await self._write_cubes(
            keys, now_ms, {Garbage.of_day(day, revision): built for day, built in fresh.items() if day in days}
        )
        spans = await self._write_spans(keys, before, revision, now_ms, days, fresh, rolled_up(days, today, oldest))

        wanted = {day for day in period_days(date.fromordinal(today)) if day in days}
        stored = await self._stored_cubes(keys, {day: days[day].revision for day in wanted if day not in fresh})
        cubes: dict[int, Cube] = {**stored, **{day: fresh[day] for day in wanted if day in fresh}}
        states = [cut.state for cut in cuts]
        lacks = completeness(states, log.ends)
        publication = Publication(
            revision=revision,
            published_at_ms=now_ms,
            as_of_ms=log.as_of_ms,
            complete=not lacks.reasons,
            lag_records=lacks.lag_records,
            incomplete_reasons=lacks.reasons,
            changed_days=None if before is None else tuple(changed),
            complete_from_ms=lacks.complete_from_ms,
        )
        document = orjson.dumps(
            snapshot_document(settings, rules.calendar, cubes, (there.waiting for there in days.values()), publication)
        )
        manifest = Manifest(
            revision=revision,
            published_at_ms=now_ms,
            as_of_ms=log.as_of_ms,
            complete=publication.complete,
            timezone=settings.timezone,
            today=today,
            rules=rules.version,
            commits={state.shard: (state.seq, state.token) for state in states},
            days=days,
            complete_from_ms=lacks.complete_from_ms,
            spans=spans,
        )
        await self._publish(keys, before, manifest, document, now_ms)
        await self._sweep(keys, revision, now_ms)
        return Published(settings.account_id, manifest, len(fresh), len(document), bool(lacks.pending))

    async def _changed_counters(
        self, account_id: str, before: Manifest | None, scans: list[Scan]
    ) -> tuple[list[ShardCut], dict[int, list[list[tuple[Field, Value]]]]]:
        """Every shard's cut, and the counters of each day that changed in any shard, shard by shard."""
        days: set[int] = set()
        for shard, scan in zip(self._shards, scans, strict=True):
            published, token = (0, "") if before is None else before.commits.get(shard.shard, (0, ""))
            if before is not None and published > scan.state.seq:
                # The shard was rolled back to an older copy: any day may have changed.
                published = 0
                days.update(before.days)
            elif token != scan.state.token:
                # Perhaps it was rolled back, and has committed again since, by a clock that may be behind.
                published -= ROLL_BACK_MARGIN
            if scan.since_seq > 0 >= published:
                scan = await shard.scan(0)
            days.update(day for day, seq in scan.changes.get(account_id, {}).items() if seq > published)
        while True:
            cuts = [
                await shard.cut(account_id, days, scan.state.seq)
                for shard, scan in zip(self._shards, scans, strict=True)
            ]
            grown = days.union(*(cut.days for cut in cuts))
            if grown == days:
                break
            # A day began to change in one shard while another was read: its cube needs all shards.
            days = grown
        return cuts, {day: [cut.days.get(day, []) for cut in cuts] for day in sorted(days)}

    async def _write_spans(
        self,
        keys: PublicKeys,
        before: Manifest | None,
        revision: int,
        now_ms: int,
        days: Mapping[int, DayCube],
        fresh: Mapping[int, Cube],
        wanted: Mapping[Span, Sequence[int]],
    ) -> dict[Span, int]:
        """Write the roll-ups that are wanted and missing, or have a changed day: the revision of each."""
        changed = {span for day in fresh for span in spans_of(day)}
        kept = {} if before is None else before.spans
        spans = {span: kept[span] for span in wanted if span in kept and span not in changed}
        missing = [span for span in wanted if span not in spans]
        for _, of_month in itertools.groupby(missing, lambda span: spans_of(span.first)[0]):
            read: dict[int, Cube] = {}  # once for a month and its thirds
            for span in of_month:
                for day in wanted[span]:
                    if day not in read:
                        read[day] = fresh[day] if day in fresh else await self._whole_cube(keys, day, days)
                cubes = {day: read[day] for day in wanted[span]}
                if all(cubes.values()):
                    await self._write_cubes(keys, now_ms, {Garbage.of_span(span, revision): roll_up(span, cubes)})
                    spans[span] = revision
        return spans

    async def _whole_cube(self, keys: PublicKeys, day: int, days: Mapping[int, DayCube]) -> Cube:
        found: dict[bytes, bytes] = await self._redis.hgetall(keys.cube(day, days[day].revision))
        return found

    async def _write_cubes(self, keys: PublicKeys, now_ms: int, cubes: Mapping[Garbage, Mapping[bytes, bytes]]) -> None:
        if not cubes:
            return
        # Garbage until the manifest names them: a snapshotter that dies here leaves nothing behind for good.
        notes = {each.member: garbage_note(each.revision, now_ms) for each in cubes}
        await self._redis.hset(keys.garbage, mapping=notes)
        for each, built in cubes.items():
            name = keys.garbage_cube(each)
            await self._redis.unlink(name)
            for part in _parts(built):
                await self._redis.hset(name, mapping=part)

    async def _stored_cubes(self, keys: PublicKeys, revisions: Mapping[int, int]) -> dict[int, dict[bytes, bytes]]:
        cubes: dict[int, dict[bytes, bytes]] = {}
        order = sorted(revisions)
        for first in range(0, len(order), READS_AT_ONCE):
            part = order[first : first + READS_AT_ONCE]
            firsts = await self._fields(keys, revisions, {day: first_keys() for day in part})
            tables = {day: table_keys(found) for day, found in firsts.items()}
            more = await self._fields(keys, revisions, {day: fields for day, fields in tables.items() if fields})
            for day in part:
                cubes[day] = {**firsts[day], **more.get(day, {})}
        return cubes

    async def _fields(
        self, keys: PublicKeys, revisions: Mapping[int, int], fields: Mapping[int, list[bytes]]
    ) -> dict[int, dict[bytes, bytes]]:
        if not fields:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for day, wanted in fields.items():
                pipe.hmget(keys.cube(day, revisions[day]), wanted)
            answers = await pipe.execute()
        return {
            day: {key: value for key, value in zip(wanted, values, strict=True) if value is not None}
            for (day, wanted), values in zip(fields.items(), answers, strict=True)
        }

    async def _publish(
        self,
        keys: PublicKeys,
        before: Manifest | None,
        manifest: Manifest,
        document: bytes,
        now_ms: int,
    ) -> None:
        fresh = _only(manifest, before)
        replaced = [] if before is None else _only(before, manifest)
        notification = orjson.dumps(
            {
                "account_id": keys.account_id,
                "revision": manifest.revision,
                "as_of": instant_text(manifest.as_of_ms),
                "complete": manifest.complete,
                "complete_from": instant_text(manifest.complete_from_ms),
            }
        )
        try:
            await self._redis.eval(
                PUBLISH,
                5,
                keys.revision,
                keys.report,
                keys.manifest,
                keys.history,
                keys.garbage,
                0 if before is None else before.revision,
                manifest.revision,
                document,
                encode_manifest(manifest),
                self._history,
                keys.channel,
                notification,
                garbage_note(manifest.revision, now_ms),
                len(fresh),
                *fresh,
                *replaced,
            )
        except ResponseError as error:
            if "SUPERSEDED" in str(error):
                raise Superseded(str(error)) from None
            raise

    async def _sweep(self, keys: PublicKeys, revision: int, now_ms: int) -> None:
        """Delete the cubes that no reader can be reading any more."""
        found = disposable(await self._redis.hgetall(keys.garbage), revision, now_ms)
        if found:
            for garbage in found:
                await self._redis.unlink(keys.garbage_cube(garbage))
            await self._redis.hdel(keys.garbage, *(garbage.member for garbage in found))


def _only(one: Manifest, other: Manifest | None) -> list[str]:
    """The cubes and roll-ups that one manifest names and the other does not, as members of the garbage hash."""
    (days, spans, months), (other_days, other_spans, other_months) = _names(one), _names(other)
    garbage = (
        *itertools.starmap(Garbage.of_day, days - other_days),
        *itertools.starmap(Garbage.of_span, spans - other_spans),
        *itertools.starmap(Garbage.of_month, months - other_months),
    )
    return [each.member for each in garbage]


def _names(manifest: Manifest | None) -> tuple[set[tuple[int, int]], set[tuple[Span, int]], set[tuple[int, int]]]:
    """Days, spans and months with their revisions."""
    if manifest is None:
        return set(), set(), set()
    days = {(day, there.revision) for day, there in manifest.days.items()}
    return days, set(manifest.spans.items()), set(manifest.months.items())


def _parts(cube: Mapping[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    """The fields of a cube, a few at a time: so many, or one large one."""
    part: dict[bytes, bytes] = {}
    size = 0
    for field, value in cube.items():
        part[field] = value
        size += len(value)
        if len(part) >= FIELDS_PER_WRITE or size >= BYTES_PER_WRITE:
            yield part
            part, size = {}, 0
    if part:
        yield part
