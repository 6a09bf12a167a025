"""Records whose report does not depend on how a worker's reading of the two topics interleaves.

All events of a contact lie within less than the lateness, in whatever order they arrive; only those of `ANCIENT_MS`
before come later. They are sent behind newer conversation events of the same contact in the same partition: those of
conversations are too late in every interleaving, and the contact's own in time in every one.

A few contacts are quiet for weeks, so that workers shrink them (`quiet_lives`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import msgspec

from tests.oracle.choices import Seeded
from tests.oracle.instants import instant_us
from tests.oracle.lives import ACCOUNTS, life, stamp, step
from tests.simulation.loop import EPOCH

SPAN_MS = 30 * 60_000
MOST_STEPS = 9
ANCIENT_MS = 5 * 3_600_000
DAYS = 2
"""Lives began at most so many days before the simulation."""

STEADY = tuple(account for account in ACCOUNTS if account["account_id"] in ("plain", "utc", "lord-howe"))
"""Accounts whose settings change in nothing that matters for numbers already counted."""

SHIFTY: Mapping[str, Any] = {**ACCOUNTS[1], "account_id": "shifty"}
"""An account whose settings change what counts while events are read."""

QUIET: Mapping[str, Any] = {**ACCOUNTS[1], "account_id": "quiet"}
"""The account of contacts that are quiet for long, and of events that no other has."""

EVERYONE = (*STEADY, QUIET, SHIFTY)

CHANNELS: tuple[list[str], ...] = (["whatsapp", "call"], ["instagram", "email", "messenger"], [])

_encode = msgspec.json.encode


@dataclass(frozen=True)
class Record:
    """One record to be sent to one of `contacts`, `conversations`, `accounts`."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


def settings(account: Mapping[str, Any]) -> Record:
    """An account's settings as the accounts topic carries them."""
    return Record("accounts", 0, account["account_id"].encode(), _encode(account))


def shard_of(contact: str, shards: int) -> int:
    """A contact's partition."""
    return sum(contact.encode()) % shards


