"""Reading published snapshots: any account, range and filters, never touching what workers write."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeVar

from msgspec import Struct

from aggregates.comparison import comparison
from aggregates.filters import FILTERED, Filters
from aggregates.lists import Row, WaitClocks, check_list, list_rows
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period, period
from aggregates.report import Metrics, instant_text, known_values, metrics, metrics_to_date
from aggregates.rows import Rows
from aggregates.rules import Rules
from schemas.accounts import decode_settings
from schemas.zones import ZONE_DATA_VERSION
from streams.snapshots.blocks import Blocks, PartGone
from streams.snapshots.manifest import (
    Manifest,
    OtherFormat,
    PublicKeys,
    Revision,
    SnapshotterKeys,
    load_revision,
)
from streams.snapshots.parts import SETTINGS, Part, days_of

MOST_BYTES: Final = 192 << 20
"""Of days and months that a reader remembers."""

MOST_RULES: Final = 200
"""Accounts whose settings a reader remembers."""

ATTEMPTS = 5
"""How often a part that is gone may mean that a newer revision has replaced it."""

_Found = TypeVar("_Found")


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


class OtherRelease(NoReport):
    """The report was published by another release of this program."""

    def __init__(self, account_id: str, error: OtherFormat) -> None:
        super().__init__(account_id, f"the report of account {account_id!r} cannot be read: {error}")


class Compared(Struct, frozen=True):
    """The metrics of an earlier period."""

    name: str
    """The comparison: `previous`, `to-date` or `year`."""
    period: Period
    metrics: Metrics


class Answer(Struct, frozen=True):
    """The metrics of a range, tables included, what they are compared with, and the revision they come from."""

    account_id: str
    period: Period
    metrics: Metrics
    compared: Compared | None
    unknown_values: dict[str, list[str]]
    """Of each dimension, the values of the filters that never occurred in the range and are in no settings."""
    revision: int
    as_of: str
    timezone: str
    complete: bool
    complete_from: str | None = None
    """From when on nothing is missing, where something is missing for good."""
    as_of_published: str = ""
    """As of when the revision was published; nothing has changed between then and `as_of`."""


class ListQuery(Struct, frozen=True):
    """A list, and which of its rows."""

    name: str
    filters: Filters = Filters()
    over: float | None = None
    clock: str = "elapsed"
    order: str = "oldest"


class ListPage(Struct, frozen=True):
    """Rows of a list, and the revision they come from."""

    account_id: str
    period: Period | None
    """Nothing where all who wait are listed."""
    total: int
    """How many rows the list has."""
    rows: list[Row]
    unknown_values: dict[str, list[str]]
    revision: int
    as_of: str
    timezone: str
    complete: bool
    complete_from: str | None = None
    as_of_published: str = ""


class WholeList(Struct, frozen=True):
    """A list of one revision, of which pages can be taken one after the other."""

    page: Callable[[int, int | None], ListPage]


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

    def __init__(self, redis: Any, namespace: str, most_bytes: int = MOST_BYTES) -> None:
        self._redis = redis
        self._namespace = namespace
        self._heads = SnapshotterKeys(namespace).heads
        self._blocks = Blocks(redis, most_bytes)
        self._rules: dict[tuple[str, str], Rules] = {}

    async def accounts(self) -> Sequence[str]:
        """The accounts with a published report, by name."""
        return sorted(account.decode() for account in await self._redis.hkeys(self._heads))

    async def report(self, account_id: str) -> bytes | None:
        """The newest document of an account, as it stands in Redis."""
        data: bytes | None = await self._redis.get(PublicKeys(self._namespace, account_id).report)
        return data

    async def newest(self, account_id: str) -> Newest | None:
        """The newest revision of an account, without its numbers."""
        found = await self._revision(PublicKeys(self._namespace, account_id))
        if found is None:
            return None
        manifest = found.manifest
        return Newest(
            account_id,
            manifest.revision,
            _text(found.as_of_ms),
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
        self, account_id: str, start: date, end: date, filters: Filters, *, compare: str | None = "previous"
    ) -> Answer:
        """The metrics of any range and filters, and of an earlier period (`aggregates.comparison.COMPARISONS`).

        Raises `NoReport`, `RangeError` (also where there is no such comparison), `MissingPart`.
        """
        wanted = period(start, end)

        async def answer(found: Revision, view: "_View") -> Answer:
            manifest = found.manifest
            rows = await view.rows(wanted.days)
            numbers = metrics(wanted, rows, filters, view.calendar, as_of_ms=found.as_of_ms)
            return Answer(
                account_id=account_id,
                period=wanted,
                metrics=numbers,
                compared=None if compare is None else await _compared(compare, wanted, filters, found, view),
                unknown_values=unknown_values(filters, rows, view.rules),
                revision=manifest.revision,
                as_of=_text(found.as_of_ms),
                timezone=manifest.timezone,
                complete=manifest.complete,
                complete_from=instant_text(manifest.complete_from_ms),
                as_of_published=_text(manifest.as_of_ms),
            )

        return await self._answered(account_id, answer)

    async def list(self, account_id: str, days: Period | None, query: ListQuery) -> WholeList:
        """A list of a range; without one, of all who wait.

        Raises `NoReport`, `RangeError`, `ListRefused`, `MissingPart`.
        """
        check_list(query.name, query.filters, over=query.over, clock=query.clock, order=query.order)

        async def answer(found: Revision, view: "_View") -> WholeList:
            manifest = found.manifest
            rows = await view.rows(sorted(manifest.waiting) if days is None else days.days)
            waits = WaitClocks(view.rules.clock_of_group, found.as_of_ms)
            unknown = unknown_values(query.filters, rows, view.rules)

            def page(offset: int, limit: int | None) -> ListPage:
                total, shown = list_rows(
                    query.name,
                    rows,
                    query.filters,
                    waits,
                    over=query.over,
                    clock=query.clock,
                    order=query.order,
                    offset=offset,
                    limit=limit,
                )
                return ListPage(
                    account_id=account_id,
                    period=days,
                    total=total,
                    rows=shown,
                    unknown_values=unknown,
                    revision=manifest.revision,
                    as_of=_text(found.as_of_ms),
                    timezone=manifest.timezone,
                    complete=manifest.complete,
                    complete_from=instant_text(manifest.complete_from_ms),
                    as_of_published=_text(manifest.as_of_ms),
                )

            return WholeList(page)

        return await self._answered(account_id, answer)

    async def _answered(self, account_id: str, answer: "Callable[[Revision, _View], Awaitable[_Found]]") -> _Found:
        """An answer from one revision whole."""
        keys = PublicKeys(self._namespace, account_id)
        before: Manifest | None = None
        for attempt in range(ATTEMPTS):
            found = await self._revision(keys)
            if found is None:
                raise NoReport(account_id)
            manifest = found.manifest
            try:
                rules = await self._settings(keys, manifest)
                return await answer(found, _View(self._blocks, keys, manifest, rules))
            except PartGone as gone:
                # It may have been replaced and swept meanwhile; where the manifest is still the same, it was not.
                if attempt == ATTEMPTS - 1 or (before is not None and before.parts == manifest.parts):
                    raise MissingPart(account_id, gone.part) from gone
                before = manifest
        raise AssertionError("unreachable")

    async def _revision(self, keys: PublicKeys) -> Revision | None:
        try:
            return await load_revision(self._redis, keys)
        except OtherFormat as error:
            raise OtherRelease(keys.account_id, error) from error

    async def _settings(self, keys: PublicKeys, manifest: Manifest) -> Rules:
        """The settings that a revision was made with, compiled. Raises `PartGone`, `UnknownZone`."""
        part = Part(SETTINGS, manifest.parts.get(SETTINGS, ""))
        name = (keys.account_id, part.version)
        rules = self._rules.pop(name, None)
        if rules is None:
            data = await self._redis.get(keys.part(part))
            if data is None:
                raise PartGone(part)
            try:
                LocalCalendar(manifest.timezone)
                rules = Rules(decode_settings(data))
            except ValueError:
                raise UnknownZone(keys.account_id, manifest.timezone) from None
            while len(self._rules) >= MOST_RULES:
                del self._rules[next(iter(self._rules))]
        self._rules[name] = rules
        return rules


class _View:
    """One revision's days and settings."""

    def __init__(self, blocks: Blocks, keys: PublicKeys, manifest: Manifest, rules: Rules) -> None:
        self._blocks = blocks
        self._keys = keys
        self._parts = days_of(manifest.parts)
        self.rules = rules
        self.calendar = rules.calendar

    async def rows(self, days: Iterable[int]) -> Rows:
        """The rows of days. Raises `PartGone`."""
        return await self._blocks.rows(self._keys, self._parts, days)


