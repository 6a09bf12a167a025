"""A day's block: what it keeps, how large it is, its bound on names, and what damaged bytes do."""

import zlib
from contextlib import suppress
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates import day_block, facts
from aggregates.day_block import OTHER, VERSION, DayBlock, decode_block, encode_block
from aggregates.filters import Filters
from aggregates.lists import WaitClocks, list_rows
from aggregates.localtime import LocalCalendar
from aggregates.report import metrics
from aggregates.rows import Rows
from tests.support.contributions import (
    MONDAY,
    Contributions,
    answered,
    blocks_of,
    created,
    days_of,
    plain_fact,
    plain_facts,
    rows_of,
    told,
)

DAY: Contributions = [
    created("c1", 0, "09:00", facts.ENGAGED),
    created("c2", 0, "09:00", group=None, origin=None),
    told(facts.ACTION, "c1", 0, "09:00"),
    told(facts.STARTED, "c1", 0, "09:00", tie=1, flags=9, conversation="v1", text="contact"),
    answered(facts.FIRST_RESPONSE, "c1", 0, "09:10", 10),
    answered(facts.RESPONSE, "c1", 0, "09:10", 10),
    answered(facts.RESPONSE, "c1", 0, "23:10", 90 * 24 * 60, conversation="v2"),
    told(facts.TOUCH, "c1", 0, "09:10", advisor="ana"),
    told(facts.CLOSED, "c1", 0, "11:00", advisor="ana", conversation="v1", text="Vendido"),
    told(facts.WAITING, "c2", 0, "09:00", flags=facts.SNOOZED),
]
BLOCK = encode_block(MONDAY.toordinal(), DAY)


def read(data: bytes) -> list[tuple[str | int | None, ...]]:
    """All that a block says."""
    return plain_facts(Rows.of([decode_block(data)]))


def test_a_block_says_all_that_its_facts_say() -> None:
    assert sorted(read(BLOCK), key=repr) == sorted(map(plain_fact, DAY), key=repr)


def test_the_order_of_facts_leaves_no_trace() -> None:
    shuffled = list(DAY)
    for seed in range(20):
        Random(seed).shuffle(shuffled)
        assert encode_block(MONDAY.toordinal(), shuffled) == BLOCK


def test_a_day_without_facts_is_a_block_too() -> None:
    assert read(encode_block(MONDAY.toordinal(), [])) == []
    assert Rows.of([]).size == 0


def busy_day(contacts: int, seed: int = 1) -> Contributions:
    """Contacts and conversations with random ids, as a service that names them by UUID has."""
    random = Random(seed)
    found: Contributions = []
    for _ in range(contacts):
        contact, conversation = f"{random.getrandbits(128):032x}", f"{random.getrandbits(128):032x}"
        group, origin, channel = f"g{random.randrange(12)}", f"Origin {random.randrange(30)}", random.choice("abcde")
        clock = f"{random.randrange(24):02}:{random.randrange(60):02}"
        at = {"group": group, "origin": origin, "channel": channel}
        minutes, advisor = random.randrange(1000), f"advisor-{random.randrange(45)}"
        found += [
            created(contact, 0, clock, random.randrange(64), **at),
            told(facts.ACTION, contact, 0, clock, **at),
            told(facts.STARTED, contact, 0, clock, tie=1, conversation=conversation, text="contact", **at),
            told(facts.TOUCH, contact, 0, clock, tie=2, advisor=advisor, **at),
            told(facts.CLOSED, contact, 0, clock, tie=3, conversation=conversation, text="Vendido", **at),
        ]
        for kind in (facts.FIRST_RESPONSE, facts.RESPONSE):
            answer = answered(kind, contact, 0, clock, minutes, advisor=advisor, conversation=conversation, **at)
            found.append(answer)
    return found


@pytest.mark.parametrize(("contacts", "limit"), [(20, 4_000), (100, 14_000)])
def test_a_day_of_new_contacts_is_small(contacts: int, limit: int) -> None:
    assert len(encode_block(MONDAY.toordinal(), busy_day(contacts))) <= limit


