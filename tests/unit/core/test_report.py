"""The boxes of the report, by hand: which facts each counts, by which dimensions, and its tables."""

from typing import Any

import pytest

from aggregates import facts
from aggregates import report as report_module
from aggregates.facts import (
    AT_REST,
    CLOSED_ONCE,
    DELETED,
    ENGAGED,
    MERGED,
    RESOLVED,
    SNOOZED,
    TARGETED,
    TRANSFERRED,
    WITHIN_BUSINESS,
    WITHIN_ELAPSED,
    WITHOUT_SCHEDULE,
)
from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.report import Metrics, instant_text, known_values, metrics, metrics_to_date, waiting_box
from tests.support.contributions import Contributions, answered, created, days_of, instant_ms, rows_of, told

UTC_CALENDAR = LocalCalendar("UTC")
BOTH = days_of(0, 1)
DAYS = ("2026-03-02", "2026-03-03")

Filter = tuple[str | None, ...]


def report(contributions: Contributions, **filters: Filter) -> Metrics:
    return metrics(BOTH, rows_of(contributions), Filters(**filters), UTC_CALENDAR)


def row_of(table: list[Metrics], name: str, value: str | None) -> Metrics:
    [found] = [row for row in table if row[name] == value]
    return found


def test_an_empty_report_has_zeros_for_counts_and_null_for_times() -> None:
    found = report([])
    nothing = {"median": None, "p90": None}
    for name in ("first_response", "response"):
        box = found[name]
        assert (box["count"], box["elapsed"], box["business"]) == (0, nothing, nothing)
        assert box["within_target"] == {"elapsed": None, "business": None}
        assert [edge["count"] for edge in box["distribution"]["elapsed"]] == [0] * 11
        assert box["by_day"] == {day: {"count": 0, "elapsed": nothing, "business": nothing} for day in DAYS}
    no_touches = {"contacts": 0, "advisor_contacts": 0}
    assert found["interactions"] == {**no_touches, "by_day": dict.fromkeys(DAYS, no_touches)}
    zeros = dict.fromkeys(DAYS, 0)
    assert found["new_contacts"] == {"total": 0, "deleted": 0, "merged": 0, "by_day": zeros}
    assert found["new_conversations"] == {
        "total": 0,
        "active_contacts": 0,
        "by_channel": {},
        "by_opener": {},
        "by_day": zeros,
    }
    assert found["closed_conversations"] == {"total": 0, "closed": 0, "transferred": 0, "by_day": zeros}
    assert found["origins"] == []
    assert found["waiting"] == {"contacts": 0, "snoozed": 0, "oldest": None}
    assert found["uncounted_advisor_messages"] == 0
    assert found["by_advisor"] == found["by_group"] == found["by_channel"] == []


ANSWERS: Contributions = [
    answered(facts.RESPONSE, "a", 0, "10:00", 4, flags=TARGETED | WITHIN_ELAPSED | WITHIN_BUSINESS),
    answered(facts.RESPONSE, "a", 0, "11:00", 20, flags=TARGETED | WITHIN_BUSINESS, advisor="bo"),
    answered(facts.RESPONSE, "b", 1, "10:00", 10, flags=TARGETED, group=None),
    answered(facts.RESPONSE, "c", 1, "12:00", 60, flags=WITHOUT_SCHEDULE, channel="email", origin=None),
    answered(facts.FIRST_RESPONSE, "a", 0, "10:00", 4),
]


def test_times_are_counted_and_measured_on_both_clocks() -> None:
    box = report(ANSWERS)["response"]
    # 4, 10, 20 and 60 minutes, half of each in hours: the median is 15, and the rank of p90 is 2.7.
    assert box["count"] == 4
    assert box["elapsed"] == {"median": 900.0, "p90": pytest.approx((20 + 0.7 * 40) * 60)}
    assert box["business"] == {"median": 450.0, "p90": pytest.approx((20 + 0.7 * 40) * 30)}
    assert box["within_target"] == {"elapsed": 1 / 3, "business": 2 / 3}
    assert box["without_schedule"] == 1
    classes = {edge["up_to"]: edge["count"] for edge in box["distribution"]["elapsed"]}
    assert {up_to: count for up_to, count in classes.items() if count} == {300: 1, 900: 1, 1800: 1, 3600: 1}
    assert list(classes)[-1] is None
    monday, tuesday = (box["by_day"][day] for day in DAYS)
    assert monday["count"] == tuesday["count"] == 2
    assert monday["elapsed"] == {"median": 720.0, "p90": pytest.approx((4 + 0.9 * 16) * 60)}
    assert tuesday["business"]["median"] == 1050.0


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 4),
        ({"advisor": ("bo",)}, 1),
        ({"advisor": ("ana", "bo")}, 4),
        ({"group": (None,)}, 1),
        ({"channel": ("email",)}, 1),
        ({"origin": (None,)}, 1),
        ({"origin": ("Web",), "advisor": ("ana",)}, 2),
        ({"origin": ("nowhere",)}, 0),
    ],
)
def test_times_are_filtered_by_all_four_dimensions(filters: dict[str, Filter], count: int) -> None:
    found = report(ANSWERS, **filters)["response"]
    assert found["count"] == count == sum(day["count"] for day in found["by_day"].values())


