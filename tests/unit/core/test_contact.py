"""The rules of the report, one by one, on short literal histories."""

from datetime import date

import pytest

from aggregates import facts
from tests.support.comparison import Plain
from tests.support.events import (
    MONDAY,
    TUESDAY,
    Told,
    absorbed,
    answered,
    bot,
    called,
    closed,
    created,
    deleted,
    event,
    handed_off,
    merged,
    moved,
    noted,
    received,
    restored,
    resumed,
    sent,
    started,
    transferred,
)


def minutes(*values: float) -> object:
    """Durations in minutes."""
    return pytest.approx(list(values), abs=1e-9)


# --- the wait and the response ----------------------------------------------------------------------------------------


def test_a_wait_runs_from_the_first_unanswered_message_to_the_answer() -> None:
    told = Told(created("09:00", by="import"), received("10:00"), received("10:05"), answered("10:12"))
    assert told.responses() == minutes(12)
    assert told.dimensions(facts.RESPONSE) == [("Web", "sales", "whatsapp", "ana")]
    assert told.waiting() == []


def test_several_answers_in_a_row_are_one_response() -> None:
    told = Told(created("09:00"), answered("09:10"), answered("09:11"), answered("09:30"))
    assert told.responses() == minutes(10)
    assert told.first_responses() == minutes(10)


def test_an_advisor_who_writes_when_nobody_waits_is_an_interaction_and_no_response() -> None:
    told = Told(created("09:00", by="advisor"), answered("10:00"))
    assert (told.responses(), told.first_responses()) == ([], [])
    assert told.dimensions(facts.TOUCH) == [("Web", "sales", "whatsapp", "ana")]


def test_a_contact_that_creates_itself_waits_from_its_creation() -> None:
    assert Told(created("09:00")).waiting() == [("sales", "webchat", False, "09:00")]
    told = Told(created("09:00"), received("09:20"), answered("10:00"))
    assert (told.responses(), told.first_responses()) == (minutes(60), minutes(60))


@pytest.mark.parametrize("by", ["advisor", "import"])
def test_a_contact_made_by_others_waits_from_its_first_message(by: str) -> None:
    assert Told(created("09:00", by=by)).waiting() == []
    told = Told(created("09:00", by=by), received("09:20"), answered("10:00"))
    assert (told.responses(), told.first_responses()) == (minutes(40), minutes(40))


def test_a_contact_reached_before_its_creation_does_not_wait_at_it() -> None:
    assert Told(answered("08:00"), created("09:00")).waiting() == []


def test_a_wait_is_the_contacts_whatever_the_conversation() -> None:
    told = Told(created("09:00", by="import"), received("10:00", "v1"), answered("10:07", conversation="v2"))
    assert told.responses() == minutes(7)


def test_waits_count_the_seconds_in_the_answering_advisors_hours_beside_wall_clock_ones() -> None:
    weekly = {"mon": [["09:00", "18:00"]]}
    told = Told(
        created("08:00"),
        answered("09:30"),
        schedules={"office": [{"weekly": weekly}]},
        default_schedule="office",
    )
    assert (told.responses(), told.business_responses()) == (minutes(90), minutes(30))


def test_an_answer_wholly_outside_hours_takes_no_business_time_and_counts() -> None:
    weekly = {"tue": [["09:00", "18:00"]]}
    told = Told(created("08:00"), answered("09:00"), schedules={"o": [{"weekly": weekly}]}, default_schedule="o")
    assert told.business_responses() == [0.0]
    response = told.metrics()["response"]
    assert (response["count"], response["without_schedule"]) == (1, 0)
    assert response["business"] == {"median": 0.0, "p90": 0.0}


def test_without_a_schedule_business_is_elapsed_and_flagged() -> None:
    response = Told(created("09:00"), answered("09:10")).metrics()["response"]
    assert response["business"] == response["elapsed"]
    assert response["without_schedule"] == 1


# --- bots and hand-offs -----------------------------------------------------------------------------------------------


def test_a_bots_message_clears_the_wait() -> None:
    told = Told(created("09:00"), received("09:05"), bot("09:06"))
    assert told.waiting() == []
    assert told.responses() == []


def test_an_answer_after_a_bot_cleared_the_wait_is_a_response_with_its_first_response_time() -> None:
    told = Told(created("10:00"), bot("10:05"), answered("10:12"))
    assert told.first_responses() == minutes(7)
    assert told.responses() == minutes(7)


def test_a_message_begins_a_wait_though_a_bot_is_in_charge() -> None:
    told = Told(created("09:00"), bot("09:01"), received("09:10"), answered("09:40"))
    assert (told.responses(), told.first_responses()) == (minutes(30), minutes(30))


def test_after_a_bots_message_only_the_next_wait_moves_the_first_responses_start() -> None:
    told = Told(
        created("09:00"), bot("09:01"), received("09:10"), closed("09:15"), received("09:20"), answered("09:40")
    )
    assert told.first_responses() == minutes(30)
    assert told.responses() == minutes(20)


