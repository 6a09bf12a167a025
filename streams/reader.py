"""Reading published snapshots: any account, range and filters, never touching the live counters."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import date
from typing import Any

from msgspec import Struct

from aggregates.cube import VALUES_KEY
from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period, period
from aggregates.report import Metrics, instant_text, metrics, needed_keys, table_filters
from aggregates.rows import slice_prefix
from streams.published import Manifest, PublicKeys, SnapshotterKeys, load_manifest

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
    """The metrics of a range and of the period before, tables included, and the revision they come from."""

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

    async def metrics(self, account_id: str, start: date, end: date, filters: Filters) -> Answer:
        """The metrics of any range and filters. Raises `NoReport`, `RangeError`."""
        wanted = period(start, end)
        days = [*wanted.previous.days, *wanted.days]
        keys = PublicKeys(self._namespace, account_id)
        for _ in range(ATTEMPTS):
            manifest = await load_manifest(self._redis, keys)
            if manifest is None:
                raise NoReport(account_id)
            cubes = await self._cubes(keys, manifest, days, filters)
            if cubes is not None:
                return _answer(account_id, manifest, wanted, filters, cubes)
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

    async def _cubes(
        self, keys: PublicKeys, manifest: Manifest, days: Sequence[int], filters: Filters
    ) -> dict[int, dict[bytes, bytes]] | None:
        """The needed part of each day's cube; `None` when one is gone, because a newer revision replaced it."""
        names = {day: keys.cube(day, manifest.days[day].revision) for day in days if day in manifest.days}
        fields = needed_keys(filters)
        cubes = await self._read(names, dict.fromkeys(names, fields))
        if any(not cube for cube in cubes.values()):
            # A cube always has its values; an empty answer is a deleted key.
            return None
        rows: dict[int, list[bytes]] = {}
        known: dict[bytes | None, list[bytes]] = {}  # the rows follow from a day's values, which many days share
        for day, cube in cubes.items():
            values = cube.get(VALUES_KEY)
            if values not in known:
                tables = table_filters(filters, [cube])
                # Once each: the rows of a table share some.
                known[values] = list(
                    dict.fromkeys(key for table in tables.values() for row in table for key in needed_keys(row))
                )
            rows[day] = known[values]
        more = await self._read(names, rows)
        for day, cube in more.items():
            if rows[day] and not cube:
                return None
            cubes[day].update(cube)
        return cubes

    async def _read(self, names: dict[int, str], fields: dict[int, list[bytes]]) -> dict[int, dict[bytes, bytes]]:
        found: dict[int, dict[bytes, bytes]] = {}
        asked = [(day, wanted) for day, wanted in fields.items() if wanted]
        for first in range(0, len(asked), PIPELINE_READS):
            part = asked[first : first + PIPELINE_READS]
            async with self._redis.pipeline(transaction=False) as pipe:
                for day, wanted in part:
                    pipe.hmget(names[day], wanted)
                answers = await pipe.execute()
            for (day, wanted), values in zip(part, answers, strict=True):
                found[day] = {key: value for key, value in zip(wanted, values, strict=True) if value is not None}
        return found


def _answer(
    account_id: str, manifest: Manifest, wanted: Period, filters: Filters, cubes: dict[int, dict[bytes, bytes]]
) -> Answer:
    calendar = LocalCalendar(manifest.timezone)

    def of(days: Period) -> Metrics:
        tables = table_filters(filters, (cubes[day] for day in days.days if day in cubes))
        return metrics(days, cubes, filters, calendar, tables)

    return Answer(
        account_id=account_id,
        period=wanted,
        metrics=of(wanted),
        previous=of(wanted.previous),
        revision=manifest.revision,
        as_of=instant_text(manifest.as_of_ms) or "",
        timezone=manifest.timezone,
        complete=manifest.complete,
        complete_from=instant_text(manifest.complete_from_ms),
    )
