"""Short histories told literally, for tests of single rules, and the counters and reports they give.

All on Monday 2 March 2026 in UTC unless an instant is written out; everything happens to contact `c` of account
`acme`, created (if it is) with origin `Web`, on `webchat`, into group `sales`.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from aggregates import counters
from aggregates.counters import COUNT, Field, Vector, business_bins, elapsed_bins
from aggregates.sketch import value_ms
from tests.support.comparison import Plain, replayed, report_of

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


class Told:
    """A history folded in the order it is told."""

    def __init__(self, *events: Plain, **account: Any) -> None:
        self.replay = replayed(events, [{"account_id": "acme", **account}])

    def counted(self, metric: str) -> dict[tuple[Any, ...], int]:
        """The counters of one metric over all days, by their dimensions (vectors: how many durations)."""
        found: dict[tuple[Any, ...], int] = {}
        for field, value in self._fields(metric):
            number = value if isinstance(value, int) else value[COUNT]
            found[field[1:]] = found.get(field[1:], 0) + number
        return found

    def first_responses(self) -> list[float]:
        """First response times on the wall clock in minutes, shortest first, within 1 %."""
        return self._minutes(counters.FIRST_RESPONSE, business=False)

    def responses(self) -> list[float]:
        """Response times on the wall clock in minutes, shortest first, within 1 %."""
        return self._minutes(counters.RESPONSE, business=False)

    def business_responses(self) -> list[float]:
        """Response times in working hours, in minutes, shortest first, within 1 %."""
        return self._minutes(counters.RESPONSE, business=True)

    def waiting(self) -> list[tuple[str | None, str, bool, str]]:
        """The contacts still waiting: group, channel, whether snoozed, and since when (of the day, in UTC)."""
        return [
            (group, channel, snoozed, _clock(since_ms))
            for _, group, channel, snoozed, since_ms in self.counted(counters.WAITING)
        ]

    def conversations(self) -> list[tuple[str | None, str, str, int]]:
        """Conversations started: group, channel, opener, hour."""
        return sorted((dimensions[1:] for dimensions in self.counted(counters.NEW_CONVERSATION)), key=repr)

    def closures(self) -> list[tuple[str | None, str, str | None, bool]]:
        """Conversations closed: group, channel, advisor, whether transferred."""
        return sorted((dimensions[1:] for dimensions in self.counted(counters.CLOSED)), key=repr)

    def metrics(self, first: date = MONDAY, last: date = MONDAY, /, **filters: Sequence[str]) -> Mapping[str, Any]:
        """The report of a range of days under filters."""
        return report_of(self.replay, "acme", first, last, filters)

    def _fields(self, metric: str) -> list[tuple[Field, int | Vector]]:
        days = self.replay.counters["acme"].values()
        return [item for fields in days for item in fields.items() if item[0][0] == metric]

    def _minutes(self, metric: str, *, business: bool) -> list[float]:
        found: list[float] = []
        for _, vector in self._fields(metric):
            assert isinstance(vector, dict)
            bins = business_bins(vector) if business else elapsed_bins(vector)
            for index, n in bins.items():
                found += [value_ms(index) / 60_000] * n
        return sorted(found)


def _clock(instant_ms: int) -> str:
    minutes = instant_ms // 60_000 % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"