def test_a_bots_message_after_the_first_answer_leaves_no_wait_and_no_response() -> None:
    told = Told(created("09:00"), answered("09:10"), received("09:20"), bot("09:21"), answered("09:30"))
    assert told.responses() == minutes(10)


def test_a_hand_off_by_a_bot_in_charge_starts_the_wait_in_place_of_any_that_stood() -> None:
    told = Told(created("09:00"), bot("09:01"), received("09:05"), handed_off("09:10"), answered("09:30"))
    assert (told.responses(), told.first_responses()) == (minutes(20), minutes(20))
    waiting = Told(created("09:00"), bot("09:01"), received("09:05"), handed_off("09:10")).waiting()
    assert waiting == [("sales", "whatsapp", False, "09:10")]


def test_a_hand_off_without_a_bot_in_charge_does_nothing() -> None:
    told = Told(created("09:00"), received("09:05"), handed_off("09:10"), answered("09:30"))
    assert (told.responses(), told.first_responses()) == (minutes(30), minutes(30))
    assert Told(created("09:00", by="import"), handed_off("09:10")).waiting() == []


def test_only_one_hand_off_ends_a_bots_charge() -> None:
    told = Told(created("09:00"), bot("09:01"), handed_off("09:10"), handed_off("09:20"), answered("09:40"))
    assert told.responses() == minutes(30)


def test_an_effective_contact_ends_the_bots_charge() -> None:
    told = Told(created("09:00"), bot("09:01"), answered("09:10"), handed_off("09:20"), answered("09:50"))
    assert told.responses() == minutes(9)


def test_a_conversation_started_by_a_bot_puts_it_in_charge_and_clears_nothing() -> None:
    beginning = (created("09:00"), started("09:05", "bot"))
    assert Told(*beginning).waiting() == [("sales", "webchat", False, "09:00")]
    told = Told(*beginning, handed_off("09:10"), answered("09:30"))
    assert (told.responses(), told.first_responses()) == (minutes(20), minutes(20))


def test_a_bots_announcement_of_a_conversation_already_started_puts_it_in_charge_too() -> None:
    told = Told(created("09:00"), received("09:01"), started("09:05", "bot"), handed_off("09:10"), answered("09:30"))
    assert told.responses() == minutes(20)
    assert told.conversations() == [("sales", "whatsapp", "contact", 9)]


@pytest.mark.parametrize("ending", [closed("09:10"), closed("09:10", "stranger")])
def test_a_close_ends_the_bots_charge_a_transfer_does_not(ending: Plain) -> None:
    told = Told(created("09:00"), bot("09:01"), ending, handed_off("09:20"), answered("09:30"))
    assert told.responses() == minutes(29)  # from the bot's message on: the hand-off did nothing
    told = Told(created("09:00"), bot("09:01"), transferred("09:10"), handed_off("09:20"), answered("09:30"))
    assert told.responses() == minutes(10)


def test_messages_of_the_system_neither_answer_nor_clear() -> None:
    told = Told(created("09:00"), sent("09:01", "system"), answered("09:30"))
    assert (told.responses(), told.first_responses()) == (minutes(30), minutes(30))
    assert len(told.facts(facts.TOUCH)) == 1


# --- the first response -----------------------------------------------------------------------------------------------


def test_a_first_response_is_filed_under_the_day_of_the_creation_a_response_under_its_own() -> None:
    told = Told(created("23:50"), answered("2026-03-03T00:10:00Z"))
    assert told.metrics()["first_response"]["count"] == 1
    assert told.metrics()["response"]["count"] == 0
    assert told.metrics(TUESDAY, TUESDAY)["first_response"]["count"] == 0
    assert told.metrics(TUESDAY, TUESDAY)["response"]["count"] == 1


def test_a_contact_made_by_an_import_and_reached_before_it_waits_has_no_first_response() -> None:
    told = Told(created("09:00", by="import"), answered("09:10"), received("09:20"), answered("09:50"))
    assert told.first_responses() == []
    assert told.responses() == minutes(30)


def test_a_bots_message_sets_no_first_response_for_a_contact_made_by_an_import() -> None:
    told = Told(created("09:00", by="import"), bot("09:10"), answered("09:20"))
    assert (told.first_responses(), told.responses()) == ([], [])


def test_an_answer_stamped_before_the_creation_is_a_first_response_of_zero_seconds() -> None:
    told = Told(answered("08:50"), created("09:00"))
    assert told.first_responses() == [0.0]
    assert told.responses() == [0.0]  # no wait stood


def test_an_answer_before_the_creation_to_a_wait_before_it_answers_that_wait() -> None:
    told = Told(received("08:40"), answered("08:50"), created("09:00"))
    assert told.first_responses() == [0.0]
    assert told.responses() == minutes(10)


@pytest.mark.parametrize(("events", "first"), [((), []), ((received("08:40"),), [0.0])])
def test_an_answer_before_an_imports_creation_needs_a_wait_before_it(
    events: tuple[Plain, ...], first: list[float]
) -> None:
    assert Told(*events, answered("08:50"), created("09:00", by="import")).first_responses() == first


