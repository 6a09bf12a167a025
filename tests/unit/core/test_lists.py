"""The lists behind the numbers, by hand: which rows, what each shows, in which order, and what is refused."""

import json
from typing import Any

import msgspec
import pytest

from aggregates import facts
from aggregates.business import BusinessClock
from aggregates.facts import (
    AT_REST,
    CLOSED_ONCE,
    DELETED,
    ENGAGED,
    MERGED,
    SNOOZED,
    TARGETED,
    TRANSFERRED,
    WITHIN_BUSINESS,
    WITHOUT_SCHEDULE,
)
from aggregates.filters import Filters
from aggregates.lists import ListRefused, Row, WaitClocks, check_list, list_rows
from aggregates.rules import Rules
from schemas.accounts import decode_settings
from schemas.lists import LISTS
from tests.support.contributions import HOUR_MS, Contributions, answered, created, instant_ms, rows_of, told

Filter = tuple[str | None, ...]
NO_CLOCKS = WaitClocks(lambda _: None, instant_ms(1, "12:00"))


def listed(name: str, contributions: Contributions, filters: Filters | None = None, **asked: Any) -> list[Row]:
    count, shown = list_rows(name, rows_of(contributions), filters or Filters(), NO_CLOCKS, **asked)
    if "limit" not in asked and "offset" not in asked:
        assert count == len(shown)
    return shown


def test_an_answer_shows_since_when_and_how_long() -> None:
    answer = answered(
        facts.RESPONSE, "a", 0, "10:10", 10, flags=TARGETED | WITHIN_BUSINESS, group=None, conversation="v1"
    )
    assert listed("response", [answer]) == [
        {
            "contact_id": "a",
            "at": "2026-03-02T10:10:00.000Z",
            "day": "2026-03-02",
            "origin": "Web",
            "group": None,
            "channel": "whatsapp",
            "advisor": "ana",
            "conversation_id": "v1",
            "from": "2026-03-02T10:00:00.000Z",
            "elapsed_seconds": 600.0,
            "business_seconds": 300.0,
            "without_schedule": False,
            "within_target": {"elapsed": False, "business": True},
        }
    ]
    [first] = listed("first_response", [answered(facts.FIRST_RESPONSE, "a", 0, "10:10", 0, flags=WITHOUT_SCHEDULE)])
    assert first["from"] == first["at"] == "2026-03-02T10:10:00.000Z"
    assert (first["without_schedule"], first["within_target"]) == (True, None)


def test_a_late_first_response_is_filed_under_the_day_of_the_creation() -> None:
    contact, fact = answered(facts.FIRST_RESPONSE, "a", 2, "10:00", 30)
    filed = (contact, msgspec.structs.replace(fact, day=fact.day - 2))
    [row] = listed("first_response", [created("a", 0, "09:00"), filed])
    assert (row["day"], row["at"]) == ("2026-03-02", "2026-03-04T10:00:00.000Z")


TOUCHES: Contributions = [
    told(facts.TOUCH, "a", 0, "09:00", advisor="bo"),
    told(facts.TOUCH, "a", 0, "10:00", advisor="ana", channel="email", group="nights"),
    told(facts.TOUCH, "a", 0, "11:00", advisor="ana"),
    told(facts.TOUCH, "a", 1, "09:00", advisor="ana"),
    told(facts.TOUCH, "b", 0, "08:00", advisor="ana"),
]


def test_an_interaction_shows_the_first_touch_that_matches_and_all_advisors_and_channels() -> None:
    one, two, three = listed("interactions", TOUCHES)
    assert one["contact_id"] == "b"
    assert two == {
        "contact_id": "a",
        "at": "2026-03-02T09:00:00.000Z",
        "day": "2026-03-02",
        "origin": "Web",
        "group": "sales",
        "advisors": ["ana", "bo"],
        "channels": ["email", "whatsapp"],
    }
    assert (three["day"], three["advisors"]) == ("2026-03-03", ["ana"])
    [nights] = listed("interactions", TOUCHES, Filters(group=("nights",)))
    assert (nights["at"], nights["advisors"], nights["channels"]) == ("2026-03-02T10:00:00.000Z", ["ana"], ["email"])


