"""Recorded webhooks: files with one body a line, mapped as the live endpoint maps them.

A line is a body, or an object with the body and the time it arrived: `{"received_at": "2026-11-22T10:00:00Z", "body":
{…}}`. The body may be the text that was received, JSON in JSON. `received_at` may also stand in the body itself. Where
no line says when it arrived, it is now. `FORMATS` has a mapping for each service whose webhooks are understood; another
one is one function more.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent
from schemas.events import Event
from streams.ingest import chatwoot
from streams.ingest.instants import BAD_TIME
from streams.ingest.mapping import Row

Mapper = Callable[[str, object, datetime], list[Event]]
"""The events of a body, of an account, that arrived then. Raises `InvalidEvent`."""


class WebhookFormat(Struct, frozen=True):
    """How a service's webhooks become events."""

    events: Mapper
    why_nothing: Callable[[object], str]
    """Why a body that was mapped gives no events."""


FORMATS: Final[Mapping[str, WebhookFormat]] = {
    "chatwoot": WebhookFormat(chatwoot.map_webhook, chatwoot.why_nothing),
}
"""The services by the names that `--format` takes."""

_BODIES = ("body", "payload")


def body_of(line: Row, now: datetime) -> tuple[object, datetime]:
    """The body in a recorded line, and when it arrived. Raises `InvalidEvent`."""
    arrived = line.get("received_at")
    received_at = now if arrived is None else _instant(arrived)
    for name in _BODIES:
        if name in line and "event" not in line:
            return _decoded(line[name]), received_at
    return {name: value for name, value in line.items() if name != "received_at"}, received_at


def _decoded(body: object) -> object:
    if not isinstance(body, str):
        return body
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidEvent("malformed", "the recorded body is a text that is no JSON") from None


def _instant(value: object) -> datetime:
    """An instant in RFC 3339, or in seconds or milliseconds since 1970; UTC where it has no offset."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value >= 100_000_000_000 else value, UTC)
        moment = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        raise InvalidEvent(BAD_TIME, f"received_at: {str(value)[:80]!r} is no instant (RFC 3339)") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
