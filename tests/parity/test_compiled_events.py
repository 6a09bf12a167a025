"""What the compiled fold reads out of a record is what Python reads, or it leaves the record to Python.

Whatever bytes arrive: a record that the library takes must be one that Python accepts, with the same instant and
account, and folding it must give the same state, in which every field stands that is ever used.
"""

import json
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.history import ContactHistory
from aggregates.rules import Rules, RulesBook
from schemas.accounts import AccountSettings
from schemas.errors import InvalidEvent
from schemas.events import EVENT_TYPES, decode_timed_record, type_name
from schemas.limits import MAX_RECORD_BYTES
from streams.fold.batch_fold import Folded, fold
from streams.fold.compiled_fold import CompiledFold
from streams.kafka.clients import EVENT_TOPICS
from streams.redis.keys import contact_key
from tests import native
from streams.fold.compiled import open_library
from tests.support.records import record, taken_of

LATENESS_MS = 3_600_000
STAMP_MS = 1_772_400_000_000
BOOK = RulesBook(Rules(AccountSettings(account_id="acme", effective_channels=("whatsapp", "call"))))

Plain = dict[str, Any]

HEAD: Plain = {"id": "e1", "account_id": "acme", "contact_id": "ana", "occurred_at": "2026-03-01T12:30:15.250Z"}
ADVISOR = {"kind": "advisor", "id": "eva"}
TALK = {"conversation_id": "k1", "channel": "whatsapp"}
FIELDS: dict[str, list[Plain]] = {
    "contact.created": [
        {"origin": None, "channel": "email"},
        {"origin": "Año Nuevo", "channel": "sms", "group_id": "north", "by": "import"},
    ],
    "contact.deleted": [{}],
    "contact.restored": [{"sequence": -3}],
    "contact.moved": [{"group_id": "north"}, {"group_id": None}],
    "contact.merged": [{"into": "bob"}],
    "conversation.started": [{**TALK, "by": "bot"}, {**TALK, "by": "advisor", "sequence": 7}],
    "message.received": [TALK],
    "message.sent": [{**TALK, "author": ADVISOR}, {**TALK, "author": {"kind": "system", "id": None}}],
    "call.logged": [
        {"conversation_id": "k1", "direction": "inbound", "outcome": "missed"},
        {"conversation_id": "k1", "direction": "outbound", "outcome": "rejected", "advisor_id": "eva"},
        {"conversation_id": "k1", "direction": "inbound", "outcome": "accepted", "advisor_id": "eva"},
        {"conversation_id": "k1", "direction": "inbound", "outcome": "rejected", "advisor_id": "eva"},
    ],
    "note.added": [{"conversation_id": "k1", "advisor_id": "eva"}],
    "conversation.handed_off": [{"conversation_id": "k1", "to_advisor_id": "eva"}],
    "conversation.transferred": [
        {"conversation_id": "k1"},
        {"conversation_id": "k1", "advisor_id": "eva", "to_conversation_id": "k2", "to_group_id": "south"},
    ],
    "conversation.closed": [{"conversation_id": "k1", "reason": "Venta cerrada", "advisor_id": "eva"}],
}
EVENTS: list[Plain] = [{**HEAD, "type": name, **fields} for name, variants in FIELDS.items() for fields in variants]
INSTANTS = (
    "2026-03-01T12:30:15Z",
    "2026-03-01T12:30:15.000001+05:45",
    "2024-02-29T23:59:59.999999-00:30",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00+01:00",
    "2026-03-01T13:30:00Z",
    "2026-03-01t12:30:15z",
    "2026-03-01 12:30:15Z",
    "2026-03-01T12:30:15.1234567Z",
    "2026-03-01T12:30:15",
    "2026-03-01T24:00:00Z",
    "2026-02-29T12:00:00Z",
    "2026-03-01T12:30:60Z",
    "2026-03-01T12:30:15+24:00",
    "2026-03-01T12:30:15.Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
)
EXTRAS: tuple[Plain, ...] = (
    {"text": '¿Hola?\n"sí" \\ /'},
    {"text": "\ud83d\ude00"},
    {"more": {"a": [1, -2.5, True, None, {"b": []}], "": ""}},
    {"more": 1e300, "Id": 1, "ID": "x"},
    {"author": "nobody"},
    {"author": {"kind": "advisor", "id": "eva", "more": [{}]}},
    {"sequence": None},
    {"sequence": 9_007_199_254_740_992},
    {"sequence": 9_007_199_254_740_993},
    {"sequence": 1.0},
    {"channel": "Email"},
    {"channel": "c" * 65},
    {"group_id": ""},
    {"id": "x" * 257},
    {"id": "á" * 256},
    {"reason": "r" * 1025},
    {"origin": "o" * 1024},
    {"by": None},
    {"by": "nobody"},
    {"conversation_id": 5},
    {"advisor_id": None},
)
TALKED = '"conversation_id":"k1","channel":"sms"'
REFUSED: dict[str, tuple[str, str]] = {
    "a creator that is none": ("contact.created", '"origin":null,"channel":"sms","by":"bot"'),
    "a survivor without an id": ("contact.merged", '"into":""'),
    "an opener that is none": ("conversation.started", TALKED + ',"by":"import"'),
    "an advisor without an id": ("message.sent", TALKED + ',"author":{"kind":"advisor"}'),
    "an author twice, once none": ("message.sent", TALKED + ',"author":{},"author":{"kind":"bot"}'),
    "a call answered by nobody": ("call.logged", '"conversation_id":"k1","direction":"inbound","outcome":"accepted"'),
    "handed to nobody": ("conversation.handed_off", '"conversation_id":"k1","to_advisor_id":""'),
    "transferred to nobody": ("conversation.transferred", '"conversation_id":"k1","to_advisor_id":7'),
    "a bare tab in what is ignored": ("contact.deleted", '"text":"a\tb"'),
    "a number with a leading zero": ("contact.deleted", '"more":[01]'),
    "a comma too many": ("contact.deleted", '"more":{"a":[1,]}'),
    "too long": ("contact.deleted", f'"text":"{"x" * MAX_RECORD_BYTES}"'),
}
"""What Python refuses, and why: the type, and its fields as they are written."""
SPLICES = (
    *(bytes([byte]) for byte in b'"\\,:{}[]0-. \t\x00\xff\xc3'),
    *(b"\\u00e1", b"\\ud800", b"e9", b"null", b"true"),
    *(b'"id":"e2",', b'"type":"note.added",', b'"sequence":1,', b'"author":{},'),
)


