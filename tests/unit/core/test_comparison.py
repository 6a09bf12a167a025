"""Which earlier period a range is held against, and up to which instant."""

from datetime import UTC, date, datetime

import pytest

from aggregates.comparison import Comparison, comparison, year_earlier
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period, RangeError

SANTIAGO, MADRID = LocalCalendar("America/Santiago"), LocalCalendar("Europe/Madrid")
UTC_CALENDAR = LocalCalendar("UTC")


def at_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


def of(first: str, last: str) -> Period:
    return Period(date.fromisoformat(first), date.fromisoformat(last))


WEEK = of("2026-03-09", "2026-03-15")


def test_previous_is_as_many_days_before_whole() -> None:
    for now in ("2026-03-11T10:00:00Z", "2027-01-01T00:00:00Z"):
        found = comparison("previous", WEEK, UTC_CALENDAR, at_ms(now))
        assert found == Comparison(of("2026-03-02", "2026-03-08"), None)


def test_to_date_is_cut_at_the_same_time_on_the_day_in_the_same_place() -> None:
    found = comparison("to-date", WEEK, UTC_CALENDAR, at_ms("2026-03-11T10:30:00.250Z"))
    assert found == Comparison(of("2026-03-02", "2026-03-08"), at_ms("2026-03-04T10:30:00.250Z"))


def test_to_date_goes_by_the_accounts_day_and_clock() -> None:
    # 01:00 in UTC is still 22:00 of the day before in Santiago, in March three hours behind.
    found = comparison("to-date", WEEK, SANTIAGO, at_ms("2026-03-12T01:00:00Z"))
    assert found.cut_ms == at_ms("2026-03-04T22:00:00-03:00")


def test_to_date_of_the_first_and_last_day() -> None:
    assert comparison("to-date", WEEK, UTC_CALENDAR, at_ms("2026-03-09T00:00:00Z")).cut_ms == at_ms(
        "2026-03-02T00:00:00Z"
    )
    assert comparison("to-date", WEEK, UTC_CALENDAR, at_ms("2026-03-15T23:59:00Z")).cut_ms == at_ms(
        "2026-03-08T23:59:00Z"
    )


@pytest.mark.parametrize("now", ["2026-03-08T23:59:59Z", "2026-03-16T00:00:00Z"])
def test_to_date_of_a_range_without_today_is_refused(now: str) -> None:
    with pytest.raises(RangeError, match="does not contain today"):
        comparison("to-date", WEEK, UTC_CALENDAR, at_ms(now))


def test_a_skipped_time_is_cut_at_the_first_instant_after_it() -> None:
    # On 29 March 2026 Madrid goes from 02:00 to 03:00, so 02:30 was never shown.
    found = comparison("to-date", of("2026-03-30", "2026-03-30"), MADRID, at_ms("2026-03-30T02:30:00+02:00"))
    assert found.cut_ms == at_ms("2026-03-29T03:00:00+02:00") == at_ms("2026-03-29T01:00:00Z")


def test_a_repeated_time_is_cut_at_its_first_occurrence() -> None:
    # On 25 October 2026 Madrid goes back from 03:00 to 02:00, so 02:30 is shown twice.
    found = comparison("to-date", of("2026-10-26", "2026-10-26"), MADRID, at_ms("2026-10-26T02:30:00+01:00"))
    assert found.cut_ms == at_ms("2026-10-25T02:30:00+02:00")


def test_today_in_either_of_a_repeated_hour_cuts_at_the_time_it_shows() -> None:
    for offset in ("+02:00", "+01:00"):
        found = comparison("to-date", of("2026-10-25", "2026-10-25"), MADRID, at_ms(f"2026-10-25T02:30:00{offset}"))
        assert found.cut_ms == at_ms("2026-10-24T02:30:00+02:00")


def test_a_year_before_is_the_same_dates_whole_when_the_range_is_past() -> None:
    found = comparison("year", of("2026-03-01", "2026-03-31"), UTC_CALENDAR, at_ms("2026-05-01T00:00:00Z"))
    assert found == Comparison(of("2025-03-01", "2025-03-31"), None)


def test_a_year_before_is_cut_at_todays_date_when_the_range_contains_today() -> None:
    found = comparison("year", of("2026-03-01", "2026-03-31"), UTC_CALENDAR, at_ms("2026-03-10T08:00:00Z"))
    assert found == Comparison(of("2025-03-01", "2025-03-31"), at_ms("2025-03-10T08:00:00Z"))


def test_a_year_before_29_february_is_the_28th() -> None:
    assert year_earlier(date(2028, 2, 29)) == date(2027, 2, 28)
    assert year_earlier(date(2029, 2, 28)) == date(2028, 2, 28)
    found = comparison("year", of("2028-02-29", "2028-03-02"), UTC_CALENDAR, at_ms("2028-02-29T06:00:00Z"))
    assert found == Comparison(of("2027-02-28", "2027-03-02"), at_ms("2027-02-28T06:00:00Z"))


def test_what_has_no_comparison_is_refused() -> None:
    with pytest.raises(RangeError, match="there is no comparison 'moon'; there are: previous, to-date, year"):
        comparison("moon", WEEK, UTC_CALENDAR, 0)
    with pytest.raises(RangeError, match="no year before"):
        comparison("year", of("0001-01-01", "0001-01-02"), UTC_CALENDAR, at_ms("2026-01-01T00:00:00Z"))
    with pytest.raises(RangeError, match="days before it"):
        comparison("previous", of("0001-01-01", "0001-01-02"), UTC_CALENDAR, 0)
