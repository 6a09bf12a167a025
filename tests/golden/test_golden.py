"""`mediana replay` over the golden history: every expected report, list and comparison, wholly."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from aggregates.filters import Filters
from aggregates.lists import ListRefused
from aggregates.periods import RangeError
from streams.cli import main as cli
from streams.cli import replay
from tests.support.comparison import replayed
from tests.support.differences import differences

GOLDEN = Path(__file__).parent / "data"
EVENTS, ACCOUNTS = GOLDEN / "events.jsonl", GOLDEN / "accounts.jsonl"

Case = dict[str, Any]


def cases(name: str) -> list[Case]:
    return [json.loads(line) for line in (GOLDEN / name).read_bytes().splitlines()]


EXPECTED, LISTED, COMPARED = cases("expected.jsonl"), cases("lists.jsonl"), cases("comparisons.jsonl")

Capture = pytest.CaptureFixture[str]


def test_all_expectations_are_here() -> None:
    assert [len(EXPECTED), len(LISTED), len(COMPARED)] == [36, 120, 72]
    assert {case["account"] for case in EXPECTED} == {"acc0", "acc1", "acc2"}
    assert sum(bool(case["filters"]) for case in EXPECTED) > 20


def asked(case: Case) -> list[str]:
    """The words of a command that ask for what a case expects."""
    words = ["--account", case["account"], "--from", case["from"], "--to", case["to"]]
    words += [word for name, values in case["filters"].items() for value in values for word in (f"--{name}", value)]
    if "now" in case:
        words += ["--now", case["now"]]
    return words


def name_of(case: Case) -> str:
    return "-".join(str(case.get(name, "")) for name in ("account", "from", "list", "compare", "filters"))


@pytest.fixture(scope="module")
def golden() -> replay.Replay:
    events, accounts = (map(json.loads, file.read_bytes().splitlines()) for file in (EVENTS, ACCOUNTS))
    return replayed(events, accounts)


def answer(golden: replay.Replay, case: Case) -> Any:
    """What the golden history answers to a case."""
    filters = Filters.parse(**case["filters"])
    first, last = date.fromisoformat(case["from"]), date.fromisoformat(case["to"])
    question = replay.asked(first, last, filters, case.get("list"), None, case.get("compare"))
    now = datetime.fromisoformat(case.get("now", "2100-01-01T00:00:00Z"))
    return golden.answer(case["account"], question, int(now.timestamp() * 1000))


@pytest.mark.parametrize("case", EXPECTED, ids=name_of)
def test_replay_gives_the_expected_report(golden: replay.Replay, case: Case) -> None:
    assert differences(case["metrics"], answer(golden, case)) == []


@pytest.mark.parametrize("case", LISTED, ids=name_of)
def test_replay_gives_the_expected_rows(golden: replay.Replay, case: Case) -> None:
    assert answer(golden, case) == case["rows"]


@pytest.mark.parametrize("name", ["new_contacts", "active_contacts", "new_conversations", "origins", "waiting"])
def test_a_list_whose_number_is_null_is_refused(golden: replay.Replay, name: str) -> None:
    with pytest.raises(ListRefused):
        answer(golden, {**LISTED[0], "list": name, "filters": {"advisor": ["adv1"]}})


@pytest.mark.parametrize("case", COMPARED, ids=name_of)
def test_replay_gives_the_expected_comparison(golden: replay.Replay, case: Case) -> None:
    found = answer(golden, case)
    assert differences(case["metrics"], found) == []
    if case["compare"] == "to-date":
        assert found.keys() - {"uncounted_advisor_messages"} == case["metrics"].keys()


@pytest.mark.parametrize("now", ["2026-02-24T23:00:00Z", "2026-05-01T00:00:00Z"])
def test_a_range_without_today_has_no_comparison_to_date(golden: replay.Replay, now: str) -> None:
    with pytest.raises(RangeError, match="does not contain today"):
        answer(golden, {**COMPARED[0], "compare": "to-date", "now": now})


def test_a_wrong_number_in_an_expected_report_would_be_seen(golden: replay.Replay) -> None:
    case = EXPECTED[0]
    found = answer(golden, case)
    found["response"]["elapsed"]["median"] *= 1.00001
    found["interactions"]["by_day"][case["from"]]["contacts"] += 1
    del found["heatmap"]
    wrong = sorted(line.partition(":")[0] for line in differences(case["metrics"], found))
    assert wrong == [".heatmap", f".interactions.by_day.{case['from']}.contacts", ".response.elapsed.median"]


@pytest.mark.parametrize(
    "case",
    [max(EXPECTED, key=lambda case: sum(map(len, case["filters"].values()))),
     LISTED[0], COMPARED[0]],
    ids=name_of,
)  # fmt: skip
def test_the_command_prints_what_a_case_expects(case: Case, capsys: Capture) -> None:
    words = asked(case)
    words += ["--list", case["list"]] if "list" in case else []
    words += ["--compare", case["compare"]] if "compare" in case else []
    assert cli.main(command(*words)) == 0
    output = capsys.readouterr()
    printed = [json.loads(line) for line in output.out.splitlines()]
    if "list" in case:
        assert printed == case["rows"]
    else:
        assert differences([case["metrics"]], printed) == []
    assert output.err.startswith("replay: ")


@pytest.mark.parametrize(
    "case",
    [
        {**LISTED[0], "list": "origins", "filters": {"advisor": ["adv1"]}},
        {**COMPARED[0], "compare": "to-date", "now": "2026-05-01T00:00:00Z"},
    ],
    ids=name_of,
)
def test_the_command_refuses_what_has_no_answer_and_says_why(case: Case, capsys: Capture) -> None:
    words = asked(case)
    words += ["--list", case["list"]] if "list" in case else []
    words += ["--compare", case["compare"]] if "compare" in case else []
    assert cli.main(command(*words)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "mediana: " in output.err


def test_over_leaves_the_longer_waits(capsys: Capture) -> None:
    case = next(case for case in LISTED if case["list"] == "response" and len(case["rows"]) > 5)
    longest = sorted(row["elapsed_seconds"] for row in case["rows"])
    assert cli.main(command(*asked(case), "--list", "response", "--over", str(longest[-3]))) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [row for row in case["rows"] if row["elapsed_seconds"] > longest[-3]]
    assert cli.main(command(*asked(case), "--list", "interactions", "--over", "5")) == 2
    assert "no durations" in capsys.readouterr().err


@pytest.mark.parametrize("case", LISTED, ids=name_of)
def test_a_list_has_as_many_rows_as_its_number_says(golden: replay.Replay, case: Case) -> None:
    report = answer(golden, {**case, "list": None})
    number = {
        "first_response": lambda: report["first_response"]["count"],
        "response": lambda: report["response"]["count"],
        "interactions": lambda: report["interactions"]["contacts"],
        "advisor_contacts": lambda: report["interactions"]["advisor_contacts"],
        "new_contacts": lambda: report["new_contacts"]["total"],
        "active_contacts": lambda: report["new_conversations"]["active_contacts"],
        "new_conversations": lambda: report["new_conversations"]["total"],
        "closed_conversations": lambda: report["closed_conversations"]["total"],
        "origins": lambda: sum(row["new_contacts"] for row in report["origins"]),
        "waiting": lambda: report["waiting"]["contacts"],
    }[case["list"]]()
    assert len(case["rows"]) == number


def command(*words: str) -> list[str]:
    return ["replay", str(EVENTS), "--accounts", str(ACCOUNTS), *words]


def test_the_snapshot_holds_for_each_period_and_the_one_before_it_the_report_of_that_range(capsys: Capture) -> None:
    now = "2026-03-24T12:00:00Z"
    assert cli.main(command("--account", "acc1", "--now", now)) == 0
    snapshot = json.loads(capsys.readouterr().out)
    assert (snapshot["schema"], snapshot["account_id"]) == ("mediana.report/1", "acc1")
    assert datetime.fromisoformat(snapshot["as_of"]) == datetime(2026, 3, 24, 12, tzinfo=UTC)
    ranges = {
        "today": ("2026-03-24", "2026-03-24", "2026-03-23", "2026-03-23"),
        "yesterday": ("2026-03-23", "2026-03-23", "2026-03-22", "2026-03-22"),
        "last_7_days": ("2026-03-18", "2026-03-24", "2026-03-11", "2026-03-17"),
        "last_30_days": ("2026-02-23", "2026-03-24", "2026-01-24", "2026-02-22"),
        "this_month": ("2026-03-01", "2026-03-24", "2026-02-05", "2026-02-28"),
        "last_month": ("2026-02-01", "2026-02-28", "2026-01-04", "2026-01-31"),
        "this_week": ("2026-03-23", "2026-03-24", "2026-03-21", "2026-03-22"),
        "last_week": ("2026-03-16", "2026-03-22", "2026-03-09", "2026-03-15"),
        "last_90_days": ("2025-12-25", "2026-03-24", "2025-09-26", "2025-12-24"),
        "this_quarter": ("2026-01-01", "2026-03-24", "2025-10-10", "2025-12-31"),
        "last_quarter": ("2025-10-01", "2025-12-31", "2025-07-01", "2025-09-30"),
        "this_year": ("2026-01-01", "2026-03-24", "2025-10-10", "2025-12-31"),
    }
    assert snapshot["periods"].keys() == ranges.keys()
    for name, (first, last, first_before, last_before) in ranges.items():
        box = snapshot["periods"][name]
        for found, start, end in ((box, first, last), (box["previous"], first_before, last_before)):
            assert (found["from"], found["to"]) == (start, end)
            assert cli.main(command("--account", "acc1", "--from", start, "--to", end, "--now", now)) == 0
            expected = json.loads(capsys.readouterr().out)
            if found is not box:  # the period before carries no tables
                tables = ("by_advisor", "by_group", "by_channel")
                expected = {key: value for key, value in expected.items() if key not in tables}
            assert found["metrics"] == expected, name
    assert snapshot["periods"]["last_30_days"]["metrics"]["response"]["count"] > 0


def test_without_an_account_every_account_has_its_snapshot(capsys: Capture) -> None:
    assert cli.main(command("--now", "2026-03-24T12:00:00Z")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["account_id"] for line in lines] == ["acc0", "acc1", "acc2"]


def test_a_range_without_an_account_asks_for_one(capsys: Capture) -> None:
    assert cli.main(command("--from", "2026-03-01", "--to", "2026-03-02")) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "--account" in output.err
    assert "acc0, acc1, acc2" in output.err
