"""Reading the objects in Chatwoot's webhooks: whose, where, who, when; old and new forms of them alike."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from schemas.errors import InvalidEvent
from schemas.events import Author

Json: TypeAlias = Mapping[str, Any]

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

_MESSAGE_TYPES = ("incoming", "outgoing", "activity", "template")
_BOTS = frozenset({"agent_bot", "agentbot", "captain_assistant", "captain::assistant", "bot"})

# The message that a conversation carries is its last one. Past this it may not be the one that opened it.
_OPENING = timedelta(seconds=60)


def nested(parent: Json, name: str) -> Json:
    """A nested object; an empty one where there is none."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def id_text(value: object, where: str) -> str:
    """An id as text. Chatwoot's are whole numbers, in old examples quoted."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise InvalidEvent("malformed", f"the webhook has no `{where}`")


def conversation_id(conversation: Json) -> str:
    """The number of a conversation that people see; old messages name it `display_id`."""
    return id_text(conversation.get("id", conversation.get("display_id")), "conversation.id")


def contact_id(conversation: Json, message: Json | None = None) -> str:
    """Whose conversation it is; of an old message, which says it elsewhere, its contact."""
    link = nested(conversation, "contact_inbox").get("contact_id")
    sender = nested(nested(conversation, "meta"), "sender").get("id")
    own = None
    if message is not None:
        own = nested(message, "contact").get("id")
        if own is None and message_type(message.get("message_type")) == "incoming":
            own = nested(message, "sender").get("id")
    found = next((value for value in (link, sender, own) if value is not None), None)
    return id_text(found, "contact_inbox.contact_id")


def channel(conversation: Json) -> str:
    """The channel that a conversation's kind of inbox is."""
    kind = conversation.get("channel")
    if not isinstance(kind, str) or not kind:
        return UNKNOWN_CHANNEL
    if kind == "Channel::TwilioSms":
        source = nested(conversation, "contact_inbox").get("source_id")
        return "whatsapp" if isinstance(source, str) and source.startswith("whatsapp:") else "sms"
    if kind == "Channel::FacebookPage":
        asked = nested(conversation, "additional_attributes").get("type")
        return "instagram" if asked == "instagram_direct_message" else "messenger"
    if kind in CHANNELS:
        return CHANNELS[kind]
    word = re.sub(r"[^a-z0-9_.-]", "-", kind.rpartition("::")[2].lower())
    return word if word[:1].isalpha() else UNKNOWN_CHANNEL


def message_type(value: object) -> str:
    """A message's type by its name, which inside a conversation is a number. Raises `InvalidEvent`."""
    if isinstance(value, int) and 0 <= value < len(_MESSAGE_TYPES):
        return _MESSAGE_TYPES[value]
    if value in _MESSAGE_TYPES:
        return str(value)
    raise InvalidEvent("malformed", f"{value!r} is no `message_type` of Chatwoot"[:200])


def author(message: Json, kind: str) -> Author:
    """Who wrote a message that is not the contact's."""
    sender = nested(message, "sender")
    if (
        kind == "template"
        or nested(message, "additional_attributes").get("campaign_id") is not None
        or nested(message, "content_attributes").get("automation_rule_id") is not None
    ):
        return Author(kind="system")
    return _author_of(sender.get("type", message.get("sender_type")), sender.get("id", message.get("sender_id")))


def _author_of(sender_type: object, sender_id: object) -> Author:
    if sender_id is None:
        return Author(kind="system")  # the API, an integration, or the phone itself: no advisor is known
    word = str(sender_type).lower()
    if word in _BOTS:
        return Author(kind="bot", id=id_text(sender_id, "sender.id"))
    if word == "user" or sender_type is None:
        return Author(kind="advisor", id=id_text(sender_id, "sender.id"))
    return Author(kind="system")


def opener(conversation: Json, created_at: datetime) -> Literal["contact", "advisor", "bot", "system"] | None:
    """Who opened a conversation, by the message it shows; `None` where that cannot be told: then its first message
    starts it, and says by whom."""
    unread = conversation.get("unread_count")
    if isinstance(unread, int) and unread > 0:
        return "contact"
    messages = conversation.get("messages")
    message = messages[-1] if isinstance(messages, list) and messages and isinstance(messages[-1], dict) else None
    if message is None:
        return None
    written_at = instant(message.get("created_at"))
    if written_at is None or written_at - created_at > _OPENING:
        return None
    kind = message_type(message.get("message_type"))
    return "contact" if kind == "incoming" else author(message, kind).kind


def assignee(conversation: Json) -> str | None:
    """The advisor a conversation is assigned to, for want of who did something with it: Chatwoot does not say."""
    meta = nested(conversation, "meta")
    assignee = nested(meta, "assignee")
    if assignee.get("id") is None or str(meta.get("assignee_type", "User")) not in ("User", "None"):
        return None
    if str(assignee.get("type", "user")).lower() != "user":
        return None
    return id_text(assignee["id"], "meta.assignee.id")


def team(conversation: Json) -> str | None:
    """The team a conversation belongs to now."""
    team = nested(nested(conversation, "meta"), "team").get("id")
    if team is None:
        team = current(conversation, "team_id")
    return None if team is None else id_text(team, "meta.team.id")


def origin(contact: Json) -> str | None:
    """Where a contact came from: Chatwoot has no such field; an account may keep a custom attribute of this name."""
    origin = nested(contact, "custom_attributes").get("origin")
    return origin.strip()[:1024] or None if isinstance(origin, str) else None


def _changes(conversation: Json, name: str) -> Json | None:
    changed = conversation.get("changed_attributes")
    for change in changed if isinstance(changed, list) else ():
        if isinstance(change, dict) and isinstance(change.get(name), dict):
            found: Json = change[name]
            return found
    return None


def changed(conversation: Json, name: str) -> tuple[object, bool]:
    """What an attribute was before, and whether the webhook says that it changed."""
    change = _changes(conversation, name)
    return (None, False) if change is None else (change.get("previous_value"), True)


def current(conversation: Json, name: str) -> object:
    """What an attribute is now, if the webhook says that it changed."""
    change = _changes(conversation, name)
    return None if change is None else change.get("current_value")


def instant(value: object) -> datetime | None:
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
