"""The life of a contact as a list of steps, and the events it leaves behind.

A step says what happens next relative to what went before (the same conversation, the next one, some time later), so
that taking any step out leaves a life that still makes sense: this is what lets a failing history shrink.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from typing import Any

from schemas import zones
from tests.oracle.business import first_instant_us
from tests.oracle.choices import Choices
from tests.oracle.instants import HOUR_US, SECOND_US, instant_us, local, utc

Event = dict[str, Any]

ORIGINS = ("Instagram", "Google Ads", "Web", "Referido", "Año Nuevo")
GROUPS = ("sales", "nights", "bare", "ghost")  # no settings know the last one
CHANNELS = ("whatsapp", "email", "instagram", "messenger", "sms", "webchat", "telegram")
ADVISORS = ("ana", "bruno", "carla", "diego", "nadie")  # no settings know the last one
REASONS = (
    "Vendido",
    "Sin interés",
    "Esperando visita",
    "Esperando recordatorio",
    "ESPERANDO   VISITA",
    "  esperándo\u00a0recordatorio ",
    "Esperando visita.",
    "Llamar luego",
    "lla\u0301mar  LUEGO",
)

_HOURS = [["09:00", "13:00"], ["14:00", "18:30"]]
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _office(zone: str) -> list[dict[str, Any]]:
    """Office hours with a holiday and a special day, and Saturdays from the day Europe changes its clocks."""
    weekly = dict.fromkeys(_WEEK[:5], _HOURS)
    return [
        {"timezone": zone, "weekly": weekly, "holidays": ["2026-03-19", "2026-03-20"],
         "special_days": {"2026-03-20": [["09:00", "12:00"]], "2026-03-22": [["10:00", "24:00"]]}},
        {"valid_from": "2026-03-29", "timezone": zone, "weekly": {**weekly, "sat": [["10:00", "14:00"]]}},
    ]  # fmt: skip


def _night(zone: str, later_zone: str) -> list[dict[str, Any]]:
    """Nights with a holiday in them, taken over by other nights in another zone while a shift runs."""
    return [
        {"timezone": zone, "weekly": {weekday: [["22:00", "06:00"]] for weekday in _WEEK}, "holidays": ["2026-03-12"]},
        {"valid_from": "2026-03-18", "timezone": later_zone,
         "weekly": {weekday: [["00:00", "00:15"], ["21:30", "05:00"]] for weekday in _WEEK}},
        {"valid_from": "2026-04-05", "weekly": {"mon": [["00:00", "00:00"]], "sun": [["02:15", "02:45"]]}},
    ]  # fmt: skip


_TEAM = {
    "groups": {
        "sales": {"name": "Ventas", "schedule": "office"},
        "nights": {"name": "Noche", "schedule": "night"},
        "bare": {"name": "Sin horario"},
    },
    "advisors": {
        "ana": {"name": "Ana", "group_id": "sales"},
        "bruno": {"name": "Bruno", "group_id": "nights"},
        "carla": {"name": "Carla", "group_id": "bare"},
        "diego": {"name": "Diego", "group_id": "sales", "schedule": "night"},
    },
}

ACCOUNTS: tuple[Mapping[str, Any], ...] = (
    {"account_id": "plain"},
    {"account_id": "utc", "name": "UTC", "timezone": "UTC", "default_schedule": "office", **_TEAM,
     "schedules": {"office": _office("UTC"), "night": _night("America/Sao_Paulo", "America/Santiago")}},
    {"account_id": "kolkata", "timezone": "Asia/Kolkata", **_TEAM,
     "schedules": {"office": _office("Asia/Kolkata"), "night": _night("UTC", "UTC")}},
    {"account_id": "madrid", "timezone": "Europe/Madrid", "default_schedule": "office", **_TEAM,
     "schedules": {"office": _office("Europe/Madrid"), "night": _night("Europe/Madrid", "America/Sao_Paulo")},
     "effective_channels": ["whatsapp", "messenger", "instagram", "email", "sms", "call"],
     "snooze_reasons": ["Esperando visita", "Llamar luego"]},
    {"account_id": "havana", "timezone": "America/Havana", "default_schedule": "night", **_TEAM,
     "schedules": {"office": _office("America/Havana"), "night": _night("America/Havana", "America/New_York")},
     "effective_channels": ["whatsapp", "telegram"], "snooze_reasons": []},
    {"account_id": "lord-howe", "timezone": "Australia/Lord_Howe", "default_schedule": "night", **_TEAM,
     "schedules": {"office": _office("Australia/Lord_Howe"), "night": _night("Pacific/Chatham", "Australia/Lord_Howe")},
     "targets": {"first_response_seconds": 300, "response_seconds": 600}},
)  # fmt: skip

# Ordinary days, and the eves of clock changes of the zones above (March and April 2026, November 2025).
BIRTHS = (
    "2026-03-10T12:00:00Z",
    "2026-03-17T20:00:00Z",
    "2026-03-24T09:00:00Z",
    "2026-03-07T22:00:00Z",
    "2026-03-28T21:00:00Z",
    "2026-04-04T12:00:00Z",
    "2025-11-01T23:00:00Z",
)
OFFSETS = ("Z", "Z", "Z", "+00:00", "+01:00", "-03:00", "+05:30", "-09:45")


@dataclass(frozen=True)
class Step:
    """One thing that happens to a contact, and when, counted from the step before."""

    type: str
    fields: Mapping[str, Any]
    gap_ms: int = 0
    snap: str | None = None  # move on to the next local "midnight" or clock "change"
    snap_ms: int = 0  # and this much off it
    conversation: str = "same"  # or "next", "previous", "stranger"
    to_conversation: str | None = None  # of a transfer: the same words
    waited_ms: int | None = None  # how long a contact that is absorbed has waited (less than none: it will)
    absorbed: tuple[str, ...] = ()  # its open conversations: the same words, or "other"
    offset: str = "Z"  # how the stamp is written
    echo: str | None = None  # another event under the same id: its type


# Most common first; the first is also what hypothesis simplifies to.
_KINDS = (
    *["message.received"] * 28,
    *["message.sent"] * 30,
    *["conversation.started"] * 8,
    *["conversation.closed"] * 9,
    *["conversation.handed_off"] * 6,
    *["conversation.transferred"] * 5,
    *["call.logged"] * 6,
    *["note.added"] * 3,
    *["contact.moved"] * 4,
    *["contact.deleted"] * 2,
    *["contact.restored"] * 2,
    *["contact.created"] * 2,
    "contact.merged",
    *["contact.absorbed"] * 2,
    *["conversation.resumed"] * 2,
)
_WITH_CONVERSATION = ("conversation.", "message.", "call.", "note.")


def step(choices: Choices, *, creation: bool = False) -> Step:
    """One step of any type; or the creation a life begins with."""
    kind = "contact.created" if creation else choices.pick(_KINDS)
    gap_ms = 0 if creation else _gap_ms(choices)
    fields = _fields(choices, kind)
    if choices.chance(60 if gap_ms == 0 and not creation else 4):
        fields["sequence"] = choices.pick((0, 1, 2, -1, None))
    if choices.chance(3):
        fields["from_a_later_version"] = {"ignored": [1, None]}
    talks = kind.startswith(_WITH_CONVERSATION)
    return Step(
        type=kind,
        fields=fields,
        gap_ms=gap_ms,
        snap=choices.pick(("midnight", "midnight", "change")) if choices.chance(4) else None,
        snap_ms=choices.pick((0, -1, 1, 1_800_000, -1_800_000)),
        conversation=_conversation(choices, kind) if talks else "same",
        to_conversation=_onward(choices) if kind == "conversation.transferred" else None,
        **(_absorption(choices) if kind == "contact.absorbed" else {}),
        offset=choices.pick(OFFSETS),
        echo=choices.pick(("message.received", "conversation.closed")) if talks and choices.chance(2) else None,
    )


def moment_of_birth(choices: Choices) -> int:
    """When a contact's life begins: every account lives through the same days, the zones make the difference."""
    return instant_us(choices.pick(BIRTHS)) + choices.integer(0, 30 * 3_600_000) * 1_000


