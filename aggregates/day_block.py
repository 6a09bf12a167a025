"""A published day of an account: its facts as one compressed block of columns, which never changes.

Rows stand by kind, then contact id, instant and event order. A block keeps each column of each kind by itself, so that
a reader takes only what a number needs: in as many bytes as its largest number has, first the lowest byte of all rows,
then the second of all… A column of zeros takes none. Names are numbers into one list for each dimension, in which 0 is
none. Equal facts give equal bytes.

The bytes: a checksum (CRC-32, 4 bytes) of what follows, and one msgpack array. Its four parts are compressed (zstd)
each by itself: head and columns, columns that only lists need, ids of contacts, ids of conversations.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import accumulate
from typing import Annotated, Final, NamedTuple

import cramjam
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from aggregates.facts import CLOSED, WAITING, Fact
from schemas.limits import MAX_DAY_NAMES

VERSION: Final = 1
KINDS: Final = WAITING + 1
OTHER: Final = "other"
"""Stands for the names of a day that are past the bound (`MAX_DAY_NAMES`)."""

DIMENSION_OF: Final[Mapping[str, str]] = {
    "origin": "origin",
    "group": "group",
    "entry_group": "group",
    "channel": "channel",
    "advisor": "advisor",
    "text": "text",
}
"""Whose list of names each column of names is about. `text` is openers, and reasons of closes."""
DIMENSIONS: Final = tuple(dict.fromkeys(DIMENSION_OF.values()))

COLUMNS: Final = (
    "at_ms",
    "tie",
    "contact",
    *DIMENSION_OF,
    "flags",
    "elapsed_ms",
    "business_ms",
    "conversation",
)
"""The columns of a block. `contact` counts from 0; in `conversation`, as in names, 0 is none."""
_LIST_COLUMNS: Final = frozenset({"at_ms", "tie", "conversation"})
_PLACE: Final = {name: place for place, name in enumerate(COLUMNS)}

_FOR_LISTS: Final = np.array([[kind != WAITING and name in _LIST_COLUMNS for name in COLUMNS] for kind in range(KINDS)])
"""Which columns of which kinds stand in the part for lists: every number is made without it, unless a cut is asked."""

_LEVEL: Final = 6
_CHECKSUM_BYTES: Final = 4
_MAX_WIDTH: Final = 8
_MAX_ROWS: Final = 1 << 31
_MAX_INSTANT_MS: Final = 1 << 53
_MAX_RATIO: Final = 1 << 15
"""zstd's blocks of 128 kB take four bytes or more: no part can be this much larger than its compressed bytes."""

Numbers = npt.NDArray[np.integer]
Contribution = tuple[str, Fact]
"""A contact's id and one of its facts."""


class _Part(NamedTuple):
    """Compressed bytes, and how many they are when decompressed."""

    size: Annotated[int, Meta(ge=0)]
    packed: bytes


class _Head(NamedTuple):
    sizes: list[Annotated[int, Meta(ge=0, le=_MAX_ROWS)]]
    """Rows of each kind."""
    widths: bytes
    """Bytes of a number: a byte for each column of each kind."""
    start_ms: Annotated[int, Meta(ge=-_MAX_INSTANT_MS, le=_MAX_INSTANT_MS)]
    """The smallest instant, from which the others count."""
    names: list[list[str]]
    folded: list[int]
    """Of each dimension, how many names are folded into `OTHER`."""


class DayBlock(NamedTuple):
    """A block, its parts still compressed: `DayColumns` opens many at once."""

    version: Annotated[int, Meta(ge=0)]
    day: Annotated[int, Meta(ge=date.min.toordinal(), le=date.max.toordinal())]
    head_size: Annotated[int, Meta(ge=0)]
    """Bytes of the head, which stands before the columns."""
    columns: _Part
    list_columns: _Part
    contacts: _Part
    conversations: _Part


_HEAD_LENGTHS: Final = [KINDS, KINDS * len(COLUMNS), len(DIMENSIONS), len(DIMENSIONS)]

_encode = msgspec.msgpack.Encoder().encode
_decode_block = msgspec.msgpack.Decoder(DayBlock).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_ids = msgspec.msgpack.Decoder(list[str]).decode