# --- names past the bound ---------------------------------------------------------------------------------------------


def touches(advisors: list[str]) -> Contributions:
    return [
        told(facts.TOUCH, f"c{place % 3}", 0, f"10:{place:02}", advisor=advisor)
        for place, advisor in enumerate(advisors)
    ]


def test_names_past_the_bound_are_folded_into_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_block, "MAX_DAY_NAMES", 2)
    day = touches(["zoe", "zoe", "ana", "bo", "carl", "dan"])
    day.append(told(facts.UNCOUNTED, "c9", 0, "12:00", advisor=None, origin=None))
    rows = rows_of(day)
    # The most frequent stays, and of those alike the first by name; none stays none.
    assert rows.kind(facts.TOUCH).texts("advisor").count(OTHER) == 3
    assert set(rows.kind(facts.TOUCH).texts("advisor")) == {"zoe", "ana", OTHER}
    assert rows.kind(facts.UNCOUNTED).texts("advisor") == [None]
    assert rows.folded == [{"origin": 0, "group": 0, "channel": 0, "advisor": 3, "text": 0}]
    assert rows.kind(facts.TOUCH).size == 6


def test_numbers_and_lists_agree_where_names_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_block, "MAX_DAY_NAMES", 1)
    rows = rows_of(touches(["zoe", "zoe", "bo", "ana", "carl", "bo", "ana"]))
    for filters in (Filters(), Filters(advisor=(OTHER,)), Filters(advisor=("ana", OTHER)), Filters(advisor=("bo",))):
        box = metrics(days_of(0, 0), rows, filters, LocalCalendar("UTC"))["interactions"]
        for name, number in (("interactions", "contacts"), ("advisor_contacts", "advisor_contacts")):
            count, shown = list_rows(name, rows, filters, WaitClocks(lambda _: None, 0))
            assert count == len(shown) == box[number]


def test_openers_are_never_folded_and_reasons_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_block, "MAX_DAY_NAMES", 1)
    day = [
        told(facts.STARTED, "c1", 0, f"10:0{place}", conversation=f"v{place}", text=opener)
        for place, opener in enumerate(("contact", "contact", "contact", "advisor", "bot"))
    ]
    day += [
        told(facts.CLOSED, "c1", 0, f"11:0{place}", conversation=f"v{place}", text=reason)
        for place, reason in enumerate(("a", "b", "b"))
    ]
    rows = rows_of(day)
    assert set(rows.kind(facts.STARTED).texts("text")) == {"advisor", "bot", "contact"}
    assert sorted(map(str, rows.kind(facts.CLOSED).texts("text"))) == ["b", "b", OTHER]
    assert rows.folded[0]["text"] == 1


def test_as_many_names_as_the_bound_allows_all_stay() -> None:
    day = [told(facts.UNCOUNTED, f"c{n}", 0, "10:00", advisor=f"advisor {n}") for n in range(2000)]
    rows = rows_of(day)
    assert rows.folded[0]["advisor"] == 0
    assert len(set(rows.kind(facts.UNCOUNTED).texts("advisor"))) == 2000
    day.append(told(facts.UNCOUNTED, "c2000", 0, "10:00", advisor="advisor 2000"))
    folded = rows_of(day)
    assert folded.folded[0]["advisor"] == 1
    assert folded.kind(facts.UNCOUNTED).texts("advisor").count(OTHER) == 1


# --- damage -----------------------------------------------------------------------------------------------------------


@given(st.data())
def test_flipped_bytes_are_found(data: st.DataObject) -> None:
    damaged = bytearray(BLOCK)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(BLOCK) - 1))
        damaged[place] ^= data.draw(st.integers(1, 255))
    if bytes(damaged) != BLOCK:
        with pytest.raises(ValueError, match="damaged day block"):
            decode_block(bytes(damaged))


