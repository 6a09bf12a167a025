"""What rests is made small, and says what it said: days are sealed, quiet contacts shrink."""

import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from aggregates.sealed import GONE, SEALED, TOTALS, facts_in
from schemas.events import decode_event
from streams.errors import SessionLost
from streams.redis.keys import contact_key, day_member, split_day_member
from streams.redis.ledger import Changes, DayWrite
from streams.shard.ages import REMEMBERED_SECONDS, Ages
from streams.shard.session import Session
from streams.worker import sealing as sealing_module
from streams.worker.retention import Retention
from streams.worker.sealing import FIRST_REST_MS, REST_MS, Sealing
from tests.support.fake_redis import no_hook
from tests.support.shard_facts import Facts, OneByOne, contradictions, shard_facts
from tests.unit.shard.test_batch import KEYS, LATENESS, Shard

BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
SHARD_KEYS = KEYS.shard(0)
DAY_S = 86_400


def event(name: str, kind: str, contact: str, at_s: float, **fields: object) -> bytes:
    """An event so many seconds after `BEGIN`."""
    at = (BEGIN + timedelta(seconds=at_s)).isoformat()
    head = {"id": name, "type": kind, "account_id": "acme", "contact_id": contact, "occurred_at": at}
    return orjson.dumps({**head, **fields})


def created(contact: str, at_s: float, name: str | None = None) -> bytes:
    return event(name or f"{contact}-born", "contact.created", contact, at_s, by="contact", channel="sms", origin="Web")


def received(name: str, contact: str, at_s: float, conversation: str = "c") -> bytes:
    return event(name, "message.received", contact, at_s, conversation_id=conversation, channel="sms")


def sent(name: str, contact: str, at_s: float, conversation: str = "c") -> bytes:
    author = {"kind": "advisor", "id": "eva"}
    return event(name, "message.sent", contact, at_s, conversation_id=conversation, channel="sms", author=author)


def closed(name: str, contact: str, at_s: float, conversation: str = "c") -> bytes:
    return event(name, "conversation.closed", contact, at_s, conversation_id=conversation, reason="Done")


def moved(name: str, contact: str, at_s: float, group: str = "sales") -> bytes:
    return event(name, "contact.moved", contact, at_s, group_id=group)


