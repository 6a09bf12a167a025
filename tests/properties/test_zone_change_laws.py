"""However often an account changes its time zone, what a contact contributed stays one consistent whole."""

from collections import defaultdict
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import counters
from aggregates.answers import Measured
from aggregates.contact import born_as, step
from aggregates.counters import Deltas, added
from aggregates.entry import CREATED
from aggregates.history import ContactHistory, Outcome
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from schemas.events import decode_event

ZONES = ("Asia/Tokyo", "America/Santiago", "Pacific/Kiritimati", "Pacific/Pago_Pago")
RULES = [Rules(decode_settings(orjson.dumps({"account_id": "a", "timezone": zone}))) for zone in ZONES]

Step = tuple[int, int, str, str, str]
steps = st.tuples(
    st.integers(0, len(ZONES) - 1),
    st.integers(0, 40 * 60),
    st.sampled_from(["received", "answered", "moved"]),
    st.sampled_from(["whatsapp", "email"]),
    st.sampled_from(["ana", "bo"]),
)


def event_of(number: int, drawn: Step) -> dict[str, Any]:
    _, minute, what, channel, advisor = drawn
    head = {
        "id": f"e{number}",
        "account_id": "a",
        "contact_id": "c",
        "occurred_at": f"2026-03-{2 + minute // 1440:02}T{minute // 60 % 24:02}:{minute % 60:02}:00Z",
    }
    if what == "moved":
        return {**head, "type": "contact.moved", "group_id": advisor}
    message = {**head, "conversation_id": "k", "channel": channel}
    if what == "received":
        return {**message, "type": "message.received"}
    return {**message, "type": "message.sent", "author": {"kind": "advisor", "id": advisor}}


@settings(max_examples=150)
@given(st.lists(steps, min_size=1, max_size=12))
def test_counters_are_those_of_the_accepted_events_in_order_and_each_contact_is_active_once_a_day(
    drawn: list[Step],
) -> None:
    history, total = ContactHistory(), defaultdict[int, dict[Any, Any]](dict)
    book = RulesBook(RULES[0])
    for number, each in enumerate(drawn):
        book = RulesBook(RULES[each[0]])
        for rules in RULES:
            book.add(rules)
        deltas = Deltas()
        outcome = history.fold(decode_event(orjson.dumps(event_of(number, each))), book, 3_600_000, deltas)
        assert outcome is not Outcome.DUPLICATE
        for day, fields in deltas.days.items():
            for field, delta in fields.items():
                value = added(total[day].pop(field, None), delta, field)  # raises below zero
                if value is not None:
                    total[day][field] = value

    contact = born_as(next((entry for entry in history.entries if entry.kind == CREATED), None))
    whole = Deltas()
    for entry in history.entries:
        step(contact, entry, Measured(book), whole)
    whole.clear_zeros()
    assert {day: fields for day, fields in total.items() if fields} == whole.days
    for fields in whole.days.values():
        assert sum(n for field, n in fields.items() if field[0] == counters.ACTIVE and isinstance(n, int)) <= 1
        assert sum(n for field, n in fields.items() if field[0] == counters.INTERACTION and isinstance(n, int)) <= 1
