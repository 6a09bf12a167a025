"""Entries of a contact's journal: events as the fold and the ledger keep them.

An entry is an event with everything that depends on the account's settings already read under the rules of the moment
it arrived: its local day and hour, whether it is an effective contact, whether a close snoozes. The version of those
rules stands beside it, for the business clock. So stepping through a journal again, years later and under other
settings, gives what it gave the first time. Texts of messages and reasons are never kept.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from aggregates.rules import Rules
from schemas.events import (
    CallLogged,
    ContactCreated,
    ContactDeleted,
    ContactMerged,
    ContactMoved,
    ContactRestored,
    ConversationClosed,
    ConversationHandedOff,
    ConversationStarted,
    ConversationTransferred,
    Event,
    MessageReceived,
    MessageSent,
    NoteAdded,
    instant_us,
)

CREATED: Final = ContactCreated.rank
DELETED: Final = ContactDeleted.rank
RESTORED: Final = ContactRestored.rank
MOVED: Final = ContactMoved.rank
MERGED: Final = ContactMerged.rank
STARTED: Final = ConversationStarted.rank
RECEIVED: Final = MessageReceived.rank
SENT: Final = MessageSent.rank
CALLED: Final = CallLogged.rank
NOTED: Final = NoteAdded.rank
HANDED_OFF: Final = ConversationHandedOff.rank
TRANSFERRED: Final = ConversationTransferred.rank
CLOSED: Final = ConversationClosed.rank

# Flags of an entry: how it was read under the rules.
EFFECTIVE: Final = 1
"""An effective contact of an advisor."""
UNCOUNTED: Final = 2
"""Would be one, were its channel among the account's effective channels."""
SNOOZE: Final = 4
"""A close that only snoozes."""
WAITS: Final = 8
"""An inbound call that nobody accepted."""


class Entry(Struct, array_like=True, frozen=True, gc=False):
    """One event of a contact. `kind` is the event type's rank; `actor` who created, opened, wrote or called."""

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


def entry_of(event: Event, rules: Rules, at_us: int | None = None) -> Entry:
    """The journal entry of an event under the account's rules."""
    if at_us is None:
        at_us = instant_us(event.occurred_at)
    day, hour = rules.calendar.day_and_hour(at_us // 1000)
    head = (at_us, event.sequence or 0, event.rank, event.id, rules.version, day, hour)
    return _READERS[event.rank](head, event, rules)


_Head = tuple[int, int, int, str, int, int, int]


def _created(head: _Head, event: ContactCreated, rules: Rules) -> Entry:
    return Entry(*head, actor=event.by or "contact", channel=event.channel, group=event.group_id, origin=event.origin)


def _plain(head: _Head, event: Event, rules: Rules) -> Entry:
    return Entry(*head)


def _moved(head: _Head, event: ContactMoved, rules: Rules) -> Entry:
    return Entry(*head, group=event.group_id)


def _started(head: _Head, event: ConversationStarted, rules: Rules) -> Entry:
    return Entry(*head, 0, event.by, event.channel, event.conversation_id)


def _received(head: _Head, event: MessageReceived, rules: Rules) -> Entry:
    return Entry(*head, 0, "contact", event.channel, event.conversation_id)


def _sent(head: _Head, event: MessageSent, rules: Rules) -> Entry:
    author = event.author
    if author.kind != "advisor":
        return Entry(*head, 0, author.kind, event.channel, event.conversation_id)
    flags = EFFECTIVE if event.channel in rules.effective_channels else UNCOUNTED
    return Entry(*head, flags, "advisor", event.channel, event.conversation_id, author.id)


def _called(head: _Head, event: CallLogged, rules: Rules) -> Entry:
    if event.direction == "inbound":
        actor, reached = "contact", event.outcome == "accepted"
        flags = 0 if reached else WAITS
    else:
        actor, reached = "advisor", event.outcome != "missed"
        flags = 0
    if reached and "call" in rules.effective_channels:
        flags |= EFFECTIVE
    return Entry(*head, flags, actor, "call", event.conversation_id, event.advisor_id)


def _in_conversation(head: _Head, event: NoteAdded | ConversationHandedOff, rules: Rules) -> Entry:
    return Entry(*head, conversation=event.conversation_id)


def _transferred(head: _Head, event: ConversationTransferred, rules: Rules) -> Entry:
    return Entry(
        *head,
        conversation=event.conversation_id,
        advisor=event.advisor_id,
        group=event.to_group_id,
        to_conversation=event.to_conversation_id,
    )


def _closed(head: _Head, event: ConversationClosed, rules: Rules) -> Entry:
    flags = SNOOZE if rules.snoozes(event.reason) else 0
    return Entry(*head, flags, conversation=event.conversation_id, advisor=event.advisor_id)


_READERS: dict[int, Callable[[_Head, Any, Rules], Entry]] = {
    CREATED: _created,
    DELETED: _plain,
    RESTORED: _plain,
    MOVED: _moved,
    MERGED: _plain,
    STARTED: _started,
    RECEIVED: _received,
    SENT: _sent,
    CALLED: _called,
    NOTED: _in_conversation,
    HANDED_OFF: _in_conversation,
    TRANSFERRED: _transferred,
    CLOSED: _closed,
}

encode_entries: Callable[[list[Entry]], bytes] = msgspec.msgpack.Encoder().encode
decode_entries: Callable[[bytes], list[Entry]] = msgspec.msgpack.Decoder(list[Entry]).decode
