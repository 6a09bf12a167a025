"""Sorts any number of events by time, in runs that fit in memory.

A line is the event's instant and contact, then its place in what was read, then its JSON: sorting lines as bytes brings
together what happened to a contact at one instant. Many exports know minutes, not seconds. What they show of a contact
within one minute keeps the order of the file (`Place`): events that would stand otherwise by the rules of the contract
are numbered by `sequence`. Events of several files, or that have a `sequence` already, are left to those rules.
"""

import contextlib
import hashlib
import heapq
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from schemas.events import Event, decode_event, encode_event, event_order, instant_us

RUN_BYTES = 64 << 20
"""What is held in memory at once. Each run costs one open file when merging: 500 of them are 32 GB of events."""

_HEAD = 20 + 16
"""Digits of the instant, and of the contact: what events that are told together have in common."""


class Place(NamedTuple):
    """Where an event was read: the number of its file and of its row."""

    file: int
    row: int


class SortedEvents:
    """Takes events in any order, gives them back in the order of time. A context: its files go when it ends."""

    def __init__(self, run_bytes: int = RUN_BYTES) -> None:
        self._run_bytes = run_bytes
        self._lines: list[bytes] = []
        self._held = 0
        self._runs: list[Path] = []
        self._newest_first: set[int] = set()
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

    def add(self, event: Event, place: Place | None = None) -> None:
        """Take one event. Without a `place`, its order among those of its instant is the contract's."""
        file, row = (0, 0) if place is None else (place.file + 1, place.row)
        line = b"%020d%s%08d%012d\t%s\n" % (
            instant_us(event.occurred_at),
            _contact_digits(event),
            file,
            row,
            encode_event(event),
        )
        self._lines.append(line)
        self._held += len(line)
        if self._held >= self._run_bytes:
            self._spill()

    def newest_first(self, file: int) -> None:
        """Say that a file shows the newest events first, so its rows of one minute stand the other way round."""
        self._newest_first.add(file + 1)

    def encoded(self) -> Iterator[bytes]:
        """The events as JSON, in order; events that are equal in every byte once."""
        self._lines.sort()
        with contextlib.ExitStack() as files:
            runs = [files.enter_context(run.open("rb")) for run in self._runs]
            lines: Iterable[bytes] = heapq.merge(*runs, self._lines) if runs else self._lines
            for _, together in groupby(lines, lambda line: line[:_HEAD]):
                yield from self._of_one_instant(list(together))

    def _of_one_instant(self, lines: list[bytes]) -> Iterator[bytes]:
        """What happened to one contact at one instant, in order."""
        if len(lines) == 1:
            yield _value(lines[0])
            return
        places: dict[bytes, tuple[int, int]] = {}
        for line in lines:
            file, row = int(line[_HEAD : _HEAD + 8]), int(line[_HEAD + 8 : _HEAD + 20])
            places.setdefault(_value(line), (file, -row if file in self._newest_first else row))
        events = sorted(
            ((decode_event(value), place) for value, place in places.items()), key=lambda each: event_order(each[0])
        )
        told = [
            event if sequence is None else msgspec.structs.replace(event, sequence=sequence)
            for (event, _), sequence in zip(events, _numbered(events), strict=True)
        ]
        yield from map(encode_event, sorted(told, key=event_order))

    def _spill(self) -> None:
        self._lines.sort()
        run = Path(self._folder.name) / f"run-{len(self._runs)}"
        with run.open("wb") as out:
            out.writelines(self._lines)
        self._runs.append(run)
        self._lines, self._held = [], 0


def _numbered(events: Sequence[tuple[Event, tuple[int, int]]]) -> list[int | None]:
    """A `sequence` for each event of one instant where the file's order is another one than the contract's."""
    talk = [index for index, (event, _) in enumerate(events) if event.topic == "conversations"]
    files = {events[index][1][0] for index in talk}
    none: list[int | None] = [None] * len(events)
    if len(files) != 1 or files == {0} or any(events[index][0].sequence is not None for index in talk):
        return none
    by_row = sorted(talk, key=lambda index: (events[index][1][1], event_order(events[index][0])))
    if by_row == talk:
        return none
    for number, index in enumerate(by_row):
        none[index] = number
    return none


def _contact_digits(event: Event) -> bytes:
    whose = f"{event.account_id}\x00{event.contact_id}".encode()
    return hashlib.blake2b(whose, digest_size=8).hexdigest().encode()


def _value(line: bytes) -> bytes:
    return line[line.index(b"\t") + 1 : -1]
