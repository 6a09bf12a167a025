"""How far one round of retention goes, whatever the clocks say."""

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import NoPermissionError

from schemas.limits import MAX_HORIZON_STEP_DAYS
from streams.worker.horizon import bounded_horizon, disagree, redis_day

DAY = date(2026, 11, 22).toordinal()
days = st.integers(1, 800_000)


def test_the_earliest_witness_counts() -> None:
    for witnesses in ((DAY, DAY + 2000, DAY + 2000), (DAY + 2000, DAY, DAY), (DAY + 1, DAY + 3, DAY)):
        assert bounded_horizon(30, witnesses, DAY - 33) == DAY - 30


def test_a_round_goes_a_week_past_the_oldest_day_or_the_last_horizon() -> None:
    assert bounded_horizon(30, [DAY], DAY - 1000) == DAY - 1000 + MAX_HORIZON_STEP_DAYS
    assert bounded_horizon(30, [DAY], DAY - 1000, DAY - 500) == DAY - 500 + MAX_HORIZON_STEP_DAYS


def test_nothing_held_moves_no_horizon_and_none_goes_back() -> None:
    assert bounded_horizon(30, [DAY], None, DAY - 99) == DAY - 99
    assert bounded_horizon(30, [1], DAY - 10, DAY - 99) == DAY - 99


@given(st.integers(1, 5000), st.lists(days, min_size=1), days, days)
def test_no_day_within_the_retention_of_any_witness_is_forgotten(
    kept: int, witnesses: list[int], oldest: int, before: int
) -> None:
    horizon = bounded_horizon(kept, witnesses, oldest, before)
    assert horizon == before or all(horizon <= witness - kept for witness in witnesses)
    assert before <= horizon <= max(before, oldest) + MAX_HORIZON_STEP_DAYS


def test_clocks_disagree_when_they_are_more_than_a_day_apart() -> None:
    assert not disagree([DAY, DAY + 1])
    assert disagree([DAY, DAY + 2])


class _Server:
    """A Redis that says what time it is, or does not let us ask."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    async def info(self, section: str) -> dict[str, int]:
        assert section == "server"
        if self._seconds is None:
            raise NoPermissionError("this user has no permissions to run the 'info' command")
        return {"server_time_usec": round(self._seconds * 1e6)}


async def test_the_day_is_that_of_the_server_in_utc() -> None:
    seconds = datetime(2026, 11, 22, 23, 59, 59, 999_000, tzinfo=UTC).timestamp()
    assert await redis_day(_Server(seconds)) == date(2026, 11, 22)
    assert await redis_day(_Server(seconds + 1)) == date(2026, 11, 23)


async def test_a_server_that_may_not_be_asked_is_no_witness() -> None:
    assert await redis_day(_Server(None)) is None