def life(account: Mapping[str, Any], contact: str, born_us: int, steps: Sequence[Step]) -> list[Event]:
    """The events of the steps, in the order of their stamps but for what sequences and ids say."""
    zone = zones.zone(account.get("timezone") or "UTC")
    now_us = born_us
    current = 0
    events: list[Event] = []
    for number, taken in enumerate(steps, start=1):
        now_us += taken.gap_ms * 1_000
        if taken.snap is not None:
            now_us = max(now_us, _snapped_us(taken.snap, now_us, zone) + taken.snap_ms * 1_000)
        event: Event = {
            "id": f"{contact}-{number}",
            "type": taken.type,
            "account_id": account["account_id"],
            "contact_id": contact,
            "occurred_at": stamp(now_us, taken.offset),
            **taken.fields,
        }
        if taken.type.startswith(_WITH_CONVERSATION):
            current += taken.conversation == "next"
            event["conversation_id"] = _named(contact, current, taken.conversation)
        if taken.to_conversation is not None:
            known = taken.to_conversation
            current += known == "next"
            event["to_conversation_id"] = (
                event["conversation_id"] if known == "same" else _named(contact, current, known)
            )
        if taken.waited_ms is not None:
            event["waiting_since"] = stamp(max(now_us - taken.waited_ms * 1_000, 0), taken.offset)
        if taken.absorbed:
            ids = dict.fromkeys(_named(contact, current, which) for which in taken.absorbed)
            channels = ("email", "whatsapp", "sms")
            event["open_conversations"] = [
                {"id": id_, "channel": channel} for id_, channel in zip(ids, channels, strict=False)
            ]
        events.append(event)
        if taken.echo is not None:
            events.append(_echo(event, taken.echo))
    return events


