"""Record batches that hold far more than their bytes: what a producer may send, by mistake or not."""

import gzip
from collections.abc import Callable

import cramjam
from aiokafka.codec import snappy_encode
from aiokafka.record.util import calc_crc32c, encode_varint

STAMP_MS = 1_772_540_000_000

_CODECS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: lambda data: gzip.compress(data, 6),
    2: snappy_encode,
    3: lambda data: bytes(cramjam.lz4.compress(data)),
    4: lambda data: bytes(cramjam.zstd.compress(data)),
}


def record(delta: int, key: bytes, value: bytes) -> bytes:
    """A record as it stands in a batch."""
    body = bytearray(b"\0")
    for number in (0, delta, len(key)):
        encode_varint(number, body.append)
    body += key
    encode_varint(len(value), body.append)
    body += value
    encode_varint(0, body.append)
    head = bytearray()
    encode_varint(len(body), head.append)
    return bytes(head + body)


def batch(records: bytes, count: int, first: int, codec: int) -> bytes:
    """A batch of these records, compressed as Kafka numbers it."""
    checked = b"".join(
        (
            codec.to_bytes(2, "big"),
            (count - 1).to_bytes(4, "big"),
            2 * STAMP_MS.to_bytes(8, "big"),
            b"\xff" * 14,  # no producer, epoch or sequence
            count.to_bytes(4, "big"),
            _CODECS[codec](records),
        )
    )
    after_length: bytes = b"\0\0\0\0\x02" + calc_crc32c(checked).to_bytes(4, "big") + checked
    head: bytes = first.to_bytes(8, "big") + len(after_length).to_bytes(4, "big")
    return head + after_length


def bomb(count: int, value_bytes: int, first: int, codec: int) -> bytes:
    """A batch of alike records, whose values are a text without end."""
    value = b"0" * value_bytes
    return batch(b"".join(record(delta, b"ana", value) for delta in range(count)), count, first, codec)
