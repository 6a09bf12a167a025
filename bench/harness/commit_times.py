"""When each record was committed: the ledgers' positions are read again and again, and joined with when it was sent.

A reading takes about half a millisecond and the next one begins one later, so a record is seen committed at most two
milliseconds after it was.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from bench.harness.population import CONTACTS, CONVERSATIONS
from bench.harness.rate_sender import Paced

POLL_SECONDS = 0.001

Seen = list[tuple[float, int]]
"""When a position was first seen, and the position; both rise."""


class Observations:
    """What was seen of each shard's positions in both topics."""

    def __init__(self, first: Sequence[tuple[int, int]]) -> None:
        self._last = list(first)
        self.seen: dict[str, Seen] = {}
        for shard, positions in enumerate(first):
            for topic, position in zip((CONTACTS, CONVERSATIONS), positions, strict=True):
                self.seen[f"{topic}/{shard}"] = [(0.0, position)]

    def add(self, now: float, positions: Sequence[tuple[int, int]]) -> None:
        """A reading that was answered at `now`."""
        for shard, (before, after) in enumerate(zip(self._last, positions, strict=True)):
            if before == after:
                continue
            for topic, was, is_now in zip((CONTACTS, CONVERSATIONS), before, after, strict=True):
                if was != is_now:
                    self.seen[f"{topic}/{shard}"].append((now, is_now))
        self._last = list(positions)

    @property
    def total(self) -> int:
        """All positions together, as last seen."""
        return sum(map(sum, self._last))


def observe(read: Callable[[], Sequence[tuple[int, int]]], until: Callable[[Observations], bool]) -> Observations:
    """Read positions until there is enough."""
    found = Observations(read())
    while not until(found):
        positions = read()
        found.add(time.monotonic(), positions)
        time.sleep(POLL_SECONDS)
    return found


def waits(paced: Paced, seen: Mapping[str, Seen], skip_seconds: float = 0.0) -> list[float]:
    """How long each record took from being sent to being committed, in seconds; those of the beginning left out.

    Raises `ValueError` when one was not seen committed.
    """
    found = []
    for name, instants in paced.sent.items():
        positions = [position for _, position in seen[name]]
        base = positions[0]
        for place, sent in enumerate(instants):
            # Committed once the position is past it: the first one above its offset.
            at = bisect_right(positions, base + place)
            if at == len(positions):
                raise ValueError(f"{name}: record {base + place} was not committed while it was watched")
            if sent - paced.began >= skip_seconds:
                found.append(seen[name][at][0] - sent)
    return found


def longest_pauses(seen: Mapping[str, Seen], begin: float, end: float) -> dict[str, float]:
    """Per topic and shard the longest time between `begin` and `end` in which its position did not move."""
    pauses = {}
    for name, points in seen.items():
        instants = [begin, *(at for at, _ in points if begin < at < end), end]
        pauses[name] = max(after - before for before, after in pairwise(instants))
    return pauses
