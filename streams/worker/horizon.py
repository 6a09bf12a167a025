"""How far one round of retention may go: as far as every clock and the data agree, and a week at a time.

A machine whose clock is years ahead would else take every day for an old one. What is kept is counted back from the
earliest of three: the day by our own clock, the day by Redis' clock, and the newest day that has data, which events
move by what happened and not by what a clock says. And no round goes further than `MAX_HORIZON_STEP_DAYS` past the
oldest day that is held, so that a mistake of all three is seen, in a metric and in the log, before it has done much.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from schemas.limits import MAX_HORIZON_STEP_DAYS

DISAGREE_DAYS = 1
"""Clocks further apart than so are a fault of one of them."""


def bounded_horizon(kept_days: int, witnesses: Iterable[int], oldest: int | None, before: int = 0) -> int:
    """The first day that stays (an ordinal); days before it may be forgotten. Never earlier than `before`.

    `witnesses` are the day by each clock and the newest day that has data; `oldest` is the oldest one, if any has, and
    `before` the horizon of the last round.
    """
    if oldest is None:
        return before
    reachable = max(before, oldest) + MAX_HORIZON_STEP_DAYS
    return max(before, min(min(witnesses) - kept_days, reachable))


def disagree(clocks: Iterable[int]) -> bool:
    """Whether clocks are so far apart that one of them must be wrong."""
    days = list(clocks)
    return max(days) - min(days) > DISAGREE_DAYS


async def redis_seconds(client: Any) -> float:
    """What Redis' clock says, in seconds since the epoch; of several servers the earliest. Raises what it raises."""
    answer = await client.time()
    answers = answer.values() if isinstance(answer, dict) else [answer]
    return min(float(seconds) + float(micros) / 1e6 for seconds, micros in answers)


async def redis_day(client: Any) -> date:
    """The day by Redis' clock, in UTC. Raises what the client raises."""
    return datetime.fromtimestamp(await redis_seconds(client), UTC).date()
