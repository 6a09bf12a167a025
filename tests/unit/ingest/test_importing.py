"""`mediana import` from files to a file: order, repetition, errors, bounded memory."""

import json
import random
import re
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.events import decode_event, encode_event
from streams.cli.arguments import WEBHOOK_FORMATS
from streams.cli.main import main
from streams.ingest.chatwoot import map_webhook
from streams.ingest.external_sort import SortedEvents
from streams.ingest.file_import import Plan, run
from streams.ingest.mapping import MappingError
from streams.ingest.recorded_webhooks import FORMATS
from tests.unit.ingest.test_chatwoot import MESSAGE, NOW

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
    found = summary(capsys)
    assert found.pop("files") == [
        {
            "file": str(folder / "rows.csv"),
            "kind": "csv",
            "encoding": "utf-8",
            "delimiter": ",",
            "guessed": ["encoding", "delimiter"],
        }
    ]
    assert found == {
        "rows": 3,
        "events": {"message.received": 3},
        "first": "2024-11-22T10:00:00+00:00",
        "last": "2024-11-22T12:00:00+00:00",
        "error_count": 0,
        "errors": [],
        "without_events": {},
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
    assert len(imported(folder, status=1, skip_errors=True)) == 3


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
        (b"\x1f\x8b\x08\x00", "gzip: unpack"),
        (b"%PDF-1.7", "a PDF"),
        (b"<html><table>", "web page"),
        (b"PK\x03\x04nonsense", "no workbook that can be read"),
    ],
)
def test_a_file_that_does_not_fit_the_mapping_is_refused(folder: Path, content: bytes, said: str) -> None:
    (folder / "mapping.toml").write_text('encoding = "utf-8"\n' + MAPPING)
    (folder / "rows.csv").write_bytes(content)
    with pytest.raises(MappingError) as caught:
        imported(folder)
    assert said in str(caught.value)


# --- files as people have them ----------------------------------------------------------------------------------------

ACCENTED = ROWS.replace("c-2", "josé")


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (ACCENTED.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + ACCENTED.encode(), "utf-8-sig"),
        (ACCENTED.encode("cp1252"), "cp1252"),
        (ACCENTED.encode("latin-1") + b"\x81,k,2024-11-22T12:00:00\n", "latin-1"),
        (ACCENTED.encode("utf-16"), "utf-16"),
        (ACCENTED.encode("utf-16-le"), "utf-16-le"),
        (ACCENTED.encode("utf-16-be"), "utf-16-be"),
        (ACCENTED.encode("utf-32"), "utf-32"),
    ],
)
def test_an_encoding_is_found_out_and_told(
    folder: Path, content: bytes, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rows.csv").write_bytes(content)
    assert "josé" in {event["contact_id"] for event in imported(folder)}
    shown = capsys.readouterr()
    assert json.loads(shown.out)["files"][0]["encoding"] == encoding
    assert (encoding in shown.err) == (encoding in ("cp1252", "latin-1", "utf-16-le", "utf-16-be"))


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        (ROWS.replace(",", ";"), ";"),
        (ROWS.replace(",", "\t"), "\t"),
        (ROWS.replace(",", "|"), "|"),
        ("sep=,\n" + ROWS, ","),
        ("sep=;\r\n" + ROWS.replace(",", ";"), ";"),
        ("sep=\t\n" + ROWS.replace(",", "\t"), "\t"),
        ('"sep=;"\n' + ROWS.replace(",", ";"), ";"),
        ("\ufeffSEP=;\n" + ROWS.replace(",", ";"), ";"),
        ("\n\n" + ROWS.replace("\n", ",\n"), ","),
    ],
)
def test_a_delimiter_is_found_out_and_a_sep_line_is_none_of_the_rows(
    folder: Path, content: str, delimiter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rows.csv").write_text(content)
    assert len(imported(folder)) == 3
    found = summary(capsys)
    assert (found["files"][0]["delimiter"], found["rows"]) == (delimiter, 3)


def test_the_line_of_an_error_counts_the_lines_before_the_header(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rows.csv").write_text("sep=,\n\n" + ROWS + "c,k,yesterday\n")
    imported(folder, status=1)
    assert summary(capsys)["errors"][0]["line"] == 7


def workbook(path: Path, *sheets: list[list[object]]) -> None:
    """The smallest workbook that has these cells: texts, numbers, and instants as a spreadsheet's dates."""
    names = "".join(f'<sheet name="S{n}" sheetId="{n}" r:id="r{n}"/>' for n in range(1, len(sheets) + 1))
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "xl/workbook.xml": f'<workbook {space} xmlns:r="{kinds}"><sheets>{names}</sheets></workbook>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r0" Type="{kinds}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        + "".join(
            f'<Relationship Id="r{n}" Type="{kinds}/worksheet" Target="worksheets/s{n}.xml"/>'
            for n in range(1, len(sheets) + 1)
        )
        + f'<Relationship Id="rs" Type="{kinds}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet {space}><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
        "</styleSheet>",
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
    }
    for number, rows in enumerate(sheets, 1):
        parts[f"xl/worksheets/s{number}.xml"] = (
            f"<worksheet {space}><sheetData>"
            + "".join(
                f'<row r="{r}">'
                + "".join(_cell(f"{chr(64 + c)}{r}", value) for c, value in enumerate(row, 1) if value is not None)
                + "</row>"
                for r, row in enumerate(rows, 1)
            )
            + "</sheetData></worksheet>"
        )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def _cell(place: str, value: object) -> str:
    if isinstance(value, datetime):
        days = (value - datetime(1899, 12, 30)) / timedelta(days=1)  # noqa: DTZ001
        return f'<c r="{place}" s="1"><v>{days!r}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


