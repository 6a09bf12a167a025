"""Reading published snapshots: any account, range and filters, never touching the live counters."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import date
from typing import Any, NamedTuple

from msgspec import Struct

from aggregates.cube import VALUES_KEY, Cube
from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.months import Span, span_keys, usable
from aggregates.periods import Period, period
from aggregates.report import Metrics, instant_text, metrics, needed_keys, table_filters
from aggregates.rows import slice_prefix
from schemas.zones import ZONE_DATA_VERSION
from streams.snapshots.fenced import missing_parts
from streams.snapshots.manifest import Manifest, PublicKeys, SnapshotterKeys, load_manifest
from streams.snapshots.parts import Part, contents

PIPELINE_READS = 200
"""Reads sent at once: enough to make round trips cheap, few enough to leave the server to others in between."""

FIELDS_PER_SCAN = 1_000
"""How many fields of a cube one command looks at, so that none holds the server for long."""

ATTEMPTS = 5
"""How often a part that is gone may mean that a newer revision has replaced it."""


class NoReport(LookupError):
    """Nothing is published of that account."""

    def __init__(self, account_id: str, text: str | None = None) -> None:
        super().__init__(text or f"no report of account {account_id!r} is published; `mediana snapshot` publishes one")
        self.account_id = account_id


class UnknownZone(NoReport):
    """The report is of a time zone that this program's zone data does not have."""

    def __init__(self, account_id: str, timezone: str) -> None:
        super().__init__(
            account_id,
            f"the report of account {account_id!r} was published for time zone {timezone!r}, which this program's zone "
            f"data {ZONE_DATA_VERSION} does not have: run the same release of Mediana everywhere, then `mediana "
            "snapshot`",
        )


class Answer(Struct, frozen=True):
    """The metrics of a range and of the period before, tables included, and the revision they come from.

    `previous` is empty where it was not asked for.
    """

    account_id: str
    period: Period
    metrics: Metrics
    previous: Metrics
    revision: int
    as_of: str
    timezone: str
    complete: bool
    complete_from: str | None = None
    """From when on nothing is missing, where something is missing for good."""


class Slices(Struct, frozen=True):
    """The finest slices of a range, of one revision: `days` reads one day after the other, as they are asked for.

    A revision's cubes outlive its replacement by `streams.snapshots.fenced.GARBAGE_MS`; a reader who takes longer meets
    `VanishedCube`.
    """

    account_id: str
    period: Period
    revision: int
    days: AsyncIterator[tuple[int, dict[bytes, bytes]]]
    """Days (ordinals) that have a cube, rising, with the fields of their slices under the mask."""


class VanishedCube(RuntimeError):
    """The cube of a day is gone while its revision is being read: a newer one replaced it long ago."""

    def __init__(self, account_id: str, day: int) -> None:
        super().__init__(
            f"the cube of {date.fromordinal(day)} of account {account_id!r} was replaced while it was read"
        )
        self.account_id = account_id
        self.day = day


class MissingPart(RuntimeError):
    """A part that the newest manifest names is not there: the report cannot be answered, and is not made up.

    The snapshotter makes it again in its next round, if the counters are still there.
    """

    def __init__(self, account_id: str, part: Part) -> None:
        super().__init__(
            f"part {part.member} of the report of account {account_id!r} is not in Redis; the snapshotter makes it "
            "again in its next round (`mediana snapshot` at once); is something deleting keys?"
        )
        self.account_id = account_id
        self.part = part


class Newest(Struct, frozen=True):
    """The newest revision of an account's report, as its notifications tell it."""

    account_id: str
    revision: int
    as_of: str
    complete: bool
    complete_from: str | None = None