TOUCHES: Contributions = [
    # Of contact a on Monday: ana on two channels, bo in another group. On Tuesday ana again; contact b once.
    told(facts.TOUCH, "a", 0, "09:00", advisor="ana"),
    told(facts.TOUCH, "a", 0, "10:00", advisor="ana", channel="email"),
    told(facts.TOUCH, "a", 0, "11:00", advisor="bo", group="nights"),
    told(facts.TOUCH, "a", 1, "09:00", advisor="ana"),
    told(facts.TOUCH, "b", 1, "09:00", advisor="bo"),
    told(facts.UNCOUNTED, "b", 1, "09:30", advisor="bo", channel="telegram"),
]


def test_interactions_count_a_contact_once_a_day_and_once_for_each_advisor() -> None:
    assert report(TOUCHES)["interactions"] == {
        "contacts": 3,
        "advisor_contacts": 4,
        "by_day": {
            DAYS[0]: {"contacts": 1, "advisor_contacts": 2},
            DAYS[1]: {"contacts": 2, "advisor_contacts": 2},
        },
    }
    assert report(TOUCHES)["uncounted_advisor_messages"] == 1


def test_an_interaction_counts_when_a_single_one_matches_all_filters() -> None:
    def contacts(**filters: Filter) -> tuple[int, int]:
        box = report(TOUCHES, **filters)["interactions"]
        return box["contacts"], box["advisor_contacts"]

    assert contacts(channel=("email",)) == (1, 1)
    assert contacts(advisor=("bo",)) == (2, 2)
    assert contacts(advisor=("bo",), channel=("email",)) == (0, 0)
    assert contacts(group=("nights",), advisor=("bo",)) == (1, 1)


CONTACTS: Contributions = [
    created("a", 0, "09:00", ENGAGED | CLOSED_ONCE | RESOLVED | AT_REST, group="nights", entry_group="sales"),
    created("b", 0, "09:00", ENGAGED | CLOSED_ONCE, origin="Instagram"),
    created("c", 0, "10:00", DELETED, origin="Instagram"),
    created("d", 1, "09:00", MERGED | ENGAGED),
    created("e", 1, "09:00", origin=None, channel="email"),
    created("f", 1, "09:00", origin="Instagram", group=None),
]


def test_new_contacts_count_those_deleted_and_merged_too() -> None:
    box = report(CONTACTS)["new_contacts"]
    assert box == {"total": 6, "deleted": 1, "merged": 1, "by_day": {DAYS[0]: 3, DAYS[1]: 3}}
    # By the group that was entered.
    assert report(CONTACTS, group=("sales",))["new_contacts"]["total"] == 5
    assert report(CONTACTS, group=("nights",))["new_contacts"]["total"] == 0


def origin(name: str | None, *counts: int) -> Metrics:
    return {
        "origin": name,
        **dict(zip(("new_contacts", "engaged", "closed", "resolved", "at_rest"), counts, strict=True)),
    }


def test_origins_count_who_is_neither_deleted_nor_merged_the_most_first() -> None:
    assert report(CONTACTS)["origins"] == [
        origin("Instagram", 2, 1, 1, 0, 0),
        origin("Web", 1, 1, 1, 1, 1),
        origin(None, 1, 0, 0, 0, 0),
    ]
    # By the group a contact is in now.
    assert report(CONTACTS, group=("nights",))["origins"] == [origin("Web", 1, 1, 1, 1, 1)]


CONVERSATIONS: Contributions = [
    told(facts.STARTED, "a", 0, "09:00", flags=9, conversation="v1", text="contact"),
    told(facts.STARTED, "a", 1, "23:00", flags=23, conversation="v2", text="bot", channel="email"),
    told(facts.STARTED, "b", 1, "23:10", flags=23, conversation="v3", text="contact", group="nights"),
    told(facts.ACTION, "a", 0, "09:00"),
    told(facts.ACTION, "a", 0, "09:00", channel="call"),
    told(facts.ACTION, "a", 1, "23:00", channel="email"),
    told(facts.ACTION, "b", 1, "23:10", group="nights"),
    told(facts.ACTION, "c", 1, "23:10"),
    told(facts.CLOSED, "a", 1, "10:00", conversation="v1", advisor="ana", text="Vendido"),
    told(facts.CLOSED, "b", 1, "11:00", conversation="v3", advisor=None, flags=TRANSFERRED, group="nights"),
]


