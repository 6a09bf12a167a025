"""What an answer is counted with: measured by the rules once, kept in the journal, and taken back as it was counted.

The life of a contact (`aggregates/contact.py`) finds out which waits an answer ends; here is how long they were on the
business clock. A late event makes the fold step through the contact's answers twice, without it and with it:

- `Retracted`, without it: every answer gives the numbers it was counted with. No settings, no zone data, no clock takes
  part, so what is taken away is what was added, though all of them changed meanwhile.
- `Recounted`, with it: an answer whose waits began when they did before keeps its numbers. The others are measured.
"""

from typing import Protocol

import msgspec

from aggregates.counters import reckoning
from aggregates.entry import Counted, Entry
from aggregates.rules import RulesBook

Waits = tuple[int | None, int]
"""From when the first response is measured, if the answer is one, and from when the response is; milliseconds."""


class Answers(Protocol):
    """Gives the numbers of an answer; `first_ms` is `None` for one that is no first response."""

    def __call__(self, entry: Entry, first_ms: int | None, since_ms: int, /) -> Counted:
        """What the answer is counted with. Raises `MissingRules`."""


class Measured:
    """Answers measured by the version of the rules that their entries name."""

    __slots__ = ("_book",)

    def __init__(self, book: RulesBook) -> None:
        self._book = book

    def __call__(self, entry: Entry, first_ms: int | None, since_ms: int) -> Counted:
        """See `Answers`."""
        rules = self._book.version(entry.rules)
        clock = rules.clock_of(entry.advisor)
        answer_ms = entry.at_ms

        def reckoned(from_ms: int, target_ms: int | None) -> int:
            business_ms = None if clock is None else clock.between_ms(from_ms, answer_ms)
            return reckoning(max(0, answer_ms - from_ms), business_ms, target_ms)

        response = reckoned(since_ms, rules.response_target_ms)
        if first_ms is None:
            return (response,)
        return (response, reckoned(first_ms, rules.first_response_target_ms))


class Kept:
    """Answers as they were counted; those that never were, as `Measured`."""

    __slots__ = ("_measured",)

    def __init__(self, book: RulesBook) -> None:
        self._measured = Measured(book)

    def __call__(self, entry: Entry, first_ms: int | None, since_ms: int) -> Counted:
        """See `Answers`."""
        return entry.counted or self._measured(entry, first_ms, since_ms)


class Retracted:
    """Answers as they were counted, and the waits that they ended then."""

    __slots__ = ("waits",)

    def __init__(self) -> None:
        self.waits: dict[int, Waits] = {}
        """By the identity of the entry, which whoever asks holds meanwhile: archived entries have no ids."""

    def __call__(self, entry: Entry, first_ms: int | None, since_ms: int) -> Counted:
        """See `Answers`."""
        self.waits[id(entry)] = (first_ms, since_ms)
        return entry.counted


class Recounted:
    """Answers whose waits are those of before keep their numbers; the others are measured."""

    __slots__ = ("_measured", "_waits")

    def __init__(self, retracted: Retracted, book: RulesBook) -> None:
        self._waits = retracted.waits
        self._measured = Measured(book)

    def __call__(self, entry: Entry, first_ms: int | None, since_ms: int) -> Counted:
        """See `Answers`."""
        if self._waits.get(id(entry)) == (first_ms, since_ms):
            return entry.counted
        return self._measured(entry, first_ms, since_ms)


def with_counted(entry: Entry, counted: Counted) -> Entry:
    """The entry, counted so."""
    return entry if entry.counted == counted else msgspec.structs.replace(entry, counted=counted)
