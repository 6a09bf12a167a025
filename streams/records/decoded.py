"""What a record holds that Python looks at: ordering, folding and dead-lettering go by it."""

from datetime import datetime

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent, UnknownType
from schemas.events import Event, decode_event, decode_timed_record, instant_us
from streams.kafka.clients import EVENT_TOPICS, ConsumerRecord
from streams.kafka.dead_letters import DeadLetter
from streams.records.omitted import Omitted
from streams.redis.keys import contact_key

UNKNOWN_US = -1
"""When a record that tells no time happened: before all others, for it holds nothing back."""


class Arrival(Struct, gc=False):
    """A record of an event topic: an event, or set aside, or of unknown type."""

    record: ConsumerRecord
    at_us: int
    """When the event happened, as far as the record tells; else `UNKNOWN_US`."""
    account_id: str = ""
    contact: bytes = b""
    """Names the contact in the shard's hash of states; empty where there is no event."""
    decoded: Event | None = None
    """The event, if Python has decoded it."""
    letter: DeadLetter | None = None
    """The record set aside, when it breaks the contract."""

    @property
    def event(self) -> Event:
        """The event. Only to be asked for where there is one."""
        event = self.decoded
        if event is None:
            assert self.record.value is not None
            event = self.decoded = decode_event(self.record.value)
        return event


class _Head(Struct, gc=False):
    occurred_at: datetime


_decode_head = msgspec.json.Decoder(_Head).decode


def arrived(topic: int, record: ConsumerRecord) -> Arrival:
    """Decode a record of the topic at this place of `EVENT_TOPICS`.

    What breaks the contract becomes a dead letter, an unknown type is neither that nor an event.
    """
    value = record.value
    if isinstance(value, Omitted):
        return Arrival(record, UNKNOWN_US, letter=DeadLetter(record, value.reason, value.detail))
    try:
        event, at_us = decode_timed_record(EVENT_TOPICS[topic], record.key, value, record.timestamp)
    except UnknownType:
        return Arrival(record, occurred_us(value))
    except InvalidEvent as error:
        return Arrival(record, occurred_us(value), letter=DeadLetter(record, error.reason, error.detail))
    return Arrival(record, at_us, event.account_id, contact_key(event.account_id, event.contact_id), event)


def occurred_us(value: bytes | None) -> int:
    """When the event in a record's value happened, or `UNKNOWN_US`; never raises."""
    if value is None:
        return UNKNOWN_US
    try:
        at = _decode_head(value).occurred_at
        return instant_us(at) if at.tzinfo is not None else UNKNOWN_US
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return UNKNOWN_US
