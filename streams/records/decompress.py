"""Kafka's record batches, decompressed: what producers compress is read as what they do not.

The format is that of https://kafka.apache.org/documentation/#recordbatch; algorithms and checksum are aiokafka's.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.util import calc_crc32c

_BEFORE_LENGTH = 12
_HEAD = Struct(">qiibIh")
_CHECKED_FROM = 21
_RECORDS_FROM = 61

_FORMAT = 2
_CODEC = 0b111
_DECODERS: dict[int, Callable[[bytes], bytes]] = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}


class Head(NamedTuple):
    """The beginning of a batch."""

    offset: int
    length: int
    leader_epoch: int
    version: int
    checksum: int
    attributes: int


PIECE_BYTES = 256 << 10
"""How much is decompressed at a time, or one batch if that is longer: the rest stays as short as it came."""


def decompressed(data: bytes) -> Iterator[bytes]:
    """The same batches as plain ones, their records and checksums as if sent so, piece by piece.

    A batch that is not as it should be ends it: it comes as it is, with all behind it.
    """
    held: list[bytes] = []
    size = at = 0
    while len(data) - at >= _BEFORE_LENGTH:
        end = at + _BEFORE_LENGTH + int.from_bytes(data[at + _BEFORE_LENGTH - 4 : at + _BEFORE_LENGTH], "big")
        if end > len(data):
            break  # cut off by the broker
        plain = _plain(data[at:end])
        if plain is None:
            held.append(data[at:])
            break
        held.append(plain)
        size += len(plain)
        at = end
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _plain(batch: bytes) -> bytes | None:
    if len(batch) < _RECORDS_FROM:
        return None  # a message of a format before batches
    head = Head._make(_HEAD.unpack_from(batch))
    codec = head.attributes & _CODEC
    if not codec:
        return batch
    if head.version != _FORMAT or codec not in _DECODERS or calc_crc32c(batch[_CHECKED_FROM:]) != head.checksum:
        return None
    try:
        records = _DECODERS[codec](batch[_RECORDS_FROM:])
    except Exception:  # noqa: BLE001 - whatever a library says of damage: the client words it
        return None
    attributes = head.attributes & ~_CODEC
    checked = attributes.to_bytes(2, "big", signed=True) + batch[_HEAD.size : _RECORDS_FROM] + records
    length = _RECORDS_FROM - _BEFORE_LENGTH + len(records)
    plain = head._replace(length=length, checksum=calc_crc32c(checked), attributes=attributes)
    return _HEAD.pack(*plain)[:_CHECKED_FROM] + checked