class SnapshotReader:
    """Answers from the snapshots under a namespace."""

    def __init__(self, redis: Any, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._heads = SnapshotterKeys(namespace).heads

    async def accounts(self) -> list[str]:
        """The accounts with a published report, by name."""
        return sorted(account.decode() for account in await self._redis.hkeys(self._heads))

    async def report(self, account_id: str) -> bytes | None:
        """The newest document of an account, as it stands in Redis."""
        data: bytes | None = await self._redis.get(PublicKeys(self._namespace, account_id).report)
        return data

    async def newest(self, account_id: str) -> Newest | None:
        """The newest revision of an account, without its numbers."""
        manifest = await load_manifest(self._redis, PublicKeys(self._namespace, account_id))
        if manifest is None:
            return None
        return Newest(
            account_id,
            manifest.revision,
            instant_text(manifest.as_of_ms) or "",
            manifest.complete,
            instant_text(manifest.complete_from_ms),
        )

    async def announcements(self, account_id: str, patience_seconds: float) -> AsyncGenerator[None, None]:
        """Yields once it listens, then after every publication, and after each `patience_seconds` without one.

        What it yields says only "look now": a look after each misses nothing, whatever Redis lost in between. Close it
        with `aclose`, which ends the subscription.
        """
        await self._redis.initialize()  # a Cluster's client that was never used does not know its nodes
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(PublicKeys(self._namespace, account_id).channel)
            while True:
                # The first answer is that of SUBSCRIBE itself, so nothing falls between listening and looking.
                await subscription.get_message(ignore_subscribe_messages=True, timeout=patience_seconds)
                yield

    async def metrics(
        self, account_id: str, start: date, end: date, filters: Filters, *, with_previous: bool = True
    ) -> Answer:
        """The metrics of any range and filters, and of the period before.

        Raises `NoReport`, `RangeError`, `MissingPart`.
        """
        wanted = period(start, end)
        keys = PublicKeys(self._namespace, account_id)
        before: Manifest | None = None
        for attempt in range(ATTEMPTS):
            manifest = await load_manifest(self._redis, keys)
            if manifest is None:
                raise NoReport(account_id)
            ranges = [_Range(wanted, manifest)]
            if with_previous:
                ranges.append(_Range(wanted.previous, manifest))
            missing = await self._fill(keys, ranges, filters)
            if missing is None:
                return _answer(account_id, manifest, ranges, filters)
            # It may have been replaced and swept meanwhile; where the manifest is still the same, it was not.
            if attempt == ATTEMPTS - 1 or (before is not None and before.parts == manifest.parts):
                raise MissingPart(account_id, missing)
            before = manifest
        raise AssertionError("unreachable")

    async def slices(self, account_id: str, start: date, end: date, mask: int) -> Slices:
        """The slices under a mask of a range, day by day.

        Raises `NoReport`, `RangeError`, `MissingPart`; later, while days are read, `VanishedCube`.
        """
        wanted = period(start, end)
        keys = PublicKeys(self._namespace, account_id)
        before: Manifest | None = None
        while True:
            manifest = await load_manifest(self._redis, keys)
            if manifest is None:
                raise NoReport(account_id)
            there = contents(manifest.parts).days
            parts = {day: there[day] for day in wanted.days if day in there}
            # Before the first byte of an answer goes out, while an error can still be told.
            missing = await missing_parts(self._redis, keys, parts.values())
            if not missing:
                days = self._days_of(keys, parts, slice_prefix(mask))
                return Slices(account_id, wanted, manifest.revision, days)
            if before is not None and before.parts == manifest.parts:
                raise MissingPart(account_id, min(missing, key=lambda part: part.name))
            before = manifest

    async def _days_of(
        self, keys: PublicKeys, parts: dict[int, Part], prefix: bytes
    ) -> AsyncIterator[tuple[int, dict[bytes, bytes]]]:
        for day, part in parts.items():
            name = keys.part(part)
            # Only the fields that are wanted travel. A cube never changes, so a field that comes twice is the same.
            scan = self._redis.hscan_iter(name, match=prefix + b"*", count=FIELDS_PER_SCAN)
            found = {key: value async for key, value in scan}
            # A cube always has its values; without them it is a deleted key, and may have been while it was scanned.
            if not await self._redis.hexists(name, VALUES_KEY):
                raise VanishedCube(keys.account_id, day)
            yield day, found

    async def _fill(self, keys: PublicKeys, ranges: Sequence["_Range"], filters: Filters) -> Part | None:
        """Read what is needed of each part; the one that is gone, perhaps because a newer revision replaced it."""
        parts = [part for each in ranges for part in each.parts(keys)]
        # The rows of the tables follow from the values that occurred, which many days share.
        values = await self._read([(part.name, [VALUES_KEY]) for part in parts])
        for part, value in zip(parts, values, strict=True):
            if not value:
                return part.part
        wanted: dict[tuple[bool, bytes], list[bytes]] = {}
        fields = []
        for part, value in zip(parts, values, strict=True):
            kind = (part.span is not None, value[VALUES_KEY])
            if kind not in wanted:
                wanted[kind] = _fields(filters, value, rolled_up=part.span is not None)
            fields.append((part.name, wanted[kind]))
        for part, cube in zip(parts, await self._read(fields), strict=True):
            # A cube always has its values; without them it is a deleted key.
            if VALUES_KEY not in cube:
                return part.part
            if part.span is None:
                part.range.days[part.day] = cube
            else:
                part.range.spans[part.span] = cube
        return None

    async def _read(self, asked: Sequence[tuple[str, list[bytes]]]) -> list[dict[bytes, bytes]]:
        """What there is of some fields of some hashes."""
        found: list[dict[bytes, bytes]] = []
        for first in range(0, len(asked), PIPELINE_READS):
            part = asked[first : first + PIPELINE_READS]
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, wanted in part:
                    pipe.hmget(name, wanted)
                answers = await pipe.execute()
            found += [
                {key: value for key, value in zip(wanted, values, strict=True) if value is not None}
                for (_, wanted), values in zip(part, answers, strict=True)
            ]
        return found


class _Wanted(NamedTuple):
    """The roll-up of a span, or the cube of a day, that is to be read for a range."""

    name: str
    part: Part
    range: "_Range"
    day: int
    span: Span | None = None


class _Range:
    """A range of days, and what answers it: roll-ups as far as there are any, and days."""

    def __init__(self, wanted: Period, manifest: Manifest) -> None:
        self.period = wanted
        self.days: dict[int, Cube] = {}
        self.spans: dict[Span, Cube] = {}
        self._there = contents(manifest.parts)

    def parts(self, keys: PublicKeys) -> list[_Wanted]:
        """What is to be read."""
        published, rolled_up = self._there.days, self._there.spans
        spans = usable(self.period, published, rolled_up)
        found = [_Wanted(keys.part(rolled_up[span]), rolled_up[span], self, span.first, span) for span in spans]
        whole = {day for span in spans for day in span.days}
        days = (day for day in self.period.days if day in published and day not in whole)
        return [*found, *(_Wanted(keys.part(published[day]), published[day], self, day) for day in days)]


def _fields(filters: Filters, values: Cube, *, rolled_up: bool) -> list[bytes]:
    """The fields that answer the filters and have the rows of their tables, of a cube or a roll-up with such values."""
    rows = [row for table in table_filters(filters, [values]).values() for row in table]
    if rolled_up:
        keys = [*span_keys(filters, whole=True), *(key for row in rows for key in span_keys(row, whole=False))]
    else:
        keys = [key for each in (filters, *rows) for key in needed_keys(each)]
    # Once each: the rows of a table share some.
    return list(dict.fromkeys((VALUES_KEY, *keys)))


def _answer(account_id: str, manifest: Manifest, ranges: Sequence[_Range], filters: Filters) -> Answer:
    try:
        calendar = LocalCalendar(manifest.timezone)
    except ValueError:
        raise UnknownZone(account_id, manifest.timezone) from None

    def of(each: _Range) -> Metrics:
        tables = table_filters(filters, (*each.spans.values(), *each.days.values()))
        return metrics(each.period, each.days, filters, calendar, tables, each.spans)

    wanted, *previous = ranges
    return Answer(
        account_id=account_id,
        period=wanted.period,
        metrics=of(wanted),
        previous=of(previous[0]) if previous else {},
        revision=manifest.revision,
        as_of=instant_text(manifest.as_of_ms) or "",
        timezone=manifest.timezone,
        complete=manifest.complete,
        complete_from=instant_text(manifest.complete_from_ms),
    )
