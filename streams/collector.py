"""Keeps Python's cycle collector from walking what the caches hold: a seventh of the worker's CPU time while they fill.

Histories and counters are remembered for long and hold no cycles; they go when their last reference does. Whenever
caches have grown, all there is is moved out of the collector's sight (`gc.freeze`). Garbage in cycles that is caught in
such a moment stays for good: a batch's worth at most, and only as often as caches grow, which they do up to a limit.
"""

import gc
from collections.abc import Callable

THRESHOLDS = (50_000, 20, 50)
"""With Python's own (700, 10, 10) the collector walks everything again and again."""

GROWTH_ENTRIES = 1_000
"""Cache entries, contacts and counters, after which it is worth while: fewer than one full batch brings."""


def calm() -> None:
    """Once, when a worker has started: what there is now stays."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


class Growth:
    """Told how caches grow, and shrink, it moves their content out of the collector's sight in time."""

    def __init__(self, freeze: Callable[[], None] = gc.freeze) -> None:
        self._freeze = freeze
        self._entries = 0

    def add(self, entries: int) -> None:
        """So many more entries are remembered (or fewer)."""
        self._entries = max(0, self._entries + entries)
        if self._entries >= GROWTH_ENTRIES:
            self._entries = 0
            self._freeze()
