"""Facts told literally, and rows, blocks and numbers made of them."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from aggregates import facts
from aggregates.day_block import Contribution, DayBlock, decode_block, encode_block
from aggregates.facts import Fact, fact_field
from aggregates.history import ContactHistory, FactChanges, Lateness
from aggregates.periods import Period
from aggregates.rows import Rows
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from schemas.events import Event, instant_us

MONDAY = date(2026, 3, 2)
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Contributions = list[Contribution]


def instant_ms(day: int, clock: str) -> int:
    """A time of day in UTC, `HH:MM`, some days after that Monday."""
    hours, minutes = clock.split(":")
    epoch_days = (MONDAY - date(1970, 1, 1)).days + day
    return epoch_days * DAY_MS + int(hours) * HOUR_MS + int(minutes) * MINUTE_MS


def told(kind: int, contact: str, day: int, clock: str, **fields: Any) -> Contribution:
    """A fact of a contact, some days after that Monday; origin `Web`, group `sales`, by WhatsApp, unless told."""
    fields = {"tie": 0, "origin": "Web", "group": "sales", "channel": "whatsapp", **fields}
    return contact, Fact(kind, MONDAY.toordinal() + day, instant_ms(day, clock), **fields)


def answered(kind: int, contact: str, day: int, clock: str, minutes: int, **fields: Any) -> Contribution:
    """An answer of `ana` after so many minutes, half of them within hours."""
    at_ms = instant_ms(day, clock)
    fields = {
        "advisor": "ana",
        "since_ms": at_ms - minutes * MINUTE_MS,
        "business_ms": minutes * MINUTE_MS // 2,
        "conversation": f"{contact}-1",
        **fields,
    }
    return told(kind, contact, day, clock, **fields)


def created(contact: str, day: int, clock: str, flags: int = 0, **fields: Any) -> Contribution:
    """A contact that created itself, in the group it is in."""
    fields = {"text": "contact", "entry_group": fields.get("group", "sales"), **fields}
    return told(facts.CONTACT, contact, day, clock, flags=flags, **fields)


def blocks_of(contributions: Iterable[Contribution]) -> list[DayBlock]:
    """The days of facts as a reader gets them, in order."""
    days: dict[int, Contributions] = {}
    for contact, fact in contributions:
        days.setdefault(fact.day, []).append((contact, fact))
    return [decode_block(encode_block(day, days[day])) for day in sorted(days)]


def rows_of(contributions: Iterable[Contribution], period: Period | None = None) -> Rows:
    """The rows of facts, those of a period if one is given."""
    return Rows.of(
        blocks_of((contact, fact) for contact, fact in contributions if period is None or fact.day in period.days)
    )


def days_of(first: int, last: int) -> Period:
    """From one day after that Monday to another."""
    return Period(MONDAY + timedelta(first), MONDAY + timedelta(last))


class Folded:
    """Events folded as a worker folds them, and the facts that stand then, by account."""

    def __init__(self, accounts: Iterable[bytes], lateness: Lateness) -> None:
        settings = [decode_settings(account) for account in accounts]
        self.books = {each.account_id: RulesBook(Rules(each)) for each in settings}
        self._lateness = lateness
        self._histories: dict[tuple[str, str], bytes] = {}
        self._facts: dict[str, dict[tuple[int, bytes], Contribution]] = {}

    def fold(self, event: Event) -> None:
        """Take an event in, from bytes to bytes; fails when facts taken away were never there."""
        key = (event.account_id, event.contact_id)
        known = self._histories.get(key)
        history = ContactHistory() if known is None else ContactHistory.decode(known)
        changes = FactChanges()
        history.fold([(event, instant_us(event.occurred_at))], self.books[event.account_id], self._lateness, changes)
        history.compact(self._lateness)
        self._histories[key] = history.encode()
        standing = self._facts.setdefault(event.account_id, {})
        removed, added = changes.net()
        for fact in removed:
            assert standing.pop((fact.day, fact_field(event.contact_id, fact))) == (event.contact_id, fact)
        for fact in added:
            field = (fact.day, fact_field(event.contact_id, fact))
            assert field not in standing
            standing[field] = (event.contact_id, fact)

    def facts(self, account_id: str) -> Contributions:
        """What the account's contacts contribute."""
        return list(self._facts.get(account_id, {}).values())


def plain_facts(rows: Rows) -> list[tuple[str | int | None, ...]]:
    """All that rows say, each row as a tuple; see `plain_fact`."""
    found: list[tuple[str | int | None, ...]] = []
    for kind in range(facts.WAITING + 1):
        part = rows.kind(kind)
        columns: Mapping[str, list[Any]] = {
            **{name: part[name].tolist() for name in ("day", "at_ms", "tie", "flags", "elapsed_ms", "business_ms")},
            **{name: part.texts(name) for name in ("origin", "group", "channel", "advisor", "text", "entry_group")},
            "contact": [rows.contacts[code] for code in part["contact"].tolist()],
            "conversation": [None if not code else rows.conversations[code - 1] for code in part["conversation"]],
        }
        found += zip([kind] * part.size, *(columns[name] for name in sorted(columns)), strict=True)
    return found


def plain_fact(contribution: Contribution) -> tuple[str | int | None, ...]:
    """A fact as `plain_facts` shows it."""
    contact, fact = contribution
    return (
        fact.kind,
        fact.advisor,
        fact.at_ms,
        fact.business_ms,
        fact.channel,
        contact,
        fact.conversation,
        fact.day,
        fact.at_ms - fact.since_ms if fact.since_ms else 0,
        fact.entry_group,
        fact.flags,
        fact.group,
        fact.origin,
        fact.text,
        fact.tie,
    )
