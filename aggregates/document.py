"""The snapshot document of an account: the preset periods with the period before beside each, and what they mean."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date
from typing import Any

import msgspec
from msgspec import Struct

from aggregates.comparison import comparison
from aggregates.day_block import DIMENSIONS, DayBlock
from aggregates.filters import FILTERED, Filters
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period, presets
from aggregates.report import Metrics, instant_text, known_values, metrics, metrics_to_date
from aggregates.rows import Rows, by_name
from aggregates.shard_days import Waiting, summed_waiting
from schemas.accounts import AccountSettings

SCHEMA = "mediana.report/1"


class Notice(Struct, frozen=True):
    """Something that a reader of the report should know; docs/use/snapshot.md lists the codes."""

    code: str
    count: int
    values: tuple[str, ...] = ()
    """What it is about, where there is something to name."""

    def document(self) -> dict[str, Any]:
        """The notice as it stands in the document."""
        values = {"values": list(self.values)} if self.values else {}
        return {"code": self.code, "count": self.count, **values}


SETTINGS_UNUSABLE = "settings-unusable"
"""The account's newest settings cannot be used; the value says why. Those before go on, else the defaults."""

TOTALS_DIFFER = "totals-differ"
"""Days whose facts do not add up to the counters that were kept beside them; the values are those days."""

NAMES_FOLDED = "names-folded"
"""Names of a dimension that stand as `other`, since a day has more of them than are told apart; the value names it."""


class Publication(Struct, frozen=True):
    """What one publication knows besides the facts."""

    revision: int
    published_at_ms: int
    as_of_ms: int
    complete: bool
    lag_records: int
    incomplete_reasons: tuple[str, ...] = ()
    changed_days: tuple[int, ...] | None = None
    """The days whose facts changed since the revision before; `None` when that is not known: all may have."""
    complete_from_ms: int | None = None
    """From when on nothing is missing, where something is missing for good; `None` where nothing is."""
    as_of_before_ms: int | None = None
    """As of when the revision before was, where that is later: a clock was wrong, then or now."""
    notices: tuple[Notice, ...] = ()
    next_due_ms: int | None = None
    """When the next publication is due, by the schedule."""


def period_days(today: date) -> set[int]:
    """The days that a document published on `today` reads."""
    days: set[int] = set()
    for period in presets(today).values():
        days.update(period.days)
        days.update(period.previous.days)
    return days


SHAPE = 1
"""Raised when what a box of a period holds changes: those of documents of before are made again then."""

BoxName = tuple[str, str, bool]
"""The first and the last day of a box, and whether it has tables."""


class _StoredBox(Struct, rename={"start": "from", "end": "to"}):
    start: str
    end: str
    metrics: msgspec.Raw


class _StoredPeriod(_StoredBox):
    previous: _StoredBox


class _Stored(Struct):
    revision: int
    periods: dict[str, _StoredPeriod]


_decode_stored = msgspec.json.Decoder(_Stored).decode


def boxes_that_hold(
    document: bytes, revision: int, changed: AbstractSet[int], today: int
) -> dict[BoxName, msgspec.Raw]:
    """The boxes of a revision's document that are still right: no day of theirs has changed, and all were over before
    `today` (an ordinal), that document's or the new one's, whichever is earlier.

    Raises `msgspec.DecodeError` for what is no such document.
    """
    stored = _decode_stored(document)
    found: dict[BoxName, msgspec.Raw] = {}
    if stored.revision != revision:
        return found
    for box in stored.periods.values():
        for each, tables in ((box, True), (box.previous, False)):
            days = range(date.fromisoformat(each.start).toordinal(), date.fromisoformat(each.end).toordinal() + 1)
            if days.stop <= today and not any(day in days for day in changed):
                found[each.start, each.end, tables] = each.metrics
    return found


