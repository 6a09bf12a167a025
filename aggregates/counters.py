"""Counters of a local day: what they are called, what they hold, how they add, and their bytes.

A counter has a *field*, a tuple of its metric's letter and its dimensions, and a *value*: a count, or for durations
a sparse vector of slots. Values add and subtract exactly, so a correction is the old contribution taken away and the
new one added. Equal counters have equal bytes whatever the order they came about in. The ledger, its caches and
batches know fields and values as bytes only; `sums` adds those.

| metric | dimensions | value |
|---|---|---|
| `FIRST_RESPONSE` | origin, group, channel, advisor | vector |
| `RESPONSE` | origin, group, channel, advisor | vector |
| `INTERACTION` | origin, ((advisor, channel, group), …) that reached one contact this day | contacts |
| `UNCOUNTED` | origin, group, channel, advisor | advisor messages on channels that are not effective |
| `NEW_CONTACT` | origin, entry group, channel, status | contacts created this day |
| `ORIGIN` | origin, current group, channel, engaged, closed, resolved | contacts created this day, still there |
| `NEW_CONVERSATION` | origin, group, channel, opener, hour | conversations started |
| `ACTIVE` | origin, ((channel, group, active today, day last active before), …) of one contact | contacts |
| `CLOSED` | origin, group, channel, advisor, transferred | conversations closed |
| `WAITING` | origin, group, channel, snoozed, since (ms) | contacts waiting since an instant of this day |
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from aggregates.errors import NegativeCounter
from aggregates.sketch import bin_of

FIRST_RESPONSE = "f"
RESPONSE = "r"
INTERACTION = "i"
UNCOUNTED = "u"
NEW_CONTACT = "n"
ORIGIN = "o"
NEW_CONVERSATION = "c"
ACTIVE = "a"
CLOSED = "x"
WAITING = "w"

LIVE, DELETED, MERGED = 0, 1, 2
"""The status of a contact in `NEW_CONTACT`."""

Field = tuple[Any, ...]
Vector = dict[int, int]
Value = int | Vector

# Slots of a vector. The bins of the two clocks alternate, so that a later field of one kind never moves the other.
COUNT, WITHOUT_SCHEDULE, TARGETED, WITHIN_ELAPSED, WITHIN_BUSINESS = range(5)
FIRST_ELAPSED_BIN, FIRST_BUSINESS_BIN = 8, 9


# Bits of a reckoning.
_HAS_TARGET, _IN_ELAPSED, _IN_BUSINESS = 1, 2, 4
_FLAG_BITS = 3


def reckoning(elapsed_ms: int, business_ms: int | None, target_ms: int | None) -> int:
    """What an answer is counted with, but for its elapsed time: business time, and how it stands to the target.

    One integer, kept with the answer in its contact's journal: what was counted can be taken back exactly, whatever
    became of settings and zone data since. Negative where no schedule applies.
    """
    flags = 0
    if target_ms is not None:
        flags = _HAS_TARGET
        if elapsed_ms <= target_ms:
            flags |= _IN_ELAPSED
        if (elapsed_ms if business_ms is None else business_ms) <= target_ms:
            flags |= _IN_BUSINESS
    return -1 - flags if business_ms is None else business_ms << _FLAG_BITS | flags


def business_ms_of(number: int) -> int | None:
    """The business time in a reckoning; `None` where no schedule applied."""
    return None if number < 0 else number >> _FLAG_BITS


def observation(elapsed_ms: int, business_ms: int | None, target_ms: int | None) -> Vector:
    """The vector of one duration on both clocks; without a schedule (`None`) business is elapsed, and flagged."""
    return reckoned_observation(elapsed_ms, reckoning(elapsed_ms, business_ms, target_ms))


def reckoned_observation(elapsed_ms: int, number: int) -> Vector:
    """The vector of one duration and its reckoning; without a schedule business time is elapsed, and flagged."""
    vector = {COUNT: 1}
    business_ms = business_ms_of(number)
    flags = (-1 - number if business_ms is None else number) & 7
    if business_ms is None:
        vector[WITHOUT_SCHEDULE] = 1
        business_ms = elapsed_ms
    if flags & _HAS_TARGET:
        vector[TARGETED] = 1
        if flags & _IN_ELAPSED:
            vector[WITHIN_ELAPSED] = 1
        if flags & _IN_BUSINESS:
            vector[WITHIN_BUSINESS] = 1
    vector[FIRST_ELAPSED_BIN + 2 * bin_of(elapsed_ms)] = 1
    vector[FIRST_BUSINESS_BIN + 2 * bin_of(business_ms)] = 1
    return vector


def elapsed_bins(vector: Vector) -> Vector:
    """The sketch bins of the elapsed clock."""
    return _bins(vector, FIRST_ELAPSED_BIN)


def business_bins(vector: Vector) -> Vector:
    """The sketch bins of the business clock."""
    return _bins(vector, FIRST_BUSINESS_BIN)


def _bins(vector: Vector, first: int) -> Vector:
    return {(slot - first) >> 1: n for slot, n in vector.items() if slot >= first and not (slot - first) & 1}


class Deltas:
    """What folding changed: `days[day][field]` is how much to add to that counter (`day` = `date.toordinal()`)."""

    __slots__ = ("days",)

    def __init__(self) -> None:
        self.days: dict[int, dict[Field, Value]] = {}

    def count(self, day: int, field: Field, times: int) -> None:
        """Add `times` (which may be negative) to a count."""
        fields = self.days.get(day)
        if fields is None:
            fields = self.days[day] = {}
        fields[field] = fields.get(field, 0) + times  # type: ignore[operator]  # a field is always of one kind

    def observe(self, day: int, field: Field, vector: Vector, times: int) -> None:
        """Add a vector `times` times (which may be negative)."""
        fields = self.days.setdefault(day, {})
        into = fields.get(field)
        if into is None:
            into = fields[field] = {}
        assert isinstance(into, dict)
        for slot, n in vector.items():
            into[slot] = into.get(slot, 0) + n * times

    def add(self, other: "Deltas", times: int) -> None:
        """Add all of another's deltas `times` times."""
        for day, fields in other.days.items():
            for field, value in fields.items():
                if isinstance(value, dict):
                    self.observe(day, field, value, times)
                else:
                    self.count(day, field, value * times)

    def encoded(self) -> dict[int, dict[bytes, bytes]]:
        """Per day the deltas of all fields that change, as bytes."""
        days: dict[int, dict[bytes, bytes]] = {}
        for day, fields in self.days.items():
            into: dict[bytes, bytes] = {}
            for field, value in fields.items():
                if any(value.values()) if isinstance(value, dict) else value:
                    into[encode_field(field)] = encode_value(value)
            if into:
                days[day] = into
        return days

    def clear_zeros(self) -> None:
        """Forget what was added and taken away again, so that it costs no write."""
        for day, fields in list(self.days.items()):
            for field, value in list(fields.items()):
                if not (any(value.values()) if isinstance(value, dict) else value):
                    del fields[field]
            if not fields:
                del self.days[day]