class Resting(Shard):
    """A shard, what makes it small, and a clock that both see."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = int(BEGIN.timestamp() * 1000) + 365 * DAY_S * 1000
        self.ledger._now_ms = lambda: self.now_ms
        self.lag = (0, 0)
        self.failed: list[Exception] = []
        ownership: Any = SimpleNamespace(shards={}, failed=lambda _, error: self.failed.append(error))
        client: Any = self.redis
        self.ownership = ownership
        self.sealing = Sealing(ownership, client, self.metrics, LATENESS, lambda: self.now_ms)
        self.alone = OneByOne([])

    async def take(self, session: Session, *events: bytes) -> None:
        """Apply events here, one after the other, and beside, where nothing rests."""
        for value in events:
            await self.apply(session, value, topic=int(decode_event(value).topic != "contacts"))
            self.alone.fold(decode_event(value))

    def feed(self, session: Session) -> Any:
        return SimpleNamespace(session=session, shard=0, lag=lambda: self.lag)

    async def rest(self, session: Session, after_ms: int = REST_MS, rounds: int = 1) -> None:
        """Let time go by, and look."""
        self.now_ms += after_ms + 1_000  # commits of one millisecond are numbered on
        for _ in range(rounds):
            await self.sealing.sweep(self.feed(session))

    def facts(self) -> Facts:
        return shard_facts(self.redis.data, SHARD_KEYS)

    def day(self, at_s: float) -> dict[bytes, bytes]:
        ordinal = (BEGIN + timedelta(seconds=at_s)).toordinal()
        return self.redis.data.get(SHARD_KEYS.day(ordinal, "acme"), {})

    def value(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0

    def told(self, contacts: Iterable[str]) -> list[str]:
        return contradictions(self.redis.data, SHARD_KEYS, dict.fromkeys(contacts, "acme"))


async def some_days(shard: Resting, session: Session) -> None:
    """A contact that is answered on the first day, and one ten days later: the first day lies far behind."""
    await shard.take(
        session,
        created("ana", 0),
        received("a1", "ana", 60),
        sent("a2", "ana", 120),
        created("bob", 10 * DAY_S),
        received("b1", "bob", 10 * DAY_S + 5),
    )


# --- days -----------------------------------------------------------------------------------------------------------


async def test_a_day_at_rest_is_one_value_and_says_what_it_said() -> None:
    shard = Resting()
    session = await shard.session()
    await some_days(shard, session)
    before, totals = shard.facts(), shard.day(0)[TOTALS]
    changed = dict(shard.redis.data[SHARD_KEYS.changed])
    await shard.rest(session, FIRST_REST_MS)
    assert shard.day(0).keys() == {TOTALS, SEALED}
    assert shard.day(0)[TOTALS] == totals
    assert shard.facts() == before == shard.alone.facts
    # Nobody has to publish it again, and it is no longer among those that are looked at.
    assert shard.redis.data[SHARD_KEYS.changed] == changed
    newest = (BEGIN + timedelta(days=10)).toordinal()
    assert set(shard.redis.data[SHARD_KEYS.open]) == {day_member(newest, "acme")}
    assert shard.value("mediana_sealed_days_total") == 1
    # Nor is the newest one sealed, or anything done again.
    seq = session.fence.seq
    await shard.rest(session, 10 * REST_MS, rounds=3)
    assert session.fence.seq == seq
    assert SEALED not in shard.day(10 * DAY_S)


async def test_a_correction_is_written_beside_the_sealed_facts_and_sealed_with_them_later() -> None:
    shard = Resting()
    session = await shard.session()
    await some_days(shard, session)
    await shard.rest(session)
    sealed = shard.day(0)[SEALED]
    # The move belongs before the answer: its facts are of another group now, and those of before are gone.
    await shard.take(session, moved("late", "ana", 100))
    beside = {name: value for name, value in shard.day(0).items() if name not in (TOTALS, SEALED)}
    assert shard.day(0)[SEALED] == sealed
    assert GONE not in beside.values()
    assert beside
    assert shard.facts() == shard.alone.facts
    # A creation that is deleted takes its fact of waiting away; here a contact that still waits is answered.
    await shard.take(session, received("w1", "ana", 130), sent("w2", "ana", 140))
    assert GONE not in facts_in(shard.day(0)).values()
    await shard.rest(session, FIRST_REST_MS)
    assert shard.day(0)[SEALED] == sealed  # it was sealed before: that may wait longer
    await shard.rest(session, REST_MS)
    assert shard.day(0).keys() == {TOTALS, SEALED}
    assert shard.day(0)[SEALED] != sealed
    assert shard.facts() == shard.alone.facts


async def test_a_sealed_fact_that_is_no_longer_true_is_marked_and_then_left_out() -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(session, created("ana", 0), received("a1", "ana", 60), created("bob", 10 * DAY_S))
    await shard.rest(session)
    # Ana waited since her creation; she is answered three weeks later, and does no more.
    await shard.take(session, sent("a2", "ana", 21 * DAY_S))
    assert GONE in shard.day(0).values()
    assert shard.facts() == shard.alone.facts
    again = await shard.ledger.claim()
    assert again is not None
    session = Session(0, shard.ledger, again, 100, 100)
    assert session.sealed_below == (BEGIN + timedelta(days=8)).toordinal()
    await shard.rest(session)
    assert shard.day(0).keys() == {TOTALS, SEALED}
    assert GONE not in facts_in(shard.day(0)).values()
    assert shard.facts() == shard.alone.facts


async def test_a_day_of_which_nothing_is_left_is_gone() -> None:
    shard = Resting()
    session = await shard.session()
    # A message that came before the creation waits on the day of the message; the bot's answer ends that.
    await shard.take(session, received("a1", "ana", 0), created("bob", 10 * DAY_S))
    await shard.rest(session)
    ordinal = BEGIN.toordinal()
    gone = [part for name in facts_in(shard.day(0)) for part in (name, GONE)]
    await session.commit(session.positions, Changes(days=[DayWrite(ordinal, "acme", gone, [TOTALS])]))
    await shard.rest(session)
    assert SHARD_KEYS.day(ordinal, "acme") not in shard.redis.data


async def test_a_day_whose_last_change_lies_in_the_future_rests_by_our_own_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = 1_000.0
    monkeypatch.setattr(sealing_module, "monotonic", lambda: watch)
    shard = Resting()
    session = await shard.session()
    shard.now_ms += 10 * 365 * DAY_S * 1000
    await some_days(shard, session)  # committed by a clock that is ten years ahead
    shard.now_ms -= 10 * 365 * DAY_S * 1000
    await shard.rest(session)
    watch += FIRST_REST_MS / 1000 - 1
    await shard.rest(session)
    assert SEALED not in shard.day(0)
    await shard.take(session, moved("m", "ana", 100))
    watch += 2
    await shard.rest(session)
    assert SEALED not in shard.day(0)
    watch += FIRST_REST_MS / 1000
    await shard.rest(session)
    assert shard.day(0).keys() == {TOTALS, SEALED}
    assert shard.facts() == shard.alone.facts


async def test_sealing_is_refused_once_another_worker_has_the_shard() -> None:
    shard = Resting()
    session = await shard.session()
    await some_days(shard, session)
    shard.now_ms += REST_MS

    async def claimed_meanwhile(command: str, moment: str) -> None:
        if (command, moment) == ("HGETALL", "after"):  # the day has been read
            shard.redis.hook = no_hook
            claim = await shard.ledger.claim()
            assert claim is not None
            other = Session(0, shard.ledger, claim, 10, 10)
            await shard.take(other, moved("late", "ana", 100))

    shard.redis.hook = claimed_meanwhile
    await shard.sealing.sweep(shard.feed(session))
    assert [type(error) for error in shard.failed] == [SessionLost]
    assert SEALED not in shard.day(0)
    assert shard.facts() == shard.alone.facts


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_cut_off_at_every_command_once(moment: str) -> None:
    async def whole_life(hook: Any) -> Resting:
        shard = Resting()
        session = await shard.session()
        await some_days(shard, session)
        await shard.take(session, created("cleo", 60 * DAY_S), received("k1", "cleo", 60 * DAY_S + 1))
        shard.redis.hook = hook
        await shard.rest(session, rounds=2)
        shard.redis.hook = no_hook
        claim = await shard.ledger.claim()
        assert claim is not None
        session = Session(0, shard.ledger, claim, 100, 100)
        await shard.take(session, sent("k2", "cleo", 60 * DAY_S + 9), received("b2", "bob", 61 * DAY_S))
        assert shard.facts() == shard.alone.facts
        assert shard.told(["ana", "bob", "cleo"]) == []
        await shard.rest(session, rounds=2)
        assert shard.facts() == shard.alone.facts
        assert shard.told(["ana", "bob", "cleo"]) == []
        assert shard.day(0).keys() == {TOTALS, SEALED}
        assert shard.history("ana").journal_length == 0
        return shard

    commands = 0

    async def count(command: str, when: str) -> None:  # noqa: ARG001
        nonlocal commands
        commands += when == moment

    await whole_life(count)
    assert commands > 8
    for cut_at in range(commands):
        left = cut_at

        async def cut(command: str, when: str) -> None:
            nonlocal left
            if when == moment:
                left -= 1
                if left == -1:
                    raise ConnectionResetError(command)

        await whole_life(cut)


async def test_a_day_that_is_forgotten_is_no_longer_open() -> None:
    shard = Resting()
    session = await shard.session()
    await some_days(shard, session)
    today = (BEGIN + timedelta(days=10)).date()

    async def no_clock() -> date | None:
        return None

    client: Any = shard.redis
    retention = Retention(shard.ownership, client, shard.metrics, 5, lambda: today, no_clock)
    await retention.sweep(shard.feed(session))
    assert shard.day(0) == {}
    days = {split_day_member(member)[0] for member in shard.redis.data[SHARD_KEYS.open]}
    assert days == {today.toordinal()}
    assert shard.redis.data[SHARD_KEYS.open].keys() == shard.redis.data[SHARD_KEYS.changed].keys()


async def test_a_large_day_is_sealed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_module, "FACTS_PER_COMMIT", 7)
    monkeypatch.setattr(sealing_module, "FACTS_IN_THREAD", 12)  # some in a thread
    shard = Resting()
    session = await shard.session()
    for number in range(20):
        await shard.take(
            session, created(f"k{number:02}", number), received(f"e{number}", f"k{number:02}", 100 + number)
        )
    await shard.take(session, created("bob", 10 * DAY_S))
    count = len(shard.facts()["acme", BEGIN.toordinal()])
    commits = 0

    async def counted(command: str, moment: str) -> None:
        nonlocal commits
        commits += (command, moment) == ("commit", "after")

    shard.redis.hook = counted
    await shard.rest(session)
    assert commits == count // 7 + 1
    assert shard.day(0).keys() == {TOTALS, SEALED}
    assert shard.facts() == shard.alone.facts


async def test_killed_between_the_parts_of_a_day_all_of_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_module, "FACTS_PER_COMMIT", 5)
    shard = Resting()
    session = await shard.session()
    for number in range(10):
        await shard.take(session, created(f"k{number:02}", number))
    await shard.take(session, created("bob", 10 * DAY_S))
    commits = 0

    async def dies(command: str, moment: str) -> None:
        nonlocal commits
        commits += (command, moment) == ("commit", "before")
        if commits == 2:
            raise ConnectionResetError(command)

    shard.redis.hook = dies
    await shard.rest(session)
    shard.redis.hook = no_hook
    assert SEALED in shard.day(0)
    assert len(shard.day(0)) > 2
    assert day_member(BEGIN.toordinal(), "acme") in shard.redis.data[SHARD_KEYS.open]
    assert shard.facts() == shard.alone.facts
    claim = await shard.ledger.claim()
    assert claim is not None
    session = Session(0, shard.ledger, claim, 100, 100)
    await shard.take(session, received("e0", "k00", 50))
    await shard.rest(session)
    assert shard.day(0).keys() == {TOTALS, SEALED}
    assert shard.facts() == shard.alone.facts


async def test_days_that_never_rest_keep_no_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_module, "DAYS_AT_ONCE", 4)
    monkeypatch.setattr(sealing_module, "DAYS_PER_ROUND", 2)
    monkeypatch.setattr(sealing_module, "FACTS_PER_DAY", 6)
    shard = Resting()
    session = await shard.session()
    for number in range(12):  # the first three days have more facts than are sealed
        for place in range(8 if number < 3 else 1):
            await shard.take(session, created(f"k{number}-{place}", number * DAY_S + place))
    await shard.take(session, created("bob", 20 * DAY_S))
    await shard.rest(session, rounds=8)
    assert [SEALED in shard.day(number * DAY_S) for number in range(12)] == [False] * 3 + [True] * 9
    assert shard.facts() == shard.alone.facts


async def test_a_damaged_day_is_told_and_keeps_no_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(session, created("ana", 0), created("bob", DAY_S), created("cleo", 20 * DAY_S))
    ordinal = BEGIN.toordinal()
    shard.redis.hash(SHARD_KEYS.day(ordinal, "acme"))[SEALED] = b"damaged"
    await shard.rest(session, rounds=2)
    assert shard.day(0)[SEALED] == b"damaged"
    assert shard.day(DAY_S).keys() == {TOTALS, SEALED}
    assert f"day {ordinal}:acme cannot be sealed: a damaged sealed day" in caplog.text
    assert shard.failed == []


# --- contacts -------------------------------------------------------------------------------------------------------


async def shrunk(shard: Resting, session: Session, days: float) -> None:
    """Somebody else writes so many days after the beginning, and what rests then is made small."""
    names = f"other-{days}", f"o{days}"
    await shard.take(session, created("other", days * DAY_S, names[0]), received(names[1], "other", days * DAY_S + 1))
    await shard.rest(session, rounds=2)


async def test_the_ids_of_a_quiet_contact_go_first_and_then_its_entries() -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(
        session, created("ana", 0), received("a1", "ana", 60), sent("a2", "ana", 120), closed("a3", "ana", 180)
    )
    whole = len(shard.redis.data[SHARD_KEYS.states][contact_key("acme", "ana")])
    await shrunk(shard, session, 2)
    assert shard.events_of("ana") == ["ana-born", "a1", "a2", "a3"]
    await shrunk(shard, session, 2.1)
    assert shard.events_of("ana") == ["ana-born", "", "", ""]
    await shrunk(shard, session, 32)
    assert shard.events_of("ana") == ["ana-born", "", "", ""]
    await shrunk(shard, session, 32.1)
    assert shard.events_of("ana") == []
    assert len(shard.redis.data[SHARD_KEYS.states][contact_key("acme", "ana")]) < whole / 2
    assert shard.facts() == shard.alone.facts
    # Both went through the fence, and what the session remembered of it is forgotten.
    await shard.take(session, received("a5", "ana", 40 * DAY_S, "d"), sent("a6", "ana", 40 * DAY_S + 9, "d"))
    assert shard.facts() == shard.alone.facts
    assert shard.told(["ana", "other"]) == []
    assert shard.letters.written == []


async def test_what_comes_after_quiet_from_before_it_is_too_late_and_never_counted_twice() -> None:
    shard = Resting()
    session = await shard.session()
    ana = [created("ana", 0), received("a1", "ana", 60), sent("a2", "ana", 120)]
    await shard.take(session, *ana)
    await shrunk(shard, session, 3)
    before = shard.facts()
    # Sent again, they are known no more; and a question that was delayed by three days is too late.
    for value in (ana[1], ana[2], received("late", "ana", 90)):
        await shard.apply(session, value)
    assert [reason for _, reason in shard.letters.written] == ["too-late"] * 3
    assert shard.facts() == before
    # The contact's own events are in time for thirty days, and the creation is still known.
    await shard.apply(session, ana[0], topic=0)
    assert shard.facts() == before
    await shard.take(session, moved("m1", "ana", 100))
    assert shard.facts() == shard.alone.facts != before
    await shrunk(shard, session, 40)
    before = shard.facts()
    shard.letters.written.clear()
    await shard.apply(session, ana[0], moved("m2", "ana", 110), topic=0)
    assert [reason for _, reason in shard.letters.written] == ["too-late"] * 2
    assert shard.facts() == before


async def test_an_event_newer_than_a_shrunk_contacts_newest_one_is_counted_as_ever() -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(session, created("ana", 0), received("a1", "ana", 60), sent("a2", "ana", 120))
    await shrunk(shard, session, 60)
    assert shard.events_of("ana") == []
    # Of the same day, sixty days late: neither a second interaction of that day nor a second active contact.
    await shard.take(session, received("a3", "ana", 300), sent("a4", "ana", 360), closed("a5", "ana", 400))
    await shard.take(session, received("a6", "ana", 500), received("a7", "ana", 61 * DAY_S, "c"))
    assert shard.facts() == shard.alone.facts
    assert shard.told(["ana", "other"]) == []


async def test_nothing_shrinks_while_the_log_is_read_or_brings_a_past() -> None:
    shard = Resting()
    clock = 0.0
    session = await shard.session()
    session.ages = Ages(lambda: clock)
    await shard.take(session, created("new", 90 * DAY_S), received("n1", "new", 90 * DAY_S))
    assert session.ages.expected_us == (int(BEGIN.timestamp()) + 90 * DAY_S) * 1_000_000
    await shard.take(session, created("ana", 0), received("a1", "ana", 60))
    for later, lag in ((1, 0), (REMEMBERED_SECONDS, 0), (REMEMBERED_SECONDS, sealing_module.CAUGHT_UP + 1)):
        clock += later
        shard.lag = (0, lag)
        await shard.rest(session, rounds=2)
        assert shard.events_of("ana") == ["ana-born", "a1"]
    shard.lag = (sealing_module.CAUGHT_UP, 0)
    await shard.rest(session, rounds=2)
    assert shard.events_of("ana") == []


def test_what_came_late_is_remembered_for_a_while() -> None:
    clock = 0.0
    ages = Ages(lambda: clock)
    assert ages.expected_us == -1
    ages.saw(50, 60)
    assert (ages.newest_us, ages.expected_us) == (60, 50)
    ages.saw(20, 30)
    ages.saw(100, 100)
    assert (ages.newest_us, ages.expected_us) == (100, 60)
    clock = REMEMBERED_SECONDS
    ages.saw(90, 100)
    assert ages.expected_us == 60
    clock = 2 * REMEMBERED_SECONDS
    assert ages.expected_us == 90
    clock = 4 * REMEMBERED_SECONDS
    assert ages.expected_us == 100


async def test_a_clock_that_is_behind_keeps_contacts_as_they_are() -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(session, created("ana", 0), received("a1", "ana", 60))
    shard.now_ms = int(BEGIN.timestamp() * 1000)
    await shrunk(shard, session, 300)  # an event of the far future, as a wrong clock makes one
    assert shard.events_of("ana") == ["ana-born", "a1"]


async def test_a_contact_whose_creation_is_still_to_come_keeps_its_entries() -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(session, received("a1", "ana", 60), sent("a2", "ana", 120))
    await shrunk(shard, session, 100)
    assert shard.history("ana").journal_length == 2
    assert shard.facts() == shard.alone.facts


async def test_shrinking_is_refused_once_another_worker_has_the_shard() -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(session, created("ana", 0), received("a1", "ana", 60))
    await shard.take(session, created("other", 50 * DAY_S), received("o1", "other", 50 * DAY_S))
    shard.now_ms += 1

    async def claimed_meanwhile(command: str, moment: str) -> None:
        if (command, moment) == ("hmget", "after"):
            shard.redis.hook = no_hook
            claim = await shard.ledger.claim()
            assert claim is not None
            await shard.take(Session(0, shard.ledger, claim, 10, 10), sent("a2", "ana", 50 * DAY_S + 9))

    clock_free = session.ages
    clock_free._furthest_us = 0
    shard.redis.hook = claimed_meanwhile
    await shard.sealing.sweep(shard.feed(session))
    assert [type(error) for error in shard.failed] == [SessionLost]
    assert "a2" in shard.events_of("ana")
    assert shard.facts() == shard.alone.facts


async def test_an_event_between_the_walk_and_the_commit_is_kept() -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(session, created("ana", 0), received("a1", "ana", 60))
    await shard.take(session, created("other", 50 * DAY_S), received("o1", "other", 50 * DAY_S))
    session.ages._furthest_us = 0

    async def comes(command: str, moment: str) -> None:
        if (command, moment) == ("hscan", "after"):
            shard.redis.hook = no_hook
            await shard.take(session, sent("a2", "ana", 50 * DAY_S + 9))

    shard.redis.hook = comes
    await shard.sealing.sweep(shard.feed(session))
    assert "a2" in shard.events_of("ana")
    assert shard.facts() == shard.alone.facts


async def test_many_contacts_are_walked_through_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_module, "CONTACTS_PER_ROUND", 50)
    shard = Resting()
    session = await shard.session()
    for first in range(0, 300, 100):
        for number in range(first, first + 100):
            shard.alone.fold(decode_event(created(f"k{number}", number)))
        await shard.apply(session, *(created(f"k{number}", number) for number in range(first, first + 100)), topic=0)
    await shard.take(session, created("other", 50 * DAY_S), received("o1", "other", 50 * DAY_S))
    read: list[int] = []
    hscan = shard.redis.hscan

    async def counted(key: bytes, cursor: int, *, count: int) -> tuple[int, dict[bytes, bytes]]:
        found = await hscan(key, cursor, count=count)
        read.append(len(found[1]))
        return found

    shard.redis.hscan = counted  # type: ignore[method-assign]
    await shard.rest(session, rounds=7)
    assert read == [50] * 6 + [1]
    assert sum(shard.history(f"k{number}").journal_length for number in range(300)) == 0
    assert shard.value("mediana_shrunk_contacts_total") == 300
    # The next walk begins anew; whoever is small stays as it is.
    seq = session.fence.seq
    await shard.rest(session, rounds=7)
    assert session.fence.seq == seq
    assert len(shard.sealing._cursors) == 1


async def test_a_state_of_a_newer_program_is_left_alone() -> None:
    shard = Resting()
    session = await shard.session()
    await shard.take(session, created("ana", 0), received("a1", "ana", 1))
    shard.redis.hash(SHARD_KEYS.states)[contact_key("acme", "zoe")] = b"\xfe newer"
    await shard.take(session, created("other", 50 * DAY_S), received("o1", "other", 50 * DAY_S))
    session.ages._furthest_us = 0
    await shard.rest(session)
    assert shard.events_of("ana") == []
    assert shard.failed == []


# --- all of it together ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
async def test_through_any_life_the_facts_are_those_of_a_fold_in_which_nothing_rests(seed: int) -> None:
    dice = random.Random(seed)
    shard = Resting()
    session = await shard.session()
    now = 0.0
    names = [f"k{place}" for place in range(6)]
    newest: dict[str, float] = {}
    for number in range(250):
        now += dice.choice([1, 60, 3_000, DAY_S / 2, DAY_S, 9 * DAY_S if dice.random() < 0.3 else 5])
        name, contact = f"e{number}", dice.choice(names)
        conversation = f"{contact}-{dice.randrange(4)}"
        at = now
        kind = dice.choice(["created", "received", "sent", "closed", "moved", "moved", "deleted", "restored"])
        if dice.random() < 0.3 and contact in newest:
            # Late: of a conversation by less than an hour, the contact's own by up to a month; and less than two days
            # after what it comes before, for those who have been quiet for longer are told apart above.
            window = 3_500 if kind in ("received", "sent", "closed") else 29 * DAY_S
            if now - newest[contact] < 1.9 * DAY_S:
                at = max(0.0, newest[contact] - dice.random() * window)
        newest[contact] = max(newest.get(contact, 0.0), at)
        made = {
            "created": lambda: created(contact, at, name),  # noqa: B023
            "received": lambda: received(name, contact, at, conversation),  # noqa: B023
            "sent": lambda: sent(name, contact, at, conversation),  # noqa: B023
            "closed": lambda: closed(name, contact, at, conversation),  # noqa: B023
            "moved": lambda: moved(name, contact, at, dice.choice("ab")),  # noqa: B023
            "deleted": lambda: event(name, "contact.deleted", contact, at),  # noqa: B023
            "restored": lambda: event(name, "contact.restored", contact, at),  # noqa: B023
        }[kind]()
        await shard.take(session, made)
        if dice.random() < 0.3:
            await shard.rest(session, dice.choice([0, FIRST_REST_MS, REST_MS]))
            assert shard.facts() == shard.alone.facts
        if dice.random() < 0.05:
            claim = await shard.ledger.claim()
            assert claim is not None
            session = Session(0, shard.ledger, claim, 3, 2)
    assert shard.facts() == shard.alone.facts
    assert shard.told(names) == []
    assert shard.letters.written == []
    sealed = sum(SEALED in held for key, held in shard.redis.data.items() if b":day:" in key)
    assert sealed > 20
    assert shard.value("mediana_shrunk_contacts_total") > 0
