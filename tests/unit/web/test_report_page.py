"""The example that docs/use/report.md gives to those who decide by the numbers is true."""

import json
from pathlib import Path
from typing import Any

import pytest

from streams.cli.main import main

PAGE = Path(__file__).parents[3] / "docs" / "use" / "report.md"

WORKING_DAY = [["09:00", "13:00"], ["14:00", "18:00"]]
SETTINGS = {
    "account_id": "acme",
    "timezone": "America/Santiago",
    "schedules": {
        "office": [
            {
                "valid_from": "2026-01-01",
                "timezone": "America/Santiago",
                "weekly": dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), WORKING_DAY),
            }
        ]
    },
    "default_schedule": "office",
    "advisors": {"ana": {"name": "Ana"}},
}


def event(kind: str, at: str, **fields: Any) -> bytes:
    base = {"id": f"{kind} {at}", "type": kind, "account_id": "acme", "contact_id": "c-1", "channel": "whatsapp"}
    return json.dumps({**base, "occurred_at": f"2026-11-{at}:00-03:00", **fields}).encode()


TALK = {"conversation_id": "k-1"}
ANA = {"author": {"kind": "advisor", "id": "ana"}}
# The 16th of November 2026 is a Monday.
HISTORY = [
    event("contact.created", "16T17:50", origin="Instagram"),
    event("message.received", "16T17:50", **TALK),
    event("message.received", "16T17:55", **TALK),
    event("message.sent", "17T09:05", **TALK, **ANA),
    event("message.sent", "17T09:06", **TALK, **ANA),
]


def test_the_example_of_the_page_is_what_the_program_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = " ".join(PAGE.read_text(encoding="utf-8").split())
    for said in (
        "Monday to Friday, 9:00 to 13:00 and 14:00 to 18:00",
        "writes on Monday at 17:50 and again at 17:55; Ana answers on Tuesday at 9:05 and adds something at 9:06",
        "| first response time | 15 h 15 min | 15 min",
    ):
        assert said in words
    events, accounts = tmp_path / "events.jsonl", tmp_path / "accounts.jsonl"
    events.write_bytes(b"\n".join(HISTORY))
    accounts.write_text(json.dumps(SETTINGS))

    def metrics(start: int, end: int) -> Any:
        days = ["--from", f"2026-11-{start}", "--to", f"2026-11-{end}"]
        assert main(["replay", str(events), "--accounts", str(accounts), *days]) == 0
        return json.loads(capsys.readouterr().out)

    whole, monday, tuesday = metrics(16, 17), metrics(16, 16), metrics(17, 17)
    waited = {"elapsed": 15.25 * 3600, "business": 15 * 60}
    for box in ("first_response", "response"):
        assert whole[box]["count"] == 1
        for clock, seconds in waited.items():
            assert abs(whole[box][clock]["median"] / seconds - 1) <= 0.01
    assert [day["first_response"]["count"] for day in (monday, tuesday)] == [1, 0]
    assert [day["response"]["count"] for day in (monday, tuesday)] == [0, 1]
    assert [day["interactions"]["contacts"] for day in (monday, tuesday)] == [0, 1]
