"""Reads account, conversation, contact and time from Chatwoot's payloads, old and new."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from schemas.errors import InvalidEvent
from schemas.events import Author

Json: TypeAlias = Mapping[str, Any]

UNKNOWN_CHANNEL = "unknown"

UNKNOWN_ADVISOR = "unknown-advisor"
"""Who answered, where Chatwoot does not say who it was: from the app on the phone, a call that nobody claimed. The
account's settings may give this advisor a name and a schedule; Chatwoot's own ids are numbers."""

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
    "Channel::Voice": "call",
}
"""Our names for the kinds of inbox; one that is not here is its own name in lower case."""

_MESSAGE_TYPES = ("incoming", "outgoing", "activity", "template")
_BOTS = frozenset({"agent_bot", "agentbot", "captain_assistant", "captain::assistant", "bot"})

_REPLIES_OF_MACHINES = frozenset({"auto-replied", "auto-generated", "auto-notified"})

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


_MOST_SEQUENCE = 2**52


def sequence(message_id: object) -> int | None:
    """A message's number as its place among messages of one second."""
    text = str(message_id).strip()
    return int(text) if text.isdecimal() and len(text) < 20 and int(text) <= _MOST_SEQUENCE else None


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


def _is_set(value: object) -> bool:
    """Whether a flag stands: written as true, or as people's scripts write it."""
    return value is True or value == 1 or (isinstance(value, str) and value.strip().lower() in ("true", "1", "yes"))


def is_reaction(message: Json) -> bool:
    """Whether a message is a reaction to another one, such as a thumb."""
    return _is_set(nested(message, "content_attributes").get("is_reaction"))


def is_echo(message: Json) -> bool:
    """Whether a message was written outside of Chatwoot, in the channel's own app."""
    return _is_set(nested(message, "content_attributes").get("external_echo"))


def is_automatic_reply(message: Json) -> bool:
    """Whether a machine of the contact's answered: an e-mail that says so of itself."""
    attributes = nested(message, "content_attributes")
    email = nested(attributes, "email")
    if _is_set(email.get("auto_reply")) or _is_set(attributes.get("auto_reply")):
        return True
    headers = {str(name).lower().replace("_", "-"): value for name, value in nested(email, "headers").items()}
    submitted = email.get("auto_submitted") or headers.get("auto-submitted")
    return str(submitted).lower().partition(";")[0].strip() in _REPLIES_OF_MACHINES


def shown_message(conversation: Json) -> Json | None:
    """The message that a conversation shows: its newest one, unless that is a note or an activity."""
    messages = conversation.get("messages")
    shown = messages[-1] if isinstance(messages, list) and messages else None
    return shown if isinstance(shown, dict) else None


def written_at(message: Json, received_at: datetime) -> datetime | None:
    """When a message was written. One that came late, after an outage or with imported history, says when that was."""
    written = instant(nested(message, "content_attributes").get("external_created_at"))
    if written is not None and written <= received_at:
        return written
    return instant(message.get("created_at"))


def author(message: Json, kind: str) -> Author:
    """Who wrote a message that is not the contact's."""
    sender = nested(message, "sender")
    attributes = nested(message, "content_attributes")
    if (
        kind == "template"
        or message.get("content_type") == "input_csat"
        or nested(message, "additional_attributes").get("campaign_id") is not None
        or attributes.get("automation_rule_id") is not None
    ):
        return Author(kind="system")
    sender_id = sender.get("id", message.get("sender_id"))
    found = _author_of(sender.get("type", message.get("sender_type")), sender_id)
    if found.kind == "system" and is_echo(message):
        return Author(kind="advisor", id=UNKNOWN_ADVISOR)
    return found


def _author_of(sender_type: object, sender_id: object) -> Author:
    if sender_id is None:
        return Author(kind="system")  # the API or an integration: no advisor is known
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
    message = shown_message(conversation)
    if message is None:
        return None
    written_at = instant(message.get("created_at"))
    if written_at is None or written_at - created_at > _OPENING:
        return None
    kind = message_type(message.get("message_type"))
    if kind == "incoming":
        return "contact"
    if message.get("content_type") == "voice_call":
        return "advisor"
    by = author(message, kind).kind
    is_campaign = nested(message, "additional_attributes").get("campaign_id") is not None
    # A greeting, an absence note, an automation: an answer to what the contact wrote before, which is not shown.
    return None if by == "system" and not is_campaign else by


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


def _changes(conversation: Json, name: str) -> tuple[object, object] | None:
    """An attribute before and after, if the webhook says that it changed; in either form that this is written."""
    changed = conversation.get("changed_attributes")
    for change in changed if isinstance(changed, list) else (changed,):
        found = change.get(name) if isinstance(change, dict) else None
        if isinstance(found, dict):
            return found.get("previous_value"), found.get("current_value")
        if isinstance(found, list) and len(found) == 2:
            return found[0], found[1]
    return None


def changed(conversation: Json, name: str) -> tuple[object, bool]:
    """What an attribute was before, and whether the webhook says that it changed."""
    change = _changes(conversation, name)
    return (None, False) if change is None else (change[0], True)


def current(conversation: Json, name: str) -> object:
    """What an attribute is now, if the webhook says that it changed."""
    change = _changes(conversation, name)
    return None if change is None else change[1]


_MILLISECONDS_FROM = 100_000_000_000
"""Numbers from here on are milliseconds: as seconds they are the year 5138."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(value: object) -> datetime | None:
    """An instant as Chatwoot writes it: seconds or milliseconds since 1970, also as text, RFC 3339, or
    `2020-03-03 13:05:57 UTC`; 0 is none. Fractions are cut after the microsecond."""
    try:
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, str):
            text = value.strip()
            if not _NUMBER(text):
                moment = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
                return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
            value = text
        if not isinstance(value, str | int | float):
            return None
        number = Decimal(str(value))
        if number <= 0:
            return None
        micros = number * (1_000 if number >= _MILLISECONDS_FROM else 1_000_000)
        return _EPOCH + timedelta(microseconds=int(micros))
    except (ValueError, OverflowError, ArithmeticError):
        return None


_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?").fullmatch