def test_conversations_are_counted_by_channel_and_opener_and_active_contacts_once() -> None:
    assert report(CONVERSATIONS)["new_conversations"] == {
        "total": 3,
        "active_contacts": 3,
        "by_channel": {"email": 1, "whatsapp": 2},
        "by_opener": {"bot": 1, "contact": 2},
        "by_day": {DAYS[0]: 1, DAYS[1]: 2},
    }
    assert report(CONVERSATIONS, channel=("call",))["new_conversations"]["active_contacts"] == 1


def test_closed_conversations_are_closed_or_transferred() -> None:
    box = report(CONVERSATIONS)["closed_conversations"]
    assert box == {"total": 2, "closed": 1, "transferred": 1, "by_day": {DAYS[0]: 0, DAYS[1]: 2}}
    assert report(CONVERSATIONS, advisor=("ana",))["closed_conversations"]["total"] == 1


def test_the_heatmap_counts_conversations_by_weekday_and_hour_of_their_start() -> None:
    cells = report(CONVERSATIONS)["heatmap"]
    found = {(day, hour): n for day, hours in cells.items() for hour, n in enumerate(hours) if n}
    assert found == {("mon", 9): 1, ("tue", 23): 2}
    assert [*map(len, cells.values())] == [24] * 7


WAITS: Contributions = [
    told(facts.WAITING, "a", 0, "09:00", flags=SNOOZED),
    told(facts.WAITING, "b", 1, "08:00", group="nights", channel="email"),
]


def test_who_waits_is_counted_with_the_oldest() -> None:
    oldest = "2026-03-02T09:00:00.000Z"
    assert report(WAITS)["waiting"] == {"contacts": 2, "snoozed": 1, "oldest": oldest}
    assert waiting_box(rows_of(WAITS).kind(facts.WAITING)) == report(WAITS)["waiting"]
    assert report(WAITS, channel=("email",))["waiting"]["oldest"] == "2026-03-03T08:00:00.000Z"


def test_the_advisor_filter_makes_boxes_without_an_advisor_null() -> None:
    found = report([*ANSWERS, *CONTACTS, *CONVERSATIONS, *WAITS], advisor=("ana",))
    null = {"new_contacts", "new_conversations", "origins", "heatmap", "waiting"}
    assert {name for name, box in found.items() if box is None} == null
    assert found["heatmap_occurrences"]["mon"] == [1] * 24
    for row in found["by_group"]:
        assert row["waiting"] is None
        assert "new_contacts" not in row


def test_tables_have_a_row_for_each_value_that_occurred_and_the_filters_admit() -> None:
    everything = [*ANSWERS, *TOUCHES, *CONTACTS, *CONVERSATIONS, *WAITS]
    found = report(everything)
    assert [row["advisor"] for row in found["by_advisor"]] == ["ana", "bo"]
    assert [row["group"] for row in found["by_group"]] == ["nights", "sales", None]
    assert [row["channel"] for row in found["by_channel"]] == ["call", "email", "telegram", "whatsapp"]
    assert [row["group"] for row in report(everything, group=("sales", None))["by_group"]] == ["sales", None]
    nights = row_of(found["by_group"], "group", "nights")
    assert nights["interactions"] == {"contacts": 1, "advisor_contacts": 1}
    assert nights["new_contacts"]["total"] == 0
    assert nights["new_conversations"] == {
        "total": 1,
        "active_contacts": 1,
        "by_channel": {"whatsapp": 1},
        "by_opener": {"contact": 1},
    }
    assert nights["waiting"]["oldest"] == "2026-03-03T08:00:00.000Z"
    assert row_of(found["by_group"], "group", "sales")["new_contacts"]["total"] == 5


def test_each_row_of_a_table_is_the_report_under_its_value() -> None:
    everything = [*ANSWERS, *TOUCHES, *CONTACTS, *CONVERSATIONS, *WAITS]
    rows = rows_of(everything)
    for name in ("advisor", "group", "channel"):
        for row in metrics(BOTH, rows, Filters(), UTC_CALENDAR)[f"by_{name}"]:
            alone = metrics(BOTH, rows, Filters(**{name: (row[name],)}), UTC_CALENDAR, tables=False)
            for box, numbers in row.items():
                if box != name:
                    assert numbers == {key: alone[box][key] for key in numbers}


