"""Local days and hours around changes of the clock, with answers worked out by hand."""

from datetime import UTC, date, datetime

import pytest

from aggregates.localtime import (
    LocalCalendar,
    first_instant_ms,
    last_instant_ms,
    midnight_wall_ms,
    offset_ms,
)
from schemas import zones

MINUTE = 60_000
HOUR = 60 * MINUTE


def ms(instant: str) -> int:
    moment = datetime.fromisoformat(instant)
    assert moment.tzinfo is not None
    return round(moment.timestamp() * 1000)


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def length_hours(timezone: str, text: str) -> float:
    start_ms, end_ms = LocalCalendar(timezone).day_bounds_ms(day(text))
    return (end_ms - start_ms) / HOUR


def odd_hours(timezone: str, text: str) -> dict[int, int]:
    """The hours of a day that do not occur just once."""
    occurrences = LocalCalendar(timezone).hours_of_day(day(text))
    assert len(occurrences) == 24
    return {hour: times for hour, times in enumerate(occurrences) if times != 1}


class TestZones:
    @pytest.mark.parametrize("name", ["Europe/Nowhere", "America", "", "../UTC", "/UTC", "x" * 300, "a\0b"])
    def test_a_name_that_is_no_zone_is_a_value_error(self, name: str) -> None:
        with pytest.raises(ValueError, match="not an IANA time zone"):
            zones.zone(name)
        with pytest.raises(ValueError, match="not an IANA time zone"):
            LocalCalendar(name)

    def test_offsets_are_known_at_the_ends_of_time(self) -> None:
        tokyo = zones.zone("Asia/Tokyo")
        assert offset_ms(tokyo, ms("9999-12-31T23:59:59+00:00")) == 9 * HOUR
        assert offset_ms(tokyo, ms("0001-01-01T00:00:00+00:00")) > 9 * HOUR  # the sun's time, before standard time


class TestReadings:
    def test_an_ordinary_reading_is_shown_once(self) -> None:
        madrid = zones.zone("Europe/Madrid")
        noon = midnight_wall_ms(day("2025-03-29")) + 12 * HOUR
        assert first_instant_ms(madrid, noon) == ms("2025-03-29T11:00:00Z")
        assert last_instant_ms(madrid, noon) == ms("2025-03-29T11:00:00Z")

    def test_a_repeated_reading_is_shown_twice(self) -> None:
        madrid = zones.zone("Europe/Madrid")
        half_past_two = midnight_wall_ms(day("2025-10-26")) + 150 * MINUTE
        assert first_instant_ms(madrid, half_past_two) == ms("2025-10-26T00:30:00Z")
        assert last_instant_ms(madrid, half_past_two) == ms("2025-10-26T01:30:00Z")

    @pytest.mark.parametrize("minutes", [120, 121, 150, 179, 180])
    def test_a_skipped_reading_is_the_end_of_the_gap(self, minutes: int) -> None:
        madrid = zones.zone("Europe/Madrid")
        reading = midnight_wall_ms(day("2025-03-30")) + minutes * MINUTE
        assert first_instant_ms(madrid, reading) == ms("2025-03-30T01:00:00Z")
        assert last_instant_ms(madrid, reading) == ms("2025-03-30T01:00:00Z")


