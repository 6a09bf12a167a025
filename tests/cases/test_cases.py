"""Every input in `files/` gives the numbers that a person reckons from it, by the commands that a person would use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.cli.main import main

FILES = Path(__file__).parent / "files"

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; gives its exit status and what it printed, as JSON where it is that."""

    def command(*arguments: str | Path) -> tuple[int, Any]:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr().out
        return status, json.loads(printed) if printed.strip() else None

    return command


def metrics(run: Run, events: Path, day: str, *more: str | Path, status: int = 0) -> dict[str, Any]:
    found, answer = run("replay", events, "--account", "acme", "--from", day, "--to", day, *more)
    assert found == status
    assert isinstance(answer, dict)
    return answer


def webhooks(run: Run, tmp_path: Path, name: str) -> Path:
    out = tmp_path / "events.jsonl"
    assert run("import", FILES / name, "--format", "chatwoot", "--account", "acme", "--out", out)[0] == 0
    return out


def imported(run: Run, tmp_path: Path, name: str) -> tuple[int, dict[str, Any], Path]:
    out = tmp_path / "events.jsonl"
    mapping = (FILES / name).with_suffix(".toml")
    status, summary = run("import", FILES / name, "--mapping", mapping, "--out", out)
    return status, summary, out


def test_an_answer_from_the_phone_is_an_advisors(run: Run, tmp_path: Path) -> None:
    found = metrics(run, webhooks(run, tmp_path, "02-chatwoot-native-app-reply.json"), "2026-11-27")
    assert (found["response"]["count"], found["response"]["elapsed"]["median"]) == (1, 600.0)
    assert found["waiting"]["contacts"] == 0


def test_an_accepted_call_is_an_interaction(run: Run, tmp_path: Path) -> None:
    found = metrics(run, webhooks(run, tmp_path, "03-chatwoot-voice-inbound-accepted.json"), "2026-11-27")
    assert (found["interactions"]["contacts"], found["waiting"]["contacts"]) == (1, 0)


def test_replayed_history_keeps_its_own_time(run: Run, tmp_path: Path) -> None:
    events = webhooks(run, tmp_path, "05-chatwoot-external-created-at.json")
    found = metrics(run, events, "2026-11-27")
    assert (found["response"]["count"], found["response"]["elapsed"]["median"]) == (1, 1200.0)
    assert metrics(run, events, "2026-11-28")["response"]["count"] == 0


def test_a_merge_while_waiting_hands_the_wait_on(run: Run, tmp_path: Path) -> None:
    absorbed = {
        "id": "e10a",
        "type": "contact.absorbed",
        "account_id": "acme",
        "contact_id": "old",
        "occurred_at": "2026-11-22T09:05:00Z",
        "from": "new",
        "waiting_since": "2026-11-22T09:00:00Z",
        "channel": "whatsapp",
        "open_conversations": [{"id": "k1", "channel": "whatsapp"}],
    }
    events = tmp_path / "merge.jsonl"
    lines = (FILES / "06-merge-while-waiting.jsonl").read_text().splitlines()
    events.write_text("".join(f"{line}\n" for line in [*lines, json.dumps(absorbed)]))
    found = metrics(run, events, "2026-11-22")
    assert (found["response"]["count"], found["response"]["elapsed"]["median"]) == (1, 600.0)
    assert (found["new_conversations"]["total"], found["waiting"]["contacts"]) == (1, 0)


def test_seven_digits_at_the_end_of_a_day_are_cut(run: Run) -> None:
    found = metrics(run, FILES / "09-seven-digits-end-of-day.jsonl", "2026-11-22")
    assert found["closed_conversations"]["total"] == 1


def test_rows_of_one_minute_keep_the_order_of_the_file(run: Run, tmp_path: Path) -> None:
    status, _, events = imported(run, tmp_path, "10-minute-precision.csv")
    assert status == 0
    found = metrics(run, events, "2024-11-22")
    assert (found["response"]["count"], found["waiting"]["contacts"]) == (1, 1)


def test_a_zero_and_a_spreadsheets_date_are_no_unix_times(run: Run, tmp_path: Path) -> None:
    status, summary, _ = imported(run, tmp_path, "11-epoch-zero.csv")
    assert status == 1
    assert [error["line"] for error in summary["errors"]] == [2, 3]
    assert "no time" in summary["errors"][0]["detail"]
    assert "'excel'" in summary["errors"][1]["detail"]


