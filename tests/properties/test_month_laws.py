"""A range that takes months and thirds of them from roll-ups has the numbers of the same range added up by days."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import counters
from aggregates.counters import Field, Value, observation
from aggregates.cube import Cube, build, merged_counters
from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.months import Span, roll_up, rolled_up, span_keys, spans_of, usable
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


def of_days(cubes: Mapping[int, Cube], span: Span) -> dict[int, Cube]:
    return {day: cube for day, cube in cubes.items() if day in span.days}


@settings(max_examples=150)
@given(st.data(), filters, st.tuples(st.integers(FIRST, LAST), st.integers(FIRST, LAST)))
def test_a_range_of_roll_ups_has_the_numbers_of_its_days(data: st.DataObject, asked: Filters, ends: Any) -> None:
    days = sorted(data.draw(st.sets(st.integers(FIRST, LAST), max_size=12)))
    cubes = {day: build(data.draw(day_counters(day))) for day in days}
    there = sorted({span for day in days for span in spans_of(day)})
    rolled = data.draw(st.sets(st.sampled_from(there))) if there else set()
    wanted = period(date.fromordinal(min(ends)), date.fromordinal(max(ends)))
    inside = {day: cubes[day] for day in wanted.days if day in cubes}
    tables = table_filters(asked, inside.values())
    by_days = metrics(wanted, inside, asked, CALENDAR, tables)

    spans = {span: roll_up(span, of_days(cubes, span)) for span in usable(wanted, days, rolled)}
    edges = {day: cube for day, cube in inside.items() if not any(day in span.days for span in spans)}
    assert sum(len(of_days(cubes, span)) for span in spans) + len(edges) == len(inside)  # no day twice
    assert table_filters(asked, (*spans.values(), *edges.values())) == tables
    assert metrics(wanted, edges, asked, CALENDAR, tables, spans) == by_days

    # And the fields that a reader asks for are enough.
    rows = [row for table in tables.values() for row in table]
    keys = {*span_keys(asked, whole=True), *(key for row in rows for key in span_keys(row, whole=False))}
    needed = {span: {key: found[key] for key in keys if key in found} for span, found in spans.items()}
    assert metrics(wanted, edges, asked, CALENDAR, tables, needed) == by_days


@given(st.data())
def test_equal_cubes_make_equal_roll_ups_whatever_their_order(data: st.DataObject) -> None:
    first = date(2026, 3, 1).toordinal()
    span = spans_of(first)[1]
    days = {day: data.draw(day_counters(day)) for day in data.draw(st.permutations(range(first, first + 3)))}
    forwards = roll_up(span, {day: build(days[day]) for day in sorted(days)})
    backwards = {day: build(dict(reversed(fields.items()))) for day, fields in days.items()}
    assert roll_up(span, backwards) == forwards


@given(st.dates(date(2000, 1, 1), date(2100, 12, 31)))
def test_each_day_lies_in_one_month_and_one_third_of_it(at: date) -> None:
    day = at.toordinal()
    month, third = spans_of(day)
    assert month.first <= third.first <= day <= third.last <= month.last
    assert {date.fromordinal(each).month for each in month.days} == {at.month}
    assert date.fromordinal(month.last + 1).day == date.fromordinal(month.first).day == 1
    assert {spans_of(each) for each in third.days} == {(month, third)}
    assert len({spans_of(each) for each in month.days}) == 3
    assert 8 <= len(third.days) <= 11


def span(first: date, last: date) -> Span:
    return Span(first.toordinal(), last.toordinal())


def test_a_year_is_eleven_months_and_thirds_and_days_at_its_ends() -> None:
    year = period(date(2025, 11, 24), date(2026, 11, 23))
    published = range(date(2024, 11, 24).toordinal(), year.days.stop)
    rolled = rolled_up(published, today=year.days.stop - 1, oldest=published.start)
    taken = usable(year, published, rolled)
    assert len(taken) == 13
    assert taken[0] == span(date(2025, 12, 1), date(2025, 12, 31))
    assert taken[-2:] == [span(date(2026, 11, 1), date(2026, 11, 10)), span(date(2026, 11, 11), date(2026, 11, 20))]
    assert len(year.days) - sum(len(each.days) for each in taken) == 7 + 3


def test_a_span_that_goes_on_after_the_range_is_taken_only_if_nothing_is_published_there() -> None:
    third = span(date(2026, 3, 21), date(2026, 3, 31))
    wanted = period(date(2026, 3, 1), date(2026, 3, 25))
    inside, after, later = third.first, third.last, third.last + 1
    assert usable(wanted, [inside, later], [third]) == [third]
    assert usable(wanted, [inside, after, later], [third]) == []
    assert usable(period(date(2026, 3, 22), date(2026, 4, 25)), [inside], [third]) == []  # it began before


def test_a_span_is_rolled_up_when_it_is_over_and_whole_and_worth_it() -> None:
    third = span(date(2026, 3, 11), date(2026, 3, 20))
    six, seventh = list(third.days)[:6], third.first + 6
    assert rolled_up([*six, seventh], today=third.last + 1, oldest=third.first) == {third: [*six, seventh]}
    assert rolled_up(six, today=third.last + 1, oldest=third.first) == {third: six}
    assert rolled_up(six[1:], today=third.last + 1, oldest=third.first) == {}
    assert rolled_up(six, today=third.last, oldest=third.first) == {}
    assert rolled_up(six, today=third.last + 1, oldest=third.first + 1) == {}
