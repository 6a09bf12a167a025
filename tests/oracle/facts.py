"""What happened to a contact: its events put in order and told once, as plain facts to be filtered and counted.

`tell` is section 1 of the design read from top to bottom: the events of one contact are sorted, repeated ids dropped,
the creation looked up ahead (its group and origin hold from the first event on), and then each event is stepped through
with the little that has to be remembered: the wait, the bot's charge, the start of the first response, the
conversations.
"""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from schemas import zones
from tests.oracle.business import Clock
from tests.oracle.instants import instant_us, local

Event = Mapping[str, Any]

TYPES = (
    "contact.created",
    "contact.deleted",
    "contact.restored",
    "contact.moved",
    "contact.merged",
    "contact.absorbed",
    "conversation.started",
    "message.received",
    "message.sent",
    "call.logged",
    "note.added",
    "conversation.handed_off",
    "conversation.transferred",
    "conversation.closed",
    "conversation.resumed",
)
EFFECTIVE_CHANNELS = ("whatsapp", "messenger", "email", "sms", "call")
SNOOZE_REASONS = ("Esperando visita", "Esperando recordatorio")
UNKNOWN = "unknown"
REASON_LENGTH = 200  # of a closing reason, characters that are kept


# --- the facts ------------------------------------------------------------------------------------------------------


# Of every fact `place` is the event's place among its contact's events: facts of one instant stand in that order.


@dataclass(frozen=True)
class Answer:
    """A response or a first response: who answered, where, and how long it took on both clocks."""

    day: date  # the day it is filed under
    at_us: int
    place: int
    from_us: int
    advisor: str | None
    channel: str
    group: str | None
    conversation: str
    elapsed_us: int
    business_us: int
    without_schedule: bool
    target_seconds: float | None


@dataclass(frozen=True)
class Interaction:
    """One effective contact."""

    day: date
    at_us: int
    place: int
    advisor: str | None
    channel: str
    group: str | None


@dataclass(frozen=True)
class Action:
    """Something that makes the contact active that day."""

    day: date
    at_us: int
    place: int
    channel: str
    group: str | None


@dataclass(frozen=True)
class Start:
    """A conversation started."""

    moment: datetime  # on the account's wall clock
    at_us: int
    place: int
    conversation: str
    channel: str
    group: str | None
    opener: str


@dataclass(frozen=True)
class Closure:
    """A conversation closed, or transferred."""

    day: date
    at_us: int
    place: int
    conversation: str
    channel: str
    group: str | None
    advisor: str | None
    transferred: bool
    reason: str | None


@dataclass(frozen=True)
class Creation:
    """A contact created: the row it has among new contacts and origins."""

    day: date
    at_us: int
    place: int
    channel: str
    entry_group: str | None
    by: str


@dataclass(frozen=True)
class Waiting:
    """A contact nobody has answered yet, as its history ends."""

    account: str
    contact: str
    since_us: int
    origin: str | None
    group: str | None  # the one it is in now
    channel: str  # of the event that began the wait
    snoozed: bool


@dataclass
class ContactFacts:
    """All facts of one contact."""

    account: str
    contact: str
    origin: str | None = None
    creation: Creation | None = None
    group: str | None = None  # the one it is in now
    deleted: bool = False
    merged: bool = False
    first_response: Answer | None = None
    responses: list[Answer] = field(default_factory=list)
    interactions: list[Interaction] = field(default_factory=list)
    unlisted_messages: list[Interaction] = field(default_factory=list)  # an advisor's, on no effective channel
    actions: list[Action] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    closures: list[Closure] = field(default_factory=list)
    has_open_conversation: bool = False  # as its history ends
    waiting: Waiting | None = None


# --- settings and order ---------------------------------------------------------------------------------------------


