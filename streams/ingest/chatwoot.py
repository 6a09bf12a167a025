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
from datetime import datetime, timedelta
from typing import Any

import msgspec

from schemas.errors import InvalidEvent
from schemas.events import (
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
from streams.ingest import chatwoot_payload as read

SNOOZE_REASON = "Esperando recordatorio"
"""The reason of a close that is a snooze; one of the defaults of an account's `snooze_reasons`."""

RESOLVED_REASON = "resolved"

# A contact that came to an inbox longer ago than this is a returning one. Its creation is no news, and an event that
# far back would make a worker read the contact's whole history again.
_FIRST_VISIT = timedelta(days=1)


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
        if kind == "activity":
            return []
        conversation = read.nested(message, "conversation")
        base: dict[str, Any] = {
            "id": f"chatwoot-message-{read.id_text(message.get('id'), 'id')}",
            "account_id": self.account_id,
            "contact_id": read.contact_id(conversation, message),
            "occurred_at": read.instant(message.get("created_at")) or self.received_at,
            "conversation_id": read.conversation_id(conversation),
        }
        author = read.author(message, kind)
        if message.get("private") is True:
            return [NoteAdded(**base, advisor_id=author.id if author.kind == "advisor" else None)]
        if kind == "incoming":
            return [MessageReceived(**base, channel=read.channel(conversation))]
        return [MessageSent(**base, channel=read.channel(conversation), author=author)]

    def status_changed(self) -> list[Event]:
        conversation = self.payload
        base, status = self._moment(str(conversation.get("status"))), conversation.get("status")
        previous, known = read.changed(conversation, "status")
        match status:
            case "resolved" | "snoozed":
                reason = RESOLVED_REASON if status == "resolved" else SNOOZE_REASON
                return [ConversationClosed(**base, reason=reason, advisor_id=read.assignee(conversation))]
            # Older versions of Chatwoot do not tell the status before. A hand-off where no bot is does nothing.
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

    def _moment(self, what: str) -> dict[str, Any]:
        """The fields of an event about a change of a conversation, named by what changed and when."""
        conversation = self.payload
        conversation_id = read.conversation_id(conversation)
        occurred_at = read.instant(conversation.get("updated_at")) or read.instant(conversation.get("timestamp"))
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
