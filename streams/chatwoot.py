"""Chatwoot's webhooks as events: a pure mapping, without memory, so that a webhook sent again gives the same events.

| webhook | events |
|---|---|
| `contact_created` | `contact.created`, `by` import: who made it is not said, and nobody waits before a message |
| `conversation_created` | `contact.created` if the contact is new to the inbox, and `conversation.started` |
| `message_created` | `message.received`, `message.sent`, for a private one `note.added`; none for an activity |
| `conversation_status_changed` | resolved: `conversation.closed`; snoozed: the same, with a reason that snoozes; |
| | pending to open: `conversation.handed_off`; else none |
| `conversation_updated` | another team: `contact.moved`; no bot assigned any more: `conversation.handed_off` |

Every other webhook gives none. `docs/bring-your-own-data.md` gives the reasons. Names follow Chatwoot's: ids of
contacts, conversations (the number shown in its page), users (advisors) and teams (groups) are its numbers as text.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from schemas.errors import InvalidEvent
from schemas.events import (
    Author,
    ContactCreated,
    ContactMoved,
    ConversationClosed,
    ConversationHandedOff,
    ConversationStarted,
    Event,
    MessageReceived,
    MessageSent,
    NoteAdded,
    decode_event,
    encode_event,
)

SNOOZE_REASON = "Esperando recordatorio"
"""The reason of a close that is a snooze; one of the defaults of an account's `snooze_reasons`."""

RESOLVED_REASON = "resolved"
UNKNOWN_CHANNEL = "unknown"

CHANNELS: Mapping[str, str] = {
    "Channel::Whatsapp": "whatsapp",
    "Channel::FacebookPage": "messenger",
    "Channel::Instagram": "instagram",
    "Channel::Email": "email",
    "Channel::TwilioSms": "sms",
    "Channel::Sms": "sms",
    "Channel::WebWidget": "webchat",
    "Channel::Api": "api",
    "Channel::Telegram": "telegram",
    "Channel::Line": "line",
    "Channel::TwitterProfile": "twitter",
    "Channel::Tiktok": "tiktok",
    "Channel::Voice": "voice",
}
"""Our names for the kinds of inbox; one that is not here is its own name in lower case."""

HANDLED = (
    "contact_created",
    "conversation_created",
    "message_created",
    "conversation_status_changed",
    "conversation_updated",
)

_MESSAGE_TYPES = ("incoming", "outgoing", "activity", "template")
_BOTS = frozenset({"agent_bot", "agentbot", "captain_assistant", "captain::assistant", "bot"})

# The message that a conversation carries is its last one. Past this it may not be the one that opened it.
_OPENING = timedelta(seconds=60)

# A contact that came to an inbox longer ago than this is a returning one. Its creation is no news, and an event that
# far back would make a worker read the contact's whole history again.
_FIRST_VISIT = timedelta(days=1)

Json = Mapping[str, Any]


def map_webhook(account_id: str, payload: object, received_at: datetime) -> list[Event]:
    """The events of a webhook's body, for our account `account_id`; an empty list if it means nothing here.

    `received_at` (aware) dates what Chatwoot does not date. Raises `InvalidEvent` for a body that is not Chatwoot's.
    """
    if not isinstance(payload, dict) or not isinstance(payload.get("event"), str):
        raise InvalidEvent("malformed", "not a webhook of Chatwoot: it has no `event`")
    webhook = _Webhook(account_id, payload, received_at)
    match payload["event"]:
        case "contact_created":
            events = webhook.contact_created()
        case "conversation_created":
            events = webhook.conversation_created()
        case "message_created":
            events = webhook.message_created()
        case "conversation_status_changed":
            events = webhook.status_changed()
        case "conversation_updated":
            events = [*webhook.assignment_changed(), *webhook.status_changed_with_it()]
        case _:
            events = []
    # Ids and names are Chatwoot's: whether they keep our contract (lengths, channel names) is checked as for all.
    return [decode_event(encode_event(event)) for event in events]


