"""The life of one contact: every rule of the report that looks at events, one event at a time.

`step(contact, entry, answers, out)` applies one journal entry to the contact's state and adds what the entry made true
to the counters in `out`; it returns what an answer was counted with. Entries come in event order, and the contact's
creation is known from the start (`born_as`), even for entries stamped before it: the entry group and the origin hold
from the first event on. `aggregates/history.py` sees to both. The rules are those of the report's definitions, in the
order they stand there.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from aggregates import counters
from aggregates.answers import Answers
from aggregates.counters import Deltas, reckoned_observation
from aggregates.entry import (
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
    SENT,
    SNOOZE,
    STARTED,
    TRANSFERRED,
    UNCOUNTED,
    WAITS,
    Counted,
    Entry,
)
from aggregates.rules import RulesBook
from aggregates.spent import SpentConversations
from schemas.limits import MOST_PAIRS, MOST_TOUCHES

UNKNOWN_CHANNEL = "unknown"

MANY_CONVERSATIONS = 256
"""From how many conversations on those that are closed are kept apart, in few bytes."""

OTHER_CHANNEL = "other"
"""Of the pairs of a contact that are too many to be told apart."""


Touch = tuple[str | None, str, str | None]
"""The advisor, channel and group of an effective contact."""


class Pair(Struct, gc=False):
    """A (channel, group) in which the contact was active: on which day last, and on which before that."""

    channel: str
    group: str | None
    last: int
    before: int | None = None


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
    spent: SpentConversations | None = None
    """Closed conversations that are not among `conversations` any more."""
    touch_day: int = 0
    touches: tuple[Touch, ...] = ()
    """The (advisor, channel, group) that reached the contact on `touch_day`, sorted."""
    active_day: int = 0
    pairs: list[Pair] = []


def born_as(creation: Entry | None) -> Contact:
    """A contact before its first entry, its creation (which may come later in its journal, or never) known."""
    contact = Contact(creation=creation)
    if creation is not None:
        contact.group = creation.group
        contact.origin = creation.origin
        if creation.actor == "contact":
            contact.first_from_ms = creation.at_ms
    return contact


def step(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> Counted:
    """Apply one entry to `contact`, and add what it made true to `out`; what it was counted with, if it is an answer.

    Raises `MissingRules`.
    """
    return _STEPS[entry.kind](contact, entry, answers, out) or ()


# --- the contact's own events ----------------------------------------------------------------------------------------


def _created(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    if contact.created:
        return  # a second creation changes nothing and is no action
    _act(contact, entry, entry.channel, out)
    contact.created = True
    _count_contact(contact, out, +1)
    if entry.actor == "contact" and not contact.reached:
        _wait(contact, entry, entry.channel, out)


def _deleted(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    _set_gone(contact, out, deleted=True, merged=contact.merged)


def _restored(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    _set_gone(contact, out, deleted=False, merged=contact.merged)


def _merged(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    _set_gone(contact, out, deleted=contact.deleted, merged=True)


def _set_gone(contact: Contact, out: Deltas, *, deleted: bool, merged: bool) -> None:
    _count_contact(contact, out, -1)
    _count_waiting(contact, out, -1)
    contact.deleted = deleted
    contact.merged = merged
    _count_contact(contact, out, +1)
    _count_waiting(contact, out, +1)


def _moved(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    _move(contact, entry.group, out)


def _move(contact: Contact, group: str | None, out: Deltas) -> None:
    _count_origin(contact, out, -1)
    _count_waiting(contact, out, -1)
    contact.group = group
    _count_origin(contact, out, +1)
    _count_waiting(contact, out, +1)


# --- conversations ---------------------------------------------------------------------------------------------------


def _started(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    _act(contact, entry, entry.channel, out)
    _open(contact, entry, entry.conversation, entry.channel, entry.actor, out)
    if entry.actor == "bot":
        contact.bot = True


def _received(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    _act(contact, entry, entry.channel, out)
    _open(contact, entry, entry.conversation, entry.channel, "contact", out)
    if contact.snoozed:
        _set_snoozed(contact, out, snoozed=False)
    _wait(contact, entry, entry.channel, out)


def _sent(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> Counted | None:
    _act(contact, entry, entry.channel, out)
    _open(contact, entry, entry.conversation, entry.channel, entry.actor, out)
    if entry.actor == "system":
        return None  # welcome, automatic and campaign messages neither answer nor clear
    if contact.snoozed:
        _set_snoozed(contact, out, snoozed=False)
    if entry.actor == "bot":
        contact.bot = True
        _stop_waiting(contact, out)
        if not contact.reached:
            contact.bot_wrote = True
            if contact.first_from_ms is not None:
                contact.first_from_ms = entry.at_ms
        return None
    return _reach(contact, entry, answers, out)


def _called(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> Counted | None:
    _act(contact, entry, entry.channel, out)
    _open(contact, entry, entry.conversation, entry.channel, entry.actor, out)
    if contact.snoozed:
        _set_snoozed(contact, out, snoozed=False)
    if entry.flags & WAITS:
        _wait(contact, entry, entry.channel, out)
        return None
    return _reach(contact, entry, answers, out)


def _noted(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    _act(contact, entry, _opening_channel(contact, entry), out)


def _handed_off(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    channel = _opening_channel(contact, entry)
    _act(contact, entry, channel, out)
    if contact.snoozed:
        _set_snoozed(contact, out, snoozed=False)
    if not contact.bot:
        return
    contact.bot = False
    _stop_waiting(contact, out)
    _wait(contact, entry, channel, out)
    if not contact.reached:
        contact.first_from_ms = entry.at_ms


def _transferred(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    channel = _opening_channel(contact, entry)
    _act(contact, entry, channel, out)
    if contact.snoozed:
        _set_snoozed(contact, out, snoozed=False)
    _close(contact, entry, out, transferred=True)
    if entry.group is not None:
        _move(contact, entry.group, out)
    if entry.to_conversation is not None:
        _open(contact, entry, entry.to_conversation, channel, "transfer", out)


def _closed(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> None:
    _act(contact, entry, _opening_channel(contact, entry), out)
    if entry.flags & SNOOZE:
        _set_snoozed(contact, out, snoozed=True)
        return
    _close(contact, entry, out, transferred=False)
    _stop_waiting(contact, out)
    contact.bot = False
    contact.snoozed = False


_STEPS: dict[int, Callable[[Contact, Entry, Answers, Deltas], Counted | None]] = {
    CREATED: _created,
    DELETED: _deleted,
    RESTORED: _restored,
    MOVED: _moved,
    MERGED: _merged,
    STARTED: _started,
    RECEIVED: _received,
    SENT: _sent,
    CALLED: _called,
    NOTED: _noted,
    HANDED_OFF: _handed_off,
    TRANSFERRED: _transferred,
    CLOSED: _closed,
}


def _opening_channel(contact: Contact, entry: Entry) -> str:
    """The channel of an event that has none: the opening one of its conversation, if that has started by then."""
    conversation = entry.conversation or ""
    known = contact.conversations.get(conversation)
    if known is not None:
        return known[0]
    spent = None if contact.spent is None else contact.spent.channel(conversation)
    return UNKNOWN_CHANNEL if spent is None else spent


def _open(
    contact: Contact, entry: Entry, conversation: str | None, channel: str | None, opener: str | None, out: Deltas
) -> None:
    """Start a conversation, unless its id is known: one starts once, and an id is not used again after its close."""
    assert conversation is not None
    assert channel is not None
    if conversation in contact.conversations or is_spent(contact, conversation):
        return
    contact.conversations[conversation] = (channel, False)
    field = (counters.NEW_CONVERSATION, contact.origin, contact.group, channel, opener, entry.hour)
    out.count(entry.day, field, 1)


def _close(contact: Contact, entry: Entry, out: Deltas, *, transferred: bool) -> None:
    """Close a conversation, once. An unknown one's id is spent, and its closure counts on channel `unknown`."""
    assert entry.conversation is not None
    channel, spent = contact.conversations.get(entry.conversation, (UNKNOWN_CHANNEL, False))
    if spent or is_spent(contact, entry.conversation):
        return
    contact.conversations[entry.conversation] = (channel, True)
    if len(contact.conversations) >= MANY_CONVERSATIONS:
        _set_spent_apart(contact)
    field = (counters.CLOSED, contact.origin, contact.group, channel, entry.advisor, transferred)
    out.count(entry.day, field, 1)
    if not (contact.closed and (contact.resolved or transferred)):
        _count_origin(contact, out, -1)
        contact.closed = True
        contact.resolved |= not transferred
        _count_origin(contact, out, +1)


