"""A shard's day: its facts by field, some of them in one compressed value once the day is at rest.

Facts are fields of the day's hash. When a day rests, they are *sealed*: all of them become one value, under `SEALED`.
What changes after that is written beside it, without opening it: a field over a sealed one counts instead of it, and
an empty value takes it away. The next sealing takes both together. Equal facts have equal sealed bytes.

The bytes of a sealed value: a checksum (CRC-32, 4 bytes) of what follows, the size of what is compressed (4 bytes), and
a zstd frame of one msgpack array: the contacts, all other words that facts hold, and the columns of the facts in order
of contact, instant, kind and tie. A column that has one value throughout has it once.
"""

import zlib
from collections.abc import Mapping
from typing import Final

import cramjam
import msgspec

from aggregates.facts import Fact, fact_field, fact_value, read_fact

TOTALS: Final = b"t"
"""The field of a day's totals (`aggregates/totals.py`)."""
SEALED: Final = b"z"
GONE: Final = b""
"""The value of a field whose sealed fact is no longer true."""

_LEVEL: Final = 9
_NUMBER_BYTES: Final = 4
_HEAD_BYTES: Final = 2 * _NUMBER_BYTES
_MAX_RATIO: Final = 1 << 15
"""zstd's blocks of 128 kB take four bytes or more: nothing can be this much larger than its compressed bytes."""
_COLUMNS: Final = 14

_Columns = tuple[list[str], list[str], list[list[int]]]
"""The contacts, the words, and the columns of `_columns`."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode


def facts_in(day: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The facts of a day's hash, sealed ones included. Raises `ValueError` when they are damaged."""
    sealed = day.get(SEALED)
    facts = {} if sealed is None else unseal(sealed)
    for name, value in day.items():
        if name in (TOTALS, SEALED):
            continue
        if value == GONE:
            facts.pop(name, None)
        else:
            facts[name] = value
    return facts


def seal(fields: Mapping[bytes, bytes]) -> bytes:
    """One value that holds all facts, given by field and value. Raises `ValueError` when they are damaged."""
    facts = sorted((read_fact(0, name, value) for name, value in fields.items()), key=_place)
    data = _encode(_columns(facts))
    body = len(data).to_bytes(_NUMBER_BYTES, "little") + bytes(cramjam.zstd.compress(data, _LEVEL))
    return zlib.crc32(body).to_bytes(_NUMBER_BYTES, "little") + body


def unseal(data: bytes) -> dict[bytes, bytes]:
    """The fields and values of `seal`'s bytes. Raises `ValueError` when they are damaged."""
    body = memoryview(data)[_NUMBER_BYTES:]
    if len(data) < _HEAD_BYTES or zlib.crc32(body) != int.from_bytes(data[:_NUMBER_BYTES], "little"):
        raise ValueError("a damaged sealed day: its checksum does not fit")
    packed = body[_NUMBER_BYTES:]
    size = int.from_bytes(body[:_NUMBER_BYTES], "little")
    if size > len(packed) * _MAX_RATIO:
        raise ValueError("a damaged sealed day: it claims to be larger than it can be")
    found = bytearray(size)
    try:
        written = cramjam.zstd.decompress_into(bytes(packed), found)
    except cramjam.DecompressionError as error:
        raise ValueError(f"a damaged sealed day: {error}") from None
    if written != size:
        raise ValueError("a damaged sealed day: it is shorter than it says")
    try:
        return {fact_field(contact, fact): fact_value(fact) for contact, fact in _facts(*_decode(found))}
    except IndexError:
        raise ValueError("a damaged sealed day: a word or a contact is missing") from None


def _place(found: tuple[str, Fact]) -> tuple[str, int, int, int]:
    contact, fact = found
    return contact, fact.at_ms, fact.kind, fact.tie


def _behind(contact: str, conversation: str | None) -> str | None:
    """What a conversation's id has behind its contact's, if it begins with that."""
    if conversation is None or not conversation.startswith(contact):
        return None
    return conversation.removeprefix(contact)


def _columns(facts: list[tuple[str, Fact]]) -> _Columns:
    contacts: dict[str, int] = {}
    words: dict[str | None, int] = {None: 0}
    rows: list[tuple[int, ...]] = []
    at_ms = 0
    place = 0

    def word(text: str | None) -> int:
        return words.setdefault(text, len(words))

    for contact, fact in facts:
        step, place = contacts.setdefault(contact, len(contacts)) - place, contacts[contact]
        since_ms, at_ms = at_ms, fact.at_ms
        rows.append(
            (
                step,
                fact.kind,
                at_ms - since_ms,
                fact.tie,
                word(fact.origin),
                word(fact.group),
                word(fact.channel),
                word(fact.advisor),
                fact.flags,
                at_ms - fact.since_ms if fact.since_ms else -1,
                fact.business_ms,
                # Many services number the conversations of a contact behind its id.
                -word(rest) if (rest := _behind(contact, fact.conversation)) is not None else word(fact.conversation),
                word(fact.text),
                word(fact.entry_group),
            )
        )
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns = [column[:1] if len(column) > 1 and len(set(column)) == 1 else column for column in columns]
    return list(contacts), [text for text in words if text is not None], columns


def _facts(contacts: list[str], words: list[str], columns: list[list[int]]) -> list[tuple[str, Fact]]:
    if not columns:
        return []
    count = max(map(len, columns))
    if len(columns) != _COLUMNS or any(len(column) not in (1, count) for column in columns):
        raise ValueError("a damaged sealed day: its columns do not fit together")
    names: list[str | None] = [None, *words]
    found: list[tuple[str, Fact]] = []
    place = at_ms = 0
    for step, kind, later_ms, tie, origin, group, channel, advisor, flags, elapsed_ms, *others in zip(
        *(column * count if len(column) < count else column for column in columns), strict=True
    ):
        business_ms, conversation, text, entry_group = others
        place += step
        at_ms += later_ms
        fact = Fact(
            kind,
            0,
            at_ms,
            tie,
            names[origin],
            names[group],
            names[channel],
            names[advisor],
            flags,
            0 if elapsed_ms == -1 else at_ms - elapsed_ms,
            business_ms,
            names[conversation] if conversation >= 0 else f"{contacts[place]}{names[-conversation]}",
            names[text],
            names[entry_group],
        )
        found.append((contacts[place], fact))
    return found
