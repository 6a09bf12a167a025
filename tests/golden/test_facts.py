"""The golden history through the core alone: every expected report, comparison and list, from facts read back."""

import json
import math
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from aggregates.comparison import comparison
from aggregates.filters import Filters
from aggregates.history import Lateness
from aggregates.lists import ListRefused, WaitClocks, list_rows
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period, RangeError, period
from aggregates.report import metrics, metrics_to_date
from aggregates.rows import Rows
from schemas.errors import InvalidEvent
from schemas.events import decode_event
from schemas.lists import LISTS
from tests.support.contributions import Folded, rows_of

GOLDEN = Path(__file__).parent / "data"
LATENESS = Lateness(conversation_us=3600 * 10**6, contact_us=30 * 86400 * 10**6)

Case = dict[str, Any]


def cases(name: str) -> list[Case]:
    return [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()]


REPORTS, COMPARISONS, LISTED = cases("expected"), cases("comparisons"), cases("lists")


@cache
def folded() -> Folded:
    found = Folded((GOLDEN / "accounts.jsonl").read_bytes().splitlines(), LATENESS)
    for line in (GOLDEN / "events.jsonl").read_bytes().splitlines():
        try:
            found.fold(decode_event(line))
        except InvalidEvent:
            continue
    return found


def rows(case: Case, days: Period) -> Rows:
    return rows_of(folded().facts(case["account"]), days)


def asked(case: Case) -> tuple[Period, Filters, LocalCalendar, int]:
    days = period(date.fromisoformat(case["from"]), date.fromisoformat(case["to"]))
    calendar = folded().books[case["account"]].current.calendar
    return days, Filters.parse(**case["filters"]), calendar, int(datetime.fromisoformat(case["now"]).timestamp() * 1000)


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where an expected value is not found; more fields than expected are no difference."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            line
            for name, value in expected.items()
            for line in differences(value, found.get(name, "missing"), f"{path}/{name}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for place, (one, other) in pairs for line in differences(one, other, f"{path}/{place}")]
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return [] if math.isclose(expected, found, rel_tol=1e-6) else [f"{path}: {found}, not {expected}"]
    return [] if expected == found else [f"{path}: {found!r}, not {expected!r}"]


def name_of(case: Case) -> str:
    return "-".join(str(case[key]) for key in ("list", "compare", "account", "from", "to", "filters") if key in case)


def test_all_expectations_are_here() -> None:
    assert (len(REPORTS), len(COMPARISONS), len(LISTED)) == (36, 72, 120)
    assert {case["list"] for case in LISTED} == set(LISTS)
    assert {case["compare"] for case in COMPARISONS} == {"to-date", "year"}


@pytest.mark.parametrize("case", REPORTS, ids=name_of)
def test_the_report_is_the_expected_one(case: Case) -> None:
    days, filters, calendar, now_ms = asked(case)
    found = metrics(days, rows(case, days), filters, calendar, as_of_ms=now_ms)
    assert differences(case["metrics"], found) == []


@pytest.mark.parametrize("case", COMPARISONS, ids=name_of)
def test_the_comparison_is_the_expected_one(case: Case) -> None:
    days, filters, calendar, now_ms = asked(case)
    if case["metrics"] is None:
        with pytest.raises(RangeError):
            comparison(case["compare"], days, calendar, now_ms)
        return
    earlier, cut_ms = comparison(case["compare"], days, calendar, now_ms)
    if cut_ms is None:
        found = metrics(earlier, rows(case, earlier), filters, calendar, as_of_ms=now_ms)
    else:
        found = metrics_to_date(earlier, rows(case, earlier), filters, calendar, cut_ms)
        assert set(found) - set(case["metrics"]) <= {"uncounted_advisor_messages"}
    assert differences(case["metrics"], found) == []


@pytest.mark.parametrize("case", LISTED, ids=name_of)
def test_the_list_is_the_expected_one(case: Case) -> None:
    days, filters, _, now_ms = asked(case)
    waits = WaitClocks(folded().books[case["account"]].current.clock_of_group, now_ms)
    if case["rows"] is None:
        with pytest.raises(ListRefused):
            list_rows(case["list"], rows(case, days), filters, waits)
        return
    count, found = list_rows(case["list"], rows(case, days), filters, waits)
    assert count == len(found)
    assert differences(case["rows"], found) == []
    for expected, row in zip(case["rows"], found, strict=True):
        assert set(row) == set(expected)


def test_a_wrong_number_would_be_seen() -> None:
    case = REPORTS[0]
    wrong = json.loads(json.dumps(case["metrics"]))
    wrong["response"]["elapsed"]["median"] *= 1.001
    wrong["interactions"]["contacts"] += 1
    assert [line.partition(":")[0] for line in differences(wrong, case["metrics"])] == [
        "/response/elapsed/median",
        "/interactions/contacts",
    ]