def is_spent(contact: Contact, conversation: str) -> bool:
    """Whether a conversation is among those that are kept apart."""
    return contact.spent is not None and contact.spent.channel(conversation) is not None


def _set_spent_apart(contact: Contact) -> None:
    conversations = contact.conversations
    closed = [(conversation, channel) for conversation, (channel, is_closed) in conversations.items() if is_closed]
    if contact.spent is None:
        contact.spent = SpentConversations()
    contact.spent.add(closed)
    for conversation, _ in closed:
        del conversations[conversation]


# --- the wait and its answer -----------------------------------------------------------------------------------------


def _wait(contact: Contact, entry: Entry, channel: str | None, out: Deltas) -> None:
    """Begin to wait at this entry, unless a wait stands."""
    if contact.wait_ms is not None:
        return
    contact.wait_ms = entry.at_ms
    contact.wait_day = entry.day
    contact.wait_channel = channel or UNKNOWN_CHANNEL
    _count_waiting(contact, out, +1)
    if not contact.reached and (contact.bot_wrote or contact.first_from_ms is None):
        contact.first_from_ms = entry.at_ms
        contact.bot_wrote = False


def _stop_waiting(contact: Contact, out: Deltas) -> None:
    if contact.wait_ms is not None:
        _count_waiting(contact, out, -1)
        contact.wait_ms = None


