"""The rules of the report: what one event means for its contact.

`step(contact, entry, answers, out)` applies one journal entry to the contact's state, and adds the facts that the entry
made true to `out`. `standing_facts(contact)` gives the facts that follow from the state. Entries come in event order,
and the contact's creation is known from the start (`born_as`), even for entries stamped before it: the entry group and
the origin hold from the first event on. `aggregates/history.py` sees to both. The rules are those of the report's
definitions, in the order they stand there.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from aggregates import facts
from aggregates.answers import Answers, unpacked
from aggregates.entry import (
    ABSORBED,
    CALLED,
    CLOSED,
    CREATED,
    DELETED,
    EFFECTIVE,
    HANDED_OFF,
    MERGED,
    MOVED,
    NOTED,
    RECEIVED,
    RESTORED,
    RESUMED,
    SENT,
    SNOOZE,
    STARTED,
    TRANSFERRED,
    UNCOUNTED,
    WAITS,
    Counted,
    Entry,
)
from aggregates.facts import Fact
from aggregates.spent import SpentConversations
from schemas.limits import MOST_PAIRS, MOST_TOUCHES

UNKNOWN_CHANNEL = "unknown"
NAMED_CLOSED = 32
"""Closed conversations that are known by name; when there are more, all become hashes."""

Touch = tuple[str | None, str, str | None]
"""The advisor, channel and group of an effective contact."""

Facts = list[Fact]


class Contact(Struct, gc=False):
    """What a contact is at one moment. Mutable; `None` where a thing has not happened."""

    creation: Entry | None = None
    """The creation, known from the contact's first entry on; `created` tells whether it has been stepped through."""
    created: bool = False
    deleted: bool = False
    merged: bool = False
    group: str | None = None
    origin: str | None = None

    reached: bool = False
    """An advisor has effectively contacted the contact; in the origins it is `engaged`."""
    reached_ms: int = -1
    """When that happened last, and on which day."""
    reached_day: int = 0
    closed: bool = False
    resolved: bool = False

    bot: bool = False
    """A bot is in charge."""
    wait_ms: int | None = None
    """Since when the contact waits for an answer."""
    wait_day: int = 0
    wait_channel: str = UNKNOWN_CHANNEL
    snoozed: bool = False
    first_from_ms: int | None = None
    """From when the first response is measured; it counts from the creation at the earliest."""
    bot_wrote: bool = False
    """A bot wrote, and the contact has not begun to wait since: its next wait moves `first_from_ms`."""

    conversations: dict[str, tuple[str, bool]] = {}
    """Conversation id → opening channel, and whether it is closed (its id is spent)."""
    spent: SpentConversations = field(default_factory=SpentConversations)
    """Conversations that closed long ago, with their opening channels."""
    open: int = 0
    """How many conversations are open."""

    at_ms: int = -1
    """Millisecond of the newest entry, and how many came before it in the same one."""
    tie: int = 0

    touch_day: int = 0
    touches: tuple[Touch, ...] = ()
    """The (advisor, channel, group) that reached the contact on `touch_day`, in the order in which they did."""
    active_day: int = 0
    active: tuple[tuple[str, str | None], ...] = ()
    """The (channel, group) in which it was active on `active_day`."""

    def forget_beginnings(self) -> None:
        """Forget what only an event could ask for that comes before those seen: for a contact that was quiet for long.

        The id of its creation is compared with nothing any more, nor is the start of a first response that was had.
        """
        if self.creation is not None:
            self.creation = replace(self.creation, id="", sequence=0)
        if self.reached:
            self.first_from_ms = None
            self.bot_wrote = False


def born_as(creation: Entry | None) -> Contact:
    """A contact before its first entry, its creation (which may come later in its journal, or never) known."""
    contact = Contact(creation=creation)
    if creation is not None:
        contact.group = creation.group
        contact.origin = creation.origin
        if creation.actor == "contact":
            contact.first_from_ms = creation.at_ms
    return contact


