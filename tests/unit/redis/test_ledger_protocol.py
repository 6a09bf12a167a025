"""A ledger's protocol on a Redis in memory: the contract, and what it does when answers are lost."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import (
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from streams.errors import SessionLost, ShardStopped, Unavailable
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Changes, Claim, Positions, Reads, RedisLedger
from streams.shard.session import Session
from tests.support.fake_redis import FakeRedis, no_hook
from tests.support.ledger_contract import NEXT, START, LedgerContract


@pytest.fixture
def namespace() -> str:
    return "test"


@pytest.fixture
def client() -> FakeRedis:
    return FakeRedis()


class TestFakeLedger(LedgerContract):
    async def leave_half_written(self, client: Any, key: bytes) -> None:
        client.hash(key)[b"busy"] = b"1"


class Breaking:
    """A hook that raises once, at the first command of a name."""

    def __init__(self, command: str, moment: str, error: Exception) -> None:
        self.at: tuple[str, str] | None = (command, moment)
        self.error = error

    async def __call__(self, command: str, moment: str) -> None:
        if (command, moment) == self.at:
            self.at = None
            raise self.error


async def claimed(client: FakeRedis) -> tuple[RedisLedger, Claim]:
    ledger = RedisLedger(client, NamespaceKeys("test").shard(0), 0, now_ms=lambda: 0)  # type: ignore[arg-type]
    await ledger.create(START)
    claim = await ledger.claim()
    assert claim is not None
    return ledger, claim


LOST_REPLIES = [RedisConnectionError("reset"), RedisTimeoutError("slow"), OSError("gone")]


@pytest.mark.parametrize("error", LOST_REPLIES, ids=lambda error: type(error).__name__)
async def test_a_commit_whose_reply_is_lost_is_found_done(client: FakeRedis, error: Exception) -> None:
    ledger, claim = await claimed(client)
    client.hook = Breaking("commit", "after", error)
    fence = await ledger.commit(claim.fence, NEXT, Changes(states=[b"ana", b"state"]))
    assert fence == claim.fence._replace(positions=NEXT, seq=1)
    assert await ledger.read(fence, [Reads(ledger.keys.states, [b"ana"])]) == [[b"state"]]


@pytest.mark.parametrize("error", LOST_REPLIES, ids=lambda error: type(error).__name__)
async def test_a_commit_that_never_arrived_is_found_undone(client: FakeRedis, error: Exception) -> None:
    ledger, claim = await claimed(client)
    client.hook = Breaking("commit", "before", error)
    with pytest.raises(Unavailable, match="not done"):
        await ledger.commit(claim.fence, NEXT, Changes(states=[b"ana", b"state"]))
    assert await ledger.read(claim.fence, [Reads(ledger.keys.states, [b"ana"])]) == [[None]]


async def test_a_lost_reply_is_no_success_when_another_worker_reached_the_same_position(client: FakeRedis) -> None:
    ledger, claim = await claimed(client)
    other = RedisLedger(client.sharing(no_hook), ledger.keys, 0)  # type: ignore[arg-type]

    async def overtaken(command: str, moment: str) -> None:
        if (command, moment) == ("commit", "before"):
            client.hook = no_hook
            theirs = await other.claim()
            assert theirs is not None
            await other.commit(theirs.fence, NEXT, Changes(states=[b"ana", b"theirs"]))
            raise RedisTimeoutError

    client.hook = overtaken
    with pytest.raises(Unavailable):
        await ledger.commit(claim.fence, NEXT, Changes(states=[b"ana", b"mine"]))
    assert client.data[ledger.keys.states] == {b"ana": b"theirs"}


@pytest.mark.parametrize(
    "error",
    [
        NoScriptError("No matching script"),
        OutOfMemoryError("command not allowed"),
        BusyLoadingError("Redis is loading the dataset in memory"),
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("BUSY Redis is busy running a script"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("MASTERDOWN Link with MASTER is down"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_that_says_not_executed_waits_and_claims_again(client: FakeRedis, error: Exception) -> None:
    ledger, claim = await claimed(client)
    client.hook = Breaking("commit", "before", error)
    with pytest.raises(Unavailable, match="not committed"):
        await ledger.commit(claim.fence, NEXT, Changes())


async def test_any_other_error_of_the_script_stops_the_shard(client: FakeRedis) -> None:
    ledger, claim = await claimed(client)
    client.hook = Breaking("commit", "before", ResponseError("WRONGTYPE Operation against a key"))
    with pytest.raises(ShardStopped, match="WRONGTYPE"):
        await ledger.commit(claim.fence, NEXT, Changes())


async def test_an_idle_session_notices_that_redis_went_back(client: FakeRedis) -> None:
    ledger, claim = await claimed(client)
    session = Session(0, ledger, claim, 10, 10)
    await session.verify()
    old = client.copied()
    await session.commit(NEXT, Changes())
    client.restore(old)
    with pytest.raises(SessionLost, match=r"the ledger is at \(10, 20, 0\)"):
        await session.verify()


async def test_verifying_says_nothing_about_a_commit_under_way(client: FakeRedis) -> None:
    ledger, claim = await claimed(client)
    session = Session(0, ledger, claim, 10, 10)

    async def committed_meanwhile(command: str, moment: str) -> None:
        if (command, moment) == ("read", "before"):
            client.hook = no_hook
            session.engage()
            await session.commit(Positions(12, 30), Changes())
            session.rest()

    client.hook = committed_meanwhile
    await session.verify()
    assert session.positions == Positions(12, 30)


async def test_two_claims_never_get_one_token(client: FakeRedis) -> None:
    ledger, _ = await claimed(client)
    claims = await asyncio.gather(*(ledger.claim() for _ in range(50)))
    assert len({claim.fence.token for claim in claims if claim is not None}) == 50