def _set_snoozed(contact: Contact, out: Deltas, *, snoozed: bool) -> None:
    if contact.snoozed != snoozed:
        _count_waiting(contact, out, -1)
        contact.snoozed = snoozed
        _count_waiting(contact, out, +1)


def _reach(contact: Contact, entry: Entry, answers: Answers, out: Deltas) -> Counted | None:
    """An advisor wrote or called: an effective contact, or one that its channel keeps from being one."""
    channel, group = entry.channel, contact.group
    dimensions = (contact.origin, group, channel, entry.advisor)
    if not entry.flags & EFFECTIVE:
        if entry.flags & UNCOUNTED:
            out.count(entry.day, (counters.UNCOUNTED, *dimensions), 1)
        return None
    assert channel is not None
    _touch(contact, entry, (entry.advisor, channel, group), out)
    first_ms = None
    if not contact.reached:
        _count_origin(contact, out, -1)
        contact.reached = True
        _count_origin(contact, out, +1)
        if contact.creation is not None and contact.first_from_ms is not None:
            first_ms = max(contact.first_from_ms, contact.creation.at_ms)
    since_ms = first_ms if contact.wait_ms is None else contact.wait_ms
    counted: Counted = ()
    if since_ms is not None:
        counted = answers(entry, first_ms, since_ms)
        answer_ms = entry.at_ms
        if first_ms is not None:
            assert contact.creation is not None
            vector = reckoned_observation(max(0, answer_ms - first_ms), counted[1])
            out.observe(contact.creation.day, (counters.FIRST_RESPONSE, *dimensions), vector, 1)
        vector = reckoned_observation(max(0, answer_ms - since_ms), counted[0])
        out.observe(entry.day, (counters.RESPONSE, *dimensions), vector, 1)
    _stop_waiting(contact, out)
    contact.bot = False
    return counted


