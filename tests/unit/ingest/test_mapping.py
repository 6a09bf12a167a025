"""Mapping files: which row gives which event, and what is said about one that gives none."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidEvent
from schemas.events import encode_event
from streams.ingest.mapping import ExportMapping, MappingError, cell, parse_mapping, read_mapping

MESSAGES = """
account_id = "acme"
zone = "America/Santiago"
time_format = "%d/%m/%Y %H:%M:%S"

[[events]]
when = { direction = ["in", "IN"] }
type = "message.received"
id = { template = "message-{number}" }
contact_id = "customer"
conversation_id = "chat"
occurred_at = "date"
channel = { column = "source", values = { WA = "whatsapp", FB = "messenger" } }

[[events]]
when = { direction = "out" }
type = "message.sent"
contact_id = "customer"
conversation_id = "chat"
occurred_at = "date"
channel = { constant = "whatsapp" }
author.kind = { column = "agent", values = { autobot = "bot", "*" = "advisor" }, default = "system" }
author.id = "agent"
"""

ROW = {
    "number": "17",
    "direction": "in",
    "customer": "c-1",
    "chat": " k-1 ",
    "date": "22/11/2026 14:00:00",
    "source": "WA",
    "agent": "",
}


def mapping(text: str = MESSAGES) -> ExportMapping:
    return parse_mapping(tomllib.loads(text))


def mapped(row: dict[str, Any], text: str = MESSAGES, account_id: str | None = None) -> list[dict[str, Any]]:
    return [msgspec.json.decode(encode_event(event)) for event in mapping(text).events(row, account_id)]


def refusal(row: dict[str, Any], text: str = MESSAGES) -> tuple[str, str]:
    with pytest.raises(InvalidEvent) as caught:
        list(mapping(text).events(row))
    return caught.value.reason, caught.value.detail


def test_a_row_becomes_the_event_its_rule_describes() -> None:
    assert mapped(ROW) == [
        {
            "id": "message-17",
            "type": "message.received",
            "account_id": "acme",
            "contact_id": "c-1",
            "occurred_at": "2026-11-22T17:00:00Z",
            "conversation_id": "k-1",
            "channel": "whatsapp",
        }
    ]


@pytest.mark.parametrize(
    ("agent", "author"),
    [
        ("ana", {"kind": "advisor", "id": "ana"}),
        ("autobot", {"kind": "bot", "id": "autobot"}),
        ("", {"kind": "system"}),
    ],
)
def test_who_wrote_is_read_from_a_column(agent: str, author: dict[str, str]) -> None:
    (event,) = mapped({**ROW, "direction": "out", "agent": agent})
    assert {name: value for name, value in event["author"].items() if value is not None} == author


def test_the_account_of_the_command_line_wins() -> None:
    assert mapped(ROW, account_id="other")[0]["account_id"] == "other"


def test_without_an_id_equal_content_has_equal_ids() -> None:
    out = {**ROW, "direction": "out", "agent": "ana"}
    (first,), (again,), (other,) = mapped(out), mapped({**out, "number": "99"}), mapped({**out, "agent": "eva"})
    assert first["id"] == again["id"] == "import-" + first["id"].removeprefix("import-")
    assert first["id"] != other["id"]
    assert len(first["id"]) == len("import-") + 32


@given(st.text(min_size=1, max_size=40), st.text(max_size=20))
def test_the_id_made_of_the_content_does_not_depend_on_the_run(customer: str, agent: str) -> None:
    row = {**ROW, "direction": "out", "agent": agent, "customer": "c" + customer}
    assert mapped(row) == mapped(dict(reversed(row.items())))


def test_one_row_may_give_several_events() -> None:
    text = """
    account_id = "acme"
    [[events]]
    type = "conversation.started"
    contact_id = "who"
    conversation_id = "nr"
    occurred_at = "opened"
    channel = "via"
    by = { constant = "contact" }
    [[events]]
    when = { closed = "*" }
    type = "conversation.closed"
    contact_id = "who"
    conversation_id = "nr"
    occurred_at = "closed"
    reason = { column = "why", default = "unknown" }
    """
    row = {"who": "c", "nr": "1", "opened": "2026-11-22T10:00:00Z", "closed": "", "via": "email", "why": ""}
    assert [event["type"] for event in mapped(row, text)] == ["conversation.started"]
    started, closed = mapped({**row, "closed": "2026-11-22T11:00:00Z"}, text)
    assert (started["occurred_at"], closed["occurred_at"]) == ("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z")
    assert closed["reason"] == "unknown"


def test_the_type_may_stand_in_a_column_and_values_in_nested_objects() -> None:
    text = """
    account_id = "acme"
    time_format = "unix"
    [[events]]
    type = { column = "kind", values = { new = "contact.created", gone = "contact.deleted" } }
    contact_id = "customer.id"
    occurred_at = "at"
    origin = "customer.from"
    channel = { column = "via", lower = true }
    """
    row = {"kind": "new", "customer": {"id": 7, "from": None}, "at": 1795368600.25, "via": "WhatsApp"}
    (event,) = mapped(row, text)
    assert (event["type"], event["contact_id"], event["origin"], event["channel"]) == (
        "contact.created",
        "7",
        None,
        "whatsapp",
    )
    assert event["occurred_at"] == "2026-11-22T17:30:00.250000Z"
    assert mapped({**row, "kind": "gone"}, text)[0]["type"] == "contact.deleted"


@pytest.mark.parametrize(
    ("form", "zone", "text", "instant"),
    [
        ("iso", None, "2026-11-22T14:00:00-03:00", "2026-11-22T17:00:00Z"),
        ("iso", "America/Santiago", "2026-11-22 14:00:00", "2026-11-22T17:00:00Z"),
        ("iso", "America/Santiago", "2026-11-22T14:00:00Z", "2026-11-22T14:00:00Z"),
        ("unix", None, "1795368600", "2026-11-22T17:30:00Z"),
        ("unix_ms", None, "1795368600001", "2026-11-22T17:30:00.001000Z"),
        ("%m/%d/%Y %I:%M %p", "Europe/Madrid", "11/22/2026 02:00 PM", "2026-11-22T13:00:00Z"),
        ("%Y-%m-%d %H:%M:%S %z", None, "2026-11-22 14:00:00 +0100", "2026-11-22T13:00:00Z"),
        # Madrid's clock shows 02:30 twice on 25 October 2026 and not at all on 29 March.
        ("iso", "Europe/Madrid", "2025-10-26T02:30:00", "2025-10-26T00:30:00Z"),
        ("iso", "Europe/Madrid", "2025-03-30T02:30:00", "2025-03-30T01:30:00Z"),
    ],
)
def test_instants_of_every_form(form: str, zone: str | None, text: str, instant: str) -> None:
    zone_line = "" if zone is None else f'zone = "{zone}"'
    rule = f"""
    account_id = "acme"
    [[events]]
    type = "contact.deleted"
    contact_id = "c"
    [events.occurred_at]
    column = "t"
    format = "{form}"
    {zone_line}
    """
    assert mapped({"c": "1", "t": text}, rule)[0]["occurred_at"] == instant


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"date": "2026-11-22"}, "bad-time", "2026-11-22"),
        ({"source": "Telegram"}, "malformed", "Telegram"),
        ({"source": ""}, "malformed", "channel"),
        ({"customer": " "}, "malformed", "contact_id"),
        ({"direction": "sideways"}, "no-rule", "skip"),
    ],
)
def test_a_row_that_gives_no_event_says_why(changes: dict[str, str], reason: str, said: str) -> None:
    assert refusal({**ROW, **changes})[0] == reason
    assert said in refusal({**ROW, **changes})[1]


def test_an_instant_without_offset_needs_a_zone() -> None:
    row = {**ROW}
    assert refusal(row, MESSAGES.replace('zone = "America/Santiago"', ""))[0] == "bad-time"


def test_rows_without_a_rule_may_be_skipped() -> None:
    assert mapped({**ROW, "direction": "sideways"}, 'unmatched = "skip"\n' + MESSAGES) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('account_id = "acme"', "account = 3", "account"),
        ('zone = "America/Santiago"', 'zone = "Mars/Base"', "Mars/Base"),
        ('type = "message.received"', 'type = "message.eaten"', "message.eaten"),
        ('type = "message.received"', "", "needs a type"),
        ('conversation_id = "chat"\noccurred_at', "occurred_at", "events[0]: message.received needs conversation_id"),
        ('contact_id = "customer"', 'contact_id = "customer"\nreason = "x"', "has no such field"),
        ('{ template = "message-{number}" }', '{ template = "a", column = "b" }', "exactly one"),
        ('{ template = "message-{number}" }', '{ colum = "b" }', "colum"),
        ('author.kind = { column = "agent"', 'author.name = { column = "agent"', "author"),
        ("[[events]]", 'unmatched = "drop"\n[[events]]', "unmatched"),
        ("[[events]]", 'encoding = "klingon"\n[[events]]', "klingon"),
        ("[[events]]", 'delimiter = "ab"\n[[events]]', "delimiter"),
        ('when = { direction = "out" }', "when = { direction = 3 }", "events[1].when.direction"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused_with_its_place(old: str, new: str, said: str) -> None:
    text = MESSAGES.replace(old, new, 1)
    assert text != MESSAGES
    with pytest.raises(MappingError) as caught:
        mapping(text)
    assert said in str(caught.value)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text("events = [")
    with pytest.raises(MappingError, match=r"mapping\.toml is not TOML"):
        read_mapping(file)


def test_a_cell_is_its_text_without_surplus_space() -> None:
    row = {"a": " x ", "b": "", "c": 3, "d": True, "e": {"f": "y"}, "g.h": "z", "i": [1]}
    assert [cell(row, name) for name in ("a", "b", "c", "d", "e", "e.f", "g.h", "i", "none", "e.none")] == [
        "x",
        None,
        "3",
        "true",
        None,
        "y",
        "z",
        None,
        None,
        None,
    ]