@pytest.mark.parametrize("earlier", [received("08:40"), bot("08:40")])
def test_what_was_stamped_before_the_creation_counts_as_being_at_it(earlier: Plain) -> None:
    told = Told(earlier, created("09:00"), answered("09:10"))
    assert told.first_responses() == minutes(10)


def test_a_wait_from_before_the_creation_keeps_its_own_start() -> None:
    told = Told(received("08:40"), created("09:00"), answered("09:10"))
    assert told.responses() == minutes(30)


def test_a_contact_never_created_has_responses_and_no_first_response() -> None:
    told = Told(received("09:00"), answered("09:10"))
    assert told.first_responses() == []
    assert told.responses() == minutes(10)
    assert told.dimensions(facts.RESPONSE) == [(None, None, "whatsapp", "ana")]


def test_group_and_channel_of_a_first_response_are_those_of_the_answers_moment() -> None:
    told = Told(created("09:00"), moved("09:05", "nights"), answered("09:10", "bo", channel="email"))
    assert told.dimensions(facts.FIRST_RESPONSE) == [("Web", "nights", "email", "bo")]


# --- effective contacts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["whatsapp", "messenger", "email", "sms"])
def test_an_advisors_message_on_these_channels_is_an_effective_contact(channel: str) -> None:
    told = Told(created("09:00"), answered("09:10", channel=channel))
    assert told.responses() == minutes(10)
    assert told.facts(facts.UNCOUNTED) == []


def test_an_advisors_message_on_another_channel_is_counted_apart_and_answers_nothing() -> None:
    told = Told(created("09:00"), answered("09:10", channel="instagram"))
    assert told.responses() == []
    assert told.waiting() == [("sales", "webchat", False, "09:00")]
    assert told.dimensions(facts.UNCOUNTED) == [("Web", "sales", "instagram", "ana")]
    assert told.metrics()["uncounted_advisor_messages"] == 1
    assert told.metrics(advisor=["bo"])["uncounted_advisor_messages"] == 0


def test_the_effective_channels_are_a_setting() -> None:
    told = Told(
        created("09:00"), answered("09:10"), answered("09:20", channel="webchat"), effective_channels=["webchat"]
    )
    assert told.responses() == minutes(20)
    assert told.dimensions(facts.UNCOUNTED) == [("Web", "sales", "whatsapp", "ana")]


def test_a_note_reaches_nobody() -> None:
    told = Told(created("09:00"), noted("09:10"))
    assert told.facts(facts.TOUCH) == []
    assert told.waiting() == [("sales", "webchat", False, "09:00")]


@pytest.mark.parametrize(
    ("direction", "outcome", "advisor", "answers"),
    [
        ("outbound", "accepted", "ana", True),
        ("outbound", "rejected", "ana", True),
        ("outbound", "missed", "ana", False),
        ("inbound", "accepted", "ana", True),
        ("inbound", "rejected", "ana", False),
        ("inbound", "missed", None, False),
    ],
)
def test_which_calls_are_effective_contacts(direction: str, outcome: str, advisor: str | None, answers: bool) -> None:
    told = Told(created("09:00"), called("09:10", direction, outcome, advisor=advisor))
    assert told.responses() == (minutes(10) if answers else [])
    assert bool(told.facts(facts.TOUCH)) is answers
    assert told.facts(facts.UNCOUNTED) == []


@pytest.mark.parametrize(
    ("direction", "outcome", "waits"),
    [
        ("inbound", "missed", True),
        ("inbound", "rejected", True),
        ("inbound", "accepted", False),
        ("outbound", "missed", False),
    ],
)
def test_only_an_inbound_call_not_accepted_begins_a_wait(direction: str, outcome: str, waits: bool) -> None:
    told = Told(created("09:00", by="import"), called("09:10", direction, outcome))
    assert told.waiting() == ([("sales", "call", False, "09:10")] if waits else [])


@pytest.mark.parametrize(("direction", "opener"), [("inbound", "contact"), ("outbound", "advisor")])
def test_a_call_starts_its_conversation_on_channel_call(direction: str, opener: str) -> None:
    told = Told(called("09:10", direction, "missed"))
    assert told.conversations() == [(None, "call", opener, 9)]
    assert told.facts(facts.ACTION) != []


# --- conversations ----------------------------------------------------------------------------------------------------


def test_a_conversation_starts_once_with_its_earliest_event() -> None:
    told = Told(received("09:59", channel="email"), started("10:00", "advisor"), answered("11:00"))
    assert told.conversations() == [(None, "email", "contact", 9)]


@pytest.mark.parametrize("author", ["bot", "system"])
def test_a_message_opens_a_conversation_in_its_authors_name(author: str) -> None:
    assert Told(sent("09:00", author)).conversations() == [(None, "whatsapp", author, 9)]


@pytest.mark.parametrize(
    "other",
    [
        noted("09:00"),
        handed_off("09:00"),
        transferred("09:00"),
        closed("09:00"),
        closed("09:00", reason="esperando visita"),
    ],
)
def test_a_note_hand_off_snooze_close_or_transfer_starts_no_conversation(other: Plain) -> None:
    assert Told(other).conversations() == []


