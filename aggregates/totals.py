"""The live counters of an account's day, without filters: added up as facts come and go, and the check of what is
published.

A day's totals are a sparse vector: how many facts of each kind, the hours in which conversations started, how many
closures were transfers, and sketches of both times on both clocks. Vectors add and subtract exactly in any order, so
the totals that workers keep must equal those of the facts that a publication reads.

| slot | counts |
|---|---|
| `kind` | facts of that kind (0 to 8) |
| `TRANSFERS` | closures that were transfers |
| `FIRST_HOUR` + hour | conversations started in that local hour |
| `FIRST_BIN` + 4 × bin + clock and box | durations in that bin of the sketch (`aggregates/sketch.py`) |
"""

from collections.abc import Iterable
from typing import Final

from aggregates import facts
from aggregates.counters import Vector
from aggregates.facts import Fact
from aggregates.sketch import bin_of

TRANSFERS: Final = 9
FIRST_HOUR: Final = 16
FIRST_BIN: Final = 48

_FIRST_ELAPSED, _FIRST_BUSINESS, _ELAPSED, _BUSINESS = range(4)
_BOXES: Final = {
    facts.FIRST_RESPONSE: (_FIRST_ELAPSED, _FIRST_BUSINESS),
    facts.RESPONSE: (_ELAPSED, _BUSINESS),
}


def add_fact(totals: Vector, fact: Fact, times: int) -> None:
    """Count a fact `times` times; -1 takes it back."""
    kind = fact.kind
    totals[kind] = totals.get(kind, 0) + times
    if kind == facts.STARTED:
        slot = FIRST_HOUR + fact.flags
        totals[slot] = totals.get(slot, 0) + times
    elif kind == facts.CLOSED:
        if fact.flags & facts.TRANSFERRED:
            totals[TRANSFERS] = totals.get(TRANSFERS, 0) + times
    elif kind <= facts.RESPONSE:
        elapsed, business = _BOXES[kind]
        elapsed_ms, business_ms = fact.at_ms - fact.since_ms, fact.business_ms
        of_elapsed = bin_of(elapsed_ms)
        of_business = of_elapsed if business_ms == elapsed_ms else bin_of(business_ms)
        slot = FIRST_BIN + 4 * of_elapsed + elapsed
        totals[slot] = totals.get(slot, 0) + times
        slot = FIRST_BIN + 4 * of_business + business
        totals[slot] = totals.get(slot, 0) + times


def totals_of(day_facts: Iterable[Fact]) -> Vector:
    """The totals of a day's facts."""
    totals: Vector = {}
    for fact in day_facts:
        add_fact(totals, fact, 1)
    return totals


def sketch_bins(totals: Vector, kind: int, clock: str) -> Vector:
    """The sketch of `FIRST_RESPONSE` or `RESPONSE` on a clock, `elapsed` or `business`: bin → how many."""
    place = _BOXES[kind][clock == "business"]
    return {
        (slot - FIRST_BIN) >> 2: count
        for slot, count in totals.items()
        if slot >= FIRST_BIN and (slot - FIRST_BIN) & 3 == place
    }


def hours(totals: Vector) -> list[int]:
    """Conversations started in each hour of the day."""
    return [totals.get(FIRST_HOUR + hour, 0) for hour in range(24)]