class Account:
    """What the facts need of an account's settings; without settings: UTC, no schedule, the default lists."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.id: str = settings["account_id"]
        self.zone = zones.zone(settings.get("timezone") or "UTC")
        self.clock = Clock(settings)
        channels = settings.get("effective_channels")
        self.effective_channels = frozenset(EFFECTIVE_CHANNELS if channels is None else channels)
        reasons = settings.get("snooze_reasons")
        targets: Mapping[str, Any] = settings.get("targets") or {}
        self.first_response_target: float | None = targets.get("first_response_seconds")
        self.response_target: float | None = targets.get("response_seconds")
        self.snooze_reasons = frozenset(plain(text) for text in (SNOOZE_REASONS if reasons is None else reasons))


def plain(reason: str) -> str:
    """A reason as it is compared: without case, accents or surplus spaces."""
    letters = (letter for letter in unicodedata.normalize("NFKD", reason) if not unicodedata.combining(letter))
    return " ".join("".join(letters).casefold().split())


def event_order(event: Event) -> tuple[int, int, int, str, str]:
    """The order of one contact's events; the last part only makes it total, the design leaves such ties open."""
    return (
        instant_us(event["occurred_at"]),
        event.get("sequence") or 0,
        TYPES.index(event["type"]),
        event["id"],
        json.dumps(event, sort_keys=True),
    )


def in_event_order(events: Iterable[Event]) -> list[Event]:
    """The events sorted, of each id the earliest only, those of no known type left out."""
    known = [event for event in events if event["type"] in TYPES]
    earliest: dict[str, Event] = {}
    for event in sorted(known, key=event_order):
        earliest.setdefault(event["id"], event)
    return list(earliest.values())


def tell_all(events: Iterable[Event], accounts: Iterable[Mapping[str, Any]]) -> dict[str, list[ContactFacts]]:
    """The facts of every contact, by account. Of an account's settings the last in the list hold, for all events."""
    settings = {account["account_id"]: Account(account) for account in accounts}
    histories: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        histories[event["account_id"], event["contact_id"]].append(event)
    told: dict[str, list[ContactFacts]] = {account: [] for account in settings}
    for (account, contact), history in sorted(histories.items()):
        known = settings.get(account) or Account({"account_id": account})
        told.setdefault(account, []).append(tell(known, contact, history))
    return told


def tell(account: Account, contact: str, events: Iterable[Event]) -> ContactFacts:
    """The facts of one contact, from its events in any order."""
    history = in_event_order(events)
    story = _Story(account, contact, history)
    for event in history:
        story.step(event)
    return story.end()


# --- the story of one contact ---------------------------------------------------------------------------------------


@dataclass
class _Wait:
    since_us: int
    channel: str