def encode_block(day: int, contributions: Iterable[Contribution]) -> bytes:
    """The block of a day's facts."""
    rows = sorted(contributions, key=_row_order)
    contacts = _Codes(sorted({contact for contact, _ in rows}), first=0)
    conversations = _Codes(sorted({fact.conversation for _, fact in rows if fact.conversation is not None}))
    origins = _names(Counter(fact.origin for _, fact in rows))
    groups = _names(Counter(group for _, fact in rows for group in {fact.group, fact.entry_group}))
    channels = _names(Counter(fact.channel for _, fact in rows))
    advisors = _names(Counter(fact.advisor for _, fact in rows))
    texts = _names(
        Counter(fact.text for _, fact in rows if fact.kind == CLOSED),
        always={fact.text for _, fact in rows if fact.kind != CLOSED},
    )
    table = [
        (
            fact.at_ms,
            fact.tie,
            contacts[contact],
            origins[fact.origin],
            groups[fact.group],
            groups[fact.entry_group],
            channels[fact.channel],
            advisors[fact.advisor],
            texts[fact.text],
            fact.flags,
            fact.at_ms - fact.since_ms if fact.since_ms else 0,
            fact.business_ms,
            conversations[fact.conversation],
        )
        for contact, fact in rows
    ]
    numbers = np.array(table, dtype="<i8").reshape(len(rows), len(COLUMNS))
    start_ms = int(numbers[:, 0].min()) if rows else 0
    numbers[:, 0] -= start_ms
    sizes = np.bincount([fact.kind for _, fact in rows], minlength=KINDS)
    widths, first = [], 0
    parts: dict[bool, list[bytes]] = {False: [], True: []}
    for kind, size in enumerate(sizes.tolist()):
        part = numbers[first : first + size]
        first += size
        largest_of = part.max(axis=0, initial=0).tolist()
        for column, largest, for_lists in zip(part.T, largest_of, _FOR_LISTS[kind].tolist(), strict=True):
            width = (largest.bit_length() + 7) // 8
            widths.append(width)
            if width:
                parts[for_lists].append(column.copy().view("u1").reshape(size, 8)[:, :width].T.tobytes())
    vocabulary = (origins, groups, channels, advisors, texts)
    head = _encode(
        _Head(
            sizes.tolist(),
            bytes(widths),
            start_ms,
            [names.listed for names in vocabulary],
            [names.folded for names in vocabulary],
        )
    )
    body = _encode(
        DayBlock(
            VERSION,
            day,
            len(head),
            columns=_compressed(head + b"".join(parts[False])),
            list_columns=_compressed(b"".join(parts[True])),
            contacts=_compressed(_encode(contacts.listed)),
            conversations=_compressed(_encode(conversations.listed)),
        )
    )
    return zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") + body


def decode_block(data: bytes) -> DayBlock:
    """The block of `encode_block`'s bytes. Raises `ValueError` when they are damaged, or of another version."""
    body = memoryview(data)[_CHECKSUM_BYTES:]
    if not body or zlib.crc32(body) != int.from_bytes(data[:_CHECKSUM_BYTES], "little"):
        raise ValueError("a damaged day block: its checksum does not fit")
    block = _decode_block(body)
    if block.version != VERSION:
        raise ValueError(f"a day block of version {block.version}, which this program does not know")
    return block