@pytest.mark.parametrize(("ending", "is_transfer"), [(closed("09:00"), False), (transferred("09:00"), True)])
def test_the_end_of_an_unknown_conversation_counts_on_channel_unknown_and_spends_its_id(
    ending: Plain, is_transfer: bool
) -> None:
    told = Told(created("08:00"), ending, received("09:30"), closed("10:00"))
    assert told.conversations() == []
    assert told.closures() == [("sales", "unknown", "ana" if is_transfer else None, is_transfer)]


def test_a_conversation_closes_once() -> None:
    told = Told(received("09:00"), closed("09:10", advisor_id="ana"), closed("09:20"), transferred("09:30"))
    assert told.closures() == [(None, "whatsapp", "ana", False)]


def test_a_second_close_drops_the_wait_too() -> None:
    told = Told(received("09:00"), closed("09:10"), received("09:20"), closed("09:30"), answered("09:40"))
    assert told.waiting() == []
    assert told.responses() == []
    assert len(told.conversations()) == 1


def test_a_transfer_closes_under_the_old_group_moves_and_starts_under_the_new_one_on_the_same_channel() -> None:
    told = Told(
        created("08:00"),
        received("09:00", channel="email"),
        transferred("10:00", to_group_id="nights", to_conversation_id="v2"),
    )
    assert told.closures() == [("sales", "email", "ana", True)]
    assert told.conversations() == [("sales", "email", "contact", 9), ("nights", "email", "transfer", 10)]
    assert told.waiting() == [("nights", "webchat", False, "08:00")]  # a transfer keeps the wait


def test_a_transfer_of_a_closed_conversation_still_moves_and_starts() -> None:
    told = Told(
        created("08:00"),
        received("09:00"),
        closed("09:30"),
        transferred("10:00", to_group_id="nights", to_conversation_id="v2"),
    )
    assert told.closures() == [("sales", "whatsapp", None, False)]
    assert told.conversations() == [("sales", "whatsapp", "contact", 9), ("nights", "whatsapp", "transfer", 10)]


def test_a_transfer_to_its_own_id_starts_nothing() -> None:
    told = Told(received("09:00"), transferred("10:00", to_conversation_id="v1"), received("10:30"))
    assert told.conversations() == [(None, "whatsapp", "contact", 9)]


def test_a_transfer_of_an_unknown_conversation_to_its_own_id_starts_nothing() -> None:
    assert Told(transferred("10:00", to_conversation_id="v1")).conversations() == []


@pytest.mark.parametrize("before", [received("09:10", "v2"), closed("09:10", "v2")])
def test_a_transfer_to_a_conversation_started_or_closed_before_starts_nothing(before: Plain) -> None:
    told = Told(received("09:00"), before, transferred("10:00", to_conversation_id="v2"))
    assert "transfer" not in {opener for _, _, opener, _ in told.conversations()}


def test_a_transfer_of_an_unknown_conversation_starts_the_next_on_channel_unknown() -> None:
    told = Told(transferred("10:00", to_conversation_id="v2"), noted("10:05", "v2"))
    assert told.conversations() == [(None, "unknown", "transfer", 10)]


# --- snoozes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["Esperando visita", "esperando recordatorio", " ESPERÁNDO\u00a0 visita "])
def test_a_snooze_closes_nothing_and_leaves_the_wait_running(reason: str) -> None:
    told = Told(created("09:00"), received("09:01"), closed("09:10", reason=reason))
    assert told.closures() == []
    assert told.waiting() == [("sales", "webchat", True, "09:00")]
    assert Told(
        created("09:00"), received("09:01"), closed("09:10", reason=reason), answered("09:30")
    ).responses() == minutes(30)


def test_a_reason_that_only_resembles_a_snooze_closes() -> None:
    told = Told(received("09:00"), closed("09:10", reason="Esperando visita."))
    assert told.closures() == [(None, "whatsapp", None, False)]
    assert told.waiting() == []


@pytest.mark.parametrize(
    ("then", "snoozed"),
    [
        (received("09:20"), False),
        (called("09:20", "inbound", "missed"), False),
        (called("09:20", "outbound", "missed"), False),
        (handed_off("09:20"), False),
        (transferred("09:20"), False),
        (answered("09:20", channel="telegram"), False),
        (sent("09:20", "system"), True),
        (noted("09:20"), True),
        (started("09:20", "contact", "v2"), True),
        (moved("09:20", "sales"), True),
    ],
)
def test_what_goes_on_with_the_contact_ends_the_snooze_and_not_the_wait(then: Plain, snoozed: bool) -> None:
    told = Told(created("09:00"), received("09:01"), closed("09:10", reason="Esperando visita"), then)
    assert told.waiting() == [("sales", "webchat", snoozed, "09:00")]


def test_a_bots_message_ends_the_snooze() -> None:
    told = Told(created("09:00"), closed("09:10", reason="Esperando visita"), bot("09:20"), received("09:30"))
    assert told.waiting() == [("sales", "whatsapp", False, "09:30")]


