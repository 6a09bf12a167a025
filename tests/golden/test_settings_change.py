"""What a change of settings affects, and from when: docs/use/report.md, "When settings change"."""

from datetime import date
from typing import Any

import orjson

from aggregates.facts import read_fact
from aggregates.filters import Filters
from aggregates.periods import period
from aggregates.report import metrics
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from tests.support.comparison import replayed, report_of
from tests.support.contacts import Contacts, decoded
from tests.support.contributions import rows_of

MONDAY = {"mon": [["09:00", "17:00"]]}
LONG_MONDAY = {"mon": [["08:00", "20:00"]]}
OFFICE = {"account_id": "acme", "schedules": {"office": [{"weekly": MONDAY}]}, "default_schedule": "office"}
DAY = (date(2026, 3, 2), date(2026, 3, 2))  # a Monday


def event(at: str, kind: str, contact: str = "c1", **fields: Any) -> dict[str, Any]:
    conversation = {} if kind.startswith("contact.") else {"conversation_id": f"{contact}-1"}
    return {
        "id": f"{kind}@{at}",
        "type": kind,
        "account_id": "acme",
        "contact_id": contact,
        "occurred_at": at,
        **conversation,
        **fields,
    }


def asks(at: str, contact: str = "c1") -> dict[str, Any]:
    return event(at, "message.received", contact, channel="whatsapp")


def answers(at: str, contact: str = "c1", channel: str = "whatsapp") -> dict[str, Any]:
    return event(at, "message.sent", contact, channel=channel, author={"kind": "advisor", "id": "ana"})


class Live:
    """What a worker does as settings change between events: one contact, its facts, its rules."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._contacts = Contacts({"acme": RulesBook(self._rules(settings))})

    @staticmethod
    def _rules(settings: dict[str, Any]) -> Rules:
        return Rules(decode_settings(orjson.dumps(settings)))

    def change(self, settings: dict[str, Any]) -> None:
        old = self._contacts.books["acme"]
        self._contacts.books["acme"] = RulesBook(self._rules(settings))
        self._contacts.books["acme"].add(old.current)

    def fold(self, *events: dict[str, Any]) -> "Live":
        for event in decoded(events):
            self._contacts.apply([event])
        self._contacts.check_totals()
        return self

    def response(self, first: date, last: date) -> dict[str, Any]:
        wanted = period(first, last)
        facts = [
            read_fact(day, field, value)
            for (_, day), found in self._contacts.facts().items()
            for field, value in found.items()
        ]
        calendar = self._contacts.books["acme"].current.calendar
        answer: dict[str, Any] = metrics(wanted, rows_of(facts, wanted), Filters(), calendar)["response"]
        return answer


def test_a_later_version_leaves_the_time_before_its_midnight_alone() -> None:
    longer = [{"weekly": MONDAY}, {"weekly": LONG_MONDAY, "valid_from": "2026-03-09"}]
    edited = {**OFFICE, "schedules": {"office": longer}}
    before_and_after = [
        asks("2026-03-02T16:00:00Z"),
        answers("2026-03-02T19:00:00Z"),
        asks("2026-03-09T16:00:00Z"),
        answers("2026-03-09T19:00:00Z"),
    ]
    replay = replayed(before_and_after, [edited])
    # Three hours of waiting on either Monday: one hour until 17:00, and all three until 20:00.
    first = report_of(replay, "acme", *DAY, {})["response"]
    second = report_of(replay, "acme", date(2026, 3, 9), date(2026, 3, 9), {})["response"]
    assert first["business"]["median"] == 3600
    assert second["business"]["median"] == 3 * 3600


def test_edited_hours_apply_to_answers_that_arrive_from_then_on() -> None:
    live = Live(OFFICE).fold(asks("2026-03-02T16:00:00Z"), answers("2026-03-02T19:00:00Z"))
    live.change({**OFFICE, "schedules": {"office": [{"weekly": LONG_MONDAY}]}})
    assert live.response(*DAY)["business"]["median"] == 3600
    live.fold(asks("2026-03-09T16:00:00Z"), answers("2026-03-09T19:00:00Z"))
    assert live.response(date(2026, 3, 9), date(2026, 3, 9))["business"]["median"] == 3 * 3600


def test_a_late_event_under_new_settings_takes_back_exactly_what_the_old_ones_gave() -> None:
    live = Live(OFFICE).fold(asks("2026-03-02T16:50:00Z"), answers("2026-03-02T17:30:00Z"))
    assert live.response(*DAY)["business"]["median"] == 600
    live.change({**OFFICE, "schedules": {"office": [{"weekly": LONG_MONDAY}]}})
    # The contact had written before: the wait grows to 16:35, and its answer keeps the hours it arrived under.
    live.fold(asks("2026-03-02T16:35:00Z"))
    found = live.response(*DAY)
    assert found["count"] == 1
    assert found["business"]["median"] == 1500
    assert found["elapsed"]["median"] == 3300


def test_a_new_time_zone_files_later_events_under_its_days() -> None:
    live = Live(OFFICE).fold(asks("2026-03-02T01:00:00Z"), answers("2026-03-02T02:00:00Z"))
    live.change({**OFFICE, "timezone": "America/Santiago"})
    live.fold(asks("2026-03-02T02:10:00Z"), answers("2026-03-02T02:30:00Z"))
    # 02:00 UTC was Monday under UTC; 02:30 UTC is still Sunday in Santiago.
    assert live.response(*DAY)["count"] == 1
    assert live.response(date(2026, 3, 1), date(2026, 3, 1))["count"] == 1


def test_a_longer_list_of_channels_counts_from_then_on() -> None:
    live = Live(OFFICE).fold(asks("2026-03-02T09:00:00Z"), answers("2026-03-02T09:10:00Z", channel="instagram"))
    assert live.response(*DAY)["count"] == 0
    live.change({**OFFICE, "effective_channels": ["whatsapp", "instagram"]})
    live.fold(answers("2026-03-02T09:20:00Z", channel="instagram"))
    assert live.response(*DAY)["count"] == 1


def test_a_rebuild_reads_everything_under_the_newest_settings() -> None:
    events = [asks("2026-03-02T09:00:00Z"), answers("2026-03-02T09:10:00Z", channel="instagram")]
    counted = []
    for settings in (OFFICE, {**OFFICE, "effective_channels": ["instagram"]}):
        replay = replayed(events, [settings])
        counted.append(report_of(replay, "acme", *DAY, {})["response"]["count"])
    assert counted == [0, 1]
