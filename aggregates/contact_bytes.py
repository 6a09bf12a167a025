"""Encodes and decodes a contact's state compactly.

Days are written as days since 1970, instants in milliseconds. Trailing fields at their usual values are left out, so
that a contact at rest is small.
"""

from typing import Any, Final

import msgspec

from aggregates.contact import Contact
from aggregates.entry import CREATED, Entry
from aggregates.localtime import EPOCH_DAY
from aggregates.spent import SpentConversations

_ACTORS: Final = ("contact", "advisor", "import")

ContactParts = list[Any]
"""Flags, then the fields in the order of `contact_parts`; trailing usual ones are missing."""

_USUAL: Final[ContactParts] = [0, None, None, None, None, None, {}, 0, None, 0, None, -1, 0, 0, [], 0, []]
_USUAL_CREATION: Final[list[Any]] = [0, 0, 0, None, None, None, "", 0]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


def contact_parts(contact: Contact) -> ContactParts:
    """What `contact_of` makes an equal contact of."""
    flags = (
        contact.created
        | contact.deleted << 1
        | contact.merged << 2
        | contact.reached << 3
        | contact.closed << 4
        | contact.resolved << 5
        | contact.bot << 6
        | contact.snoozed << 7
        | contact.bot_wrote << 8
    )
    creation = contact.creation
    parts: ContactParts = [
        flags,
        None if creation is None else _creation_parts(creation),
        contact.group,
        None if creation is not None and creation.origin == contact.origin else contact.origin,
        None if contact.wait_ms is None else (contact.wait_ms, contact.wait_day - EPOCH_DAY, contact.wait_channel),
        contact.first_from_ms,
        contact.conversations,
        contact.open,
        # Most often the newest entry was the last that reached the contact, or one shortly after.
        None if contact.reached_ms < 0 else contact.at_ms - contact.reached_ms,
        contact.reached_day - EPOCH_DAY if contact.reached_day else 0,
        contact.spent.parts() if len(contact.spent) else None,
        contact.at_ms,
        contact.tie,
        contact.touch_day - EPOCH_DAY if contact.touches else 0,
        contact.touches,
        contact.active_day - EPOCH_DAY if contact.active else 0,
        contact.active,
    ]
    while len(parts) > 1 and parts[-1] == _USUAL[len(parts) - 1]:
        parts.pop()
    return parts


def contact_of(parts: ContactParts) -> Contact:
    """The contact of `contact_parts`. Raises `ValueError` for what are none."""
    if not 1 <= len(parts) <= len(_USUAL):
        raise ValueError(f"a contact has 1 to {len(_USUAL)} parts, not {len(parts)}")
    (
        flags,
        creation,
        group,
        origin,
        wait,
        first_from_ms,
        conversations,
        count_open,
        reached_before_ms,
        reached_day,
        spent,
        at_ms,
        tie,
        touch_day,
        touches,
        active_day,
        active,
    ) = [*parts, *_USUAL[len(parts) :]]
    contact = Contact()
    contact.created = flags & 1 != 0
    if flags > 1:
        contact.deleted = flags & 1 << 1 != 0
        contact.merged = flags & 1 << 2 != 0
        contact.reached = flags & 1 << 3 != 0
        contact.closed = flags & 1 << 4 != 0
        contact.resolved = flags & 1 << 5 != 0
        contact.bot = flags & 1 << 6 != 0
        contact.snoozed = flags & 1 << 7 != 0
        contact.bot_wrote = flags & 1 << 8 != 0
    contact.creation = None if creation is None else _creation_of(creation)
    contact.group = group
    contact.origin = contact.creation.origin if contact.creation is not None and origin is None else origin
    if wait is not None:
        contact.wait_ms, wait_day, contact.wait_channel = wait
        contact.wait_day = wait_day + EPOCH_DAY
    contact.first_from_ms = first_from_ms
    contact.conversations = {name: (channel, closed) for name, (channel, closed) in conversations.items()}
    contact.open = count_open
    if reached_before_ms is not None:
        contact.reached_ms = at_ms - reached_before_ms
        contact.reached_day = reached_day + EPOCH_DAY
    if spent is not None:
        contact.spent = SpentConversations(tuple(spent))
    contact.at_ms = at_ms
    contact.tie = tie
    if touches:
        contact.touch_day = touch_day + EPOCH_DAY
        contact.touches = tuple((advisor, channel, group) for advisor, channel, group in touches)
    if active:
        contact.active_day = active_day + EPOCH_DAY
        contact.active = tuple((channel, group) for channel, group in active)
    return contact


def encode_contact(contact: Contact) -> bytes:
    """The contact's bytes; equal contacts have equal ones."""
    return _encode(contact_parts(contact))


def decode_contact(data: bytes) -> Contact:
    """The contact of `encode_contact`'s bytes. Raises `ValueError` when they are damaged."""
    return contact_of(_decode(data))


def _creation_parts(entry: Entry) -> list[Any]:
    parts = [
        entry.at_us,
        entry.day - EPOCH_DAY,
        _ACTORS.index(entry.actor or "contact"),
        entry.channel,
        entry.group,
        entry.origin,
        entry.id,
        entry.sequence,
    ]
    while parts[-1] == _USUAL_CREATION[len(parts) - 1]:
        parts.pop()
    return parts


def _creation_of(parts: list[Any]) -> Entry:
    if not 1 <= len(parts) <= len(_USUAL_CREATION):
        raise ValueError(f"a creation has 1 to {len(_USUAL_CREATION)} parts, not {len(parts)}")
    at_us, day, actor, channel, group, origin, event_id, sequence = [*parts, *_USUAL_CREATION[len(parts) :]]
    return Entry(
        at_us,
        sequence,
        CREATED,
        event_id,
        b"",
        day + EPOCH_DAY,
        0,
        actor=_ACTORS[actor],
        channel=channel,
        group=group,
        origin=origin,
    )
