"""What a fetched record holds, found out once: when it is fetched. Ordering, folding and dead-lettering go by it."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent, UnknownType
from schemas.events import Event, decode_event, decode_timed_record, instant_us
from streams.dead_letters import DeadLetter
from streams.kafka import EVENT_TOPICS, ConsumerRecord
from streams.keys import contact_key

UNKNOWN_US = -1
"""When a record that tells no time happened: before all others, for it holds nothing back."""


class Arrival(Struct, gc=False):
    """A record of the topic at this place of `EVENT_TOPICS`: an event, or set aside, or of unknown type."""

    topic: int
    record: ConsumerRecord
    size: int
    """Bytes of key and value."""
    order_us: int
    """When it counts as having happened, for the order of both topics; see `streams/merge.py`."""
    at_us: int = UNKNOWN_US
    """When the event happened."""
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


Scan = Callable[[int, Sequence[ConsumerRecord]], Iterable[tuple[int, str]]]
"""Looks at records of a topic: per record the event's instant and account; `UNKNOWN_US` if Python must decode it."""


def arrivals_of(topic: int, records: Sequence[ConsumerRecord], scan: Scan | None = None) -> list[Arrival]:
    """Decode records; what breaks the contract becomes a dead letter, an unknown type is neither that nor an event."""
    if scan is None:
        return [_decoded(topic, record) for record in records]
    # A record's key is its contact's id, or it would not have passed.
    return [
        Arrival(topic, record, len(key) + len(value), at_us, at_us, account_id, _account_part(account_id) + key)
        if at_us != UNKNOWN_US and (key := record.key) and (value := record.value)
        else _decoded(topic, record)
        for record, (at_us, account_id) in zip(records, scan(topic, records), strict=True)
    ]


def _decoded(topic: int, record: ConsumerRecord) -> Arrival:
    key, value = record.key, record.value
    size = (len(key) if key else 0) + (len(value) if value else 0)
    try:
        event, at_us = decode_timed_record(EVENT_TOPICS[topic], key, value, record.timestamp)
    except UnknownType:
        return Arrival(topic, record, size, occurred_us(value))
    except InvalidEvent as error:
        letter = DeadLetter(record, error.reason, error.detail)
        return Arrival(topic, record, size, occurred_us(value), letter=letter)
    account_id = event.account_id
    return Arrival(topic, record, size, at_us, at_us, account_id, _account_part(account_id) + key, event)


@lru_cache(maxsize=4096)
def _account_part(account_id: str) -> bytes:
    return contact_key(account_id, "")


def occurred_us(value: bytes | None) -> int:
    """When the event in a record's value happened, or `UNKNOWN_US`; never raises."""
    if value is None:
        return UNKNOWN_US
    try:
        at = _decode_head(value).occurred_at
        return instant_us(at) if at.tzinfo is not None else UNKNOWN_US
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return UNKNOWN_US
