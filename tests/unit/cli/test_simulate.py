"""The simulated messaging service: valid, repeatable, in order, consistent, at its rate."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import msgspec
import pytest

from schemas.accounts import decode_settings, decode_settings_record
from schemas.events import (
    EVENT_TYPES,
    BaseEvent,
    ContactCreated,
    ContactMerged,
    ConversationClosed,
    ConversationStarted,
    ConversationTransferred,
    decode_event,
    decode_record,
    encode_event,
    type_name,
)
from streams.cli.main import main
from streams.simulation.accounts import HOUR_MS, OpeningHours, companies, encoded_settings, to_datetime, to_ms
from streams.simulation.contact import Timed
from streams.simulation.stream import EVENTS_PER_LIVE_CONTACT, Plan, simulate

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)
PLAN = Plan(now=NOW, days=14, accounts=2, contacts_per_day=40, live_rate=0.0, seed=7)
LIVE = Plan(now=NOW, days=1, accounts=2, contacts_per_day=10, live_rate=20.0, seed=7)


def until(plan: Plan, end: datetime) -> list[Timed]:
    return list(takewhile(lambda timed: timed[0] <= to_ms(end), simulate(plan)))


@pytest.fixture(scope="module")
def history() -> list[Timed]:
    return until(PLAN, NOW)


def test_every_event_is_valid_on_its_topic_under_its_key(history: list[Timed]) -> None:
    for at_ms, event in history:
        assert decode_record(event.topic, event.contact_id.encode(), encode_event(event), at_ms) == event


def test_every_type_of_event_occurs(history: list[Timed]) -> None:
    assert {type(event) for _, event in history} == set(EVENT_TYPES)


def test_events_come_in_the_order_of_their_instant_and_say_it(history: list[Timed]) -> None:
    instants = [at_ms for at_ms, _ in history]
    assert instants == sorted(instants)
    assert all(to_datetime(at_ms) == event.occurred_at for at_ms, event in history)


def test_events_of_a_contact_come_in_the_order_of_the_contract(history: list[Timed]) -> None:
    last: dict[str, tuple[datetime, int]] = {}
    for _, event in history:
        here = (event.occurred_at, event.rank)
        assert last.get(event.contact_id, here) <= here
        last[event.contact_id] = here


def test_no_id_occurs_twice(history: list[Timed]) -> None:
    assert max(Counter(event.id for _, event in history).values()) == 1


def test_the_history_covers_the_days_asked_for_and_ends_now(history: list[Timed]) -> None:
    first, last = history[0][1].occurred_at, history[-1][1].occurred_at
    assert NOW - timedelta(days=14) <= first < NOW - timedelta(days=13)
    assert NOW - timedelta(hours=6) < last <= NOW


def test_equal_plans_give_equal_events_and_another_seed_gives_others(history: list[Timed]) -> None:
    assert until(PLAN, NOW) == history
    assert until(msgspec.structs.replace(PLAN, seed=8), NOW) != history


def test_a_later_run_brings_other_contacts() -> None:
    later = msgspec.structs.replace(PLAN, now=NOW + timedelta(hours=1), days=1)
    one = {event.contact_id for _, event in until(msgspec.structs.replace(PLAN, days=1), NOW)}
    assert one.isdisjoint(event.contact_id for _, event in until(later, later.now))


def test_contacts_appear_before_anything_happens_to_them(history: list[Timed]) -> None:
    known: set[str] = set()
    for _, event in history:
        if isinstance(event, ContactCreated):
            known.add(event.contact_id)
        assert event.contact_id in known
        if isinstance(event, ContactMerged):
            assert event.into in known - {event.contact_id}


def test_nothing_is_written_into_a_conversation_that_is_not_open(history: list[Timed]) -> None:
    snoozes = {company.account_id: company.settings.snooze_reasons for company in companies(2, 2026)}
    opened: set[str] = set()
    closed: set[str] = set()
    for _, event in history:
        conversation_id = getattr(event, "conversation_id", None)
        if isinstance(event, ConversationStarted):
            assert event.conversation_id not in opened
            opened.add(event.conversation_id)
        elif conversation_id is not None:
            assert conversation_id in opened - closed
        if isinstance(event, ConversationTransferred):
            closed.add(event.conversation_id)
            if event.to_conversation_id is not None:
                opened.add(event.to_conversation_id)
        if isinstance(event, ConversationClosed) and event.reason not in snoozes[event.account_id]:
            closed.add(event.conversation_id)


def test_advisors_and_groups_are_those_of_the_settings(history: list[Timed]) -> None:
    settings = {company.account_id: company.settings for company in companies(2, 2026)}
    for _, event in history:
        document = json.loads(encode_event(event))
        advisors, groups = settings[event.account_id].advisors, settings[event.account_id].groups
        named = {document.get("advisor_id"), document.get("to_advisor_id"), document.get("author", {}).get("id")}
        assert named - {None} <= set(advisors)
        assert {document.get("group_id"), document.get("to_group_id")} - {None} <= set(groups)


def test_contacts_come_by_day_rather_than_by_night_and_less_on_sundays(history: list[Timed]) -> None:
    madrid = OpeningHours(companies(2, 2026)[1].settings, None).zone
    created = [
        event.occurred_at.astimezone(madrid)
        for _, event in history
        if isinstance(event, ContactCreated) and event.account_id == "sonrisa"
    ]
    by_day = sum(9 <= moment.hour < 21 for moment in created)
    by_night = sum(moment.hour < 6 for moment in created)
    assert by_day > 10 * by_night
    weekdays = Counter(moment.weekday() for moment in created)
    assert weekdays[0] > weekdays[6]


def test_the_number_of_contacts_is_about_what_was_asked_for(history: list[Timed]) -> None:
    created = [event for _, event in history if isinstance(event, ContactCreated) and event.account_id == "andes"]
    # 40 a day, less at week-ends: the weights of a week add up to 6.2 days.
    assert 0.85 < len(created) / (14 * 40 * 6.2 / 7) < 1.15


def test_live_traffic_has_its_rate_from_the_first_minute_on() -> None:
    minutes = Counter(
        (at_ms - LIVE.now_ms) // 60_000 for at_ms, _ in until(LIVE, NOW + timedelta(minutes=10)) if at_ms > LIVE.now_ms
    )
    assert set(minutes) >= set(range(10))
    assert all(0.6 < minutes[minute] / (60 * LIVE.live_rate) < 1.4 for minute in range(10))


def test_the_events_of_a_live_contact_are_as_many_as_the_rate_assumes() -> None:
    events = [event for _, event in until(LIVE, NOW + timedelta(minutes=20)) if event.occurred_at > NOW]
    contacts = sum(isinstance(event, ContactCreated) for event in events)
    per_contact = len(events) / contacts
    assert per_contact == pytest.approx(EVENTS_PER_LIVE_CONTACT, rel=0.15)


def test_live_traffic_needs_no_history() -> None:
    plan = msgspec.structs.replace(LIVE, days=0, contacts_per_day=0)
    assert len(until(plan, NOW + timedelta(minutes=1))) > 0


def test_stories_of_the_history_go_on_in_live_traffic() -> None:
    created = {event.contact_id for _, event in until(LIVE, NOW) if isinstance(event, ContactCreated)}
    later = {event.contact_id for at_ms, event in until(LIVE, NOW + timedelta(minutes=5)) if at_ms > LIVE.now_ms}
    assert created & later


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_the_settings_of_every_account_are_valid_under_its_key() -> None:
    for company in companies(5, 2026):
        settings = decode_settings_record(company.account_id.encode(), encoded_settings(company))
        assert settings == company.settings


def test_accounts_differ_and_the_first_two_are_in_santiago_and_madrid() -> None:
    found = companies(5, 2026)
    assert len({company.account_id for company in found}) == 5
    assert [company.settings.timezone for company in found[:2]] == ["America/Santiago", "Europe/Madrid"]


def test_every_advisor_has_a_personality() -> None:
    for company in companies(2, 2026):
        assert set(company.personalities) == set(company.settings.advisors)


def test_opening_hours_know_lunch_the_week_end_and_holidays() -> None:
    settings = decode_settings(
        b'{"account_id": "a", "timezone": "Europe/Madrid", "schedules": {"office": [{'
        b'"weekly": {"mon": [["09:00", "14:00"], ["16:00", "20:00"]], "tue": [["09:00", "14:00"]]},'
        b'"holidays": ["2026-11-24"]}]}}'
    )
    hours = OpeningHours(settings, "office")

    def opens(text: str) -> datetime:
        return to_datetime(hours.next_open_ms(to_ms(datetime.fromisoformat(text))))

    assert opens("2026-11-23T10:30:00+01:00") == datetime.fromisoformat("2026-11-23T10:30:00+01:00")
    assert opens("2026-11-23T14:00:00+01:00") == datetime.fromisoformat("2026-11-23T16:00:00+01:00")
    assert opens("2026-11-21T12:00:00+01:00") == datetime.fromisoformat("2026-11-23T09:00:00+01:00")
    # Tuesday the 24th is a holiday: the next opening is Monday the 30th.
    assert opens("2026-11-23T20:00:00+01:00") == datetime.fromisoformat("2026-11-30T09:00:00+01:00")


def test_without_schedule_it_is_always_open() -> None:
    hours = OpeningHours(decode_settings(b'{"account_id": "a"}'), None)
    for hour in range(24 * 7):
        at_ms = PLAN.now_ms + hour * HOUR_MS
        assert hours.next_open_ms(at_ms) == at_ms


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_hold_the_history_and_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "events.jsonl"
    arguments = ["--days", "1", "--contacts-per-day", "5", "--seed", "3", "--now", NOW.isoformat(), "--out", str(out)]
    assert main(["simulate", *arguments]) == 0
    events: list[BaseEvent] = [decode_event(line) for line in out.read_bytes().splitlines()]
    assert events == [
        event for _, event in until(msgspec.structs.replace(PLAN, days=1, contacts_per_day=5, seed=3), NOW)
    ]
    accounts = (tmp_path / "made" / "events.accounts.jsonl").read_bytes().splitlines()
    assert [decode_settings(line).account_id for line in accounts] == ["andes", "sonrisa"]
    assert type_name(events[0]) == "contact.created"
    assert capsys.readouterr().out == ""
