"""`mediana import` from files to a file: order, repetition, errors, bounded memory."""

import json
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.events import decode_event
from streams.cli.main import main
from streams.ingest.external_sort import SortedEvents
from streams.ingest.file_import import Plan, run
from streams.ingest.mapping import MappingError

MAPPING = """
zone = "UTC"
[[events]]
type = "message.received"
contact_id = "who"
conversation_id = "chat"
occurred_at = "at"
channel = { constant = "email" }
"""
ROWS = """who,chat,at
c-2,k-2,2024-11-22T12:00:00
c-1,k-1,2024-11-22T10:00:00
c-1,k-1,2024-11-22T11:00:00
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mapping.toml").write_text(MAPPING)
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def imported(folder: Path, *names: str, status: int = 0, **options: Any) -> list[dict[str, Any]]:
    out = folder / "events.jsonl"
    plan = Plan(
        files=[folder / name for name in names or ("rows.csv",)],
        mapping=folder / "mapping.toml",
        account_id="acme",
        out=out,
        **options,
    )
    assert run(None, plan) == status
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_events_come_out_in_the_order_of_their_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = imported(folder)
    assert [(event["contact_id"], event["occurred_at"]) for event in events] == [
        ("c-1", "2024-11-22T10:00:00Z"),
        ("c-1", "2024-11-22T11:00:00Z"),
        ("c-2", "2024-11-22T12:00:00Z"),
    ]
    assert summary(capsys) == {
        "rows": 3,
        "events": {"message.received": 3},
        "first": "2024-11-22T10:00:00+00:00",
        "last": "2024-11-22T12:00:00+00:00",
        "error_count": 0,
        "errors": [],
        "written": 3,
    }


def test_a_second_import_gives_the_same_bytes_and_an_overlapping_export_nothing_new(folder: Path) -> None:
    first = imported(folder)
    (folder / "more.jsonl").write_text(
        '{"who": "c-1", "chat": "k-1", "at": "2024-11-22T10:00:00"}\n\n'
        '{"who": "c-3", "chat": "k-3", "at": "2024-11-22T09:00:00"}\n'
    )
    assert imported(folder) == first
    events = imported(folder, "rows.csv", "more.jsonl")
    assert [event["contact_id"] for event in events] == ["c-3", "c-1", "c-1", "c-2"]
    assert events[1:] == first


def test_the_events_are_those_that_replay_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported(folder)
    capsys.readouterr()
    days = ["--from", "2024-11-22", "--to", "2024-11-22"]
    assert main(["replay", str(folder / "events.jsonl"), *days]) == 0
    assert json.loads(capsys.readouterr().out)["new_conversations"]["total"] == 2


def test_a_row_with_an_error_stops_everything_and_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rows.csv").write_text(ROWS + "c-4,,2024-11-22T12:00:00\nc-5,k-5,yesterday\nc-6,k-6\nc-7,k-7,a,b\n")
    assert imported(folder, status=1) == []
    found = summary(capsys)
    assert (found["rows"], found["error_count"], found["written"]) == (7, 4, 0)
    assert [(error["line"], error["reason"]) for error in found["errors"]] == [
        (5, "malformed"),
        (6, "bad-time"),
        (7, "bad-row"),
        (8, "bad-row"),
    ]
    assert "conversation_id" in found["errors"][0]["detail"]
    assert found["errors"][0]["file"].endswith("rows.csv")
    assert len(imported(folder, skip_errors=True)) == 3


def test_a_row_from_the_future_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rows.csv").write_text("who,chat,at\nc,k,2999-01-01T00:00:00\n")
    assert imported(folder, status=1) == []
    assert summary(capsys)["errors"][0]["reason"] == "future"


def test_a_long_text_beside_is_no_error(folder: Path) -> None:
    (folder / "rows.csv").write_text(f"who,chat,at,text\nc,k,2024-11-22T10:00:00,{'x' * 500_000}\n")
    assert len(imported(folder)) == 1


def test_a_dry_run_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(folder, dry_run=True) == []
    assert summary(capsys)["events"] == {"message.received": 3}
    (folder / "rows.csv").write_text(ROWS + ",,\n")
    assert imported(folder, status=1, dry_run=True) == []
    assert summary(capsys)["error_count"] == 1


def test_no_more_errors_are_shown_than_a_person_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rows.csv").write_text("who,chat,at\n" + ",,\n" * 250)
    imported(folder, status=1, dry_run=True)
    found = summary(capsys)
    assert (found["error_count"], len(found["errors"])) == (250, 100)


def test_quotes_other_delimiters_and_encodings(folder: Path) -> None:
    (folder / "mapping.toml").write_text('delimiter = ";"\nencoding = "latin-1"\n' + MAPPING)
    text = 'who ;chat;at;text\n"josé;1";k-1;2024-11-22T10:00:00;"two\nlines"\n'
    (folder / "rows.csv").write_bytes(text.encode("latin-1"))
    assert imported(folder)[0]["contact_id"] == "josé;1"


def test_a_byte_order_mark_is_no_part_of_the_first_column(folder: Path) -> None:
    (folder / "rows.csv").write_bytes(b"\xef\xbb\xbf" + ROWS.encode())
    assert len(imported(folder)) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"who,when\n", "has no column 'at', 'chat'"),
        (b"", "no column"),
        (b"who,chat,at,at\n", "more than one column 'at'"),
        (b"who,chat,at\n\xff,k,1\n", "encoding"),
    ],
)
def test_a_file_that_does_not_fit_the_mapping_is_refused(folder: Path, content: bytes, said: str) -> None:
    (folder / "rows.csv").write_bytes(content)
    with pytest.raises(MappingError) as caught:
        imported(folder)
    assert said in str(caught.value)


def test_lines_that_are_no_objects_are_errors_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rows.jsonl").write_text('nonsense\n[1]\n{"who": "c", "chat": "k", "at": "2024-11-22T10:00:00"}\n')
    imported(folder, "rows.jsonl", status=1, dry_run=True)
    assert [(error["line"], error["reason"]) for error in summary(capsys)["errors"]] == [(1, "bad-row"), (2, "bad-row")]


def test_an_import_without_account_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", str(folder / "rows.csv"), "--mapping", str(folder / "mapping.toml"), "--dry-run"]
    assert main(command) == 1
    assert "--account" in capsys.readouterr().err
    assert main([*command, "--account", "acme"]) == 0


def test_the_export_and_the_mapping_of_the_documentation_fit_together(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "bring-your-own-data.md").read_text(encoding="utf-8")
    (rows,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (rules,) = (text for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[[events]]" in text)
    (folder / "chats.csv").write_text(rows)
    (folder / "mapping.toml").write_text(rules)
    assert [
        (event["id"], event["type"], event["occurred_at"], event["channel"]) for event in imported(folder, "chats.csv")
    ] == [
        ("message-1", "message.received", "2024-11-22T13:00:00Z", "whatsapp"),
        ("message-2", "message.sent", "2024-11-22T13:04:10Z", "whatsapp"),
        ("message-3", "message.received", "2024-11-22T13:05:00Z", "messenger"),
    ]
    assert summary(capsys)["error_count"] == 0


def test_more_events_than_fit_in_memory_are_sorted_in_runs() -> None:
    start = datetime(2026, 11, 22, tzinfo=UTC)
    events = [
        decode_event(
            json.dumps(
                {
                    "id": f"e-{number}",
                    "type": "contact.deleted" if number % 2 else "contact.restored",
                    "account_id": "acme",
                    "contact_id": "c",
                    "occurred_at": (start + timedelta(seconds=number // 4)).isoformat(),
                    "sequence": -(number % 5),
                }
            )
        )
        for number in range(400)
    ]
    shuffled = random.Random(7).sample(events, len(events))
    with SortedEvents(run_bytes=10_000) as ordered:
        for event in [*shuffled, *shuffled[:50]]:
            ordered.add(event)
        assert ordered.runs > 5
        found = [decode_event(value) for value in ordered.encoded()]
    expected = sorted(events, key=lambda event: (event.occurred_at, event.sequence or 0, event.rank, event.id))
    assert found == expected
