"""`mediana replay` over small files: what it reads, what it says, what it refuses."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from aggregates.filters import Filters
from aggregates.history import Lateness
from streams.cli.replay import Replay, asked, run
from tests.support.comparison import Plain, fact_bytes, replayed
from tests.support.events import MONDAY, answered, created, moved, received

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
Capture = pytest.CaptureFixture[str]


def lines(path: Path, *values: Plain | str) -> Path:
    path.write_bytes(b"".join((v.encode() if isinstance(v, str) else orjson.dumps(v)) + b"\n" for v in values))
    return path


def report(*files: Path, lateness_seconds: float = 3600, contact_days: float = 30, **options: Any) -> int:
    """`mediana replay` of that Monday."""
    lateness = Lateness(round(lateness_seconds * 10**6), round(contact_days * 86_400 * 10**6))
    question = asked(MONDAY, MONDAY, Filters())
    fixed: dict[str, Any] = {"accounts": None, "account": None, "question": question, "now": NOW, "lateness": lateness}
    return run(list(files), **(fixed | options))


def test_a_report_of_one_account_needs_no_name_and_no_settings(tmp_path: Path, capsys: Capture) -> None:
    assert report(lines(tmp_path / "events.jsonl", created("09:00"), answered("09:10"))) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["response"]["count"] == 1
    assert output.err == "replay: 2 applied\n"


def test_files_are_read_in_the_order_given_and_empty_lines_skipped(tmp_path: Path, capsys: Capture) -> None:
    first = lines(tmp_path / "1.jsonl", created("09:00"), "", received("12:00"))
    second = lines(tmp_path / "2.jsonl", "  ", received("10:00", "v2"))
    assert report(first, second) == 0
    assert capsys.readouterr().err == "replay: 2 applied, 1 too-late\n"
    assert report(second, first) == 0
    assert capsys.readouterr().err == "replay: 3 applied\n"


def test_the_lateness_is_an_option(tmp_path: Path, capsys: Capture) -> None:
    events = lines(tmp_path / "events.jsonl", received("12:00"), received("10:00", "v2"))
    assert report(events, lateness_seconds=7_200) == 0
    assert capsys.readouterr().err == "replay: 2 applied\n"
    assert report(events, lateness_seconds=7_199.999) == 0
    assert capsys.readouterr().err == "replay: 1 applied, 1 too-late\n"


def test_what_breaks_the_contract_is_named_and_stops_nothing(tmp_path: Path, capsys: Capture) -> None:
    events = lines(
        tmp_path / "events.jsonl",
        created("09:00"),
        "{not json",
        {**received("09:05"), "type": "message.liked"},
        {**received("09:06"), "channel": None},
        answered("09:10"),
        answered("09:10"),
    )
    assert report(events) == 1  # something was refused
    output = capsys.readouterr()
    assert json.loads(output.out)["response"]["count"] == 1
    *refused, summary = output.err.splitlines()
    assert [line.split(": ")[0].rpartition(":")[2] for line in refused] == ["2", "4"]
    assert summary == "replay: 2 applied, 1 duplicate, 2 malformed, 1 unknown-type"


def test_settings_refused_are_named_and_the_default_ones_hold(tmp_path: Path, capsys: Capture) -> None:
    accounts = lines(tmp_path / "accounts.jsonl", {"account_id": "acme", "timezone": "Mars/Olympus"})
    events = lines(tmp_path / "events.jsonl", received("09:00"))
    assert report(events, accounts=accounts) == 1
    output = capsys.readouterr()
    assert f"{accounts}:1: settings refused: " in output.err
    assert json.loads(output.out)["heatmap"]["mon"][9] == 1


def test_the_last_settings_of_an_account_hold_for_all_its_events(tmp_path: Path, capsys: Capture) -> None:
    zones = [{"account_id": "acme", "timezone": zone} for zone in ("Asia/Kolkata", "Europe/Madrid")]
    accounts = lines(tmp_path / "accounts.jsonl", *zones)
    assert report(lines(tmp_path / "events.jsonl", received("09:00")), accounts=accounts) == 0
    assert json.loads(capsys.readouterr().out)["heatmap"]["mon"][10] == 1


def test_an_account_nobody_knows_is_a_mistake_in_the_command(tmp_path: Path, capsys: Capture) -> None:
    events = lines(tmp_path / "events.jsonl", received("09:00"))
    for question in (asked(MONDAY, MONDAY, Filters()), None):
        assert report(events, account="other", question=question) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert "there is no account 'other' in these files; they have: acme" in output.err


def test_an_account_that_has_settings_and_no_events_has_an_empty_report(tmp_path: Path, capsys: Capture) -> None:
    accounts = lines(tmp_path / "accounts.jsonl", {"account_id": "other"})
    events = lines(tmp_path / "events.jsonl", received("09:00"))
    assert report(events, accounts=accounts, account="other") == 0
    assert json.loads(capsys.readouterr().out)["new_conversations"]["total"] == 0


def test_several_accounts_and_none_chosen_is_a_mistake_in_the_command(tmp_path: Path, capsys: Capture) -> None:
    events = lines(tmp_path / "events.jsonl", received("09:00"), received("09:00", account_id="globex"))
    assert report(events) == 2
    assert "--account (the files have: acme, globex)" in capsys.readouterr().err


def test_no_events_at_all(tmp_path: Path, capsys: Capture) -> None:
    assert report(lines(tmp_path / "events.jsonl")) == 2
    assert "the files have: none" in capsys.readouterr().err
    assert report(lines(tmp_path / "events.jsonl"), account="acme") == 2
    assert "they have: none" in capsys.readouterr().err


def test_without_a_range_it_prints_one_snapshot_per_account(tmp_path: Path, capsys: Capture) -> None:
    events = lines(tmp_path / "events.jsonl", received("09:00"), received("09:00", account_id="globex"))
    assert report(events, question=None) == 0
    snapshots = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [snapshot["account_id"] for snapshot in snapshots] == ["acme", "globex"]
    assert snapshots[0]["as_of"] == "2026-03-02T12:00:00.000Z"
    assert snapshots[0]["periods"]["today"]["metrics"]["new_conversations"]["total"] == 1
    assert snapshots[0]["waiting"]["contacts"] == 1
    assert report(events, question=None, account="globex") == 0
    (snapshot,) = capsys.readouterr().out.splitlines()
    assert json.loads(snapshot)["account_id"] == "globex"


def test_accounts_do_not_see_each_other() -> None:
    events = [received("09:00"), received("09:30", account_id="globex")]
    both = replayed(events, [{"account_id": "acme"}, {"account_id": "globex"}])
    alone = replayed(events[:1], [{"account_id": "acme"}])
    assert fact_bytes(both)["acme"] == fact_bytes(alone)["acme"]
    assert fact_bytes(both).keys() == {"acme", "globex"}


def test_a_long_history_leaves_in_chunks_that_are_read_again_when_they_must_be() -> None:
    minutes = [received(f"{9 + n // 60:02}:{n % 60:02}", f"v{n}") for n in range(150)]
    late = replayed([*minutes, moved("09:30:30", "nights")], [])
    history = late.history("acme", "c")
    assert history is not None
    assert len(history.chunk_ends) > 0
    assert len(history.entries) == 151
    timely = replayed([*minutes[:31], moved("09:30:30", "nights"), *minutes[31:]], [])
    assert fact_bytes(late) == fact_bytes(timely)


def test_chunks_past_both_windows_are_let_go() -> None:
    minutes = [received(f"{9 + n // 60:02}:{n % 60:02}", f"v{n}") for n in range(150)]
    whole = replayed([created("09:00"), *minutes], [])
    short = replayed([created("09:00"), *minutes], [], contact_lateness_seconds=0, lateness_seconds=600)
    history = short.history("acme", "c")
    assert history is not None
    assert len(history.entries) < 100
    assert fact_bytes(short) == fact_bytes(whole)


def test_a_contact_never_heard_of_has_no_history() -> None:
    assert Replay([]).history("acme", "c") is None


def test_days_with_facts_have_a_block_each_and_an_account_nobody_knows_has_none() -> None:
    told = replayed([received("09:00"), received("2026-03-04T09:00:00Z")], [])
    monday = MONDAY.toordinal()
    assert list(told.blocks("acme")) == [monday, monday + 2]
    assert list(told.blocks("acme", range(monday - 9, monday + 2))) == [monday]
    assert told.blocks("nobody") == {}


# --- questions --------------------------------------------------------------------------------------------------------


def test_a_list_prints_a_row_a_line_and_over_leaves_the_longer_ones(tmp_path: Path, capsys: Capture) -> None:
    events = lines(
        tmp_path / "events.jsonl", created("09:00"), answered("09:10"), received("09:20"), answered("09:22", "bo")
    )
    assert report(events, question=asked(MONDAY, MONDAY, Filters(), "response")) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["advisor"], row["elapsed_seconds"]) for row in rows] == [("ana", 600), ("bo", 120)]
    assert report(events, question=asked(MONDAY, MONDAY, Filters(), "response", 120.0)) == 0
    (row,) = capsys.readouterr().out.splitlines()
    assert json.loads(row)["advisor"] == "ana"


def test_a_list_that_there_is_not_is_a_mistake_in_the_command(tmp_path: Path, capsys: Capture) -> None:
    events = lines(tmp_path / "events.jsonl", received("09:00"))
    assert report(events, question=asked(MONDAY, MONDAY, Filters(), "interactions", 5.0)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "mediana: " in output.err


def test_a_comparison_to_date_ends_at_the_time_of_day_of_now(tmp_path: Path, capsys: Capture) -> None:
    sunday = [received(f"2026-03-01T{clock}:00Z", f"v{clock}") for clock in ("11:59", "12:00")]
    events = lines(tmp_path / "events.jsonl", *sunday, received("09:00"))
    counted = {}
    for compare in ("previous", "to-date"):
        assert report(events, question=asked(MONDAY, MONDAY, Filters(), compare=compare)) == 0
        counted[compare] = json.loads(capsys.readouterr().out)["new_conversations"]["total"]
    assert counted == {"previous": 2, "to-date": 1}


def test_the_lateness_of_the_contacts_own_events_is_an_option(tmp_path: Path, capsys: Capture) -> None:
    events = lines(tmp_path / "events.jsonl", created("08:00"), received("12:00"), moved("09:00", "nights"))
    assert report(events, contact_days=3 / 24) == 0
    assert capsys.readouterr().err == "replay: 3 applied\n"
    assert report(events, contact_days=2.9 / 24) == 0
    assert capsys.readouterr().err == "replay: 2 applied, 1 too-late\n"