NOON = datetime(2024, 11, 22, 12, 0)  # noqa: DTZ001


@pytest.mark.parametrize("name", ["rows.xlsx", "rows.csv", "rows.xls"])
def test_a_workbook_is_read_whatever_its_name(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    head: list[list[object]] = [["Report of November"], [], ["who", "chat", "at", "note"]]
    workbook(folder / name, [["About"]], [*head, [42, "k-1", NOON, None], ["c-2", 7.0, "2024-11-22 13:00"]])
    assert [
        (event["contact_id"], event["conversation_id"], event["occurred_at"]) for event in imported(folder, name)
    ] == [
        ("42", "k-1", "2024-11-22T12:00:00Z"),
        ("c-2", "7", "2024-11-22T13:00:00Z"),
    ]
    assert summary(capsys)["files"] == [
        {"file": str(folder / name), "kind": "workbook", "sheet": "S2", "guessed": ["sheet"]}
    ]


def test_a_number_that_a_workbook_cut_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workbook(folder / "rows.xlsx", [["who", "chat", "at"], [56_912_345_678_901_234_567, "k", NOON]])
    assert imported(folder, "rows.xlsx", status=1) == []
    assert "lost digits" in summary(capsys)["errors"][0]["detail"]


def test_a_workbook_without_the_columns_says_what_its_sheets_begin_with(folder: Path) -> None:
    workbook(folder / "rows.xlsx", [["who", "chat"]], [["client", "date"]])
    with pytest.raises(MappingError, match="'S1': who, chat; 'S2': client, date"):
        imported(folder, "rows.xlsx")
    (folder / "mapping.toml").write_text('sheet = "S3"\n' + MAPPING)
    with pytest.raises(MappingError, match="no sheet 'S3'"):
        imported(folder, "rows.xlsx")


def test_a_workbook_that_unpacks_to_too_much_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook(folder / "rows.xlsx", [["who", "chat", "at"], ["c", "k", NOON]])
    monkeypatch.setattr("streams.ingest.tables.MAX_WORKBOOK_BYTES", 100)
    with pytest.raises(MappingError, match="save it as CSV"):
        imported(folder, "rows.xlsx")


def test_an_array_of_json_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rows.json").write_text('[{"who": "c"}]')
    imported(folder, "rows.json", status=1)
    assert "one object a line" in summary(capsys)["errors"][0]["detail"]


# --- rows of one minute -----------------------------------------------------------------------------------------------

TALK = """
zone = "UTC"
time_format = "%d/%m/%Y %H:%M"
[[events]]
when = { way = "in" }
type = "message.received"
contact_id = "who"
conversation_id = "who"
occurred_at = "at"
id = { template = "m{n}" }
channel = { constant = "email" }
[[events]]
when = { way = "out" }
type = "message.sent"
contact_id = "who"
conversation_id = "who"
occurred_at = "at"
id = { template = "m{n}" }
channel = { constant = "email" }
author.kind = { constant = "advisor" }
author.id = { constant = "ana" }
"""


def talk(folder: Path, rows: list[str], name: str = "talk.csv") -> None:
    (folder / "mapping.toml").write_text(TALK)
    (folder / name).write_text("n,way,who,at\n" + "".join(f"{row}\n" for row in rows))


OLDEST_FIRST = [
    "1,in,c,22/11/2024 10:00",
    "2,out,c,22/11/2024 10:00",
    "3,in,c,22/11/2024 10:00",
    "4,out,d,22/11/2024 10:00",
    "5,in,c,22/11/2024 10:01",
]


@pytest.mark.parametrize("newest_first", [False, True])
def test_rows_of_one_minute_keep_the_order_of_the_file(folder: Path, newest_first: bool) -> None:
    rows = [*OLDEST_FIRST, "6,in,c,22/11/2024 10:02"]
    talk(folder, rows[::-1] if newest_first else rows)
    events = [(event["id"], event.get("sequence")) for event in imported(folder, "talk.csv")]
    assert [event for event in events if event[0] != "m4"] == [
        ("m1", 0),
        ("m2", 1),
        ("m3", 2),
        ("m5", None),
        ("m6", None),
    ]


def test_rows_that_stand_in_the_contracts_order_are_not_numbered(folder: Path) -> None:
    talk(folder, ["1,in,c,22/11/2024 10:00", "2,out,c,22/11/2024 10:00"])
    assert [event.get("sequence") for event in imported(folder, "talk.csv")] == [None, None]


def test_rows_of_several_files_are_left_to_the_contract(folder: Path) -> None:
    talk(folder, ["1,out,c,22/11/2024 10:00"], "a.csv")
    talk(folder, ["2,in,c,22/11/2024 10:00"], "b.csv")
    assert [(event["id"], event.get("sequence")) for event in imported(folder, "a.csv", "b.csv")] == [
        ("m2", None),
        ("m1", None),
    ]


# --- recorded webhooks ------------------------------------------------------------------------------------------------


def recorded(folder: Path, *lines: object, status: int = 0) -> list[dict[str, Any]]:
    (folder / "webhooks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = folder / "events.jsonl"
    command = ["import", str(folder / "webhooks.jsonl"), "--format", "chatwoot", "--account", "acme", "--out", str(out)]
    assert main(command) == status
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_recorded_webhooks_are_mapped_as_the_endpoint_maps_them(folder: Path) -> None:
    arrived = "2026-11-20T10:00:00Z"
    contact = {"event": "contact_created", "id": 7}
    expected = [msgspec.json.decode(encode_event(event)) for event in map_webhook("acme", MESSAGE, NOW)]
    for line in (MESSAGE, {"body": MESSAGE}, {"payload": json.dumps(MESSAGE), "received_at": arrived}):
        assert recorded(folder, line) == expected
    for line in ({"received_at": arrived, "body": contact}, {"received_at": arrived, **contact}):
        assert recorded(folder, line)[0]["occurred_at"] == arrived
    (now,) = recorded(folder, contact)
    assert abs(datetime.fromisoformat(now["occurred_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_recorded_webhooks_that_give_nothing_are_counted_by_the_reason_and_strangers_are_errors(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recorded(folder, {"event": "contact_updated", "id": 7}, MESSAGE) != []
    assert list(summary(capsys)["without_events"].values()) == [1]
    recorded(
        folder, {"event": "conversation_exploded"}, {"body": "{"}, {"received_at": "soon", "body": MESSAGE}, status=1
    )
    assert [(error["line"], error["reason"]) for error in summary(capsys)["errors"]] == [
        (1, "malformed"),
        (2, "malformed"),
        (3, "bad-time"),
    ]


def test_recorded_webhooks_need_an_account(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "webhooks.jsonl").write_text("{}\n")
    assert main(["import", str(folder / "webhooks.jsonl"), "--format", "chatwoot", "--dry-run"]) == 1
    assert "--account" in capsys.readouterr().err


def test_the_command_line_knows_every_format() -> None:
    assert set(WEBHOOK_FORMATS) == set(FORMATS)


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
    page = (Path(__file__).parents[3] / "docs" / "use" / "bring-your-own-data.md").read_text(encoding="utf-8")
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
