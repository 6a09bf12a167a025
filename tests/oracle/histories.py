"""Histories to compare over: what services really send, and what they should not but do.

One description of a contact's life serves twice. Drawn by hypothesis it shrinks to a few events (`histories`,
`arrivals`, `filters`); drawn from a seed it fills days with tens of thousands (`random_history`, `random_arrival`,
`random_filters`). Both go through `Choices`, so neither can reach a corner the other does not know.

An arrival made here is timely in the design's sense: whatever is shuffled, doubled or late arrives as the report
promises to bear it, except conversation events held back on request (`too_late_percent`), for `arrival.split` to judge.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import chain
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.oracle.choices import Choices, Drawn, Seeded
from tests.oracle.instants import HOUR_US, SECOND_US, instant_us
from tests.oracle.lives import ACCOUNTS, ADVISORS, CHANNELS, GROUPS, ORIGINS, Step, life, moment_of_birth, step

Event = dict[str, Any]

CREATION_MAY_FOLLOW = 200  # events of its contact; the design promises exactness up to there
MAX_DAYS_LATE = 9  # of a contact's own events
MOST_DAYS_LATE = 30  # beyond which none of them is applied
MOST_STEPS = 110  # so that any creation stays within that, copies and all
CHATTY_STEPS = 320  # except for contacts created at the beginning, some of which go on for long


@dataclass(frozen=True)
class History:
    """Events in the order of their stamps, and the settings of the accounts they are of."""

    accounts: tuple[Mapping[str, Any], ...]
    events: list[Event]

    def days(self) -> tuple[date, date]:
        """A range that holds every event whatever the zone, with a little room."""
        stamps = [instant_us(event["occurred_at"]) for event in self.events] or [instant_us("2026-03-01T00:00:00Z")]
        epoch = date(1970, 1, 1)
        return (
            epoch + timedelta(days=min(stamps) // (24 * HOUR_US) - 1),
            epoch + timedelta(days=max(stamps) // (24 * HOUR_US) + 1),
        )


def _history(lives: Iterable[list[Event]]) -> History:
    events = [event for events in lives for event in events]
    return History(ACCOUNTS, sorted(events, key=lambda event: instant_us(event["occurred_at"])))


# --- drawn by hypothesis --------------------------------------------------------------------------------------------


@st.composite
def steps(draw: DrawFn, *, creation: bool = False) -> Step:
    """One thing that happens to a contact; a creation, if asked for."""
    return step(Drawn(draw), creation=creation)


@st.composite
def histories(draw: DrawFn, max_contacts: int = 3, max_steps: int = 20) -> History:
    """A history of a few contacts over `ACCOUNTS`, most of them created at the beginning."""
    choices = Drawn(draw)
    lives: defaultdict[str, list[list[Event]]] = defaultdict(list)  # contacts of two accounts may share a name
    for _ in range(draw(st.integers(1, max_contacts))):
        account = choices.pick(ACCOUNTS)
        born_us = moment_of_birth(choices)
        birth = draw(st.lists(steps(creation=True), max_size=1))
        taken = birth + draw(st.lists(steps(), max_size=max_steps))
        known = lives[account["account_id"]]
        known.append(life(account, f"c{len(known)}", born_us, taken))
    return _history(chain.from_iterable(lives.values()))


@st.composite
def arrivals(
    draw: DrawFn, events: Sequence[Event], lateness_seconds: int = 3_600, too_late_percent: int = 0
) -> list[Event]:
    """An order in which a log may carry the events: shuffled, doubled and late."""
    return arrange(Drawn(draw), events, lateness_seconds, too_late_percent)


@st.composite
def filters(draw: DrawFn) -> dict[str, list[str]]:
    """Filters in their plain form, often none, sometimes several values of several kinds."""
    return _filters(Drawn(draw))


def ranges(history: History) -> SearchStrategy[tuple[date, date]]:
    """A range of days in and around the history, the whole of it first."""
    first, last = history.days()
    day = st.dates(first, last)
    return st.just((first, last)) | st.tuples(day, day).map(lambda pair: (min(pair), max(pair)))


# --- drawn from a seed ----------------------------------------------------------------------------------------------


def random_history(seed: int, contacts: int = 300, mean_steps: int = 14) -> History:
    """A history of that many contacts over `ACCOUNTS`; about one in a hundred is very talkative."""
    random = Random(seed)
    choices = Seeded(random)
    lives: defaultdict[str, list[list[Event]]] = defaultdict(list)  # contacts of two accounts may share a name
    for _ in range(contacts):
        account = choices.pick(ACCOUNTS)
        chatty = choices.chance(1)
        count = CHATTY_STEPS if chatty else min(int(random.expovariate(1 / mean_steps)), MOST_STEPS)
        taken = [step(choices) for _ in range(count)]
        if chatty:  # close together, or it would take years
            taken = [replace(each, gap_ms=each.gap_ms % 600_000, snap=None) for each in taken]
        if chatty or choices.chance(80):
            taken.insert(0, step(choices, creation=True))
        known = lives[account["account_id"]]
        known.append(life(account, f"c{len(known)}", moment_of_birth(choices), taken))
    return _history(chain.from_iterable(lives.values()))


def random_arrival(
    events: Sequence[Event], seed: int, lateness_seconds: int = 3_600, too_late_percent: int = 0
) -> list[Event]:
    """An order in which a log may carry the events, by a seed."""
    return arrange(Seeded(Random(seed)), events, lateness_seconds, too_late_percent)


def random_filters(seed: int, count: int) -> list[dict[str, list[str]]]:
    """That many filters; the first asks for everything."""
    choices = Seeded(Random(seed))
    return [{}, *(_filters(choices) for _ in range(count - 1))]


# --- arrivals -------------------------------------------------------------------------------------------------------


def arrange(
    choices: Choices, events: Sequence[Event], lateness_seconds: int = 3_600, too_late_percent: int = 0
) -> list[Event]:
    """Give each event one or more moments to arrive, sort by them, then hold some creations back.

    An event that arrives at most the lateness after its stamp is never too late: whatever arrived before it was stamped
    before that moment. Days late come only the contact's own events and exact copies of what has come already.
    """
    lateness_us = lateness_seconds * SECOND_US
    arriving: list[tuple[int, int, Event]] = []
    for index, event in enumerate(events):
        stamp_us = instant_us(event["occurred_at"])
        own = event["type"].startswith("contact.")
        delay_us = _delay_us(choices, lateness_us)
        if own and event["type"] != "contact.created" and choices.chance(15):
            delay_us = choices.integer(1, MAX_DAYS_LATE * 24) * HOUR_US
        elif not own and too_late_percent and choices.chance(too_late_percent):
            delay_us = lateness_us + choices.integer(0, 72) * HOUR_US + 1_000
        arriving.append((stamp_us + delay_us, index, event))
        if choices.chance(6):  # delivered twice within the window
            arriving.append((stamp_us + max(delay_us, _delay_us(choices, lateness_us)), index, dict(event)))
        if choices.chance(2):  # and once more days later
            days_us = choices.integer(1, MAX_DAYS_LATE) * 24 * HOUR_US
            arriving.append((stamp_us + delay_us + days_us, index, dict(event)))
    arriving.sort(key=lambda arrival: arrival[:2])
    return _hold_creations_back(choices, [event for _, _, event in arriving])


def _delay_us(choices: Choices, lateness_us: int) -> int:
    """Mostly none; else anything up to the lateness itself, in whole milliseconds."""
    return choices.integer(0, lateness_us // 1_000) * 1_000 if choices.chance(25) else 0


def _hold_creations_back(choices: Choices, log: list[Event]) -> list[Event]:
    """Let some contacts' creations arrive late, after up to 200 of their events (once, further copies dropped).

    Never sooner than it would have: an event ahead of its time would make all others of its contact look late. One that
    is not the only one of its contact has the window of the contact's other events.
    """
    positions: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for position, event in enumerate(log):
        positions[event["account_id"], event["contact_id"]].append(position)
    dropped: set[int] = set()
    held_back: dict[int, Event] = {}  # behind which position
    for own in positions.values():
        creations = [log[position] for position in own if log[position]["type"] == "contact.created"]
        if not creations or not choices.chance(20):
            continue
        creation = min(creations, key=lambda event: instant_us(event["occurred_at"]))
        copies = [position for position in own if log[position] == creation]
        later = [position for position in own[:CREATION_MAY_FOLLOW] if position > copies[0] and position not in copies]
        if len({event["id"] for event in creations}) > 1:
            last_us = instant_us(creation["occurred_at"]) + MOST_DAYS_LATE * 24 * HOUR_US
            later = [position for position in later if _newest_us(log, own, position) <= last_us]
        if later:
            dropped.update(copies)
            held_back[choices.pick(later)] = creation
    arranged: list[Event] = []
    for position, event in enumerate(log):
        if position not in dropped:
            arranged.append(event)
        if position in held_back:
            arranged.append(held_back[position])
    return arranged


def _newest_us(log: Sequence[Event], own: Sequence[int], last: int) -> int:
    """The newest instant of a contact's events up to a position."""
    return max(instant_us(log[position]["occurred_at"]) for position in own if position <= last)


# --- filters --------------------------------------------------------------------------------------------------------


def _filters(choices: Choices) -> dict[str, list[str]]:
    values: dict[str, tuple[str, ...]] = {
        "origin": (*ORIGINS, "none"),
        "group": (*GROUPS, "none"),
        "channel": (*CHANNELS, "call", "unknown"),
        "advisor": (*ADVISORS, "none"),
    }
    asked: dict[str, list[str]] = {}
    for name, options in values.items():
        if choices.chance(35):
            picked = [choices.pick(options) for _ in range(choices.integer(1, 3))]
            asked[name] = list(dict.fromkeys(picked))
    return asked
