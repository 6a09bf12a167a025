"""Parts of a published report: immutable values that a manifest names, whatever they hold.

A part has a *name*, which says what it is of (a day, or the account's settings), and a *version*, which says who wrote
it: an attempt of a snapshotter and a number. No two attempts share a version, so nobody overwrites or sweeps what
another wrote.
"""

import itertools
import secrets
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

SETTINGS: Final = "settings"
"""The name of the part that holds the settings which a revision was made with."""


class Part(Struct, frozen=True):
    """One version of a part."""

    name: str
    """Of a day its ordinal, or `SETTINGS`."""
    version: str

    @property
    def member(self) -> str:
        """`NAME:VERSION`: how notes about it and its key in Redis call it."""
        return f"{self.name}:{self.version}"

    @classmethod
    def of_member(cls, member: bytes | str) -> "Part":
        """The part of a `member`."""
        text = member if isinstance(member, str) else member.decode()
        name, _, version = text.rpartition(":")
        return cls(name, version)


class Attempt:
    """One attempt to publish an account: the versions of what it writes."""

    def __init__(self) -> None:
        # 64 random bits. Not of the lock's token: one holder may try an account twice.
        self._prefix = secrets.token_urlsafe(8)
        self._numbers = itertools.count(1)

    def part(self, name: str) -> Part:
        """A new version of a part, that nobody has written or will write."""
        return Part(name, f"{self._prefix}.{next(self._numbers)}")


def day_name(day: int) -> str:
    """The name of a day's part."""
    return str(day)


def days_of(parts: Mapping[str, str]) -> dict[int, Part]:
    """The days among the parts of a manifest (name → version)."""
    return {int(name): Part(name, version) for name, version in parts.items() if name.isascii() and name.isdigit()}
