"""A decoded record: its event or its dead letter, with its time and contact."""

import time
from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent, UnknownType
from schemas.events import Event, decode_timed_record, instant_us
from streams.kafka.clients import EVENT_TOPICS, ConsumerRecord
from streams.kafka.dead_letters import DeadLetter
from streams.kafka.omitted import Omitted
from streams.redis.keys import account_part

UNKNOWN_US = -1
"""When a record that tells no time happened: before all others, for it holds nothing back."""
_FIRST_TIMESTAMP_MS: Final = 946_684_800_000
"""The year 2000 in UTC milliseconds: Kafka's timestamp is missing (-1) or meaningless where it is earlier."""


class Arrival(Struct, gc=False):
    """A record of an event topic: an event, or set aside, or of unknown type."""

    record: ConsumerRecord
    at_us: int
    """When the event happened, as far as the record tells; else `UNKNOWN_US`."""
    account_id: str = ""
    contact: bytes = b""
    """Names the contact in the shard's hash of states; empty where there is no event."""
    event: Event = cast("Event", None)
    """The event. Only to be asked for where `contact` is not empty."""
    letter: DeadLetter | None = None
    """The record set aside, when it breaks the contract."""


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
    sent_ms = record.timestamp
    if sent_ms < _FIRST_TIMESTAMP_MS:
        sent_ms = time.time_ns() // 1_000_000  # it was sent before it arrived, more is not known
    try:
        event, at_us = decode_timed_record(EVENT_TOPICS[topic], record.key, value, sent_ms)
    except UnknownType:
        return Arrival(record, occurred_us(value))
    except InvalidEvent as error:
        return Arrival(record, occurred_us(value), letter=DeadLetter(record, error.reason, error.detail))
    # The key is the contact's id: that was checked.
    return Arrival(record, at_us, event.account_id, account_part(event.account_id) + record.key, event)


def occurred_us(value: bytes | None) -> int:
    """When the event in a record's value happened, or `UNKNOWN_US`; never raises."""
    if value is None:
        return UNKNOWN_US
    try:
        at = _decode_head(value).occurred_at
        return instant_us(at) if at.tzinfo is not None else UNKNOWN_US
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return UNKNOWN_US
