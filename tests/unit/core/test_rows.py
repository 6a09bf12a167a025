"""Rows: what puts days together keeps every fact, however it is put together."""

import numpy as np
import pytest

from aggregates import facts
from aggregates.filters import Filters
from aggregates.rows import Rows, by_name, counts, distinct, tally
from tests.support.contributions import (
    MONDAY,
    answered,
    blocks_of,
    created,
    plain_fact,
    plain_facts,
    rows_of,
    told,
)

# Names stand in other places in each day's own lists; a day without facts of a kind is among them, and wide numbers.
DAYS = [
    created("b", 0, "09:00", origin="Web"),
    answered(facts.RESPONSE, "b", 0, "09:10", 10, conversation="b-1"),
    created("a", 1, "09:00", origin="Instagram", group="nights", channel="email"),
    told(facts.TOUCH, "b", 1, "10:00", advisor="ana"),
    told(facts.TOUCH, "b", 1, "10:05", advisor="bo", channel="email"),
    told(facts.TOUCH, "a", 1, "10:10", advisor="bo"),
    answered(facts.RESPONSE, "a", 3, "09:10", 80 * 24 * 60, conversation="a-1", advisor="zoe", origin="Instagram"),
    answered(facts.RESPONSE, "b", 3, "09:11", 1, conversation="b-2", advisor=None, origin=None, group=None),
    told(facts.TOUCH, "b", 3, "10:00", advisor="zoe"),
]


def test_days_put_together_say_what_their_facts_say() -> None:
    assert sorted(plain_facts(rows_of(DAYS)), key=repr) == sorted(map(plain_fact, DAYS), key=repr)


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_rows_of_rows_are_the_rows_of_all_their_days(cut: int) -> None:
    blocks = blocks_of(DAYS)
    halves = Rows.of([Rows.of(blocks[:cut]), Rows.of(blocks[cut:])])
    mixed = Rows.of([*blocks[:cut], Rows.of(blocks[cut:])])
    assert plain_facts(halves) == plain_facts(mixed) == plain_facts(Rows.of(blocks))
    assert halves.size == mixed.size == len(DAYS)


def test_a_visit_is_a_contact_on_a_day() -> None:
    touches = rows_of(DAYS).kind(facts.TOUCH)
    visits = touches["visit"].tolist()
    seen = {
        (day, contact): visit
        for day, contact, visit in zip(touches["day"].tolist(), touches["contact"].tolist(), visits, strict=True)
    }
    assert sorted(seen.values()) == [1, 2, 3]
    assert visits == sorted(visits)


def test_filters_choose_rows_and_none_asks_for_those_without() -> None:
    responses = rows_of(DAYS).kind(facts.RESPONSE)

    def chosen(filters: Filters) -> list[int]:
        rows = responses.matching(filters, advisor=True)
        return [day - MONDAY.toordinal() for day in rows["day"].tolist()]

    assert chosen(Filters()) == [0, 3, 3]
    assert chosen(Filters(origin=("Instagram",))) == [3]
    assert chosen(Filters(advisor=(None,))) == [3]
    assert chosen(Filters(advisor=(None, "ana"))) == [0, 3]
    assert chosen(Filters(origin=("Web",), advisor=("ana",), channel=("whatsapp",), group=("sales",))) == [0]
    assert chosen(Filters(group=("nobody",))) == []


def test_rows_of_no_days_have_no_rows() -> None:
    rows = Rows.of([])
    assert plain_facts(rows) == []
    assert rows.kind(facts.TOUCH).matching(Filters(advisor=("ana",)), advisor=True).size == 0
    assert rows.names("origin") == [None]
    assert rows.contacts == rows.conversations == []
    assert (rows.days, rows.folded) == ([], [])


def test_names_stand_in_order_and_none_last() -> None:
    assert by_name({None, "b", "", "a"}) == ["", "a", "b", None]


def test_combinations_are_told_apart_and_counted() -> None:
    one, two = np.array([1, 0, 1, 1], dtype=np.uint8), np.array([70_000, 5, 70_000, 5], dtype=np.int64)
    found, times = tally(one, two)
    assert [column.tolist() for column in found] == [[0, 1, 1], [5, 5, 70_000]]
    assert times.tolist() == [1, 1, 2]
    assert [column.tolist() for column in distinct(one)] == [[0, 1]]
    assert [column.tolist() for column in distinct(one[:0], two[:0])] == [[], []]
    assert counts(one, 4) == [1, 3, 0, 0]
