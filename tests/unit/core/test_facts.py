"""Facts and their bytes, literally: what the ledger holds must stay readable."""

import msgspec
import pytest

from aggregates import facts
from aggregates.facts import Fact, fact_field, fact_value, read_fact

AT_MS = 1_772_442_000_123
AT = bytes.fromhex("019cadc69afb")


def test_a_fact_that_may_repeat_is_named_by_kind_instant_tie_and_contact() -> None:
    assert AT_MS.to_bytes(6, "big") == AT
    touch = Fact(facts.TOUCH, 739_677, AT_MS, 0, "Web", None, "sms", "ana")
    assert fact_field("c-1", touch) == b"\x02" + AT + b"\x00c-1"
    assert fact_field("c-1", msgspec.structs.replace(touch, tie=7)) == b"\x02" + AT + b"\x01\x07c-1"
    assert fact_field("c-1", msgspec.structs.replace(touch, tie=300)) == b"\x02" + AT + b"\x02\x01\x2cc-1"


@pytest.mark.parametrize("kind", [facts.FIRST_RESPONSE, facts.CONTACT, facts.WAITING])
def test_a_contact_has_one_of_these_and_they_are_named_by_kind_and_contact(kind: int) -> None:
    fact = Fact(kind, 739_677, AT_MS, 3, None, None, "sms")
    assert fact_field("ñ", fact) == bytes((kind,)) + "ñ".encode()
    assert msgspec.msgpack.decode(fact_value(fact)) == [AT_MS, 3, None, None, "sms"]


def test_a_value_leaves_out_what_is_empty_at_its_end() -> None:
    response = Fact(facts.RESPONSE, 739_677, AT_MS, 0, "Web", None, "sms", "ana", 9, AT_MS - 600_000, 300_000, "v1")
    assert msgspec.msgpack.decode(fact_value(response)) == ["Web", None, "sms", "ana", 9, 600_000, 300_000, "v1"]
    action = Fact(facts.ACTION, 739_677, AT_MS, 0, None, None, "sms")
    assert msgspec.msgpack.decode(fact_value(action)) == [None, None, "sms"]


@pytest.mark.parametrize("reason", ["", "0", None, "Vendido"])
def test_a_closing_reason_is_read_back_as_it_was(reason: str | None) -> None:
    closure = Fact(facts.CLOSED, 739_677, AT_MS, 0, "", "", "sms", conversation="v1", text=reason)
    assert read_fact(739_677, fact_field("c", closure), fact_value(closure)) == ("c", closure)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"\x09" + AT + b"\x00c", b"\x90"),
        (b"\x02" + AT + b"\x00c", b"\x9b" + b"\xc0" * 11),
        (b"\x02" + AT + b"\x00c", b"\xc1"),
        (b"\x02" + AT + b"\x00\xff", b"\x90"),
    ],
)
def test_damaged_facts_are_refused(field: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_fact(739_677, field, value)
