"""How far one round of retention may go: as far as every clock and the data agree, a week at most.

A machine whose clock is years ahead would else take every day for an old one. What is kept is counted back from the
earliest of three: the day by our own clock, the day by Redis' clock, and the newest day that has data, which events
move by what happened and not by what a clock says. And no round goes further than `MAX_HORIZON_STEP_DAYS` past the
oldest day that is held, so that a mistake of all three is seen, in a metric and in the log, before it has done much.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import NoPermissionError

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


async def redis_seconds(client: Any) -> float | None:
    """What Redis' clock says, in seconds since the epoch; of several servers the earliest. Raises what it raises.

    By INFO, which our user may run, while TIME is a right of its own. Nothing where it may not, or Redis does not say.
    """
    try:
        if isinstance(client, RedisCluster):
            answers = await client.info("server", target_nodes=RedisCluster.PRIMARIES)
            servers = list(answers.values()) if "redis_version" not in answers else [answers]
        else:
            servers = [await client.info("server")]
    except NoPermissionError:
        return None
    micros = [int(server["server_time_usec"]) for server in servers if "server_time_usec" in server]
    return min(micros) / 1e6 if micros else None


async def redis_day(client: Any) -> date | None:
    """The day by Redis' clock, in UTC, where it says. Raises what the client raises."""
    seconds = await redis_seconds(client)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date()