def test_a_close_ends_the_snooze() -> None:
    told = Told(closed("08:00", reason="Esperando visita"), closed("08:10"), created("09:00"))
    assert told.waiting() == [("sales", "webchat", False, "09:00")]
    told = Told(closed("08:00", reason="Esperando visita"), created("09:00"))
    assert told.waiting() == [("sales", "webchat", True, "09:00")]


@pytest.mark.parametrize("conversation", ["v1", "v2"])
def test_a_resumed_conversation_ends_the_snooze_and_nothing_else(conversation: str) -> None:
    told = Told(
        created("09:00"), closed("09:10", reason="Esperando visita"), resumed("2026-03-03T09:20:00Z", conversation)
    )
    assert told.waiting() == [("sales", "webchat", False, "09:00")]
    assert told.conversations() == []
    assert told.metrics(TUESDAY, TUESDAY)["new_conversations"]["active_contacts"] == 0


def test_a_conversation_resumed_at_the_instant_of_its_snooze_comes_after_it() -> None:
    snooze, wakes = closed("09:10", reason="Esperando visita"), resumed("09:10")
    assert Told(created("09:00"), wakes, snooze).waiting() == [("sales", "webchat", False, "09:00")]


def test_the_snooze_reasons_are_a_setting() -> None:
    account = {"snooze_reasons": ["Llamar luego"]}
    told = Told(received("09:00"), closed("09:10", reason="Esperando visita"), **account)
    assert len(told.closures()) == 1
    told = Told(received("09:00"), closed("09:10", reason="LLAMAR   luego"), **account)
    assert told.closures() == []


def test_a_snooze_keeps_the_bot_in_charge() -> None:
    told = Told(
        created("09:00"),
        bot("09:01"),
        closed("09:05", reason="Esperando visita"),
        handed_off("09:10"),
        answered("09:30"),
    )
    assert told.responses() == minutes(20)


# --- merges -----------------------------------------------------------------------------------------------------------


def one(conversation: str = "v1", channel: str = "whatsapp") -> list[dict[str, str]]:
    return [{"id": conversation, "channel": channel}]


def waited(clock: str, since: str, **fields: object) -> Plain:
    return absorbed(clock, waiting_since=f"2026-03-02T{since}:00Z", channel="whatsapp", **fields)


def test_a_surviving_contact_goes_on_waiting_since_the_other_did() -> None:
    told = Told(created("08:00", by="import"), waited("09:05", "09:00", open_conversations=one()), answered("09:10"))
    assert told.responses() == minutes(10)
    assert told.first_responses() == []  # its own first wait is still to come
    assert told.conversations() == []
    assert told.waiting() == []


def test_an_absorbed_conversation_has_its_channel_and_closes_once() -> None:
    told = Told(
        created("08:00"),
        absorbed("09:00", open_conversations=one(channel="sms")),
        noted("09:10"),
        closed("09:20"),
        closed("09:30"),
        received("09:40"),
    )
    assert told.closures() == [("sales", "sms", None, False)]
    assert told.conversations() == []
    assert ("Web", "sales", "sms", None) in told.dimensions(facts.ACTION)


def test_an_absorption_is_no_action() -> None:
    told = Told(created("08:00"), waited("2026-03-03T09:00:00Z", "09:00", open_conversations=one()))
    assert told.metrics(TUESDAY, TUESDAY)["new_conversations"]["active_contacts"] == 0


def test_what_is_known_here_is_not_absorbed() -> None:
    told = Told(received("08:00", channel="email"), absorbed("09:00", open_conversations=one()), closed("09:20"))
    assert told.closures() == [(None, "email", None, False)]
    told = Told(closed("08:00"), absorbed("09:00", open_conversations=one()), closed("09:20"))
    assert told.closures() == [(None, "unknown", None, False)]


@pytest.mark.parametrize(
    ("before", "since", "expected"),
    [
        ((), "08:30", (None, "whatsapp", False, "08:30")),
        ((received("08:40", channel="sms"),), "08:30", (None, "whatsapp", False, "08:30")),  # a later one stands
        ((received("08:20", channel="sms"),), "08:30", (None, "sms", False, "08:20")),  # an earlier one does
        ((received("08:30", channel="sms"),), "08:30", (None, "sms", False, "08:30")),
        ((answered("08:35"),), "08:30", (None, "whatsapp", False, "08:35")),  # nobody waits since before an answer
        ((answered("08:35"), received("08:36")), "08:30", (None, "whatsapp", False, "08:35")),
        ((received("08:00"), closed("08:10")), "08:30", (None, "whatsapp", False, "08:30")),
        ((), "09:30", (None, "whatsapp", False, "09:00")),  # nor since a time to come
    ],
)
def test_which_of_two_waits_stands(before: tuple[Plain, ...], since: str, expected: tuple[object, ...]) -> None:
    assert Told(*before, waited("09:00", since)).waiting() == [expected]


