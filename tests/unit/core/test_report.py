"""The metrics object, by hand: its shape, its empty values, its tables."""

from datetime import date

import pytest

from aggregates.filters import Filters
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period
from aggregates.report import Metrics, instant_text, metrics, needed_keys, table_filters
from tests.support.events import MONDAY, TUESDAY, Told, answered, bot, called, closed, created, received, transferred

UTC_CALENDAR = LocalCalendar("UTC")


def monday_to_tuesday() -> Told:
    return Told(
        created("09:00"),
        received("09:05"),
        answered("09:10"),
        received("2026-03-03T10:00:00Z"),
        answered("2026-03-03T10:02:00Z", "bo"),
        closed("2026-03-03T11:00:00Z", advisor_id="bo"),
        targets={"first_response_seconds": 300, "response_seconds": 600},
    )


def test_an_empty_report_has_zeros_for_counts_and_null_for_times() -> None:
    report = metrics(Period(MONDAY, MONDAY), {}, Filters(), UTC_CALENDAR)
    nothing = {"median": None, "p90": None}
    for name in ("first_response", "response"):
        box = report[name]
        assert (box["count"], box["elapsed"], box["business"]) == (0, nothing, nothing)
        assert box["within_target"] == {"elapsed": None, "business": None}
        assert [edge["count"] for edge in box["distribution"]["elapsed"]] == [0] * 11
    by_day = {"2026-03-02": {"contacts": 0, "advisor_contacts": 0}}
    assert report["interactions"] == {"contacts": 0, "advisor_contacts": 0, "by_day": by_day}
    assert report["new_contacts"] == {"total": 0, "deleted": 0, "merged": 0, "by_day": {"2026-03-02": 0}}
    assert report["new_conversations"] == {
        "total": 0,
        "active_contacts": 0,
        "by_channel": {},
        "by_opener": {},
        "by_day": {"2026-03-02": 0},
    }
    assert report["closed_conversations"] == {"total": 0, "closed": 0, "transferred": 0, "by_day": {"2026-03-02": 0}}
    assert report["origins"] == []
    assert report["waiting"] == {"contacts": 0, "snoozed": 0, "oldest": None}
    assert report["uncounted_advisor_messages"] == 0


def test_a_report_of_two_days() -> None:
    report = monday_to_tuesday().metrics(MONDAY, TUESDAY)
    first, response = report["first_response"], report["response"]
    assert (first["count"], response["count"]) == (1, 2)
    assert first["elapsed"]["median"] == pytest.approx(600, rel=0.01)
    assert response["elapsed"]["median"] == pytest.approx((600 + 120) / 2, rel=0.01)
    assert response["elapsed"]["p90"] == pytest.approx(120 + 0.9 * 480, rel=0.01)
    assert first["within_target"] == {"elapsed": 0.0, "business": 0.0}
    assert response["within_target"] == {"elapsed": 1.0, "business": 1.0}
    counts = {edge["up_to"]: edge["count"] for edge in response["distribution"]["elapsed"]}
    assert counts == {
        60: 0,
        300: 1,
        900: 1,
        1800: 0,
        3600: 0,
        14400: 0,
        28800: 0,
        86400: 0,
        259200: 0,
        604800: 0,
        None: 0,
    }
    assert report["interactions"] == {
        "contacts": 2,
        "advisor_contacts": 2,
        "by_day": {
            "2026-03-02": {"contacts": 1, "advisor_contacts": 1},
            "2026-03-03": {"contacts": 1, "advisor_contacts": 1},
        },
    }
    assert report["new_contacts"]["by_day"] == {"2026-03-02": 1, "2026-03-03": 0}
    assert report["new_conversations"] == {
        "total": 1,
        "active_contacts": 1,
        "by_channel": {"whatsapp": 1},
        "by_opener": {"contact": 1},
        "by_day": {"2026-03-02": 1, "2026-03-03": 0},
    }
    assert report["closed_conversations"]["by_day"] == {"2026-03-02": 0, "2026-03-03": 1}
    assert report["origins"] == [{"origin": "Web", "new_contacts": 1, "engaged": 1, "closed": 1, "resolved": 1}]
    assert report["heatmap"]["mon"] == [0] * 9 + [1] + [0] * 14
    assert report["heatmap_occurrences"] == {
        **dict.fromkeys(("wed", "thu", "fri", "sat", "sun"), [0] * 24),
        "mon": [1] * 24,
        "tue": [1] * 24,
    }


def test_the_share_within_target_counts_only_answers_under_a_target() -> None:
    told = Told(created("09:00"), answered("09:10"))
    assert told.metrics()["response"]["within_target"] == {"elapsed": None, "business": None}
    exactly = Told(created("09:00"), answered("09:10"), targets={"response_seconds": 600})
    assert exactly.metrics()["response"]["within_target"] == {"elapsed": 1.0, "business": 1.0}


