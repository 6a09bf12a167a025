"""A shard that goes back while an account is read: what it has committed again since is not missed."""

from typing import Any

from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Changes, DayWrite, Positions, RedisLedger
from streams.redis.shard_reader import ShardReader
from tests.simulation.redis_server import Server
from tests.simulation.world import _Direct

KEYS = NamespaceKeys("test")
NAME = b"\x03" + bytes(7) + b"ana"
"""A fact's field: of any kind, at any instant."""


async def test_days_committed_again_by_a_clock_that_is_behind_are_in_the_cut() -> None:
    server = Server(lambda: 0.0)
    client: Any = _Direct(server)
    now = 2_000
    ledger = RedisLedger(client, KEYS.shard(0), 0, now_ms=lambda: now)
    reader = ShardReader(client, KEYS, 0)
    await ledger.create(Positions(0, 0))

    async def commit(day: int) -> None:
        claim = await ledger.claim()
        assert claim is not None
        write = DayWrite(day, "acme", [NAME, b"\x90"])
        await ledger.commit(claim.fence, Positions(1, claim.fence.positions.conversations + 1), Changes(days=[write]))

    server.copy()
    await commit(739_000)  # by a clock that is ahead
    scan = await reader.scan(0)
    assert scan.changes == {"acme": {739_000: 2_000}}
    # Redis goes back behind that, and another worker commits this day and another one, by a clock that is right.
    server.go_back(0.0)
    now = 1_000
    await commit(739_000)
    await commit(739_001)
    cut = await reader.cut("acme", {739_000}, scan.state.seq, scan.state.token)
    assert cut.days.keys() == {739_000, 739_001}
    assert await reader.cuts({"acme": {739_000}}, scan.state.seq, scan.state.token) == {}
    # Its clock passes the other one's: the number alone tells nothing any more, the claim does.
    now = 3_000
    await commit(739_000)
    cut = await reader.cut("acme", {739_000}, scan.state.seq, scan.state.token)
    assert cut.days.keys() == {739_000, 739_001}
    assert (await reader.cut("acme", {739_000}, scan.state.seq)).days.keys() == {739_000}
