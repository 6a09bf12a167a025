"""However often an account changes its time zone, what a contact contributed stays one consistent whole."""

from datetime import date
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import facts as kinds
from aggregates.facts import Fact, fact_field
from aggregates.filters import Filters
from aggregates.history import ContactHistory, FactChanges, Lateness, Outcome
from aggregates.periods import period
from aggregates.report import metrics
from aggregates.rows import Rows
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from schemas.events import decode_event, instant_us
from tests.properties.test_history_laws import contribution
from tests.support.contributions import blocks_of

ZONES = ("Asia/Tokyo", "America/Santiago", "Pacific/Kiritimati", "Pacific/Pago_Pago")
RULES = [Rules(decode_settings(orjson.dumps({"account_id": "a", "timezone": zone}))) for zone in ZONES]
LATENESS = Lateness(3_600_000_000, 30 * 86_400_000_000)

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


@settings(max_examples=80)
@given(st.lists(steps, min_size=1, max_size=12))
def test_facts_are_those_of_the_accepted_events_in_order_and_each_contact_is_active_once_a_day(
    drawn: list[Step],
) -> None:
    history, standing = ContactHistory(), dict[tuple[int, bytes], Fact]()
    for number, each in enumerate(drawn):
        book = RulesBook(RULES[each[0]])
        for rules in RULES:
            book.add(rules)
        event, changes = decode_event(orjson.dumps(event_of(number, each))), FactChanges()
        (outcome,) = history.fold([(event, instant_us(event.occurred_at))], book, LATENESS, changes)
        assert outcome is not Outcome.DUPLICATE
        removed, added = changes.net()
        for fact in removed:
            assert standing.pop((fact.day, fact_field("c", fact))) == fact
        for fact in added:
            assert standing.setdefault((fact.day, fact_field("c", fact)), fact) is fact

    whole = contribution(history)
    assert standing == {(fact.day, fact_field("c", fact)): fact for fact in whole}
    for day, block in zip(sorted({fact.day for fact in whole}), blocks_of(("c", fact) for fact in whole), strict=True):
        found = {fact.kind for fact in whole if fact.day == day}
        shown = date.fromordinal(day)
        report = metrics(period(shown, shown), Rows.of([block]), Filters(), RULES[0].calendar)
        # A day that comes back has such facts twice; the contact counts once all the same.
        assert report["new_conversations"]["active_contacts"] == (kinds.ACTION in found)
        assert report["interactions"]["contacts"] == (kinds.TOUCH in found)
