"""`mediana replay` over the golden history: every expected report, wholly, in both forms of the command."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from aggregates.filters import Filters
from streams.cli import main as cli
from streams.cli import replay
from tests.support.comparison import differences

GOLDEN = Path(__file__).parent / "data"
EVENTS, ACCOUNTS = GOLDEN / "events.jsonl", GOLDEN / "accounts.jsonl"
LATENESS_SECONDS = 3600

EXPECTED: list[dict[str, Any]] = [json.loads(line) for line in (GOLDEN / "expected.jsonl").read_bytes().splitlines()]

Capture = pytest.CaptureFixture[str]


def test_all_36_expected_reports_are_here() -> None:
    assert len(EXPECTED) == 36
    assert {case["account"] for case in EXPECTED} == {"acc0", "acc1", "acc2"}
    assert sum(bool(case["filters"]) for case in EXPECTED) > 20


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: f"{case['account']}-{case['from']}-{case['filters']}")
def test_replay_prints_the_expected_report(case: dict[str, Any], capsys: Capture) -> None:
    first, last = date.fromisoformat(case["from"]), date.fromisoformat(case["to"])
    filters = Filters.parse(**case["filters"])
    status = replay.run([EVENTS], ACCOUNTS, case["account"], first, last, filters, None, LATENESS_SECONDS)
    assert status == 0
    assert differences(case["metrics"], json.loads(capsys.readouterr().out)) == []


def test_a_wrong_number_in_an_expected_report_would_be_seen(capsys: Capture) -> None:
    case = EXPECTED[0]
    first, last = date.fromisoformat(case["from"]), date.fromisoformat(case["to"])
    replay.run([EVENTS], ACCOUNTS, case["account"], first, last, Filters(), None, LATENESS_SECONDS)
    found = json.loads(capsys.readouterr().out)
    found["response"]["elapsed"]["median"] *= 1.02
    found["interactions"]["by_day"][case["from"]]["contacts"] += 1
    del found["heatmap"]
    wrong = sorted(line.partition(":")[0] for line in differences(case["metrics"], found))
    assert wrong == [".heatmap", f".interactions.by_day.{case['from']}.contacts", ".response.elapsed.median"]


def command(*words: str) -> list[str]:
    return ["replay", str(EVENTS), "--accounts", str(ACCOUNTS), *words]


def test_the_command_line_takes_ranges_and_several_values_of_a_filter(capsys: Capture) -> None:
    case = max(EXPECTED, key=lambda case: sum(len(values) for values in case["filters"].values()))
    words = [word for name, values in case["filters"].items() for value in values for word in (f"--{name}", value)]
    assert len(words) >= 4
    range_words = ["--from", case["from"], "--to", case["to"]]
    assert cli.main(command("--account", case["account"], *range_words, *words)) == 0
    output = capsys.readouterr()
    assert differences(case["metrics"], json.loads(output.out)) == []
    assert output.err.startswith("replay: ")


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
    }
    assert snapshot["periods"].keys() == ranges.keys()
    for name, (first, last, first_before, last_before) in ranges.items():
        box = snapshot["periods"][name]
        for found, start, end in ((box, first, last), (box["previous"], first_before, last_before)):
            assert (found["from"], found["to"]) == (start, end)
            assert cli.main(command("--account", "acc1", "--from", start, "--to", end)) == 0
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
