"""The business clock, rule by rule, with answers worked out by hand."""

from datetime import datetime
from itertools import permutations

import pytest

from aggregates.business import BusinessClock, Span
from schemas.accounts import Interval, ScheduleVersion, Weekday

MINUTE = 60_000
HOUR = 60 * MINUTE

OFFICE: tuple[Interval, ...] = (("09:00", "13:00"), ("14:00", "18:00"))
ALL_DAY: Interval = ("00:00", "24:00")
NIGHT: Interval = ("22:00", "06:00")

Weekly = dict[Weekday, tuple[Interval, ...]]


def ms(instant: str) -> int:
    moment = datetime.fromisoformat(instant)
    assert moment.tzinfo is not None
    return round(moment.timestamp() * 1000)


def daily(*hours: Interval) -> Weekly:
    return {"mon": hours, "tue": hours, "wed": hours, "thu": hours, "fri": hours, "sat": hours, "sun": hours}


def clock_of(
    weekly: Weekly,
    timezone: str = "UTC",
    *,
    holidays: tuple[str, ...] = (),
    special_days: dict[str, tuple[Interval, ...]] | None = None,
) -> BusinessClock:
    version = ScheduleVersion(weekly=weekly, holidays=holidays, special_days=special_days or {})
    return BusinessClock([version], timezone)


def counted(clock: BusinessClock, start: str, end: str) -> int:
    return clock.between_ms(ms(start), ms(end))


class TestHoursOfADay:
    """2026-03-02 is a Monday."""

    def test_a_wait_inside_a_shift_counts_whole_to_the_millisecond(self) -> None:
        clock = clock_of({"mon": OFFICE})
        assert counted(clock, "2026-03-02T09:10:00.001Z", "2026-03-02T09:20:00.500Z") == 10 * MINUTE + 499

    def test_the_break_between_two_intervals_does_not_count(self) -> None:
        clock = clock_of({"mon": OFFICE})
        assert counted(clock, "2026-03-02T12:30:00Z", "2026-03-02T14:15:00Z") == 45 * MINUTE

    def test_a_wait_wholly_outside_hours_counts_nothing(self) -> None:
        clock = clock_of({"mon": OFFICE})
        assert counted(clock, "2026-03-02T18:00:00Z", "2026-03-03T09:00:00Z") == 0

    def test_a_wait_over_a_weekend_counts_the_end_of_friday_and_the_start_of_monday(self) -> None:
        clock = clock_of({"fri": OFFICE, "mon": OFFICE})
        assert counted(clock, "2026-03-06T17:00:00Z", "2026-03-09T10:00:00Z") == 2 * HOUR

    def test_a_wait_that_ends_when_or_before_it_starts_is_zero(self) -> None:
        clock = clock_of({"mon": OFFICE})
        assert counted(clock, "2026-03-02T10:00:00Z", "2026-03-02T10:00:00Z") == 0
        assert counted(clock, "2026-03-02T11:00:00Z", "2026-03-02T10:00:00Z") == 0
        assert list(clock.spans(ms("2026-03-02T11:00:00Z"), ms("2026-03-02T10:00:00Z"))) == []

    def test_hours_are_those_of_the_zone(self) -> None:
        clock = clock_of({"mon": OFFICE}, "America/Bogota")
        assert counted(clock, "2026-03-02T13:00:00Z", "2026-03-02T15:00:00Z") == HOUR

    def test_a_version_without_hours_is_never_open(self) -> None:
        assert counted(clock_of({}), "2026-03-02T00:00:00Z", "2026-04-02T00:00:00Z") == 0

    @pytest.mark.parametrize("close", ["24:00", "00:00"])
    def test_a_close_at_24_or_0_is_the_end_of_the_day(self, close: str) -> None:
        clock = clock_of({"mon": (("22:00", close),)})
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-04T00:00:00Z") == 2 * HOUR

    def test_a_close_before_its_opening_is_the_next_days(self) -> None:
        clock = clock_of({"mon": (NIGHT,)})
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z") == 2 * HOUR
        assert counted(clock, "2026-03-03T00:00:00Z", "2026-03-04T00:00:00Z") == 6 * HOUR

    def test_a_close_equal_to_its_opening_lasts_24_hours(self) -> None:
        midnight_to_midnight = clock_of({"mon": (("00:00", "00:00"),)})
        assert counted(midnight_to_midnight, "2026-03-01T00:00:00Z", "2026-03-05T00:00:00Z") == 24 * HOUR
        a_minute_before = clock_of({"mon": (("23:59", "23:59"),)})
        assert counted(a_minute_before, "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z") == MINUTE
        assert counted(a_minute_before, "2026-03-03T23:00:00Z", "2026-03-05T00:00:00Z") == 59 * MINUTE

    def test_far_behind_utc_a_shift_reaches_the_second_utc_day_after_its_own(self) -> None:
        # Honolulu is 10 hours behind: Monday 15:00 to Tuesday 15:00 there ends on Wednesday at 01:00Z.
        clock = clock_of({"mon": (("15:00", "15:00"),)}, "Pacific/Honolulu")
        assert counted(clock, "2026-03-04T00:00:00Z", "2026-03-04T12:00:00Z") == HOUR

    def test_far_ahead_of_utc_a_shift_opens_on_the_utc_day_before(self) -> None:
        # Kiritimati is 14 hours ahead: Monday 00:00 there is Sunday 10:00Z.
        clock = clock_of({"mon": (("00:00", "01:00"),)}, "Pacific/Kiritimati")
        assert counted(clock, "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z") == HOUR

    def test_overlapping_intervals_count_once(self) -> None:
        clock = clock_of({"mon": (("09:00", "12:00"), ("11:30", "12:30"), ("11:00", "13:00"))})
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z") == 4 * HOUR

    def test_a_night_shift_that_overlaps_the_next_mornings_counts_once(self) -> None:
        clock = clock_of({"mon": (NIGHT,), "tue": (("05:00", "09:00"),)})
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-05T00:00:00Z") == 11 * HOUR


