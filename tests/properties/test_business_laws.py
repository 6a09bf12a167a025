"""Laws of the business clock, on random schedules, zones and versions.

The oracle asks of each minute (or second) whether it is inside a shift, and never turns a local time into an instant:
it only reads the wall clock at every instant. A shift has opened once the clock has shown its opening or later, and
has not closed while the clock will yet show a time before its close. So the first of two occurrences opens, the
second closes, and a skipped time is the end of its gap, without a word about clock changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate, pairwise
from random import Random
from time import perf_counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates.business import BusinessClock
from schemas import zones
from schemas.accounts import Interval, ScheduleVersion, Weekday

SECOND = 1_000
MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE
EPOCH = date(1970, 1, 1).toordinal()

DEFAULT_ZONE = "America/Santiago"
# An instant near which each of these zones changes its clock.
CHANGES = {
    "America/Havana": ["2025-03-09T05:00:00Z", "2025-11-02T05:00:00Z"],
    "America/New_York": ["2025-03-09T07:00:00Z", "2025-11-02T06:00:00Z"],
    "America/Nuuk": ["2025-03-30T01:00:00Z", "2025-10-26T01:00:00Z"],
    "America/Santiago": ["2025-04-06T03:00:00Z", "2025-09-07T04:00:00Z"],
    "Asia/Beirut": ["2025-03-29T22:00:00Z", "2025-10-25T21:00:00Z"],
    "Asia/Kathmandu": ["2025-03-03T00:00:00Z"],
    "Australia/Lord_Howe": ["2025-04-05T15:00:00Z", "2025-10-04T15:30:00Z"],
    "Europe/Madrid": ["2025-03-30T01:00:00Z", "2025-10-26T01:00:00Z"],
    "Pacific/Apia": ["2011-12-30T10:00:00Z"],
    "Pacific/Chatham": ["2025-04-05T14:00:00Z", "2025-09-27T14:00:00Z"],
}


def ms(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


@dataclass(frozen=True)
class Case:
    versions: tuple[ScheduleVersion, ...]
    start_ms: int
    end_ms: int

    def clock(self) -> BusinessClock:
        return BusinessClock(self.versions, DEFAULT_ZONE)


# --- the oracle


def walls_of(zone: str, instants: Sequence[int]) -> list[datetime]:
    """What the wall clock shows at each instant."""
    tz = zones.zone(zone)
    return [datetime.fromtimestamp(instant // 1000, UTC).astimezone(tz).replace(tzinfo=None) for instant in instants]


def hours_on(version: ScheduleVersion, day: date) -> tuple[Interval, ...]:
    text = day.isoformat()
    if text in version.special_days:
        return version.special_days[text]
    if text in version.holidays:
        return ()
    weekday: Weekday = get_args(Weekday)[day.weekday()]
    return version.weekly.get(weekday, ())


def shifts_near(version: ScheduleVersion, walls: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """Opening and close, as wall readings, of each shift that opens on a day from two before the first to the last."""
    shifts = []
    day = min(walls).date() - timedelta(days=2)
    while day <= max(walls).date():
        for opening, close in hours_on(version, day):
            midnight = datetime.combine(day, time.min)
            opens = midnight + timedelta(hours=int(opening[:2]), minutes=int(opening[3:]))
            closes = midnight + timedelta(hours=int(close[:2]), minutes=int(close[3:]))
            shifts.append((opens, closes if closes > opens else closes + timedelta(days=1)))
        day += timedelta(days=1)
    return shifts


def open_at_each(case: Case, step_ms: int) -> tuple[list[int], list[bool]]:
    """The instants of a grid that covers the wait, and whether each is inside a shift of the version then in force."""
    # Three days on either side are read too: what the clock has shown before, and will show after.
    first, last = case.start_ms - 3 * DAY, case.end_ms + 3 * DAY
    instants = list(range(first - first % step_ms, last, step_ms))
    in_order = sorted(case.versions, key=lambda version: version.valid_from or "")
    is_open = [False] * len(instants)
    for version in in_order:
        walls = walls_of(version.timezone or DEFAULT_ZONE, instants)
        shown = list(accumulate(walls, max))
        to_come = list(accumulate(reversed(walls), min))[::-1]
        shifts = shifts_near(version, walls)
        for place, instant in enumerate(instants):
            in_force = version is in_order[0] or shown[place].date().isoformat() >= (version.valid_from or "")
            if in_force and case.start_ms - step_ms < instant < case.end_ms:
                is_open[place] = any(opens <= shown[place] and to_come[place] < closes for opens, closes in shifts)
    return instants, is_open


def counted_one_by_one(case: Case, step_ms: int) -> int:
    instants, is_open = open_at_each(case, step_ms)
    return sum(
        max(0, min(instant + step_ms, case.end_ms) - max(instant, case.start_ms))
        for instant, inside in zip(instants, is_open, strict=True)
        if inside
    )


# --- random schedules


@st.composite
def times(draw: st.DrawFn, *, close: bool = False) -> str:
    """A time of day on a five-minute grid, more often near the hours at which clocks change."""
    hour = draw(st.sampled_from([0, 1, 2, 3, 22, 23]) | st.integers(0, 24 if close else 23))
    minute = 0 if hour == 24 else 5 * draw(st.integers(0, 11))
    return f"{hour:02}:{minute:02}"


hours_of_a_day = st.lists(st.tuples(times(), times(close=True)), max_size=3).map(tuple)


def days_near(instant_ms: int) -> st.SearchStrategy[str]:
    day = datetime.fromtimestamp(instant_ms // 1000, UTC).date()
    return st.integers(-4, 4).map(lambda days: (day + timedelta(days=days)).isoformat())


@st.composite
def schedules(draw: st.DrawFn, near_ms: int, zone: str) -> tuple[ScheduleVersion, ...]:
    """One to three versions, in any order, most of them in `zone`."""
    starts = draw(st.lists(st.none() | days_near(near_ms), min_size=1, max_size=3, unique=True))
    return tuple(
        ScheduleVersion(
            weekly=draw(st.dictionaries(st.sampled_from(get_args(Weekday)), hours_of_a_day)),
            holidays=tuple(draw(st.lists(days_near(near_ms), max_size=2))),
            special_days=draw(st.dictionaries(days_near(near_ms), hours_of_a_day, max_size=2)),
            valid_from=valid_from,
            timezone=draw(st.just(zone) | st.none() | st.sampled_from(sorted(CHANGES))),
        )
        for valid_from in starts
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A wait of up to three days near a change of the clock, with bounds to the millisecond."""
    zone = draw(st.sampled_from(sorted(CHANGES)))
    near_ms = ms(draw(st.sampled_from(CHANGES[zone])))
    start_ms = near_ms + draw(st.integers(-3 * DAY, DAY))
    return Case(
        versions=draw(schedules(near_ms, zone)), start_ms=start_ms, end_ms=start_ms + draw(st.integers(0, 3 * DAY))
    )