# --- what a contact contributes as a whole ---------------------------------------------------------------------------


def _touch(contact: Contact, entry: Entry, touch: Touch, out: Deltas) -> None:
    """Count the contact under the set of all that reached it this day."""
    day = max(entry.day, contact.touch_day)  # see `_act`
    if contact.touch_day != day:
        contact.touch_day = day
        contact.touches = ()
    before = contact.touches
    if touch in before or len(before) >= MOST_TOUCHES:
        return
    if before:
        out.count(day, (counters.INTERACTION, contact.origin, before), -1)
        contact.touches = tuple(sorted((*before, touch), key=_nulls_last))
    else:
        contact.touches = (touch,)
    out.count(day, (counters.INTERACTION, contact.origin, contact.touches), 1)


def _act(contact: Contact, entry: Entry, channel: str | None, out: Deltas) -> None:
    """Count the contact as active this day, in this channel and its group of the moment.

    A contact's days never go back: after a change of the account's time zone, or a clock put back across midnight, an
    entry may show a day before one that is counted already; it belongs to that one then, or a day would count twice.
    """
    assert channel is not None
    day = entry.day
    if day > contact.active_day:
        contact.active_day = day
    else:
        day = contact.active_day
    group = contact.group
    pair = _find_pair(contact, channel, group)
    if pair is None and len(contact.pairs) >= MOST_PAIRS:
        channel, group = OTHER_CHANNEL, None
        pair = _find_pair(contact, channel, group)
    if pair is not None and pair.last == day:
        return
    _count_active(contact, day, out, -1)
    if pair is None:
        contact.pairs.append(Pair(channel, group, day))
        if len(contact.pairs) > 1:
            contact.pairs.sort(key=lambda pair: _nulls_last((pair.channel, pair.group)))
    else:
        pair.before = pair.last
        pair.last = day
    _count_active(contact, day, out, +1)


def _find_pair(contact: Contact, channel: str, group: str | None) -> Pair | None:
    for pair in contact.pairs:
        if pair.channel == channel and pair.group == group:
            return pair
    return None


def _count_active(contact: Contact, day: int, out: Deltas, times: int) -> None:
    """One counter for the contact's day: its pairs, which were active, and when each was last active before."""
    key = []
    active = False
    for pair in contact.pairs:
        if pair.last == day:
            active = True
            key.append((pair.channel, pair.group, True, pair.before))
        else:
            key.append((pair.channel, pair.group, False, pair.last))
    if active:
        out.count(day, (counters.ACTIVE, contact.origin, tuple(key)), times)


def _count_contact(contact: Contact, out: Deltas, times: int) -> None:
    creation = contact.creation
    if creation is None or not contact.created:
        return
    status = counters.MERGED if contact.merged else counters.DELETED if contact.deleted else counters.LIVE
    field = (counters.NEW_CONTACT, contact.origin, creation.group, creation.channel, status)
    out.count(creation.day, field, times)
    _count_origin(contact, out, times)


def _count_origin(contact: Contact, out: Deltas, times: int) -> None:
    creation = contact.creation
    if creation is None or not contact.created or contact.deleted or contact.merged:
        return
    flags = (contact.reached, contact.closed, contact.resolved)
    field = (counters.ORIGIN, contact.origin, contact.group, creation.channel, *flags)
    out.count(creation.day, field, times)


def _count_waiting(contact: Contact, out: Deltas, times: int) -> None:
    if contact.wait_ms is None or contact.deleted or contact.merged:
        return
    field = (
        counters.WAITING,
        contact.origin,
        contact.group,
        contact.wait_channel,
        contact.snoozed,
        contact.wait_ms,
    )
    out.count(contact.wait_day, field, times)


def _nulls_last(values: Sequence[str | None]) -> tuple[tuple[bool, str], ...]:
    return tuple((value is None, value or "") for value in values)
