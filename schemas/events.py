"""Event types of the two event topics, decoded from JSON bytes.

One struct per event type, in the order that settles events of one instant (`EVENT_TYPES`). Unknown fields are ignored
and never stored; an optional field that is `null` is missing; an empty id is malformed. A new type of event is one
struct here, one example in `schemas/examples/`, and one branch in `aggregates/contact.py`.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from schemas.errors import InvalidEvent, UnknownType
from schemas.limits import MAX_ID_LENGTH, MAX_NAME_LENGTH, MAX_RECORD_BYTES
from schemas.strangers import key_hint, value_hint

MAX_FUTURE = timedelta(hours=1)
"""How far `occurred_at` may be ahead of the record's own timestamp (clocks of producers differ by less)."""

EARLIEST_US = 0
LATEST_US = 253_370_764_800 * 1_000_000
"""Instants before 1970 are a broken clock, not history; from the year 9999 on, local days leave the calendar."""

END = r"(?![\s\S])"
"""Ends a pattern: nothing follows. `$` lets a line break through in Python, and JSON Schema does not know `\\Z`."""

_CHANNEL_PATTERN = rf"^[a-z][a-z0-9_.-]*{END}"

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Name = Annotated[str, Meta(max_length=MAX_NAME_LENGTH)]
_CHANNEL_MEANING = "whatsapp, messenger, instagram, email, sms, webchat, call, or any other lower-case word"
Channel = Annotated[str, Meta(min_length=1, max_length=64, pattern=_CHANNEL_PATTERN, description=_CHANNEL_MEANING)]
# In an event `decode_event` holds it to the pattern, for it knows the usual channels: to match each one anew is half of
# what decoding costs.
EventChannel = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        extra_json_schema={"pattern": _CHANNEL_PATTERN, "description": _CHANNEL_MEANING},
    ),
]
Sequence = Annotated[int, Meta(ge=-(2**53), le=2**53, description="the order of events stamped alike")]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with offset")]


class BaseEvent(Struct, frozen=True, gc=False, tag_field="type", kw_only=True):
    """What every event carries. `rank` is the type's place in the order of events stamped alike."""

    id: Id
    account_id: Id
    contact_id: Id
    occurred_at: Instant
    sequence: Sequence | None = None

    rank: ClassVar[int]
    topic: ClassVar[Literal["contacts", "conversations"]]


class ContactCreated(BaseEvent, frozen=True, gc=False, tag="contact.created", kw_only=True):
    """A contact appeared: by itself, entered by an advisor, or imported. A second creation changes nothing."""

    origin: Name | None
    channel: EventChannel
    group_id: Id | None = None
    by: Literal["contact", "advisor", "import"] | None = None

    rank: ClassVar[int] = 0
    topic: ClassVar = "contacts"


class ContactDeleted(BaseEvent, frozen=True, gc=False, tag="contact.deleted", kw_only=True):
    """The contact was deleted; it stays among the new contacts and leaves the origins."""

    rank: ClassVar[int] = 1
    topic: ClassVar = "contacts"


class ContactRestored(BaseEvent, frozen=True, gc=False, tag="contact.restored", kw_only=True):
    """A deletion was undone."""

    rank: ClassVar[int] = 2
    topic: ClassVar = "contacts"


class ContactMoved(BaseEvent, frozen=True, gc=False, tag="contact.moved", kw_only=True):
    """The contact is in another group from now on (`null`: in none)."""

    group_id: Id | None

    rank: ClassVar[int] = 3
    topic: ClassVar = "contacts"


class ContactMerged(BaseEvent, frozen=True, gc=False, tag="contact.merged", kw_only=True):
    """The contact was merged into another, which survives."""

    into: Id

    rank: ClassVar[int] = 4
    topic: ClassVar = "contacts"


class OpenConversation(Struct, frozen=True, gc=False):
    """A conversation that the surviving contact of a merge takes over."""

    id: Id
    channel: EventChannel


class ContactAbsorbed(
    BaseEvent, frozen=True, gc=False, tag="contact.absorbed", kw_only=True, rename={"from_contact": "from"}
):
    """On the surviving contact of a merge: what it takes over from the one that was merged away."""

    from_contact: Id
    waiting_since: Instant | None = None
    channel: EventChannel | None = None
    open_conversations: tuple[OpenConversation, ...] | None = None

    rank: ClassVar[int] = 5
    topic: ClassVar = "contacts"

    def __post_init__(self) -> None:
        if self.waiting_since is not None and self.channel is None:
            raise ValueError("waiting_since needs the channel of the wait")


class ConversationStarted(BaseEvent, frozen=True, gc=False, tag="conversation.started", kw_only=True):
    """A conversation was opened."""

    conversation_id: Id
    channel: EventChannel
    by: Literal["contact", "advisor", "bot", "system"]

    rank: ClassVar[int] = 6
    topic: ClassVar = "conversations"


class MessageReceived(BaseEvent, frozen=True, gc=False, tag="message.received", kw_only=True):
    """The contact wrote."""

    conversation_id: Id
    channel: EventChannel

    rank: ClassVar[int] = 7
    topic: ClassVar = "conversations"