@pytest.fixture(scope="module")
def compiled() -> CompiledFold:
    return CompiledFold(native.library(), cache_accounts=2)


def is_taken(compiled: CompiledFold, value: bytes, topic: int, key: bytes = b"ana") -> bool:
    """Whether the library takes the record; if so, Python must accept it and give the same."""
    run = compiled.run_of(topic, [record(0, value, key=key, at_ms=STAMP_MS)])
    if run.looked_at:
        return False
    event, event_us = decode_timed_record(EVENT_TOPICS[topic], key, value, STAMP_MS)
    contact = contact_key(event.account_id, event.contact_id)
    batch = compiled.contacts(taken_of(run))
    assert ([*run.order_us], batch.accounts) == ([event_us], {contact: event.account_id})
    books = {event.account_id: BOOK}
    fast = Folded()
    assert batch.fold({contact: b""}, books, LATENESS_MS, fast, {}) == []
    arrival = run.arrival(0)
    assert (arrival.at_us, arrival.account_id, arrival.contact) == (event_us, event.account_id, contact)
    pure = fold([arrival], {contact: ContactHistory()}, books, LATENESS_MS)
    assert (fast.states, fast.days, fast.types) == (pure.states, pure.days, pure.types)
    return True


def topic_of(event: Plain) -> int:
    return 0 if str(event["type"]).startswith("contact.") else 1


def mutated(value: bytes, random: Random) -> bytes:
    """The bytes with a few things done to them."""
    changed = bytearray(value)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(changed) + 1)
        kind = random.randrange(5)
        if kind == 0:
            changed[at:at] = random.choice(SPLICES)
        elif kind == 1:
            del changed[at : at + random.choice((1, 1, 2, 7, 40))]
        elif kind == 2 and at < len(changed):
            changed[at] = random.randrange(256)
        elif kind == 3:
            start = random.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + random.randint(1, 30)]
        else:
            changed[at : at + 1] = random.choice(SPLICES)
    return bytes(changed)