class _Story:
    """One pass over a contact's events, in event order."""

    def __init__(self, account: Account, contact: str, history: Sequence[Event]) -> None:
        self.account = account
        self.facts = ContactFacts(account.id, contact)
        created = next((event for event in history if event["type"] == "contact.created"), None)
        self.created = created
        self.created_us = instant_us(created["occurred_at"]) if created else 0
        self.group: str | None = created.get("group_id") if created else None  # holds from the first event on
        self.facts.origin = created.get("origin") if created else None

        self.place = -1
        self.wait: _Wait | None = None
        self.bot_in_charge = False
        self.reached_us = -1  # the latest effective contact
        self.reached = False  # by an advisor, at any time before
        self.snoozed = False
        # The first response starts at the creation by the contact itself; otherwise with the first wait.
        self.by_itself = created is not None and (created.get("by") or "contact") == "contact"
        self.first_start_us: int | None = self.created_us if self.by_itself else None
        self.next_wait_moves_first_start = False

        self.opened_on: dict[str, str] = {}  # conversation -> channel it was opened on
        self.spent: set[str] = set()  # conversations closed, known or not

    def step(self, event: Event) -> None:
        """Apply the next event."""
        self.place += 1
        now_us = instant_us(event["occurred_at"])
        kind: str = event["type"]
        if kind.startswith("contact."):
            self._contact_event(event, kind, now_us)
        else:
            self._conversation_event(event, kind, now_us)

    def end(self) -> ContactFacts:
        """The facts, once the last event has been stepped through."""
        self.facts.group = self.group
        self.facts.has_open_conversation = bool(self.opened_on.keys() - self.spent)
        if self.wait and not self.facts.deleted and not self.facts.merged:
            self.facts.waiting = Waiting(
                self.account.id,
                self.facts.contact,
                self.wait.since_us,
                self.facts.origin,
                self.group,
                self.wait.channel,
                self.snoozed,
            )
        return self.facts

    def _day(self, at_us: int) -> date:
        return local(at_us, self.account.zone).date()

    # --- events of the contact ---

    def _contact_event(self, event: Event, kind: str, now_us: int) -> None:
        if kind == "contact.created" and event is self.created:  # a second creation changes nothing, is no action
            channel: str = event["channel"]
            by = event.get("by") or "contact"
            self.facts.creation = Creation(self._day(now_us), now_us, self.place, channel, event.get("group_id"), by)
            self._act(now_us, channel)
            if self.by_itself and not self.reached:
                self._begin_wait(now_us, channel)
        elif kind == "contact.deleted":
            self.facts.deleted = True
        elif kind == "contact.restored":
            self.facts.deleted = False
        elif kind == "contact.moved":
            self.group = event.get("group_id")
        elif kind == "contact.merged":
            self.facts.merged = True
        elif kind == "contact.absorbed":
            self._absorb(event, now_us)

    def _absorb(self, event: Event, now_us: int) -> None:
        """Take over the open conversations and the wait of a contact that was merged into this one."""
        for conversation in event.get("open_conversations") or ():
            if conversation["id"] not in self.opened_on and conversation["id"] not in self.spent:
                self.opened_on[conversation["id"]] = conversation["channel"]
        if event.get("waiting_since") is None:
            return
        # Nobody has waited since a time to come, nor since before somebody answered.
        since_us = max(min(instant_us(event["waiting_since"]), now_us), self.reached_us)
        if self.wait is None or self.wait.since_us // 1_000 > since_us // 1_000:  # what is shown is milliseconds
            self.wait = _Wait(since_us, event["channel"])

    # --- events of its conversations ---

    def _conversation_event(self, event: Event, kind: str, now_us: int) -> None:
        conversation: str = event["conversation_id"]
        if kind == "conversation.started":
            self._start(conversation, now_us, event["channel"], event["by"])
            self._act(now_us, event["channel"])
            if event["by"] == "bot":
                self.bot_in_charge = True
        elif kind == "message.received":
            self._start(conversation, now_us, event["channel"], "contact")
            self._act(now_us, event["channel"])
            self.snoozed = False
            self._begin_wait(now_us, event["channel"])
        elif kind == "message.sent":
            self._sent(event, conversation, now_us)
        elif kind == "call.logged":
            self._called(event, conversation, now_us)
        elif kind == "conversation.resumed":
            self.snoozed = False
        else:
            self._act(now_us, self.opened_on.get(conversation, UNKNOWN))
            if kind == "conversation.handed_off":
                self._handed_off(conversation, now_us)
            elif kind == "conversation.transferred":
                self._transferred(event, conversation, now_us)
            elif kind == "conversation.closed":
                self._closed(event, conversation, now_us)

    def _sent(self, event: Event, conversation: str, now_us: int) -> None:
        channel: str = event["channel"]
        author = event["author"]
        self._start(conversation, now_us, channel, author["kind"])
        self._act(now_us, channel)
        if author["kind"] == "system":
            return  # neither answers nor clears, and ends no snooze
        self.snoozed = False
        if author["kind"] == "bot":
            self._bot_wrote(now_us)
        elif channel in self.account.effective_channels:
            self._reach(now_us, author["id"], channel, conversation)
        else:
            self.facts.unlisted_messages.append(self._interaction(now_us, author["id"], channel))

    def _called(self, event: Event, conversation: str, now_us: int) -> None:
        inbound = event["direction"] == "inbound"
        outcome: str = event["outcome"]
        self._start(conversation, now_us, "call", "contact" if inbound else "advisor")
        self._act(now_us, "call")
        self.snoozed = False
        if inbound and outcome != "accepted":
            self._begin_wait(now_us, "call")
        elif outcome != "missed" and "call" in self.account.effective_channels:
            self._reach(now_us, event.get("advisor_id"), "call", conversation)

    def _handed_off(self, conversation: str, now_us: int) -> None:
        self.snoozed = False
        if not self.bot_in_charge:
            return
        self.bot_in_charge = False
        self.wait = None  # in place of any that stood
        self._move_first_start(now_us)
        self._begin_wait(now_us, self.opened_on.get(conversation, UNKNOWN))

    def _transferred(self, event: Event, conversation: str, now_us: int) -> None:
        channel = self.opened_on.get(conversation, UNKNOWN)
        self.snoozed = False
        self._close(conversation, now_us, event.get("advisor_id"), None)
        if event.get("to_group_id") is not None:
            self.group = event["to_group_id"]
        if event.get("to_conversation_id") is not None:
            self._start(event["to_conversation_id"], now_us, channel, "transfer")

    def _closed(self, event: Event, conversation: str, now_us: int) -> None:
        if plain(event.get("reason") or "") in self.account.snooze_reasons:
            self.snoozed = True  # the conversation stays open, the clocks run
            return
        self.snoozed = False
        self.wait = None
        self.bot_in_charge = False
        self._close(conversation, now_us, event.get("advisor_id"), event["reason"])

    # --- conversations and actions ---

    def _start(self, conversation: str, now_us: int, channel: str, opener: str) -> None:
        """The conversation starts here, unless it has before or its id is spent."""
        if conversation not in self.opened_on and conversation not in self.spent:
            self.opened_on[conversation] = channel
            moment = local(now_us, self.account.zone)
            self.facts.starts.append(Start(moment, now_us, self.place, conversation, channel, self.group, opener))

    def _close(self, conversation: str, now_us: int, advisor: str | None, reason: str | None) -> None:
        """The conversation closes here, unless it has before; without a reason it was transferred."""
        if conversation not in self.spent:
            self.spent.add(conversation)
            channel = self.opened_on.get(conversation, UNKNOWN)
            kept = None if reason is None else reason[:REASON_LENGTH]
            self.facts.closures.append(
                Closure(
                    self._day(now_us), now_us, self.place, conversation, channel, self.group, advisor,
                    transferred=reason is None, reason=kept,
                )
            )  # fmt: skip

    def _act(self, now_us: int, channel: str) -> None:
        self.facts.actions.append(Action(self._day(now_us), now_us, self.place, channel, self.group))

    def _interaction(self, now_us: int, advisor: str | None, channel: str) -> Interaction:
        return Interaction(self._day(now_us), now_us, self.place, advisor, channel, self.group)

    # --- waits and answers ---

    def _begin_wait(self, now_us: int, channel: str) -> None:
        if self.wait is not None:
            return
        self.wait = _Wait(now_us, channel)
        if self.first_start_us is None or self.next_wait_moves_first_start:
            self.first_start_us = self._not_before_creation(now_us)
        self.next_wait_moves_first_start = False

    def _bot_wrote(self, now_us: int) -> None:
        self.bot_in_charge = True
        self.wait = None
        self._move_first_start(now_us)
        self.next_wait_moves_first_start = True

    def _move_first_start(self, now_us: int) -> None:
        if self.first_start_us is not None:  # a contact made by others waits for nobody yet
            self.first_start_us = self._not_before_creation(now_us)

    def _not_before_creation(self, now_us: int) -> int:
        return max(now_us, self.created_us)

    def _reach(self, now_us: int, advisor: str | None, channel: str, conversation: str) -> None:
        """An effective contact: an interaction, and what it answers."""
        self.facts.interactions.append(self._interaction(now_us, advisor, channel))
        answered_from_us = self.wait.since_us if self.wait else None

        def answer(filed_us: int, start_us: int, target: float | None) -> Answer:
            clock = self.account.clock
            return Answer(
                self._day(filed_us), now_us, self.place, start_us, advisor, channel, self.group, conversation,
                elapsed_us=now_us - start_us, business_us=clock.worked_us(advisor, start_us, now_us),
                without_schedule=clock.schedule_of(advisor) is None, target_seconds=target,
            )  # fmt: skip

        if not self.reached and self.created and self.first_start_us is not None:
            # An effective contact stamped before the creation is a first response of no time.
            first_from_us = min(self.first_start_us, now_us)
            self.facts.first_response = answer(self.created_us, first_from_us, self.account.first_response_target)
            if answered_from_us is None:
                answered_from_us = first_from_us
        if answered_from_us is not None:
            self.facts.responses.append(answer(now_us, answered_from_us, self.account.response_target))
        self.reached = True
        self.reached_us = now_us
        self.wait = None
        self.bot_in_charge = False