def snapshot_document(
    settings: AccountSettings,
    calendar: LocalCalendar,
    blocks: Mapping[int, DayBlock],
    waiting: Iterable[Waiting],
    publication: Publication,
    held: Mapping[BoxName, msgspec.Raw] | None = None,
) -> dict[str, Any]:
    """The document. `blocks` holds the block of each of `period_days` that has one; `waiting` is of all days.

    Boxes that `held` has are taken from there, as they are.
    """
    today = date.fromordinal(calendar.day_of(publication.as_of_ms))
    boxes = _Boxes(blocks, calendar, publication.as_of_ms, held or {})
    everything = boxes.rows(range(min(blocks, default=0), max(blocks, default=0) + 1))
    return {
        "schema": SCHEMA,
        "account_id": settings.account_id,
        "timezone": settings.timezone,
        "revision": publication.revision,
        "published_at": instant_text(publication.published_at_ms),
        "as_of": instant_text(publication.as_of_ms),
        "as_of_before": instant_text(publication.as_of_before_ms),
        "next_due_at": instant_text(publication.next_due_ms),
        "complete": publication.complete,
        "incomplete_reasons": list(publication.incomplete_reasons),
        "complete_from": instant_text(publication.complete_from_ms),
        "notices": [notice.document() for notice in (*publication.notices, *_folded(everything))],
        "lag": {"records": publication.lag_records},
        "sketch_relative_error": 0,
        "changed_days": _dates(publication.changed_days),
        "account": {
            "name": settings.name,
            "groups": {key: group.name for key, group in settings.groups.items()},
            "advisors": {key: advisor.name for key, advisor in settings.advisors.items()},
            "targets": {
                "first_response_seconds": settings.targets.first_response_seconds,
                "response_seconds": settings.targets.response_seconds,
            },
        },
        "dimensions": _dimensions(settings, everything),
        "waiting": _waiting_now(summed_waiting(list(waiting))),
        "periods": {
            name: boxes.preset(period, contains_today=period.start <= today <= period.end)
            for name, period in presets(today).items()
        },
    }


class _Boxes:
    """The boxes of periods, each made once: `this_month` and `this_quarter` may be the same days."""

    def __init__(
        self,
        blocks: Mapping[int, DayBlock],
        calendar: LocalCalendar,
        as_of_ms: int,
        held: Mapping[BoxName, msgspec.Raw],
    ) -> None:
        self._held = held
        self._blocks = dict(sorted(blocks.items()))
        self._calendar = calendar
        self._as_of_ms = as_of_ms
        self._made: dict[tuple[Period, bool], Metrics | msgspec.Raw] = {}

    def rows(self, days: range) -> Rows:
        return Rows.of([block for day, block in self._blocks.items() if day in days])

    def preset(self, period: Period, *, contains_today: bool) -> Metrics:
        box = {**self._box(period, tables=True), "previous": self._box(period.previous, tables=False)}
        if contains_today:
            box["previous_to_date"] = self._to_date(period)
        return box

    def _box(self, period: Period, *, tables: bool) -> Metrics:
        found = self._made.get((period, tables)) or self._held.get(
            (period.start.isoformat(), period.end.isoformat(), tables)
        )
        if found is None:
            rows = self.rows(period.days)
            found = self._made[period, tables] = metrics(
                period, rows, Filters(), self._calendar, as_of_ms=self._as_of_ms, tables=tables
            )
        return _named(period, found)

    def _to_date(self, period: Period) -> Metrics:
        earlier, cut_ms = comparison("to-date", period, self._calendar, self._as_of_ms)
        assert cut_ms is not None
        rows = self.rows(earlier.days)
        return _named(earlier, metrics_to_date(earlier, rows, Filters(), self._calendar, cut_ms))


def _named(period: Period, found: Metrics | msgspec.Raw) -> Metrics:
    return {"from": period.start.isoformat(), "to": period.end.isoformat(), "metrics": found}


def _dates(days: tuple[int, ...] | None) -> list[str] | None:
    return None if days is None else [date.fromordinal(day).isoformat() for day in sorted(days)]


def _dimensions(settings: AccountSettings, rows: Rows) -> dict[str, list[str | None]]:
    """The values a filter can offer: those that occurred, and the groups and advisors of the settings."""
    occurred = known_values(rows)
    more: dict[str, Iterable[str]] = {"group": settings.groups, "advisor": settings.advisors}
    return {name: by_name({*occurred[name], *more.get(name, ())}) for name in FILTERED}


def _folded(rows: Rows) -> Iterable[Notice]:
    """How many names of a dimension stand as one, on the day that has most of them."""
    for name in DIMENSIONS:
        count = max((day.get(name, 0) for day in rows.folded), default=0)
        if count:
            yield Notice(NAMES_FOLDED, count, (name,))


def _waiting_now(waiting: Waiting) -> Metrics:
    return {"contacts": waiting.contacts, "snoozed": waiting.snoozed, "oldest": instant_text(waiting.oldest_ms)}