def added(value: Value | None, delta: Value, field: Field = ()) -> Value | None:
    """`value + delta`; `None` when nothing is left. Raises `NegativeCounter`; neither argument is changed."""
    if isinstance(delta, int):
        total = (value or 0) + delta  # type: ignore[operator]  # a field is always of one kind
        if total < 0:
            raise NegativeCounter(field)
        return total or None
    vector = dict(value) if isinstance(value, dict) else {}
    for slot, n in delta.items():
        total = vector.get(slot, 0) + n
        if total < 0:
            raise NegativeCounter(field)
        if total:
            vector[slot] = total
        else:
            vector.pop(slot, None)
    return vector or None


_encode = msgspec.msgpack.Encoder().encode
_decode_field = msgspec.msgpack.Decoder(tuple[Any, ...]).decode
_decode_value = msgspec.msgpack.Decoder(int | list[int]).decode


def encode_field(field: Field) -> bytes:
    """The field's bytes: one msgpack array."""
    return _encode(field)


def decode_field(data: bytes) -> Field:
    """The field of `encode_field`'s bytes. Raises `ValueError` when they are none."""
    field = _decode_field(data)
    return tuple(_tuples(item) if type(item) is list else item for item in field)


def _tuples(items: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuples(item) if type(item) is list else item for item in items)


def encode_value(value: Value) -> bytes:
    """A count as a msgpack integer; a vector as one array, packed."""
    return _encode(value if isinstance(value, int) else packed(value))


def decode_value(data: bytes) -> Value:
    """The value of `encode_value`'s bytes. Raises `ValueError` when they are none."""
    value = _decode_value(data)
    return value if isinstance(value, int) else unpacked(value)


def packed(vector: Vector) -> list[int]:
    """A vector as slot steps and counts in turn, slots rising: small numbers, one list for one vector."""
    numbers: list[int] = []
    before = 0
    for slot in sorted(vector):
        numbers += (slot - before, vector[slot])
        before = slot
    return numbers


def unpacked(numbers: list[int]) -> Vector:
    """The vector of `packed`'s numbers."""
    vector: Vector = {}
    slot = 0
    for step, n in zip(numbers[::2], numbers[1::2], strict=True):
        slot += step
        vector[slot] = n
    return vector


def sums(fields: Iterable[bytes], held: Iterable[bytes], deltas: Iterable[bytes]) -> list[bytes]:
    """What each field shall hold: what is held of it (empty: nothing) and its delta, added; empty where none is left.

    Raises `NegativeCounter`, and `ValueError` when bytes are damaged.
    """
    totals = []
    for field, before, delta in zip(fields, held, deltas, strict=True):
        value = decode_value(before) if before else None
        change = decode_value(delta)
        try:
            total = added(value, change)
        except NegativeCounter:
            raise NegativeCounter(decode_field(field)) from None
        totals.append(b"" if total is None else encode_value(total))
    return totals


def combined(first: bytes, second: bytes) -> bytes:
    """Both deltas of a field as one; empty when they cancel out."""
    both = Deltas()
    for delta in (first, second):
        value = decode_value(delta)
        if isinstance(value, dict):
            both.observe(0, (), value, 1)
        else:
            both.count(0, (), value)
    return both.encoded().get(0, {}).get(encode_field(()), b"")