@st.composite
def long_cases(draw: st.DrawFn) -> Case:
    """A wait of up to a year and a half."""
    case = draw(cases())
    return Case(versions=case.versions, start_ms=case.start_ms, end_ms=case.start_ms + draw(st.integers(0, 550 * DAY)))


# --- the laws

unhurried = settings(deadline=None)  # a first look at a year and a half takes longer than hypothesis expects


@unhurried
@given(cases())
def test_a_wait_is_the_count_of_its_minutes_inside_a_shift(case: Case) -> None:
    # Every boundary of these schedules and zones lies on the five-minute grid; the wait's own ends need not.
    assert case.clock().between_ms(case.start_ms, case.end_ms) == counted_one_by_one(case, 5 * MINUTE)


@unhurried
@given(long_cases(), st.data())
def test_adjacent_waits_add_up(case: Case, data: st.DataObject) -> None:
    middle_ms = data.draw(st.integers(case.start_ms, case.end_ms))
    clock = case.clock()
    whole_ms = clock.between_ms(case.start_ms, case.end_ms)
    assert clock.between_ms(case.start_ms, middle_ms) + clock.between_ms(middle_ms, case.end_ms) == whole_ms


@unhurried
@given(long_cases())
def test_business_time_is_never_negative_nor_more_than_elapsed(case: Case) -> None:
    assert 0 <= case.clock().between_ms(case.start_ms, case.end_ms) <= case.end_ms - case.start_ms


@unhurried
@given(long_cases())
def test_the_spans_are_apart_in_order_inside_the_wait_and_sum_to_its_business_time(case: Case) -> None:
    clock = case.clock()
    spans = list(clock.spans(case.start_ms, case.end_ms))
    assert sum(span.end_ms - span.start_ms for span in spans) == clock.between_ms(case.start_ms, case.end_ms)
    edges = [case.start_ms, *(edge for span in spans for edge in (span.start_ms, span.end_ms)), case.end_ms]
    assert edges == sorted(edges)
    assert all(span.start_ms < span.end_ms for span in spans)
    assert all(case.versions[span.version].valid_from == span.valid_from for span in spans)
    # Where two spans meet, the version changed.
    assert all(one.version != next_one.version for one, next_one in pairwise(spans) if one.end_ms == next_one.start_ms)


@unhurried
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_versions_does_not_matter(case: Case, random: Random) -> None:
    shuffled = list(case.versions)
    random.shuffle(shuffled)
    assert BusinessClock(shuffled, DEFAULT_ZONE).between_ms(case.start_ms, case.end_ms) == case.clock().between_ms(
        case.start_ms, case.end_ms
    )