def stamp(at_us: int, offset: str) -> str:
    """An instant as events write it, in milliseconds, under one of `OFFSETS`."""
    hours, minutes = (0, 0) if offset == "Z" else (int(offset[1:3]), int(offset[4:]))
    ahead = timedelta(hours=hours, minutes=minutes) * (-1 if offset.startswith("-") else 1)
    return (utc(at_us) + ahead).replace(tzinfo=None).isoformat(timespec="milliseconds") + offset


def _echo(event: Event, kind: str) -> Event:
    """Another event under the same id, at the same instant but later in event order: it counts for nothing."""
    bare = {key: event[key] for key in ("id", "account_id", "contact_id", "occurred_at", "conversation_id")}
    extra = {"channel": "sms"} if kind == "message.received" else {"reason": "Vendido"}
    return {**bare, "type": kind, "sequence": (event.get("sequence") or 0) + 5, **extra}


def _named(contact: str, current: int, which: str) -> str:
    if which == "stranger":
        return f"{contact}-elsewhere"
    if which == "other":
        return f"{contact}-other"
    return f"{contact}-v{max(current - (which == 'previous'), 0) + (which == 'coming')}"


def _gap_ms(choices: Choices) -> int:
    """Mostly seconds to hours; sometimes nothing at all, sometimes days."""
    unit_ms = choices.pick((1_000, 1_000, 60_000, 60_000, 60_000, 3_600_000, 3_600_000, 0, 1, 86_400_000))
    return choices.integer(0, {86_400_000: 5, 3_600_000: 20}.get(unit_ms, 90)) * unit_ms + (
        choices.integer(0, 999) if unit_ms >= 60_000 else 0
    )


