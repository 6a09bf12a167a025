"""The contract of a ledger, held by the fake of `fake_redis` and by a real Redis alike."""

import asyncio
from typing import Any

import pytest

from streams.errors import SessionLost, ShardStopped
from streams.redis.keys import NamespaceKeys, ShardKeys
from streams.redis.ledger import Changes, DayWrite, Positions, Reads, RedisLedger

START = Positions(10, 20)
NEXT = Positions(11, 25)


class LedgerContract:
    """Collected only through its subclasses, which bring a client as the fixture `client`."""

    @pytest.fixture
    def shard_keys(self, namespace: str) -> ShardKeys:
        return NamespaceKeys(namespace).shard(3)

    @pytest.fixture
    def ledger(self, client: Any, shard_keys: ShardKeys) -> RedisLedger:
        return RedisLedger(client, shard_keys, 3, now_ms=lambda: 0)

    async def test_a_shard_without_a_ledger_is_not_claimed(self, ledger: RedisLedger) -> None:
        assert await ledger.claim() is None

    async def test_a_new_ledger_stands_where_it_was_made(self, ledger: RedisLedger) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        assert (claim.fence.positions, claim.fence.seq) == (START, 0)
        assert (claim.checks, claim.gap, claim.horizon, claim.sealed_below) == ((None, None), None, 0, 0)

    async def test_making_a_ledger_again_leaves_it_as_it_is(self, ledger: RedisLedger) -> None:
        await ledger.create(START)
        await ledger.create(Positions(0, 0))
        claim = await ledger.claim()
        assert claim is not None
        assert claim.fence.positions == START

    async def test_a_commit_writes_everything_and_moves_the_position(
        self, ledger: RedisLedger, shard_keys: ShardKeys
    ) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        changes = Changes(
            states=[b"ana", b"state"],
            chunks=[b"ana#0", b"chunk", b"ana#1", b"another"],
            rules=[b"acme#1", b"{}"],
            days=[DayWrite(739000, "acme", [b"f", b"1", b"g", b"2"]), DayWrite(739001, "acme", [b"f", b"3"])],
            checks=(b"10:abc", None),
        )
        fence = await ledger.commit(claim.fence, NEXT, changes)
        assert (fence.positions, fence.seq, fence.token) == (NEXT, 1, claim.fence.token)
        fence = await ledger.commit(
            fence, NEXT, Changes(chunks_gone=[b"ana#0"], days=[DayWrite(739000, "acme", [], [b"g"])])
        )
        read = await ledger.read(
            fence,
            [
                Reads(shard_keys.states, [b"ana", b"bob"]),
                Reads(shard_keys.chunks, [b"ana#0", b"ana#1"]),
                Reads(shard_keys.rules, [b"acme#1"]),
                Reads(shard_keys.day(739000, "acme"), [b"f", b"g"]),
                Reads(shard_keys.day(739001, "acme"), [b"f"]),
                Reads(shard_keys.states, []),
                Reads(shard_keys.day(739002, "acme"), []),
            ],
        )
        assert read == [[b"state", None], [None, b"another"], [b"{}"], [b"1", None], [b"3"], [b"1"], [b"0"]]
        again = await ledger.claim()
        assert again is not None
        assert again.checks == (b"10:abc", None)

    async def test_versions_of_settings_go_with_their_marks(self, ledger: RedisLedger, shard_keys: ShardKeys) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        marks = Changes(rules=[b"a#1", b"{1}", b"a#2", b"{2}"], rules_used=[b"a#1", b"7", b"a#2", b"8"])
        fence = await ledger.commit(claim.fence, NEXT, marks)
        gone = Changes(states=[b"ana", b"state"], rules_gone=[b"a#1"], days=[DayWrite(739000, "acme", [b"f", b"1"])])
        fence = await ledger.commit(fence, NEXT, gone)
        wanted = [b"a#1", b"a#2"]
        read = await ledger.read(
            fence,
            [
                Reads(shard_keys.rules, wanted),
                Reads(shard_keys.rules_used, wanted),
                Reads(shard_keys.states, [b"ana"]),
                Reads(shard_keys.day(739000, "acme"), [b"f"]),
            ],
        )
        assert read == [[None, b"{2}"], [None, b"8"], [b"state"], [b"1"]]

    async def test_more_values_than_one_call_takes_are_all_written(
        self, ledger: RedisLedger, shard_keys: ShardKeys
    ) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        fields = [b"%d" % number for number in range(10_000)]
        values = [part for field in fields for part in (field, field)]
        day = DayWrite(739000, "acme", list(values))
        fence = await ledger.commit(claim.fence, NEXT, Changes(states=values, days=[day]))
        fence = await ledger.commit(fence, NEXT, Changes(days=[DayWrite(739000, "acme", [], fields[1:])]))
        day_key = shard_keys.day(739000, "acme")
        states, left = await ledger.read(fence, [Reads(shard_keys.states, fields), Reads(day_key, fields)])
        assert states == fields
        assert left == [b"0", *[None] * 9_999]

    async def test_a_second_claim_takes_the_shard_from_the_first(self, ledger: RedisLedger) -> None:
        await ledger.create(START)
        first = await ledger.claim()
        second = await ledger.claim()
        assert first is not None
        assert second is not None
        with pytest.raises(SessionLost):
            await ledger.commit(first.fence, NEXT, Changes(states=[b"ana", b"zombie"]))
        with pytest.raises(SessionLost, match="another worker"):
            await ledger.read(first.fence, ())
        assert await ledger.read(second.fence, [Reads(ledger.keys.states, [b"ana"])]) == [[None]]

    async def test_a_commit_from_another_position_is_refused(self, ledger: RedisLedger) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        for wrong in (
            claim.fence._replace(positions=Positions(9, 20)),
            claim.fence._replace(positions=Positions(10, 21)),
            claim.fence._replace(seq=1),
        ):
            with pytest.raises(SessionLost):
                await ledger.commit(wrong, NEXT, Changes(states=[b"ana", b"state"]))
            with pytest.raises(SessionLost):
                await ledger.read(wrong, ())
        assert await ledger.read(claim.fence, [Reads(ledger.keys.states, [b"ana"])]) == [[None]]

    async def test_a_sealed_day_is_neither_open_nor_changed(
        self, ledger: RedisLedger, shard_keys: ShardKeys, client: Any
    ) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        days = [DayWrite(739000, "acme", [b"f", b"1", b"t", b"2"]), DayWrite(739001, "a:b", [b"g", b"3"])]
        fence = await ledger.commit(claim.fence, NEXT, Changes(days=days))

        async def listed() -> tuple[list[bytes], list[float | None]]:
            members = [b"739000:acme", b"739001:a:b"]
            return await client.zrange(shard_keys.open, 0, -1), await client.zmscore(shard_keys.changed, members)

        assert await listed() == ([b"739000:acme", b"739001:a:b"], [1, 1])
        assert await client.zrange(shard_keys.open, "-inf", "(739001", byscore=True, offset=0, num=9) == [
            b"739000:acme"
        ]
        in_part = DayWrite(739000, "acme", [b"z", b"all"], [], same=True, open=True)
        fence = await ledger.commit(fence, NEXT, Changes(days=[in_part]))
        assert await listed() == ([b"739000:acme", b"739001:a:b"], [1, 1])
        whole = DayWrite(739000, "acme", [b"z", b"all"], [b"f"], same=True)
        fence = await ledger.commit(fence, NEXT, Changes(days=[whole], sealed_below=739001))
        assert await listed() == ([b"739001:a:b"], [1, 1])
        day = Reads(shard_keys.day(739000, "acme"), [b"f", b"t", b"z"])
        assert await ledger.read(fence, [day]) == [[None, b"2", b"all"]]
        again = await ledger.claim()
        assert again is not None
        assert again.sealed_below == 739001
        # What is written of it after that opens it again.
        fence = await ledger.commit(again.fence, NEXT, Changes(days=[DayWrite(739000, "acme", [b"f", b""])]))
        assert (await listed())[0] == [b"739000:acme", b"739001:a:b"]
        gone = [DayWrite(739000, "acme", whole=True), DayWrite(739001, "a:b", whole=True)]
        await ledger.commit(fence, NEXT, Changes(days=gone))
        assert await listed() == ([], [None, None])
        assert await client.hlen(shard_keys.day(739000, "acme")) == 0

    async def test_a_whole_day_is_deleted_and_the_horizon_kept(
        self, ledger: RedisLedger, shard_keys: ShardKeys
    ) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        fence = await ledger.commit(claim.fence, NEXT, Changes(days=[DayWrite(700000, "acme", [b"f", b"1"])]))
        gone = Changes(days=[DayWrite(700000, "acme", whole=True)], horizon=700001)
        fence = await ledger.commit(fence, NEXT, gone)
        assert await ledger.read(fence, [Reads(shard_keys.day(700000, "acme"), [b"f"])]) == [[None]]
        again = await ledger.claim()
        assert again is not None
        assert again.horizon == 700001

    async def test_a_gap_is_marked_for_good(self, ledger: RedisLedger) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        fence = await ledger.commit(claim.fence, NEXT, Changes(gap=b"contacts 10 to 10"))
        await ledger.commit(fence, NEXT, Changes())
        again = await ledger.claim()
        assert again is not None
        assert again.gap == b"contacts 10 to 10"

    async def test_commits_of_two_claims_at_once_never_both_happen(self, ledger: RedisLedger) -> None:
        await ledger.create(START)
        claims = [await ledger.claim(), await ledger.claim()]
        answers = await asyncio.gather(
            *(ledger.commit(claim.fence, NEXT, Changes()) for claim in claims if claim), return_exceptions=True
        )
        assert [type(answer).__name__ for answer in answers] == ["SessionLost", "Fence"]

    async def test_a_ledger_left_half_written_refuses_the_shard(self, ledger: RedisLedger, client: Any) -> None:
        await ledger.create(START)
        claim = await ledger.claim()
        assert claim is not None
        await self.leave_half_written(client, ledger.keys.ledger)
        with pytest.raises(ShardStopped, match="half"):
            await ledger.claim()
        with pytest.raises(ShardStopped, match="half"):
            await ledger.commit(claim.fence, NEXT, Changes())

    async def leave_half_written(self, client: Any, key: bytes) -> None:
        """Put the mark there that a script leaves which fails after its first write."""
        raise NotImplementedError
