"""The snapshot document of an account, by hand."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
import orjson
import pytest

from aggregates import facts
from aggregates.document import Publication, boxes_that_hold, period_days, snapshot_document
from aggregates.rules import Rules
from aggregates.shard_days import Waiting, adds_up, contributions, summed_waiting, waiting_of
from aggregates.totals import totals_of
from schemas.accounts import decode_settings
from schemas.limits import MAX_DAY_NAMES
from schemas.snapshot import Snapshot
from tests.support.contributions import Contributions, answered, blocks_of, created, told

NOON_MS = 1_772_452_800_000  # 2026-03-02T12:00:00Z, a Monday
PUBLICATION = Publication(revision=7, published_at_ms=NOON_MS + 250, as_of_ms=NOON_MS, complete=True, lag_records=0)

SETTINGS: dict[str, Any] = {
    "account_id": "acme",
    "name": "Acme",
    "timezone": "America/Santiago",
    "groups": {"sales": {"name": "Ventas"}, "idle": {}},
    "advisors": {"ana": {"name": "Ana", "group_id": "sales"}},
    "targets": {"response_seconds": 600},
}
HISTORY: Contributions = [
    created("c", 0, "09:00", channel="webchat"),
    answered(facts.FIRST_RESPONSE, "c", 0, "09:10", 10),
    answered(facts.RESPONSE, "c", 0, "09:10", 10),
    told(facts.STARTED, "c", 0, "09:10", conversation="v1", text="contact", flags=6),
    told(facts.WAITING, "c", 0, "10:00"),
    told(facts.STARTED, "d", -3, "18:00", conversation="w1", text="contact", flags=15, origin=None, group=None),
    told(facts.WAITING, "d", -3, "18:00", flags=facts.SNOOZED, origin=None, group=None),
    answered(facts.RESPONSE, "e", -7, "11:00", 30),
    answered(facts.RESPONSE, "e", -7, "13:00", 30),
]


def document(publication: Publication = PUBLICATION, history: Contributions = HISTORY) -> Mapping[str, Any]:
    rules = Rules(decode_settings(orjson.dumps(SETTINGS)))
    blocks = {block.day: block for block in blocks_of(history)}
    found = snapshot_document(rules.settings, rules.calendar, blocks, [waiting_of(history)], publication)
    written: Mapping[str, Any] = orjson.loads(orjson.dumps(found))
    return written


def test_the_head_of_a_document() -> None:
    found = document()
    assert {name: found[name] for name in ("schema", "account_id", "timezone", "revision", "complete", "lag")} == {
        "schema": "mediana.report/1",
        "account_id": "acme",
        "timezone": "America/Santiago",
        "revision": 7,
        "complete": True,
        "lag": {"records": 0},
    }
    assert found["published_at"] == "2026-03-02T12:00:00.250Z"
    assert found["as_of"] == "2026-03-02T12:00:00.000Z"
    assert found["sketch_relative_error"] == 0
    assert found["next_due_at"] is None
    assert (found["changed_days"], found["incomplete_reasons"]) == (None, [])


def test_what_a_publication_knows_is_passed_on() -> None:
    found = document(Publication(8, NOON_MS, NOON_MS, False, 12, ("shard 3 is behind",), (739_677, 739_674)))
    assert (found["revision"], found["complete"], found["lag"]) == (8, False, {"records": 12})
    assert found["incomplete_reasons"] == ["shard 3 is behind"]
    assert found["complete_from"] is None
    assert found["changed_days"] == ["2026-02-27", "2026-03-02"]


def test_a_report_that_lacks_records_for_good_says_from_when_on_it_has_everything() -> None:
    found = document(Publication(8, NOON_MS, NOON_MS, False, 0, ("shard 3 lacks",), complete_from_ms=NOON_MS - 60_000))
    assert (found["complete"], found["complete_from"]) == (False, "2026-03-02T11:59:00.000Z")


def test_the_names_people_see_come_from_the_settings() -> None:
    assert document()["account"] == {
        "name": "Acme",
        "groups": {"sales": "Ventas", "idle": None},
        "advisors": {"ana": "Ana"},
        "targets": {"first_response_seconds": None, "response_seconds": 600},
    }


def test_the_dimensions_are_what_occurred_and_what_the_settings_name() -> None:
    assert document()["dimensions"] == {
        "origin": ["Web", None],
        "group": ["idle", "sales", None],
        "channel": ["webchat", "whatsapp"],
        "advisor": ["ana"],
    }


def test_who_waits_now_waits_whatever_the_day_it_began() -> None:
    assert document()["waiting"] == {"contacts": 2, "snoozed": 1, "oldest": "2026-02-27T18:00:00.000Z"}


def test_each_period_has_the_one_before_beside_it_and_tables_only_itself() -> None:
    periods = document()["periods"]
    assert list(periods) == [
        *("today", "yesterday", "last_7_days", "last_30_days", "this_month", "last_month"),
        *("this_week", "last_week", "last_90_days", "this_quarter", "last_quarter", "this_year"),
    ]
    week = periods["last_7_days"]
    assert (week["from"], week["to"]) == ("2026-02-24", "2026-03-02")
    assert (week["previous"]["from"], week["previous"]["to"]) == ("2026-02-17", "2026-02-23")
    assert week["metrics"]["new_conversations"]["total"] == 2
    assert week["previous"]["metrics"]["new_conversations"]["total"] == 0
    for table in ("by_advisor", "by_group", "by_channel"):
        assert table in week["metrics"]
        assert table not in week["previous"]["metrics"]


@pytest.mark.parametrize(
    ("as_of_ms", "today"),
    [(NOON_MS, "2026-03-02"), (NOON_MS - 10 * 3_600_000, "2026-03-01")],  # 02:00Z is 23:00 in Santiago
)
def test_today_is_the_accounts_day_of_the_instant_it_is_as_of(as_of_ms: int, today: str) -> None:
    found = document(Publication(1, NOON_MS, as_of_ms, True, 0))
    assert found["periods"]["today"]["to"] == today


def test_periods_with_today_have_the_one_before_to_date_as_well() -> None:
    periods = document()["periods"]
    to_date = {name for name, box in periods.items() if "previous_to_date" in box}
    assert to_date == {
        *("today", "last_7_days", "last_30_days", "this_month", "this_week", "last_90_days", "this_quarter"),
        "this_year",
    }
    # As of noon on Monday: of the week before, the answer of 11:00 of its Monday had been given, that of 13:00 not.
    week = periods["this_week"]
    assert (week["from"], week["to"]) == ("2026-03-02", "2026-03-02")
    before = document(history=[*HISTORY, answered(facts.RESPONSE, "f", -1, "11:00", 5)])["periods"]["today"]
    assert before["previous"]["metrics"]["response"]["count"] == 1
    assert before["previous_to_date"]["metrics"]["response"]["count"] == 1
    late = document(history=[*HISTORY, answered(facts.RESPONSE, "f", -1, "13:00", 5)])["periods"]["today"]
    assert late["previous"]["metrics"]["response"]["count"] == 1
    assert late["previous_to_date"]["metrics"]["response"]["count"] == 0
    assert late["previous_to_date"]["metrics"].keys() & {"origins", "waiting"} == set()


def test_boxes_of_days_that_are_over_and_did_not_change_hold() -> None:
    rules = Rules(decode_settings(orjson.dumps(SETTINGS)))
    blocks = {block.day: block for block in blocks_of(HISTORY)}
    waits = [waiting_of(HISTORY)]
    today = date(2026, 3, 2).toordinal()
    first = msgspec.json.encode(snapshot_document(rules.settings, rules.calendar, blocks, waits, PUBLICATION))
    changed = date(2026, 2, 23).toordinal()
    held = boxes_that_hold(first, 7, {changed}, today)
    assert ("2026-03-01", "2026-03-01", True) in held, "yesterday"
    assert ("2026-01-01", "2026-01-31", False) in held or ("2026-01-04", "2026-01-31", False) in held
    assert not [box for box in held if box[1] >= "2026-03-02"], "today is not over"
    assert not [box for box in held if box[0] <= "2026-02-23" <= box[1]], "a day of it has changed"
    assert boxes_that_hold(first, 8, set(), today) == {}, "of another revision"
    blocks[changed] = blocks_of([answered(facts.RESPONSE, "n", -7, "15:00", 1)])[0]
    again = [snapshot_document(rules.settings, rules.calendar, blocks, waits, PUBLICATION, each) for each in (held, {})]
    assert msgspec.json.encode(again[0]) == msgspec.json.encode(again[1])


def test_when_the_next_publication_is_due_is_passed_on() -> None:
    found = document(msgspec.structs.replace(PUBLICATION, next_due_ms=NOON_MS + 3_600_000))
    assert found["next_due_at"] == "2026-03-02T13:00:00.000Z"


def test_names_that_are_not_told_apart_are_noticed() -> None:
    many = [told(facts.ACTION, f"c{n}", 0, "10:00", origin=f"origin {n}") for n in range(MAX_DAY_NAMES + 5)]
    assert {"code": "names-folded", "count": 5, "values": ["origin"]} in document(history=many)["notices"]
    assert document()["notices"] == []


def test_a_document_needs_the_days_of_its_periods_and_of_those_before() -> None:
    days = [date.fromordinal(day) for day in sorted(period_days(date(2026, 3, 2)))]
    assert days[-1] == date(2026, 3, 2)
    assert days[0] == date(2025, 7, 1)  # before the last quarter: 92 days
    assert min(period_days(date(2026, 12, 31))) == date(2025, 1, 1).toordinal()


def test_it_is_what_the_published_types_say() -> None:
    found = document()
    msgspec.convert(found, Snapshot)
    assert found["periods"]["today"]["metrics"]["heatmap_occurrences"]["mon"][8:11] == [1, 1, 0]  # 12:00Z is 09:00


# --- what shards hold -------------------------------------------------------------------------------------------------


def test_waiting_is_added_up_over_days() -> None:
    assert summed_waiting([]) == Waiting(0, 0, None)
    assert summed_waiting([Waiting(2, 1, 50), Waiting(), Waiting(1, 0, 20)]) == Waiting(3, 1, 20)


def test_facts_add_up_to_their_totals_or_do_not() -> None:
    totals = totals_of(fact for _, fact in HISTORY)
    assert adds_up(HISTORY, totals)
    assert not adds_up(HISTORY[1:], totals)
    assert not adds_up(HISTORY, {**totals, facts.ACTION: 1})
    assert adds_up([], {})


@pytest.mark.parametrize(
    ("field", "value"),
    [(b"\xff\x00", b"junk"), (b"\x01", b"\x90"), (b"", b"\x90"), (b"\x07c", b"\x90"), (b"\x07c", b"\xc1")],
)
def test_damaged_facts_are_told(field: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="a damaged fact"):
        contributions(739_677, {field: value})
