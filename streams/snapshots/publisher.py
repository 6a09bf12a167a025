"""Publishing one account: the cubes of the days that changed, the roll-ups they are in, document and manifest."""

import asyncio
import itertools
import logging
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from typing import Any

import orjson
from msgspec import Struct

from aggregates import cube
from aggregates.counters import Field, Value
from aggregates.cube import VALUES_KEY, Cube
from aggregates.document import (
    Notice,
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
from streams.snapshots.fenced import Draft, FencedAccount, Holder, MissingParts, missing_parts
from streams.snapshots.manifest import Manifest, PublicKeys
from streams.snapshots.parts import Attempt, Contents, Part, contents, day_name, span_name

logger = logging.getLogger(__name__)

READS_AT_ONCE = 100

DAYS_FORGOTTEN = 31
"""How many days past the retention one revision leaves out at most, so that a wrong clock cannot empty a report."""


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
    repaired: int = 0
    """Parts that should have been there and were not, and were made again from the counters."""


class Publisher:
    """Publishes accounts under a namespace, in one round."""

    def __init__(
        self,
        redis: Any,
        namespace: str,
        shards: list[ShardReader],
        history: int,
        retention_days: int,
        holder: Holder,
    ) -> None:
        self._redis = redis
        self._namespace = namespace
        self._shards = shards
        self._history = history
        self._retention_days = retention_days
        self._holder = holder
        self._everything: dict[int, Scan] = {}

    async def publish(
        self,
        settings: AccountSettings,
        log: LogCut,
        scans: list[Scan],
        *,
        was_left_out: bool = False,
        notices: tuple[Notice, ...] = (),
    ) -> Published:
        """Publish the account's next revision.

        `scans` tells, shard by shard, what changed since a time when every account was published but those that were
        left out. Raises `FenceLost` when another snapshotter has taken over, `Superseded` when one published
        meanwhile, `MissingParts` when a part is lost and the counters of its day are too, `UnsteadyShard` when a shard
        cannot be read now.
        """
        keys = PublicKeys(self._namespace, settings.account_id)
        account = FencedAccount(self._redis, keys, self._holder)
        claimed = await account.claim()
        if claimed.is_damaged:
            logger.warning("account %s: its manifest is lost or damaged; all of it is made again", settings.account_id)
        before = claimed.manifest
        there = Contents({}, {}) if before is None else contents(before.parts)
        missing = await self._missing(keys, before, there)
        attempt = Attempt()
        rules = Rules(settings)
        now_ms = int(time.time() * 1000)
        today = rules.calendar.day_of(log.as_of_ms)

        cuts, changed = await self._changed_counters(
            settings.account_id, before, scans, was_left_out=was_left_out, lost=missing.days.keys(), today=today
        )
        fresh: dict[int, Cube] = {}
        for day, counters in changed.items():
            fresh[day] = cube.build(cube.merged_counters(counters))
            await asyncio.sleep(0)  # the lock is renewed meanwhile
        oldest = self._oldest(before, there, today)
        absent = await self._absent(settings.account_id, missing.days, changed, oldest)
        if wanted_and_lost := [part for day, part in absent.items() if day in period_days(date.fromordinal(today))]:
            raise MissingParts(settings.account_id, wanted_and_lost)
        days = {day: part for day, part in there.days.items() if day not in fresh}
        days |= absent
        waiting = {} if before is None else {day: who for day, who in before.waiting.items() if day in days}
        for day, built in fresh.items():
            if built:
                days[day] = attempt.part(day_name(day))
                waiting[day] = waiting_of(built)
        days = {day: part for day, part in days.items() if day >= oldest}
        waiting = {day: who for day, who in waiting.items() if day in days}
        written = {days[day]: built for day, built in fresh.items() if day in days and day not in absent}
        for part, built in written.items():
            await account.write(part, built)
        kept = {span: part for span, part in there.spans.items() if span not in missing.spans}
        spans, made = await self._write_spans(
            account, attempt, keys, kept, days, fresh, rolled_up(days, today, oldest), absent.keys()
        )

        wanted = {day for day in period_days(date.fromordinal(today)) if day in days}
        stored = await self._stored_cubes(keys, {day: days[day] for day in wanted if day not in fresh})
        cubes: dict[int, Cube] = {**stored, **{day: fresh[day] for day in wanted if day in fresh}}
        states = [cut.state for cut in cuts]
        lacks = completeness(states, log.ends)
        publication = Publication(
            revision=claimed.revision + 1,
            published_at_ms=now_ms,
            as_of_ms=log.as_of_ms,
            complete=not (lacks.reasons or absent),
            lag_records=lacks.lag_records,
            incomplete_reasons=(*lacks.reasons, *_lost(absent)),
            changed_days=None if before is None else tuple(changed),
            complete_from_ms=lacks.complete_from_ms,
            as_of_before_ms=None if before is None or before.as_of_ms <= log.as_of_ms else before.as_of_ms,
            notices=notices,
        )
        if publication.as_of_before_ms is not None:
            logger.warning(
                "account %s: this report is as of %s, the one before was as of %s; are the clocks right?",
                settings.account_id,
                instant_text(log.as_of_ms),
                instant_text(publication.as_of_before_ms),
            )
        document = orjson.dumps(snapshot_document(settings, rules.calendar, cubes, waiting.values(), publication))
        manifest = Manifest(
            revision=publication.revision,
            published_at_ms=now_ms,
            as_of_ms=log.as_of_ms,
            complete=publication.complete,
            timezone=settings.timezone,
            today=today,
            rules=rules.version.hex(),
            commits={state.shard: (state.seq, state.token) for state in states},
            parts={part.name: part.version for part in (*days.values(), *spans.values())},
            waiting=waiting,
            positions={state.shard: (state.contacts or 0, state.conversations or 0) for state in states},
            absent=tuple(sorted(part.name for part in absent.values())),
            complete_from_ms=lacks.complete_from_ms,
        )
        lengths = {part: account.length(part) for part in (*written, *made)}
        draft = Draft(manifest, document, _notification(settings.account_id, manifest), lengths)
        await account.publish(claimed.known, draft, self._history)
        await account.sweep()
        return Published(
            settings.account_id,
            manifest,
            len(fresh),
            len(document),
            bool(lacks.pending),
            repaired=len(missing.days) + len(missing.spans) - len(absent) + claimed.is_damaged,
        )

    async def _missing(self, keys: PublicKeys, before: Manifest | None, there: Contents) -> Contents:
        """The days and spans that the newest manifest names and that are not there."""
        if before is None:
            return Contents({}, {})
        found = await missing_parts(self._redis, keys, (*there.days.values(), *there.spans.values()))
        if found:
            names = ", ".join(sorted(part.name for part in found)[:5])
            logger.warning("account %s: %d published parts are missing: %s", keys.account_id, len(found), names)
        return Contents(
            {day: part for day, part in there.days.items() if part in found},
            {span: part for span, part in there.spans.items() if part in found},
        )

    async def _absent(
        self,
        account_id: str,
        missing: Mapping[int, Part],
        changed: Mapping[int, list[list[tuple[Field, Value]]]],
        oldest: int,
    ) -> dict[int, Part]:
        """The missing days that no shard has counters of any more: they cannot be made again.

        A day that a correction emptied is still known to its shard; it has nothing, and that is right.
        """
        empty = {day: part for day, part in missing.items() if day >= oldest and not any(changed[day])}
        if not empty:
            return {}
        known = [(await self._whole(shard)).changes.get(account_id, {}) for shard in self._shards]
        return {day: part for day, part in empty.items() if not any(day in days for days in known)}

    def _oldest(self, before: Manifest | None, there: Contents, today: int) -> int:
        """The oldest day that the revision has: by the retention, but only so many steps at once."""
        oldest = today - self._retention_days
        past = sorted(day for day in there.days if day < oldest)
        return past[DAYS_FORGOTTEN] if before is not None and len(past) > DAYS_FORGOTTEN else oldest

    async def _changed_counters(
        self,
        account_id: str,
        before: Manifest | None,
        scans: list[Scan],
        *,
        was_left_out: bool,
        lost: AbstractSet[int],
        today: int,
    ) -> tuple[list[ShardCut], dict[int, list[list[tuple[Field, Value]]]]]:
        """Every shard's cut, and the counters of each day that changed in any shard, shard by shard.

        `lost` days count as changed.
        """
        days: set[int] = set(lost)
        known = set() if before is None else set(contents(before.parts).days)
        used = []
        for shard, since_before in zip(self._shards, scans, strict=True):
            scan = since_before
            published, token = (0, "") if before is None else before.commits.get(shard.shard, (0, ""))
            if before is not None and published > scan.state.seq:
                # The shard was rolled back to an older copy: any day may have changed.
                published = 0
                days.update(known)
            elif token != scan.state.token:
                # Perhaps it was rolled back, and has committed again since, by a clock that may be behind.
                published -= ROLL_BACK_MARGIN
            # The clock was ahead, and days may have been left out as past the retention.
            was_ahead = before is not None and before.today > today
            if scan.since_seq > 0 and (published <= 0 or was_left_out or was_ahead):
                scan = await self._whole(shard)
            changes = scan.changes.get(account_id, {})
            days.update(day for day, seq in changes.items() if seq > published or (was_ahead and day not in known))
            used.append(scan)
        while True:
            cuts = [
                await shard.cut(account_id, days, scan.state.seq)
                for shard, scan in zip(self._shards, used, strict=True)
            ]
            grown = days.union(*(cut.days for cut in cuts))
            if grown == days:
                break
            # A day began to change in one shard while another was read: its cube needs all shards.
            days = grown
        return cuts, {day: [cut.days.get(day, []) for cut in cuts] for day in sorted(days)}

    async def _whole(self, shard: ShardReader) -> Scan:
        """All there is in a shard, looked for once in a round."""
        if shard.shard not in self._everything:
            self._everything[shard.shard] = await shard.scan(0)
        return self._everything[shard.shard]

    async def _write_spans(
        self,
        account: FencedAccount,
        attempt: Attempt,
        keys: PublicKeys,
        kept: Mapping[Span, Part],
        days: Mapping[int, Part],
        fresh: Mapping[int, Cube],
        wanted: Mapping[Span, Sequence[int]],
        absent: AbstractSet[int],
    ) -> tuple[dict[Span, Part], list[Part]]:
        """Write the roll-ups that are wanted and missing, or have a changed day: all there are then, and the new."""
        # The roll-up of a day that is lost still has its numbers.
        changed = {span for day in fresh if day not in absent for span in spans_of(day)}
        spans = {span: kept[span] for span in wanted if span in kept and span not in changed}
        made = []
        missing = [span for span in wanted if span not in spans]
        for _, of_month in itertools.groupby(missing, lambda span: spans_of(span.first)[0]):
            read: dict[int, Cube] = {}  # once for a month and its thirds
            for span in of_month:
                if not absent.isdisjoint(wanted[span]):
                    continue
                for day in wanted[span]:
                    if day not in read:
                        read[day] = fresh[day] if day in fresh else await self._whole_cube(keys, days[day])
                part = attempt.part(span_name(span))
                await account.write(part, roll_up(span, {day: read[day] for day in wanted[span]}))
                spans[span] = part
                made.append(part)
        return spans, made

    async def _whole_cube(self, keys: PublicKeys, part: Part) -> Cube:
        found: dict[bytes, bytes] = await self._redis.hgetall(keys.part(part))
        if not found:
            raise MissingParts(keys.account_id, (part,))
        return found

    async def _stored_cubes(self, keys: PublicKeys, parts: Mapping[int, Part]) -> dict[int, dict[bytes, bytes]]:
        cubes: dict[int, dict[bytes, bytes]] = {}
        order = sorted(parts)
        for first in range(0, len(order), READS_AT_ONCE):
            some = order[first : first + READS_AT_ONCE]
            firsts = await self._fields(keys, parts, {day: first_keys() for day in some})
            tables = {day: table_keys(found) for day, found in firsts.items()}
            more = await self._fields(keys, parts, {day: fields for day, fields in tables.items() if fields})
            for day in some:
                cubes[day] = {**firsts[day], **more.get(day, {})}
                if VALUES_KEY not in cubes[day]:  # every cube has it
                    raise MissingParts(keys.account_id, (parts[day],))
        return cubes

    async def _fields(
        self, keys: PublicKeys, parts: Mapping[int, Part], fields: Mapping[int, list[bytes]]
    ) -> dict[int, dict[bytes, bytes]]:
        if not fields:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for day, wanted in fields.items():
                pipe.hmget(keys.part(parts[day]), wanted)
            answers = await pipe.execute()
        return {
            day: {key: value for key, value in zip(wanted, values, strict=True) if value is not None}
            for (day, wanted), values in zip(fields.items(), answers, strict=True)
        }


def _lost(absent: Mapping[int, Part]) -> tuple[str, ...]:
    if not absent:
        return ()
    named = ", ".join(date.fromordinal(day).isoformat() for day in sorted(absent)[:5])
    told = f"the published numbers of {len(absent)} days are lost and cannot be made again ({named})"
    return (f"{told}: restore Redis from a copy, or rebuild",)


def _notification(account_id: str, manifest: Manifest) -> bytes:
    return orjson.dumps(
        {
            "account_id": account_id,
            "revision": manifest.revision,
            "as_of": instant_text(manifest.as_of_ms),
            "complete": manifest.complete,
            "complete_from": instant_text(manifest.complete_from_ms),
        }
    )
