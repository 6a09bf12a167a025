"""How far one round of retention goes, whatever the clocks say."""

from datetime import UTC, date, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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


class _Clock:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def time(self) -> Any:
        return self._answer


async def test_the_day_is_that_of_the_earliest_server() -> None:
    seconds = int(datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC).timestamp())
    assert await redis_day(_Clock((seconds, 999_999))) == date(2026, 11, 22)
    assert await redis_day(_Clock({"a": (seconds + 9, 0), "b": (seconds, 0)})) == date(2026, 11, 22)
