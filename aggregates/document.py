"""The snapshot document of an account: the preset periods with the period before beside each, and what they mean."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from msgspec import Struct

from aggregates import sketch
from aggregates.cube import VALUES_KEY, Cube, decode_slice, decode_values, ordered_values, slice_key
from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period, presets
from aggregates.report import Metrics, instant_text, metrics, needed_keys, table_filters
from schemas.accounts import AccountSettings

SCHEMA = "mediana.report/1"
DIMENSION_NAMES = ("origin", "group", "channel", "advisor")


class Notice(Struct, frozen=True):
    """Something that a reader of the report should know; docs/snapshot.md lists the codes."""

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


class Publication(Struct, frozen=True):
    """What one publication knows besides the counters."""

    revision: int
    published_at_ms: int
    as_of_ms: int
    complete: bool
    lag_records: int
    incomplete_reasons: tuple[str, ...] = ()
    changed_days: tuple[int, ...] | None = None
    """The days whose counters changed since the revision before; `None` when that is not known: all may have."""
    complete_from_ms: int | None = None
    """From when on nothing is missing, where something is missing for good; `None` where nothing is."""
    as_of_before_ms: int | None = None
    """As of when the revision before was, where that is later: a clock was wrong, then or now."""
    notices: tuple[Notice, ...] = ()


class Waiting(Struct, frozen=True, array_like=True):
    """Contacts waiting since some day, at the time its cube was built."""

    contacts: int = 0
    snoozed: int = 0
    oldest_ms: int | None = None


def waiting_of(cube: Cube) -> Waiting:
    """The contacts still waiting since a cube's day."""
    data = cube.get(slice_key(0, ()))
    if data is None:
        return Waiting()
    whole = decode_slice(data)
    return Waiting(whole.waiting, whole.snoozed, whole.oldest_ms)


def period_days(today: date) -> set[int]:
    """The days that a document published on `today` reads."""
    days: set[int] = set()
    for period in presets(today).values():
        days.update(period.days)
        days.update(period.previous.days)
    return days


def snapshot_document(
    settings: AccountSettings,
    calendar: LocalCalendar,
    cubes: Mapping[int, Cube],
    waiting: Iterable[Waiting],
    publication: Publication,
) -> dict[str, Any]:
    """The document. `cubes` holds the cube of each of `period_days` that has one (`first_keys` and `table_keys` of
    it suffice); `waiting` is of all days."""
    today = date.fromordinal(calendar.day_of(publication.as_of_ms))
    return {
        "schema": SCHEMA,
        "account_id": settings.account_id,
        "timezone": settings.timezone,
        "revision": publication.revision,
        "published_at": instant_text(publication.published_at_ms),
        "as_of": instant_text(publication.as_of_ms),
        "as_of_before": instant_text(publication.as_of_before_ms),
        "complete": publication.complete,
        "incomplete_reasons": list(publication.incomplete_reasons),
        "complete_from": instant_text(publication.complete_from_ms),
        "notices": [notice.document() for notice in publication.notices],
        "lag": {"records": publication.lag_records},
        "sketch_relative_error": sketch.RELATIVE_ERROR,
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
        "dimensions": _dimensions(settings, cubes.values()),
        "waiting": _waiting_now(waiting),
        "periods": {
            name: {**_period_box(period, cubes, calendar), "previous": _box(period.previous, cubes, calendar)}
            for name, period in presets(today).items()
        },
    }


def _period_box(period: Period, cubes: Mapping[int, Cube], calendar: LocalCalendar) -> Metrics:
    tables = table_filters(Filters(), (cubes[day] for day in period.days if day in cubes))
    return _box(period, cubes, calendar, tables)


def _box(
    period: Period,
    cubes: Mapping[int, Cube],
    calendar: LocalCalendar,
    tables: Mapping[str, list[Filters]] | None = None,
) -> Metrics:
    return {
        "from": period.start.isoformat(),
        "to": period.end.isoformat(),
        "metrics": metrics(period, cubes, Filters(), calendar, tables),
    }


def _dates(days: tuple[int, ...] | None) -> list[str] | None:
    return None if days is None else [date.fromordinal(day).isoformat() for day in sorted(days)]


def _dimensions(settings: AccountSettings, cubes: Iterable[Cube]) -> dict[str, list[str | None]]:
    """The values a filter can offer: those that occurred, and the groups and advisors of the settings."""
    found: tuple[set[str | None], ...] = (set(), set(settings.groups), set(), set(settings.advisors))
    for cube in cubes:
        if VALUES_KEY in cube:
            for values, more in zip(found, decode_values(cube[VALUES_KEY]), strict=True):
                values.update(more)
    return {name: ordered_values(values) for name, values in zip(DIMENSION_NAMES, found, strict=True)}


def _waiting_now(days: Iterable[Waiting]) -> Metrics:
    contacts = snoozed = 0
    oldest_ms: int | None = None
    for day in days:
        contacts += day.contacts
        snoozed += day.snoozed
        if day.oldest_ms is not None:
            oldest_ms = day.oldest_ms if oldest_ms is None else min(oldest_ms, day.oldest_ms)
    return {"contacts": contacts, "snoozed": snoozed, "oldest": instant_text(oldest_ms)}


def first_keys() -> list[bytes]:
    """The fields of a day's cube that the document reads, whatever occurred on the day."""
    return needed_keys(Filters())


def table_keys(cube: Cube) -> list[bytes]:
    """The fields of a day's cube that the tables read, given `first_keys` of it. Rows of a table share some."""
    rows = [row for table in table_filters(Filters(), [cube]).values() for row in table]
    keys = dict.fromkeys(key for row in rows for key in needed_keys(row))
    return [key for key in keys if key != VALUES_KEY]
