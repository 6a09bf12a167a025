"""Explains a number: a contact's timeline with the facts that each entry made.

The entries that are kept are stepped through once more, by the rules that the fold uses (`aggregates/contact.py`); what
is told is what changed in the contact's state, and which facts each step made. Entries past the lateness windows are
not kept: of a contact with a long life, the timeline begins where its kept entries do.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from aggregates import facts
from aggregates.answers import Kept, unpacked, with_counted
from aggregates.business import Span
from aggregates.contact import Contact, Facts, step
from aggregates.entry import CREATED, EFFECTIVE, HANDED_OFF, SENT, SNOOZE, UNCOUNTED, Entry
from aggregates.rules import RulesBook
from schemas.events import EVENT_TYPES, type_name


class Measure(Struct, frozen=True):
    """A duration on both clocks, and what the business clock counted of it."""

    since_ms: int
    until_ms: int
    elapsed_ms: int
    business_ms: int
    schedule: str | None
    """Name of the schedule; `None`: there is none, so business is elapsed."""
    spans: tuple[Span, ...]
    """The counted periods, with the schedule version of each."""


class Note(Struct, frozen=True):
    """One thing an entry did, or why it did not; `rule` is a stable word for programs."""

    rule: str
    text: str
    measure: Measure | None = None


class Moment(Struct, frozen=True):
    """An entry and what came of it."""

    at_ms: int
    local_day: int
    type: str
    id: str
    conversation: str | None
    channel: str | None
    advisor: str | None
    group: str | None
    """The contact's group after the entry."""
    notes: tuple[Note, ...]


def explain(contact: Contact, entries: Sequence[Entry], book: RulesBook) -> Iterator[Moment]:
    """A contact's timeline, from its state before `entries`, which are in event order. Raises `MissingRules`."""
    answers = Kept(book)
    for entry in entries:
        before = _Before(contact)
        made: Facts = []
        counted = step(contact, entry, answers, made)
        kinds = {fact.kind for fact in made}
        yield Moment(
            at_ms=entry.at_ms,
            local_day=entry.day,
            type=type_name(EVENT_TYPES[entry.kind]),
            id=entry.id,
            conversation=entry.conversation,
            channel=entry.channel,
            advisor=entry.advisor,
            group=contact.group,
            notes=tuple(_notes(before, contact, with_counted(entry, counted), book, kinds)),
        )


class _Before:
    """What a step may change and a note tells."""

    def __init__(self, contact: Contact) -> None:
        self.created = contact.created
        self.group = contact.group
        self.reached = contact.reached
        self.bot = contact.bot
        self.wait_ms = contact.wait_ms
        self.snoozed = contact.snoozed
        self.first_from_ms = contact.first_from_ms
        self.gone = contact.deleted or contact.merged
        self.conversations = dict(contact.conversations)


def _notes(before: _Before, contact: Contact, entry: Entry, book: RulesBook, kinds: set[int]) -> Iterator[Note]:
    if entry.kind == CREATED:
        if before.created:
            yield Note("second-creation", "a second creation changes nothing")
            return
        yield Note("new-contact", f"counts as a new contact, origin {contact.origin or 'none'}, by {entry.actor}")
    yield from _conversation_notes(before, contact)
    if entry.flags & SNOOZE:
        yield Note("snooze", "the reason only snoozes: the conversation stays open and both clocks run")
    if entry.flags & UNCOUNTED:
        yield Note("not-effective", f"channel {entry.channel} is not among the account's effective channels")
    elif entry.kind == SENT and entry.actor == "system":
        yield Note("system-message", "a welcome, automatic or campaign message neither answers nor clears a wait")
    elif entry.kind == HANDED_OFF and not before.bot:
        yield Note("hand-off-without-bot", "no bot is in charge: the hand-off does nothing")
    if entry.flags & EFFECTIVE:
        yield from _answer_notes(before, contact, entry, book, kinds)
    else:
        yield from _wait_notes(before, contact)
    if contact.bot != before.bot:
        yield Note("bot", "a bot is in charge" if contact.bot else "the bot's charge ends")
    if not contact.reached and contact.first_from_ms != before.first_from_ms and contact.first_from_ms is not None:
        yield Note("first-response-start", "the first response is measured from here", None)
    if contact.group != before.group:
        yield Note("move", f"the contact moves from group {before.group or 'none'} to {contact.group or 'none'}")
    if (contact.deleted or contact.merged) != before.gone:
        gone = "merged away" if contact.merged else "deleted" if contact.deleted else "restored"
        yield Note("status", f"the contact is {gone}")


def _conversation_notes(before: _Before, contact: Contact) -> Iterator[Note]:
    for conversation, (channel, closed) in contact.conversations.items():
        if conversation not in before.conversations:
            if closed:
                text = f"conversation {conversation} was never seen: its closure counts, and its id is spent"
                yield Note("unknown-closed", text)
            else:
                yield Note("conversation-starts", f"conversation {conversation} starts on {channel}")
        elif closed and not before.conversations[conversation][1]:
            yield Note("conversation-closes", f"conversation {conversation} closes")


def _wait_notes(before: _Before, contact: Contact) -> Iterator[Note]:
    if contact.wait_ms == before.wait_ms:
        return
    if before.wait_ms is not None:
        yield Note("wait-dropped", "the wait that stood is dropped; nobody answered it")
    if contact.wait_ms is not None:
        yield Note("wait-begins", "the contact waits for an answer from here")


def _answer_notes(before: _Before, contact: Contact, entry: Entry, book: RulesBook, kinds: set[int]) -> Iterator[Note]:
    yield Note("interaction", f"advisor {entry.advisor} reaches the contact on {entry.channel}")
    creation = contact.creation
    first_ms: int | None = None
    if facts.FIRST_RESPONSE in kinds:
        assert creation is not None
        assert before.first_from_ms is not None
        first_ms = max(before.first_from_ms, creation.at_ms)
        text = "first response, filed under the day of the creation"
        yield Note("first-response", text, _measure(first_ms, entry, entry.counted[1], book))
    elif not before.reached:
        text = "the contact waited for nobody" if creation is not None else "the contact's creation is not known"
        yield Note("no-first-response", f"no first response: {text}")
    if before.wait_ms is not None:
        yield Note("response", "the wait ends: a response", _measure(before.wait_ms, entry, entry.counted[0], book))
    elif first_ms is not None:
        text = "no wait stood: the first response is also the response"
        yield Note("response", text, _measure(first_ms, entry, entry.counted[0], book))
    else:
        yield Note("no-response", "nobody waits: an interaction, not a response")


def _measure(since_ms: int, entry: Entry, number: int, book: RulesBook) -> Measure:
    """The duration as it was counted; the spans are those of the rules at hand."""
    rules = book.version(entry.rules)
    clock = rules.clock_of(entry.advisor)
    until_ms = max(since_ms, entry.at_ms)
    business_ms, flags = unpacked(number)
    return Measure(
        since_ms=since_ms,
        until_ms=until_ms,
        elapsed_ms=until_ms - since_ms,
        business_ms=business_ms,
        schedule=None if flags & facts.WITHOUT_SCHEDULE else rules.schedule_of(entry.advisor),
        spans=() if clock is None else tuple(clock.spans(since_ms, until_ms)),
    )