class _Webhook:
    def __init__(self, account_id: str, payload: Json, received_at: datetime) -> None:
        self.account_id = account_id
        self.payload = payload
        self.received_at = received_at

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def contact_created(self) -> list[Event]:
        contact_id = _number(self.payload.get("id"), "id")
        return [
            ContactCreated(
                id=f"chatwoot-contact-{contact_id}-created",
                account_id=self.account_id,
                contact_id=contact_id,
                occurred_at=_instant(self.payload.get("created_at")) or self.received_at,
                origin=_origin(self.payload),
                channel=UNKNOWN_CHANNEL,
                by="import",
            )
        ]

    def conversation_created(self) -> list[Event]:
        conversation = self.payload
        conversation_id, contact_id = _conversation_id(conversation), _contact_id(conversation)
        channel = _channel(conversation)
        created_at = _instant(conversation.get("created_at")) or _instant(conversation.get("timestamp"))
        created_at = created_at or self.received_at
        events: list[Event] = []
        came_at = _instant(_object(conversation, "contact_inbox").get("created_at"))
        if came_at is not None and created_at - came_at <= _FIRST_VISIT:
            # The webhook of the contact itself names neither channel nor time. Of several creations the earliest
            # counts, and of those stamped alike the one of the first conversation: its padded number sorts first.
            events.append(
                ContactCreated(
                    id=f"chatwoot-conversation-{conversation_id.zfill(12)}-contact",
                    account_id=self.account_id,
                    contact_id=contact_id,
                    occurred_at=came_at,
                    origin=_origin(_object(_object(conversation, "meta"), "sender")),
                    channel=channel,
                    group_id=_team(conversation),
                    by="import",
                )
            )
        opener = _opener(conversation, created_at)
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
        kind = _message_type(message.get("message_type"))
        if kind == "activity":
            return []
        conversation = _object(message, "conversation")
        base: dict[str, Any] = {
            "id": f"chatwoot-message-{_number(message.get('id'), 'id')}",
            "account_id": self.account_id,
            "contact_id": _contact_id(conversation, message),
            "occurred_at": _instant(message.get("created_at")) or self.received_at,
            "conversation_id": _conversation_id(conversation),
        }
        author = _author(message, kind)
        if message.get("private") is True:
            return [NoteAdded(**base, advisor_id=author.id if author.kind == "advisor" else None)]
        if kind == "incoming":
            return [MessageReceived(**base, channel=_channel(conversation))]
        return [MessageSent(**base, channel=_channel(conversation), author=author)]

    def status_changed(self) -> list[Event]:
        conversation = self.payload
        base, status = self._moment(str(conversation.get("status"))), conversation.get("status")
        previous, known = _changed(conversation, "status")
        match status:
            case "resolved" | "snoozed":
                reason = RESOLVED_REASON if status == "resolved" else SNOOZE_REASON
                return [ConversationClosed(**base, reason=reason, advisor_id=_assignee(conversation))]
            # Older versions of Chatwoot do not tell the status before. A hand-off where no bot is does nothing.
            case "open" if previous == "pending" or not known:
                return [ConversationHandedOff(**base, to_advisor_id=_assignee(conversation))]
        return []

    def status_changed_with_it(self) -> list[Event]:
        """The status of an update: some changes of it come with no webhook of their own."""
        return self.status_changed() if _changed(self.payload, "status")[1] else []

    def assignment_changed(self) -> list[Event]:
        events: list[Event] = []
        if _changed(self.payload, "team_id")[1]:
            base = self._moment("team")
            del base["conversation_id"]
            events.append(ContactMoved(**base, group_id=_team(self.payload)))
        bot, changed = _changed(self.payload, "assignee_agent_bot_id")
        if changed and bot is not None and _current(self.payload, "assignee_agent_bot_id") is None:
            events.append(ConversationHandedOff(**self._moment("unbot"), to_advisor_id=_assignee(self.payload)))
        return events

    # --- what they share ----------------------------------------------------------------------------------------------

    def _moment(self, what: str) -> dict[str, Any]:
        """The fields of an event about a change of a conversation, named by what changed and when."""
        conversation = self.payload
        conversation_id = _conversation_id(conversation)
        occurred_at = _instant(conversation.get("updated_at")) or _instant(conversation.get("timestamp"))
        if occurred_at is None:  # told apart by content: what is sent again is equal, byte for byte
            mark = hashlib.sha256(msgspec.json.encode(conversation, order="deterministic")).hexdigest()[:16]
        else:
            mark = str(round(occurred_at.timestamp() * 1000))
        return {
            "id": f"chatwoot-conversation-{conversation_id}-{what}-{mark}",
            "account_id": self.account_id,
            "contact_id": _contact_id(conversation),
            "occurred_at": occurred_at or self.received_at,
            "conversation_id": conversation_id,
        }


# --- reading Chatwoot's objects ---------------------------------------------------------------------------------------


def _object(parent: Json, name: str) -> Json:
    """A nested object; an empty one where there is none."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _number(value: object, where: str) -> str:
    """An id as text. Chatwoot's are whole numbers, in old examples quoted."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise InvalidEvent("malformed", f"the webhook has no `{where}`")


def _conversation_id(conversation: Json) -> str:
    return _number(conversation.get("id", conversation.get("display_id")), "conversation.id")


def _contact_id(conversation: Json, message: Json | None = None) -> str:
    """Whose conversation it is; of an old message, which says it elsewhere, its contact."""
    link = _object(conversation, "contact_inbox").get("contact_id")
    sender = _object(_object(conversation, "meta"), "sender").get("id")
    own = None
    if message is not None:
        own = _object(message, "contact").get("id")
        if own is None and _message_type(message.get("message_type")) == "incoming":
            own = _object(message, "sender").get("id")
    found = next((value for value in (link, sender, own) if value is not None), None)
    return _number(found, "contact_inbox.contact_id")