def step(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> Counted:
    """Apply one entry to `contact`, and add the facts that it made true to `out`.

    Returns what an answer was counted with, by `answers`; empty for what is none. Raises `MissingRules`.
    """
    at_ms = entry.at_us // 1000
    if at_ms == contact.at_ms:
        contact.tie += 1
    else:
        contact.at_ms = at_ms
        contact.tie = 0
    return _STEPS[entry.kind](contact, entry, answers, out) or ()


def standing_facts(contact: Contact) -> Iterator[Fact]:
    """The facts that follow from what the contact is now: its creation and what became of it, and its wait."""
    creation = contact.creation
    if creation is not None and contact.created:
        flags = facts.MERGED if contact.merged else facts.DELETED if contact.deleted else 0
        if contact.reached:
            flags |= facts.ENGAGED
        if contact.closed:
            flags |= facts.CLOSED_ONCE
            if not contact.open:
                flags |= facts.AT_REST
        if contact.resolved:
            flags |= facts.RESOLVED
        yield Fact(
            facts.CONTACT,
            creation.day,
            creation.at_ms,
            0,
            contact.origin,
            contact.group,
            creation.channel,
            flags=flags,
            text=creation.actor,
            entry_group=creation.group,
        )
    if contact.wait_ms is not None and not contact.deleted and not contact.merged:
        yield Fact(
            facts.WAITING,
            contact.wait_day,
            contact.wait_ms,
            0,
            contact.origin,
            contact.group,
            contact.wait_channel,
            flags=facts.SNOOZED if contact.snoozed else 0,
        )


# --- the contact's own events ----------------------------------------------------------------------------------------


def _created(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    if contact.created:
        return  # a second creation changes nothing and is no action
    _count_action(contact, entry, entry.channel, out)
    contact.created = True
    if entry.actor == "contact" and not contact.reached:
        _start_waiting(contact, entry, entry.channel)


def _deleted(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    contact.deleted = True


def _restored(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    contact.deleted = False


def _merged(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    contact.merged = True


def _moved(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    contact.group = entry.group


def _absorbed(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    """Take over another contact's open conversations and its wait: neither an action nor a start."""
    for conversation, channel in entry.conversations:
        if _known(contact, conversation) is None:
            contact.conversations[conversation] = (channel, False)
            contact.open += 1
    if entry.since_ms is None:
        return
    since_ms, day = entry.since_ms, entry.since_day
    if since_ms < contact.reached_ms:
        since_ms, day = contact.reached_ms, contact.reached_day
    if contact.wait_ms is None or contact.wait_ms > since_ms:
        contact.wait_ms = since_ms
        contact.wait_day = day
        contact.wait_channel = entry.channel or UNKNOWN_CHANNEL


# --- conversations ---------------------------------------------------------------------------------------------------


def _started(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    _count_action(contact, entry, entry.channel, out)
    _open(contact, entry, entry.conversation, entry.channel, entry.actor, out)
    if entry.actor == "bot":
        contact.bot = True


def _received(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    _count_action(contact, entry, entry.channel, out)
    _open(contact, entry, entry.conversation, entry.channel, "contact", out)
    contact.snoozed = False
    _start_waiting(contact, entry, entry.channel)


def _sent(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> Counted | None:
    _count_action(contact, entry, entry.channel, out)
    _open(contact, entry, entry.conversation, entry.channel, entry.actor, out)
    if entry.actor == "system":
        return None  # welcome, automatic and campaign messages neither answer nor clear
    contact.snoozed = False
    if entry.actor == "bot":
        contact.bot = True
        contact.wait_ms = None
        if not contact.reached:
            contact.bot_wrote = True
            if contact.first_from_ms is not None:
                contact.first_from_ms = contact.at_ms
        return None
    return _advisor_acts(contact, entry, answers, out)


def _called(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> Counted | None:
    _count_action(contact, entry, entry.channel, out)
    _open(contact, entry, entry.conversation, entry.channel, entry.actor, out)
    contact.snoozed = False
    if entry.flags & WAITS:
        _start_waiting(contact, entry, entry.channel)
        return None
    return _advisor_acts(contact, entry, answers, out)


def _noted(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    _count_action(contact, entry, _opening_channel(contact, entry), out)


def _handed_off(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    channel = _opening_channel(contact, entry)
    _count_action(contact, entry, channel, out)
    contact.snoozed = False
    if not contact.bot:
        return
    contact.bot = False
    contact.wait_ms = None
    _start_waiting(contact, entry, channel)
    if not contact.reached:
        contact.first_from_ms = contact.at_ms


def _transferred(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    channel = _opening_channel(contact, entry)
    _count_action(contact, entry, channel, out)
    contact.snoozed = False
    _close(contact, entry, out, transferred=True)
    if entry.group is not None:
        contact.group = entry.group
    if entry.to_conversation is not None:
        _open(contact, entry, entry.to_conversation, channel, "transfer", out)


def _closed(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    _count_action(contact, entry, _opening_channel(contact, entry), out)
    if entry.flags & SNOOZE:
        contact.snoozed = True
        return
    _close(contact, entry, out, transferred=False)
    contact.wait_ms = None
    contact.bot = False
    contact.snoozed = False


def _resumed(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> None:
    contact.snoozed = False


_STEPS: dict[int, Callable[[Contact, Entry, Answers, Facts], Counted | None]] = {
    CREATED: _created,
    DELETED: _deleted,
    RESTORED: _restored,
    MOVED: _moved,
    MERGED: _merged,
    ABSORBED: _absorbed,
    STARTED: _started,
    RECEIVED: _received,
    SENT: _sent,
    CALLED: _called,
    NOTED: _noted,
    HANDED_OFF: _handed_off,
    TRANSFERRED: _transferred,
    CLOSED: _closed,
    RESUMED: _resumed,
}


def is_known(contact: Contact, conversation: str) -> bool:
    """Whether a conversation has started here, or its id is spent."""
    return _known(contact, conversation) is not None


def _known(contact: Contact, conversation: str) -> tuple[str, bool] | None:
    """The conversation's opening channel and whether it is closed, if it is known."""
    known = contact.conversations.get(conversation)
    if known is None and contact.spent.count:
        channel = contact.spent.channel(conversation)
        if channel is not None:
            return channel, True
    return known


def _opening_channel(contact: Contact, entry: Entry) -> str:
    """The channel of an event that has none: the opening one of its conversation, if that has started by then."""
    known = _known(contact, entry.conversation or "")
    return UNKNOWN_CHANNEL if known is None else known[0]


def _open(
    contact: Contact, entry: Entry, conversation: str | None, channel: str | None, opener: str | None, out: Facts
) -> None:
    """Start a conversation, unless its id is known: one starts once, and an id is not used again after its close."""
    assert conversation is not None
    if conversation in contact.conversations:
        return
    assert channel is not None
    if _known(contact, conversation) is not None:
        return
    contact.conversations[conversation] = (channel, False)
    contact.open += 1
    out.append(
        Fact(
            facts.STARTED,
            entry.day,
            contact.at_ms,
            contact.tie,
            contact.origin,
            contact.group,
            channel,
            flags=entry.hour,
            conversation=conversation,
            text=opener,
        )
    )


def spend(contact: Contact, conversations: list[tuple[str, str]]) -> None:
    """Keep of closed conversations, each with its channel, only hashes of their ids."""
    contact.spent.add(conversations)
    for conversation, _ in conversations:
        contact.conversations.pop(conversation, None)


def closed_of(contact: Contact) -> list[tuple[str, str]]:
    """The closed conversations that are known by name, each with its channel."""
    return [(name, channel) for name, (channel, is_closed) in contact.conversations.items() if is_closed]


def _close(contact: Contact, entry: Entry, out: Facts, *, transferred: bool) -> None:
    """Close a conversation, once. An unknown one's id is spent, and its closure counts on channel `unknown`."""
    assert entry.conversation is not None
    known = _known(contact, entry.conversation)
    channel, spent = known or (UNKNOWN_CHANNEL, False)
    if spent:
        return
    if known is not None:
        contact.open -= 1
    if len(contact.conversations) - contact.open > NAMED_CLOSED:
        spend(contact, closed_of(contact))
    contact.conversations[entry.conversation] = (channel, True)
    out.append(
        Fact(
            facts.CLOSED,
            entry.day,
            contact.at_ms,
            contact.tie,
            contact.origin,
            contact.group,
            channel,
            entry.advisor,
            flags=facts.TRANSFERRED if transferred else 0,
            conversation=entry.conversation,
            text=entry.reason,
        )
    )
    contact.closed = True
    contact.resolved |= not transferred


# --- the wait and its answer -----------------------------------------------------------------------------------------


def _start_waiting(contact: Contact, entry: Entry, channel: str | None) -> None:
    """Begin to wait at this entry, unless a wait stands."""
    if contact.wait_ms is not None:
        return
    contact.wait_ms = contact.at_ms
    contact.wait_day = entry.day
    contact.wait_channel = channel or UNKNOWN_CHANNEL
    if not contact.reached and (contact.bot_wrote or contact.first_from_ms is None):
        contact.first_from_ms = contact.at_ms
        contact.bot_wrote = False


def _advisor_acts(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> Counted | None:
    """An advisor wrote or called: an effective contact, or one that its channel keeps from being one."""
    if entry.flags & EFFECTIVE:
        return _effective_contact(contact, entry, answers, out)
    if entry.flags & UNCOUNTED:
        out.append(_act(facts.UNCOUNTED, contact, entry))
    return None


def _act(kind: int, contact: Contact, entry: Entry) -> Fact:
    """That an advisor acted, on this channel, in the contact's group of the moment."""
    return Fact(
        kind,
        entry.day,
        contact.at_ms,
        contact.tie,
        contact.origin,
        contact.group,
        entry.channel,
        entry.advisor,
    )


def _effective_contact(contact: Contact, entry: Entry, answers: Answers, out: Facts) -> Counted:
    _count_interaction(contact, entry, out)
    first_ms = None
    creation = contact.creation
    if not contact.reached and creation is not None and contact.first_from_ms is not None:
        first_ms = max(contact.first_from_ms, creation.at_ms)
    since_ms = first_ms if contact.wait_ms is None else contact.wait_ms
    counted: Counted = ()
    if since_ms is not None:
        counted = answers(entry, first_ms, since_ms)
        if first_ms is not None and creation is not None:
            out.append(_answer(facts.FIRST_RESPONSE, creation.day, first_ms, counted[1], contact, entry))
        out.append(_answer(facts.RESPONSE, entry.day, since_ms, counted[0], contact, entry))
    contact.reached = True
    contact.reached_ms = contact.at_ms
    contact.reached_day = entry.day
    contact.wait_ms = None
    contact.bot = False
    return counted


def _answer(kind: int, day: int, since_ms: int, counted: int, contact: Contact, entry: Entry) -> Fact:
    """The fact of an answer to a wait since `since_ms`; an answer stamped before that took no time."""
    business_ms, flags = unpacked(counted)
    return Fact(
        kind,
        day,
        contact.at_ms,
        contact.tie,
        contact.origin,
        contact.group,
        entry.channel,
        entry.advisor,
        flags,
        min(since_ms, contact.at_ms),
        business_ms,
        entry.conversation,
    )


# --- once a day ------------------------------------------------------------------------------------------------------


def _count_interaction(contact: Contact, entry: Entry, out: Facts) -> None:
    """Count the first time of the day that the contact is reached by this advisor, on this channel, in this group."""
    if contact.touch_day != entry.day:
        contact.touch_day = entry.day
        contact.touches = ()
    assert entry.channel is not None
    touch = (entry.advisor, entry.channel, contact.group)
    if touch in contact.touches or len(contact.touches) >= MOST_TOUCHES:
        return
    contact.touches = (*contact.touches, touch)
    out.append(_act(facts.TOUCH, contact, entry))


def _count_action(contact: Contact, entry: Entry, channel: str | None, out: Facts) -> None:
    """Count the first time of the day that the contact is active in this channel and its group of the moment.

    A day may come back, when the account's time zone changes or a clock is put back across midnight: it has two such
    facts then. Whoever counts contacts counts distinct ones.
    """
    assert channel is not None
    if contact.active_day != entry.day:
        contact.active_day = entry.day
        contact.active = ()
    pair = (channel, contact.group)
    if pair in contact.active or len(contact.active) >= MOST_PAIRS:
        return
    contact.active = (*contact.active, pair)
    out.append(Fact(facts.ACTION, entry.day, contact.at_ms, contact.tie, contact.origin, contact.group, channel))
