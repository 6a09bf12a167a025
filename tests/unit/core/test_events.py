"""Events as bytes: what is taken, what is refused and why."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidEvent, UnknownType
from schemas.events import (
    EVENT_TYPES,
    CallLogged,
    ContactAbsorbed,
    ContactCreated,
    ContactMoved,
    MessageReceived,
    decode_event,
    decode_record,
    encode_event,
    instant_us,
    type_name,
)
from schemas.limits import MAX_RECORD_BYTES

RECEIVED: dict[str, Any] = {
    "id": "e1",
    "type": "message.received",
    "account_id": "acme",
    "contact_id": "c1",
    "occurred_at": "2026-11-22T12:00:00Z",
    "conversation_id": "v1",
    "channel": "whatsapp",
}
CREATED: dict[str, Any] = {
    "id": "e1",
    "type": "contact.created",
    "account_id": "acme",
    "contact_id": "c1",
    "occurred_at": "2026-11-22T12:00:00Z",
    "origin": "Instagram",
    "channel": "whatsapp",
}
NOON_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z


def received(**changes: object) -> bytes:
    return json.dumps(RECEIVED | changes).encode()


def created(**changes: object) -> bytes:
    return json.dumps(CREATED | changes).encode()


def without(event: dict[str, Any], field: str) -> bytes:
    return json.dumps({name: value for name, value in event.items() if name != field}).encode()


def refusal(value: bytes) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        decode_event(value)
    return caught.value


def test_an_event_is_decoded_into_the_struct_of_its_type() -> None:
    assert decode_event(received()) == MessageReceived(
        id="e1",
        account_id="acme",
        contact_id="c1",
        occurred_at=datetime(2026, 11, 22, 12, tzinfo=UTC),
        conversation_id="v1",
        channel="whatsapp",
    )


def test_the_types_are_ordered_as_the_contract_orders_events_stamped_alike() -> None:
    assert [type_name(struct) for struct in EVENT_TYPES] == [
        "contact.created",
        "contact.deleted",
        "contact.restored",
        "contact.moved",
        "contact.merged",
        "contact.absorbed",
        "conversation.started",
        "message.received",
        "message.sent",
        "call.logged",
        "note.added",
        "conversation.handed_off",
        "conversation.transferred",
        "conversation.closed",
        "conversation.resumed",
    ]
    assert [struct.rank for struct in EVENT_TYPES] == list(range(len(EVENT_TYPES)))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b'"message.received"', id="a text"),
        pytest.param(b"{}", id="an object without fields"),
        pytest.param(b'{"type": "message.rec', id="cut off"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf" + received(), id="a byte order mark"),
        pytest.param(received() + b" {}", id="two values"),
        pytest.param(received().replace(b'"c1"', b'"c\xed\xa0\x80"'), id="a surrogate in UTF-8"),
        pytest.param(received().replace(b'"c1"', b'"\\ud800"'), id="half of an escaped surrogate pair"),
        pytest.param(received().replace(b'"c1"', b'"a\x00b"'), id="a raw control character"),
        pytest.param(without(RECEIVED, "type"), id="no type"),
        pytest.param(received(type=None), id="a null type"),
        pytest.param(received(type=7), id="a type that is no text"),
        pytest.param(without(RECEIVED, "id"), id="no id"),
        pytest.param(received(id=""), id="an empty id"),
        pytest.param(received(id=None), id="a null id"),
        pytest.param(received(id=17), id="an id that is a number"),
        pytest.param(received(id="x" * 257), id="an id too long"),
        pytest.param(received(account_id=""), id="an empty account"),
        pytest.param(received(contact_id=""), id="an empty contact"),
        pytest.param(received(conversation_id=""), id="an empty conversation"),
        pytest.param(without(RECEIVED, "conversation_id"), id="no conversation"),
        pytest.param(without(RECEIVED, "channel"), id="no channel"),
        pytest.param(received(channel="WhatsApp"), id="a channel in capitals"),
        pytest.param(received(channel=""), id="an empty channel"),
        pytest.param(received(channel=None), id="a null channel"),
        pytest.param(without(RECEIVED, "occurred_at"), id="no instant"),
        pytest.param(received(occurred_at="2026-11-22T12:00:00"), id="an instant without offset"),
        pytest.param(received(occurred_at="2026-11-22"), id="a date for an instant"),
        pytest.param(received(occurred_at="22/11/2026 12:00"), id="an instant in another notation"),
        pytest.param(received(occurred_at="2026-02-30T12:00:00Z"), id="a day that does not exist"),
        pytest.param(received(occurred_at="1969-12-31T23:59:59Z"), id="before 1970"),
        pytest.param(received(occurred_at="0001-01-01T00:00:00+14:00"), id="before the first year"),
        pytest.param(received(occurred_at="9999-12-31T23:59:59-14:00"), id="after the last year"),
        pytest.param(received(sequence="1"), id="a sequence that is text"),
        pytest.param(received(sequence=1.5), id="a sequence that is no integer"),
        pytest.param(received(sequence=2**63), id="a sequence out of range"),
        pytest.param(without(CREATED, "origin"), id="a creation without origin"),
        pytest.param(created(by="bot"), id="a creation by a bot"),
        pytest.param(created(group_id=""), id="an empty group"),
        pytest.param(received(type="contact.moved"), id="a move to no group at all"),
        pytest.param(received(type="contact.merged"), id="a merge into nobody"),
        pytest.param(received(type="conversation.started", by="transfer"), id="started by a transfer"),
        pytest.param(received(type="message.sent"), id="a sent message without author"),
        pytest.param(received(type="message.sent", author={"kind": "advisor"}), id="an advisor without id"),
        pytest.param(received(type="message.sent", author={"kind": "advisor", "id": ""}), id="an empty advisor id"),
        pytest.param(received(type="message.sent", author={"kind": "robot"}), id="an unknown author"),
        pytest.param(received(type="call.logged", direction="inbound"), id="a call without outcome"),
        pytest.param(
            received(type="call.logged", direction="inbound", outcome="accepted"), id="an accepted call by nobody"
        ),
        pytest.param(
            received(type="call.logged", direction="up", outcome="missed"), id="a call in an unknown direction"
        ),
        pytest.param(received(type="conversation.closed"), id="a close without reason"),
        pytest.param(b'{"id":' * 100_000, id="objects nested a hundred thousand deep"),
        pytest.param(received(extra=[])[:-2] + b"[" * 5_000 + b"]" * 5_001 + b"}", id="arrays nested deep"),
    ],
)
def test_a_malformed_event_is_refused_with_a_reason(value: bytes) -> None:
    error = refusal(value)
    assert error.reason == "malformed"
    assert error.detail


def test_the_detail_names_the_field_that_is_wrong() -> None:
    assert "$.conversation_id" in refusal(received(conversation_id=5)).detail
    assert (
        "advisor's message needs author.id" in refusal(received(type="message.sent", author={"kind": "advisor"})).detail
    )


def test_an_event_of_exactly_the_limit_is_taken_and_one_byte_more_is_oversize() -> None:
    padding = MAX_RECORD_BYTES - len(received(note=""))
    assert decode_event(received(note="x" * padding)) == decode_event(received())
    assert refusal(received(note="x" * (padding + 1))).reason == "oversize"


def test_an_unknown_type_is_told_apart_from_a_malformed_event() -> None:
    with pytest.raises(UnknownType) as caught:
        decode_event(received(type="message.read"))
    assert caught.value.type_name == "message.read"


def test_an_unknown_type_may_have_any_other_fields() -> None:
    with pytest.raises(UnknownType):
        decode_event(b'{"type": "invoice.paid", "id": 7}')


def test_unknown_fields_are_ignored() -> None:
    assert decode_event(received(text="hola", attachments=[{"a": [1, 2]}])) == decode_event(received())


@pytest.mark.parametrize("field", ["sequence", "group_id", "by"])
def test_an_optional_field_that_is_null_is_missing(field: str) -> None:
    assert decode_event(created(**{field: None})) == decode_event(created())


def test_a_null_origin_is_a_contact_without_origin() -> None:
    event = decode_event(created(origin=None))
    assert isinstance(event, ContactCreated)
    assert event.origin is None


def test_a_move_to_no_group_says_null_and_a_move_that_says_nothing_is_malformed() -> None:
    moved = {**CREATED, "type": "contact.moved", "group_id": None}
    event = decode_event(json.dumps(moved))
    assert isinstance(event, ContactMoved)
    assert event.group_id is None
    assert refusal(without(moved, "group_id")).reason == "malformed"


def test_equal_instants_under_other_offsets_are_equal_events() -> None:
    there = decode_event(received(occurred_at="2026-11-22T09:00:00-03:00"))
    assert there.occurred_at == decode_event(received()).occurred_at
    assert instant_us(there.occurred_at) == NOON_MS * 1000


def test_any_lower_case_word_is_a_channel() -> None:
    event = decode_event(received(channel="tiktok_dm"))
    assert isinstance(event, MessageReceived)
    assert event.channel == "tiktok_dm"


def test_a_missed_call_needs_no_advisor() -> None:
    event = decode_event(received(type="call.logged", direction="inbound", outcome="missed"))
    assert isinstance(event, CallLogged)
    assert event.advisor_id is None


# --- records ----------------------------------------------------------------------------------------------------------


def record_refusal(
    topic: Literal["contacts", "conversations"], key: bytes | None, value: bytes | None, timestamp_ms: int = NOON_MS
) -> str:
    with pytest.raises(InvalidEvent) as caught:
        decode_record(topic, key, value, timestamp_ms)
    return caught.value.reason


def test_a_record_is_keyed_by_its_contact() -> None:
    assert decode_record("conversations", b"c1", received(), NOON_MS) == decode_event(received())


@pytest.mark.parametrize("key", [b"c2", b"C1", b"c1 ", b"", b"\xff", None])
def test_a_record_under_another_key_is_refused(key: bytes | None) -> None:
    assert record_refusal("conversations", key, received()) == "key-mismatch"


def test_a_key_beyond_ascii_is_compared_as_utf_8() -> None:
    value = received(contact_id="niño")
    assert decode_record("conversations", "niño".encode(), value, NOON_MS).contact_id == "niño"
    assert record_refusal("conversations", "niño".encode("latin-1"), value) == "key-mismatch"


def test_an_event_on_the_other_topic_is_refused() -> None:
    assert record_refusal("contacts", b"c1", received()) == "wrong-topic"
    assert record_refusal("conversations", b"c1", created()) == "wrong-topic"


def test_a_record_without_value_is_malformed() -> None:
    assert record_refusal("contacts", b"c1", None) == "malformed"


def test_an_event_may_be_an_hour_ahead_of_its_record_and_no_more() -> None:
    hour_ms = 3_600_000
    assert decode_record("conversations", b"c1", received(), NOON_MS - hour_ms) == decode_event(received())
    assert record_refusal("conversations", b"c1", received(), NOON_MS - hour_ms - 1) == "future"


def test_the_hour_ahead_is_exact_to_the_microsecond() -> None:
    value = received(occurred_at="2026-11-22T12:00:00.000001Z")
    assert record_refusal("conversations", b"c1", value, NOON_MS - 3_600_000) == "future"


def test_an_event_may_be_years_behind_its_record() -> None:
    value = received(occurred_at="1970-01-01T00:00:00Z")
    assert decode_record("conversations", b"c1", value, NOON_MS) == decode_event(value)


# --- encoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        received(),
        received(sequence=-3),
        created(),
        created(origin=None, group_id="sales", by="import"),
        json.dumps({**CREATED, "type": "contact.moved", "group_id": None}).encode(),
        received(type="message.sent", author={"kind": "advisor", "id": "ana"}),
        received(type="call.logged", direction="inbound", outcome="missed"),
    ],
)
def test_decoding_undoes_encoding(value: bytes) -> None:
    event = decode_event(value)
    assert decode_event(encode_event(event)) == event


def test_what_is_missing_is_not_encoded() -> None:
    assert json.loads(encode_event(decode_event(received(sequence=None)))) == RECEIVED


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(value: bytes) -> None:
    with pytest.raises((InvalidEvent, UnknownType)):
        decode_event(value)


@given(
    st.dictionaries(
        st.sampled_from([*RECEIVED, "sequence", "author"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=5,
        ),
        min_size=1,
    )
)
def test_no_field_of_another_kind_raises_anything_but_a_refusal(changes: dict[str, object]) -> None:
    with suppress(InvalidEvent, UnknownType):
        decode_event(received(**changes))


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("2026-11-22T23:59:59.9999999Z", "2026-11-22T23:59:59.999999+00:00"),
        ("2026-11-22T23:59:59.999999999-03:00", "2026-11-22T23:59:59.999999-03:00"),
        ("2026-11-22T12:00:00.1234567Z", "2026-11-22T12:00:00.123456+00:00"),
        ("2026-11-22T12:00:00.123456Z", "2026-11-22T12:00:00.123456+00:00"),
    ],
)
def test_fractions_of_a_second_are_cut_after_the_microsecond(text: str, cut: str) -> None:
    assert decode_event(received(occurred_at=text)).occurred_at == datetime.fromisoformat(cut)
    absorbed = json.dumps(
        {
            "id": "e",
            "type": "contact.absorbed",
            "account_id": "acme",
            "contact_id": "c1",
            "occurred_at": text,
            "from": "c2",
            "waiting_since": text,
            "channel": "email",
        }
    )
    event = decode_event(absorbed)
    assert isinstance(event, ContactAbsorbed)
    assert event.waiting_since == datetime.fromisoformat(cut)
