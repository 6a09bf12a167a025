"""Refusals name the envelope or serializer that a record came in."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.accounts import decode_settings, decode_settings_record
from schemas.errors import InvalidEvent, InvalidSettings, UnknownType
from schemas.events import decode_event, decode_record
from schemas.strangers import key_hint, value_hint

EVENT: dict[str, Any] = {
    "id": "e1",
    "type": "message.received",
    "account_id": "acme",
    "contact_id": "c-1",
    "occurred_at": "2026-11-22T09:00:00Z",
    "conversation_id": "k1",
    "channel": "whatsapp",
}
BYTES = json.dumps(EVENT).encode()
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "crm", "data": EVENT}
CHANGE = {"before": None, "after": EVENT, "op": "c", "source": {"connector": "postgresql"}}


def refusal(value: bytes) -> str:
    with pytest.raises(InvalidEvent) as caught:
        decode_event(value)
    assert caught.value.reason == "malformed"
    return caught.value.detail


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"\x00\x00\x00\x00\x07" + BYTES, "JSON Schema in Confluent Schema Registry"),
        (b"\x00\x00\x00\x00\x07\x06c-1", "Avro or Protobuf in Confluent Schema Registry"),
        (b"\x00\x00\x00\x00\x07\x00\x0a\x03c-1", "Protobuf in Confluent Schema Registry"),
        (b"Obj\x01\x04\x16avro.schema", "an Avro file"),
        (b"\xc3\x01\x8fabcdefgh", "Avro"),
        (b"\x06e-1\x20message", "Avro without its schema"),
        (b"\x0a\x02e1\x12\x03c-1\x18\x05", "Protobuf"),
        (b"\x82\xa2id\xa2e1", "MessagePack"),
        (b"\xa2bidbe1", "CBOR"),
        (json.dumps({**CLOUD_EVENT, "type": "message.received"}).encode(), "CloudEvents"),
        (json.dumps({**CLOUD_EVENT, "type": "com.acme.received"}).encode(), "CloudEvents"),
        (json.dumps(CHANGE).encode(), "Debezium"),
        (json.dumps({"schema": {"type": "struct"}, "payload": CHANGE}).encode(), "Debezium"),
        (json.dumps({"schema": None, "payload": EVENT}).encode(), "schemas.enable=false"),
        (json.dumps(json.dumps(EVENT)).encode(), "encoded twice"),
        (json.dumps({"data": EVENT}).encode(), "stands inside `data`"),
        (json.dumps({"event": "message_created", "message_type": "incoming"}).encode(), "Chatwoot"),
        (gzip.compress(BYTES), "gzip"),
        (b"\x28\xb5\x2f\xfd" + BYTES, "zstd"),
        (BYTES.decode().encode("utf-16"), "UTF-16"),
        (BYTES.decode().encode("utf-16-le"), "UTF-16"),
        (BYTES.decode().encode("utf-16-be"), "UTF-16"),
        (b"\xef\xbb\xbf" + BYTES, "byte-order mark"),
        (BYTES + b"\n" + BYTES, "2 events, one a line"),
        (BYTES + BYTES, "several objects"),
        (b"[" + BYTES + b"]", "an array"),
        (b"", "empty"),
        (b"<event/>", "XML"),
        ('{"id": "niño"}'.encode("latin-1"), "UTF-8"),
    ],
)
def test_what_is_none_of_ours_is_named(value: bytes, said: str) -> None:
    assert said in refusal(value)


@pytest.mark.parametrize(
    "text", ["2026-11-22T11:30Z", "2026-11-22T11:30:00+00", "2026-11-22T11:30:00", "22/11/2026 11:30:00"]
)
def test_an_instant_that_is_none_is_shown_with_what_to_send(text: str) -> None:
    detail = refusal(json.dumps({**EVENT, "occurred_at": text}).encode())
    assert repr(text) in detail
    assert "2026-11-22T11:30:00Z" in detail


def test_a_type_that_is_unknown_stays_unknown() -> None:
    with pytest.raises(UnknownType):
        decode_event(json.dumps({**EVENT, "type": "message.recalled"}).encode())


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "no key"),
        (b'"c-1"', "quoted"),
        (b"\x00\x00\x00\x00\x07\x06c-1", "Confluent"),
        (b'{"contact_id": "c-1"}', "JSON"),
        (b"c-1\n", "line break"),
        ("c-1".encode("utf-16-le"), "UTF-16"),
    ],
)
def test_a_key_in_another_form_is_named(key: bytes | None, said: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode_record("conversations", key, BYTES, 1_795_346_400_000)
    assert caught.value.reason == "key-mismatch"
    assert said in caught.value.detail


def test_a_key_that_is_another_contacts_has_no_hint() -> None:
    assert key_hint(b"c-2", "c-1") is None
    assert key_hint((42).to_bytes(8, "big"), "42") is not None
    assert key_hint((42).to_bytes(8, "big"), "43") is None


def test_settings_are_named_too() -> None:
    with pytest.raises(InvalidSettings, match=r"schemas\.enable=false"):
        decode_settings(json.dumps({"schema": None, "payload": {"account_id": "acme"}}))
    with pytest.raises(InvalidSettings, match="quoted"):
        decode_settings_record(b'"acme"', b'{"account_id": "acme"}')


@given(st.binary(max_size=80))
def test_whatever_the_bytes_a_hint_is_a_text_or_nothing(data: bytes) -> None:
    assert value_hint(data) is None or isinstance(value_hint(data), str)
    assert key_hint(data, "c-1") is None or isinstance(key_hint(data, "c-1"), str)
