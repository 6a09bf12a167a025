"""Kafka's record batches, decompressed: what producers compress is read as what they do not.

The format is that of https://kafka.apache.org/documentation/#recordbatch; algorithms and checksum are aiokafka's.
"""

from collections.abc import Callable
from struct import Struct

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.util import calc_crc32c

_BEFORE_LENGTH = 12
_HEAD = Struct(">qiibIh")
"""Offset of the first record, length, leader's epoch, format, checksum, attributes."""
_CHECKED_FROM = 21
_RECORDS_FROM = 61

_FORMAT = 2
_CODEC = 0b111
_DECODERS: dict[int, Callable[[bytes], bytes]] = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}


def decompressed(data: bytes) -> bytes | None:
    """The same batches as plain ones, their records and checksums as if sent so.

    `None` where nothing is compressed, or anything is not as it should be.
    """
    batches: list[bytes] = []
    compressed = at = 0
    while len(data) - at >= _RECORDS_FROM:
        offset, length, epoch, version, checksum, attributes = _HEAD.unpack_from(data, at)
        end = at + _BEFORE_LENGTH + length
        if end > len(data):
            break  # cut off by the broker
        batch = data[at:end]
        if attributes & _CODEC:
            if version != _FORMAT or calc_crc32c(batch[_CHECKED_FROM:]) != checksum:
                return None
            try:
                records = _DECODERS[attributes & _CODEC](batch[_RECORDS_FROM:])
            except Exception:  # noqa: BLE001 - whatever a library says of damage: the client words it
                return None
            attributes &= ~_CODEC
            checked = attributes.to_bytes(2, "big", signed=True) + batch[_HEAD.size : _RECORDS_FROM] + records
            length = _RECORDS_FROM - _BEFORE_LENGTH + len(records)
            head = _HEAD.pack(offset, length, epoch, version, calc_crc32c(checked), attributes)
            batch = head[:_CHECKED_FROM] + checked
            compressed += 1
        batches.append(batch)
        at = end
    return b"".join(batches) if compressed else None
