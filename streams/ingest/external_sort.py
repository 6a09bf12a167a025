"""Events in the order of their time, however many: sorted in runs that fit in memory, which lie in files until merged.

A line is the event's place in the order as fixed-width digits, a tab, and its JSON: sorting lines as bytes is sorting
events by instant, `sequence`, type and id.
"""

import contextlib
import heapq
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.events import Event, encode_event, instant_us

RUN_BYTES = 64 << 20
"""What is held in memory at once. Each run costs one open file when merging: 500 of them are 32 GB of events."""

_SEQUENCE_SHIFT = 2**53  # makes every sequence a number from 0


class SortedEvents:
    """Takes events in any order, gives them back in the order of time. A context: its files go when it ends."""

    def __init__(self, run_bytes: int = RUN_BYTES) -> None:
        self._run_bytes = run_bytes
        self._lines: list[bytes] = []
        self._held = 0
        self._runs: list[Path] = []
        self._folder = tempfile.TemporaryDirectory(prefix="mediana-import-")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    @property
    def runs(self) -> int:
        """How many runs lie in files."""
        return len(self._runs)

    def add(self, event: Event) -> None:
        """Take one event."""
        line = b"%s\t%s\n" % (order_key(event), encode_event(event))
        self._lines.append(line)
        self._held += len(line)
        if self._held >= self._run_bytes:
            self._spill()

    def encoded(self) -> Iterator[bytes]:
        """The events as JSON, in order; events that are equal in every byte once."""
        self._lines.sort()
        if not self._runs:
            yield from _values(self._lines)
            return
        with contextlib.ExitStack() as files:
            runs = [files.enter_context(run.open("rb")) for run in self._runs]
            yield from _values(heapq.merge(*runs, self._lines))

    def _spill(self) -> None:
        self._lines.sort()
        run = Path(self._folder.name) / f"run-{len(self._runs)}"
        with run.open("wb") as out:
            out.writelines(self._lines)
        self._runs.append(run)
        self._lines, self._held = [], 0


def order_key(event: Event) -> bytes:
    """The event's place in the order, before its id, as digits."""
    return b"%020d%020d%03d" % (instant_us(event.occurred_at), (event.sequence or 0) + _SEQUENCE_SHIFT, event.rank)


def _values(lines: Iterable[bytes]) -> Iterator[bytes]:
    previous = None
    for line in lines:
        if line != previous:
            yield line[line.index(b"\t") + 1 : -1]
        previous = line
