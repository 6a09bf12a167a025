"""Account settings as bytes: defaults, what is refused and why."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.accounts import (
    AccountSettings,
    decode_settings,
    decode_settings_record,
    default_settings,
    encode_settings,
)
from schemas.errors import InvalidSettings
from schemas.limits import MAX_RECORD_BYTES

OFFICE = {"weekly": {"mon": [["09:00", "18:00"]]}}


def settings(**fields: Any) -> bytes:
    return json.dumps({"account_id": "acme", **fields}).encode()


def schedule(**fields: Any) -> bytes:
    return settings(schedules={"office": [fields]})


def refusal(value: bytes) -> InvalidSettings:
    with pytest.raises(InvalidSettings) as caught:
        decode_settings(value)
    return caught.value


def test_an_account_that_says_nothing_is_in_utc_without_schedule() -> None:
    found = decode_settings(settings())
    assert found == default_settings("acme")
    assert found.timezone == "UTC"
    assert found.schedules == {}
    assert found.default_schedule is None
    assert found.snooze_reasons == ("Esperando visita", "Esperando recordatorio")
    assert found.effective_channels == ("whatsapp", "messenger", "email", "sms", "call")
    assert found.targets.first_response_seconds is None


def test_a_missing_list_is_its_default_and_an_empty_one_is_empty() -> None:
    found = decode_settings(settings(snooze_reasons=[], effective_channels=[]))
    assert found.snooze_reasons == ()
    assert found.effective_channels == ()


def test_null_is_missing_at_any_depth() -> None:
    found = decode_settings(
        settings(
            timezone=None,
            snooze_reasons=None,
            schedules={"office": [{**OFFICE, "valid_from": None, "timezone": None, "holidays": None}]},
            advisors={"ana": {"name": None, "group_id": None, "schedule": None}},
            targets={"first_response_seconds": None},
        )
    )
    assert found.timezone == "UTC"
    assert found.snooze_reasons == ("Esperando visita", "Esperando recordatorio")
    assert found.schedules["office"][0].holidays == ()
    assert found.advisors["ana"].group_id is None


def test_unknown_fields_are_ignored() -> None:
    assert decode_settings(settings(colour="blue", groups={"sales": {"chat": 1}})).groups["sales"].name is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"{}", id="no account"),
        pytest.param(b'{"account_id": ""}', id="an empty account"),
        pytest.param(settings(timezone="Mars/Olympus"), id="a zone that does not exist"),
        pytest.param(settings(timezone=""), id="an empty zone"),
        pytest.param(settings(timezone="../etc/passwd"), id="a path for a zone"),
        pytest.param(settings(timezone="/etc/localtime"), id="an absolute path for a zone"),
        pytest.param(settings(timezone="localtime"), id="the host's zone"),
        pytest.param(settings(timezone="posixrules"), id="rules that are no zone"),
        pytest.param(settings(timezone="right/Europe/Madrid"), id="a zone with leap seconds"),
        pytest.param(settings(timezone="europe/madrid"), id="a zone in other letters"),
        pytest.param(settings(timezone="Factory"), id="the zone of a computer without one"),
        pytest.param(schedule(**OFFICE, timezone="localtime"), id="a schedule in the host's zone"),
        pytest.param(settings(timezone=3), id="a zone that is a number"),
        pytest.param(schedule(**OFFICE, timezone="Mars/Olympus"), id="a schedule in a zone that does not exist"),
        pytest.param(settings(schedules={"office": []}), id="a schedule without version"),
        pytest.param(settings(schedules={"office": OFFICE}), id="a schedule that is no list"),
        pytest.param(settings(schedules={"": [OFFICE]}), id="a schedule without name"),
        pytest.param(
            settings(schedules={"office": [{"valid_from": "2026-01-01"}, {"valid_from": "2026-01-01"}]}),
            id="two versions of one day",
        ),
        pytest.param(settings(schedules={"office": [OFFICE, OFFICE]}), id="two first versions"),
        pytest.param(schedule(weekly={"lun": [["09:00", "18:00"]]}), id="an unknown weekday"),
        pytest.param(schedule(weekly={"mon": [["9:00", "18:00"]]}), id="an hour of one digit"),
        pytest.param(schedule(weekly={"mon": [["24:00", "18:00"]]}), id="an opening at 24:00"),
        pytest.param(schedule(weekly={"mon": [["09:00", "24:01"]]}), id="a close after 24:00"),
        pytest.param(schedule(weekly={"mon": [["09:60", "18:00"]]}), id="a minute 60"),
        pytest.param(schedule(weekly={"mon": [["09:00", "18:00\n"]]}), id="a time with a line break"),
        pytest.param(schedule(weekly={"mon": [["٠٩:00", "18:00"]]}), id="digits of another script"),
        pytest.param(schedule(weekly={"mon": [["09:00"]]}), id="an opening without close"),
        pytest.param(schedule(weekly={"mon": ["09:00", "18:00"]}), id="an interval that is no pair"),
        pytest.param(schedule(holidays=["2026-02-29"]), id="a holiday that does not exist"),
        pytest.param(schedule(holidays=["20261225"]), id="a holiday in another notation"),
        pytest.param(schedule(special_days={"christmas": []}), id="a special day that is no date"),
        pytest.param(schedule(special_days={"2026-12-24": [["09:00", "noon"]]}), id="a special day until noon"),
        pytest.param(schedule(valid_from="2026-13-01"), id="a version from month 13"),
        pytest.param(settings(effective_channels=["WhatsApp"]), id="a channel in capitals"),
        pytest.param(settings(snooze_reasons="Esperando visita"), id="a reason in place of a list"),
        pytest.param(settings(targets={"response_seconds": -1}), id="a negative target"),
    ],
)
def test_malformed_settings_are_refused_whole(value: bytes) -> None:
    error = refusal(value)
    assert error.reason == "malformed"
    assert error.detail


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(settings(default_schedule="office"), id="the account's"),
        pytest.param(settings(groups={"sales": {"schedule": "office"}}), id="a group's"),
        pytest.param(settings(advisors={"ana": {"schedule": "office"}}), id="an advisor's"),
    ],
)
def test_a_schedule_that_does_not_exist_is_refused(value: bytes) -> None:
    assert refusal(value).reason == "unknown-schedule"


def test_a_group_that_does_not_exist_is_refused() -> None:
    error = refusal(settings(advisors={"ana": {"group_id": "sales"}}))
    assert (error.reason, error.detail) == ("unknown-group", "advisors.ana.group_id: no group 'sales'")


def test_settings_of_more_than_a_record_are_oversize() -> None:
    assert refusal(settings(name="x" * MAX_RECORD_BYTES)).reason == "oversize"


def test_a_day_may_end_at_24_00_and_a_shift_may_cross_midnight() -> None:
    found = decode_settings(schedule(weekly={"mon": [["20:00", "24:00"]], "fri": [["22:00", "06:00"]]}))
    assert found.schedules["office"][0].weekly == {"mon": (("20:00", "24:00"),), "fri": (("22:00", "06:00"),)}


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_record_is_keyed_by_its_account() -> None:
    assert decode_settings_record(b"acme", settings()) == default_settings("acme")


@pytest.mark.parametrize("key", [b"other", b"", None])
def test_a_record_under_another_key_is_refused(key: bytes | None) -> None:
    with pytest.raises(InvalidSettings) as caught:
        decode_settings_record(key, settings())
    assert caught.value.reason == "key-mismatch"


def test_a_tombstone_is_no_settings() -> None:
    assert decode_settings_record(b"acme", None) is None
    with pytest.raises(InvalidSettings):
        decode_settings_record(None, None)


# --- encoding ---------------------------------------------------------------------------------------------------------


def test_equal_settings_give_equal_bytes_whatever_the_order_of_their_fields() -> None:
    one = decode_settings(b'{"account_id": "acme", "name": "Acme", "groups": {"a": {}, "b": {}}}')
    other = decode_settings(b'{"groups": {"b": {}, "a": {}}, "name": "Acme", "account_id": "acme"}')
    assert encode_settings(one) == encode_settings(other)


def test_decoding_undoes_encoding() -> None:
    found = decode_settings(
        settings(
            schedules={"office": [{**OFFICE, "valid_from": "2026-01-01", "special_days": {"2026-12-24": []}}]},
            default_schedule="office",
            groups={"sales": {"name": "Ventas"}},
            advisors={"ana": {"group_id": "sales"}},
            targets={"response_seconds": 600},
        )
    )
    assert isinstance(found, AccountSettings)
    assert decode_settings(encode_settings(found)) == found


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(value: bytes) -> None:
    with pytest.raises(InvalidSettings):
        decode_settings(value)


def test_a_channel_ends_where_its_word_ends() -> None:
    assert refusal(settings(effective_channels=["email\n"])).reason == "malformed"
