"""Old versions of settings go, none goes that an event in time may still need, and none that goes is missed."""

import random
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from aggregates.history import Lateness
from streams.redis.keys import split_rules_field
from streams.shard import batch as batch_module
from streams.shard.session import Session
from streams.worker.settings_sweep import RulesSweep, kept_days
from tests.unit.shard.test_batch import KEYS, LATENESS, Shard, message

DAY_US = 86_400_000_000
FIRST = date(2025, 3, 2)
EPOCH = date(1970, 1, 1)
RULES, USED = KEYS.shard(0).rules, KEYS.shard(0).rules_used


class Days:
    """A shard whose worker sees one day after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.today = FIRST
        self.shard = Shard()
        monkeypatch.setattr(batch_module, "time", lambda: (self.today - EPOCH).days * 86_400.0 + 60)
        ownership: Any = SimpleNamespace(shards={}, failed=None)
        client: Any = self.shard.redis
        self.sweep = RulesSweep(ownership, client, self.shard.metrics, LATENESS, lambda: self.today)
        self._changes = 0

    def settings(self, name: str) -> None:
        self._changes += 1
        self.shard.redis.hash(KEYS.settings)[b"acme"] = f'{{"account_id": "acme", "name": "{name}"}}'.encode()
        self.shard.redis.hash(KEYS.settings_log)[b"version"] = b"%d" % self._changes

    def names(self) -> set[str]:
        """The settings that the shard holds, by the name they give the account."""
        held = self.shard.redis.data.get(RULES, {})
        assert held.keys() == self.shard.redis.data.get(USED, {}).keys()
        return {data.decode().rpartition('"name":"')[2].rstrip('"}') for data in held.values()}

    async def claim(self) -> Session:
        claim = await self.shard.ledger.claim()
        assert claim is not None
        return Session(0, self.shard.ledger, claim, 100, 100)


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> Days:
    return Days(monkeypatch)


def test_a_version_is_kept_as_long_as_an_event_in_time_may_need_it() -> None:
    assert kept_days(LATENESS) == 32
    assert kept_days(Lateness(3_600_000_000, DAY_US)) == 3
    assert kept_days(Lateness(60 * DAY_US, 30 * DAY_US)) == 62
    assert kept_days(Lateness(60 * DAY_US + 1, 30 * DAY_US)) == 63


async def test_settings_changed_daily_leave_as_many_versions_as_days_that_are_kept(days: Days) -> None:
    session = await days.shard.session()
    for number in range(90):
        days.settings(f"day {number}")
        await days.shard.apply(session, message(number, minute=number % 60))
        await days.sweep.sweep_session(session)
        assert len(days.names()) <= kept_days(LATENESS) + 1
        days.today += timedelta(days=1)
    assert days.names() == {f"day {number}" for number in range(57, 90)}
    assert days.shard.metrics.registry.get_sample_value("mediana_expired_settings_total") == 57


@pytest.mark.parametrize("restarted", [True, False])
async def test_the_newest_settings_of_a_silent_account_are_stored_again_when_it_speaks(
    days: Days, restarted: bool
) -> None:
    session = await days.shard.session()
    days.settings("only")
    await days.shard.apply(session, message(1))
    days.today += timedelta(days=33)
    await days.sweep.sweep_session(session)
    assert days.names() == set()
    if restarted:
        session = await days.claim()
    await days.shard.apply(session, message(2))
    assert days.names() == {"only"}


async def test_a_mark_of_a_clock_that_was_ahead_is_set_right(days: Days) -> None:
    session = await days.shard.session()
    days.settings("one")
    days.today += timedelta(days=5_000)
    await days.shard.apply(session, message(1))
    days.settings("two")
    days.today = FIRST
    session = await days.claim()
    await days.shard.apply(session, message(2))
    await days.sweep.sweep_session(session)
    assert days.names() == {"one", "two"}
    days.today += timedelta(days=33)
    await days.shard.apply(session, message(3))
    await days.sweep.sweep_session(session)
    assert days.names() == {"two"}


async def test_a_version_that_a_batch_used_since_the_scan_stays(days: Days) -> None:
    session = await days.shard.session()
    days.settings("one")
    await days.shard.apply(session, message(1))
    days.today += timedelta(days=40)

    async def between(command: str, moment: str) -> None:
        if (command, moment) == ("HGETALL", "after"):
            days.shard.redis.hook = nothing
            await days.shard.apply(session, message(2))

    async def nothing(command: str, moment: str) -> None:
        pass

    days.shard.redis.hook = between
    await days.sweep.sweep_session(session)
    assert days.shard.events_of("ana") == ["e1", "e2"]
    assert days.names() == {"one"}


async def test_a_worker_that_was_replaced_sweeps_nothing(days: Days) -> None:
    session = await days.shard.session()
    days.settings("one")
    await days.shard.apply(session, message(1))
    days.today += timedelta(days=40)
    await days.claim()
    feed: Any = SimpleNamespace(session=session, shard=0)
    failed: list[Exception] = []
    ownership: Any = SimpleNamespace(shards={0: feed}, failed=lambda _, error: failed.append(error))
    client: Any = days.shard.redis
    await RulesSweep(ownership, client, days.shard.metrics, LATENESS, lambda: days.today).sweep(feed)
    assert len(failed) == 1
    assert days.names() == {"one"}


async def live(days: Days, seed: int) -> float:
    """Contacts speak and fall silent, settings change back and forth, workers restart, records come 30 days late.

    How many versions were needed and not to be had.
    """
    chance = random.Random(seed)
    session = await days.shard.session()
    number = 0
    written: dict[str, list[tuple[date, int]]] = {contact: [] for contact in "abcd"}
    for _ in range(150):
        if chance.random() < 0.4:
            days.settings(f"settings {chance.randrange(6)}")
        for contact in "abcd":
            for _ in range(chance.choice([0, 0, 1, 3]) if chance.random() < 0.5 else 0):
                number += 1
                # What it comes before was written 30 days ago at most, and is within an hour.
                newest = max((minute for _, minute in written[contact]), default=0)
                settled = [minute for day, minute in written[contact] if (days.today - day).days > 30]
                minute = newest + 30
                if chance.random() < 0.6:
                    minute = max(newest - chance.randrange(50), max(settled, default=0) + 1)
                written[contact].append((days.today, minute))
                await days.shard.apply(session, spoken(number, contact, minute, answers=chance.random() < 0.4))
        if chance.random() < 0.3:
            await days.sweep.sweep_session(session)
        if chance.random() < 0.1:
            session = await days.claim()
            days.shard.restart()
        days.today += timedelta(days=chance.choice([0, 1, 3, 10]))
    assert all(split_rules_field(name)[0] == "acme" for name in days.shard.redis.data[RULES])
    assert days.shard.letters.written == []
    return days.shard.metrics.registry.get_sample_value("mediana_missing_settings_total") or 0.0


@pytest.mark.parametrize("seed", range(12))
async def test_through_any_life_no_event_in_time_misses_its_settings(seed: int, days: Days) -> None:
    assert await live(days, seed) == 0
    assert days.shard.metrics.registry.get_sample_value("mediana_expired_settings_total")


async def test_swept_sooner_some_are_missed_and_still_nothing_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    missed = 0.0
    for seed in range(12):
        days = Days(monkeypatch)
        days.sweep._kept_days = 5
        missed += await live(days, seed)
    assert missed > 0


def spoken(number: int, contact: str, minute: int, *, answers: bool) -> bytes:
    at = f"2025-03-{2 + minute // 1440:02}T{minute // 60 % 24:02}:{minute % 60:02}:00Z"
    kind = '"message.sent", "author": {"kind": "advisor", "id": "eva"}' if answers else '"message.received"'
    return (
        f'{{"id": "m{number}", "type": {kind}, "account_id": "acme", "contact_id": "{contact}", '
        f'"occurred_at": "{at}", "conversation_id": "c-{contact}", "channel": "whatsapp"}}'
    ).encode()
