"""Rewrites compressed record batches (format v2) as uncompressed ones, up to a limit.

The format is that of https://kafka.apache.org/documentation/#recordbatch; the checksum is aiokafka's. Nothing else here
decompresses a batch, aiokafka least of all: it does so whole, however much it is.
"""

from collections.abc import Iterator
from struct import Struct, error
from typing import Final, NamedTuple

from aiokafka.record.util import calc_crc32c

from schemas.limits import MAX_BATCH_BYTES
from streams.kafka.decompression import Damaged, unpacked

_BEFORE_LENGTH = 12
_HEAD = Struct(">qiibIh")
_CHECKED_FROM = 21
_LAST_DELTA = slice(23, 27)
_MAX_TIMESTAMP = slice(35, 43)
_PRODUCER_ID = slice(43, 51)
_COUNT = slice(57, 61)
_RECORDS_FROM = 61

_MAGIC = 16
_FORMAT = 2
_CODEC = 0b111
_TRANSACTIONAL = 1 << 4

_MOST_RECORDS: Final = 1 << 17
"""Records of one batch, as far as they are read: 128 bytes each are more than an event has."""

TOO_LARGE, DAMAGED = "batch-too-large", "batch-damaged"


class Head(NamedTuple):
    """The beginning of a batch."""

    offset: int
    length: int
    leader_epoch: int
    version: int
    checksum: int
    attributes: int


class Rest(NamedTuple):
    """Records of a batch that are not read."""

    reason: str
    detail: str
    first_offset: int
    last_offset: int
    timestamp_ms: int
    producer_id: int = -1
    is_transactional: bool = False


PIECE_BYTES = 256 << 10
"""How much is decompressed at a time, or one batch if that is longer: the rest stays as short as it came."""

LONG_BYTES = 1 << 20
"""A batch that holds more is handed out in pieces."""


def decompressed(data: bytes) -> Iterator[bytes | Rest]:
    """The same batches as plain ones, their records and checksums as if sent so, piece by piece.

    What is damaged on its way, by its checksum, comes as it is, and so does what is in a format before batches.
    """
    held: list[bytes] = []
    size = 0
    for plain in plain_batches(data):
        if isinstance(plain, Rest):
            if held:
                yield b"".join(held)
                held, size = [], 0
            yield plain
            continue
        held.append(plain)
        size += len(plain)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def plain_batches(data: bytes) -> Iterator[bytes | Rest]:
    """The batches one by one; a long one in several."""
    at = 0
    while len(data) - at >= _BEFORE_LENGTH:
        end = at + _BEFORE_LENGTH + int.from_bytes(data[at + _BEFORE_LENGTH - 4 : at + _BEFORE_LENGTH], "big")
        if end > len(data):
            return  # cut off by the broker
        batch = data[at:end]
        at = end
        if len(batch) <= _MAGIC:
            yield batch
        elif batch[_MAGIC] < _FORMAT:
            rest = _old_rest(batch)
            yield batch if rest is None else rest
        else:
            yield from _plain(batch)


def _plain(batch: bytes) -> Iterator[bytes | Rest]:
    if len(batch) < _RECORDS_FROM:
        yield batch
        return
    head = Head._make(_HEAD.unpack_from(batch))
    codec = head.attributes & _CODEC
    if not codec or head.version != _FORMAT or calc_crc32c(batch[_CHECKED_FROM:]) != head.checksum:
        yield batch
        return
    last_delta = int.from_bytes(batch[_LAST_DELTA], "big", signed=True)
    try:
        records, is_whole = unpacked(codec, batch[_RECORDS_FROM:], MAX_BATCH_BYTES)
    except Damaged as damage:
        yield _rest(batch, head, DAMAGED, f"the batch cannot be decompressed: {damage}", 0, last_delta)
        return
    count = int.from_bytes(batch[_COUNT], "big", signed=True)
    attributes = head.attributes & ~_CODEC
    head = head._replace(attributes=attributes)
    if is_whole and len(records) <= LONG_BYTES and count <= _MOST_RECORDS:
        yield _sealed(batch, head, records, count, last_delta)
        return
    yield from _in_pieces(batch, head, records, count, last_delta, is_whole=is_whole)


