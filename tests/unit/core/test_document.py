"""The snapshot document of an account, by hand."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
import orjson
import pytest

from aggregates.document import (
    Publication,
    Waiting,
    first_keys,
    period_days,
    snapshot_document,
    table_keys,
    waiting_of,
)
from schemas.snapshot import Snapshot
from tests.support.comparison import Plain
from tests.support.events import Told, answered, closed, created, received

NOON_MS = 1_772_452_800_000  # 2026-03-02T12:00:00Z
PUBLICATION = Publication(revision=7, published_at_ms=NOON_MS + 250, as_of_ms=NOON_MS, complete=True, lag_records=0)

SETTINGS: dict[str, Any] = {
    "name": "Acme",
    "timezone": "America/Santiago",
    "groups": {"sales": {"name": "Ventas"}, "idle": {}},
    "advisors": {"ana": {"name": "Ana", "group_id": "sales"}},
    "targets": {"response_seconds": 600},
}
HISTORY: tuple[Plain, ...] = (
    created("09:00"),
    answered("09:10"),
    received("10:00", "v2"),
    {**received("2026-02-27T18:00:00Z", "w1"), "contact_id": "d"},
    {**closed("2026-02-27T19:00:00Z", "w1", "Esperando visita"), "contact_id": "d"},
)


def document(publication: Publication = PUBLICATION) -> Mapping[str, Any]:
    told = Told(*HISTORY, **SETTINGS)
    cubes = told.replay.cubes("acme")
    rules = told.replay.book("acme").current
    found = snapshot_document(rules.settings, rules.calendar, cubes, map(waiting_of, cubes.values()), publication)
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
    assert found["sketch_relative_error"] == 0.01
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
    assert list(periods) == ["today", "yesterday", "last_7_days", "last_30_days", "this_month", "last_month"]
    week = periods["last_7_days"]
    assert (week["from"], week["to"]) == ("2026-02-24", "2026-03-02")
    assert (week["previous"]["from"], week["previous"]["to"]) == ("2026-02-17", "2026-02-23")
    assert week["metrics"]["new_conversations"]["total"] == 3
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


def test_a_document_needs_the_days_of_its_periods_and_of_those_before() -> None:
    days = [date.fromordinal(day) for day in sorted(period_days(date(2026, 3, 2)))]
    assert (days[0], days[-1]) == (date(2026, 1, 2), date(2026, 3, 2))  # before the last 30 days: 30 more
    assert len(days) == 60
    assert min(period_days(date(2026, 3, 31))) == date(2026, 1, 4).toordinal()  # before last month: 28 days


def test_the_keys_it_says_it_needs_suffice() -> None:
    told = Told(*HISTORY, **SETTINGS)
    rules = told.replay.book("acme").current
    cubes = told.replay.cubes("acme")
    partial = {}
    for day, cube in cubes.items():
        keys = {*first_keys(), *table_keys(cube)}
        assert len(keys) == len(first_keys()) + len(table_keys(cube))  # none is read twice
        partial[day] = {key: value for key, value in cube.items() if key in keys}
    waiting = [waiting_of(cube) for cube in cubes.values()]
    found = snapshot_document(rules.settings, rules.calendar, partial, waiting, PUBLICATION)
    assert found == snapshot_document(rules.settings, rules.calendar, cubes, waiting, PUBLICATION)
    assert sum(map(len, partial.values())) < sum(map(len, cubes.values())) / 2


def test_a_cube_without_anybody_waiting() -> None:
    assert waiting_of({}) == Waiting(0, 0, None)
    (cube,) = Told(created("09:00", by="import")).replay.cubes("acme").values()
    assert waiting_of(cube) == Waiting(0, 0, None)


def test_the_document_is_what_its_published_schema_says() -> None:
    found = msgspec.convert(document(), Snapshot)
    assert found.periods.today.metrics.response.count == 1
