"""Rows of a day, by hand: every kind of counter at its finest grain, in order, under filters."""

from datetime import date
from typing import Any

import pytest

from aggregates import counters
from aggregates.counters import Field, Value, observation
from aggregates.cube import VALUES_KEY, build, sets_key
from aggregates.filters import Filters
from aggregates.rows import ROW_TABLES, WITH_ADVISOR, WITHOUT_ADVISOR, Row, day_rows, slice_prefix

DAY = date(2026, 11, 16).toordinal()

# An answer at once, and one after an hour of which no second was within working hours.
QUICK, NIGHTLY = observation(0, 0, None), observation(3_600_000, 0, None)

COUNTERS: dict[Field, Value] = {
    (counters.FIRST_RESPONSE, "Web", "sales", "whatsapp", "ana"): QUICK,
    (counters.RESPONSE, "Web", "sales", "whatsapp", "ana"): {slot: 2 * n for slot, n in QUICK.items()},
    (counters.RESPONSE, None, None, "email", "bo"): NIGHTLY,
    (counters.INTERACTION, "Web", (("ana", "whatsapp", "sales"),)): 3,
    (counters.ACTIVE, "Web", (("whatsapp", "sales", True, None),)): 2,
    (counters.UNCOUNTED, "Web", "sales", "telegram", "ana"): 4,
    (counters.NEW_CONTACT, "Web", "sales", "webchat", counters.LIVE): 5,
    (counters.NEW_CONTACT, "Web", None, "webchat", counters.DELETED): 2,
    (counters.NEW_CONTACT, "Web", "sales", "webchat", counters.MERGED): 1,
    (counters.ORIGIN, "Web", "sales", "webchat", True, True, False): 3,
    (counters.ORIGIN, "Web", "sales", "webchat", False, False, False): 2,
    (counters.NEW_CONVERSATION, "Web", "sales", "whatsapp", "contact", 9): 6,
    (counters.NEW_CONVERSATION, "Web", "sales", "whatsapp", "contact", 23): 2,
    (counters.NEW_CONVERSATION, None, "nights", "email", "transfer", 23): 1,
    (counters.CLOSED, "Web", "sales", "whatsapp", "ana", False): 2,
    (counters.CLOSED, "Web", "sales", "whatsapp", None, True): 1,
    (counters.WAITING, "Web", "sales", "whatsapp", False, 1_795_000_000_000): 1,
    (counters.WAITING, "Web", "sales", "whatsapp", True, 1_794_999_999_000): 2,
}
CUBE = build(COUNTERS)

NEARLY_AN_HOUR: Any = pytest.approx(3600, rel=0.0075)

ROWS: dict[str, list[Row]] = {
    "first_responses": [
        ("2026-11-16", "Web", "sales", "whatsapp", "ana", "elapsed", 0.0, 1),
        ("2026-11-16", "Web", "sales", "whatsapp", "ana", "business", 0.0, 1),
    ],
    "responses": [
        ("2026-11-16", "Web", "sales", "whatsapp", "ana", "elapsed", 0.0, 2),
        ("2026-11-16", "Web", "sales", "whatsapp", "ana", "business", 0.0, 2),
        ("2026-11-16", None, None, "email", "bo", "elapsed", NEARLY_AN_HOUR, 1),
        ("2026-11-16", None, None, "email", "bo", "business", 0.0, 1),
    ],
    "contacts": [
        ("2026-11-16", "Web", "sales", "webchat", "live", 5),
        ("2026-11-16", "Web", "sales", "webchat", "merged", 1),
        ("2026-11-16", "Web", None, "webchat", "deleted", 2),
    ],
    "conversations": [
        ("2026-11-16", "Web", "sales", "whatsapp", "contact", 9, 6),
        ("2026-11-16", "Web", "sales", "whatsapp", "contact", 23, 2),
        ("2026-11-16", None, "nights", "email", "transfer", 23, 1),
    ],
    "closures": [
        ("2026-11-16", "Web", "sales", "whatsapp", "ana", "closed", 2),
        ("2026-11-16", "Web", "sales", "whatsapp", None, "transferred", 1),
    ],
    "outcomes": [
        ("2026-11-16", "Web", "sales", "webchat", 0, 0, 0, 2),
        ("2026-11-16", "Web", "sales", "webchat", 1, 1, 0, 3),
    ],
    "waiting": [("2026-11-16", "Web", "sales", "whatsapp", 3, 2, "2026-11-18T11:06:39.000Z")],
}


def rows(name: str, filters: Filters | None = None) -> list[Row]:
    return list(day_rows(ROW_TABLES[name], DAY, CUBE, filters or Filters()))


@pytest.mark.parametrize("name", ROW_TABLES)
def test_a_table_has_one_row_for_each_combination_that_occurred(name: str) -> None:
    assert rows(name) == ROWS[name]


@pytest.mark.parametrize("name", ROW_TABLES)
def test_every_row_has_a_cell_for_each_column(name: str) -> None:
    assert {len(row) for row in rows(name)} == {len(ROW_TABLES[name].columns)}


def test_several_values_of_a_filter_and_none_let_their_rows_through() -> None:
    assert rows("responses", Filters(origin=(None,))) == ROWS["responses"][2:]
    assert rows("responses", Filters(advisor=("ana", "bo"), channel=("email",))) == ROWS["responses"][2:]
    assert rows("closures", Filters(advisor=(None,))) == ROWS["closures"][1:]
    assert rows("conversations", Filters(group=("nights", "sales"))) == ROWS["conversations"]
    assert rows("conversations", Filters(group=("posventa",))) == []


def test_a_filter_by_advisor_leaves_nothing_where_no_advisor_is_known() -> None:
    for name, table in ROW_TABLES.items():
        assert (rows(name, Filters(advisor=("ana", "bo", None))) != []) == ("advisor" in table.columns)


def test_the_prefix_of_a_mask_finds_its_slices_and_nothing_else() -> None:
    with_advisor, without = slice_prefix(WITH_ADVISOR), slice_prefix(WITHOUT_ADVISOR)
    # Origin, group, channel, advisor: what answered, was closed, or was not counted.
    assert sum(key.startswith(with_advisor) for key in CUBE) == 4
    assert sum(key.startswith(without) for key in CUBE) == 6
    for other in (VALUES_KEY, *map(sets_key, range(16))):
        assert not other.startswith((with_advisor, without))
