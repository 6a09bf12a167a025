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
from streams.snapshots.manifest import Manifest, PublicKeys, SnapshotterKeys, load_manifest

PIPELINE_READS = 200
"""Reads sent at once: enough to make round trips cheap, few enough to leave the server to others in between."""

FIELDS_PER_SCAN = 1_000
"""How many fields of a cube one command looks at, so that none holds the server for long."""

ATTEMPTS = 5


class NoReport(LookupError):
    """Nothing is published of that account."""

    def __init__(self, account_id: str) -> None:
        super().__init__(f"no report of account {account_id!r} is published; `mediana snapshot` publishes one")
        self.account_id = account_id


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

    A revision's cubes outlive its replacement by `GARBAGE_MS`; a reader who takes longer meets `VanishedCube`.
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
        """The metrics of any range and filters, and of the period before. Raises `NoReport`, `RangeError`."""
        wanted = period(start, end)
        keys = PublicKeys(self._namespace, account_id)
        for _ in range(ATTEMPTS):
            manifest = await load_manifest(self._redis, keys)
            if manifest is None:
                raise NoReport(account_id)
            ranges = [_Range(wanted, manifest)]
            if with_previous:
                ranges.append(_Range(wanted.previous, manifest))
            if await self._fill(keys, ranges, filters):
                return _answer(account_id, manifest, ranges, filters)
        raise RuntimeError(
            f"the cubes of account {account_id!r} vanish while they are read; is something deleting keys?"
        )

    async def slices(self, account_id: str, start: date, end: date, mask: int) -> Slices:
        """The slices under a mask of a range, day by day. Raises `NoReport` and `RangeError`; later `VanishedCube`."""
        wanted = period(start, end)
        keys = PublicKeys(self._namespace, account_id)
        manifest = await load_manifest(self._redis, keys)
        if manifest is None:
            raise NoReport(account_id)
        names = {day: keys.cube(day, manifest.days[day].revision) for day in wanted.days if day in manifest.days}
        return Slices(account_id, wanted, manifest.revision, self._days_of(account_id, names, slice_prefix(mask)))

    async def _days_of(
        self, account_id: str, names: dict[int, str], prefix: bytes
    ) -> AsyncIterator[tuple[int, dict[bytes, bytes]]]:
        for day, name in names.items():
            # Only the fields that are wanted travel. A cube never changes, so a field that comes twice is the same.
            scan = self._redis.hscan_iter(name, match=prefix + b"*", count=FIELDS_PER_SCAN)
            found = {key: value async for key, value in scan}
            # A cube always has its values; without them it is a deleted key, and may have been while it was scanned.
            if not await self._redis.hexists(name, VALUES_KEY):
                raise VanishedCube(account_id, day)
            yield day, found

    async def _fill(self, keys: PublicKeys, ranges: Sequence["_Range"], filters: Filters) -> bool:
        """Read the needed part of each cube; false when one is gone, because a newer revision replaced it."""
        parts = [part for each in ranges for part in each.parts(keys)]
        # The rows of the tables follow from the values that occurred, which many days share.
        values = await self._read([(part.name, [VALUES_KEY]) for part in parts])
        if not all(values):
            return False
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
                return False
            if part.span is None:
                part.range.days[part.day] = cube
            else:
                part.range.spans[part.span] = cube
        return True

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


class _Part(NamedTuple):
    """The roll-up of a span, or the cube of a day, that is to be read for a range."""

    name: str
    range: "_Range"
    day: int
    span: Span | None = None


class _Range:
    """A range of days, and what answers it: roll-ups as far as there are any, and days."""

    def __init__(self, wanted: Period, manifest: Manifest) -> None:
        self.period = wanted
        self.days: dict[int, Cube] = {}
        self.spans: dict[Span, Cube] = {}
        self._manifest = manifest

    def parts(self, keys: PublicKeys) -> list[_Part]:
        """What is to be read."""
        revisions, rolled_up = self._manifest.days, self._manifest.spans
        spans = usable(self.period, revisions, rolled_up)
        found = [_Part(keys.span(span, rolled_up[span]), self, span.first, span) for span in spans]
        whole = {day for span in spans for day in span.days}
        days = (day for day in self.period.days if day in revisions and day not in whole)
        return [*found, *(_Part(keys.cube(day, revisions[day].revision), self, day) for day in days)]


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
    calendar = LocalCalendar(manifest.timezone)

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
