"""The oracle itself: the golden reports wholly, and rules the golden history does not reach, worked out by hand."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.arrival import split
from tests.oracle.business import Clock, Schedule
from tests.oracle.facts import Account, ContactFacts, plain, tell
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.oracle.instants import SECOND_US, instant, instant_us
from tests.oracle.report import Oracle, quantile_seconds

GOLDEN = Path(__file__).parents[1] / "golden" / "data"

Event = dict[str, Any]


def lines(name: str) -> list[dict[str, Any]]:
    with (GOLDEN / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Everything unlike: durations to a microsecond, all else exactly."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from differences(expected.get(key, "missing"), found.get(key, "missing"), f"{where}/{key}")
    elif isinstance(expected, float) and isinstance(found, float):
        if abs(expected - found) > 1e-6:
            yield f"{where}: expected {expected}, found {found}"
    elif expected != found or type(expected) is not type(found):
        yield f"{where}: expected {expected}, found {found}"


@pytest.fixture(scope="module")
def golden() -> Oracle:
    return Oracle.of_log(lines("events.jsonl"), lines("accounts.jsonl"))


EXPECTED = lines("expected.jsonl")


@pytest.mark.parametrize(
    "case", EXPECTED, ids=[f"{case['account']}-{case['from']}-{case['filters']}" for case in EXPECTED]
)
def test_every_golden_report_is_matched_wholly(golden: Oracle, case: dict[str, Any]) -> None:
    first, last = date.fromisoformat(case["from"]), date.fromisoformat(case["to"])
    found = golden.metrics(case["account"], first, last, case["filters"])
    if "waiting" not in case["metrics"]:
        del found["waiting"]
    del found["heatmap_occurrences"]  # of golden reports it depends on when they were made
    expected = {name: box for name, box in case["metrics"].items() if name != "heatmap_occurrences"}
    assert list(differences(expected, found)) == []


LISTED = lines("lists.jsonl")


@pytest.mark.parametrize("case", LISTED, ids=[f"{case['list']}-{case['account']}-{case['filters']}" for case in LISTED])
def test_every_golden_list_is_matched_wholly(golden: Oracle, case: dict[str, Any]) -> None:
    first, last = date.fromisoformat(case["from"]), date.fromisoformat(case["to"])
    found = golden.rows(case["account"], case["list"], first, last, case["filters"], instant_us(case["now"]))
    assert found == case["rows"]


def test_a_difference_in_the_golden_reports_would_be_seen(golden: Oracle) -> None:
    case = EXPECTED[0]
    first, last = date.fromisoformat(case["from"]), date.fromisoformat(case["to"])
    found = golden.metrics(case["account"], first, last, case["filters"])
    found = {name: box for name, box in found.items() if name in case["metrics"]} | {
        "heatmap_occurrences": case["metrics"].get("heatmap_occurrences", "missing")
    }
    found["response"]["elapsed"]["median"] += 1e-5
    found["heatmap"]["mon"][10] += 1
    wrong = [text.split(":")[0] for text in differences(case["metrics"], found)]
    assert wrong == ["/heatmap/mon", "/response/elapsed/median"]


# --- small lives, worked out by hand --------------------------------------------------------------------------------
# All on Monday 2 March 2026 in UTC unless a day is named; nobody has a schedule unless the test gives one.


def event(type_: str, clock: str, **fields: Any) -> Event:
    """An event of contact `c` at a time of that Monday, or at a whole instant; its id is its type and time."""
    at = clock if "T" in clock else f"2026-03-02T{clock}:00Z"
    common = {"id": f"{type_} {clock}", "type": type_, "account_id": "acme", "contact_id": "c", "occurred_at": at}
    return {**common, **fields}


def created(clock: str, **fields: Any) -> Event:
    return event("contact.created", clock, **{"origin": "Web", "channel": "webchat", "group_id": "sales", **fields})


def received(clock: str, conversation: str = "v1", channel: str = "whatsapp", **fields: Any) -> Event:
    return event("message.received", clock, conversation_id=conversation, channel=channel, **fields)


def answered(clock: str, advisor: str = "ana", conversation: str = "v1", channel: str = "whatsapp") -> Event:
    author = {"kind": "advisor", "id": advisor}
    return event("message.sent", clock, conversation_id=conversation, channel=channel, author=author)


def automatic(clock: str, kind: str = "bot", conversation: str = "v1") -> Event:
    return event("message.sent", clock, conversation_id=conversation, channel="whatsapp", author={"kind": kind})


def handed_off(clock: str, conversation: str = "v1") -> Event:
    return event("conversation.handed_off", clock, conversation_id=conversation)


def closed(clock: str, conversation: str = "v1", reason: str = "Vendido", **fields: Any) -> Event:
    return event("conversation.closed", clock, conversation_id=conversation, reason=reason, **fields)


def transferred(clock: str, conversation: str = "v1", **fields: Any) -> Event:
    return event("conversation.transferred", clock, conversation_id=conversation, **fields)


def called(clock: str, direction: str, outcome: str, conversation: str = "v1") -> Event:
    call = {"conversation_id": conversation, "direction": direction, "outcome": outcome, "advisor_id": "ana"}
    return event("call.logged", clock, **call)


def told(*events: Event, **account: Any) -> ContactFacts:
    return tell(Account({"account_id": "acme", **account}), "c", events)


def response_minutes(facts: ContactFacts) -> list[float]:
    return [answer.elapsed_us / SECOND_US / 60 for answer in facts.responses]


def first_response_minutes(facts: ContactFacts) -> float | None:
    return facts.first_response.elapsed_us / SECOND_US / 60 if facts.first_response else None


def starts(facts: ContactFacts) -> list[tuple[str, str, str | None]]:
    return [(start.channel, start.opener, start.group) for start in facts.starts]


def closures(facts: ContactFacts) -> list[tuple[str, bool, str | None]]:
    return [(closure.channel, closure.transferred, closure.group) for closure in facts.closures]


def test_an_answer_after_a_bot_cleared_the_wait_is_a_response_with_its_first_response_time() -> None:
    facts = told(created("10:00"), automatic("10:05"), answered("10:12"))
    assert first_response_minutes(facts) == 7
    assert response_minutes(facts) == [7]


def test_after_a_bot_the_next_wait_moves_the_start_of_the_first_response_once() -> None:
    facts = told(created("10:00"), automatic("10:05"), received("10:20"), received("10:25"), answered("10:30"))
    assert first_response_minutes(facts) == 10
    dropped = told(
        created("10:00"),
        automatic("10:05"),
        received("10:20"),
        closed("10:22"),
        received("10:26", "v2"),
        answered("10:30"),
    )
    assert (first_response_minutes(dropped), response_minutes(dropped)) == (10, [4])


def test_an_unanswered_message_starts_one_wait_and_several_answers_are_one_response() -> None:
    facts = told(received("10:00"), received("10:05"), answered("10:08"), answered("10:09"), received("10:30"))
    assert response_minutes(facts) == [8]
    assert len(facts.interactions) == 2
    assert facts.first_response is None  # never created
    assert facts.waiting is not None
    assert facts.waiting.since_us == instant_us("2026-03-02T10:30:00Z")


def test_an_imported_contact_waits_from_its_first_wait_on() -> None:
    facts = told(created("09:00", by="import"), automatic("09:30"), received("10:00"), answered("10:06"))
    assert (first_response_minutes(facts), response_minutes(facts)) == (6, [6])


def test_an_imported_contact_reached_before_any_wait_has_no_first_response() -> None:
    facts = told(created("09:00", by="advisor"), answered("09:10"), received("10:00"), answered("10:06"))
    assert (first_response_minutes(facts), response_minutes(facts)) == (None, [6])


def test_a_bots_message_to_an_imported_contact_starts_no_first_response() -> None:
    facts = told(created("09:00", by="import"), automatic("09:30"), answered("09:40"))
    assert (first_response_minutes(facts), response_minutes(facts)) == (None, [])


def test_an_imported_contact_whose_wait_was_dropped_still_counts_from_it() -> None:
    facts = told(created("09:00", by="import"), received("10:00"), closed("10:01"), answered("10:09"))
    assert (first_response_minutes(facts), response_minutes(facts)) == (9, [9])


def test_an_answer_before_the_creation_is_a_first_response_of_no_time() -> None:
    facts = told(received("09:00"), answered("09:05"), created("10:00"), answered("10:30"))
    assert (first_response_minutes(facts), response_minutes(facts)) == (0, [5])
    assert facts.waiting is None  # reached before, so its creation begins no wait
    assert facts.interactions[0].group == "sales"  # the entry group holds from the first event on
    unasked = told(answered("09:05"), created("10:00"))
    assert (first_response_minutes(unasked), response_minutes(unasked)) == (0, [0])


def test_an_answer_before_an_import_is_a_first_response_only_after_a_wait() -> None:
    unasked = told(answered("09:05"), created("10:00", by="import"))
    assert (first_response_minutes(unasked), response_minutes(unasked)) == (None, [])
    asked = told(received("09:00"), answered("09:05"), created("10:00", by="import"))
    assert (first_response_minutes(asked), response_minutes(asked)) == (0, [5])


def test_a_wait_before_the_creation_counts_for_the_first_response_from_the_creation() -> None:
    facts = told(received("09:00"), created("10:00"), answered("10:30"))
    assert (first_response_minutes(facts), response_minutes(facts)) == (30, [90])


def test_a_first_response_is_filed_under_the_day_of_creation_and_the_response_under_its_own() -> None:
    facts = told(created("2026-03-02T23:00:00Z"), answered("2026-03-03T01:00:00Z"), timezone="UTC")
    assert facts.first_response is not None
    assert (facts.first_response.day, facts.responses[0].day) == (date(2026, 3, 2), date(2026, 3, 3))


def test_a_snooze_closes_nothing_and_lets_the_clocks_run() -> None:
    facts = told(received("10:00"), closed("10:05", reason=" ESPERÁNDO   visita"), answered("10:20"), closed("10:30"))
    assert response_minutes(facts) == [20]
    assert closures(facts) == [("whatsapp", False, None)]


def test_a_snooze_lasts_until_a_message_but_not_until_a_note_or_a_welcome() -> None:
    snoozed = [received("10:00"), closed("10:05", reason="esperando recordatorio")]
    note = event("note.added", "10:10", conversation_id="v1")
    still = told(*snoozed, note, automatic("10:11", kind="system")).waiting
    ended = told(*snoozed, received("10:12")).waiting
    unlisted = told(*snoozed, answered("10:13", channel="webchat")).waiting
    assert still is not None
    assert ended is not None
    assert unlisted is not None
    assert (still.snoozed, ended.snoozed, unlisted.snoozed) == (True, False, False)
    assert ended.since_us == instant_us("2026-03-02T10:00:00Z")


def test_a_hand_off_ends_a_snooze_even_with_no_bot_in_charge() -> None:
    waiting = told(received("10:00"), closed("10:05", reason="Esperando visita"), handed_off("10:06")).waiting
    assert waiting is not None
    assert not waiting.snoozed


def test_a_transfer_of_a_closed_conversation_still_moves_and_starts() -> None:
    facts = told(
        created("09:00"),
        received("10:00"),
        closed("10:10"),
        transferred("10:20", to_group_id="nights", to_conversation_id="v2"),
        answered("10:30", conversation="v2"),
    )
    assert closures(facts) == [("whatsapp", False, "sales")]
    assert starts(facts) == [("whatsapp", "contact", "sales"), ("whatsapp", "transfer", "nights")]
    assert facts.group == "nights"
    assert first_response_minutes(facts) == 90  # the close dropped the wait, the first response goes on


def test_a_transfer_keeps_the_wait_and_a_close_after_it_resolves_nothing() -> None:
    facts = told(created("09:00"), received("10:00"), transferred("10:10"), answered("10:15"), closed("10:20"))
    assert response_minutes(facts) == [75]
    assert closures(facts) == [("whatsapp", True, "sales")]


def test_a_transfer_to_itself_or_to_a_spent_conversation_starts_nothing() -> None:
    facts = told(
        closed("09:00", "gone"),
        received("10:00"),
        transferred("10:10", to_conversation_id="v1"),
        transferred("10:20", to_conversation_id="gone"),
        received("10:30", "gone"),
    )
    assert starts(facts) == [("whatsapp", "contact", None)]
    assert closures(facts) == [("unknown", False, None), ("whatsapp", True, None)]


def test_a_transfer_of_an_unknown_conversation_starts_the_next_on_an_unknown_channel() -> None:
    facts = told(created("09:00"), transferred("10:00", "lost", to_group_id="bare", to_conversation_id="v2"))
    assert starts(facts) == [("unknown", "transfer", "bare")]
    assert closures(facts) == [("unknown", True, "sales")]
    assert [(action.channel, action.group) for action in facts.actions] == [("webchat", "sales"), ("unknown", "sales")]


def test_a_second_close_drops_the_wait_and_the_bots_charge() -> None:
    facts = told(received("10:00"), closed("10:05"), received("10:10", "v2"), closed("10:15"), answered("10:20"))
    assert response_minutes(facts) == []
    assert len(facts.closures) == 1
    handed = told(automatic("10:00"), closed("10:05", "unknown one"), handed_off("10:10"), answered("10:20"))
    assert response_minutes(handed) == []


def test_a_hand_off_without_a_bot_does_nothing_and_with_one_starts_the_wait_anew() -> None:
    without = told(received("10:00"), handed_off("10:10"), answered("10:20"))
    assert response_minutes(without) == [20]
    bot = event("conversation.started", "09:59", conversation_id="v1", channel="whatsapp", by="bot")
    replaced = told(bot, received("10:00"), handed_off("10:10"), answered("10:20"))
    assert response_minutes(replaced) == [10]
    moved = told(created("09:00"), automatic("09:10"), handed_off("10:10"), handed_off("10:15"), answered("10:20"))
    assert (first_response_minutes(moved), response_minutes(moved)) == (10, [10])


def test_a_hand_off_from_a_bot_that_never_wrote_moves_the_first_response_and_an_answer_ends_the_charge() -> None:
    bot = event("conversation.started", "09:00", conversation_id="v1", channel="whatsapp", by="bot")
    moved = told(created("08:50"), bot, handed_off("10:10"), answered("10:20"))
    assert (first_response_minutes(moved), response_minutes(moved)) == (10, [10])
    ended = told(bot, answered("09:30"), received("10:00"), handed_off("10:10"), answered("10:20"))
    assert response_minutes(ended) == [20]


def test_a_bot_that_opens_a_conversation_clears_nothing() -> None:
    bot = event("conversation.started", "10:05", conversation_id="v2", channel="sms", by="bot")
    assert response_minutes(told(received("10:00"), bot, answered("10:20"))) == [20]


def test_calls_answer_and_wait_by_direction_and_outcome() -> None:
    assert response_minutes(told(received("10:00"), called("10:01", "outbound", "missed"), answered("10:09"))) == [9]
    assert response_minutes(told(received("10:00"), called("10:01", "outbound", "rejected"), answered("10:09"))) == [1]
    assert response_minutes(told(called("10:00", "inbound", "rejected"), called("10:04", "inbound", "accepted"))) == [4]
    deaf = told(
        received("10:00"), called("10:01", "inbound", "accepted"), answered("10:09"), effective_channels=["sms"]
    )
    assert (response_minutes(deaf), len(deaf.unlisted_messages)) == ([], 1)


def test_a_conversation_starts_with_its_earliest_message_and_is_not_used_again() -> None:
    later = event("conversation.started", "10:05", conversation_id="v1", channel="sms", by="bot")
    facts = told(received("10:00", channel="email"), later, closed("10:10"), received("10:20", channel="sms"))
    assert starts(facts) == [("email", "contact", None)]
    actions = told(event("note.added", "09:00", conversation_id="v1"), received("10:00", channel="email")).actions
    assert [action.channel for action in actions] == ["unknown", "email"]


def absorbed(clock: str, since: str | None = None, *conversations: str) -> Event:
    fields = {} if since is None else {"waiting_since": f"2026-03-02T{since}:00Z", "channel": "sms"}
    known = [{"id": conversation, "channel": "email"} for conversation in conversations]
    return event("contact.absorbed", clock, **{"from": "other", "open_conversations": known, **fields})


def test_what_is_absorbed_counts_as_started_before_and_goes_on_waiting() -> None:
    facts = told(absorbed("09:00", "08:30", "v1"), answered("09:10"), closed("09:20"), closed("09:30"))
    assert response_minutes(facts) == [40]
    assert (starts(facts), closures(facts)) == ([], [("email", False, None)])
    assert [action.channel for action in facts.actions] == ["whatsapp", "email", "email"]
    assert facts.has_open_conversation is False
    assert told(absorbed("09:00", "08:30", "v1")).has_open_conversation is True


def test_an_absorbed_wait_stands_for_a_later_one_and_never_from_before_an_answer() -> None:
    def since(*events: Event) -> str | None:
        waiting = told(*events).waiting
        return None if waiting is None else f"{waiting.channel} {instant(waiting.since_us)[11:16]}"

    assert since(received("08:40"), absorbed("09:00", "08:30")) == "sms 08:30"
    assert since(received("08:20"), absorbed("09:00", "08:30")) == "whatsapp 08:20"
    assert since(answered("08:45"), absorbed("09:00", "08:30")) == "sms 08:45"
    assert since(absorbed("09:00", "08:30"), closed("09:05")) is None
    assert since(absorbed("09:00")) is None


def test_an_absorbed_wait_moves_no_first_response() -> None:
    facts = told(created("08:00", by="import"), absorbed("09:00", "08:30"), answered("09:10"))
    assert (first_response_minutes(facts), response_minutes(facts)) == (None, [40])


def test_a_conversation_that_resumes_ends_a_snooze_and_is_no_action() -> None:
    resumed = event("conversation.resumed", "10:10", conversation_id="v9")
    facts = told(received("10:00"), closed("10:05", reason="Esperando visita"), resumed)
    assert facts.waiting is not None
    assert (facts.waiting.snoozed, len(facts.actions)) == (False, 2)


def test_groups_follow_moves_in_their_order_and_none_is_a_group() -> None:
    move = event("contact.moved", "08:00", group_id="nights")
    away = event("contact.moved", "11:00", group_id=None)
    facts = told(received("07:00"), move, created("09:00"), received("10:00", "v2"), away)
    assert [start.group for start in facts.starts] == ["sales", "nights"]
    assert facts.creation is not None
    assert (facts.creation.entry_group, facts.group) == ("sales", None)


def test_a_late_creation_gives_what_a_timely_one_would_have() -> None:
    talk = [received("09:10"), answered("09:15"), event("contact.moved", "09:20", group_id="bare")]
    never = told(*talk)
    assert (never.origin, never.first_response, never.responses[0].group, never.group) == (None, None, None, "bare")
    assert told(*talk, created("09:00")) == told(created("09:00"), *talk)
    again = created("09:30", origin="Other", group_id="other")
    assert told(*talk, created("09:00"), again) == told(created("09:00"), *talk)


def test_of_one_id_the_earlier_in_event_order_counts_and_equal_stamps_go_by_sequence_type_and_id() -> None:
    facts = told(received("10:30", id="x"), received("10:00", id="x"), answered("10:40"))
    assert response_minutes(facts) == [40]
    hand_off = {**handed_off("10:00"), "sequence": None}
    bot_first = told(hand_off, automatic("10:00"), answered("10:20"))  # a message comes before a hand-off
    assert response_minutes(bot_first) == [20]
    bot_last = told({**hand_off, "sequence": -1}, automatic("10:00"), answered("10:20"))
    assert response_minutes(bot_last) == []


def test_deleted_and_merged_contacts_stay_new_but_leave_the_origins_and_the_waiting() -> None:
    def of(contact: str, *events: Event) -> list[Event]:
        return [{**each, "contact_id": contact} for each in events]

    gone, back = event("contact.deleted", "11:00"), event("contact.restored", "12:00")
    into = event("contact.merged", "11:30", into="a")
    events = [
        *of("a", created("10:00")),
        *of("b", created("10:00"), gone),
        *of("c", created("10:00"), gone, back),
        *of("d", created("10:00"), gone, into, back),
    ]
    oracle = Oracle(events, [{"account_id": "acme"}])
    found = oracle.metrics("acme", date(2026, 3, 2), date(2026, 3, 2))
    assert found["new_contacts"] == {"total": 4, "deleted": 1, "merged": 1, "by_day": {"2026-03-02": 4}}
    assert found["origins"] == [
        {"origin": "Web", "new_contacts": 2, "engaged": 0, "closed": 0, "resolved": 0, "at_rest": 0}
    ]
    assert found["waiting"] == {"contacts": 2, "snoozed": 0, "oldest": "2026-03-02T10:00:00.000Z"}


def test_an_interaction_counts_only_if_one_single_one_matches_every_filter() -> None:
    events = [answered("10:00", "ana", channel="whatsapp"), answered("11:00", "bruno", channel="email")]
    oracle = Oracle(events, [{"account_id": "acme"}])

    def counted(**filters: list[str]) -> tuple[int, int]:
        found = oracle.metrics("acme", date(2026, 3, 2), date(2026, 3, 2), filters)["interactions"]
        return found["contacts"], found["advisor_contacts"]

    assert counted() == (1, 2)
    assert counted(advisor=["ana"], channel=["email"]) == (0, 0)
    assert counted(advisor=["ana"], channel=["email", "whatsapp"]) == (1, 1)
    assert counted(advisor=["ana", "bruno"], channel=["email"], group=["none"], origin=["none"]) == (1, 1)


def test_the_advisor_filter_asks_only_what_advisors_do() -> None:
    events = [created("09:00"), answered("10:00"), closed("11:00"), closed("11:30", "v2", advisor_id="ana")]
    oracle = Oracle(events, [{"account_id": "acme"}])
    found = oracle.metrics("acme", date(2026, 3, 2), date(2026, 3, 2), {"advisor": ["none"]})
    nulls = [name for name, value in found.items() if value is None]
    assert nulls == ["new_contacts", "new_conversations", "origins", "heatmap", "waiting"]
    assert (found["closed_conversations"]["total"], found["response"]["count"]) == (1, 0)
    assert found["response"]["elapsed"] == {"median": None, "p90": None}


def test_quantiles_interpolate_between_the_closest_ranks() -> None:
    durations = [30 * SECOND_US, 10 * SECOND_US, 20 * SECOND_US, 40 * SECOND_US]
    assert quantile_seconds(durations, 0.5) == 25.0
    assert quantile_seconds(durations, 0.9) == pytest.approx(37.0)
    assert quantile_seconds([], 0.5) is None


def test_reasons_are_compared_without_case_accents_or_surplus_spaces() -> None:
    assert plain("  Esperándo\u00a0 VISITA ") == "esperando visita"
    assert plain("Esperando visita.") != "esperando visita"


# --- hours ----------------------------------------------------------------------------------------------------------


def occurrences(zone: str, day: date) -> dict[int, int]:
    """The hours of a day that did not occur exactly once."""
    found = Oracle([], [{"account_id": "acme", "timezone": zone}]).metrics("acme", day, day)["heatmap_occurrences"]
    [cells] = [cells for cells in found.values() if any(cells)]
    return {hour: count for hour, count in enumerate(cells) if count != 1}


def test_an_hour_the_clock_skipped_did_not_occur_and_one_it_repeated_occurred_twice() -> None:
    assert occurrences("Europe/Madrid", date(2025, 3, 29)) == {}
    assert occurrences("Europe/Madrid", date(2025, 3, 30)) == {2: 0}
    assert occurrences("Europe/Madrid", date(2025, 10, 26)) == {2: 2}
    assert occurrences("America/Havana", date(2025, 3, 9)) == {0: 0}
    assert occurrences("America/Havana", date(2025, 11, 2)) == {0: 2}
    assert occurrences("Australia/Lord_Howe", date(2025, 4, 6)) == {1: 2}  # the half hour after half past, again


def worked_minutes(start: str, end: str, *versions: Mapping[str, Any], zone: str = "UTC") -> float:
    return Schedule(versions, zone).worked_us(instant_us(start), instant_us(end)) / SECOND_US / 60


def test_working_hours_run_across_noon_midnight_and_holidays() -> None:
    split_day = {"weekly": {"mon": [["09:00", "13:00"], ["14:00", "18:00"]]}}
    assert worked_minutes("2026-03-02T12:30:00Z", "2026-03-02T14:15:00Z", split_day) == 45
    assert worked_minutes("2026-03-02T18:00:00Z", "2026-03-09T09:00:00Z", split_day) == 0
    night = {"weekly": {"mon": [["22:00", "06:00"]], "tue": [["22:00", "24:00"]]}, "holidays": ["2026-03-03"]}
    assert worked_minutes("2026-03-02T12:00:00Z", "2026-03-04T12:00:00Z", night) == 480
    special = {**night, "special_days": {"2026-03-03": [["05:00", "07:00"]]}}
    assert worked_minutes("2026-03-02T12:00:00Z", "2026-03-04T12:00:00Z", special) == 540  # the hour they share once
    whole = {"weekly": {"mon": [["00:00", "00:00"]]}}
    assert worked_minutes("2026-03-01T12:00:00Z", "2026-03-04T12:00:00Z", whole) == 1_440


def test_a_version_takes_over_at_its_own_midnight_with_the_shift_it_opened_the_evening_before() -> None:
    days = {"timezone": "UTC", "weekly": {"mon": [["20:00", "08:00"]], "tue": [["08:00", "09:00"]]}}
    nights = {"valid_from": "2026-03-03", "timezone": "Etc/GMT-1", "weekly": {"mon": [["21:00", "03:00"]]}}
    # The second takes over at 23:00Z on Monday: till then 20:00-23:00Z, from then on its own shift till 02:00Z.
    assert worked_minutes("2026-03-02T00:00:00Z", "2026-03-04T00:00:00Z", days, nights) == 360


def test_a_version_overtaken_before_its_own_midnight_is_never_in_force() -> None:
    always = {weekday: [["00:00", "24:00"]] for weekday in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
    first = {"timezone": "UTC", "weekly": always}
    west = {"valid_from": "2026-03-03", "timezone": "Etc/GMT+12", "weekly": always}  # from 12:00Z on the 3rd
    east = {"valid_from": "2026-03-04", "timezone": "Etc/GMT-14", "weekly": {}}  # from 10:00Z on the 3rd
    assert worked_minutes("2026-03-03T00:00:00Z", "2026-03-04T00:00:00Z", first, west, east) == 600


def test_shifts_across_a_clock_change_are_counted_in_real_time() -> None:
    early = {"weekly": {"sun": [["01:30", "03:30"]]}}
    assert worked_minutes("2025-03-29T12:00:00Z", "2025-03-30T12:00:00Z", early, zone="Europe/Madrid") == 60
    assert worked_minutes("2025-10-25T12:00:00Z", "2025-10-26T12:00:00Z", early, zone="Europe/Madrid") == 180
    inside = {"weekly": {"sun": [["02:15", "02:45"]]}}
    assert worked_minutes("2025-03-29T12:00:00Z", "2025-03-30T12:00:00Z", inside, zone="Europe/Madrid") == 0
    assert worked_minutes("2025-10-25T12:00:00Z", "2025-10-26T12:00:00Z", inside, zone="Europe/Madrid") == 90
    night = {"weekly": {"sat": [["22:00", "02:30"]]}}  # 20:00Z to the second 2:30, 01:30Z
    assert worked_minutes("2025-10-25T12:00:00Z", "2025-10-26T12:00:00Z", night, zone="Europe/Madrid") == 330
    from_midnight = {"weekly": {"sun": [["00:00", "02:00"]]}}  # Havana's clock skips from 0:00 to 1:00
    assert worked_minutes("2025-03-08T12:00:00Z", "2025-03-10T12:00:00Z", from_midnight, zone="America/Havana") == 60


def test_whose_hours_count_is_found_from_advisor_to_group_to_account() -> None:
    clock = Clock(
        {
            "schedules": {"own": [], "team": [], "house": []},
            "groups": {"sales": {"schedule": "team"}, "bare": {}},
            "advisors": {
                "ana": {"schedule": "own", "group_id": "sales"},
                "bo": {"group_id": "sales"},
                "cy": {"group_id": "bare"},
            },
            "default_schedule": "house",
        }
    )
    assert [clock.schedule_of(name) for name in ("ana", "bo", "cy", "stranger", None)] == [
        "own",
        "team",
        "house",
        "house",
        "house",
    ]
    assert Clock({}).worked_us("ana", 5, 12) == 7


# --- arrival --------------------------------------------------------------------------------------------------------


def test_only_a_conversation_event_further_behind_than_the_lateness_is_too_late() -> None:
    newest, edge, late = received("12:00"), received("11:00"), received("10:59")
    arrived = split([newest, edge, late, created("09:00"), {**newest, "contact_id": "other"}, edge])
    assert arrived.too_late == [late]
    assert arrived.repeats == [edge]
    assert [each["occurred_at"][11:16] for each in arrived.counted] == ["12:00", "11:00", "09:00", "12:00"]


def test_an_event_of_the_contact_has_the_longer_window_but_for_a_creation_that_is_awaited() -> None:
    newest = received("2026-04-10T12:00:00Z")
    moved, late = (event("contact.moved", f"2026-03-{day}T12:00:00Z", group_id="x") for day in (11, 10))
    assert split([newest, moved, late]).too_late == [late]
    assert split([newest, moved], contact_lateness_seconds=86_400).too_late == [moved]
    assert split([received("12:00"), event("contact.moved", "11:30", group_id="x")], 3_600, 0).too_late == []
    first, second = created("2025-01-01T12:00:00Z"), created("2025-01-01T11:00:00Z")
    assert split([newest, first, second]).too_late == [second]
    many = [received("2026-04-10T12:00:00Z", id=str(number)) for number in range(201)]
    assert split([*many[:200], first]).too_late == []
    assert split([*many, first]).too_late == [first]


def test_a_contact_event_makes_others_late_and_one_set_aside_does_not() -> None:
    moved = event("contact.moved", "12:00", group_id="sales")
    assert split([moved, received("10:30")]).too_late == [received("10:30")]
    assert split([moved, received("10:30")], lateness_seconds=7_200).too_late == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_timely_arrival_sets_nothing_aside_and_tells_the_same_facts(data: st.DataObject) -> None:
    history: History = data.draw(histories())
    log = data.draw(arrivals(history.events))
    arrived = split(log)
    assert arrived.too_late == []
    assert Oracle(arrived.counted, history.accounts).facts == Oracle(history.events, history.accounts).facts


def test_a_large_random_history_holds_together_in_any_arrival() -> None:
    history = random_history(seed=11, contacts=400)
    first, last = history.days()
    oracle = Oracle.of_log(random_arrival(history.events, seed=12), history.accounts)
    assert oracle.facts == Oracle(history.events, history.accounts).facts
    for account in history.accounts:
        found = oracle.metrics(account["account_id"], first, last)
        contacts = found["new_contacts"]
        kept = contacts["total"] - contacts["deleted"] - contacts["merged"]
        assert sum(row["new_contacts"] for row in found["origins"]) == kept
        assert sum(sum(cells) for cells in found["heatmap"].values()) == found["new_conversations"]["total"]
        assert sum(found["new_conversations"]["by_day"].values()) == found["new_conversations"]["total"]
        assert found["first_response"]["count"] > 0
