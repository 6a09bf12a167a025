"""How old the events are that a session folds, so that it is known what is hardly to be expected any more.

A log that is read as it is written brings conversation events in about the order in which they happened. One that
somebody fills with a past brings old ones for as long as that takes. So the instant before which nothing is expected
is the newest event's, less as far as conversation events lay behind it of late. The contact's own events are not looked
at: a few of them come late by days, in any log.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

REMEMBERED_SECONDS: Final = 600.0
"""How long what came is remembered at least; twice as long at most."""


class Ages:
    """Of the events of one session."""

    __slots__ = ("_before_us", "_clock", "_furthest_us", "_since", "newest_us")

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = monotonic if clock is None else clock
        self._since = self._clock()
        self._furthest_us = self._before_us = 0
        self.newest_us = -1
        """Instant of the newest event; -1 before the first."""

    def saw(self, oldest_us: int, newest_us: int) -> None:
        """A batch was folded whose conversation events happened between these instants."""
        self._turn()
        self.newest_us = max(self.newest_us, newest_us)
        self._furthest_us = max(self._furthest_us, self.newest_us - oldest_us)

    @property
    def expected_us(self) -> int:
        """Conversation events from before this instant are hardly expected; -1 while nothing can be said."""
        self._turn()
        if self.newest_us < 0:
            return -1
        return self.newest_us - max(self._furthest_us, self._before_us)

    def _turn(self) -> None:
        now = self._clock()
        if now - self._since >= REMEMBERED_SECONDS:
            is_old = now - self._since >= 2 * REMEMBERED_SECONDS
            self._before_us, self._furthest_us = 0 if is_old else self._furthest_us, 0
            self._since = now
