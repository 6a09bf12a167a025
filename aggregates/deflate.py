"""Bytes that are kept for long and read rarely, in half of them or less."""

import zlib
from typing import Final

_QUICKLY: Final = 1
"""zlib's level: the highest saves two hundredths more."""
_DEFLATED: Final = b"\x78"
"""How zlib's bytes begin, and no msgpack array does: builds before this one kept those as they are."""


def deflated(array: bytes) -> bytes:
    """The bytes of a msgpack array, deflated; with a checksum."""
    return zlib.compress(array, _QUICKLY)


def inflated(data: bytes) -> bytes:
    """The msgpack array of `deflated`'s bytes, or of an earlier build's. Raises `ValueError` when they are damaged."""
    if not data.startswith(_DEFLATED):
        return data
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise ValueError(f"deflated bytes are damaged: {error}") from error
