"""Entries of a contact's journal: events as the fold and the ledger keep them.

An entry is an event with everything that depends on the account's settings already read under the rules of the moment
it arrived: its local day and hour, whether it is an effective contact, whether a close snoozes. The version of those
rules stands beside it, for the business clock. So stepping through a journal again, years later and under other
settings, gives what it gave the first time. Texts of messages and reasons are never kept.
"""

from typing import Any, Final

from msgspec import Struct

from aggregates.rules import Rules

# Kinds of entries: the event types' ranks (`schemas.events`; a test holds the two together).
CREATED: Final = 0
DELETED: Final = 1
RESTORED: Final = 2
MOVED: Final = 3
MERGED: Final = 4
STARTED: Final = 5
RECEIVED: Final = 6
SENT: Final = 7
CALLED: Final = 8
NOTED: Final = 9
HANDED_OFF: Final = 10
TRANSFERRED: Final = 11
CLOSED: Final = 12

# Flags of an entry: how it was read under the rules.
EFFECTIVE: Final = 1
"""An effective contact of an advisor."""
UNCOUNTED: Final = 2
"""Would be one, were its channel among the account's effective channels."""
SNOOZE: Final = 4
"""A close that only snoozes."""
WAITS: Final = 8
"""An inbound call that nobody accepted."""


class Entry(Struct, frozen=True, gc=False):
    """One event of a contact. `actor` is who created, opened, wrote or called."""

    at_us: int
    sequence: int
    kind: int
    id: str
    rules: int
    day: int
    hour: int
    flags: int = 0
    actor: str | None = None
    channel: str | None = None
    conversation: str | None = None
    advisor: str | None = None
    group: str | None = None
    to_conversation: str | None = None
    origin: str | None = None

    @property
    def at_ms(self) -> int:
        """The instant in milliseconds since 1970 UTC."""
        return self.at_us // 1000

    @property
    def order(self) -> tuple[int, int, int, str]:
        """The event order of one contact: instant, sequence, type in the contract's order, id as text."""
        return (self.at_us, self.sequence, self.kind, self.id)


def entry_of(event: Any, rules: Rules, at_us: int) -> Entry:
    """The journal entry of an `Event` that happened at `at_us`, under the account's rules."""
    day, hour = rules.calendar.day_and_hour(at_us // 1000)
    sequence: int = event.sequence or 0
    kind: int = event.rank
    event_id: str = event.id
    version = rules.version
    if kind == SENT:
        author = event.author
        actor: str = author.kind
        channel: str = event.channel
        flags = 0 if actor != "advisor" else EFFECTIVE if channel in rules.effective_channels else UNCOUNTED
        advisor: str | None = author.id if flags else None
        return Entry(
            at_us, sequence, kind, event_id, version, day, hour, flags, actor, channel, event.conversation_id, advisor
        )
    if kind == RECEIVED:
        return Entry(
            at_us, sequence, kind, event_id, version, day, hour, 0, "contact", event.channel, event.conversation_id
        )
    if kind == STARTED:
        return Entry(
            at_us, sequence, kind, event_id, version, day, hour, 0, event.by, event.channel, event.conversation_id
        )
    if kind == CLOSED:
        flags = SNOOZE if rules.snoozes(event.reason) else 0
        return Entry(
            at_us,
            sequence,
            kind,
            event_id,
            version,
            day,
            hour,
            flags,
            conversation=event.conversation_id,
            advisor=event.advisor_id,
        )
    if kind == CREATED:
        return Entry(
            at_us,
            sequence,
            kind,
            event_id,
            version,
            day,
            hour,
            actor=event.by or "contact",
            channel=event.channel,
            group=event.group_id,
            origin=event.origin,
        )
    if kind == CALLED:
        return _called(event, rules, at_us, sequence, day, hour)
    if kind == TRANSFERRED:
        return Entry(
            at_us,
            sequence,
            kind,
            event_id,
            version,
            day,
            hour,
            conversation=event.conversation_id,
            advisor=event.advisor_id,
            group=event.to_group_id,
            to_conversation=event.to_conversation_id,
        )
    if kind == MOVED:
        return Entry(at_us, sequence, kind, event_id, version, day, hour, group=event.group_id)
    conversation: str | None = event.conversation_id if kind in (NOTED, HANDED_OFF) else None
    return Entry(at_us, sequence, kind, event_id, version, day, hour, conversation=conversation)


def _called(event: Any, rules: Rules, at_us: int, sequence: int, day: int, hour: int) -> Entry:
    if event.direction == "inbound":
        actor, reached = "contact", event.outcome == "accepted"
        flags = 0 if reached else WAITS
    else:
        actor, reached = "advisor", event.outcome != "missed"
        flags = 0
    if reached and "call" in rules.effective_channels:
        flags |= EFFECTIVE
    return Entry(
        at_us,
        sequence,
        CALLED,
        event.id,
        rules.version,
        day,
        hour,
        flags,
        actor=actor,
        channel="call",
        conversation=event.conversation_id,
        advisor=event.advisor_id,
    )
