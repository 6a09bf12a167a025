"""Account settings: one record of the accounts topic holds all settings of an account.

Only `account_id` is required. A missing list is its default, an empty one is empty. Settings that name a schedule or
group that does not exist, a zone that is not an IANA zone, or a time that is none are refused whole: half of a
settings record would give numbers nobody asked for.

Whatever `decode_settings` accepts can be stored, read back, compiled, folded with and published: every size and number
has its bound in `schemas/limits.py`, and what is stored leaves defaults out, so that it is no longer than what came.
`tests/properties/test_settings_laws.py` holds it to that.
"""

import re
from datetime import date
from functools import cache
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from schemas import zones
from schemas.errors import InvalidSettings
from schemas.events import END, Channel, Id, Name
from schemas.limits import (
    MAX_ADVISORS,
    MAX_DAY_INTERVALS,
    MAX_EFFECTIVE_CHANNELS,
    MAX_GROUPS,
    MAX_HOLIDAYS,
    MAX_RECORD_BYTES,
    MAX_SCHEDULE_VERSIONS,
    MAX_SCHEDULES,
    MAX_SNOOZE_REASONS,
    MAX_SPECIAL_DAYS,
    MAX_STORED_SETTINGS_BYTES,
    MAX_TARGET_SECONDS,
    MAX_VERSIONS,
)
from schemas.strangers import key_hint, value_hint

DEFAULT_TIMEZONE = "UTC"
DEFAULT_SNOOZE_REASONS = ("Esperando visita", "Esperando recordatorio")
DEFAULT_EFFECTIVE_CHANNELS = ("whatsapp", "messenger", "email", "sms", "call")

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
Interval = tuple[str, str]
"""Opening and close as `HH:MM`; a close not after its opening is the next day's, `24:00` ends a day."""

Hours = Annotated[tuple[Interval, ...], Meta(max_length=MAX_DAY_INTERVALS)]
"""The opening hours of a day."""

OPENING_PATTERN = rf"^([01][0-9]|2[0-3]):[0-5][0-9]{END}"
CLOSE_PATTERN = rf"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00){END}"
DATE_PATTERN = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}{END}"
"""An opening, a close, a day; the published schema says so too."""

_is_opening = re.compile(OPENING_PATTERN).search
_is_close = re.compile(CLOSE_PATTERN).search
_is_date = re.compile(DATE_PATTERN).search


class ScheduleVersion(Struct, frozen=True, kw_only=True):
    """Working hours from `valid_from` on (local midnight in its zone); the first version covers all time before too."""

    weekly: dict[Weekday, Hours] = {}
    holidays: Annotated[tuple[str, ...], Meta(max_length=MAX_HOLIDAYS)] = ()
    special_days: Annotated[dict[str, Hours], Meta(max_length=MAX_SPECIAL_DAYS)] = {}
    valid_from: str | None = None
    timezone: str | None = None


Versions = Annotated[tuple[ScheduleVersion, ...], Meta(max_length=MAX_SCHEDULE_VERSIONS)]


class Group(Struct, frozen=True, kw_only=True):
    """A group of advisors."""

    name: Name | None = None
    schedule: Id | None = None


class Advisor(Struct, frozen=True, kw_only=True):
    """A human who answers; without a schedule, the group's holds, else the account's."""

    name: Name | None = None
    group_id: Id | None = None
    schedule: Id | None = None


Target = Annotated[float, Meta(ge=0, le=MAX_TARGET_SECONDS)]


class Targets(Struct, frozen=True, kw_only=True):
    """The account's targets, in seconds; without one, no share within target is published."""

    first_response_seconds: Target | None = None
    response_seconds: Target | None = None


class AccountSettings(Struct, frozen=True, kw_only=True):
    """Everything an account may set; see `default_settings` for an account that set nothing."""

    account_id: Id
    name: Name | None = None
    timezone: str = DEFAULT_TIMEZONE
    schedules: Annotated[dict[Id, Versions], Meta(max_length=MAX_SCHEDULES)] = {}
    default_schedule: Id | None = None
    groups: Annotated[dict[Id, Group], Meta(max_length=MAX_GROUPS)] = {}
    advisors: Annotated[dict[Id, Advisor], Meta(max_length=MAX_ADVISORS)] = {}
    snooze_reasons: Annotated[tuple[Name, ...], Meta(max_length=MAX_SNOOZE_REASONS)] = DEFAULT_SNOOZE_REASONS
    effective_channels: Annotated[tuple[Channel, ...], Meta(max_length=MAX_EFFECTIVE_CHANNELS)] = (
        DEFAULT_EFFECTIVE_CHANNELS
    )
    targets: Targets = Targets()


_decode_value = msgspec.json.Decoder(object).decode


def default_settings(account_id: str) -> AccountSettings:
    """The settings of an account that never sent any: UTC, no schedule, the default lists."""
    return AccountSettings(account_id=account_id)


