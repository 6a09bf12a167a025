"""What is allowed and yet surely means something else: settings and clocks that make every number a little wrong.

Nothing is refused for a doubt. `settings_doubts` looks at an account's hours; `ClockDoubts` counts answers that are
stamped just before their question, as they are where the clock of what sends answers is behind that of what receives.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from aggregates.entry import CALLED, EFFECTIVE, RECEIVED, SENT, UNCOUNTED, WAITS, Entry
from schemas.accounts import AccountSettings, Interval

LONGEST_SHIFT_MINUTES: Final = 16 * 60
"""A shift past midnight that is longer is more likely a close in the morning that was to be one in the evening."""

JUST_BEFORE_US: Final = 2_000_000
"""Nobody reads an answer and writes the next message in less."""

LEAST_EARLY: Final = 5
LEAST_SHARE: Final = 0.2
"""How many answers, and which share of them, are stamped just before a question until it is no chance any more."""


class Doubt(Struct, frozen=True):
    """Something that surely means something else: a short stable `code`, where it stands, what is odd, what to do."""

    code: str
    where: str
    what: str
    advice: str


def settings_doubts(settings: AccountSettings) -> list[Doubt]:
    """The hours of an account that surely mean something else; each once, however many days have them."""
    found: dict[tuple[str, Interval], Doubt] = {}
    for name, versions in settings.schedules.items():
        for version in versions:
            for intervals in (*version.weekly.values(), *version.special_days.values()):
                for interval in intervals:
                    doubt = _interval_doubt(f"schedules.{name}", *interval)
                    if doubt is not None:
                        found.setdefault((name, interval), doubt)
    return list(found.values())


def _interval_doubt(where: str, opening: str, close: str) -> Doubt | None:
    begins, ends = _minutes(opening), _minutes(close)
    shown = f"{opening}-{close}"
    if ends % 60 == 59:
        meant = f"{(ends + 1) // 60:02}:00"
        return Doubt(
            "last-minute",
            where,
            f"{shown} leaves out the minute before {meant}: an interval ends before its close",
            f"write {opening}-{meant}, if the whole hour is meant",
        )
    if begins == ends and begins != 0:
        return Doubt("whole-day", where, f"{shown} is 24 hours, from {opening} to {close} of the next day", _ALL_DAY)
    over_midnight = ends + 24 * 60 - begins
    if 0 < ends < begins and over_midnight > LONGEST_SHIFT_MINUTES:
        return Doubt(
            "long-night",
            where,
            f"{shown} is {over_midnight / 60:g} hours, until {close} of the next day",
            f"is the close {(ends + 12 * 60) // 60:02}:{ends % 60:02}? Hours are written from 00:00 to 24:00",
        )
    return None


_ALL_DAY = "write 00:00-24:00, if every day has all of its hours; leave the interval out, if it is to be none"


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


class ClockDoubts:
    """Counts answers that are stamped just before the message that they answer."""

    def __init__(self) -> None:
        self.answers = 0
        """Messages of advisors that begin a run of them."""
        self.early = 0
        """Those of them to which nobody had written, while the contact wrote within `JUST_BEFORE_US` after."""

    def saw(self, entries: Iterable[Entry]) -> None:
        """Take a contact's entries, in event order."""
        is_asked, is_run = False, False
        unasked_us: int | None = None
        for entry in _talk(entries):
            if entry.kind == SENT:
                if not is_run:
                    self.answers += 1
                if not is_run or unasked_us is not None:
                    unasked_us = None if is_asked else entry.at_us
                is_asked, is_run = False, True
            else:
                if unasked_us is not None and 0 < entry.at_us - unasked_us <= JUST_BEFORE_US:
                    self.early += 1
                is_asked, is_run, unasked_us = True, False, None

    def doubt(self) -> Doubt | None:
        """What is odd about the clocks, if it is no chance."""
        if self.early < LEAST_EARLY or self.early < LEAST_SHARE * self.answers:
            return None
        return Doubt(
            "early-answers",
            "occurred_at",
            f"{self.early} of {self.answers} answers are stamped within {JUST_BEFORE_US // 1_000_000} s before a "
            "message of the contact to which they seem to be the answer: so they answer nothing, and the contact waits",
            "do the clocks of what sends and what receives messages agree? Stamp both by one clock, or number messages "
            "of one second by `sequence`",
        )


def _talk(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The messages of contact and advisors; a call begins anew."""
    for entry in entries:
        is_advisors = entry.kind == SENT and entry.flags & (EFFECTIVE | UNCOUNTED)
        if is_advisors or entry.kind == RECEIVED or (entry.kind == CALLED and entry.flags & WAITS):
            yield entry