class Author(Struct, frozen=True, gc=False):
    """Who sent a message; an advisor has an id."""

    kind: Literal["advisor", "bot", "system"]
    id: Id | None = None

    def __post_init__(self) -> None:
        if self.kind == "advisor" and self.id is None:
            raise ValueError("an advisor's message needs author.id")


class MessageSent(BaseEvent, frozen=True, gc=False, tag="message.sent", kw_only=True):
    """Somebody of the team, a bot or the system (welcome, automatic, campaign) wrote to the contact."""

    conversation_id: Id
    channel: EventChannel
    author: Author

    rank: ClassVar[int] = 8
    topic: ClassVar = "conversations"


class CallLogged(BaseEvent, frozen=True, gc=False, tag="call.logged", kw_only=True):
    """A call, sent when its outcome is known; `occurred_at` is when it began."""

    conversation_id: Id
    direction: Literal["inbound", "outbound"]
    outcome: Literal["accepted", "rejected", "missed"]
    advisor_id: Id | None = None

    rank: ClassVar[int] = 9
    topic: ClassVar = "conversations"

    def __post_init__(self) -> None:
        if self.advisor_id is None and self.outcome != "missed":
            raise ValueError("advisor_id may be missing only when the call was missed")


class NoteAdded(BaseEvent, frozen=True, gc=False, tag="note.added", kw_only=True):
    """An internal note; the contact does not see it."""

    conversation_id: Id
    advisor_id: Id | None = None

    rank: ClassVar[int] = 10
    topic: ClassVar = "conversations"


class ConversationHandedOff(BaseEvent, frozen=True, gc=False, tag="conversation.handed_off", kw_only=True):
    """The bot gave the conversation to humans."""

    conversation_id: Id
    to_advisor_id: Id | None = None

    rank: ClassVar[int] = 11
    topic: ClassVar = "conversations"


class ConversationTransferred(BaseEvent, frozen=True, gc=False, tag="conversation.transferred", kw_only=True):
    """The conversation was closed here and goes on elsewhere: another group, another conversation."""

    conversation_id: Id
    advisor_id: Id | None = None
    to_conversation_id: Id | None = None
    to_advisor_id: Id | None = None
    to_group_id: Id | None = None

    rank: ClassVar[int] = 12
    topic: ClassVar = "conversations"


class ConversationClosed(BaseEvent, frozen=True, gc=False, tag="conversation.closed", kw_only=True):
    """The conversation was closed, or snoozed when the reason is one of the account's snooze reasons."""

    conversation_id: Id
    reason: Name
    advisor_id: Id | None = None

    rank: ClassVar[int] = 13
    topic: ClassVar = "conversations"


class ConversationResumed(BaseEvent, frozen=True, gc=False, tag="conversation.resumed", kw_only=True):
    """The conversation's snooze ran out or was lifted."""

    conversation_id: Id

    rank: ClassVar[int] = 14
    topic: ClassVar = "conversations"


ContactEvent = ContactCreated | ContactDeleted | ContactRestored | ContactMoved | ContactMerged | ContactAbsorbed
ConversationEvent = (
    ConversationStarted
    | MessageReceived
    | MessageSent
    | CallLogged
    | NoteAdded
    | ConversationHandedOff
    | ConversationTransferred
    | ConversationClosed
    | ConversationResumed
)
Event = ContactEvent | ConversationEvent

EVENT_TYPES: tuple[type[BaseEvent], ...] = get_args(Event)
"""Every event type, in the order that settles events of one instant and sequence; `rank` is the index."""


def event_order(event: BaseEvent) -> tuple[int, int, int, str]:
    """An event's place among its contact's: by instant, `sequence`, type and id."""
    return instant_us(event.occurred_at), event.sequence or 0, event.rank, event.id


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_FUTURE_MS = MAX_FUTURE // timedelta(milliseconds=1)


class _Head(Struct):
    type: str


T = TypeVar("T")


def type_name(event: BaseEvent | type[BaseEvent]) -> str:
    """The event's `type` as it stands in JSON, e.g. `message.sent`."""
    tag = event.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


_KNOWN_TYPES = frozenset(type_name(struct) for struct in EVENT_TYPES)
_USUAL_CHANNELS = frozenset({"whatsapp", "messenger", "instagram", "email", "sms", "webchat", "call"})
_is_channel = re.compile(_CHANNEL_PATTERN).search
_HAVE_CHANNEL = frozenset(struct for struct in EVENT_TYPES if "channel" in struct.__struct_fields__)
_decode_event: Callable[[bytes | str], Event] = msgspec.json.Decoder(Event).decode
_decode_head = msgspec.json.Decoder(_Head).decode


def instant_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware `datetime`, exactly (floats are not, after 2033)."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def decode_event(value: bytes | str) -> Event:
    """The event in a record's value.

    Raises `UnknownType` for a type this version does not know, `InvalidEvent` for anything else that breaks the
    contract; never another exception, whatever the bytes.
    """
    return _decode_timed(value)[0]