def test_a_table_past_its_bound_shows_the_most_frequent_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_TABLE_ROWS", 2)
    touches = [
        told(facts.TOUCH, f"c{place}", 0, "09:00", advisor=advisor)
        for place, advisor in enumerate(["zoe", "ana", "bo", "zoe", "carl", "bo"])
    ]
    found = report(touches)
    assert [(row["advisor"], row["interactions"]["contacts"]) for row in found["by_advisor"]] == [("bo", 2), ("zoe", 2)]
    assert found["rows_left_out"] == {"advisor": 2, "group": 0, "channel": 0}
    assert [row["advisor"] for row in report(touches, advisor=("ana",))["by_advisor"]] == ["ana"]
    assert "rows_left_out" not in report(touches, advisor=("ana",))


def test_origins_past_the_bound_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_TABLE_ROWS", 2)
    names = ["Web", "Web", "Web", "Instagram", "Instagram", "Referido"]
    contacts = [created(f"c{place}", 0, "09:00", ENGAGED, origin=name) for place, name in enumerate(names)]
    assert report(contacts)["origins"] == [origin("Web", 3, 3, 0, 0, 0), origin("other", 3, 3, 0, 0, 0)]


def test_known_values_are_those_that_occurred_whatever_the_filters() -> None:
    assert known_values(rows_of([*ANSWERS, *CONTACTS, *CONVERSATIONS])) == {
        "origin": ["Instagram", "Web", None],
        "group": ["nights", "sales", None],
        "channel": ["call", "email", "whatsapp"],
        "advisor": ["ana", "bo", None],
    }


# --- to date ----------------------------------------------------------------------------------------------------------


def test_to_date_counts_what_lies_before_the_cut() -> None:
    rows = rows_of([*ANSWERS, *TOUCHES, *CONTACTS, *CONVERSATIONS, *WAITS])
    cut_ms = instant_ms(1, "09:00")
    found: dict[str, Any] = metrics_to_date(BOTH, rows, Filters(), UTC_CALENDAR, cut_ms)
    assert found["response"]["count"] == 2
    assert found["interactions"]["contacts"] == 1  # those of Tuesday lie at the cut, which is not before it
    assert found["new_contacts"] == {"total": 3, "by_day": {DAYS[0]: 3, DAYS[1]: 0}}
    assert found["closed_conversations"]["total"] == 0
    assert {"origins", "waiting"}.isdisjoint(found)
    assert list(found["response"]["by_day"]) == list(DAYS)
    assert found["heatmap_occurrences"]["tue"] == [1] * 9 + [0] * 15  # hour 9 begins at the cut
    later = metrics_to_date(BOTH, rows, Filters(), UTC_CALENDAR, cut_ms + 1)
    assert later["interactions"]["contacts"] == 3
    assert later["heatmap_occurrences"]["tue"] == [1] * 10 + [0] * 14


def test_a_first_response_is_known_once_its_contact_and_its_answer_are() -> None:
    # Reached at 09:00, before its creation at 09:30 was stamped; another created at 09:00, answered at 09:40.
    rows = rows_of(
        [
            created("early", 0, "09:30"),
            answered(facts.FIRST_RESPONSE, "early", 0, "09:00", 0),
            created("late", 0, "09:00"),
            answered(facts.FIRST_RESPONSE, "late", 0, "09:40", 40),
        ]
    )

    def count(clock: str) -> int:
        found = metrics_to_date(BOTH, rows, Filters(), UTC_CALENDAR, instant_ms(0, clock))
        return int(found["first_response"]["count"])

    assert [count(clock) for clock in ("09:20", "09:30", "09:31", "09:40", "09:41")] == [0, 0, 1, 1, 2]


# --- hours ------------------------------------------------------------------------------------------------------------


def test_hours_count_once_they_have_begun() -> None:
    def monday(as_of_ms: int | None) -> list[int]:
        found = metrics(days_of(0, 0), rows_of([]), Filters(), UTC_CALENDAR, as_of_ms=as_of_ms, tables=False)
        hours: list[int] = found["heatmap_occurrences"]["mon"]
        return hours

    assert monday(None) == [1] * 24
    assert monday(instant_ms(0, "10:00")) == [1] * 11 + [0] * 13  # at that very instant hour 10 has begun
    assert monday(instant_ms(0, "10:00") - 1) == [1] * 10 + [0] * 14
    assert monday(instant_ms(-1, "23:00")) == [0] * 24


def test_instants_are_written_to_the_millisecond() -> None:
    assert instant_text(instant_ms(0, "09:00") + 7) == "2026-03-02T09:00:00.007Z"
    assert instant_text(None) is None
