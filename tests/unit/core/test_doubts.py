"""Settings and clocks that surely mean something else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aggregates.doubts import ClockDoubts, settings_doubts
from aggregates.entry import Entry, entry_of
from aggregates.rules import Rules
from schemas.accounts import decode_settings, default_settings
from schemas.events import Author, MessageReceived, MessageSent

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)
RULES = Rules(default_settings("acme"))


def codes(*interval: str) -> list[str]:
    settings = decode_settings(
        b'{"account_id": "acme", "schedules": {"office": [{"weekly": {"mon": [["%s", "%s"]], "tue": [["%s", "%s"]]}}]}}'
        % (*(text.encode() for text in interval), *(text.encode() for text in interval))
    )
    return [doubt.code for doubt in settings_doubts(settings)]


@pytest.mark.parametrize(
    ("opening", "close", "expected"),
    [
        ("00:00", "23:59", ["last-minute"]),
        ("09:00", "17:59", ["last-minute"]),
        ("09:00", "12:59", ["last-minute"]),
        ("09:00", "09:00", ["whole-day"]),
        ("09:00", "06:00", ["long-night"]),
        ("09:00", "01:00", []),
        ("09:00", "18:00", []),
        ("00:00", "24:00", []),
        ("00:00", "00:00", []),
        ("22:00", "06:00", []),
        ("22:00", "00:00", []),
        ("09:30", "17:45", []),
    ],
)
def test_hours_that_surely_mean_something_else(opening: str, close: str, expected: list[str]) -> None:
    assert codes(opening, close) == expected


def test_special_days_are_looked_at_too_and_the_advice_says_what_to_write() -> None:
    settings = decode_settings(
        b'{"account_id": "acme", "schedules": {"o": [{"special_days": {"2026-12-24": [["00:00", "23:59"]]}}]}}'
    )
    (doubt,) = settings_doubts(settings)
    assert (doubt.where, "00:00-24:00" in doubt.advice) == ("schedules.o", True)


def talk(*messages: tuple[str, float]) -> list[Entry]:
    """Entries of a contact: who wrote, and how many seconds after nine."""
    entries = []
    for number, (who, seconds) in enumerate(messages):
        at = NINE + timedelta(seconds=seconds)
        base: dict[str, Any] = {
            "id": f"e{number}",
            "account_id": "acme",
            "contact_id": "c",
            "occurred_at": at,
            "conversation_id": "k",
        }
        event = (
            MessageReceived(**base, channel="whatsapp")
            if who == "contact"
            else MessageSent(
                **base, channel="whatsapp", author=Author("advisor", "ana") if who == "ana" else Author("bot", "b")
            )
        )
        entries.append(entry_of(event, RULES, round(at.timestamp() * 1_000_000)))
    return entries


def counted(*contacts: list[Entry]) -> tuple[int, int]:
    clocks = ClockDoubts()
    for entries in contacts:
        clocks.saw(entries)
    return clocks.answers, clocks.early


def test_an_answer_just_before_a_question_is_early() -> None:
    assert counted(talk(("ana", 0), ("contact", 1))) == (1, 1)
    assert counted(talk(("ana", 0), ("contact", 2.5))) == (1, 0)
    assert counted(talk(("contact", 0), ("ana", 60), ("contact", 61))) == (1, 0)
    assert counted(talk(("contact", 0), ("ana", 60), ("ana", 61), ("contact", 62))) == (1, 0)
    assert counted(talk(("bot", 0), ("contact", 1))) == (0, 0)
    assert counted(talk(("ana", 0), ("contact", 1), ("ana", 100), ("contact", 300), ("ana", 400))) == (3, 1)


def test_some_are_chance_many_are_a_clock() -> None:
    clocks = ClockDoubts()
    for _ in range(4):
        clocks.saw(talk(("ana", 0), ("contact", 1)))
    assert clocks.doubt() is None
    clocks.saw(talk(("ana", 0), ("contact", 1)))
    doubt = clocks.doubt()
    assert doubt is not None
    assert (doubt.code, "5 of 5 answers" in doubt.what) == ("early-answers", True)
    for _ in range(21):
        clocks.saw(talk(("contact", 0), ("ana", 60)))
    assert clocks.doubt() is None
