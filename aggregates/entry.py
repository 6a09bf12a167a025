"""Journal entries: events reduced to what the rules need.

An entry is an event with everything that depends on the account's settings already read under the rules of the moment
it arrived: its local day and hour, whether it is an effective contact, whether a close snoozes. The version of those
rules stands beside it, for the business clock. So stepping through a journal again, years later and under other
settings, gives what it gave the first time. Texts of messages are never kept.

An answer also keeps what it was counted with (`counted`), so that taking it back needs neither the settings nor the
zone data of then.
"""

from typing import Final, assert_never

from msgspec import Struct

from aggregates.facts import MAX_REASON
from aggregates.rules import Rules
from schemas.events import (
    CallLogged,
    ContactAbsorbed,
    ContactCreated,
    ContactDeleted,
    ContactMerged,
    ContactMoved,
    ContactRestored,
    ConversationClosed,
    ConversationHandedOff,
    ConversationResumed,
    ConversationStarted,
    ConversationTransferred,
    Event,
    MessageReceived,
    MessageSent,
    NoteAdded,
    instant_us,
)

# Kinds of entries: the event types' ranks.
CREATED: Final = ContactCreated.rank
DELETED: Final = ContactDeleted.rank
RESTORED: Final = ContactRestored.rank
MOVED: Final = ContactMoved.rank
MERGED: Final = ContactMerged.rank
ABSORBED: Final = ContactAbsorbed.rank
STARTED: Final = ConversationStarted.rank
RECEIVED: Final = MessageReceived.rank
SENT: Final = MessageSent.rank
CALLED: Final = CallLogged.rank
NOTED: Final = NoteAdded.rank
HANDED_OFF: Final = ConversationHandedOff.rank
TRANSFERRED: Final = ConversationTransferred.rank
CLOSED: Final = ConversationClosed.rank
RESUMED: Final = ConversationResumed.rank

MAKE_KNOWN: Final = frozenset({STARTED, RECEIVED, SENT, CALLED, TRANSFERRED, CLOSED})
"""Kinds after which their conversation's id is known: it has started, or is spent."""

# Flags of an entry: how it was read under the rules.
EFFECTIVE: Final = 1
"""An effective contact of an advisor."""
UNCOUNTED: Final = 2
"""Would be one, were its channel among the account's effective channels."""
SNOOZE: Final = 4
"""A close that only snoozes."""
WAITS: Final = 8
"""An inbound call that nobody accepted."""


Counted = tuple[int, ...]
"""The `reckoning` of an answer as a response, and after it the one as first response; empty when nobody waited."""


class Entry(Struct, frozen=True, gc=False):
    """One event of a contact. `actor` is who created, opened, wrote or called."""

    at_us: int
    sequence: int
    kind: int
    id: str
    rules: bytes
    """The version of the settings it was read under."""
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
    reason: str | None = None
    """Why a conversation was closed, cut after `facts.MAX_REASON` characters."""
    since_ms: int | None = None
    """Since when an absorbed contact had waited, and the local day of that."""
    since_day: int = 0
    conversations: tuple[tuple[str, str], ...] = ()
    """The open conversations of an absorbed contact, each with its channel."""
    counted: Counted = ()

    @property
    def at_ms(self) -> int:
        """The instant in milliseconds since 1970 UTC."""
        return self.at_us // 1000

    @property
    def order(self) -> tuple[int, int, int, str]:
        """The event order of one contact: instant, sequence, type in the contract's order, id as text."""
        return (self.at_us, self.sequence, self.kind, self.id)


def entry_of(event: Event, rules: Rules, at_us: int) -> Entry:
    """The journal entry of an event that happened at `at_us`, under the account's rules."""
    day, hour = rules.calendar.day_and_hour(at_us // 1000)
    head = (at_us, event.sequence or 0, event.rank, event.id, rules.version, day, hour)
    match event:  # the most frequent first
        case MessageSent():
            author, channel = event.author, event.channel
            if author.kind != "advisor":
                return Entry(*head, 0, author.kind, channel, event.conversation_id)
            flags = EFFECTIVE if channel in rules.effective_channels else UNCOUNTED
            return Entry(*head, flags, "advisor", channel, event.conversation_id, author.id)
        case MessageReceived():
            return Entry(*head, 0, "contact", event.channel, event.conversation_id)
        case ConversationStarted():
            return Entry(*head, 0, event.by, event.channel, event.conversation_id)
        case ConversationClosed():
            flags = SNOOZE if rules.snoozes(event.reason) else 0
            return Entry(
                *head,
                flags,
                conversation=event.conversation_id,
                advisor=event.advisor_id,
                reason=event.reason[:MAX_REASON],
            )
        case ContactCreated():
            creator = event.by or "contact"
            return Entry(*head, 0, creator, event.channel, group=event.group_id, origin=event.origin)
        case ConversationHandedOff() | NoteAdded() | ConversationResumed():
            return Entry(*head, conversation=event.conversation_id)
        case CallLogged():
            caller, flags = _caller(event, rules)
            return Entry(*head, flags, caller, "call", event.conversation_id, event.advisor_id)
        case ConversationTransferred():
            return Entry(
                *head,
                conversation=event.conversation_id,
                advisor=event.advisor_id,
                group=event.to_group_id,
                to_conversation=event.to_conversation_id,
            )
        case ContactMoved():
            return Entry(*head, group=event.group_id)
        case ContactDeleted() | ContactRestored() | ContactMerged():
            return Entry(*head)
        case ContactAbsorbed():
            return _absorbed(event, head, rules)
        case _:
            assert_never(event)  # a new kind of event fails the type check, not the night shift


def _absorbed(event: ContactAbsorbed, head: tuple[int, int, int, str, bytes, int, int], rules: Rules) -> Entry:
    since_ms, day = None, 0
    if event.waiting_since is not None:
        # A wait cannot have begun after the event that tells of it.
        since_ms = min(instant_us(event.waiting_since), head[0]) // 1000
        day = rules.calendar.day_of(since_ms)
    return Entry(
        *head,
        channel=event.channel,
        since_ms=since_ms,
        since_day=day,
        conversations=tuple((known.id, known.channel) for known in event.open_conversations or ()),
    )


def _caller(event: CallLogged, rules: Rules) -> tuple[str, int]:
    """Who called, and how the call counts."""
    if event.direction == "inbound":
        caller, reached = "contact", event.outcome == "accepted"
        flags = 0 if reached else WAITS
    else:
        caller, reached = "advisor", event.outcome != "missed"
        flags = 0
    if reached and "call" in rules.effective_channels:
        flags |= EFFECTIVE
    return caller, flags
