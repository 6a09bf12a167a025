"""An account's settings, compiled: schedules, effective channels, snoozes, targets, versions."""

import json
from typing import Any

import pytest

from aggregates.errors import MissingRules
from aggregates.rules import VERSION_BYTES, Rules, RulesBook, normalised_reason
from schemas.accounts import decode_settings

NINE_MS = 1_772_442_000_000  # 2026-03-02T09:00:00Z, a Monday
HOUR_MS = 3_600_000


def rules(**settings: Any) -> Rules:
    return Rules(decode_settings(json.dumps({"account_id": "acme", **settings})))


def open_from(hour: int) -> list[dict[str, Any]]:
    return [{"weekly": {"mon": [[f"{hour:02}:00", "18:00"]]}}]


STAFF: dict[str, Any] = {
    "schedules": {"own": open_from(10), "team": open_from(11), "house": open_from(12)},
    "default_schedule": "house",
    "groups": {"sales": {"schedule": "team"}, "bare": {}},
    "advisors": {
        "ana": {"schedule": "own", "group_id": "sales"},
        "bo": {"group_id": "sales"},
        "cy": {"group_id": "bare"},
        "di": {},
    },
}


def worked_hours(compiled: Rules, advisor: str | None) -> float | None:
    clock = compiled.clock_of(advisor)
    return None if clock is None else clock.between_ms(NINE_MS, NINE_MS + 4 * HOUR_MS) / HOUR_MS


@pytest.mark.parametrize(
    ("advisor", "hours"), [("ana", 3), ("bo", 2), ("cy", 1), ("di", 1), ("stranger", 1), (None, 1)]
)
def test_the_advisors_schedule_holds_else_the_groups_else_the_accounts(advisor: str | None, hours: int) -> None:
    assert worked_hours(rules(**STAFF), advisor) == hours


def test_without_a_default_schedule_only_some_have_one() -> None:
    compiled = rules(**{**STAFF, "default_schedule": None})
    assert [worked_hours(compiled, advisor) for advisor in ("ana", "bo", "cy", None)] == [3, 2, None, None]


def test_an_account_that_set_nothing() -> None:
    compiled = rules()
    assert compiled.clock_of("ana") is None
    assert compiled.effective_channels == {"whatsapp", "messenger", "email", "sms", "call"}
    assert compiled.snoozes("Esperando visita")
    assert compiled.snoozes("Esperando recordatorio")
    assert not compiled.snoozes("Vendido")
    assert (compiled.first_response_target_ms, compiled.response_target_ms) == (None, None)
    assert compiled.calendar.day_and_hour(NINE_MS)[1] == 9


def test_targets_are_in_milliseconds() -> None:
    compiled = rules(targets={"first_response_seconds": 300, "response_seconds": 0.5})
    assert (compiled.first_response_target_ms, compiled.response_target_ms) == (300_000, 500)


@pytest.mark.parametrize(
    "reason",
    [
        "Esperando visita",
        "ESPERANDO VISITA",
        "  esperando \t visita\n",
        "Esperándo\u00a0vísita",
        "Espera\u0301ndo visita",
        "Ｅsperando visita",  # full width
    ],
)
def test_reasons_are_compared_without_case_accents_or_surplus_spaces(reason: str) -> None:
    assert normalised_reason(reason) == "esperando visita"


@pytest.mark.parametrize("reason", ["Esperando visita.", "Esperandovisita", "Esperando", ""])
def test_other_reasons_are_other_reasons(reason: str) -> None:
    assert not rules().snoozes(reason)


@pytest.mark.parametrize(("one", "other"), [("Straße", "STRASSE"), ("№ 5", "no 5"), ("İptal", "iptal"), ("℡", "tel")])
def test_case_is_folded_where_letters_come_apart(one: str, other: str) -> None:
    assert normalised_reason(one) == normalised_reason(other)


def test_an_empty_list_of_reasons_snoozes_nothing() -> None:
    assert not rules(snooze_reasons=[]).snoozes("Esperando visita")
    assert not rules(snooze_reasons=[]).snoozes("")


def test_equal_settings_have_the_same_version_however_they_were_written() -> None:
    one = rules(name="Acme", timezone="UTC", targets={"response_seconds": 60})
    other = rules(targets={"response_seconds": 60.0, "first_response_seconds": None}, name="Acme")
    assert one.version == other.version
    assert one.version != rules(name="Acme", targets={"response_seconds": 61}).version


def test_a_version_has_128_bits() -> None:
    assert len(rules().version) == VERSION_BYTES == 16


def test_other_zone_data_makes_another_version_of_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules().version
    assert rules().version == before
    monkeypatch.setattr("aggregates.rules.ZONE_DATA_VERSION", "2099z")
    assert rules().version != before


def test_a_book_knows_the_current_version_and_those_it_was_given() -> None:
    current, older = rules(), rules(name="Before")
    book = RulesBook(current)
    assert book.version(current.version) is current
    assert older.version not in book
    with pytest.raises(MissingRules) as caught:
        book.version(older.version)
    assert (caught.value.account_id, caught.value.version) == ("acme", older.version)
    book.add(older)
    assert older.version in book
    assert book.version(older.version) is older
    assert book.current is current