def test_without_a_wait_none_is_taken_over() -> None:
    told = Told(received("08:00"), answered("08:10"), absorbed("09:00", channel="sms", open_conversations=one()))
    assert told.waiting() == []


def test_an_absorbed_wait_moves_no_first_response() -> None:
    told = Told(created("08:00"), waited("08:30", "07:30"), answered("08:40"))
    assert told.first_responses() == minutes(40)
    assert told.responses() == minutes(70)
    told = Told(created("08:00"), bot("08:10"), waited("08:30", "08:20"), received("08:35"), answered("08:40"))
    assert (told.first_responses(), told.responses()) == (minutes(30), minutes(20))


def test_an_absorbed_wait_is_filed_under_the_day_it_began() -> None:
    told = Told(absorbed("01:00", waiting_since="2026-03-01T23:30:00Z", channel="email"))
    assert told.rows("waiting") == []
    (row,) = told.rows("waiting", date(2026, 3, 1), date(2026, 3, 1))
    assert (row["at"], row["channel"]) == ("2026-03-01T23:30:00.000Z", "email")


def test_an_absorption_comes_behind_a_merge_of_the_same_instant_and_before_messages() -> None:
    told = Told(answered("09:00"), waited("09:00", "08:50"), merged("09:00"))
    assert told.responses() == minutes(10)


# --- groups, origins, deletions ---------------------------------------------------------------------------------------


def test_the_entry_group_holds_for_events_stamped_before_the_creation() -> None:
    told = Told(received("08:00"), created("09:00"))
    assert told.conversations() == [("sales", "whatsapp", "contact", 8)]
    assert told.waiting() == [("sales", "whatsapp", False, "08:00")]


def test_a_move_before_the_creation_applies_in_its_order() -> None:
    told = Told(received("07:00", "v1"), moved("08:00", "nights"), created("09:00"), received("10:00", "v2"))
    assert told.conversations() == [("sales", "whatsapp", "contact", 7), ("nights", "whatsapp", "contact", 10)]
    (contact,) = told.facts(facts.CONTACT)
    assert (contact.entry_group, contact.group, contact.flags) == ("sales", "nights", 0)


def test_a_move_takes_the_origins_row_and_the_waiting_along_but_no_past_answer() -> None:
    told = Told(created("09:00"), answered("09:10"), received("09:20"), moved("09:30", None))
    assert told.dimensions(facts.CONTACT) == [("Web", None, "webchat", None)]
    assert told.dimensions(facts.RESPONSE) == [("Web", "sales", "whatsapp", "ana")]
    assert told.waiting() == [(None, "whatsapp", False, "09:20")]
    assert told.metrics(group=["sales"])["new_contacts"]["total"] == 1
    assert told.metrics(group=["none"])["new_contacts"]["total"] == 0
    assert told.metrics(group=["sales"])["origins"] == []
    assert told.metrics(group=["none"])["origins"] == [
        {"origin": "Web", "new_contacts": 1, "engaged": 1, "closed": 0, "resolved": 0, "at_rest": 0}
    ]


def test_a_late_creation_corrects_origin_and_group_of_all_that_came_before() -> None:
    told = Told(received("09:10"), answered("09:20"), closed("09:30"), created("09:00"))
    assert told.conversations() == [("sales", "whatsapp", "contact", 9)]
    assert told.closures() == [("sales", "whatsapp", None, False)]
    assert told.dimensions(facts.RESPONSE) == [("Web", "sales", "whatsapp", "ana")]
    assert told.dimensions(facts.TOUCH) == [("Web", "sales", "whatsapp", "ana")]
    assert told.first_responses() == minutes(20)
    assert became(told) == {"engaged", "closed", "resolved", "at_rest"}


def test_a_second_creation_changes_nothing_and_is_no_action() -> None:
    second = created("2026-03-03T09:00:00Z", origin="Instagram", group_id="nights")
    told = Told(created("09:00"), second)
    assert told.dimensions(facts.CONTACT) == [("Web", "sales", "webchat", None)]
    assert told.metrics(TUESDAY, TUESDAY)["new_conversations"]["active_contacts"] == 0
    assert Told(created("09:00"), answered("09:10"), created("09:20")).waiting() == []