class TestHolidaysAndSpecialDays:
    def test_nothing_opens_on_a_holiday(self) -> None:
        clock = clock_of({"mon": OFFICE}, holidays=("2026-03-02",))
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z") == 0
        assert counted(clock, "2026-03-09T00:00:00Z", "2026-03-10T00:00:00Z") == 8 * HOUR

    def test_a_night_shift_runs_on_into_a_holiday_and_none_opens_on_it(self) -> None:
        clock = clock_of(daily(NIGHT), holidays=("2026-03-03",))
        assert counted(clock, "2026-03-03T00:00:00Z", "2026-03-04T00:00:00Z") == 6 * HOUR
        assert counted(clock, "2026-03-04T00:00:00Z", "2026-03-04T12:00:00Z") == 0

    def test_a_special_day_replaces_the_weekly_hours(self) -> None:
        clock = clock_of({"mon": OFFICE}, special_days={"2026-03-02": (("17:00", "19:30"),)})
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z") == 2 * HOUR + 30 * MINUTE

    def test_a_special_day_opens_a_day_that_is_closed_every_week(self) -> None:
        clock = clock_of({"mon": OFFICE}, special_days={"2026-03-08": (("10:00", "11:00"),)})
        assert counted(clock, "2026-03-07T00:00:00Z", "2026-03-09T00:00:00Z") == HOUR

    def test_a_special_day_is_stronger_than_a_holiday(self) -> None:
        clock = clock_of({"mon": OFFICE}, holidays=("2026-03-02",), special_days={"2026-03-02": (("09:00", "12:00"),)})
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z") == 3 * HOUR

    def test_a_special_day_without_hours_is_closed(self) -> None:
        clock = clock_of({"mon": OFFICE}, special_days={"2026-03-02": ()})
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z") == 0

    def test_a_special_night_shift_runs_on_into_the_next_day(self) -> None:
        clock = clock_of({}, special_days={"2026-03-02": (("20:00", "02:00"),)})
        assert counted(clock, "2026-03-03T00:00:00Z", "2026-03-04T00:00:00Z") == 2 * HOUR

    def test_a_holiday_is_a_day_of_the_zone(self) -> None:
        clock = clock_of(daily(ALL_DAY), "Asia/Tokyo", holidays=("2026-03-03",))
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-02T20:00:00Z") == 15 * HOUR


