"""Whatever settings are accepted survive: encoding, storing, reading back, compiling, the fold, publishing.

Settings are drawn as any sender might write them, extremes among them. What `decode_settings` refuses is fine; what it
accepts must go all the way.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregates.day_block import decode_block, encode_block
from aggregates.document import SETTINGS_UNUSABLE, Notice, Publication, snapshot_document
from aggregates.facts import FIRST_RESPONSE
from aggregates.history import Outcome
from aggregates.rules import Rules, RulesBook
from aggregates.sealed import facts_in, seal
from aggregates.shard_days import contributions, waiting_of
from schemas.accounts import WEEKDAYS, decode_settings, encode_settings
from schemas.errors import InvalidSettings
from schemas.limits import (
    MAX_ADVISORS,
    MAX_DAY_INTERVALS,
    MAX_EFFECTIVE_CHANNELS,
    MAX_GROUPS,
    MAX_HOLIDAYS,
    MAX_SCHEDULE_VERSIONS,
    MAX_SCHEDULES,
    MAX_SNOOZE_REASONS,
    MAX_SPECIAL_DAYS,
    MAX_STORED_SETTINGS_BYTES,
    MAX_TARGET_SECONDS,
    MAX_VERSIONS,
)
from schemas.snapshot import Snapshot
from schemas.zones import zone_names
from streams.redis.usable_settings import compiled
from streams.snapshots.manifest import settings_digest
from tests.properties.test_history_laws import Contacts, decoded
from tests.properties.test_late_events_laws import Together

# Mostly what is accepted, at its extremes: what is refused goes no further. The refusals are tested by themselves.
numbers = st.sampled_from(
    [0, -0.0, 5e-324, 1e-9, 0.0005, 1, 60, 299.9995, 86_400, MAX_TARGET_SECONDS, MAX_TARGET_SECONDS + 1, 9.3e15, 1e306]
) | st.floats(0, MAX_TARGET_SECONDS)
ids = st.text(min_size=1, max_size=8) | st.sampled_from(
    ["}", "}{", "%7D", "a\nb", "\x00", "\u2028", "🙂" * 64, "é" * 256]
)
zones = st.sampled_from(sorted(zone_names()))
days = st.sampled_from(["0001-01-01", "1900-01-01", "2026-03-08", "2026-03-09", "9999-12-31"]) | st.dates().map(str)
openings = st.sampled_from(["00:00", "00:01", "02:30", "09:00", "12:00", "23:59"])
hours = st.lists(st.tuples(openings, openings | st.just("24:00")), max_size=3) | st.just(
    [(f"{hour:02}:00", f"{hour:02}:59") for hour in range(24)]
)
versions = st.fixed_dictionaries(
    {},
    optional={
        "weekly": st.dictionaries(st.sampled_from(WEEKDAYS), hours, max_size=7),
        "holidays": st.lists(days, max_size=3),
        "special_days": st.dictionaries(days, hours, max_size=2),
        "valid_from": days,
        "timezone": zones,
    },
)


@st.composite
def accounts(draw: st.DrawFn) -> dict[str, Any]:
    """Settings as a sender writes them."""
    by_start = st.lists(versions, min_size=1, max_size=3, unique_by=lambda version: str(version.get("valid_from")))
    schedules = draw(st.dictionaries(ids, by_start, max_size=2))
    schedule = st.sampled_from([None, *schedules])
    groups = draw(
        st.dictionaries(ids, st.fixed_dictionaries({}, optional={"name": ids, "schedule": schedule}), max_size=2)
    )
    advisor = st.fixed_dictionaries(
        {}, optional={"name": ids, "schedule": schedule, "group_id": st.sampled_from([None, *groups])}
    )
    return draw(
        st.fixed_dictionaries(
            {"account_id": ids, "schedules": st.just(schedules), "groups": st.just(groups)},
            optional={
                "name": ids,
                "timezone": zones,
                "default_schedule": schedule,
                "advisors": st.dictionaries(st.just("ana") | ids, advisor, max_size=3),
                "snooze_reasons": st.lists(st.just("esperando  VISITA") | ids, max_size=3),
                "effective_channels": st.lists(st.sampled_from(["whatsapp", "email", "call", "a" * 64]), max_size=3),
                "targets": st.fixed_dictionaries(
                    {}, optional={"first_response_seconds": numbers, "response_seconds": numbers}
                ),
            },
        )
    )


# A night on which clocks change in half the world, an answer after a long wait, a close that may snooze.
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = [NEW_YEAR + timedelta(days=66, minutes=step) for step in (0, 90, 130, 200, 2_000, 60_000)]


def history(account_id: str) -> Iterator[dict[str, Any]]:
    head = {"account_id": account_id, "contact_id": "c"}
    message = {"conversation_id": "k", "channel": "whatsapp"}
    for number, at in enumerate(MOMENTS):
        each = {**head, "occurred_at": at.isoformat()}
        yield {**each, "id": f"r{number}", "type": "message.received", **message}
        if number != 3:
            author = {"kind": "advisor", "id": "ana"}
            answered = (at + timedelta(seconds=299.9995)).isoformat()
            yield {
                **each,
                "id": f"s{number}",
                "type": "message.sent",
                **message,
                "author": author,
                "occurred_at": answered,
            }
    last = MOMENTS[-1] + timedelta(minutes=10)
    yield {
        **head, "id": "x", "type": "conversation.closed", "conversation_id": "k", "reason": "Esperando visita",
        "occurred_at": last.isoformat(),
    }  # fmt: skip
    # Late: a creation before all of it.
    yield {
        **head, "id": "c", "type": "contact.created", "origin": "Web", "channel": "whatsapp",
        "occurred_at": MOMENTS[0].isoformat(),
    }  # fmt: skip


def publish(contacts: Contacts, rules: Rules) -> bytes:
    account_id = rules.settings.account_id
    days = {day: contributions(day, facts_in({b"z": seal(fields)})) for (_, day), fields in contacts.facts().items()}
    blocks = {day: decode_block(encode_block(day, told)) for day, told in days.items()}
    now_ms = int(MOMENTS[-1].timestamp() * 1000) + 3_600_000
    publication = Publication(
        1, now_ms, now_ms, complete=True, lag_records=0, notices=(Notice(SETTINGS_UNUSABLE, 1, ("x",)),)
    )
    document = snapshot_document(rules.settings, rules.calendar, blocks, map(waiting_of, days.values()), publication)
    assert document["account_id"] == account_id
    return orjson.dumps(document)


def survives(value: bytes, *, published: bool = True) -> None:
    """Settings that are accepted go all the way."""
    found = decode_settings(value)
    stored = encode_settings(found)
    assert len(stored) <= MAX_STORED_SETTINGS_BYTES
    assert decode_settings(stored) == found
    assert encode_settings(decode_settings(stored)) == stored
    rules = compiled(found.account_id, stored)
    assert rules.settings == found
    assert rules.version == Rules(found).version
    settings_digest(stored)
    log = decoded(history(found.account_id))
    kept: list[Contacts] = [Contacts(), Together()]
    for contacts in kept:
        contacts.books = {found.account_id: RulesBook(rules)}
        for first in range(0, len(log), 4):
            assert set(contacts.apply(log[first : first + 4])) == {Outcome.APPLIED}
        assert contacts.facts() == contacts.contributed()
    alone, together = kept
    assert alone.facts() == together.facts()
    told = [fact for (_, day), fields in alone.facts().items() for _, fact in contributions(day, fields)]
    assert [fact.kind for fact in told].count(FIRST_RESPONSE) == ("whatsapp" in found.effective_channels)
    if published:
        msgspec.json.decode(publish(alone, rules), type=Snapshot)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(accounts())
def test_settings_that_are_accepted_survive_and_the_others_are_refused(drawn: dict[str, Any]) -> None:
    value = json.dumps(drawn).encode()
    try:
        decode_settings(value)
    except InvalidSettings:
        return
    survives(value)


ZONES = sorted(zone_names())
PUBLISHED = {"UTC", "America/Santiago", "Pacific/Kiritimati", "Pacific/Apia", "Europe/Madrid", *ZONES[::40]}


@pytest.mark.parametrize("zone", ZONES)
def test_every_zone_survives(zone: str) -> None:
    weekly = {weekday: [["22:00", "06:00"], ["09:00", "17:30"]] for weekday in WEEKDAYS}
    office = [{"weekly": weekly}, {"weekly": {}, "valid_from": "2026-03-20", "timezone": "Asia/Kolkata"}]
    plain = {"account_id": "a", "timezone": zone, "schedules": {"office": office}, "default_schedule": "office"}
    survives(json.dumps(plain).encode(), published=zone in PUBLISHED)  # which takes some time


def of_size(**sizes: int) -> bytes:
    """Settings with so many of each thing."""

    def many(what: str) -> range:
        return range(sizes.get(what, 1))

    day_hours = [["00:00", "00:30"] for _ in many("intervals")]
    version = {
        "weekly": dict.fromkeys(WEEKDAYS, day_hours),
        "holidays": [(date(2026, 1, 1) + timedelta(days=n)).isoformat() for n in many("holidays")],
        "special_days": {(date(1990, 1, 1) + timedelta(days=n)).isoformat(): day_hours for n in many("special_days")},
    }
    later = [{"valid_from": f"20{n // 12:02}-{n % 12 + 1:02}-01"} for n in range(1, sizes.get("versions", 1))]
    return json.dumps(
        {
            "account_id": "a",
            "schedules": {f"s{n}": [version if n == 0 else {}, *(later if n == 0 else [])] for n in many("schedules")},
            "default_schedule": "s0",
            "groups": {f"g{n}": {} for n in many("groups")},
            "advisors": {f"a{n}": {} for n in many("advisors")},
            "snooze_reasons": [f"r{n}" for n in many("snooze_reasons")],
            "effective_channels": [f"c{n}" for n in many("channels")],
        }
    ).encode()


@pytest.mark.parametrize(
    ("what", "most"),
    [
        ("intervals", MAX_DAY_INTERVALS),
        ("holidays", MAX_HOLIDAYS),
        ("special_days", MAX_SPECIAL_DAYS),
        ("versions", MAX_SCHEDULE_VERSIONS),
        ("schedules", MAX_SCHEDULES),
        ("groups", MAX_GROUPS),
        ("advisors", MAX_ADVISORS),
        ("snooze_reasons", MAX_SNOOZE_REASONS),
        ("channels", MAX_EFFECTIVE_CHANNELS),
    ],
)
def test_as_many_as_are_allowed_survive_and_one_more_is_refused(what: str, most: int) -> None:
    survives(of_size(**{what: most}))
    with pytest.raises(InvalidSettings, match="malformed"):
        decode_settings(of_size(**{what: most + 1}))


def test_all_schedules_together_have_so_many_versions_and_no_more() -> None:
    def of(count: int) -> bytes:
        versions = [{"valid_from": f"{1900 + n}-01-01"} for n in range(MAX_SCHEDULE_VERSIONS)]
        whole, rest = divmod(count, len(versions))
        schedules = {f"s{n}": versions for n in range(whole)} | ({"rest": versions[:rest]} if rest else {})
        return json.dumps({"account_id": "a", "schedules": schedules}).encode()

    survives(of(MAX_VERSIONS))
    with pytest.raises(InvalidSettings, match=f"{MAX_VERSIONS + 1} versions in all"):
        decode_settings(of(MAX_VERSIONS + 1))


@pytest.mark.parametrize("seconds", [MAX_TARGET_SECONDS + 1, 9.3e15, 1e306])
def test_a_target_of_more_than_a_year_is_refused(seconds: float) -> None:
    for name in ("first_response_seconds", "response_seconds"):
        with pytest.raises(InvalidSettings, match="malformed"):
            decode_settings(json.dumps({"account_id": "a", "targets": {name: seconds}}).encode())


def test_what_is_stored_is_not_longer_than_what_came() -> None:
    value = json.dumps(
        {"account_id": "a", "advisors": {f"{n:x}": {} for n in range(MAX_ADVISORS)}}, separators=(",", ":")
    )
    assert len(encode_settings(decode_settings(value))) <= len(value)


def test_settings_at_the_limit_of_a_record_survive() -> None:
    advisors = {f"{n:04}" + "é" * 40: {"name": "é" * 6} for n in range(MAX_ADVISORS - 700)}
    value = json.dumps({"account_id": "a", "advisors": advisors}, separators=(",", ":"), ensure_ascii=False).encode()
    assert 0.9 * MAX_STORED_SETTINGS_BYTES < len(value) <= MAX_STORED_SETTINGS_BYTES
    survives(value)
