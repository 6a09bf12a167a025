"""A day at rest as one value: what goes in comes out, and damage is told."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.facts import ACTION, CLOSED, FIRST_RESPONSE, RESPONSE, TRANSFERRED, Fact, fact_field, fact_value
from aggregates.sealed import seal, unseal

DAY = 739_677
AT_MS = 1_772_442_000_000

texts = st.none() | st.text(max_size=5) | st.sampled_from(["ana:1", "ana:2", "sales"])
facts = st.builds(
    Fact,
    kind=st.integers(0, 8),
    day=st.just(0),
    at_ms=st.integers(1, AT_MS),
    tie=st.integers(0, 70_000),
    origin=texts,
    group=texts,
    channel=texts,
    advisor=texts,
    flags=st.integers(0, 63),
    since_ms=st.integers(0, AT_MS),
    business_ms=st.integers(0, 1 << 40),
    conversation=texts,
    text=texts,
    entry_group=texts,
)
found = st.lists(st.tuples(st.sampled_from(["ana", "bo", "ñ"]), facts), max_size=40)


def fields_of(rows: list[tuple[str, Fact]]) -> dict[bytes, bytes]:
    return {fact_field(contact, fact): fact_value(fact) for contact, fact in rows}


FACTS = fields_of(
    [
        ("ana", Fact(ACTION, DAY, AT_MS, 0, "Web", None, "sms")),
        ("ana", Fact(RESPONSE, DAY, AT_MS + 5, 1, "Web", "sales", "sms", "bo", 3, AT_MS, 5_000, "ana:1")),
        ("bo", Fact(FIRST_RESPONSE, DAY, AT_MS + 9, 0, None, None, "whatsapp", "bo", 0, AT_MS, 9, "77")),
        ("bo", Fact(CLOSED, DAY, AT_MS + 9, 2, None, None, "call", None, TRANSFERRED, 0, 0, "77", "sold")),
    ]
)


@given(found)
def test_unsealing_undoes_sealing(rows: list[tuple[str, Fact]]) -> None:
    fields = fields_of(rows)
    assert unseal(seal(fields)) == fields


def test_equal_facts_have_equal_bytes() -> None:
    assert seal(FACTS) == seal(dict(reversed(FACTS.items())))


@pytest.mark.parametrize("place", range(len(seal(FACTS))))
def test_a_changed_byte_is_noticed(place: int) -> None:
    data = bytearray(seal(FACTS))
    data[place] ^= 0x10
    with pytest.raises(ValueError, match="damaged"):
        unseal(bytes(data))


@pytest.mark.parametrize("length", [0, 3, 7, 8, 20])
def test_half_a_value_is_none(length: int) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unseal(seal(FACTS)[:length])


def test_a_claim_to_be_huge_costs_nothing() -> None:
    body = (1 << 31).to_bytes(4, "little") + b"\x28\xb5\x2f\xfd"
    with pytest.raises(ValueError, match="larger than it can be"):
        unseal(zlib.crc32(body).to_bytes(4, "little") + body)