def became(told: Told) -> set[str]:
    """What became of the contact, as its origin counts it."""
    (row,) = told.rows("origins")
    return {name for name in ("engaged", "closed", "resolved", "at_rest") if row[name]}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), set()),
        ((answered("10:00"),), {"engaged"}),
        ((transferred("10:00"),), {"closed", "at_rest"}),
        ((transferred("10:00"), closed("11:00")), {"closed", "at_rest"}),  # it was closed already
        ((closed("10:00"),), {"closed", "resolved", "at_rest"}),
        ((transferred("10:00", to_conversation_id="v2"),), {"closed"}),
        ((transferred("10:00", to_conversation_id="v2"), closed("11:00", "v2")), {"closed", "resolved", "at_rest"}),
        ((closed("10:00", reason="Esperando visita"),), set()),
        ((closed("10:00"), received("11:00", "v2")), {"closed", "resolved"}),
        ((closed("10:00"), noted("11:00", "v2")), {"closed", "resolved", "at_rest"}),  # a note opens nothing
        ((closed("10:00", "stranger"),), {"closed", "resolved"}),  # v1 is open
        (
            (closed("10:00"), absorbed("11:00", open_conversations=[{"id": "v2", "channel": "sms"}])),
            {"closed", "resolved"},
        ),
    ],
)
def test_an_origin_tells_what_ever_happened_and_whether_all_is_closed_now(
    events: tuple[Plain, ...], expected: set[str]
) -> None:
    assert became(Told(created("09:00"), received("09:01"), *events)) == expected


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ((), 0),
        ((deleted("10:00"),), facts.DELETED),
        ((merged("10:00"),), facts.MERGED),
        ((deleted("10:00"), restored("11:00")), 0),
        ((restored("10:00"), deleted("11:00")), facts.DELETED),
        ((merged("10:00"), restored("11:00")), facts.MERGED),
        ((deleted("10:00"), merged("11:00")), facts.MERGED),
        ((merged("10:00"), deleted("11:00"), restored("12:00")), facts.MERGED),
        ((deleted("08:00"),), facts.DELETED),  # before the creation
    ],
)
def test_merged_wins_over_deleted_and_a_restoration_undoes_a_deletion_only(
    events: tuple[Plain, ...], status: int
) -> None:
    told = Told(created("09:00"), *events)
    gone = status != 0
    (contact,) = told.facts(facts.CONTACT)
    assert contact.flags & (facts.DELETED | facts.MERGED) == status
    assert bool(told.rows("origins")) is not gone
    (row,) = told.rows("new_contacts")
    assert (row["deleted"], row["merged"]) == (status == facts.DELETED, status == facts.MERGED)
    assert bool(told.waiting()) is not gone


def test_deletion_changes_no_other_number() -> None:
    history = (created("09:00"), received("09:01"), answered("09:10"), closed("09:20"))
    told, gone = Told(*history), Told(*history, deleted("10:00"))
    kinds = set(range(facts.WAITING + 1)) - {facts.CONTACT, facts.WAITING}
    assert [gone.facts(kind) for kind in kinds] == [told.facts(kind) for kind in kinds]
    assert told.facts(facts.CLOSED) != []


# --- interactions and active contacts ---------------------------------------------------------------------------------


def test_a_contact_reached_by_several_in_a_day_is_one_contact() -> None:
    told = Told(
        created("08:00"),
        answered("09:00", "ana"),
        answered("10:00", "bo", channel="email"),
        moved("10:30", "nights"),
        answered("11:00", "ana"),
        answered("12:00", "ana"),
    )
    assert told.dimensions(facts.TOUCH) == [
        ("Web", "sales", "whatsapp", "ana"),
        ("Web", "sales", "email", "bo"),
        ("Web", "nights", "whatsapp", "ana"),
    ]

    def counted(**filters: list[str]) -> tuple[int, int]:
        box = told.metrics(**filters)["interactions"]
        return box["contacts"], box["advisor_contacts"]

    assert counted() == (1, 2)
    assert counted(advisor=["ana"]) == (1, 1)
    assert counted(group=["sales"]) == (1, 2)
    assert counted(group=["nights"]) == (1, 1)
    assert counted(channel=["email"], group=["nights"]) == (0, 0)  # no single one matches both
    assert counted(advisor=["bo"], channel=["whatsapp", "email"], group=["sales", "nights"]) == (1, 1)
    assert counted(origin=["Instagram"]) == (0, 0)


def test_the_periods_interactions_are_the_sum_of_the_days() -> None:
    told = Told(created("08:00"), answered("09:00"), answered("2026-03-03T09:00:00Z"))
    box = told.metrics(MONDAY, TUESDAY)["interactions"]
    assert (box["contacts"], box["advisor_contacts"]) == (2, 2)
    assert box["by_day"] == {
        "2026-03-02": {"contacts": 1, "advisor_contacts": 1},
        "2026-03-03": {"contacts": 1, "advisor_contacts": 1},
    }


def test_an_active_contact_counts_once_over_any_range_and_filter() -> None:
    told = Told(
        created("08:00"),
        received("09:00", channel="email"),
        moved("2026-03-03T08:00:00Z", "nights"),
        received("2026-03-03T09:00:00Z", channel="email"),
        received("2026-03-03T10:00:00Z", "v2"),
    )

    def active(first: int, last: int, **filters: list[str]) -> int:
        report = told.metrics(date(2026, 3, first), date(2026, 3, last), **filters)
        found: int = report["new_conversations"]["active_contacts"]
        return found

    assert [active(2, 2), active(3, 3), active(2, 3), active(4, 9), active(1, 9)] == [1, 1, 1, 0, 1]
    assert [active(2, 3, channel=["email"]), active(2, 3, channel=["whatsapp"])] == [1, 1]
    assert [active(2, 2, channel=["whatsapp"]), active(2, 2, channel=["webchat"])] == [0, 1]
    assert [active(2, 3, group=["sales"]), active(3, 3, group=["sales"])] == [1, 0]
    assert active(2, 3, group=["nights"], channel=["webchat"]) == 0
    assert active(2, 3, group=["nights", "sales"], channel=["webchat", "email"], origin=["Web"]) == 1