def test_the_advisor_filter_leaves_only_what_advisors_do() -> None:
    report = monday_to_tuesday().metrics(MONDAY, TUESDAY, advisor=["bo"])
    nulls = {name for name, value in report.items() if value is None}
    assert nulls == {"new_contacts", "new_conversations", "origins", "heatmap", "waiting"}
    assert report["response"]["count"] == 1
    assert report["first_response"]["count"] == 0
    assert report["interactions"]["contacts"] == 1
    assert report["closed_conversations"]["total"] == 1


def test_closures_by_nobody_are_found_with_none() -> None:
    told = Told(received("09:00"), closed("10:00"), received("11:00", "v2"), transferred("12:00", "v2"))
    assert told.metrics(advisor=["none"])["closed_conversations"]["closed"] == 1
    assert told.metrics(advisor=["ana"])["closed_conversations"]["transferred"] == 1
    assert told.metrics(advisor=["ana", "none"])["closed_conversations"]["total"] == 2


def test_origins_are_ordered_by_size_then_name_with_null_last() -> None:
    origins = ["Web", "Web", "Ads", "Zoo", None, "Ads"]
    events = [created("09:00", contact_id=f"c{n}", origin=origin) for n, origin in enumerate(origins)]
    rows = Told(*events).metrics()["origins"]
    assert [(row["origin"], row["new_contacts"]) for row in rows] == [("Ads", 2), ("Web", 2), ("Zoo", 1), (None, 1)]


def test_the_tables_have_a_row_per_advisor_and_per_group() -> None:
    told = Told(
        created("09:00"),
        answered("09:10", "bo"),
        created("09:00", contact_id="d", group_id=None),
        {**answered("09:20", "ana"), "contact_id": "d", "conversation_id": "w1"},
        {**received("09:30"), "contact_id": "d", "conversation_id": "w1"},
    )
    report = told.metrics()
    by_advisor = [
        (row["advisor"], row["response"]["count"], row["interactions"]["contacts"]) for row in report["by_advisor"]
    ]
    assert by_advisor == [("ana", 1, 1), ("bo", 1, 1)]
    by_group = [
        (row["group"], row["new_contacts"]["total"], row["response"]["count"], row["waiting"]["contacts"])
        for row in report["by_group"]
    ]
    assert by_group == [("sales", 1, 1, 0), (None, 1, 1, 1)]
    assert "new_contacts" not in report["by_advisor"][0]
    narrowed = told.metrics(group=["sales"])
    assert [row["group"] for row in narrowed["by_group"]] == ["sales"]
    assert [row["response"]["count"] for row in narrowed["by_advisor"]] == [0, 1]


def two_channels() -> Told:
    """`c` is created on webchat, writes on WhatsApp at once and is answered there by ana at 09:10, and by bo to an
    e-mail of 09:20 at 09:30. Both conversations end, and one that nobody knows. `d` is created on WhatsApp at 10:00 and
    calls in vain at 10:20."""
    return Told(
        created("09:00"),
        received("09:00:01"),
        answered("09:10"),
        received("09:20", "v2", "email"),
        answered("09:30", "bo", "v2", "email"),
        closed("11:00", advisor_id="ana"),
        transferred("11:30", "v2", advisor_id="bo"),
        closed("11:40", "v9"),
        created("10:00", contact_id="d", channel="whatsapp"),
        {**called("10:20", "inbound", "missed", "w1", None), "contact_id": "d"},
    )


def test_the_table_per_channel_says_of_each_box_what_the_channel_filter_means_there() -> None:
    report = two_channels().metrics()
    assert [row["channel"] for row in report["by_channel"]] == ["call", "email", "unknown", "webchat", "whatsapp"]
    assert {row["channel"]: counts_of(row) for row in report["by_channel"]} == {
        # The missed call opened a conversation; d waits since its creation, on WhatsApp.
        "call": {"active": 1, "opened": 1},
        "email": {"responses": 1, "reached": 1, "active": 1, "opened": 1, "closed": 1},
        # The close of a conversation that never began.
        "unknown": {"active": 1, "closed": 1},
        "webchat": {"created": 1, "active": 1},
        # The first response is of the channel of the answer, though c was created on webchat.
        "whatsapp": {
            "first_responses": 1,
            "responses": 1,
            "reached": 1,
            "created": 1,
            "active": 2,
            "opened": 1,
            "closed": 1,
            "waiting": 1,
        },
    }
    email, whatsapp = report["by_channel"][1], report["by_channel"][4]
    assert email["response"]["elapsed"]["median"] == pytest.approx(600, rel=0.01)
    assert email["closed_conversations"] == {"total": 1, "closed": 0, "transferred": 1}
    assert whatsapp["first_response"]["elapsed"]["median"] == pytest.approx(600, rel=0.01)
    assert whatsapp["waiting"] == {"contacts": 1, "snoozed": 0, "oldest": "2026-03-02T10:00:00.000Z"}
    # Reached on two channels, and once that day.
    assert report["interactions"]["contacts"] == 1


