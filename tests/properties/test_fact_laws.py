"""Laws of facts: their bytes, their blocks, and what is counted and listed of them, whatever they are."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import facts
from aggregates.day_block import Contribution, encode_block
from aggregates.facts import Fact, fact_field, fact_value, read_fact
from aggregates.filters import Filters
from aggregates.lists import DURATIONS, WITHOUT_ADVISOR, WaitClocks, list_rows
from aggregates.localtime import LocalCalendar
from aggregates.report import Metrics, metrics
from aggregates.rows import Rows
from schemas.lists import LISTS
from tests.support.contributions import DAY_MS, MONDAY, Contributions, blocks_of, days_of, plain_fact, plain_facts

CONTACTS = ("a", "b", "c", "ñandú")
NAMES = st.sampled_from([None, "x", "y", "none", "other"])
CHANNELS = st.sampled_from(["whatsapp", "email", "call"])
LAST_DAY = 3
PERIOD = days_of(0, LAST_DAY)
CALENDAR = LocalCalendar("UTC")
NOW_MS = (MONDAY.toordinal() + LAST_DAY - date(1970, 1, 1).toordinal()) * DAY_MS
SINGLE = (facts.FIRST_RESPONSE, facts.CONTACT, facts.WAITING)
ANSWERS = (facts.FIRST_RESPONSE, facts.RESPONSE)
WITH_ADVISOR = (*ANSWERS, facts.TOUCH, facts.CLOSED, facts.UNCOUNTED)


@st.composite
def one_fact(draw: st.DrawFn, kinds: Sequence[int] = range(facts.WAITING + 1)) -> Contribution:
    """Any fact a contact may contribute; few instants, so that many are alike."""
    kind = draw(st.sampled_from(kinds))
    day = draw(st.integers(0, LAST_DAY))
    at_ms = NOW_MS - (LAST_DAY - day) * DAY_MS + draw(st.integers(0, 3) | st.integers(0, DAY_MS - 1))
    answer = kind in ANSWERS
    elapsed_ms = draw(st.integers(0, 5) | st.integers(0, 1 << 24) | st.integers(0, 1 << 40)) if answer else 0
    flags = {facts.STARTED: 23, facts.CLOSED: 1, facts.WAITING: 1, facts.CONTACT: 63}.get(kind, 15 if answer else 0)
    with_conversation = (*ANSWERS, facts.STARTED, facts.CLOSED)
    with_text = (facts.STARTED, facts.CLOSED, facts.CONTACT)
    return draw(st.sampled_from(CONTACTS)), Fact(
        kind,
        MONDAY.toordinal() + day,
        at_ms,
        draw(st.integers(0, 2) | st.integers(0, 1 << 20)),
        draw(NAMES),
        draw(NAMES),
        draw(CHANNELS),
        draw(NAMES) if kind in WITH_ADVISOR else None,
        draw(st.integers(0, flags)),
        at_ms - elapsed_ms if elapsed_ms else 0,
        draw(st.integers(0, elapsed_ms)),
        draw(st.sampled_from(["v1", "v2", "v3"])) if kind in with_conversation else None,
        draw(NAMES) if kind in with_text else None,
        draw(NAMES) if kind == facts.CONTACT else None,
    )


def _told_once(contributions: Iterable[Contribution]) -> Contributions:
    """A contact has one first response, one creation and one wait, and a day has one fact of a field."""
    found: dict[object, Contribution] = {}
    for contact, fact in contributions:
        field = fact_field(contact, fact)
        found.setdefault(field if fact.kind in SINGLE else (fact.day, field), (contact, fact))
    return list(found.values())


contributions = st.lists(one_fact(), max_size=40).map(_told_once)
wanted = st.none() | st.lists(NAMES, min_size=1, max_size=2, unique=True).map(tuple)
wanted_channels = st.none() | st.lists(CHANNELS, min_size=1, max_size=2, unique=True).map(tuple)
all_filters = st.builds(Filters, wanted, wanted, wanted_channels, wanted)


# --- bytes ------------------------------------------------------------------------------------------------------------


@given(one_fact())
def test_a_fact_is_read_back_from_its_field_and_value(contribution: Contribution) -> None:
    contact, fact = contribution
    assert read_fact(fact.day, fact_field(contact, fact), fact_value(fact)) == contribution


@given(one_fact(), one_fact())
def test_a_field_tells_facts_apart_that_stand_side_by_side(one: Contribution, other: Contribution) -> None:
    def identity(contribution: Contribution) -> tuple[object, ...]:
        contact, fact = contribution
        return (contact, fact.kind) if fact.kind in SINGLE else (contact, fact.kind, fact.at_ms, fact.tie)

    assert (fact_field(*one) == fact_field(*other)) == (identity(one) == identity(other))


@given(st.lists(one_fact([facts.RESPONSE])))
def test_fields_of_a_kind_stand_by_instant_event_order_and_contact(responses: Contributions) -> None:
    by_field = sorted(responses, key=lambda pair: fact_field(*pair))
    by_order = sorted(responses, key=lambda pair: (pair[1].at_ms, pair[1].tie, pair[0].encode()))
    assert [fact_field(*pair) for pair in by_field] == [fact_field(*pair) for pair in by_order]


@given(contributions, st.randoms(use_true_random=False))
def test_a_block_keeps_its_facts_and_not_their_order(told: Contributions, random: Any) -> None:
    day = MONDAY.toordinal()
    of_day = [(contact, fact) for contact, fact in told if fact.day == day]
    shuffled = random.sample(of_day, len(of_day))
    assert encode_block(day, shuffled) == encode_block(day, of_day)
    found = plain_facts(Rows.of(blocks_of(told)))
    assert Counter(found) == Counter(map(plain_fact, told))


# --- lists ------------------------------------------------------------------------------------------------------------

NUMBERS: dict[str, Callable[[Metrics], int]] = {
    "first_response": lambda report: int(report["first_response"]["count"]),
    "response": lambda report: int(report["response"]["count"]),
    "interactions": lambda report: int(report["interactions"]["contacts"]),
    "advisor_contacts": lambda report: int(report["interactions"]["advisor_contacts"]),
    "new_contacts": lambda report: int(report["new_contacts"]["total"]),
    "active_contacts": lambda report: int(report["new_conversations"]["active_contacts"]),
    "new_conversations": lambda report: int(report["new_conversations"]["total"]),
    "closed_conversations": lambda report: int(report["closed_conversations"]["total"]),
    "origins": lambda report: sum(int(row["new_contacts"]) for row in report["origins"]),
    "waiting": lambda report: int(report["waiting"]["contacts"]),
}
WAITS = WaitClocks(lambda _: None, NOW_MS + DAY_MS)


def test_every_list_has_its_number() -> None:
    assert set(NUMBERS) == set(LISTS)


@given(contributions, all_filters, st.integers(0, LAST_DAY), st.integers(0, LAST_DAY))
def test_a_list_has_as_many_rows_as_its_number_says(
    told: Contributions, filters: Filters, one: int, other: int
) -> None:
    days = days_of(min(one, other), max(one, other))
    rows = Rows.of(blocks_of((contact, fact) for contact, fact in told if fact.day in days.days))
    report = metrics(days, rows, filters, CALENDAR)
    for name in LISTS:
        if filters.advisor is None or name not in WITHOUT_ADVISOR:
            count, shown = list_rows(name, rows, filters, WAITS)
            assert count == len(shown) == NUMBERS[name](report), name


@given(contributions, all_filters, st.sampled_from(LISTS), st.data())
def test_pages_and_orders_show_the_same_rows(
    told: Contributions, filters: Filters, name: str, data: st.DataObject
) -> None:
    if name in WITHOUT_ADVISOR:
        filters = Filters(filters.origin, filters.group, filters.channel)
    rows = Rows.of(blocks_of(told))
    order = data.draw(st.sampled_from(["oldest", "newest", *(["longest"] if name in DURATIONS else [])]))
    _, whole = list_rows(name, rows, filters, WAITS, order=order)
    size = data.draw(st.integers(1, 5))
    pages = [
        row
        for offset in range(0, len(whole) + 1, size)
        for row in list_rows(name, rows, filters, WAITS, order=order, offset=offset, limit=size)[1]
    ]
    assert pages == whole
    _, oldest = list_rows(name, rows, filters, WAITS)
    assert sorted(map(repr, whole)) == sorted(map(repr, oldest))
    if order == "newest":
        assert whole == oldest[::-1]
    if order == "longest":
        assert [row["elapsed_seconds"] for row in whole] == sorted(
            (row["elapsed_seconds"] for row in whole), reverse=True
        )


@given(contributions, all_filters, st.floats(0, 1e5), st.sampled_from(["elapsed", "business"]))
def test_over_leaves_exactly_the_longer_rows(told: Contributions, filters: Filters, over: float, clock: str) -> None:
    rows = Rows.of(blocks_of(told))
    _, everything = list_rows("response", rows, filters, WAITS)
    for least in (over, *(row[f"{clock}_seconds"] for row in everything[:2])):
        _, longer = list_rows("response", rows, filters, WAITS, over=least, clock=clock)
        assert longer == [row for row in everything if row[f"{clock}_seconds"] > least]


# --- numbers ----------------------------------------------------------------------------------------------------------


def chosen(told: Contributions, kind: int, filters: Filters, group: str = "group") -> Contributions:
    """The facts of a kind that match, one at a time."""
    columns = [("origin", filters.origin), (group, filters.group), ("channel", filters.channel)]
    if kind in WITH_ADVISOR:
        columns.append(("advisor", filters.advisor))
    return [
        (contact, fact)
        for contact, fact in told
        if fact.kind == kind and all(values is None or getattr(fact, name) in values for name, values in columns)
    ]


def plain_report(told: Contributions, filters: Filters) -> Metrics:
    """What the boxes of some facts say, by counting one fact at a time."""
    of = {kind: chosen(told, kind, filters) for kind in range(facts.WAITING + 1)}
    touches = of[facts.TOUCH]
    found: Metrics = {
        name: {
            "count": len(of[kind]),
            "without_schedule": sum(bool(fact.flags & facts.WITHOUT_SCHEDULE) for _, fact in of[kind]),
        }
        for name, kind in (("first_response", facts.FIRST_RESPONSE), ("response", facts.RESPONSE))
    }
    found["interactions"] = {
        "contacts": len({(fact.day, contact) for contact, fact in touches}),
        "advisor_contacts": len({(fact.day, contact, fact.advisor) for contact, fact in touches}),
    }
    transferred = sum(fact.flags & facts.TRANSFERRED for _, fact in of[facts.CLOSED])
    found["closed_conversations"] = {
        "total": len(of[facts.CLOSED]),
        "closed": len(of[facts.CLOSED]) - transferred,
        "transferred": transferred,
    }
    found["uncounted_advisor_messages"] = len(of[facts.UNCOUNTED])
    if filters.advisor is not None:
        return found
    entered = chosen(told, facts.CONTACT, filters, "entry_group")
    found["new_contacts"] = {
        "total": len(entered),
        "deleted": sum(bool(fact.flags & facts.DELETED) for _, fact in entered),
        "merged": sum(bool(fact.flags & facts.MERGED) for _, fact in entered),
    }
    started = of[facts.STARTED]
    found["new_conversations"] = {
        "total": len(started),
        "active_contacts": len({contact for contact, _ in of[facts.ACTION]}),
        "by_channel": dict(Counter(fact.channel for _, fact in started)),
        "by_opener": dict(Counter(fact.text for _, fact in started if fact.text is not None)),
    }
    waits = of[facts.WAITING]
    found["waiting"] = {"contacts": len(waits), "snoozed": sum(fact.flags for _, fact in waits)}
    return found


def assert_says(report: Metrics, expected: Metrics) -> None:
    for box, numbers in expected.items():
        if box in report:
            found = report[box] if not isinstance(numbers, dict) else {name: report[box][name] for name in numbers}
            assert found == numbers, box


@given(contributions, all_filters)
@settings(max_examples=60)
def test_every_box_and_table_counts_what_it_should(told: Contributions, filters: Filters) -> None:
    report = metrics(PERIOD, Rows.of(blocks_of(told)), filters, CALENDAR)
    assert_says(report, plain_report(told, filters))
    for name in ("advisor", "group", "channel"):
        for row in report[f"by_{name}"]:
            values = {dimension: getattr(filters, dimension) for dimension in ("origin", "group", "channel", "advisor")}
            assert values[name] is None or row[name] in values[name]
            assert_says(row, plain_report(told, Filters(**{**values, name: (row[name],)})))


@given(contributions, all_filters)
def test_origins_and_by_day_add_up_to_their_totals(told: Contributions, filters: Filters) -> None:
    report = metrics(PERIOD, Rows.of(blocks_of(told)), filters, CALENDAR, tables=False)
    for name, total in (("first_response", "count"), ("response", "count"), ("closed_conversations", "total")):
        days = report[name]["by_day"].values()
        assert sum(day if isinstance(day, int) else day["count"] for day in days) == report[name][total]
    if filters.advisor is None:
        conversations = report["new_conversations"]
        assert sum(map(sum, report["heatmap"].values())) == conversations["total"]
        assert sum(conversations["by_day"].values()) == conversations["total"]
        present = chosen(told, facts.CONTACT, filters)
        present = [pair for pair in present if not pair[1].flags & (facts.DELETED | facts.MERGED)]
        found = {row["origin"]: row["new_contacts"] for row in report["origins"]}
        assert found == Counter(fact.origin for _, fact in present)


@given(contributions, all_filters, st.sets(st.integers(0, 4)))
@settings(max_examples=50)
def test_rows_of_rows_give_the_same_report_and_lists(told: Contributions, filters: Filters, cuts: set[int]) -> None:
    blocks = blocks_of(told)
    edges = [0, *sorted(cuts), len(blocks)]
    pieces = Rows.of([Rows.of(blocks[first:last]) for first, last in pairwise(edges)])
    whole = Rows.of(blocks)
    assert metrics(PERIOD, pieces, filters, CALENDAR) == metrics(PERIOD, whole, filters, CALENDAR)
    for name in ("response", "interactions", "closed_conversations"):
        assert list_rows(name, pieces, filters, WAITS) == list_rows(name, whole, filters, WAITS)


@pytest.mark.parametrize("dimension", ["origin", "group", "channel", "advisor"])
def test_a_fact_counts_under_its_own_value_only(dimension: str) -> None:
    fact = Fact(facts.TOUCH, MONDAY.toordinal(), NOW_MS, 0, "x", "x", "x", "x")
    rows = Rows.of(blocks_of([("a", fact)]))
    for value, count in (("x", 1), ("y", 0), (None, 0)):
        report = metrics(PERIOD, rows, Filters(**{dimension: (value,)}), CALENDAR)
        assert report["interactions"]["contacts"] == count
