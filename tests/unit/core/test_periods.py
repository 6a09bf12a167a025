"""Periods and presets by the calendar."""

from datetime import date

import pytest

from aggregates.periods import Period, RangeError, period, presets
from schemas.limits import MAX_DAYS


def of(start: str, end: str) -> Period:
    return Period(date.fromisoformat(start), date.fromisoformat(end))


def test_both_ends_are_included() -> None:
    days = of("2026-03-02", "2026-03-04").days
    assert [date.fromordinal(day).day for day in days] == [2, 3, 4]
    assert len(of("2026-03-02", "2026-03-02").days) == 1


def test_the_previous_period_is_as_many_days_just_before() -> None:
    assert of("2026-03-02", "2026-03-08").previous == of("2026-02-23", "2026-03-01")
    assert of("2026-03-02", "2026-03-02").previous == of("2026-03-01", "2026-03-01")
    assert of("2024-03-01", "2024-03-31").previous == of("2024-01-30", "2024-02-29")  # a leap year


def test_presets_on_an_ordinary_day() -> None:
    assert presets(date(2026, 3, 18)) == {
        "today": of("2026-03-18", "2026-03-18"),
        "yesterday": of("2026-03-17", "2026-03-17"),
        "last_7_days": of("2026-03-12", "2026-03-18"),
        "last_30_days": of("2026-02-17", "2026-03-18"),
        "this_month": of("2026-03-01", "2026-03-18"),
        "last_month": of("2026-02-01", "2026-02-28"),
        "this_week": of("2026-03-16", "2026-03-18"),
        "last_week": of("2026-03-09", "2026-03-15"),
        "last_90_days": of("2025-12-19", "2026-03-18"),
        "this_quarter": of("2026-01-01", "2026-03-18"),
        "last_quarter": of("2025-10-01", "2025-12-31"),
        "this_year": of("2026-01-01", "2026-03-18"),
    }


def test_presets_on_the_first_of_january() -> None:
    found = presets(date(2027, 1, 1))
    assert found["this_month"] == of("2027-01-01", "2027-01-01")
    assert found["last_month"] == of("2026-12-01", "2026-12-31")
    assert found["yesterday"] == of("2026-12-31", "2026-12-31")
    assert found["this_year"] == found["this_quarter"] == found["this_month"]
    assert found["last_quarter"] == of("2026-10-01", "2026-12-31")
    assert found["this_week"] == of("2026-12-28", "2027-01-01")


def test_weeks_begin_on_monday() -> None:
    assert presets(date(2026, 3, 16))["this_week"] == of("2026-03-16", "2026-03-16")
    assert presets(date(2026, 3, 15))["this_week"] == of("2026-03-09", "2026-03-15")
    assert presets(date(2026, 3, 15))["last_week"] == of("2026-03-02", "2026-03-08")


@pytest.mark.parametrize(
    ("today", "this", "last"),
    [
        ("2026-03-31", ("2026-01-01", "2026-03-31"), ("2025-10-01", "2025-12-31")),
        ("2026-04-01", ("2026-04-01", "2026-04-01"), ("2026-01-01", "2026-03-31")),
        ("2026-08-15", ("2026-07-01", "2026-08-15"), ("2026-04-01", "2026-06-30")),
        ("2026-12-31", ("2026-10-01", "2026-12-31"), ("2026-07-01", "2026-09-30")),
    ],
)
def test_quarters_are_those_of_the_calendar(today: str, this: tuple[str, str], last: tuple[str, str]) -> None:
    found = presets(date.fromisoformat(today))
    assert found["this_quarter"] == of(*this)
    assert found["last_quarter"] == of(*last)


def test_last_month_is_whole_whatever_the_day() -> None:
    assert presets(date(2026, 3, 31))["last_month"] == of("2026-02-01", "2026-02-28")
    assert presets(date(2026, 3, 31))["last_month"].previous == of("2026-01-04", "2026-01-31")


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(RangeError, match=r"ends .* before it starts"):
        period(date(2026, 3, 2), date(2026, 3, 1))


def test_a_range_of_ten_years_is_answered_and_a_day_more_is_refused() -> None:
    start = date(2020, 1, 1)
    assert len(period(start, date.fromordinal(start.toordinal() + MAX_DAYS - 1)).days) == MAX_DAYS
    with pytest.raises(RangeError, match="longer than 3660 days"):
        period(start, date.fromordinal(start.toordinal() + MAX_DAYS))


def test_before_the_calendar_begins_there_is_no_previous_period() -> None:
    assert of("0001-01-02", "0001-01-02").previous == of("0001-01-01", "0001-01-01")
    with pytest.raises(RangeError, match="no 1 days before"):
        _ = of("0001-01-01", "0001-01-01").previous