def _decode_timed(value: bytes | str) -> tuple[Event, int]:
    """The event and its instant in microseconds; raises what `decode_event` does."""
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidEvent("oversize", f"{len(value)} bytes; the most is {MAX_RECORD_BYTES}")
    try:
        event = _decode_event(value)
        if _has_long_fraction(value if isinstance(value, bytes) else value.encode()):
            event = _cut(value, event)
        since = event.occurred_at - _EPOCH  # `instant_us`, in place
        at_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise _refusal(value, error) from None
    if not EARLIEST_US <= at_us < LATEST_US:
        raise InvalidEvent("malformed", "occurred_at is before 1970 or past the year 9998")
    if event.__class__ in _HAVE_CHANNEL:
        channel: str | None = event.channel  # type: ignore[union-attr]  # those classes have one
        if channel not in _USUAL_CHANNELS and channel is not None and not _is_channel(channel):
            raise InvalidEvent("malformed", f"{channel!r} is no channel: a lower-case word")
    return event, at_us


class _Instants(Struct):
    """The instants of an event as they were written."""

    occurred_at: str
    waiting_since: str | None = None


_has_long_fraction = re.compile(rb"\.[0-9]{7}").search
_LONG_FRACTION = re.compile(r"(\.[0-9]{6})[0-9]+")
_decode_instants = msgspec.json.Decoder(_Instants).decode


def _cut(value: bytes | str, event: Event) -> Event:
    """The event with fractions of a second cut after the microsecond, where the decoder rounded them: the last moment
    of a day stays in that day."""
    written = _decode_instants(value)
    cut = msgspec.structs.replace(event, occurred_at=_cut_instant(written.occurred_at))
    if isinstance(cut, ContactAbsorbed) and written.waiting_since is not None:
        cut = msgspec.structs.replace(cut, waiting_since=_cut_instant(written.waiting_since))
    return cut


def _cut_instant(text: str) -> datetime:
    return msgspec.convert(_LONG_FRACTION.sub(r"\1", text), datetime)


def _refusal(value: bytes | str, error: Exception) -> Exception:
    """Why a value is refused, with what it looks like where it is none of ours. Only asked when it is."""
    try:
        name = _decode_head(value).type
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        name = None
    hint = _instant_hint(value, str(error)) or value_hint(value)
    if name is not None and name not in _KNOWN_TYPES and hint is None:
        return UnknownType(name)
    text = str(error)[:_MOST_OF_ERROR]
    return InvalidEvent("malformed", text if hint is None else f"{text}; {hint}")


_MOST_OF_ERROR = 500
_INSTANT_PATH = re.compile(r"(?:datetime|timezone).*at `\$\.([a-z_]+)`")
_LIKE_AN_INSTANT = re.compile(r"[\d\s:./,+TZ-]{1,40}")


def _instant_hint(value: bytes | str, error: str) -> str | None:
    """What is no instant, and how one is written. Only what looks like one is shown: other text may be anybody's."""
    found = _INSTANT_PATH.search(error)
    if found is None:
        return None
    try:
        content = msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    text = str(content.get(found[1]) if isinstance(content, dict) else None)
    shown = repr(text) if _LIKE_AN_INSTANT.fullmatch(text) else "no instant"
    return f"{found[1]} is {shown}: send RFC 3339 with seconds and an offset, as 2026-11-22T11:30:00Z"


def decode_record(
    topic: Literal["contacts", "conversations"], key: bytes | None, value: bytes | None, timestamp_ms: int
) -> Event:
    """The event of a Kafka record, with the checks that need the record: its key, topic and timestamp.

    Raises `UnknownType` or `InvalidEvent`, as `decode_event` does.
    """
    return decode_timed_record(topic, key, value, timestamp_ms)[0]


def decode_timed_record(
    topic: Literal["contacts", "conversations"], key: bytes | None, value: bytes | None, timestamp_ms: int
) -> tuple[Event, int]:
    """As `decode_record`, with the event's instant in microseconds beside it: reckoned once, needed everywhere."""
    if value is None:
        raise InvalidEvent("malformed", "the record has no value")
    event, at_us = _decode_timed(value)
    if event.topic != topic:
        raise InvalidEvent("wrong-topic", f"{type_name(event)} belongs on the {event.topic} topic")
    if key is None or key != event.contact_id.encode():
        hint = key_hint(key, event.contact_id)
        text = "the record's key is not its contact_id; it would split the contact in two"
        raise InvalidEvent("key-mismatch", text if hint is None else f"{text}; {hint}")
    if at_us > (timestamp_ms + _MAX_FUTURE_MS) * 1000:
        raise InvalidEvent("future", "occurred_at is more than an hour ahead of the record's timestamp")
    return event, at_us


def encode_event(event: BaseEvent) -> bytes:
    """The event as JSON, fields in order, missing ones left out: what a producer puts into a record's value."""
    required = (
        {"origin"} if isinstance(event, ContactCreated) else {"group_id"} if isinstance(event, ContactMoved) else ()
    )
    fields: dict[str, Any] = {"id": event.id, "type": type_name(event)}
    fields |= {
        name: value for name, value in msgspec.to_builtins(event).items() if value is not None or name in required
    }
    return msgspec.json.encode(fields)
