"""Maps Chatwoot's webhooks to events; a webhook that is sent again gives the same events.

| webhook | events |
|---|---|
| `contact_created` | `contact.created`, `by` import: who made it is not said, and nobody waits before a message |
| `conversation_created` | `contact.created` if the contact is new to the inbox, and `conversation.started` |
| `message_created` | `message.received`, `message.sent`, for a private one `note.added`, for a call with an outcome |
| | `call.logged`; none for an activity or a reaction |
| `message_updated` | `call.logged` when a call has its outcome; a message that failed is the system's; else none |
| `conversation_status_changed` | resolved: `conversation.closed`; snoozed: the same, with a reason that snoozes; |
| | no longer snoozed: `conversation.resumed`; pending to open: `conversation.handed_off`; else none |
| `conversation_updated` | another team: `contact.moved`; no bot assigned any more: `conversation.handed_off`; |
| | and what the status says, if that changed |
| `conversation_resolved`, `conversation_opened` | older names of `conversation_status_changed` |
| `automation_event.NAME` | those of NAME, as far as the body has what it takes |

Every other webhook gives none, and `why_nothing` says why. `docs/use/bring-your-own-data.md` has every field. Names
follow Chatwoot's: ids of contacts, conversations (the number shown in its page), users (advisors) and teams (groups)
are its numbers as text.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from schemas.errors import InvalidEvent
from schemas.events import (
    Author,
    CallLogged,
    ContactCreated,
    ContactMoved,
    ConversationClosed,
    ConversationHandedOff,
    ConversationResumed,
    ConversationStarted,
    Event,
    MessageReceived,
    MessageSent,
    NoteAdded,
    decode_event,
    encode_event,
)
from streams.ingest import chatwoot_calls as calls
from streams.ingest import chatwoot_payload as read

SNOOZE_REASON = "Esperando recordatorio"
"""The reason of a close that is a snooze; one of the defaults of an account's `snooze_reasons`."""

RESOLVED_REASON = "resolved"

AUTOMATION = "automation_event."
"""Before the name of a webhook that an automation rule sends."""

MEANINGLESS: Mapping[str, str] = {
    "contact_updated": "a contact's attributes are not in the report",
    "conversation_typing_on": "typing is no message",
    "conversation_typing_off": "typing is no message",
    "webwidget_triggered": "an opened web chat is no message",
    "inbox_created": "the report has channels, no inboxes",
    "inbox_updated": "the report has channels, no inboxes",
    "agent_added": "advisors are named in the account's settings",
    "macro.executed": "a macro's messages and changes come with webhooks of their own",
}
"""Webhooks that give no events, whatever they hold, and why."""

# A contact that came to an inbox longer ago than this is a returning one. Its creation is no news, and an event that
# far back would make a worker read the contact's whole history again.
_FIRST_VISIT = timedelta(days=1)

# A change without an instant of its own is known to come after the activity that the conversation shows, in seconds.
_AFTER_ACTIVITY = timedelta(seconds=1)

# Of two events of one id the earlier one in event order counts: what is known to have failed comes before what was
# thought to be sent.
_BEFORE_ALL = -1


class UnknownWebhook(InvalidEvent):
    """A webhook of a name that this version does not know."""


def map_webhook(account_id: str, payload: object, received_at: datetime) -> list[Event]:
    """The events of a webhook's body, for our account `account_id`; an empty list if it means nothing here.

    `received_at` (aware) dates what Chatwoot does not date. Raises `InvalidEvent` for a body that is not Chatwoot's.
    """
    name, payload = _named(payload)
    webhook = _Webhook(account_id, payload, received_at)
    match name:
        case "contact_created":
            events = webhook.contact_created()
        case "conversation_created":
            events = webhook.conversation_created()
        case "message_created":
            events = webhook.message_created()
        case "message_updated":
            events = webhook.message_updated()
        case "conversation_status_changed":
            events = webhook.status_changed()
        case "conversation_resolved":
            events = webhook.status_changed("resolved")
        case "conversation_opened":
            events = webhook.status_changed("open")
        case "conversation_updated":
            events = [*webhook.assignment_changed(), *webhook.status_changed_with_it()]
        case _ if name in MEANINGLESS:
            events = []
        case _:
            raise UnknownWebhook("malformed", f"{name[:80]!r} is no webhook that this version knows")
    # Ids and names are Chatwoot's: whether they keep our contract (lengths, channel names) is checked as for all.
    return [decode_event(encode_event(event)) for event in events]