def counts_of(row: Metrics) -> dict[str, int]:
    """The counts of a row that are not 0."""
    counts = {
        "first_responses": row["first_response"]["count"],
        "responses": row["response"]["count"],
        "reached": row["interactions"]["contacts"],
        "created": row["new_contacts"]["total"],
        "active": row["new_conversations"]["active_contacts"],
        "opened": row["new_conversations"]["total"],
        "closed": row["closed_conversations"]["total"],
        "waiting": row["waiting"]["contacts"],
    }
    return {name: n for name, n in counts.items() if n}


def test_the_table_per_channel_keeps_to_the_filters() -> None:
    told = two_channels()
    narrowed = told.metrics(channel=["email", "call", "sms"])["by_channel"]
    assert [(row["channel"], row["response"]["count"]) for row in narrowed] == [("call", 0), ("email", 1)]
    of_bo = told.metrics(advisor=["bo"])["by_channel"]
    assert [row["channel"] for row in of_bo if row["response"]["count"]] == ["email"]
    for row in of_bo:
        assert "new_contacts" not in row
        assert "new_conversations" not in row
        assert row["waiting"] is None


def test_a_table_row_is_the_report_under_its_filter() -> None:
    told = monday_to_tuesday()
    row = next(row for row in told.metrics(MONDAY, TUESDAY)["by_advisor"] if row["advisor"] == "bo")
    alone = told.metrics(MONDAY, TUESDAY, advisor=["bo"])
    for name in ("elapsed", "business", "count", "within_target"):
        assert row["response"][name] == alone["response"][name]


def test_a_report_reads_only_the_keys_it_says_it_needs() -> None:
    told = monday_to_tuesday()
    wanted = Period(MONDAY, TUESDAY)
    for filters in (Filters(), Filters.parse(group=["sales"], channel=["whatsapp", "email"])):
        tables = table_filters(filters, told.replay.cubes("acme").values())
        rows = [row for rows in tables.values() for row in rows]
        keys = {key for each in (filters, *rows) for key in needed_keys(each)}
        partial = {
            day: {key: value for key, value in cube.items() if key in keys}
            for day, cube in told.replay.cubes("acme").items()
        }
        whole = metrics(wanted, told.replay.cubes("acme"), filters, UTC_CALENDAR, tables)
        assert metrics(wanted, partial, filters, UTC_CALENDAR, tables) == whole


def test_hours_of_a_clock_change_occur_as_often_as_they_did() -> None:
    calendar = LocalCalendar("Europe/Madrid")
    spring = metrics(Period(date(2026, 3, 29), date(2026, 3, 29)), {}, Filters(), calendar)["heatmap_occurrences"][
        "sun"
    ]
    autumn = metrics(Period(date(2026, 10, 25), date(2026, 10, 25)), {}, Filters(), calendar)["heatmap_occurrences"][
        "sun"
    ]
    assert spring == [1, 1, 0] + [1] * 21
    assert autumn == [1, 1, 2] + [1] * 21


def test_days_and_hours_are_the_accounts() -> None:
    told = Told(received("02:30"), timezone="America/Santiago")  # 23:30 on Sunday in Santiago
    report = told.metrics(date(2026, 3, 1), MONDAY)
    assert report["new_conversations"]["by_day"] == {"2026-03-01": 1, "2026-03-02": 0}
    assert report["heatmap"]["sun"][23] == 1


def test_the_waiting_are_those_whose_wait_began_in_the_period() -> None:
    told = Told(received("09:00:00.250"), closed("09:05", reason="Esperando visita"))
    assert told.metrics()["waiting"] == {"contacts": 1, "snoozed": 1, "oldest": "2026-03-02T09:00:00.250Z"}
    assert told.metrics(TUESDAY, TUESDAY)["waiting"]["contacts"] == 0
    assert told.metrics(channel=["email"])["waiting"]["contacts"] == 0


def test_a_call_that_does_not_count_is_no_uncounted_message() -> None:
    told = Told(created("09:00"), called("09:10", "outbound", "accepted"), effective_channels=["whatsapp"])
    assert told.metrics()["uncounted_advisor_messages"] == 0
    assert told.metrics()["response"]["count"] == 0


def test_zero_is_published_as_exactly_zero() -> None:
    told = Told(created("09:00"), bot("09:10"), received("09:20"), answered("09:20"))
    assert told.metrics()["response"]["elapsed"] == {"median": 0.0, "p90": 0.0}


def test_instants_are_written_in_utc_to_the_millisecond() -> None:
    assert instant_text(None) is None
    assert instant_text(0) == "1970-01-01T00:00:00.000Z"
    assert instant_text(1_772_442_000_007) == "2026-03-02T09:00:00.007Z"