class TestVersions:
    def test_each_part_of_a_wait_is_counted_by_the_version_then_in_force(self) -> None:
        clock = BusinessClock(
            [
                ScheduleVersion(weekly=daily(("09:00", "13:00"))),
                ScheduleVersion(weekly=daily(("09:00", "18:00")), valid_from="2026-03-03"),
            ],
            "UTC",
        )
        assert counted(clock, "2026-03-02T12:00:00Z", "2026-03-03T18:00:00Z") == 10 * HOUR

    def test_the_first_version_also_covers_all_time_before_it(self) -> None:
        clock = BusinessClock(
            [
                ScheduleVersion(weekly=daily(("09:00", "18:00")), valid_from="2026-03-03"),
                ScheduleVersion(weekly=daily(("09:00", "12:00")), valid_from="2026-01-01"),
            ],
            "UTC",
        )
        assert counted(clock, "2001-05-05T00:00:00Z", "2001-05-06T00:00:00Z") == 3 * HOUR

    def test_the_order_in_the_list_does_not_matter(self) -> None:
        versions = [
            ScheduleVersion(weekly=daily(("09:00", "10:00"))),
            ScheduleVersion(weekly=daily(("09:00", "11:00")), valid_from="2026-03-03"),
            ScheduleVersion(weekly=daily(("09:00", "13:00")), valid_from="2026-03-05"),
        ]
        for order in permutations(versions):
            clock = BusinessClock(order, "UTC")
            # Monday the 2nd by the first, 3rd and 4th by the second, 5th and 6th by the third.
            assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-07T00:00:00Z") == (1 + 2 * 2 + 2 * 4) * HOUR

    def test_a_night_shift_is_cut_when_a_new_version_takes_over(self) -> None:
        clock = BusinessClock(
            [
                ScheduleVersion(weekly=daily(NIGHT)),
                ScheduleVersion(weekly=daily(("09:00", "10:00")), valid_from="2026-03-03"),
            ],
            "UTC",
        )
        assert counted(clock, "2026-03-02T20:00:00Z", "2026-03-04T00:00:00Z") == 3 * HOUR

    def test_the_new_versions_shift_of_the_evening_before_is_open_from_its_take_over(self) -> None:
        clock = BusinessClock(
            [
                ScheduleVersion(weekly=daily(("09:00", "10:00"))),
                ScheduleVersion(weekly=daily(NIGHT), valid_from="2026-03-03"),
            ],
            "UTC",
        )
        assert counted(clock, "2026-03-02T20:00:00Z", "2026-03-03T12:00:00Z") == 6 * HOUR

    @pytest.mark.parametrize(("timezone", "hours"), [("Asia/Tokyo", 15), ("UTC", 24), ("Pacific/Honolulu", 34)])
    def test_a_version_takes_over_at_midnight_in_its_own_zone(self, timezone: str, hours: int) -> None:
        clock = BusinessClock(
            [ScheduleVersion(weekly=daily(ALL_DAY)), ScheduleVersion(valid_from="2026-03-03", timezone=timezone)],
            "UTC",
        )
        assert counted(clock, "2026-03-02T00:00:00Z", "2026-03-05T00:00:00Z") == hours * HOUR

    def test_a_version_without_a_zone_is_in_the_accounts(self) -> None:
        clock = BusinessClock(
            [
                ScheduleVersion(weekly=daily(("09:00", "10:00")), timezone="Asia/Tokyo"),
                ScheduleVersion(weekly=daily(("09:00", "11:00")), valid_from="2026-03-03"),
            ],
            "America/Bogota",
        )
        # Until Bogota's midnight (05:00Z) Tokyo's 09:00 to 10:00 (00:00Z to 01:00Z), then Bogota's 09:00 to 11:00.
        assert list(clock.spans(ms("2026-03-03T00:00:00Z"), ms("2026-03-04T00:00:00Z"))) == [
            Span(ms("2026-03-03T00:00:00Z"), ms("2026-03-03T01:00:00Z"), 0, None),
            Span(ms("2026-03-03T14:00:00Z"), ms("2026-03-03T16:00:00Z"), 1, "2026-03-03"),
        ]

    def test_a_later_version_stays_in_force_when_an_earlier_ones_midnight_comes_after_its_own(self) -> None:
        clock = BusinessClock(
            [
                ScheduleVersion(weekly=daily(ALL_DAY)),
                ScheduleVersion(weekly=daily(ALL_DAY), valid_from="2026-03-18", timezone="Pacific/Midway"),
                ScheduleVersion(valid_from="2026-03-19", timezone="Pacific/Kiritimati"),
            ],
            "UTC",
        )
        # Kiritimati's 19th begins on the 18th at 10:00Z, Midway's 18th at 11:00Z.
        assert counted(clock, "2026-03-18T00:00:00Z", "2026-03-20T00:00:00Z") == 10 * HOUR

    def test_spans_name_the_version_by_its_place_in_the_list_given(self) -> None:
        clock = BusinessClock(
            [
                ScheduleVersion(weekly=daily(NIGHT), valid_from="2026-03-04"),
                ScheduleVersion(weekly=daily(NIGHT), valid_from="2026-03-03"),
            ],
            "UTC",
        )
        assert list(clock.spans(ms("2026-03-02T23:00:00Z"), ms("2026-03-04T01:00:00Z"))) == [
            Span(ms("2026-03-02T23:00:00Z"), ms("2026-03-03T06:00:00Z"), 1, "2026-03-03"),
            Span(ms("2026-03-03T22:00:00Z"), ms("2026-03-04T00:00:00Z"), 1, "2026-03-03"),
            Span(ms("2026-03-04T00:00:00Z"), ms("2026-03-04T01:00:00Z"), 0, "2026-03-04"),
        ]

    def test_a_schedule_needs_a_version_and_a_zone_that_exists(self) -> None:
        with pytest.raises(ValueError, match="at least one version"):
            BusinessClock([], "UTC")
        with pytest.raises(ValueError, match="'Europe/Nowhere' is not an IANA time zone"):
            BusinessClock([ScheduleVersion(timezone="Europe/Nowhere")], "UTC")


