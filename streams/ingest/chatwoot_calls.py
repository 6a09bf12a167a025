"""Voice calls in Chatwoot's webhooks: a message of content type `voice_call`, updated as the call goes on.

Older versions write into `content_attributes.data`, newer ones keep a call of its own beside the message, which the
conversation shows with its newest message. The words for its status differ: `in-progress` and `in_progress`,
`no-answer`, `missed` and `busy`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

from schemas.errors import InvalidEvent
from streams.ingest import chatwoot_payload as read

Outcome = Literal["accepted", "rejected", "missed"]

CONTENT_TYPE = "voice_call"

UNDER_WAY = frozenset({"in-progress", "answered", "accepted", "connected"})
"""Somebody talks: it was accepted, whatever comes."""

OUTCOMES: Mapping[str, Outcome] = {
    **dict.fromkeys(UNDER_WAY, "accepted"),
    "completed": "accepted",
    "ended": "accepted",
    "rejected": "rejected",
    "declined": "rejected",
    "no-answer": "missed",
    "missed": "missed",
    "busy": "missed",
    "failed": "missed",
    "canceled": "missed",
    "cancelled": "missed",
    "timeout": "missed",
}
"""What a status says of the call's outcome; any other (`ringing`, `queued`, `initiated`) says nothing yet."""


class Call(Struct, frozen=True):
    """A call, as far as a webhook tells."""

    id: str
    direction: Literal["inbound", "outbound"]
    outcome: Outcome | None
    is_under_way: bool
    began_at: datetime | None
    advisor_id: str | None


def is_call(message: read.Json) -> bool:
    """Whether a message stands for a voice call."""
    return message.get("content_type") == CONTENT_TYPE


def call_of(message: read.Json) -> Call:
    """The call that a message stands for. Raises `InvalidEvent`."""
    data = read.nested(read.nested(message, "content_attributes"), "data")
    record = _record(message)
    status = str(record.get("status") or data.get("status") or "").lower().replace("_", "-").replace(" ", "-")
    outcome = OUTCOMES.get(status)
    if outcome == "accepted" and status not in UNDER_WAY and _never_answered(record):
        outcome = "missed"
    direction = _direction(message, record, data)
    name = record.get("provider_call_id") or data.get("call_sid") or data.get("call_id") or message.get("id")
    meta = read.nested(data, "meta")
    began_at = next(
        (moment for value in (meta.get("created_at"), meta.get("ringing_at")) if (moment := read.instant(value))), None
    )
    return Call(
        read.id_text(name, "id"), direction, outcome, status in UNDER_WAY, began_at, _advisor(message, record, data)
    )


def _record(message: read.Json) -> read.Json:
    """The call of its own that newer versions keep: beside the message, or where the conversation shows it."""
    if record := read.nested(message, "call"):
        return record
    shown = read.shown_message(read.nested(message, "conversation"))
    return read.nested(shown, "call") if shown is not None and shown.get("id") == message.get("id") else {}


def _never_answered(record: read.Json) -> bool:
    """Whether a call that is over was never taken: a conference that ends while it rings is `completed`, too."""
    return "started_at" in record and not (
        record.get("started_at") or record.get("accepted_by_agent_id") or record.get("duration_seconds")
    )


def _direction(message: read.Json, record: read.Json, data: read.Json) -> Literal["inbound", "outbound"]:
    word = str(record.get("direction") or data.get("call_direction") or data.get("direction") or "").lower()
    if not word:
        word = read.message_type(message.get("message_type"))
    if word in ("inbound", "incoming"):
        return "inbound"
    if word in ("outbound", "outgoing"):
        return "outbound"
    raise InvalidEvent("malformed", f"{word[:80]!r} is no direction of a call")


def _advisor(message: read.Json, record: read.Json, data: read.Json) -> str | None:
    """Who took the call or made it, if that is told; the contact who called is nobody of the team."""
    accepted_by = data.get("accepted_by")
    sender = read.nested(message, "sender")
    user = sender.get("id") if str(sender.get("type", "")).lower() == "user" else None
    if user is None and str(message.get("sender_type", "")).lower() == "user":
        user = message.get("sender_id")
    found = next(
        (
            value
            for value in (
                record.get("accepted_by_agent_id"),
                data.get("accepted_by_agent_id"),
                accepted_by.get("id") if isinstance(accepted_by, dict) else accepted_by,
                user,
            )
            if value is not None
        ),
        None,
    )
    return None if found is None else read.id_text(found, "accepted_by_agent_id")
