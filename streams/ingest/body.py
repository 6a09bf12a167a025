"""Splits a request's body into events, and validates each.

A body is a JSON array of events, one event, or one event per line (NDJSON). Each event stands for itself: one that
breaks the contract is refused with its place, its id and a reason, the others are taken.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent, UnknownType
from schemas.events import MAX_FUTURE, Event, decode_event, instant_us
from schemas.limits import MAX_ID_LENGTH, MAX_REJECTION_DETAIL, MAX_REJECTIONS, MAX_REQUEST_EVENTS

UNKNOWN_TYPE = "unknown-type"
FOREIGN_ACCOUNT = "foreign-account"

_MAX_FUTURE_US = round(MAX_FUTURE.total_seconds() * 1_000_000)
_LINE = re.compile(rb"[^\r\n]+")

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


class TooManyEvents(ValueError):
    """A body with more events than `MAX_REQUEST_EVENTS`."""


class TooManyRejected(Exception):
    """A body of which more than `MAX_REJECTIONS` events break the contract; the others were not looked at.

    `rejected` are the first ones.
    """

    def __init__(self, rejected: list[Rejection]) -> None:
        super().__init__(f"more than {MAX_REJECTIONS} events break the contract")
        self.rejected = rejected


class _Identified(Struct):
    id: str


_decode_id = msgspec.json.Decoder(_Identified).decode


def split_body(body: bytes) -> list[bytes]:
    """The events in a body, each still as JSON. Raises `InvalidBody` and `TooManyEvents`."""
    text = body.strip()
    if not text:
        raise InvalidBody("the body is empty")
    try:
        if text.startswith(b"["):
            items = _decode_array(text)
            if len(items) > MAX_REQUEST_EVENTS:
                raise TooManyEvents
            return [bytes(item) for item in items]
        _decode_any(text)
        return [text]
    except (msgspec.MsgspecError, RecursionError) as error:
        # A line that is no JSON is one refused event; the first one must look like an event, or this is no NDJSON.
        if text.startswith(b"{") and len(lines := _lines(text)) > 1 and _is_json(lines[0]):
            return lines
        raise InvalidBody(str(error)[:MAX_REJECTION_DETAIL]) from None


def _lines(text: bytes) -> list[bytes]:
    """The lines that are not blank. Raises `TooManyEvents`, before it has looked at much more than it may take."""
    lines: list[bytes] = []
    for found in _LINE.finditer(text):
        line = found.group()
        if not line.isspace():
            if len(lines) == MAX_REQUEST_EVENTS:
                raise TooManyEvents
            lines.append(line)
    return lines


JUDGED_AT_ONCE = 500
"""Events that are judged without a pause for others: some milliseconds."""


def judge(raw_events: Sequence[bytes], now_ms: int, allowed: Callable[[str], bool], judged: Judged) -> Iterator[None]:
    """Decode each event into `judged`, with a pause for others after every `JUDGED_AT_ONCE`.

    `allowed` says whether the sender may speak for an account. Raises `TooManyRejected`.
    """
    for index, raw in enumerate(raw_events):
        if index and index % JUDGED_AT_ONCE == 0:
            yield
        try:
            judged.events.append(_accepted(raw, now_ms, allowed))
            continue
        except UnknownType as error:
            reason, detail = UNKNOWN_TYPE, str(error)
        except InvalidEvent as error:
            reason, detail = error.reason, error.detail
        if len(judged.rejected) == MAX_REJECTIONS:
            raise TooManyRejected(judged.rejected)
        judged.rejected.append(Rejection(index, event_id(raw), reason, detail[:MAX_REJECTION_DETAIL]))


def refuse_future(event: Event, now_ms: int) -> None:
    """Raise `InvalidEvent` for an event that a worker would refuse for its instant: better said to who can mend it."""
    if instant_us(event.occurred_at) > now_ms * 1000 + _MAX_FUTURE_US:
        raise InvalidEvent("future", "occurred_at is more than an hour ahead of the clock here")


def event_id(raw: bytes) -> str | None:
    """The id of an event that was refused, if one can be read."""
    try:
        return _decode_id(raw).id[:MAX_ID_LENGTH]
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