async def _compared(name: str, wanted: Period, filters: Filters, found: Revision, view: _View) -> Compared:
    earlier, cut_ms = comparison(name, wanted, view.calendar, found.as_of_ms)
    rows = await view.rows(earlier.days)
    if cut_ms is None:
        numbers = metrics(earlier, rows, filters, view.calendar, as_of_ms=found.as_of_ms)
    else:
        numbers = metrics_to_date(earlier, rows, filters, view.calendar, cut_ms)
    return Compared(name, earlier, numbers)


def unknown_values(filters: Filters, rows: Rows, rules: Rules) -> dict[str, list[str]]:
    """The values of filters that are nowhere in the rows and in no settings: probably misspelt."""
    settings = rules.settings
    in_settings: Mapping[str, Iterable[str]] = {
        "group": settings.groups,
        "advisor": settings.advisors,
        "channel": settings.effective_channels,
    }
    asked = {name: getattr(filters, name) or () for name in FILTERED}
    if not any(asked.values()):
        return {}
    occurred = known_values(rows)
    found = {}
    for name, values in asked.items():
        known = {*occurred[name], *in_settings.get(name, ()), None}
        unknown = [value for value in values if value not in known]
        if unknown:
            found[name] = unknown
    return found


def _text(instant_ms: int) -> str:
    return instant_text(instant_ms) or ""
