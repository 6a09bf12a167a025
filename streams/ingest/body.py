"""What `mediana ingest` does with a body: split it into events, and judge each one by the contract.

A body is a JSON array of events, one event, or one event per line (NDJSON). Each event stands for itself: one that
breaks the contract is refused with its place, its id and a reason, the others are taken.
"""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent, UnknownType
from schemas.events import MAX_FUTURE, Event, decode_event, instant_us

MAX_BODY_BYTES = 1 << 20

UNKNOWN_TYPE = "unknown-type"
FOREIGN_ACCOUNT = "foreign-account"

_MAX_FUTURE_US = round(MAX_FUTURE.total_seconds() * 1_000_000)
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


class Rejection(Struct, frozen=True):
    """An event that was not taken: its place in the body (from 0), its id if it has a readable one, and why not."""

    index: int
    id: str | None
    reason: str
    detail: str


class Judged(Struct, frozen=True):
    """The events of a body that keep the contract, in order, and the others."""

    events: list[Event]
    rejected: list[Rejection]


class InvalidBody(ValueError):
    """A body in which no events can be told apart."""


class _Identified(Struct):
    id: str


_decode_id = msgspec.json.Decoder(_Identified).decode


def split_body(body: bytes) -> list[bytes]:
    """The events in a body, each still as JSON. Raises `InvalidBody`."""
    text = body.strip()
    if not text:
        raise InvalidBody("the body is empty")
    try:
        if text.startswith(b"["):
            return [bytes(item) for item in _decode_array(text)]
        _decode_any(text)
        return [text]
    except (msgspec.MsgspecError, RecursionError) as error:
        lines = [line for line in text.splitlines() if line.strip()]
        # A line that is no JSON is one refused event; the first one must look like an event, or this is no NDJSON.
        if text.startswith(b"{") and len(lines) > 1 and _is_json(lines[0]):
            return lines
        raise InvalidBody(str(error)[:300]) from None


def judge(raw_events: list[bytes], now_ms: int, allowed: Callable[[str], bool]) -> Judged:
    """Decode each event. `allowed` says whether the sender may speak for an account."""
    judged = Judged([], [])
    for index, raw in enumerate(raw_events):
        try:
            judged.events.append(_accepted(raw, now_ms, allowed))
        except UnknownType as error:
            judged.rejected.append(Rejection(index, event_id(raw), UNKNOWN_TYPE, str(error)))
        except InvalidEvent as error:
            judged.rejected.append(Rejection(index, event_id(raw), error.reason, error.detail))
    return judged


def refuse_future(event: Event, now_ms: int) -> None:
    """Raise `InvalidEvent` for an event that a worker would refuse for its instant: better said to who can mend it."""
    if instant_us(event.occurred_at) > now_ms * 1000 + _MAX_FUTURE_US:
        raise InvalidEvent("future", "occurred_at is more than an hour ahead of the clock here")


def event_id(raw: bytes) -> str | None:
    """The id of an event that was refused, if one can be read."""
    try:
        return _decode_id(raw).id[:256]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _accepted(raw: bytes, now_ms: int, allowed: Callable[[str], bool]) -> Event:
    event = decode_event(raw)
    if not allowed(event.account_id):
        raise InvalidEvent(FOREIGN_ACCOUNT, "the token does not open this event's account_id")
    refuse_future(event, now_ms)
    return event


def _is_json(line: bytes) -> bool:
    try:
        _decode_any(line)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True