def written(event: Plain, random: Random) -> bytes:
    """The event as a producer may write it: fields in any order, spaces, escapes, more fields."""
    fields = list(event.items())
    if random.random() < 0.5:
        fields += random.choice(EXTRAS).items()
    if random.random() < 0.3:
        fields.append(("occurred_at", random.choice(INSTANTS)))
    if random.random() < 0.5:
        random.shuffle(fields)
    separators = random.choice(((",", ":"), (", ", ": "), (" ,\n", "\t: ")))
    return json.dumps(dict(fields), separators=separators, ensure_ascii=random.random() < 0.3).encode(
        errors="surrogatepass"
    )


def test_every_type_has_an_event_here() -> None:
    assert FIELDS.keys() == {type_name(event) for event in EVENT_TYPES}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event["type"]))
def test_an_ordinary_event_is_taken_on_its_topic_under_its_key(event: Plain, compiled: CompiledFold) -> None:
    value = msgspec.json.encode(event)
    assert is_taken(compiled, value, topic_of(event))
    assert is_taken(compiled, json.dumps(event, ensure_ascii=False).encode(), topic_of(event))
    assert not is_taken(compiled, value, 1 - topic_of(event))
    assert not is_taken(compiled, value, topic_of(event), key=b"bob")


@pytest.mark.parametrize(("name", "fields"), REFUSED.values(), ids=REFUSED)
def test_what_python_refuses_is_left_to_it(name: str, fields: str, compiled: CompiledFold) -> None:
    head = msgspec.json.encode({"type": name, **HEAD})[:-1].decode()
    value = f"{head},{fields}}}".encode()
    topic = topic_of({"type": name})
    with pytest.raises(InvalidEvent, match=r"malformed|oversize"):
        decode_timed_record(EVENT_TOPICS[topic], b"ana", value, STAMP_MS)
    assert not is_taken(compiled, value, topic)


@pytest.mark.parametrize("at", INSTANTS)
def test_an_instant_is_read_as_python_reads_it_or_left_to_it(at: str, compiled: CompiledFold) -> None:
    is_taken(compiled, msgspec.json.encode({**EVENTS[0], "occurred_at": at}), 0)


def test_events_written_in_many_ways_and_damaged_in_more_are_read_alike(compiled: CompiledFold) -> None:
    random = Random(20261123)
    taken = sound = 0
    for _ in range(15_000):
        event = random.choice(EVENTS)
        value = written(event, random)
        taken += is_taken(compiled, value, topic_of(event))
        sound += is_taken(compiled, mutated(value, random), topic_of(event))
    # Neither half of the test may be empty.
    assert taken > 3_000
    assert 300 < sound < taken


def names() -> Iterator[str]:
    for fields in EVENTS:
        yield from fields


@given(
    st.sampled_from(EVENTS),
    st.dictionaries(
        st.sampled_from(sorted(set(names()))),
        st.none() | st.text(max_size=8) | st.integers() | st.floats(allow_nan=False) | st.lists(st.text(max_size=2)),
        max_size=3,
    ),
)
def test_any_value_of_any_field_is_read_alike(compiled: CompiledFold, event: Plain, changes: Plain) -> None:
    changed = {**event, **changes}
    key = changed["contact_id"].encode() if isinstance(changed["contact_id"], str) else b"ana"
    is_taken(compiled, json.dumps(changed, ensure_ascii=False).encode(errors="surrogatepass"), topic_of(event), key)


def test_a_missing_key_or_value_is_pythons(compiled: CompiledFold) -> None:
    records = [record(0, None), record(1, b"{}", key=None), record(2, b"", key=b"")]
    run = compiled.run_of(1, records)
    assert [run.looked_at[place].record for place in range(3)] == records
    with pytest.raises(InvalidEvent):
        decode_timed_record("conversations", None, b"{}", STAMP_MS)


def test_records_that_the_library_fails_to_look_at_are_pythons() -> None:
    failing: Any = SimpleNamespace(mediana_rules=SimpleNamespace(), mediana_scan=lambda *_: -1)
    value = msgspec.json.encode(EVENTS[0])
    records = [record(0, value, at_ms=STAMP_MS), record(1, None)]
    run = CompiledFold(failing, cache_accounts=2).run_of(topic_of(EVENTS[0]), records)
    assert [run.looked_at[place].record for place in range(2)] == records
    assert run.looked_at[0].contact == contact_key("acme", "ana")