def test_advisor_contacts_show_each_advisors_first_touch_of_the_day() -> None:
    found = [(row["contact_id"], row["advisor"], row["at"][11:16], row["channel"]) for row in
             listed("advisor_contacts", TOUCHES)]  # fmt: skip
    assert found == [
        ("b", "ana", "08:00", "whatsapp"),
        ("a", "bo", "09:00", "whatsapp"),
        ("a", "ana", "10:00", "email"),
        ("a", "ana", "09:00", "whatsapp"),
    ]


def test_contacts_are_shown_by_the_group_they_entered_and_origins_by_the_one_they_are_in() -> None:
    contacts = [
        created("a", 0, "09:00", ENGAGED | CLOSED_ONCE | AT_REST, group="nights", entry_group="sales", text="import"),
        created("b", 0, "10:00", DELETED),
        created("c", 0, "11:00", MERGED),
    ]
    new = listed("new_contacts", contacts)
    assert new[0] == {
        "contact_id": "a",
        "at": "2026-03-02T09:00:00.000Z",
        "day": "2026-03-02",
        "origin": "Web",
        "group": "sales",
        "channel": "whatsapp",
        "by": "import",
        "deleted": False,
        "merged": False,
    }
    assert [(row["deleted"], row["merged"]) for row in new[1:]] == [(True, False), (False, True)]
    assert listed("origins", contacts) == [
        {
            "contact_id": "a",
            "at": "2026-03-02T09:00:00.000Z",
            "day": "2026-03-02",
            "origin": "Web",
            "group": "nights",
            "channel": "whatsapp",
            "engaged": True,
            "closed": True,
            "resolved": False,
            "at_rest": True,
        }
    ]


def test_an_active_contact_shows_its_first_action_and_the_days_that_match() -> None:
    actions = [
        told(facts.ACTION, "a", 1, "08:00", channel="email"),
        told(facts.ACTION, "a", 0, "09:00"),
        told(facts.ACTION, "a", 0, "08:30", channel="call"),
    ]
    row = {"contact_id": "a", "origin": "Web", "group": "sales"}
    assert listed("active_contacts", actions) == [
        {
            **row,
            "at": "2026-03-02T08:30:00.000Z",
            "channel": "call",
            "actions_days": ["2026-03-02", "2026-03-03"],
        }
    ]
    [email] = listed("active_contacts", actions, Filters(channel=("email",)))
    assert email["actions_days"] == ["2026-03-03"]


def test_conversations_show_who_opened_and_who_closed_them() -> None:
    [opened] = listed("new_conversations", [told(facts.STARTED, "a", 0, "09:00", conversation="v1", text="bot")])
    assert (opened["conversation_id"], opened["opener"]) == ("v1", "bot")
    closed, transferred = listed(
        "closed_conversations",
        [
            told(facts.CLOSED, "a", 0, "09:00", conversation="v1", advisor="ana", text="Vendido"),
            told(facts.CLOSED, "a", 0, "10:00", conversation="v2", flags=TRANSFERRED),
        ],
    )
    assert (closed["kind"], closed["reason"], closed["advisor"]) == ("closed", "Vendido", "ana")
    assert (transferred["kind"], transferred["reason"], transferred["advisor"]) == ("transferred", None, None)


OFFICE = Rules(
    decode_settings(
        json.dumps(
            {
                "account_id": "acme",
                "schedules": {"office": [{"weekly": {"mon": [["09:00", "18:00"]], "tue": [["09:00", "18:00"]]}}]},
                "groups": {"sales": {"schedule": "office"}},
            }
        ).encode()
    )
)


def test_waits_are_measured_until_now_by_the_schedule_of_the_group() -> None:
    waits = [
        told(facts.WAITING, "a", 0, "17:00"),
        told(facts.WAITING, "b", 0, "17:00", group=None, flags=SNOOZED),
        told(facts.WAITING, "c", 1, "13:00"),  # by a clock that is ahead: nobody waits for less than nothing
    ]
    clocks = WaitClocks(OFFICE.clock_of_group, instant_ms(1, "12:00"))
    _, (a, b, c) = list_rows("waiting", rows_of(waits), Filters(), clocks)
    assert (a["elapsed_seconds"], a["business_seconds"], a["without_schedule"]) == (19 * 3600, 4 * 3600, False)
    assert (b["elapsed_seconds"], b["business_seconds"], b["without_schedule"]) == (19 * 3600, 19 * 3600, True)
    assert (a["snoozed"], b["snoozed"]) == (False, True)
    assert (c["elapsed_seconds"], c["business_seconds"]) == (0, 0)
    count, longer = list_rows("waiting", rows_of(waits), Filters(), clocks, over=5 * 3600, clock="business")
    assert (count, [row["contact_id"] for row in longer]) == (1, ["b"])
    assert isinstance(OFFICE.clock_of_group("sales"), BusinessClock)