def why_nothing(payload: object) -> str:
    """Why a webhook that `map_webhook` took gives no events, for whoever looks for them."""
    name, payload = _named(payload)
    if name in MEANINGLESS:
        return f"{name}: {MEANINGLESS[name]}"
    if name in ("message_created", "message_updated"):
        if read.message_type(payload.get("message_type")) == "activity":
            return "an activity is no message: it tells of changes that have webhooks of their own"
        if read.is_reaction(payload):
            return "a reaction is no message"
        if calls.is_call(payload):
            return "a call counts once its outcome is known: subscribe to message_updated"
        return "message_updated: the message counted when it was created"
    if name == "conversation_updated":
        return (
            "conversation_updated: of its changes only those of status, team and bot mean something, and "
            "changed_attributes names none of them"
        )
    if name == "conversation_created":
        return "conversation_created: it does not show who opened it; its first message starts it"
    return f"{name}: this change of status neither closes, snoozes, resumes nor hands off"


def _named(payload: object) -> tuple[str, read.Json]:
    """The name of a webhook and its body, that of an automation in the form that its name promises."""
    if not isinstance(payload, dict) or not isinstance(payload.get("event"), str):
        raise InvalidEvent("malformed", "not a webhook of Chatwoot: it has no `event`")
    name: str = payload["event"]
    if not name.startswith(AUTOMATION):
        return name, payload
    name = name.removeprefix(AUTOMATION)
    if name in ("message_created", "message_updated") and "message_type" not in payload:
        # An automation sends its conversation, which shows the newest message: the one it was about.
        shown = read.shown_message(payload)
        if shown is None:
            raise InvalidEvent("malformed", f"{AUTOMATION}{name} shows no message: subscribe to {name} instead")
        return name, {**shown, "conversation": payload, "event": name}
    return name, payload