class TestDayAndHour:
    @pytest.mark.parametrize(
        ("timezone", "instant", "expected_day", "expected_hour"),
        [
            ("UTC", "2025-03-03T00:00:00Z", "2025-03-03", 0),
            ("UTC", "2025-03-02T23:59:59.999Z", "2025-03-02", 23),
            ("America/Bogota", "2025-03-03T04:59:59.999Z", "2025-03-02", 23),
            ("America/Bogota", "2025-03-03T05:00:00Z", "2025-03-03", 0),
            ("Asia/Kathmandu", "2025-03-03T18:14:59Z", "2025-03-03", 23),
            ("Asia/Kathmandu", "2025-03-03T18:15:00Z", "2025-03-04", 0),
            # Santiago: 24:00 on 5 April becomes 23:00 at 03:00Z; 00:00 on 7 September becomes 01:00 at 04:00Z.
            ("America/Santiago", "2025-04-06T02:59:59.999Z", "2025-04-05", 23),
            ("America/Santiago", "2025-04-06T03:00:00Z", "2025-04-05", 23),
            ("America/Santiago", "2025-04-06T04:00:00Z", "2025-04-06", 0),
            ("America/Santiago", "2025-09-07T03:59:59.999Z", "2025-09-06", 23),
            ("America/Santiago", "2025-09-07T04:00:00Z", "2025-09-07", 1),
            ("Australia/Lord_Howe", "2025-04-05T15:00:00Z", "2025-04-06", 1),
            ("America/Bogota", "1969-12-31T23:00:00Z", "1969-12-31", 18),
        ],
    )
    def test_an_instant_has_the_day_and_hour_the_clock_shows(
        self, timezone: str, instant: str, expected_day: str, expected_hour: int
    ) -> None:
        calendar = LocalCalendar(timezone)
        assert calendar.day_and_hour(ms(instant)) == (day(expected_day), expected_hour)
        assert calendar.day_of(ms(instant)) == day(expected_day)

    @pytest.mark.parametrize(
        "timezone",
        [
            "Europe/Madrid",
            "America/Santiago",
            "Australia/Lord_Howe",
            "America/St_Johns",
            "Pacific/Apia",
            "Africa/Cairo",
        ],
    )
    def test_every_quarter_hour_of_a_year_agrees_with_the_library(self, timezone: str) -> None:
        calendar = LocalCalendar(timezone)
        zone = zones.zone(timezone)
        start = ms("2010-12-20T00:00:00Z")
        for instant in range(start, start + 400 * 24 * HOUR, 15 * MINUTE):
            wall = datetime.fromtimestamp(instant // 1000, UTC).astimezone(zone)
            assert calendar.day_and_hour(instant) == (wall.toordinal(), wall.hour)


class TestDayBounds:
    def test_a_day_runs_from_midnight_to_midnight_of_its_zone(self) -> None:
        assert LocalCalendar("America/Bogota").day_bounds_ms(day("2025-03-03")) == (
            ms("2025-03-03T05:00:00Z"),
            ms("2025-03-04T05:00:00Z"),
        )

    @pytest.mark.parametrize(
        ("timezone", "text", "hours"),
        [
            ("Europe/Madrid", "2025-03-30", 23),
            ("Europe/Madrid", "2025-10-26", 25),
            ("America/New_York", "2025-03-09", 23),
            ("America/New_York", "2025-11-02", 25),
            ("America/Santiago", "2025-04-05", 25),
            ("America/Santiago", "2025-04-06", 24),
            ("America/Santiago", "2025-09-06", 24),
            ("America/Santiago", "2025-09-07", 23),
            ("Australia/Lord_Howe", "2025-04-06", 24.5),
            ("Australia/Lord_Howe", "2025-10-05", 23.5),
            ("America/Havana", "2025-11-01", 24),
            ("America/Havana", "2025-11-02", 25),
            ("Pacific/Apia", "2011-12-30", 0),
        ],
    )
    def test_a_day_has_the_hours_it_really_had(self, timezone: str, text: str, hours: float) -> None:
        assert length_hours(timezone, text) == hours

    def test_a_skipped_midnight_is_the_first_instant_after_the_gap(self) -> None:
        start_ms, _ = LocalCalendar("America/Santiago").day_bounds_ms(day("2025-09-07"))
        assert start_ms == ms("2025-09-07T04:00:00Z")

    @pytest.mark.parametrize("timezone", ["Europe/Madrid", "America/Santiago", "America/Havana", "Australia/Lord_Howe"])
    def test_days_meet_and_hold_just_their_instants(self, timezone: str) -> None:
        calendar = LocalCalendar(timezone)
        for number in range(day("2025-01-02"), day("2026-01-02")):
            start_ms, end_ms = calendar.day_bounds_ms(number)
            assert calendar.day_of(start_ms) == calendar.day_of(end_ms - 1) == number
            assert calendar.day_of(start_ms - 1) == number - 1
            assert calendar.day_bounds_ms(number + 1)[0] == end_ms


class TestHoursOfADay:
    @pytest.mark.parametrize(
        ("timezone", "text", "odd"),
        [
            ("UTC", "2025-03-30", {}),
            ("Europe/Madrid", "2025-03-29", {}),
            ("Europe/Madrid", "2025-03-30", {2: 0}),
            ("Europe/Madrid", "2025-10-26", {2: 2}),
            ("America/New_York", "2025-03-09", {2: 0}),
            ("America/New_York", "2025-11-02", {1: 2}),
            ("America/Santiago", "2025-04-05", {23: 2}),
            ("America/Santiago", "2025-04-06", {}),
            ("America/Santiago", "2025-09-06", {}),
            ("America/Santiago", "2025-09-07", {0: 0}),
            ("America/Havana", "2025-11-01", {}),
            ("America/Havana", "2025-11-02", {0: 2}),
            # 02:00 becomes 01:30: the readings from 01:30 to 02:00 occur twice, hour 1 in part. 02:00 becomes 02:30:
            # hour 2 occurs in part.
            ("Australia/Lord_Howe", "2025-04-06", {1: 2}),
            ("Australia/Lord_Howe", "2025-10-05", {}),
            # 00:01 on the 7th became 23:01 on the 6th: 23:01 to 24:00 and 00:00 to 00:01 were shown twice.
            ("America/St_Johns", "2010-11-06", {23: 2}),
            ("America/St_Johns", "2010-11-07", {0: 2}),
            ("Pacific/Apia", "2011-12-30", dict.fromkeys(range(24), 0)),
        ],
    )
    def test_an_hour_occurs_as_often_as_the_clock_shows_it(self, timezone: str, text: str, odd: dict[int, int]) -> None:
        assert odd_hours(timezone, text) == odd
