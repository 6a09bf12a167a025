"""A range that takes months from their roll-ups has the numbers of the same range added up by days."""

from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import counters
from aggregates.counters import Field, Value, observation
from aggregates.cube import build, merged_counters
from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.months import first_of_month, month_keys, roll_up, usable
from aggregates.periods import period
from aggregates.report import metrics, table_filters

FIRST = date(2026, 2, 20).toordinal()
LAST = date(2026, 5, 10).toordinal()
CALENDAR = LocalCalendar("America/Santiago")  # its clocks change on 5 April 2026

origins = st.sampled_from(["Web", "Ads", None])
groups = st.sampled_from(["sales", "nights", None])
channels = st.sampled_from(["whatsapp", "email", "sms"])
advisors = st.sampled_from(["ana", "bo", "cy"])
flags = st.booleans()
times = st.integers(1, 3)
durations = st.one_of(st.integers(0, 3_000), st.integers(0, 10_000_000))
vectors = st.lists(st.tuples(durations, durations, flags), min_size=1, max_size=40).map(
    lambda all_: _sum([observation(elapsed, business, 60_000 if aimed else None) for elapsed, business, aimed in all_])
)


def _sum(parts: list[counters.Vector]) -> Value:
    total: Value | None = None
    for part in parts:
        total = counters.added(total, part)
    assert total is not None
    return total


def counted(metric: str, *dimensions: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Field, Value]]:
    return st.tuples(st.tuples(st.just(metric), *dimensions), times)


def unique(*parts: st.SearchStrategy[Any], by: int) -> st.SearchStrategy[tuple[Any, ...]]:
    """A set of tuples that differ in their first `by` members."""
    return st.lists(st.tuples(*parts), min_size=1, max_size=3, unique_by=lambda each: each[:by]).map(
        lambda found: tuple(sorted(found, key=repr))
    )


def day_counters(day: int) -> st.SearchStrategy[dict[Field, Value]]:
    before = st.one_of(st.none(), st.integers(FIRST - 40, day - 1))
    activity = unique(channels, groups, flags, before, by=2).filter(lambda pairs: any(pair[2] for pair in pairs))
    since = st.integers(0, 10**6).map(lambda ms: day * 86_400_000 + ms)
    fields = st.one_of(
        st.tuples(st.tuples(st.sampled_from(["f", "r"]), origins, groups, channels, advisors), vectors),
        counted(counters.INTERACTION, origins, unique(advisors, channels, groups, by=3)),
        counted(counters.UNCOUNTED, origins, groups, channels, advisors),
        counted(counters.NEW_CONTACT, origins, groups, channels, st.integers(0, 2)),
        counted(counters.ORIGIN, origins, groups, channels, flags, flags, flags),
        counted(
            *(counters.NEW_CONVERSATION, origins, groups, channels, st.sampled_from(["bot", "contact"])),
            st.integers(0, 23),
        ),
        counted(counters.ACTIVE, origins, activity),
        counted(counters.CLOSED, origins, groups, channels, st.one_of(st.none(), advisors), flags),
        counted(counters.WAITING, origins, groups, channels, flags, since),
    )
    return st.lists(fields, min_size=1, max_size=12).map(lambda found: merged_counters([found]))


def chosen(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.lists(values, min_size=1, max_size=2, unique=True).map(tuple))


filters = st.builds(Filters, chosen(origins), chosen(groups), chosen(channels), chosen(st.one_of(st.none(), advisors)))


@settings(max_examples=150)
@given(st.data(), filters, st.tuples(st.integers(FIRST, LAST), st.integers(FIRST, LAST)))
def test_a_range_of_months_has_the_numbers_of_its_days(data: st.DataObject, asked: Filters, ends: Any) -> None:
    days = sorted(data.draw(st.sets(st.integers(FIRST, LAST), max_size=12)))
    cubes = {day: build(data.draw(day_counters(day))) for day in days}
    months = {
        first: roll_up(first, {day: cubes[day] for day in days if first_of_month(day) == first})
        for first in set(map(first_of_month, days))
    }
    wanted = period(date.fromordinal(min(ends)), date.fromordinal(max(ends)))
    inside = {day: cubes[day] for day in wanted.days if day in cubes}
    tables = table_filters(asked, inside.values())
    by_days = metrics(wanted, inside, asked, CALENDAR, tables)

    whole = {first: months[first] for first in usable(wanted, days, months)}
    edges = {day: cube for day, cube in inside.items() if first_of_month(day) not in whole}
    assert table_filters(asked, (*whole.values(), *edges.values())) == tables
    assert metrics(wanted, edges, asked, CALENDAR, tables, whole) == by_days

    # And the fields that a reader asks for are enough.
    rows = [row for table in tables.values() for row in table]
    keys = {*month_keys(asked, whole=True), *(key for row in rows for key in month_keys(row, whole=False))}
    needed = {first: {key: month[key] for key in keys if key in month} for first, month in whole.items()}
    assert metrics(wanted, edges, asked, CALENDAR, tables, needed) == by_days


@given(st.data())
def test_equal_cubes_make_equal_roll_ups_whatever_their_order(data: st.DataObject) -> None:
    first = date(2026, 3, 1).toordinal()
    days = {day: data.draw(day_counters(day)) for day in data.draw(st.permutations(range(first, first + 3)))}
    forwards = roll_up(first, {day: build(days[day]) for day in sorted(days)})
    backwards = {day: build(dict(reversed(fields.items()))) for day, fields in days.items()}
    assert roll_up(first, backwards) == forwards
