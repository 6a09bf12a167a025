"""Facts as bytes: what is written straight away is what is written item by item."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.facts import (
    ACTION,
    RESPONSE,
    STARTED,
    TOUCH,
    WAITING,
    Fact,
    fact_field,
    fact_value,
    field_of,
    read_fact,
    whole_value,
)

words = st.none() | st.sampled_from(["", "whatsapp", "ventas", "ñandú"])
instants = st.integers(1, (1 << 48) - 1)
facts = st.builds(
    Fact,
    kind=st.integers(0, WAITING),
    day=st.integers(719_163, 800_000),
    at_ms=instants,
    tie=st.integers(0, 70_000),
    origin=words,
    group=words,
    channel=words,
    advisor=words,
    flags=st.integers(0, 63),
    since_ms=instants,
    business_ms=st.integers(0, 1 << 40),
    conversation=words,
    text=words,
    entry_group=words,
)

MISSING = {
    ACTION: ("advisor", "flags", "since_ms", "business_ms", "conversation", "text", "entry_group"),
    TOUCH: ("flags", "since_ms", "business_ms", "conversation", "text", "entry_group"),
    RESPONSE: ("text", "entry_group"),
    STARTED: ("advisor", "since_ms", "business_ms", "entry_group"),
}
"""By kind, what its facts do not have: the table of `aggregates/facts.py`."""


def as_made(fact: Fact) -> Fact:
    """The fact, without what its kind does not have."""
    empty = Fact(0, 0, 0, 0, None, None, None)
    return msgspec.structs.replace(fact, **{name: getattr(empty, name) for name in MISSING.get(fact.kind, ())})


@pytest.mark.parametrize("kind", MISSING)
@given(fact=facts)
def test_a_fact_written_straight_away_has_the_bytes_of_one_written_item_by_item(kind: int, fact: Fact) -> None:
    made = as_made(msgspec.structs.replace(fact, kind=kind))
    assert fact_value(made) == whole_value(made)


@given(facts, st.text(max_size=20))
def test_a_fact_is_named_alike_by_a_text_and_by_its_bytes(fact: Fact, contact_id: str) -> None:
    name = field_of(contact_id.encode(), fact)
    assert name == fact_field(contact_id, fact)
    assert read_fact(fact.day, name, whole_value(fact))[0] == contact_id