@unhurried
@given(cases(), cases())
def test_what_was_asked_before_does_not_matter(case: Case, other: Case) -> None:
    clock = case.clock()
    fresh_ms = clock.between_ms(case.start_ms, case.end_ms)
    clock.between_ms(other.start_ms, other.end_ms)
    clock.between_ms(case.start_ms - 150 * DAY, case.start_ms)  # more days than it remembers
    assert clock.between_ms(case.start_ms, case.end_ms) == fresh_ms


# --- where five minutes are too coarse


NEWFOUNDLAND = ("2010-11-07T01:30:00.250Z", "2010-11-07T05:00:00.750Z")
"""Until 2011, 00:01 became 23:01 of the day before; in 2010 at 02:31Z on 7 November."""


def newfoundland(*hours: Interval) -> Case:
    every_day: dict[Weekday, tuple[Interval, ...]] = dict.fromkeys(get_args(Weekday), hours)
    version = ScheduleVersion(weekly=every_day, timezone="America/St_Johns")
    return Case((version,), ms(NEWFOUNDLAND[0]), ms(NEWFOUNDLAND[1]))


@pytest.mark.parametrize(
    "hours", [("23:00", "24:00"), ("00:00", "00:01"), ("23:59", "00:30"), ("23:01", "23:02"), ("22:00", "06:00")]
)
def test_a_clock_that_falls_back_across_midnight_agrees_minute_by_minute(hours: Interval) -> None:
    case = newfoundland(hours)
    assert case.clock().between_ms(case.start_ms, case.end_ms) == counted_one_by_one(case, MINUTE)


def test_a_clock_that_falls_back_across_midnight_agrees_second_by_second() -> None:
    case = newfoundland(("22:00", "23:02"), ("23:30", "23:45"), ("23:59", "00:30"))
    assert case.clock().between_ms(case.start_ms, case.end_ms) == counted_one_by_one(case, SECOND)


def test_the_oracle_agrees_with_a_wait_worked_out_by_hand() -> None:
    """Madrid's 25 October repeats 02:00 to 03:00: from 01:00 to the second 02:30 is two hours and a half."""
    version = ScheduleVersion(weekly={"sun": (("01:00", "02:30"),)}, timezone="Europe/Madrid")
    case = Case((version,), ms("2025-10-25T12:00:00Z"), ms("2025-10-26T12:00:00Z"))
    assert counted_one_by_one(case, MINUTE) == 150 * MINUTE


# --- long waits are summed up by weekdays and blocks of days


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_long_wait_is_the_sum_of_its_days(data: st.DataObject) -> None:
    case = data.draw(cases())
    clock, fresh = case.clock(), case.clock()
    near = case.start_ms // DAY
    # Twice, so that what is remembered is used; across all that changes in the case, and back to before any of it.
    for _ in range(2):
        first = near - data.draw(st.integers(0, 900) | st.integers(0, 8_000))
        end = near + data.draw(st.integers(10, 900))
        start_ms, end_ms = first * DAY + data.draw(st.integers(0, DAY)), end * DAY + data.draw(st.integers(0, DAY - 1))
        walked = sum(
            min(close_ms, end_ms) - max(open_ms, start_ms)
            for day in range(first, end + 2)
            for open_ms, close_ms in fresh.open_day(day)[1]
            if close_ms > start_ms and open_ms < end_ms
        )
        assert clock.between_ms(start_ms, end_ms) == walked


def test_weeks_before_clocks_were_changed_are_counted_by_the_week() -> None:
    special_days: dict[str, tuple[Interval, ...]] = {"1700-01-05": (("00:00", "24:00"),)}
    versions = (ScheduleVersion(weekly={"mon": (("09:00", "18:00"),)}, special_days=special_days),)
    clock = BusinessClock(versions, "Europe/Madrid")
    first, end = date(1, 3, 1).toordinal() - EPOCH, date(1850, 3, 1).toordinal() - EPOCH
    walked = sum(BusinessClock(versions, "Europe/Madrid").open_day(day)[0] for day in range(-100_000, -80_000))
    assert clock.between_ms(-100_000 * DAY, -80_000 * DAY) == walked
    mondays = len([day for day in range(first, end) if (day + 3) % 7 == 0])
    assert clock.between_ms(first * DAY, end * DAY) == mondays * 9 * 60 * MINUTE + DAY


def test_one_answer_after_years_under_a_schedule_of_every_minute_is_counted_at_once() -> None:
    minutes = [f"{minute // 60:02}:{minute % 60:02}" for minute in range(1440)] + ["24:00"]
    weekly = {day: tuple(zip(minutes[::2], minutes[1::2], strict=False)) for day in get_args(Weekday)}
    clock = BusinessClock((ScheduleVersion(weekly=weekly),), "America/Santiago")
    started = perf_counter()
    # An hour shown twice, in April 2025 and 2026, is open but for the last minute of its second showing.
    assert clock.between_ms(20_000 * DAY, 20_790 * DAY) == 790 * DAY // 2 + 2 * 59 * MINUTE
    assert perf_counter() - started < 3  # walked, it is half a minute
