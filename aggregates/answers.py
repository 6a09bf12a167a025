"""What an answer is counted with: measured by the settings once, kept in the journal, and taken back as it was counted.

The rules (`aggregates/contact.py`) find out which waits an answer ends; here is how long they were on the business
clock, and whether that is within target. A late event makes the fold step through the contact's answers twice, without
it and with it:

- `Retracted`, without it: every answer gives the numbers it was counted with. No settings, no zone data, no clock takes
  part, so what is taken away is what was added, though all of them changed meanwhile.
- `Recounted`, with it: an answer whose waits began when they did before keeps its numbers. The others are measured.
"""

from typing import Protocol

import msgspec

from aggregates import facts
from aggregates.entry import Counted, Entry
from aggregates.rules import RulesBook

Waits = tuple[int | None, int]
"""From when the first response is measured, if the answer is one, and from when the response is; milliseconds."""

_FLAG_BITS = 4


class Answers(Protocol):
    """Gives the numbers of an answer; `first_ms` is `None` for one that is no first response."""

    def __call__(self, entry: Entry, first_ms: int | None, since_ms: int, /) -> Counted:
        """What the answer is counted with: as a response, and behind it as the first one. Raises `MissingRules`."""


def packed(business_ms: int, flags: int) -> int:
    """Business time and the flags of a duration (`aggregates/facts.py`) as one number."""
    return business_ms << _FLAG_BITS | flags


def unpacked(number: int) -> tuple[int, int]:
    """The business time in milliseconds and the flags of `packed`."""
    return number >> _FLAG_BITS, number & (1 << _FLAG_BITS) - 1


class Measured:
    """Answers measured by the version of the settings that their entries name."""

    __slots__ = ("book",)

    def __init__(self, book: RulesBook) -> None:
        self.book = book

    def __call__(self, entry: Entry, first_ms: int | None, since_ms: int) -> Counted:
        """See `Answers`."""
        rules = self.book.version(entry.rules)
        clock = rules.clock_of(entry.advisor)
        answer_ms = entry.at_ms

        def measured(from_ms: int, target_ms: int | None) -> int:
            elapsed_ms = max(0, answer_ms - from_ms)
            if clock is None:
                business_ms, flags = elapsed_ms, facts.WITHOUT_SCHEDULE
            else:
                business_ms, flags = clock.between_ms(from_ms, answer_ms), 0
            if target_ms is not None:
                flags |= facts.TARGETED
                if elapsed_ms <= target_ms:
                    flags |= facts.WITHIN_ELAPSED
                if business_ms <= target_ms:
                    flags |= facts.WITHIN_BUSINESS
            return packed(business_ms, flags)

        response = measured(since_ms, rules.response_target_ms)
        if first_ms is None:
            return (response,)
        return (response, measured(first_ms, rules.first_response_target_ms))


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
        """By the identity of the entry, which whoever asks holds meanwhile: old entries have no ids."""

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