@pytest.mark.parametrize(
    "silent", [moved("09:00", "x"), deleted("09:00"), restored("09:00"), merged("09:00"), resumed("09:00")]
)
def test_a_move_a_deletion_a_restoration_and_a_merge_are_no_actions(silent: Plain) -> None:
    assert Told(silent).facts(facts.ACTION) == []


def test_days_that_come_back_count_their_contacts_once() -> None:
    # A minute after midnight the clock in Saint John's went back to 23:01 of the day before.
    times = ("02:29", "02:30:30", "03:00", "04:00")  # 23:59 of the 6th, 00:00:30 of the 7th, 23:30 of the 6th, the 7th
    told = Told(
        *(answered(f"2010-11-07T{clock}{':00' * (len(clock) < 6)}Z") for clock in times), timezone="America/St_Johns"
    )
    for day in (date(2010, 11, 6), date(2010, 11, 7)):
        report = told.metrics(day, day)
        assert report["interactions"]["contacts"] == 1
        assert report["new_conversations"]["active_contacts"] == 1
        assert len(told.rows("interactions", day, day)) == len(told.rows("active_contacts", day, day)) == 1
    assert told.metrics(date(2010, 11, 6), date(2010, 11, 7))["new_conversations"]["active_contacts"] == 1
    (row,) = told.rows("active_contacts", date(2010, 11, 6), date(2010, 11, 7))
    assert row["actions_days"] == ["2010-11-06", "2010-11-07"]


@pytest.mark.parametrize("other", [noted("09:30"), handed_off("09:30"), transferred("09:30"), closed("09:30")])
def test_an_action_without_a_channel_is_on_its_conversations_or_on_unknown(other: Plain) -> None:
    assert Told(other).metrics(channel=["unknown"])["new_conversations"]["active_contacts"] == 1
    told = Told(received("2026-03-01T09:00:00Z", channel="email"), other)
    assert told.metrics(channel=["email"])["new_conversations"]["active_contacts"] == 1
    assert told.metrics(channel=["unknown"])["new_conversations"]["active_contacts"] == 0


def test_a_transfer_is_an_action_in_the_old_group() -> None:
    told = Told(created("2026-03-01T09:00:00Z"), transferred("09:00", to_group_id="nights"))
    assert told.metrics(group=["sales"])["new_conversations"]["active_contacts"] == 1
    assert told.metrics(group=["nights"])["new_conversations"]["active_contacts"] == 0


# --- the order of events ----------------------------------------------------------------------------------------------


def test_events_stamped_alike_go_by_sequence_then_type_then_id() -> None:
    by_type = Told(sent("09:00", "advisor", advisor="ana"), received("09:00"))  # the message comes first
    assert by_type.responses() == [0.0]
    by_sequence = Told(sent("09:00", "advisor", advisor="ana", sequence=-1), received("09:00"))
    assert by_sequence.responses() == []
    assert by_sequence.waiting() == [(None, "whatsapp", False, "09:00")]
    first, second = received("09:00", "v1", "email", id="a"), received("09:00", "v1", "sms", id="b")
    assert Told(second, first).conversations() == [(None, "email", "contact", 9)]


def test_fields_of_later_versions_and_texts_change_nothing() -> None:
    told = Told(event("message.received", "09:00", conversation_id="v1", channel="sms", text="hola", more={"a": [1]}))
    assert told.conversations() == [(None, "sms", "contact", 9)]


# --- what is kept of closing reasons and of many conversations ------------------------------------------------------


@pytest.mark.parametrize(("reason", "kept"), [("Vendido", "Vendido"), ("", ""), ("é" * 201, "é" * 200)])
def test_a_closing_reason_is_kept_as_sent_up_to_its_bound(reason: str, kept: str) -> None:
    told = Told(received("09:00"), closed("09:10", reason=reason), transferred("09:20", "v2"))
    assert [row["reason"] for row in told.rows("closed_conversations")] == [kept, None]


def test_many_closed_conversations_are_known_by_hashes_and_count_as_ever() -> None:
    talks = [
        event
        for n in range(50)
        for event in (received(f"09:{n:02}", f"v{n}", "email" if n % 2 else "sms"), closed(f"09:{n:02}:30", f"v{n}"))
    ]
    again = [received(f"10:{n:02}", f"v{n}") for n in range(50)] + [closed(f"11:{n:02}", f"v{n}") for n in range(50)]
    told = Told(*talks, *again, noted("12:00", "v1"), noted("12:01", "v2"))
    assert (len(told.conversations()), len(told.closures())) == (50, 50)
    history = told.replay.history("acme", "c")
    assert history is not None
    assert len(history.contact.spent) > 0
    assert len(history.contact.conversations) <= 34
    assert {channel for _, _, channel, _ in told.dimensions(facts.ACTION)} == {"email", "sms", "whatsapp"}