def decode_settings(value: bytes | str) -> AccountSettings:
    """The settings in an accounts record's value. Raises `InvalidSettings`, and nothing else, if they break a rule."""
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidSettings("oversize", f"{len(value)} bytes; the most is {MAX_RECORD_BYTES}")
    try:
        # An optional field that is null is missing, at any depth: drop nulls before the types are checked.
        settings = msgspec.convert(_without_nulls(_decode_value(value)), AccountSettings)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        hint = value_hint(value)
        text = str(error)[:500]
        raise InvalidSettings("malformed", text if hint is None else f"{text}; {hint}") from None
    _check(settings)
    stored = len(encode_settings(settings))
    if stored > MAX_STORED_SETTINGS_BYTES:
        raise InvalidSettings("oversize", f"{stored} bytes when stored; the most is {MAX_STORED_SETTINGS_BYTES}")
    return settings


def decode_settings_record(key: bytes | None, value: bytes | None) -> AccountSettings | None:
    """The settings of an accounts record; `None` for the tombstone of an account. Raises `InvalidSettings`."""
    if value is None:
        if not key:
            raise InvalidSettings("malformed", "a record without key and value")
        return None
    settings = decode_settings(value)
    if key is None or key != settings.account_id.encode():
        hint = key_hint(key, settings.account_id)
        text = "the record's key is not its account_id"
        raise InvalidSettings("key-mismatch", text if hint is None else f"{text}; {hint}")
    return settings


def encode_settings(settings: AccountSettings) -> bytes:
    """Settings as canonical JSON without what is its default: equal settings give equal bytes."""
    return _encode_value(_without_defaults(settings))


_encode_value = msgspec.json.Encoder(order="deterministic").encode


def _without_defaults(value: object) -> object:
    """The value in plain dicts. `omit_defaults` of msgspec keeps a list that equals its default but is another one."""
    if isinstance(value, Struct):
        return {
            name: _without_defaults(item)
            for name, default in _defaults(type(value)).items()
            if (item := getattr(value, name)) != default
        }
    if isinstance(value, dict):
        return {name: _without_defaults(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_without_defaults(item) for item in value]
    return value


@cache
def _defaults(kind: type[Struct]) -> dict[str, object]:
    """The fields of a struct, and what each is where it is not said."""
    return {
        field.name: field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        for field in msgspec.structs.fields(kind)
    }


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _check(settings: AccountSettings) -> None:
    _check_zone("timezone", settings.timezone)
    count = sum(map(len, settings.schedules.values()))
    if count > MAX_VERSIONS:
        raise InvalidSettings("malformed", f"schedules have {count} versions in all; the most is {MAX_VERSIONS}")
    for name, versions in settings.schedules.items():
        where = f"schedules.{name}"
        if not versions:
            raise InvalidSettings("malformed", f"{where} is empty; leave it out, or give it a version")
        starts = [version.valid_from for version in versions]
        if len(set(starts)) != len(starts):
            raise InvalidSettings("malformed", f"{where} has two versions of one valid_from")
        for version in versions:
            _check_version(where, version)
    _check_schedule("default_schedule", settings.default_schedule, settings)
    for group_id, group in settings.groups.items():
        _check_schedule(f"groups.{group_id}.schedule", group.schedule, settings)
    for advisor_id, advisor in settings.advisors.items():
        _check_schedule(f"advisors.{advisor_id}.schedule", advisor.schedule, settings)
        if advisor.group_id is not None and advisor.group_id not in settings.groups:
            raise InvalidSettings("unknown-group", f"advisors.{advisor_id}.group_id: no group {advisor.group_id!r}")


def _check_schedule(where: str, name: str | None, settings: AccountSettings) -> None:
    if name is not None and name not in settings.schedules:
        raise InvalidSettings("unknown-schedule", f"{where}: no schedule {name!r}")


def _check_version(where: str, version: ScheduleVersion) -> None:
    if version.timezone is not None:
        _check_zone(f"{where}.timezone", version.timezone)
    if version.valid_from is not None:
        _check_date(f"{where}.valid_from", version.valid_from)
    for day in version.holidays:
        _check_date(f"{where}.holidays", day)
    for weekday, intervals in version.weekly.items():
        _check_intervals(f"{where}.weekly.{weekday}", intervals)
    for day, intervals in version.special_days.items():
        _check_date(f"{where}.special_days", day)
        _check_intervals(f"{where}.special_days.{day}", intervals)


def _check_intervals(where: str, intervals: tuple[Interval, ...]) -> None:
    for opening, close in intervals:
        if not _is_opening(opening) or not _is_close(close):
            raise InvalidSettings("malformed", f"{where}: [{opening!r}, {close!r}] is not a pair of HH:MM")


def _check_date(where: str, text: str) -> None:
    try:
        if not _is_date(text):
            raise ValueError
        date.fromisoformat(text)
    except ValueError:
        raise InvalidSettings("malformed", f"{where}: {text!r} is not a date (YYYY-MM-DD)") from None


def _check_zone(where: str, name: str) -> None:
    try:
        zones.zone(name)
    except ValueError as error:
        raise InvalidSettings("malformed", f"{where}: {error}") from None
