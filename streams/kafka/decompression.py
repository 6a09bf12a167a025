"""Decompresses bytes up to a limit: 53 kB may hold a gigabyte.

Each of Kafka's four algorithms, in the framings that its clients write. Memory grows with what is found, not with what
the bytes announce, and never beyond the bound.
"""

import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import cramjam

GZIP, SNAPPY, LZ4, ZSTD = range(1, 5)
"""The algorithms, as Kafka numbers them."""

_FIRST_RATIO: Final = 8
_FIRST_BYTES: Final = 64 << 10
_GROWTH: Final = 4

_TOO_SMALL: Final = "failed to write whole buffer"
"""What cramjam says when a buffer is full and there is more."""

_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD: Final = 16
_ANY_MEMBER: Final = zlib.MAX_WBITS | 16


class Unpacked(NamedTuple):
    """What was found: all of it, or the beginning."""

    data: bytes
    is_whole: bool


class Damaged(ValueError):
    """Bytes that are not what the algorithm writes."""


def unpacked(codec: int, data: bytes, most: int) -> Unpacked:
    """Decompress at most so many bytes. Raises `Damaged`."""
    decode = _DECODERS.get(codec)
    if decode is None:
        raise Damaged(f"compression {codec} is not known")
    try:
        return decode(data, most)
    except Damaged:
        raise
    except Exception as error:
        raise Damaged(f"{_NAMES[codec]}: {error}") from error


def _gzip(data: bytes, most: int) -> Unpacked:
    found = bytearray()
    while data:
        member = zlib.decompressobj(_ANY_MEMBER)
        found += member.decompress(data, most + 1 - len(found))
        if len(found) > most:
            return Unpacked(bytes(found[:most]), is_whole=False)
        if not member.eof:
            raise Damaged("gzip: it is cut off")
        data = member.unused_data.lstrip(b"\0")  # padding between members
    return Unpacked(bytes(found), is_whole=True)


def _snappy(data: bytes, most: int) -> Unpacked:
    if len(data) <= _XERIAL_HEAD or not data.startswith(_XERIAL):
        return _snappy_block(data, most)
    found = bytearray()
    at = _XERIAL_HEAD
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise Damaged("snappy: it is cut off")
        block = _snappy_block(data[at + 4 : end], most - len(found))
        found += block.data
        if not block.is_whole:
            return Unpacked(bytes(found), is_whole=False)
        at = end
    return Unpacked(bytes(found), is_whole=True)


def _snappy_block(data: bytes, most: int) -> Unpacked:
    # A block tells its length, and none is longer than 65 times its bytes: to announce more is a lie.
    length = cramjam.snappy.decompress_raw_len(data)
    if length > most:
        return Unpacked(b"", is_whole=False)
    return Unpacked(bytes(cramjam.snappy.decompress_raw(data)), is_whole=True)


def _into(decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes, int], Unpacked]:
    """A decoder that decompresses into a buffer, which grows while it is too small."""

    def decode(data: bytes, most: int) -> Unpacked:
        size = min(most, max(_FIRST_BYTES, _FIRST_RATIO * len(data)))
        while True:
            buffer = bytearray(size)
            try:
                found = decompress_into(data, buffer)
            except cramjam.DecompressionError as error:
                if _TOO_SMALL not in str(error):
                    raise
                if size == most:
                    return Unpacked(bytes(buffer), is_whole=False)
                size = min(most, _GROWTH * size)
            else:
                with memoryview(buffer) as view:
                    return Unpacked(bytes(view[:found]), is_whole=True)

    return decode


_lz4: Any = cramjam.lz4
_zstd: Any = cramjam.zstd
_DECODERS: dict[int, Callable[[bytes, int], Unpacked]] = {
    GZIP: _gzip,
    SNAPPY: _snappy,
    LZ4: _into(_lz4.decompress_into),
    ZSTD: _into(_zstd.decompress_into),
}
_NAMES: Final = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
