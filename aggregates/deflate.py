"""Compresses bytes that are kept for long and read rarely."""

import zlib
from typing import Final

_QUICKLY: Final = 1
"""zlib's level: the highest saves two hundredths more."""
_WORDS: Final = b"".join(
    word.encode()
    for word in (
        *("restored", "system", "bot", "import", "advisor", "contact", "unknown"),
        *("sms", "call", "email", "instagram", "webchat", "messenger", "whatsapp"),
    )
)
"""What short values are likely to hold; those that are squeezed cannot be read with another one."""
_DEFLATED: Final = b"\x78"
"""How zlib's bytes begin, and no msgpack array does: builds before this one kept those as they are."""

MAX_UNSQUEEZED: Final = 64 << 20
"""No squeezed value is longer; damaged ones may claim to be."""


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


def squeezed(data: bytes) -> bytes:
    """A short value in as few bytes as deflate can; without a checksum. It takes some ten microseconds."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _WORDS)
    return packer.compress(data) + packer.flush()


def unsqueezed(data: bytes) -> bytes:
    """The value of `squeezed`'s bytes. Raises `ValueError` when they are damaged."""
    unpacker = zlib.decompressobj(-15, _WORDS)
    try:
        found = unpacker.decompress(data, MAX_UNSQUEEZED)
    except zlib.error as error:
        raise ValueError(f"squeezed bytes are damaged: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("squeezed bytes are damaged: they end too early or too late")
    return found