class TestClockChanges:
    """Hours counted of one local weekday's shift, over the days around a change of the clock."""

    @pytest.mark.parametrize(
        ("hours", "minutes"),
        [
            pytest.param(ALL_DAY, 23 * 60, id="the day has 23 hours"),
            pytest.param(("01:00", "04:00"), 120, id="the skipped hour is no time"),
            pytest.param(("02:30", "05:00"), 120, id="an opening in the gap is its end"),
            pytest.param(("00:00", "02:30"), 120, id="a close in the gap is its end"),
            pytest.param(("02:10", "02:50"), 0, id="a shift inside the gap lasts no time"),
        ],
    )
    def test_madrid_goes_from_2_to_3_on_the_30th_of_march(self, hours: Interval, minutes: int) -> None:
        clock = clock_of({"sun": (hours,)}, "Europe/Madrid")
        assert counted(clock, "2025-03-28T00:00:00Z", "2025-04-01T00:00:00Z") == minutes * MINUTE

    @pytest.mark.parametrize(
        ("hours", "minutes"),
        [
            pytest.param((ALL_DAY,), 25 * 60, id="the day has 25 hours"),
            pytest.param((("01:00", "04:00"),), 240, id="the repeated hour counts twice"),
            pytest.param((("02:30", "04:00"),), 150, id="an opening is the first occurrence"),
            pytest.param((("01:00", "02:30"),), 150, id="a close is the second"),
            pytest.param((("02:15", "02:45"),), 90, id="both inside the repeated hour"),
            pytest.param((("01:00", "02:00"),), 120, id="2:00 itself is repeated"),
            pytest.param((("03:00", "04:00"),), 60, id="3:00 is not"),
            pytest.param((("01:00", "02:30"), ("02:30", "04:00")), 240, id="two that meet in it count once"),
        ],
    )
    def test_madrid_goes_from_3_to_2_on_the_26th_of_october(self, hours: tuple[Interval, ...], minutes: int) -> None:
        clock = clock_of({"sun": hours}, "Europe/Madrid")
        assert counted(clock, "2025-10-24T00:00:00Z", "2025-10-28T00:00:00Z") == minutes * MINUTE

    def test_a_night_shift_over_the_change_lasts_an_hour_less_or_more(self) -> None:
        clock = clock_of({"sat": (NIGHT,)}, "Europe/Madrid")
        assert counted(clock, "2025-03-28T00:00:00Z", "2025-04-01T00:00:00Z") == 7 * HOUR
        assert counted(clock, "2025-10-24T00:00:00Z", "2025-10-28T00:00:00Z") == 9 * HOUR

    def test_a_wait_is_measured_in_real_time_across_the_change(self) -> None:
        clock = clock_of(daily(ALL_DAY), "Europe/Madrid")
        assert counted(clock, "2025-03-30T01:30:00+01:00", "2025-03-30T03:30:00+02:00") == HOUR
        assert counted(clock, "2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00+01:00") == HOUR

    def test_new_york_skips_2_to_3_on_the_9th_of_march_and_repeats_1_to_2_on_the_2nd_of_november(self) -> None:
        spring = clock_of({"sun": (("01:00", "03:00"),)}, "America/New_York")
        assert counted(spring, "2025-03-08T00:00:00Z", "2025-03-11T00:00:00Z") == HOUR
        autumn = clock_of({"sun": (("00:30", "01:30"),)}, "America/New_York")
        assert counted(autumn, "2025-11-01T00:00:00Z", "2025-11-04T00:00:00Z") == 2 * HOUR

    def test_santiago_shows_23_to_24_twice_on_saturday_the_5th_of_april(self) -> None:
        evening = clock_of({"sat": (("22:00", "24:00"),)}, "America/Santiago")
        assert counted(evening, "2025-04-04T00:00:00Z", "2025-04-08T00:00:00Z") == 3 * HOUR
        inside = clock_of({"sat": (("23:30", "23:45"),)}, "America/Santiago")
        assert counted(inside, "2025-04-04T00:00:00Z", "2025-04-08T00:00:00Z") == 75 * MINUTE
        sunday = clock_of({"sun": (("00:00", "01:00"),)}, "America/Santiago")
        assert counted(sunday, "2025-04-04T00:00:00Z", "2025-04-08T00:00:00Z") == HOUR

    def test_santiago_has_no_midnight_on_the_7th_of_september(self) -> None:
        sunday = clock_of({"sun": (("00:00", "02:00"),)}, "America/Santiago")
        assert counted(sunday, "2025-09-05T00:00:00Z", "2025-09-09T00:00:00Z") == HOUR
        saturday = clock_of({"sat": (("22:00", "24:00"),)}, "America/Santiago")
        assert counted(saturday, "2025-09-05T00:00:00Z", "2025-09-09T00:00:00Z") == 2 * HOUR

    def test_a_version_takes_over_at_the_end_of_the_gap_when_its_midnight_is_skipped(self) -> None:
        clock = BusinessClock(
            [ScheduleVersion(weekly=daily(ALL_DAY)), ScheduleVersion(valid_from="2025-09-07")], "America/Santiago"
        )
        assert counted(clock, "2025-09-07T00:00:00Z", "2025-09-09T00:00:00Z") == 4 * HOUR

    def test_lord_howe_changes_by_half_an_hour(self) -> None:
        all_sunday = clock_of({"sun": (ALL_DAY,)}, "Australia/Lord_Howe")
        assert counted(all_sunday, "2025-04-04T00:00:00Z", "2025-04-08T00:00:00Z") == 24 * HOUR + 30 * MINUTE
        assert counted(all_sunday, "2025-10-03T00:00:00Z", "2025-10-07T00:00:00Z") == 23 * HOUR + 30 * MINUTE
        close_repeated = clock_of({"sun": (("01:00", "01:45"),)}, "Australia/Lord_Howe")
        assert counted(close_repeated, "2025-04-04T00:00:00Z", "2025-04-08T00:00:00Z") == 75 * MINUTE
        opening_skipped = clock_of({"sun": (("02:15", "03:00"),)}, "Australia/Lord_Howe")
        assert counted(opening_skipped, "2025-10-03T00:00:00Z", "2025-10-07T00:00:00Z") == 30 * MINUTE

    def test_havana_shows_midnight_twice_on_the_2nd_of_november(self) -> None:
        saturday = clock_of({"sat": (("22:00", "24:00"),)}, "America/Havana")
        assert counted(saturday, "2025-10-31T00:00:00Z", "2025-11-04T00:00:00Z") == 3 * HOUR
        sunday = clock_of({"sun": (("00:00", "02:00"),)}, "America/Havana")
        assert counted(sunday, "2025-10-31T00:00:00Z", "2025-11-04T00:00:00Z") == 3 * HOUR
        both = clock_of({"sat": (("22:00", "24:00"),), "sun": (("00:00", "02:00"),)}, "America/Havana")
        assert counted(both, "2025-10-31T00:00:00Z", "2025-11-04T00:00:00Z") == 5 * HOUR

    def test_a_version_takes_over_at_the_first_of_two_midnights(self) -> None:
        clock = BusinessClock(
            [ScheduleVersion(weekly=daily(ALL_DAY)), ScheduleVersion(valid_from="2025-11-02")], "America/Havana"
        )
        assert counted(clock, "2025-11-02T00:00:00Z", "2025-11-04T00:00:00Z") == 4 * HOUR

    def test_a_day_that_samoa_left_out_has_no_shift_and_cuts_the_night_before(self) -> None:
        friday = clock_of({"fri": (ALL_DAY,)}, "Pacific/Apia")
        assert counted(friday, "2011-12-28T00:00:00Z", "2012-01-01T00:00:00Z") == 0
        thursday_night = clock_of({"thu": (NIGHT,)}, "Pacific/Apia")
        assert counted(thursday_night, "2011-12-28T00:00:00Z", "2012-01-01T00:00:00Z") == 2 * HOUR


class TestLongWaits:
    def test_a_wait_of_ten_years_counts_each_of_its_522_mondays(self) -> None:
        clock = clock_of({"mon": (("09:00", "10:00"),)})
        assert counted(clock, "2016-01-04T00:00:00Z", "2026-01-05T00:00:00Z") == 522 * HOUR

    def test_around_the_clock_a_year_is_its_elapsed_time(self) -> None:
        clock = clock_of(daily(("00:00", "00:00")), "Europe/Madrid")
        assert counted(clock, "2024-06-01T00:00:00Z", "2025-06-01T00:00:00Z") == 365 * 24 * HOUR
        assert len(list(clock.spans(ms("2024-06-01T00:00:00Z"), ms("2025-06-01T00:00:00Z")))) == 1
