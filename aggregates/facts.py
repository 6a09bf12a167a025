"""Facts: the rows behind the numbers. A number of the report counts facts, and its list shows them.

What a contact contributes follows from its events alone, so a correction takes old facts away and adds new ones. Two
sorts exist. *Events' facts* are made by the step of one entry and never change. *Standing facts* say what the contact
is now (its creation with what became of it, and its wait); they follow from its state, and replace each other.

A fact belongs to a contact and to a local day of the account. Its fields by kind; the others are empty:

| kind | day, instant `at_ms` | group | channel | advisor | conversation | text | since_ms | business_ms | flags |
|---|---|---|---|---|---|---|---|---|---|
| FIRST_RESPONSE | creation's day, answer | moment's | answer's | who answered | answer's | | start | yes | duration |
| RESPONSE | answer | moment's | answer's | who answered | answer's | | start | yes | duration |
| TOUCH | first of the day with this advisor, channel and group | yes | yes | yes | | | | | |
| ACTION | first of the day with this channel and group | yes | yes | | | | | | |
| STARTED | start | moment's | opening | | started | opener | | | hour |
| CLOSED | close or transfer | moment's | opening | who closed | closed | reason | | | transferred |
| UNCOUNTED | message on a channel that is not effective | yes | yes | yes | | | | | |
| CONTACT | creation | current | creation's | | | by | | | contact |
| WAITING | since when | current | of the wait | | | | | | snoozed |

`entry_group` is of CONTACT only. Instants are UTC milliseconds, days are `date.toordinal()`, durations milliseconds.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

(FIRST_RESPONSE, RESPONSE, TOUCH, ACTION, STARTED, CLOSED, UNCOUNTED, CONTACT, WAITING) = range(9)

# Flags of a duration.
TARGETED: Final = 1
"""The account had a target for it."""
WITHIN_ELAPSED: Final = 2
WITHIN_BUSINESS: Final = 4
WITHOUT_SCHEDULE: Final = 8
"""No schedule applied: business time is elapsed time."""

# Flags of a contact.
DELETED: Final = 1
"""Deleted, and not merged: a merge is stronger."""
MERGED: Final = 2
ENGAGED: Final = 4
CLOSED_ONCE: Final = 8
RESOLVED: Final = 16
AT_REST: Final = 32

TRANSFERRED: Final = 1
SNOOZED: Final = 1

MAX_REASON: Final = 200
"""Characters of a closing reason that are kept."""


class Fact(Struct, frozen=True, array_like=True, gc=False):
    """One row; see the table above. `tie` counts the contact's entries before it at the same millisecond."""

    kind: int
    day: int
    at_ms: int
    tie: int
    origin: str | None
    group: str | None
    channel: str | None
    advisor: str | None = None
    flags: int = 0
    since_ms: int = 0
    business_ms: int = 0
    conversation: str | None = None
    text: str | None = None
    entry_group: str | None = None


_SINGLE: Final = frozenset({FIRST_RESPONSE, CONTACT, WAITING})
"""A contact has one of these at a time; an entry makes at most one of every other kind."""

_INSTANT_BYTES: Final = 6

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


def fact_field(contact_id: str, fact: Fact) -> bytes:
    """Names a fact among those of its account's day, and follows from the events alone.

    The kind; of kinds that may repeat the instant (6 bytes) and the tie (its length, then that many bytes); and the
    contact's id.
    """
    return field_of(contact_id.encode(), fact)


def field_of(contact: bytes, fact: Fact) -> bytes:
    """As `fact_field`, the contact's id as bytes: where many facts of one contact are named."""
    kind = fact.kind
    if kind in _SINGLE:
        return _KIND_BYTES[kind] + contact
    tie = fact.tie
    if not tie:
        return (kind << 56 | fact.at_ms << 8).to_bytes(8, "big") + contact
    width = (tie.bit_length() + 7) // 8
    head = (((kind << 48 | fact.at_ms) << 8 | width) << 8 * width) | tie
    return head.to_bytes(1 + _INSTANT_BYTES + 1 + width, "big") + contact


def fact_value(fact: Fact) -> bytes:
    """What a fact says beside its field and day: a msgpack array, trailing empty items left out.

    Equal facts have equal bytes. The most frequent kinds are written straight away, up to the last item that they have.
    """
    kind = fact.kind
    if kind == ACTION and fact.channel:
        return _encode((fact.origin, fact.group, fact.channel))
    if kind == TOUCH and fact.advisor:
        return _encode((fact.origin, fact.group, fact.channel, fact.advisor))
    if kind == RESPONSE and fact.conversation:
        since_ms = fact.since_ms
        elapsed_ms = fact.at_ms - since_ms if since_ms else None
        answer = (fact.origin, fact.group, fact.channel, fact.advisor, fact.flags, elapsed_ms, fact.business_ms)
        return _encode((*answer, fact.conversation))
    if kind == STARTED and fact.text:
        return _encode((fact.origin, fact.group, fact.channel, None, fact.flags, None, 0, fact.conversation, fact.text))
    return whole_value(fact)


def whole_value(fact: Fact) -> bytes:
    """`fact_value` of any fact: what it says, item by item."""
    items = [
        fact.origin,
        fact.group,
        fact.channel,
        fact.advisor,
        fact.flags,
        fact.at_ms - fact.since_ms if fact.since_ms else None,
        fact.business_ms,
        fact.conversation,
        fact.text,
        fact.entry_group,
    ]
    if fact.kind in _SINGLE:
        items = [fact.at_ms, fact.tie, *items]
    while items and (items[-1] is None or items[-1] == 0):  # an empty text is one
        items.pop()
    return _encode(items)


def read_fact(day: int, field: bytes, value: bytes) -> tuple[str, Fact]:
    """The contact's id and the fact of a field and its value. Raises `ValueError` when they are damaged."""
    kind = field[0]
    items = _decode(value)
    if kind in _SINGLE:
        at_ms, tie = items[0], items[1] if len(items) > 1 else 0
        items = items[2:]
        contact = field[1:]
    else:
        at_ms = int.from_bytes(field[1 : 1 + _INSTANT_BYTES], "big")
        contact_at = 2 + _INSTANT_BYTES + field[1 + _INSTANT_BYTES]
        tie = int.from_bytes(field[2 + _INSTANT_BYTES : contact_at], "big")
        contact = field[contact_at:]
    if kind > WAITING or len(items) > _ITEMS:
        raise ValueError(f"a fact of kind {kind} with {len(items)} items")
    origin, group, channel, advisor, flags, elapsed_ms, business_ms, conversation, text, entry_group = [
        *items,
        *_NO_ITEMS[len(items) :],
    ]
    since_ms = 0 if elapsed_ms is None else at_ms - elapsed_ms
    return contact.decode(), Fact(
        kind,
        day,
        at_ms,
        tie,
        origin,
        group,
        channel,
        advisor,
        flags or 0,
        since_ms,
        business_ms or 0,
        conversation,
        text,
        entry_group,
    )


_KIND_BYTES: Final = [bytes((kind,)) for kind in range(WAITING + 1)]
_ITEMS: Final = 10
_NO_ITEMS: Final[list[Any]] = [None] * _ITEMS
