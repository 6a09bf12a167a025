"""Reading the blocks that a manifest names, and remembering what was read: a part never changes.

What is remembered is bounded by its size in memory, and the least recently used goes first. Months of days are put
together once and kept as rows, so that a report of a year reads twelve of them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import groupby
from typing import Any, Final

from aggregates.day_block import DayBlock, decode_block
from aggregates.rows import Rows
from streams.snapshots.manifest import PublicKeys
from streams.snapshots.parts import Part

READS_AT_ONCE: Final = 100
"""Parts that one command asks for: enough to make round trips cheap, few enough to hold the server shortly."""

_BYTES_OF_BLOCK: Final = 4_000
_TIMES_PACKED: Final = 12
"""What a block takes in memory beside its bytes, and how much larger they are unpacked, by and large."""


class PartGone(LookupError):
    """A part that was to be read is not there, or cannot be read."""

    def __init__(self, part: Part, problem: str = "is not in Redis") -> None:
        super().__init__(f"part {part.member} {problem}")
        self.part = part


class Blocks:
    """Reads days of accounts; `most_bytes` bounds what is remembered of them."""

    def __init__(self, redis: Any, most_bytes: int) -> None:
        self._redis = redis
        self._most_bytes = most_bytes
        self._held: OrderedDict[tuple[str, str], tuple[DayBlock | Rows, int]] = OrderedDict()
        self.held_bytes = 0

    async def rows(self, keys: PublicKeys, parts: Mapping[int, Part], days: Iterable[int]) -> Rows:
        """The rows of those of the days that have a part. Raises `PartGone`."""
        sources: list[DayBlock | Rows] = []
        wanted: list[tuple[tuple[str, str], list[int]]] = []
        for _, month in groupby((day for day in days if day in parts), _month_of):
            each = list(month)
            name = (keys.account_id, " ".join(parts[day].member for day in each))
            wanted.append((name, each))
        months = {name: self._find(name) for name, each in wanted if len(each) > 1}
        unread = [day for name, each in wanted if months.get(name) is None for day in each]
        blocks = await self._read(keys, {day: parts[day] for day in unread})
        for name, each in wanted:
            found = months.get(name)
            if found is None and len(each) > 1:
                found = Rows.of([blocks[day][0] for day in each])
                self._keep(name, found, sum(blocks[day][1] for day in each))
            sources.append(blocks[each[0]][0] if found is None else found)
        return Rows.of(sources)

    async def read(self, keys: PublicKeys, parts: Mapping[int, Part]) -> dict[int, DayBlock]:
        """The block of each day. Raises `PartGone`."""
        return {day: block for day, (block, _) in (await self._read(keys, parts)).items()}

    async def _read(self, keys: PublicKeys, parts: Mapping[int, Part]) -> dict[int, tuple[DayBlock, int]]:
        """The block of each day, and the memory that it takes."""
        found: dict[int, tuple[DayBlock, int]] = {}
        unread = []
        for day, part in parts.items():
            name = (keys.account_id, part.member)
            held = self._find(name)
            if isinstance(held, DayBlock):
                found[day] = (held, self._held[name][1])
            else:
                unread.append(day)
        for first in range(0, len(unread), READS_AT_ONCE):
            some = unread[first : first + READS_AT_ONCE]
            answers = await self._redis.mget([keys.part(parts[day]) for day in some])
            for day, data in zip(some, answers, strict=True):
                found[day] = (self.add(keys, parts[day], data), _size(data))
        return found

    def add(self, keys: PublicKeys, part: Part, data: bytes | None) -> DayBlock:
        """Decode a part, and remember it. Raises `PartGone`."""
        if data is None:
            raise PartGone(part)
        try:
            block = decode_block(data)
        except ValueError as error:
            raise PartGone(part, f"cannot be read: {error}") from error
        self._keep((keys.account_id, part.member), block, _size(data))
        return block

    def _find(self, name: tuple[str, str]) -> DayBlock | Rows | None:
        held = self._held.get(name)
        if held is None:
            return None
        self._held.move_to_end(name)
        return held[0]

    def _keep(self, name: tuple[str, str], value: DayBlock | Rows, size: int) -> None:
        _, before = self._held.pop(name, (None, 0))
        self._held[name] = (value, size)
        self.held_bytes += size - before
        while self.held_bytes > self._most_bytes and len(self._held) > 1:
            _, (_, gone) = self._held.popitem(last=False)
            self.held_bytes -= gone


def _month_of(day: int) -> tuple[int, int]:
    found = date.fromordinal(day)
    return found.year, found.month


def _size(data: bytes) -> int:
    return _BYTES_OF_BLOCK + _TIMES_PACKED * len(data)