def _channel(conversation: Json) -> str:
    kind = conversation.get("channel")
    if not isinstance(kind, str) or not kind:
        return UNKNOWN_CHANNEL
    if kind == "Channel::TwilioSms":
        source = _object(conversation, "contact_inbox").get("source_id")
        return "whatsapp" if isinstance(source, str) and source.startswith("whatsapp:") else "sms"
    if kind == "Channel::FacebookPage":
        asked = _object(conversation, "additional_attributes").get("type")
        return "instagram" if asked == "instagram_direct_message" else "messenger"
    if kind in CHANNELS:
        return CHANNELS[kind]
    word = re.sub(r"[^a-z0-9_.-]", "-", kind.rpartition("::")[2].lower())
    return word if word[:1].isalpha() else UNKNOWN_CHANNEL


def _message_type(value: object) -> str:
    if isinstance(value, int) and 0 <= value < len(_MESSAGE_TYPES):
        return _MESSAGE_TYPES[value]
    if value in _MESSAGE_TYPES:
        return str(value)
    raise InvalidEvent("malformed", f"{value!r} is no `message_type` of Chatwoot"[:200])


def _author(message: Json, kind: str) -> Author:
    """Who wrote a message that is not the contact's."""
    sender = _object(message, "sender")
    if (
        kind == "template"
        or _object(message, "additional_attributes").get("campaign_id") is not None
        or _object(message, "content_attributes").get("automation_rule_id") is not None
    ):
        return Author(kind="system")
    return _author_of(sender.get("type", message.get("sender_type")), sender.get("id", message.get("sender_id")))


def _author_of(sender_type: object, sender_id: object) -> Author:
    if sender_id is None:
        return Author(kind="system")  # the API, an integration, or the phone itself: no advisor is known
    word = str(sender_type).lower()
    if word in _BOTS:
        return Author(kind="bot", id=_number(sender_id, "sender.id"))
    if word == "user" or sender_type is None:
        return Author(kind="advisor", id=_number(sender_id, "sender.id"))
    return Author(kind="system")


def _opener(conversation: Json, created_at: datetime) -> Literal["contact", "advisor", "bot", "system"] | None:
    """Who opened a conversation, by the message it shows; `None` where that cannot be told: then its first message
    starts it, and says by whom."""
    unread = conversation.get("unread_count")
    if isinstance(unread, int) and unread > 0:
        return "contact"
    messages = conversation.get("messages")
    message = messages[-1] if isinstance(messages, list) and messages and isinstance(messages[-1], dict) else None
    if message is None:
        return None
    written_at = _instant(message.get("created_at"))
    if written_at is None or written_at - created_at > _OPENING:
        return None
    kind = _message_type(message.get("message_type"))
    return "contact" if kind == "incoming" else _author(message, kind).kind


def _assignee(conversation: Json) -> str | None:
    """The advisor a conversation is assigned to, for want of who did something with it: Chatwoot does not say."""
    meta = _object(conversation, "meta")
    assignee = _object(meta, "assignee")
    if assignee.get("id") is None or str(meta.get("assignee_type", "User")) not in ("User", "None"):
        return None
    if str(assignee.get("type", "user")).lower() != "user":
        return None
    return _number(assignee["id"], "meta.assignee.id")


def _team(conversation: Json) -> str | None:
    team = _object(_object(conversation, "meta"), "team").get("id")
    if team is None:
        team = _current(conversation, "team_id")
    return None if team is None else _number(team, "meta.team.id")


def _origin(contact: Json) -> str | None:
    """Where a contact came from: Chatwoot has no such field; an account may keep a custom attribute of this name."""
    origin = _object(contact, "custom_attributes").get("origin")
    return origin.strip()[:1024] or None if isinstance(origin, str) else None


def _changes(conversation: Json, name: str) -> Json | None:
    changed = conversation.get("changed_attributes")
    for change in changed if isinstance(changed, list) else ():
        if isinstance(change, dict) and isinstance(change.get(name), dict):
            found: Json = change[name]
            return found
    return None


def _changed(conversation: Json, name: str) -> tuple[object, bool]:
    """What an attribute was before, and whether the webhook says that it changed."""
    change = _changes(conversation, name)
    return (None, False) if change is None else (change.get("previous_value"), True)


def _current(conversation: Json, name: str) -> object:
    change = _changes(conversation, name)
    return None if change is None else change.get("current_value")


def _instant(value: object) -> datetime | None:
    """An instant as Chatwoot writes it: seconds since 1970, RFC 3339, or `2020-03-03 13:05:57 UTC`; 0 is none."""
    try:
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int | float):
            return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=round(value * 1000)) if value > 0 else None
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.replace(" UTC", "+00:00"))
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except (ValueError, OverflowError):
        return None
    return None