def lives(
    dice: Random, shards: int, contacts: int, accounts: Sequence[Mapping[str, Any]]
) -> list[tuple[float, Record]]:
    """Everything that is sent of some contacts, each with its place between 0 and 1 in the time there is."""
    sent: list[tuple[float, Record]] = []
    choices = Seeded(dice)
    for number in range(contacts):
        account = accounts[number % len(accounts)]
        for place, event in _life(dice, choices, account, f"c{number}"):
            sent.append((place, _record(event, shards)))
            if dice.random() < 0.06:
                sent.append((min(1.0, place + dice.random() * 0.3), _record(event, shards)))
    sent += [(dice.random(), _bad(dice, shards)) for _ in range(max(2, contacts // 6))]
    sent.sort(key=lambda each: each[0])
    return sent


def _life(
    dice: Random, choices: Seeded, account: Mapping[str, Any], contact: str
) -> Iterator[tuple[float, dict[str, Any]]]:
    born_ms = int(EPOCH * 1000) - SPAN_MS - dice.randrange(60_000) - dice.randrange(DAYS) * 86_400_000
    begins, lasts = dice.random() * 0.7, dice.random() * 0.3
    steps = [replace(step(choices, creation=True), snap=None)] if dice.random() < 0.9 else []
    count = dice.randint(2, MOST_STEPS - 1)
    for _ in range(count):
        taken = step(choices)
        steps.append(replace(taken, gap_ms=taken.gap_ms % (SPAN_MS // MOST_STEPS), snap=None))
    events = life(account, contact, born_ms * 1000, steps)
    talked = 0.0
    for number, event in enumerate(events):
        # Mostly in order; sometimes one is overtaken.
        place = begins + lasts * (number + (4 * dice.random() if dice.random() < 0.15 else 0)) / (len(events) + 4)
        if dice.random() < 0.2:
            place = round(place, 1)  # in gusts, as traffic comes
        if not event["type"].startswith("contact."):
            talked = max(talked, place)
        yield place, event
    if talked and dice.random() < 0.15:
        old = stamp((born_ms - ANCIENT_MS) * 1000, "Z")
        which = dice.choice(("message.received", "contact.moved"))
        event = {"id": f"{contact}-old", "account_id": account["account_id"], "contact_id": contact, "occurred_at": old}
        if which == "message.received":
            event |= {"type": which, "conversation_id": f"{contact}-before", "channel": "whatsapp"}
        else:
            event |= {"type": which, "group_id": "sales"}
        yield min(1.0, talked + 0.01 + 0.2 * dice.random()), event


QUIET_BEGINS = 0.3
QUIET_ENDS = 0.45
"""Seconds within which the past of quiet contacts is sent, before anything goes wrong: nothing may come behind it."""


def quiet_lives(dice: Random, shards: int, wakes_from: float, wakes_until: float) -> list[tuple[float, Record]]:
    """What is sent of contacts that were quiet for weeks, each record with its second.

    One was quiet for longer than both lateness windows: all of it is settled when it wakes up. One has lost the ids of
    its conversation events, and then one of its own events comes late. Only conversation events wake them: the past may
    still be read in the other topic by then.
    """
    sent: list[tuple[float, Record]] = []
    for contact, quiet_days, wakes_days in (("q-settled", 33, 4), ("q-nameless", 20, 1)):
        past = [*_quiet_past(dice, contact, quiet_days)]
        seconds = sorted(dice.uniform(QUIET_BEGINS, QUIET_ENDS) for _ in past)
        sent += zip(seconds, (_record(event, shards) for event in past), strict=True)
        later = [*_awake(dice, contact, wakes_days)]
        if contact == "q-nameless":
            at = dice.randrange(-600, 600)
            moved = _quiet_event("moved", "contact.moved", contact, quiet_days, at, group_id="bare")
            later.insert(dice.randrange(len(later) + 1), moved)
        seconds = sorted(dice.uniform(wakes_from, wakes_until) for _ in later)
        sent += zip(seconds, (_record(event, shards) for event in later), strict=True)
    return sent


def _quiet_past(dice: Random, contact: str, days: int) -> Iterator[dict[str, Any]]:
    at = 0
    author = {"kind": "advisor", "id": "ana"}
    others = [{"id": f"{contact}-taken-over", "channel": "messenger"}]
    yield _quiet_event("born", "contact.created", contact, days, at, by="contact", channel="whatsapp", origin="Web")
    for number in range(dice.randint(3, 6)):
        at += dice.randrange(1, 90)
        conversation = {"conversation_id": f"{contact}-{dice.randrange(2)}"}
        name = f"past-{number}"
        kind = dice.choice(("received", "sent", "snoozed", "resumed", "absorbed", "note"))
        if kind == "received":
            yield _quiet_event(name, "message.received", contact, days, at, **conversation, channel="whatsapp")
        elif kind == "sent":
            fields = {**conversation, "channel": "whatsapp", "author": author}
            yield _quiet_event(name, "message.sent", contact, days, at, **fields)
        elif kind == "snoozed":
            reason = "Esperando visita"
            yield _quiet_event(name, "conversation.closed", contact, days, at, **conversation, reason=reason)
        elif kind == "resumed":
            yield _quiet_event(name, "conversation.resumed", contact, days, at, **conversation)
        elif kind == "absorbed":
            waits = {"waiting_since": _stamp(days, at - 300), "channel": "messenger", "open_conversations": others}
            yield _quiet_event(name, "contact.absorbed", contact, days, at, **{"from": "gone"}, **waits)
        else:
            yield _quiet_event(name, "note.added", contact, days, at, **conversation)


def _awake(dice: Random, contact: str, days: int) -> Iterator[dict[str, Any]]:
    author = {"kind": "advisor", "id": dice.choice(("ana", "bruno"))}
    at = 0
    for number, conversation_id in enumerate((f"{contact}-0", f"{contact}-taken-over", f"{contact}-new")):
        for step_, fields in (
            ("message.received", {"channel": "sms"}),
            ("message.sent", {"channel": "whatsapp", "author": author}),
            ("conversation.closed", {"reason": dice.choice(("Vendido", "Esperando visita"))}),
        ):
            at += dice.randrange(1, 120)
            name = f"awake-{number}-{step_}"
            yield _quiet_event(name, step_, contact, days, at, conversation_id=conversation_id, **fields)


def _quiet_event(name: str, kind: str, contact: str, days: int, at_s: int, **fields: Any) -> dict[str, Any]:
    head = {"id": f"{contact}-{name}", "type": kind, "account_id": QUIET["account_id"], "contact_id": contact}
    return {**head, "occurred_at": _stamp(days, at_s), **fields}


def _stamp(days: int, at_s: int) -> str:
    return stamp((int(EPOCH) - days * 86_400 - 3_600 + at_s) * 1_000_000, "Z")


def _record(event: Mapping[str, Any], shards: int) -> Record:
    topic = "contacts" if event["type"].startswith("contact.") else "conversations"
    contact = event["contact_id"]
    return Record(topic, shard_of(contact, shards), contact.encode(), _encode(event))


def _bad(dice: Random, shards: int) -> Record:
    value = dice.choice(
        (
            None,
            b"",
            b"\x00\xff",
            b'{"id": "x", "type": "message.sent", "account_id": "utc"',
            b"[" * 2_000,
            b'{"id": 1, "type": ["contact.moved"], "account_id": null}',
            _encode(
                {
                    "id": "future",
                    "type": "contact.deleted",
                    "account_id": "utc",
                    "contact_id": "c0",
                    "occurred_at": "2999-01-01T00:00:00Z",
                }
            ),
            _encode(
                {
                    "id": "unheard",
                    "type": "contact.sang",
                    "account_id": "utc",
                    "contact_id": "c0",
                    "occurred_at": "2026-01-01T00:00:00Z",
                }
            ),
        )
    )
    return Record(dice.choice(("contacts", "conversations")), shard_of("c0", shards), b"c0", value)


def told(record: Record) -> str:
    """A record in a few words."""
    where = f"{record.topic}/{record.partition}"
    try:
        event = msgspec.json.decode(record.value or b"")
        if record.topic == "accounts":
            return f"{where}: settings of {event['account_id']}, effective {event.get('effective_channels', 'default')}"
        at = instant_us(event["occurred_at"]) // 1000 - int(EPOCH * 1000)
        return f"{where}: {event['id']} {event['type']} of {event['account_id']} at {at / 1000:+.0f} s"
    except (msgspec.MsgspecError, TypeError, KeyError, ValueError, RecursionError):
        return f"{where}: {(record.value or b'nothing')[:40]!r}"
