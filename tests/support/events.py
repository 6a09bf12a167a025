"""Short histories told literally, for tests of single rules, and the facts, rows and reports they give.

All on Monday 2 March 2026 in UTC unless an instant is written out; everything happens to contact `c` of account
`acme`, created (if it is) with origin `Web`, on `webchat`, into group `sales`.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from aggregates import facts
from aggregates.facts import Fact
from tests.support.comparison import Plain, replayed, report_of, rows_of

MONDAY = date(2026, 3, 2)
TUESDAY = date(2026, 3, 3)


def event(kind: str, clock: str, **fields: Any) -> Plain:
    """An event at a time of that Monday, or at a whole instant; its id is its type and time unless one is given."""
    at = clock if "T" in clock else f"2026-03-02T{clock}{':00' * (clock.count(':') < 2)}Z"
    head = {"id": f"{kind} {clock}", "type": kind, "account_id": "acme", "contact_id": "c", "occurred_at": at}
    return {**head, **fields}


def created(clock: str, **fields: Any) -> Plain:
    return event("contact.created", clock, **{"origin": "Web", "channel": "webchat", "group_id": "sales", **fields})


def deleted(clock: str) -> Plain:
    return event("contact.deleted", clock)


def restored(clock: str) -> Plain:
    return event("contact.restored", clock)


def merged(clock: str) -> Plain:
    return event("contact.merged", clock, into="another")


def moved(clock: str, group: str | None, **fields: Any) -> Plain:
    return event("contact.moved", clock, group_id=group, **fields)


def absorbed(clock: str, **fields: Any) -> Plain:
    return event("contact.absorbed", clock, **{"from": "another", **fields})


def started(clock: str, by: str, conversation: str = "v1", channel: str = "whatsapp") -> Plain:
    return event("conversation.started", clock, conversation_id=conversation, channel=channel, by=by)


def received(clock: str, conversation: str = "v1", channel: str = "whatsapp", **fields: Any) -> Plain:
    return event("message.received", clock, conversation_id=conversation, channel=channel, **fields)


def sent(clock: str, kind: str, conversation: str = "v1", channel: str = "whatsapp", **fields: Any) -> Plain:
    author = {"kind": kind, "id": fields.pop("advisor", None)}
    return event("message.sent", clock, conversation_id=conversation, channel=channel, author=author, **fields)


def answered(clock: str, advisor: str = "ana", conversation: str = "v1", channel: str = "whatsapp") -> Plain:
    return sent(clock, "advisor", conversation, channel, advisor=advisor)


def bot(clock: str, conversation: str = "v1") -> Plain:
    return sent(clock, "bot", conversation)


def called(clock: str, direction: str, outcome: str, conversation: str = "v1", advisor: str | None = "ana") -> Plain:
    call = {"conversation_id": conversation, "direction": direction, "outcome": outcome, "advisor_id": advisor}
    return event("call.logged", clock, **call)


def noted(clock: str, conversation: str = "v1") -> Plain:
    return event("note.added", clock, conversation_id=conversation, advisor_id="ana")


def handed_off(clock: str, conversation: str = "v1") -> Plain:
    return event("conversation.handed_off", clock, conversation_id=conversation)


def transferred(clock: str, conversation: str = "v1", **fields: Any) -> Plain:
    return event("conversation.transferred", clock, conversation_id=conversation, **{"advisor_id": "ana", **fields})


def closed(clock: str, conversation: str = "v1", reason: str = "Vendido", **fields: Any) -> Plain:
    return event("conversation.closed", clock, conversation_id=conversation, reason=reason, **fields)


def resumed(clock: str, conversation: str = "v1") -> Plain:
    return event("conversation.resumed", clock, conversation_id=conversation)


class Told:
    """A history folded in the order it is told."""

    def __init__(self, *events: Plain, **account: Any) -> None:
        self.replay = replayed(events, [{"account_id": "acme", **account}])

    def facts(self, kind: int) -> list[Fact]:
        """The facts of a kind, in order."""
        days = self.replay.facts.get("acme", {}).values()
        found = [fact for facts in days for _, fact in facts.values() if fact.kind == kind]
        return sorted(found, key=lambda fact: (fact.at_ms, fact.tie))

    def dimensions(self, kind: int) -> list[tuple[str | None, str | None, str | None, str | None]]:
        """Of the facts of a kind, in order: origin, group, channel, advisor."""
        return [(fact.origin, fact.group, fact.channel, fact.advisor) for fact in self.facts(kind)]

    def first_responses(self) -> list[float]:
        """First response times on the wall clock in minutes, by answer."""
        return [_minutes(fact.at_ms - fact.since_ms) for fact in self.facts(facts.FIRST_RESPONSE)]

    def responses(self) -> list[float]:
        """Response times on the wall clock in minutes, by answer."""
        return [_minutes(fact.at_ms - fact.since_ms) for fact in self.facts(facts.RESPONSE)]

    def business_responses(self) -> list[float]:
        """Response times in working hours, in minutes, by answer."""
        return [_minutes(fact.business_ms) for fact in self.facts(facts.RESPONSE)]

    def waiting(self) -> list[tuple[str | None, str | None, bool, str]]:
        """The contacts still waiting: group, channel, whether snoozed, and since when (of the day, in UTC)."""
        return [
            (fact.group, fact.channel, fact.flags == facts.SNOOZED, _clock(fact.at_ms))
            for fact in self.facts(facts.WAITING)
        ]

    def conversations(self) -> list[tuple[str | None, str | None, str | None, int]]:
        """Conversations started, in order: group, channel, opener, hour."""
        return [(fact.group, fact.channel, fact.text, fact.flags) for fact in self.facts(facts.STARTED)]

    def closures(self) -> list[tuple[str | None, str | None, str | None, bool]]:
        """Conversations closed, in order: group, channel, advisor, whether transferred."""
        return [
            (fact.group, fact.channel, fact.advisor, fact.flags == facts.TRANSFERRED)
            for fact in self.facts(facts.CLOSED)
        ]

    def metrics(self, first: date = MONDAY, last: date = MONDAY, /, **filters: Sequence[str]) -> Mapping[str, Any]:
        """The report of a range of days under filters."""
        return report_of(self.replay, "acme", first, last, filters)

    def rows(
        self, name: str, first: date = MONDAY, last: date = MONDAY, /, **filters: Sequence[str]
    ) -> list[dict[str, Any]]:
        """The rows of a list under filters."""
        return rows_of(self.replay, "acme", name, first, last, filters)


def _minutes(duration_ms: int) -> float:
    return duration_ms / 60_000


def _clock(instant_ms: int) -> str:
    minutes = instant_ms // 60_000 % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"