# --- cuts, orders, pages ----------------------------------------------------------------------------------------------

ANSWERS: Contributions = [
    answered(facts.RESPONSE, "b", 0, "10:00", 5),
    answered(facts.RESPONSE, "a", 0, "10:00", 5, tie=1, advisor="second"),
    answered(facts.RESPONSE, "a", 0, "10:00", 5, tie=0, advisor="first"),
    answered(facts.RESPONSE, "c", 0, "09:00", 60),
    answered(facts.RESPONSE, "a", 1, "09:00", 1, business_ms=HOUR_MS),
]
OLDEST = [("c", "ana"), ("a", "first"), ("a", "second"), ("b", "ana"), ("a", "ana")]


def order_of(**asked: Any) -> list[tuple[str, str]]:
    return [(row["contact_id"], row["advisor"]) for row in listed("response", ANSWERS, **asked)]


def test_rows_stand_by_instant_then_contact_then_event_order() -> None:
    assert order_of() == order_of(order="oldest") == OLDEST
    assert order_of(order="newest") == OLDEST[::-1]
    assert order_of(order="longest") == [("c", "ana"), *OLDEST[1:4], ("a", "ana")]
    assert order_of(order="longest", clock="business") == [("a", "ana"), *OLDEST[:4]]


def test_pages_are_pieces_of_the_list() -> None:
    assert order_of(offset=1, limit=2) == OLDEST[1:3]
    assert order_of(offset=4) == OLDEST[4:]
    assert order_of(offset=9, limit=3) == order_of(limit=0) == []
    count, shown = list_rows("response", rows_of(ANSWERS), Filters(), NO_CLOCKS, limit=1)
    assert (count, len(shown)) == (5, 1)


def test_over_leaves_what_took_strictly_longer() -> None:
    assert order_of(over=300) == [("c", "ana")]
    assert len(order_of(over=299.999)) == 4
    assert order_of(over=3599, clock="business") == [("a", "ana")]
    assert order_of(over=3600, clock="business") == []


def test_over_takes_seconds_as_they_are_written() -> None:
    # In binary, 1.001 * 1000 is less than 1001.
    took = answered(facts.RESPONSE, "a", 0, "10:00", 0, since_ms=instant_ms(0, "10:00") - 1001)
    assert len(listed("response", [took], over=1.001)) == 0
    assert len(listed("response", [took], over=1.0009)) == 1


@pytest.mark.parametrize(
    ("name", "filters", "asked", "why"),
    [
        ("heatmap", Filters(), {}, "there is no list 'heatmap'; there are: first_response"),
        ("origins", Filters(advisor=("ana",)), {}, "cannot be filtered by advisor"),
        ("waiting", Filters(advisor=("ana",)), {}, "cannot be filtered by advisor"),
        ("new_contacts", Filters(), {"over": 5}, "have no durations: `over`"),
        ("interactions", Filters(), {"order": "longest"}, "none is the longest"),
        ("response", Filters(), {"order": "shortest"}, "there is no order 'shortest'"),
        ("response", Filters(), {"clock": "lunar"}, "there is no clock 'lunar'"),
        ("response", Filters(), {"over": float("nan")}, "a number of seconds"),
        ("response", Filters(), {"over": float("inf")}, "a number of seconds"),
        ("response", Filters(), {"offset": -1}, "a page begins at 0"),
        ("response", Filters(), {"limit": -1}, "a page begins at 0"),
    ],
)
def test_what_cannot_be_listed_is_refused(name: str, filters: Filters, asked: dict[str, Any], why: str) -> None:
    with pytest.raises(ListRefused, match=why):
        list_rows(name, rows_of(ANSWERS), filters, NO_CLOCKS, **asked)


def test_every_list_can_be_asked_without_filters() -> None:
    for name in LISTS:
        check_list(name, Filters())
        assert listed(name, []) == []