class _Webhook:
    def __init__(self, account_id: str, payload: read.Json, received_at: datetime) -> None:
        self.account_id = account_id
        self.payload = payload
        self.received_at = received_at

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def contact_created(self) -> list[Event]:
        contact_id = read.id_text(self.payload.get("id"), "id")
        return [
            ContactCreated(
                id=f"chatwoot-contact-{contact_id}-created",
                account_id=self.account_id,
                contact_id=contact_id,
                occurred_at=read.instant(self.payload.get("created_at")) or self.received_at,
                origin=read.origin(self.payload),
                channel=read.UNKNOWN_CHANNEL,
                by="import",
            )
        ]

    def conversation_created(self) -> list[Event]:
        conversation = self.payload
        conversation_id, contact_id = read.conversation_id(conversation), read.contact_id(conversation)
        channel = read.channel(conversation)
        created_at = read.instant(conversation.get("created_at")) or read.instant(conversation.get("timestamp"))
        created_at = created_at or self.received_at
        events: list[Event] = []
        came_at = read.instant(read.nested(conversation, "contact_inbox").get("created_at"))
        if came_at is not None and created_at - came_at <= _FIRST_VISIT:
            # The webhook of the contact itself names neither channel nor time. Of several creations the earliest
            # counts, and of those stamped alike the one of the first conversation: its padded number sorts first.
            events.append(
                ContactCreated(
                    id=f"chatwoot-conversation-{conversation_id.zfill(12)}-contact",
                    account_id=self.account_id,
                    contact_id=contact_id,
                    occurred_at=came_at,
                    origin=read.origin(read.nested(read.nested(conversation, "meta"), "sender")),
                    channel=channel,
                    group_id=read.team(conversation),
                    by="import",
                )
            )
        opener = read.opener(conversation, created_at)
        if opener is not None:
            events.append(
                ConversationStarted(
                    id=f"chatwoot-conversation-{conversation_id}-started",
                    account_id=self.account_id,
                    contact_id=contact_id,
                    occurred_at=created_at,
                    conversation_id=conversation_id,
                    channel=channel,
                    by=opener,
                )
            )
        return events

    def message_created(self) -> list[Event]:
        message = self.payload
        kind = read.message_type(message.get("message_type"))
        if kind == "activity" or read.is_reaction(message):
            return []
        if calls.is_call(message):
            return self._call()
        base = self._message()
        conversation = read.nested(message, "conversation")
        author = read.author(message, kind)
        if message.get("private") is True:
            return [NoteAdded(**base, advisor_id=author.id if author.kind == "advisor" else None)]
        channel = read.channel(conversation)
        if kind == "incoming":
            if read.is_automatic_reply(message):
                return [MessageSent(**base, channel=channel, author=Author(kind="system"))]
            return [MessageReceived(**base, channel=channel)]
        if message.get("status") == "failed":
            # Nobody read it: no effective contact. Should it have counted already, this one comes before it.
            return [MessageSent(**{**base, "sequence": _BEFORE_ALL}, channel=channel, author=Author(kind="system"))]
        return [MessageSent(**base, channel=channel, author=author)]

    def message_updated(self) -> list[Event]:
        message = self.payload
        kind = read.message_type(message.get("message_type"))
        failed = kind == "outgoing" and message.get("status") == "failed"
        # All else was told when the message was created. Once more, weeks later, for a read receipt, it would only
        # be too late.
        return self.message_created() if calls.is_call(message) or failed else []

    def status_changed(self, status: object = None) -> list[Event]:
        conversation = self.payload
        if status is None:
            status = conversation.get("status")
        previous, known = read.changed(conversation, "status")
        base = self._moment(str(status))
        match status:
            case "resolved" | "snoozed":
                reason = RESOLVED_REASON if status == "resolved" else SNOOZE_REASON
                return [ConversationClosed(**base, reason=reason, advisor_id=read.assignee(conversation))]
            case "open" | "pending" if previous == "snoozed":
                return [ConversationResumed(**base)]
            # Older versions of Chatwoot do not tell the status before. A hand-off where no bot is ends a snooze and
            # does nothing else.
            case "open" if previous == "pending" or not known:
                return [ConversationHandedOff(**base, to_advisor_id=read.assignee(conversation))]
        return []

    def status_changed_with_it(self) -> list[Event]:
        """The status of an update: some changes of it come with no webhook of their own."""
        return self.status_changed() if read.changed(self.payload, "status")[1] else []

    def assignment_changed(self) -> list[Event]:
        events: list[Event] = []
        if read.changed(self.payload, "team_id")[1]:
            base = self._moment("team")
            del base["conversation_id"]
            events.append(ContactMoved(**base, group_id=read.team(self.payload)))
        bot, changed = read.changed(self.payload, "assignee_agent_bot_id")
        if changed and bot is not None and read.current(self.payload, "assignee_agent_bot_id") is None:
            events.append(ConversationHandedOff(**self._moment("unbot"), to_advisor_id=read.assignee(self.payload)))
        return events

    # --- what they share ----------------------------------------------------------------------------------------------

    def _message(self) -> dict[str, Any]:
        """The fields of an event about a message."""
        message = self.payload
        conversation = read.nested(message, "conversation")
        return {
            "id": f"chatwoot-message-{read.id_text(message.get('id'), 'id')}",
            "account_id": self.account_id,
            "contact_id": read.contact_id(conversation, message),
            "occurred_at": read.written_at(message, self.received_at) or self.received_at,
            "conversation_id": read.conversation_id(conversation),
            # Chatwoot's instants are whole seconds; its numbers rise.
            "sequence": read.sequence(message.get("id")),
        }

    def _call(self) -> list[Event]:
        call = calls.call_of(self.payload)
        if call.outcome is None:
            return []
        base = self._message()
        base["id"] = f"chatwoot-call-{call.id}"
        base["occurred_at"] = call.began_at or base["occurred_at"]
        advisor_id = call.advisor_id
        if call.outcome != "missed":
            advisor_id = advisor_id or read.assignee(read.nested(self.payload, "conversation")) or read.UNKNOWN_ADVISOR
        if call.is_under_way:
            # It is told again when it is over, and that counts, as it comes before: then it may be known who took it.
            base["sequence"] = (base["sequence"] or 0) + 1
        return [CallLogged(**base, direction=call.direction, outcome=call.outcome, advisor_id=advisor_id)]

    def _moment(self, what: str) -> dict[str, Any]:
        """The fields of an event about a change of a conversation, named by what changed and when."""
        conversation = self.payload
        conversation_id = read.conversation_id(conversation)
        occurred_at = read.instant(conversation.get("updated_at"))
        if occurred_at is None and (active_at := read.instant(conversation.get("timestamp"))) is not None:
            occurred_at = active_at + _AFTER_ACTIVITY
        if occurred_at is None:  # told apart by content: what is sent again is equal, byte for byte
            mark = hashlib.sha256(msgspec.json.encode(conversation, order="deterministic")).hexdigest()[:16]
        else:
            mark = str(round(occurred_at.timestamp() * 1000))
        return {
            "id": f"chatwoot-conversation-{conversation_id}-{what}-{mark}",
            "account_id": self.account_id,
            "contact_id": read.contact_id(conversation),
            "occurred_at": occurred_at or self.received_at,
            "conversation_id": conversation_id,
        }
