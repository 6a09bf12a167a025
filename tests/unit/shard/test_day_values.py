"""What a batch asks Redis for before it writes days, and what it writes."""

from typing import Any

import pytest

from aggregates.counters import encode_vector
from aggregates.errors import NegativeCounter
from aggregates.facts import ACTION, CLOSED, STARTED, TRANSFERRED, Fact, fact_field, fact_value
from aggregates.sealed import GONE, TOTALS
from streams.fold.batch_fold import DayFacts, DayKey
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Changes, Claim, DayWrite, Positions, RedisLedger
from streams.shard.day_values import DayChange, day_changes
from streams.shard.session import Session
from tests.support.fake_redis import FakeRedis

DAY: DayKey = (740_000, "acme")
OTHER: DayKey = (740_001, "acme")
START = Positions(0, 0)
STARTED_AT_TEN = Fact(STARTED, DAY[0], 1_000, 0, None, None, "sms", flags=10, conversation="c", text="contact")
MOVED_AWAY = Fact(CLOSED, DAY[0], 2_000, 0, None, None, "sms", "eva", flags=TRANSFERRED, conversation="c")
ACTIVE = Fact(ACTION, DAY[0], 1_000, 0, None, None, "sms")


class Watched(RedisLedger):
    """A ledger that tells what is read from it."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, NamespaceKeys("test").shard(0), 0)
        self.asked: list[tuple[bytes, list[bytes]]] = []

    async def read(self, fence: Any, reads: Any) -> list[list[bytes | None]]:
        self.asked += [(read.key, list(read.fields)) for read in reads]
        return await super().read(fence, reads)


async def opened(ledger: RedisLedger, cache_days: int = 100) -> Session:
    await ledger.create(START)
    claim = await ledger.claim()
    assert isinstance(claim, Claim)
    return Session(0, ledger, claim, 10, cache_days)


def facts(*added: Fact, gone: tuple[Fact, ...] = ()) -> DayFacts:
    day = DayFacts()
    for fact in gone:
        day.remove(b"ana", fact)
    for fact in added:
        day.add(b"ana", fact)
    return day


async def commit(session: Session, changes: list[DayChange]) -> None:
    await session.commit(START, Changes(days=[change.write for change in changes]))
    for change in changes:
        session.days.put(change.day, change.totals)


async def test_only_totals_are_read_and_of_a_day_that_is_known_nothing() -> None:
    ledger = Watched(FakeRedis())
    session = await opened(ledger)
    (change,) = await day_changes(session, {DAY: facts(STARTED_AT_TEN, ACTIVE)})
    totals = encode_vector({ACTION: 1, STARTED: 1, 16 + 10: 1})
    written = [part for fact in (STARTED_AT_TEN, ACTIVE) for part in (fact_field("ana", fact), fact_value(fact))]
    assert change == DayChange(DAY, totals, DayWrite(*DAY, [*written, TOTALS, totals]))
    await commit(session, [change])
    (change,) = await day_changes(session, {DAY: facts(MOVED_AWAY)})
    assert change.totals == encode_vector({ACTION: 1, STARTED: 1, 16 + 10: 1, CLOSED: 1, 9: 1})
    assert ledger.asked == [(ledger.keys.day(*DAY), [TOTALS])]


async def test_a_day_that_the_cache_forgot_is_read_again_and_not_taken_for_an_empty_one() -> None:
    ledger = Watched(FakeRedis())
    session = await opened(ledger, cache_days=1)
    for day in (DAY, OTHER):
        await commit(session, await day_changes(session, {day: facts(ACTIVE)}))
    both = await day_changes(session, {OTHER: facts(STARTED_AT_TEN), DAY: facts(STARTED_AT_TEN)})
    assert [change.totals for change in both] == [encode_vector({ACTION: 1, STARTED: 1, 26: 1})] * 2
    assert [key for key, _ in ledger.asked] == [ledger.keys.day(*day) for day in (DAY, OTHER, DAY)]


async def test_what_is_left_of_none_is_deleted_and_the_totals_with_it() -> None:
    ledger = Watched(FakeRedis())
    session = await opened(ledger)
    await commit(session, await day_changes(session, {DAY: facts(ACTIVE, STARTED_AT_TEN)}))
    (change,) = await day_changes(session, {DAY: facts(gone=(ACTIVE, STARTED_AT_TEN))})
    names = {fact_field("ana", fact) for fact in (ACTIVE, STARTED_AT_TEN)}
    assert (change.totals, change.write.values, set(change.write.deleted)) == (b"", [], {*names, TOTALS})
    await commit(session, [change])
    client: Any = ledger._client
    assert ledger.keys.day(*DAY) not in client.data


async def test_a_fact_that_may_be_sealed_is_taken_away_by_an_empty_value() -> None:
    ledger = Watched(FakeRedis())
    session = await opened(ledger)
    await commit(session, await day_changes(session, {DAY: facts(ACTIVE, STARTED_AT_TEN)}))
    session.sealed_below = DAY[0] + 1
    (change,) = await day_changes(session, {DAY: facts(gone=(ACTIVE,))})
    totals = encode_vector({STARTED: 1, 26: 1})
    assert change.write == DayWrite(*DAY, [fact_field("ana", ACTIVE), GONE, TOTALS, totals])
    # The day after is not sealed yet.
    await commit(session, await day_changes(session, {OTHER: facts(ACTIVE)}))
    (change,) = await day_changes(session, {OTHER: facts(gone=(ACTIVE,))})
    assert change.write == DayWrite(*OTHER, [], [fact_field("ana", ACTIVE), TOTALS])


async def test_a_fact_that_goes_and_comes_again_in_one_batch_is_only_written() -> None:
    session = await opened(Watched(FakeRedis()))
    session.sealed_below = DAY[0] + 1
    await commit(session, await day_changes(session, {DAY: facts(ACTIVE)}))
    day = facts(ACTIVE, gone=(ACTIVE,))
    (change,) = await day_changes(session, {DAY: day})
    assert change.write.values[:2] == [fact_field("ana", ACTIVE), fact_value(ACTIVE)]
    assert change.write.deleted == []
    day.remove(b"ana", ACTIVE)
    (change,) = await day_changes(session, {DAY: day})
    assert change.write.values[:2] == [fact_field("ana", ACTIVE), GONE]


async def test_days_before_the_horizon_are_left_out() -> None:
    session = await opened(Watched(FakeRedis()))
    session.horizon = OTHER[0]
    assert [change.day for change in await day_changes(session, {DAY: facts(ACTIVE), OTHER: facts(ACTIVE)})] == [OTHER]


async def test_totals_that_would_be_negative_are_refused() -> None:
    session = await opened(Watched(FakeRedis()))
    with pytest.raises(NegativeCounter, match="counter 3"):
        await day_changes(session, {DAY: facts(gone=(ACTIVE,))})


@pytest.mark.parametrize("damaged", [b"\xdd\xff\xff\xff\xff\x01", b"\x93\x01\x01\x01", b"\x91\xa1r", b"\xc1"])
async def test_totals_that_are_damaged_are_told(damaged: bytes) -> None:
    redis = FakeRedis()
    ledger = Watched(redis)
    session = await opened(ledger)
    redis.hash(ledger.keys.day(*DAY))[TOTALS] = damaged
    with pytest.raises(ValueError, match=r"truncated|argument|Expected|malformed"):
        await day_changes(session, {DAY: facts(ACTIVE)})
