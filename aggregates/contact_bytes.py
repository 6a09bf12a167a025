"""A contact's state as bytes: what the ledger keeps of a `Contact`, in an order that costs few of them.

Days are written as days since 1970.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from aggregates.contact import Contact, Pair, Touch
from aggregates.entry import CREATED, Entry
from aggregates.localtime import EPOCH_DAY
from aggregates.spent import SpentConversations, SpentParts

_CREATED: Final = 1
_DELETED: Final = 2
_MERGED: Final = 4
_REACHED: Final = 8
_CLOSED: Final = 16
_RESOLVED: Final = 32
_BOT: Final = 64
_SNOOZED: Final = 128
_BOT_WROTE: Final = 256

Creation = tuple[int, int, str, int, int, str | None, str | None, str | None, str | None]
"""Instant, sequence, id, day, hour, actor, channel, group, origin. Its settings' version: the journal's matter."""

_UsualParts = tuple[
    int,  # flags
    Creation | None,
    str | None,  # group
    str | None,  # origin
    tuple[int, int, str] | None,  # the wait: since, its day and channel
    int | None,  # from when the first response is measured
    dict[str, tuple[str, bool]],  # conversations
    int,
    list[Touch],
    int,
    list[tuple[str, str | None, int, int | None]],  # pairs
]

ContactParts = _UsualParts | tuple[_UsualParts, SpentParts]
"""Of the few contacts with many conversations, those that are kept apart stand behind."""

_encode: Callable[[ContactParts], bytes] = msgspec.msgpack.Encoder().encode
_decode_usual = msgspec.msgpack.Decoder(_UsualParts).decode
_decode_with_spent = msgspec.msgpack.Decoder(tuple[_UsualParts, SpentParts]).decode
_USUAL = b"\x9b"
"""How msgpack begins an array of as many items as the usual parts are."""


def contact_parts(contact: Contact) -> ContactParts:
    """What `decode_contact` makes an equal contact of, as bytes or in them."""
    flags = 0
    if contact.created:
        flags |= _CREATED
    if contact.deleted:
        flags |= _DELETED
    if contact.merged:
        flags |= _MERGED
    if contact.reached:
        flags |= _REACHED
    if contact.closed:
        flags |= _CLOSED
    if contact.resolved:
        flags |= _RESOLVED
    if contact.bot:
        flags |= _BOT
    if contact.snoozed:
        flags |= _SNOOZED
    if contact.bot_wrote:
        flags |= _BOT_WROTE
    wait_ms = contact.wait_ms
    pairs: list[tuple[str, str | None, int, int | None]] = []
    for pair in contact.pairs:
        before = None if pair.before is None else pair.before - EPOCH_DAY
        pairs.append((pair.channel, pair.group, pair.last - EPOCH_DAY, before))
    usual: _UsualParts = (
        flags,
        _creation_parts(contact.creation),
        contact.group,
        contact.origin,
        None if wait_ms is None else (wait_ms, contact.wait_day - EPOCH_DAY, contact.wait_channel),
        contact.first_from_ms,
        contact.conversations,
        contact.touch_day - EPOCH_DAY,
        list(contact.touches),
        contact.active_day - EPOCH_DAY,
        pairs,
    )
    return usual if contact.spent is None else (usual, contact.spent.parts())


def _contact_of(parts: _UsualParts) -> Contact:
    flags, creation, group, origin, wait, first_from_ms, conversations, touch_day, touches, active_day, pairs = parts
    contact = Contact()
    contact.created = flags & _CREATED != 0
    contact.deleted = flags & _DELETED != 0
    contact.merged = flags & _MERGED != 0
    contact.reached = flags & _REACHED != 0
    contact.closed = flags & _CLOSED != 0
    contact.resolved = flags & _RESOLVED != 0
    contact.bot = flags & _BOT != 0
    contact.snoozed = flags & _SNOOZED != 0
    contact.bot_wrote = flags & _BOT_WROTE != 0
    contact.creation = _creation_of(creation)
    contact.group = group
    contact.origin = origin
    if wait is not None:
        contact.wait_ms, wait_day, contact.wait_channel = wait
        contact.wait_day = wait_day + EPOCH_DAY
    contact.first_from_ms = first_from_ms
    contact.conversations = conversations
    contact.touch_day = touch_day + EPOCH_DAY
    contact.touches = tuple(touches)
    contact.active_day = active_day + EPOCH_DAY
    for channel, pair_group, last, before in pairs:
        contact.pairs.append(
            Pair(channel, pair_group, last + EPOCH_DAY, None if before is None else before + EPOCH_DAY)
        )
    return contact


def encode_contact(contact: Contact) -> bytes:
    """The contact's bytes; equal contacts have equal ones."""
    return _encode(contact_parts(contact))


def decode_contact(data: bytes) -> Contact:
    """The contact of `encode_contact`'s bytes. Raises `ValueError` when they are damaged."""
    if data.startswith(_USUAL):
        return _contact_of(_decode_usual(data))
    usual, spent = _decode_with_spent(data)
    contact = _contact_of(usual)
    contact.spent = SpentConversations(spent)
    return contact


def _creation_parts(entry: Entry | None) -> Creation | None:
    if entry is None:
        return None
    return (
        entry.at_us,
        entry.sequence,
        entry.id,
        entry.day - EPOCH_DAY,
        entry.hour,
        entry.actor,
        entry.channel,
        entry.group,
        entry.origin,
    )


def _creation_of(parts: Creation | None) -> Entry | None:
    if parts is None:
        return None
    at_us, sequence, event_id, day, hour, actor, channel, group, origin = parts
    return Entry(
        at_us,
        sequence,
        CREATED,
        event_id,
        b"",
        day + EPOCH_DAY,
        hour,
        actor=actor,
        channel=channel,
        group=group,
        origin=origin,
    )