class DayColumns:
    """The columns of several blocks, one after the other; names and ids as each block numbers them.

    Raises `ValueError` for a block that does not hold together, here or when it is asked.
    """

    def __init__(self, blocks: Sequence[DayBlock]) -> None:
        self._blocks = blocks
        opened = _decompressed([block.columns for block in blocks])
        heads = [_decode_head(data[: block.head_size]) for data, block in zip(opened, blocks, strict=True)]
        for block, head in zip(blocks, heads, strict=True):
            if [*map(len, (head.sizes, head.widths, head.names, head.folded))] != _HEAD_LENGTHS:
                raise ValueError("a damaged day block: its head is not that of its version")
            # Rows of a kind differ, so each has a byte at least, unless there is one row.
            if max(head.widths) > _MAX_WIDTH or max(head.sizes) > block.columns.size + block.list_columns.size:
                raise ValueError("a damaged day block: it counts more than it has")
        self._names = [head.names for head in heads]
        self.days = [block.day for block in blocks]
        self.sizes = np.array([head.sizes for head in heads], dtype=np.int64).reshape(-1, KINDS)
        """Of each block, the rows of each kind."""
        self.day_sizes = self.sizes
        self.folded = [dict(zip(DIMENSIONS, head.folded, strict=True)) for head in heads]
        """Of each block, how many names of each dimension are folded into `OTHER`."""
        self._starts_ms = np.array([head.start_ms for head in heads], dtype=np.int64)
        self._widths = np.frombuffer(b"".join([head.widths for head in heads]), dtype="u1").reshape(
            -1, *_FOR_LISTS.shape
        )
        lengths = self._widths * self.sizes[:, :, None]
        self._begins = np.where(_FOR_LISTS, _begins(lengths * _FOR_LISTS), _begins(lengths * ~_FOR_LISTS))
        self._fill = {part: (lengths * (part == _FOR_LISTS)).sum(axis=(1, 2)).tolist() for part in (False, True)}
        columns = [data[block.head_size :] for data, block in zip(opened, blocks, strict=True)]
        self._parts = {False: self._filled(False, columns)}

    def names_of(self, dimension: str) -> list[list[str | None]]:
        """Of each block, the name of each number; the first is `None`."""
        place = DIMENSIONS.index(dimension)
        return [[None, *names[place]] for names in self._names]

    def contacts_of(self) -> list[list[str]]:
        """Of each block, the contact of each number."""
        return [*map(_decode_ids, _decompressed([block.contacts for block in self._blocks]))]

    def conversations_of(self) -> list[list[str]]:
        """Of each block, the conversations, of which the first has number 1."""
        return [*map(_decode_ids, _decompressed([block.conversations for block in self._blocks]))]

    def column(self, kind: int, name: str) -> Numbers:
        """A column's numbers, block after block: one for each fact of a kind. Read only."""
        place = _PLACE[name]
        sizes, widths, begins = self.sizes[:, kind], self._widths[:, kind, place], self._begins[:, kind, place]
        widest = int(widths.max(initial=1))
        room = next(room for room in (1, 2, 4, 8) if room >= widest)
        found = np.zeros((int(sizes.sum()), room), dtype="u1")
        part = self._part(bool(_FOR_LISTS[kind, place]))
        for byte in range(widest):
            ends = begins + sizes
            where = zip(part, begins.tolist(), ends.tolist(), (widths > byte).tolist(), strict=True)
            pieces = [data[begin:end] if there else bytes(end - begin) for data, begin, end, there in where]
            found[:, byte] = np.frombuffer(b"".join(pieces), dtype="u1")
            begins = ends
        numbers: Numbers = found.view(f"<u{room}" if room < _MAX_WIDTH else "<i8")[:, 0]
        return numbers + np.repeat(self._starts_ms, sizes) if name == "at_ms" else numbers

    def _part(self, for_lists: bool) -> list[memoryview]:
        if for_lists not in self._parts:
            columns = _decompressed([block.list_columns for block in self._blocks])
            self._parts[for_lists] = self._filled(for_lists, columns)
        return self._parts[for_lists]

    def _filled(self, for_lists: bool, columns: list[memoryview]) -> list[memoryview]:
        if [*map(len, columns)] != self._fill[for_lists]:
            raise ValueError("a damaged day block: its columns do not fill it")
        return columns


def _begins(lengths: Numbers) -> Numbers:
    """Where each column begins, of columns that stand one after the other in each block."""
    ends: Numbers = lengths.reshape(len(lengths), -1).cumsum(axis=1).reshape(lengths.shape)
    return ends - lengths


class _Codes(dict[str | None, int]):
    """Numbers of names; 0 is none, unless they count from 0."""

    def __init__(self, listed: list[str], *, first: int = 1, folded: Iterable[str] = ()) -> None:
        super().__init__({None: 0} if first else {})
        self.update(zip(listed, range(first, first + len(listed)), strict=True))
        self.listed = listed
        others = set(folded)
        self.folded = len(others)
        self.update(dict.fromkeys(others, self.get(OTHER, 0)))


def _names(counts: Counter[str | None], always: Iterable[str | None] = ()) -> _Codes:
    """The numbers of names that occur so often. Past the bound, the most frequent stay, by name where alike."""
    del counts[None]
    kept = set(counts)
    if len(kept) > MAX_DAY_NAMES:
        frequent = sorted(counts, key=lambda name: (-counts[name], name or ""))
        kept = set(frequent[:MAX_DAY_NAMES])
    kept.update(always)
    folded = [name for name in counts if name is not None and name not in kept]
    if folded:
        kept.add(OTHER)
    return _Codes(sorted(name for name in kept if name is not None), folded=folded)


def _row_order(row: Contribution) -> tuple[int, str, int, int]:
    contact, fact = row
    return fact.kind, contact, fact.at_ms, fact.tie


def _compressed(data: bytes) -> _Part:
    return _Part(len(data), bytes(cramjam.zstd.compress(data, _LEVEL)))


def _decompressed(parts: Sequence[_Part]) -> list[memoryview]:
    """The bytes of parts; no more of them are made than they say. One call for all of them is much faster."""
    if any(part.size > len(part.packed) * _MAX_RATIO for part in parts):
        raise ValueError("a damaged day block: it claims to be larger than it can be")
    ends = [*accumulate(part.size for part in parts)]
    found = memoryview(bytearray(ends[-1] if ends else 0))
    try:
        written = cramjam.zstd.decompress_into(b"".join([part.packed for part in parts]), found)
    except cramjam.DecompressionError as error:
        raise ValueError(f"a damaged day block: {error}") from None
    if written != len(found):
        raise ValueError("a damaged day block: it is shorter than it says")
    return [found[end - part.size : end] for part, end in zip(parts, ends, strict=True)]
