"""Work beside folding: it comes round to every shard that is folded here, and what fails stops no shard."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisAway

from streams.errors import EngineError
from streams.intake.shard_feed import ShardFeed
from streams.shard.session import Session
from streams.worker.upkeep import Upkeep


class Counted(Upkeep):
    every_seconds = 0.01
    purpose = "counting"

    def __init__(self, shards: dict[int, Any], errors: tuple[Exception, ...] = ()) -> None:
        self.failed: list[tuple[int, Exception]] = []
        ownership: Any = SimpleNamespace(
            shards=shards, failed=lambda feed, error: self.failed.append((feed.shard, error))
        )
        super().__init__(ownership)
        self.worked: list[int] = []
        self.errors = list(errors)

    async def work(self, feed: ShardFeed, _session: Session, /) -> None:
        self.worked.append(feed.shard)
        if self.errors:
            raise self.errors.pop()


def feed(shard: int, *, folded: bool = True) -> Any:
    return SimpleNamespace(shard=shard, session=object() if folded else None)


async def test_rounds_come_to_every_shard_that_is_folded_here() -> None:
    upkeep = Counted({3: feed(3), 5: feed(5), 7: feed(7, folded=False)})
    await upkeep.start()
    try:
        async with asyncio.timeout(10):
            while len(upkeep.worked) < 6:  # noqa: ASYNC110 - another task
                await asyncio.sleep(0.01)
    finally:
        await upkeep.stop()
    assert upkeep.worked[:6] == [3, 5, 3, 5, 3, 5]


async def test_what_ends_the_session_is_told_and_the_rest_waits_for_the_next_round(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = EngineError("the shard is another's")
    upkeep = Counted({}, (ValueError("damaged"), RedisAway("away"), lost))
    for _ in range(4):
        await upkeep.sweep(feed(3))
    assert upkeep.worked == [3, 3, 3, 3]
    assert upkeep.failed == [(3, lost)]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["counting of shard 3"]


async def test_an_error_of_a_session_that_was_replaced_is_nobodys() -> None:
    place = feed(3)
    upkeep = Counted({}, (EngineError("gone"),))
    work = upkeep.work

    async def replaced(feed: ShardFeed, session: Session, /) -> None:
        place.session = object()
        await work(feed, session)

    upkeep.work = replaced  # type: ignore[method-assign]
    await upkeep.sweep(place)
    assert upkeep.failed == []