def test_a_snooze_that_ends_no_longer_counts_as_snoozed(run: Run, tmp_path: Path) -> None:
    resumed = {
        "id": "e21",
        "type": "conversation.resumed",
        "account_id": "acme",
        "contact_id": "c",
        "occurred_at": "2026-11-22T12:05:00Z",
        "conversation_id": "k1",
    }
    events = tmp_path / "snooze.jsonl"
    events.write_text((FILES / "12-snooze-that-ends.jsonl").read_text() + json.dumps(resumed) + "\n")
    waiting = metrics(run, events, "2026-11-22")["waiting"]
    assert (waiting["contacts"], waiting["snoozed"]) == (1, 0)


def test_half_days_in_spanish(run: Run, tmp_path: Path) -> None:
    status, _, events = imported(run, tmp_path, "13-spanish-am-pm.csv")
    assert status == 0
    told = [json.loads(line)["occurred_at"] for line in events.read_text().splitlines()]
    assert told == ["2024-11-23T01:00:00Z", "2024-11-23T01:05:00Z"]  # 22:00 and 22:05 of the 22nd in Santiago


def test_an_origin_that_is_called_none(run: Run) -> None:
    file = FILES / "14-origin-called-none.jsonl"
    assert metrics(run, file, "2026-11-22", "--origin", "none")["new_contacts"]["total"] == 2
    assert metrics(run, file, "2026-11-22", "--origin", "=none")["new_contacts"]["total"] == 1


def test_a_sep_line_is_none_of_the_rows(run: Run, tmp_path: Path) -> None:
    status, summary, _ = imported(run, tmp_path, "15-sep-line.csv")
    assert (status, summary["rows"], summary["error_count"], summary["written"]) == (0, 1, 0, 1)


def test_an_automations_webhook_is_read_like_the_event_in_its_name(run: Run, tmp_path: Path) -> None:
    found = metrics(run, webhooks(run, tmp_path, "19-chatwoot-automation-webhook.json"), "2026-11-27")
    assert found["waiting"]["contacts"] == 1


def test_a_byte_order_mark_costs_nothing(run: Run) -> None:
    events, accounts = FILES / "20-bom-events.jsonl", FILES / "20-bom.accounts.jsonl"
    assert metrics(run, events, "2026-11-21", "--accounts", accounts)["new_contacts"]["total"] == 1
    found = metrics(run, events, "2026-11-23", "--accounts", accounts)
    assert found["response"]["business"]["median"] == 600.0


def test_a_run_that_refused_anything_ends_with_status_1(run: Run, tmp_path: Path) -> None:
    accounts = FILES / "20-bom.accounts.jsonl"
    events = tmp_path / "events.jsonl"
    events.write_bytes((FILES / "20-bom-events.jsonl").read_bytes() + b'{"type": "message.sent"}\n')
    found = metrics(run, events, "2026-11-21", "--accounts", accounts, status=1)
    assert found["new_contacts"]["total"] == 1
    bad = tmp_path / "accounts.jsonl"
    bad.write_text('{"account_id": "acme", "timezone": "Mars/Base"}\n')
    metrics(run, FILES / "20-bom-events.jsonl", "2026-11-21", "--accounts", bad, status=1)
    arguments = ("--account", "acme", "--contact", "c", "--json")
    assert run("explain", events, *arguments)[0] == 1
    assert run("explain", FILES / "20-bom-events.jsonl", *arguments)[0] == 0


def test_hours_and_clocks_that_surely_mean_something_else_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts, events = tmp_path / "accounts.jsonl", tmp_path / "events.jsonl"
    accounts.write_text(
        '{"account_id": "acme", "schedules": {"o": [{"weekly": '
        '{"mon": [["00:00", "23:59"]], "tue": [["09:00", "17:59"]]}}]}}\n'
    )
    base = {"account_id": "acme", "conversation_id": "k", "channel": "whatsapp"}
    author = {"kind": "advisor", "id": "ana"}
    lines = []
    for number in range(6):
        whose = {**base, "contact_id": f"c{number}"}
        asked = {"id": "q", "type": "message.received", "occurred_at": "2026-11-22T09:00:01Z", **whose}
        lines += [
            asked,
            {"id": "a", "type": "message.sent", "occurred_at": "2026-11-22T09:00:00Z", "author": author, **whose},
        ]
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["replay", str(events), "--accounts", str(accounts)]) == 0
    told = capsys.readouterr().err
    for text in ("00:00-23:59", "00:00-24:00", "09:00-17:59", "6 of 6 answers"):
        assert text in told
