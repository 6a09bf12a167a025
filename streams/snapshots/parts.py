"""Parts of a published report: immutable values that a manifest names, whatever they hold.

A part has a *name*, which says what it is of (a day, a span of days), and a *version*, which says who wrote it: an
attempt of a snapshotter and a number. No two attempts share a version, so nobody overwrites or sweeps what another
wrote. Versions of builds before this are the revision that wrote them.
"""

import itertools
import secrets
from collections.abc import Mapping

from msgspec import Struct

from aggregates.months import Span

_SPAN = "span:"


class Part(Struct, frozen=True):
    """One version of a part."""

    name: str
    """Of a day its ordinal, of a roll-up `span:FIRST-LAST` (by earlier builds `month:FIRST`); days are ordinals."""
    version: str

    @property
    def member(self) -> str:
        """`NAME:VERSION`: how notes about it and its key in Redis call it."""
        return f"{self.name}:{self.version}"

    @classmethod
    def of_member(cls, member: bytes) -> "Part":
        """The part of a `member`."""
        name, _, version = member.decode().rpartition(":")
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


def span_name(span: Span) -> str:
    """The name of the roll-up of a span."""
    return f"{_SPAN}{span.first}-{span.last}"


class Contents(Struct, frozen=True):
    """The parts that a manifest names, by what they are of."""

    days: dict[int, Part]
    spans: dict[Span, Part]


def contents(parts: Mapping[str, str]) -> Contents:
    """What the parts of a manifest (name → version) are of. What this build does not know is left out."""
    days: dict[int, Part] = {}
    spans: dict[Span, Part] = {}
    for name, version in parts.items():
        if name.isascii() and name.isdigit():
            days[int(name)] = Part(name, version)
        elif name.startswith(_SPAN):
            first, _, last = name[len(_SPAN) :].partition("-")
            spans[Span(int(first), int(last))] = Part(name, version)
    return Contents(days, spans)
