"""Dead letters as they are read, shown, and judged before they are sent again."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.cli.arguments import parse_arguments
from streams.cli.dead_letters_list import Letter, Selection, letter_of, shown
from streams.cli.dead_letters_replay import Candidate, Ready, Refusal, judge, lines_of
from streams.config import Config
from streams.kafka.dead_letters import DeadLetter
from tests.support.records import STAMP_MS, record

CONFIG = Config()
EVENT: dict[str, Any] = {
    "id": "1",
    "type": "message.received",
    "account_id": "acme",
    "contact_id": "ana",
    "occurred_at": "2026-11-20T10:00:00Z",
    "conversation_id": "k1",
    "channel": "whatsapp",
}
NOW_MS = 1_800_000_000_000  # in January 2027


def letter(value: bytes | None = b"{nonsense", **changed: Any) -> Letter:
    fields: dict[str, Any] = {
        "reason": "malformed",
        "detail": "JSON is malformed",
        "topic": "mediana.conversations",
        "partition": 3,
        "offset": 42,
        "timestamp_ms": 1_795_000_000_123,
        "key": b"ana",
        "value": value,
        "size": len(value or b""),
    }
    return Letter(**{**fields, **changed})


def judged(value: bytes | None, known: Letter | None = None) -> Ready | Refusal:
    return judge(Candidate(name="it", value=value, letter=known), CONFIG, NOW_MS)


def bytes_of(**changed: Any) -> bytes:
    return json.dumps({**EVENT, **changed}).encode()


# --- reading and showing ----------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back() -> None:
    written = DeadLetter(record(42, b"{nonsense", key=b"ana", topic="mediana.contacts"), "malformed", "what is wrong")
    found = letter_of(SimpleNamespace(headers=written.headers(), value=b"{nonsense"))
    assert found == Letter(
        reason="malformed",
        detail="what is wrong",
        topic="mediana.contacts",
        partition=3,
        offset=42,
        timestamp_ms=STAMP_MS,
        key=b"ana",
        value=b"{nonsense",
        size=9,
    )
    assert found.name.encode() == written.key


def test_a_letter_without_its_long_value_knows_how_long_it_was() -> None:
    headers = [*DeadLetter(record(1, b"x" * 5000), "oversize", "too long").headers(), ("omitted", b"5000")]
    found = letter_of(SimpleNamespace(headers=headers, value=None))
    assert found is not None
    assert (found.size, found.omitted, found.value) == (5000, True, None)


def test_a_record_that_somebody_else_wrote_is_no_letter() -> None:
    assert letter_of(SimpleNamespace(headers=[("reason", b"because")], value=b"hello")) is None


def test_a_line_shows_what_is_held_only_when_asked() -> None:
    line = "malformed  mediana.conversations/3/42  2026-11-18T11:06:40.123Z  9 bytes  JSON is malformed\n"
    assert shown(letter(), json=False, payload=False) == line
    assert shown(letter(), json=False, payload=True) == line + "    {nonsense\n"
    assert "nonsense" not in shown(letter(), json=True, payload=False)
    assert json.loads(shown(letter(), json=True, payload=True)) == {
        "reason": "malformed",
        "topic": "mediana.conversations",
        "partition": 3,
        "offset": 42,
        "time": "2026-11-18T11:06:40.123Z",
        "detail": "JSON is malformed",
        "size": 9,
        "key": "ana",
        "value": "{nonsense",
    }


def test_a_value_that_is_no_text_and_a_detail_that_would_forge_a_line_do_no_harm() -> None:
    assert json.loads(shown(letter(b"\xff\x00"), json=True, payload=True))["value_base64"] == "/wA="
    assert shown(letter(detail="a\nb\x1b[2J"), json=False, payload=False).count("\n") == 1


@pytest.mark.parametrize(
    ("selection", "takes"),
    [
        (Selection(), True),
        (Selection("malformed"), True),
        (Selection("future"), False),
        (Selection(offsets=frozenset({"42"})), True),
        (Selection(offsets=frozenset({"mediana.conversations/3/42"})), True),
        (Selection(offsets=frozenset({"mediana.contacts/3/42", "43"})), False),
        (Selection("future", frozenset({"42"})), False),
    ],
)
def test_a_selection_takes_what_meets_all_of_it(selection: Selection, takes: bool) -> None:
    assert selection.takes(letter()) is takes


# --- what may be sent -------------------------------------------------------------------------------------------------


def test_a_good_event_may_be_sent_byte_for_byte_to_where_it_was_under_its_key() -> None:
    value = bytes_of(text="kept as it was")
    right = judged(value, letter(value))
    assert isinstance(right, Ready)
    assert (right.value, right.partition, right.event.contact_id) == (value, 3, "ana")
    wrong_key = judged(value, letter(value, key=b"bo", reason="key-mismatch"))
    assert isinstance(wrong_key, Ready)
    assert wrong_key.partition is None


@pytest.mark.parametrize(
    ("value", "known", "reason", "says"),
    [
        (b"{nonsense", letter(), "malformed", "JSON is malformed"),
        (None, letter(None), "malformed", "no value"),
        (None, letter(None, omitted=True, size=5000), "malformed", "5000 bytes"),
        (bytes_of(), letter(reason="too-late"), "too-late", "only a rebuild"),
        (bytes_of(), letter(topic="mediana.accounts"), "settings", "whole"),
        (bytes_of(type="message.burnt"), None, "unknown-type", "message.burnt"),
        (bytes_of(occurred_at="2027-02-01T00:00:00Z"), None, "future", "ahead"),
    ],
)
def test_what_a_worker_would_not_count_is_refused_with_the_reason(
    value: bytes | None, known: Letter | None, reason: str, says: str
) -> None:
    refused = judged(value, known)
    assert isinstance(refused, Refusal)
    assert refused.reason == reason
    assert says in refused.detail


async def test_a_file_may_hold_events_and_mended_lines_of_the_list(tmp_path: Path) -> None:
    mended = json.loads(shown(letter(), json=True, payload=True))
    file = tmp_path / "repaired.jsonl"
    lines = [EVENT, mended | {"value": json.dumps(EVENT)}, mended | {"value": EVENT}, mended | {"value": None}]
    file.write_text("\n\n".join(map(json.dumps, lines)) + "\nnonsense\n")
    found = [candidate async for candidate in lines_of(file)]
    assert [candidate.name.rpartition(":")[2] for candidate in found] == ["1", "3", "5", "7", "8"]
    *good, empty, nonsense = found
    assert [json.loads(candidate.value or b"") for candidate in good] == [EVENT] * 3
    assert [candidate.letter is not None for candidate in found] == [False, True, True, True, False]
    assert isinstance(judged(empty.value, empty.letter), Refusal)
    assert isinstance(judged(nonsense.value), Refusal)


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("dead-letters", "action"),
        ("dead-letters list --dry-run", "'dead-letters list' takes no --dry-run"),
        ("dead-letters replay --payload", "'dead-letters replay' takes no --payload"),
        ("dead-letters replay --file a.jsonl --reason future", "--file says what to send"),
        ("dead-letters list --limit -1", "is not a whole number"),
        ("rebuild", "--into"),
        ("rebuild --into v2 --workers 0", "at least one"),
        ("namespace drop", "NAME"),
    ],
)
def test_a_command_line_without_sense_says_why(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(arguments.split())
    assert caught.value.code == 2
    assert says in capsys.readouterr().err