def _snapped_us(what: str, now_us: int, zone: tzinfo) -> int:
    """The next local midnight; or the next clock change within ten weeks, looked for hour by hour."""
    if what == "midnight":
        return first_instant_us(local(now_us, zone).date() + timedelta(days=1), "00:00", zone)
    offset = local(now_us, zone).utcoffset()
    hour_us = now_us - now_us % HOUR_US
    for ahead in range(1, 24 * 70):
        if local(hour_us + ahead * HOUR_US, zone).utcoffset() != offset:
            return hour_us + ahead * HOUR_US
    return now_us + SECOND_US


def _conversation(choices: Choices, kind: str) -> str:
    if kind == "conversation.started":
        return choices.pick(("next", "next", "next", "same", "previous"))
    return choices.pick((*["same"] * 16, "next", "next", "previous", "stranger", "other"))


def _absorption(choices: Choices) -> dict[str, Any]:
    """What a contact brings along that is absorbed."""
    waited_ms = choices.pick((60_000, 3_600_000, 86_400_000, None, 0, -60_000))
    some = ("other", "stranger", "same", "coming", "previous")
    return {
        "waited_ms": waited_ms and waited_ms * choices.integer(1, 3),
        "absorbed": tuple(choices.pick(some) for _ in range(choices.integer(0, 3))),
    }


def _onward(choices: Choices) -> str | None:
    return choices.pick(("next", "next", "next", None, "same", "previous", "stranger"))


def _fields(choices: Choices, kind: str) -> dict[str, Any]:
    """The fields of an event of that type, but for those every event has and its conversations."""
    match kind:
        case "contact.created":
            created: dict[str, Any] = {"origin": choices.pick(ORIGINS), "channel": choices.pick(CHANNELS)}
            by = choices.pick(("missing", "missing", "missing", "contact", "advisor", "import", None))
            return {**created, **_group(choices), **({} if by == "missing" else {"by": by})}
        case "contact.moved":
            return {"group_id": choices.pick((*GROUPS, None))}
        case "contact.merged":
            return {"into": "somebody-else"}
        case "contact.absorbed":
            return {"from": "somebody-else", "channel": _channel(choices)}
        case "conversation.started":
            by = choices.pick(("contact", "contact", "contact", "bot", "advisor", "system"))
            return {"channel": _channel(choices), "by": by}
        case "message.received":
            return {"channel": _channel(choices)}
        case "message.sent":
            return {"channel": _channel(choices), "author": _author(choices)}
        case "call.logged":
            outcome = choices.pick(("accepted", "rejected", "missed"))
            advisor = {"advisor_id": choices.pick(ADVISORS)} if outcome != "missed" else _advisor(choices)
            return {"direction": choices.pick(("inbound", "outbound")), "outcome": outcome, **advisor}
        case "conversation.transferred":
            return {**_advisor(choices), **_group(choices, "to_group_id"), "to_advisor_id": choices.pick(ADVISORS)}
        case "conversation.closed":
            return {**_advisor(choices), "reason": choices.pick(REASONS)}
        case "note.added":
            return _advisor(choices)
        case _:
            return {}


def _author(choices: Choices) -> dict[str, Any]:
    kind = choices.pick((*["advisor"] * 7, "bot", "bot", "system"))
    if kind == "advisor":
        return {"kind": kind, "id": choices.pick(ADVISORS)}
    return {"kind": kind, **choices.pick(({}, {"id": f"{kind}-1"}, {"id": None}))}


def _channel(choices: Choices) -> str:
    return choices.pick((*["whatsapp"] * 6, *CHANNELS[1:]))


def _group(choices: Choices, name: str = "group_id") -> dict[str, Any]:
    return {name: choices.pick((*GROUPS, *GROUPS, None))} if choices.chance(70) else {}


def _advisor(choices: Choices) -> dict[str, Any]:
    return {"advisor_id": choices.pick((*ADVISORS, None))} if choices.chance(85) else {}
