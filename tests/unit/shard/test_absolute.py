"""What a batch asks Redis for before it writes counters, and what it writes."""

from typing import Any

import pytest

from aggregates.counters import encode_field
from aggregates.errors import NegativeCounter
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Changes, Claim, DayWrite, Positions, RedisLedger
from streams.shard.caches import DayKey
from streams.shard.day_values import day_changes, held_values
from streams.shard.session import Session
from tests.support.fake_redis import FakeRedis

DAY: DayKey = (740_000, "acme")
START = Positions(0, 0)


class Watched(RedisLedger):
    """A ledger that tells what is read from it."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, NamespaceKeys("test").shard(0), 0)
        self.asked: list[list[bytes]] = []

    async def read(self, fence: Any, reads: Any) -> list[list[bytes | None]]:
        self.asked.append([field for read in reads for field in read.fields])
        return await super().read(fence, reads)


async def opened(ledger: RedisLedger, cache_fields: int = 100) -> Session:
    await ledger.create(START)
    claim = await ledger.claim()
    assert isinstance(claim, Claim)
    return Session(0, ledger, claim, 10, cache_fields)


async def test_a_day_that_nobody_has_written_is_read_once_and_never_again() -> None:
    ledger = Watched(FakeRedis())
    session = await opened(ledger)
    assert await held_values(session, {DAY: {b"a": b"\x01", b"b": b"\x01"}}) == {DAY: [b"", b""]}
    session.days.put(DAY, {b"a": b"\x01", b"b": b"\x01"})
    assert await held_values(session, {DAY: {b"c": b"\x01", b"a": b"\x01"}}) == {DAY: [b"", b"\x01"]}
    assert ledger.asked == [[b"a", b"b"]]


async def test_of_a_day_with_fields_each_new_one_is_read() -> None:
    ledger = Watched(FakeRedis())
    session = await opened(ledger)
    await session.commit(START, Changes(days=[DayWrite(*DAY, [b"a", b"\x07"])]))
    assert await held_values(session, {DAY: {b"a": b"\x01", b"b": b"\x01"}}) == {DAY: [b"\x07", b""]}
    assert await held_values(session, {DAY: {b"c": b"\x01", b"b": b"\x01"}}) == {DAY: [b"", b""]}
    assert ledger.asked == [[b"a", b"b"], [b"c"]]


async def test_a_day_that_the_cache_forgot_is_not_taken_for_an_empty_one() -> None:
    ledger = Watched(FakeRedis())
    session = await opened(ledger, cache_fields=1)
    await held_values(session, {DAY: {b"a": b"\x01"}})
    await session.commit(START, Changes(days=[DayWrite(*DAY, [b"a", b"\x01"])]))
    session.days.put(DAY, {b"a": b"\x01"})
    session.days.put((740_001, "acme"), {b"z": b"\x01"})
    assert not session.days.is_whole(DAY)
    assert await held_values(session, {DAY: {b"a": b"\x01"}}) == {DAY: [b"\x01"]}


def test_values_are_set_and_what_is_left_of_none_is_deleted() -> None:
    deltas = {DAY: {b"more": b"\x02", b"less": b"\xff", b"gone": b"\xfe"}}
    (change,) = day_changes({DAY: [b"\x05", b"\x03", b"\x02"]}, deltas)
    assert change.values == {b"more": b"\x07", b"less": b"\x02", b"gone": b""}
    assert change.write == DayWrite(*DAY, [b"more", b"\x07", b"less", b"\x02"], [b"gone"])


def test_a_counter_that_would_be_negative_is_named() -> None:
    field = ("n", "Web", None, "email", 0)
    with pytest.raises(NegativeCounter, match="Web"):
        day_changes({DAY: [b""]}, {DAY: {encode_field(field): b"\xff"}})