def _in_pieces(
    batch: bytes, head: Head, records: bytes, count: int, last_delta: int, *, is_whole: bool
) -> Iterator[bytes | Rest]:
    """A long batch as several, and what there is no room for."""
    start = at = done = here = 0
    delta = next_delta = -1
    while done < min(count, _MOST_RECORDS):
        try:
            length, body = _varint(records, at)
            end = body + length
            if length < 0 or end > len(records):
                break
            _, after = _varint(records, body + 1)
            next_delta, _ = _varint(records, after)
        except IndexError:
            break
        if next_delta <= delta or next_delta > last_delta:
            break
        delta = next_delta
        done, here, at = done + 1, here + 1, end
        if at - start >= PIECE_BYTES:
            is_last = is_whole and done == count
            yield _sealed(batch, head, records[start:at], here, last_delta if is_last else delta)
            start, here = at, 0
    is_all = is_whole and done == count
    if here:
        yield _sealed(batch, head, records[start:at], here, last_delta if is_all else delta)
    if is_all:
        return
    if is_whole and done < min(count, _MOST_RECORDS):
        reason, detail = DAMAGED, f"record {done + 1} of the batch's {count} is no record"
    else:
        reason = TOO_LARGE
        detail = (
            f"the batch holds more than {MAX_BATCH_BYTES} bytes or {_MOST_RECORDS} records: its first {done} records "
            "are read"
        )
    if delta < last_delta:
        yield _rest(batch, head, reason, detail, delta + 1, last_delta)


def _rest(batch: bytes, head: Head, reason: str, detail: str, first_delta: int, last_delta: int) -> Rest:
    first, last = head.offset + first_delta, head.offset + max(first_delta, last_delta)
    return Rest(
        reason,
        f"offsets {first} to {last}: {detail}",
        first,
        last,
        int.from_bytes(batch[_MAX_TIMESTAMP], "big", signed=True),
        int.from_bytes(batch[_PRODUCER_ID], "big", signed=True),
        bool(head.attributes & _TRANSACTIONAL),
    )


def _sealed(batch: bytes, head: Head, records: bytes, count: int, last_delta: int) -> bytes:
    """A plain batch of these records; all else is that of `batch`."""
    checked = b"".join(
        (
            head.attributes.to_bytes(2, "big", signed=True),
            last_delta.to_bytes(4, "big", signed=True),
            batch[_LAST_DELTA.stop : _COUNT.start],
            count.to_bytes(4, "big", signed=True),
            records,
        )
    )
    length = _RECORDS_FROM - _BEFORE_LENGTH + len(records)
    return _HEAD.pack(*head._replace(length=length, checksum=calc_crc32c(checked)))[:_CHECKED_FROM] + checked


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, its sign in the last bit, and where the next begins. Raises `IndexError`."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1 ^ -(number & 1), at
        shift += 7
        if shift > 63:
            raise IndexError


def _old_rest(message: bytes) -> Rest | None:
    """What is wrong with a message of an old format, which may hold others, compressed; nothing if nothing is.

    Its checksum is looked at by aiokafka, and so is all else: it is only kept from decompressing too much.
    """
    magic, attributes = message[_MAGIC], message[_MAGIC + 1] if len(message) > _MAGIC + 1 else 0
    codec = attributes & _CODEC
    if not codec:
        return None
    offset = int.from_bytes(message[:8], "big", signed=True)
    try:
        at = _MAGIC + 2 + 8 * magic
        (key_length,) = _INT.unpack_from(message, at)
        at += 4 + max(key_length, 0)
        (length,) = _INT.unpack_from(message, at)
        if length < 0:
            return None
        found = unpacked(codec, message[at + 4 : at + 4 + length], MAX_BATCH_BYTES)
    except error:
        return None
    except Damaged as damage:
        return Rest(DAMAGED, f"up to offset {offset}: the message cannot be decompressed: {damage}", offset, offset, -1)
    if found.is_whole:
        return None
    detail = f"up to offset {offset}: the message holds more than {MAX_BATCH_BYTES} bytes, and none is read"
    return Rest(TOO_LARGE, detail, offset, offset, -1)


_INT = Struct(">i")