@given(st.integers(0, len(BLOCK) - 1), st.binary(max_size=8))
def test_cut_or_overlong_bytes_are_found(end: int, more: bytes) -> None:
    with pytest.raises(ValueError, match="damaged day block"):
        decode_block(BLOCK[:end])
    if more:
        with pytest.raises(ValueError, match="damaged day block"):
            decode_block(BLOCK + more)


def sealed(body: bytes) -> bytes:
    """Bytes whose checksum fits, whatever they say."""
    return zlib.crc32(body).to_bytes(4, "little") + body


@given(st.data())
def test_damage_behind_a_fitting_checksum_raises_nothing_but_value_errors(data: st.DataObject) -> None:
    body = bytearray(BLOCK[4:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        read(sealed(bytes(body)))


@given(st.data())
def test_a_damaged_part_behind_a_fitting_checksum_raises_nothing_but_value_errors(data: st.DataObject) -> None:
    block = decode_block(BLOCK)
    head = bytearray(day_block._decompressed([block.columns])[0])
    for _ in range(data.draw(st.integers(1, 6))):
        head[data.draw(st.integers(0, len(head) - 1))] = data.draw(st.integers(0, 255))
    changed = block._replace(columns=day_block._compressed(bytes(head)))
    with suppress(ValueError):
        read(sealed(msgspec.msgpack.encode(changed)))


def test_a_block_of_another_version_is_refused() -> None:
    later = decode_block(BLOCK)._replace(version=VERSION + 1)
    with pytest.raises(ValueError, match=f"version {VERSION + 1}, which this program does not know"):
        decode_block(sealed(msgspec.msgpack.encode(later)))


def changed(**fields: object) -> DayBlock:
    return decode_block(sealed(msgspec.msgpack.encode(decode_block(BLOCK)._replace(**fields))))  # type: ignore[arg-type]


def test_a_part_that_claims_more_than_its_bytes_can_hold_is_refused_unopened() -> None:
    part = decode_block(BLOCK).columns
    with pytest.raises(ValueError, match="larger than it can be"):
        Rows.of([changed(columns=part._replace(size=1 << 40))])


def test_a_part_that_unpacks_to_more_than_it_says_is_stopped() -> None:
    bomb = day_block._compressed(bytes(50_000_000))
    with pytest.raises(ValueError, match="damaged day block"):
        Rows.of([changed(columns=bomb._replace(size=1_000))])
    with pytest.raises(ValueError, match="shorter than it says"):
        Rows.of([changed(columns=bomb._replace(size=50_000_001))])


def test_rows_that_no_bytes_stand_for_are_refused() -> None:
    head = day_block._Head([1 << 30] + [0] * 8, bytes(9 * len(day_block.COLUMNS)), 0, [[]] * 5, [0] * 5)
    data = msgspec.msgpack.encode(head)
    claimed = changed(columns=day_block._compressed(data), head_size=len(data))
    with pytest.raises(ValueError, match="counts more than it has"):
        Rows.of([claimed])


def test_a_block_of_conversations_that_it_does_not_have_is_refused() -> None:
    nothing = day_block._compressed(msgspec.msgpack.encode([]))
    with pytest.raises(ValueError, match="names that it does not have"):
        Rows.of([changed(conversations=nothing)]).kind(facts.CLOSED)["conversation"]


def test_a_block_of_names_that_it_does_not_have_is_refused() -> None:
    block = decode_block(BLOCK)
    data = day_block._decompressed([block.columns])[0]
    head = msgspec.msgpack.decode(data[: block.head_size], type=day_block._Head)
    nameless = msgspec.msgpack.encode(head._replace(names=[[]] * 5))
    columns = day_block._compressed(nameless + bytes(data[block.head_size :]))
    for days in ([], blocks_of(DAY)):
        rows = Rows.of([*days, changed(columns=columns, head_size=len(nameless))])
        with pytest.raises(ValueError, match="names that it does not have"):
            rows.kind(facts.CONTACT)["channel"]
