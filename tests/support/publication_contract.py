"""What publishing may rely on of Redis: the lock and the fence, held by the simulated Redis and by a real one alike."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from redis.exceptions import RedisError

from streams.snapshots.fenced import (
    GARBAGE_MS,
    MOST_INLINE_BYTES,
    MOST_INLINE_PARTS,
    Draft,
    FencedAccount,
    FenceLost,
    Known,
    MissingParts,
    Superseded,
    missing_parts,
    note_quiet,
    stored_name,
)
from streams.snapshots.lock import LOCK, Lease, LockBusy, LockLost, SnapshotLock, Ticket
from streams.snapshots.manifest import Manifest, PublicKeys, SnapshotterKeys, load_revision, unpacked_document
from streams.snapshots.parts import Attempt, Part


def manifest(revision: int, *parts: Part, absent: tuple[str, ...] = ()) -> Manifest:
    return Manifest(
        revision=revision,
        published_at_ms=1,
        as_of_ms=1,
        complete=True,
        timezone="UTC",
        today=739_000,
        rules="07",
        commits={0: (5, "t")},
        parts={part.name: part.version for part in parts},
        waiting={},
        positions={0: (10, 20)},
        absent=absent,
    )


def draft(
    revision: int, fresh: Mapping[Part, bytes], *kept: Part, absent: tuple[str, ...] = (), swept: Sequence[Part] = ()
) -> Draft:
    named = manifest(revision, *fresh, *kept, absent=absent)
    return Draft(named, b"document %d" % revision, b"{}", fresh, swept)


NOTHING = stored_name(None, None)


async def stored_of(client: Any, keys: PublicKeys) -> bytes:
    return stored_name(await client.get(keys.revision), await client.get(keys.manifest))


class Holder:
    """Holds the lock, or not any more."""

    def __init__(self, epoch: int, token: str) -> None:
        self.ticket = Ticket(epoch, token)
        self.is_ours = True

    async def outrun(self, epoch: int) -> None:
        if not self.is_ours:
            raise LockLost
        self.ticket = Ticket(epoch + 1, self.ticket.token)


class PublicationContract:
    """Collected only through its subclasses, which bring a client as the fixture `client`."""

    @pytest.fixture
    def keys(self, namespace: str) -> PublicKeys:
        return PublicKeys(namespace, "acme")

    # --- the lock -------------------------------------------------------------------------------------------------

    async def test_one_holds_the_lock_and_the_next_waits_for_it(self, client: Any, namespace: str) -> None:
        keys = SnapshotterKeys(namespace)
        held: list[int] = []

        async def work(lease: Lease) -> str:
            held.append(lease.ticket.epoch)
            if len(held) == 1:
                with pytest.raises(LockBusy, match="is it stuck"):
                    await SnapshotLock(client, keys, 0.6).run(work)
            return "done"

        # The second waits for two leases, which the first outlasts by renewing.
        assert await SnapshotLock(client, keys, 0.6).run(work) == "done"
        assert await SnapshotLock(client, keys, 0.6).run(work) == "done"
        assert held == [1, 2]
        assert await client.get(keys.lock) is None

    async def test_work_ends_although_a_renewal_loses_its_cancellation(
        self, client: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        renewing, lost = asyncio.Event(), []

        async def renew(_: Lease) -> None:
            renewing.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost.append(True)
                raise RedisError("closed") from None

        async def work(_: Lease) -> str:
            await renewing.wait()
            return "done"

        monkeypatch.setattr(Lease, "renew", renew)
        async with asyncio.timeout(20):
            assert await SnapshotLock(client, SnapshotterKeys(namespace), 2.0).run(work) == "done"
        assert lost

    async def test_the_lock_of_who_died_ends_by_itself(self, client: Any, namespace: str) -> None:
        keys = SnapshotterKeys(namespace)
        await client.eval(LOCK, 2, keys.lock, keys.epoch, "acquire", "dead", 300)

        async def work(lease: Lease) -> int:
            return lease.ticket.epoch

        assert await SnapshotLock(client, keys, 30).run(work) == 2

    async def test_a_lock_that_would_last_for_years_lasts_a_lease(self, client: Any, namespace: str) -> None:
        keys = SnapshotterKeys(namespace)
        await client.eval(LOCK, 2, keys.lock, keys.epoch, "acquire", "before the clock went back", 10**11)

        async def work(lease: Lease) -> int:
            return lease.ticket.epoch

        assert await SnapshotLock(client, keys, 0.5).run(work) == 2

    async def test_only_the_holder_writes_of_the_namespace(self, client: Any, namespace: str) -> None:
        keys = SnapshotterKeys(namespace)

        async def work(lease: Lease) -> None:
            await lease.set(keys.heads, {"a": b"1", "b": b"2"})
            await lease.delete(keys.heads, ["a"])
            assert await client.hgetall(keys.heads) == {b"b": b"2"}
            await client.delete(keys.lock)
            for refused in (lease.set(keys.heads, {"b": b"3"}), lease.delete(keys.heads, ["b"]), lease.renew()):
                with pytest.raises(LockLost):
                    await refused
            with pytest.raises(LockLost):
                await lease.outrun(5)
            assert await client.hgetall(keys.heads) == {b"b": b"2"}

        await SnapshotLock(client, keys, 30).run(work)

    async def test_an_epoch_is_outrun_by_the_holder(self, client: Any, namespace: str) -> None:
        keys = SnapshotterKeys(namespace)

        async def work(lease: Lease) -> Ticket:
            token = lease.ticket.token
            await lease.outrun(40)
            assert lease.ticket == Ticket(41, token)
            return lease.ticket

        await SnapshotLock(client, keys, 30).run(work)
        assert await client.get(keys.epoch) == b"41"

    # --- the fence ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("count", "size"), [(2, 9), (MOST_INLINE_PARTS + 1, 9), (2, MOST_INLINE_BYTES)], ids=["few", "many", "large"]
    )
    async def test_a_revision_is_published_whole(self, client: Any, keys: PublicKeys, count: int, size: int) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        known = await account.known(None, None)
        assert known == Known(NOTHING, None, is_damaged=False, revision=0)
        attempt = Attempt()
        parts = {attempt.part(str(739_000 + day)): b"%d" % day * size for day in range(count)}
        assert await load_revision(client, keys) is None
        await account.publish(known.stored, draft(1, parts), 3)
        found = await load_revision(client, keys, with_document=True)
        assert found is not None
        assert (found.manifest, found.document) == (manifest(1, *parts), b"document 1")
        assert {part: await client.get(keys.part(part)) for part in parts} == parts
        assert await client.get(keys.revision) == b"1"
        assert not await client.exists(keys.garbage)
        assert await missing_parts(client, keys, parts) == set()
        stored = await stored_of(client, keys)
        data = await client.get(keys.manifest)
        assert await account.known(b"1", data) == Known(stored, found.manifest, is_damaged=False, revision=1)

    async def test_many_parts_are_written_and_named_by_nothing_until_they_are_published(
        self, client: Any, keys: PublicKeys
    ) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        await account.claim()
        part = Attempt().part("739000")
        await account.write(part, b"x")
        assert await load_revision(client, keys) is None
        assert await self._garbage(client, keys) == {part}

    async def test_a_later_claim_takes_everything_from_the_earlier(self, client: Any, keys: PublicKeys) -> None:
        slow, quick = FencedAccount(client, keys, Holder(1, "a")), FencedAccount(client, keys, Holder(2, "b"))
        claimed = await slow.claim()
        attempt = Attempt()
        part = attempt.part("739000")
        await quick.claim()
        with pytest.raises(FenceLost):
            await slow.write(part, b"1")
        for fresh in ({}, {part: b"1"}, {attempt.part(str(day)): b"1" for day in range(MOST_INLINE_PARTS + 1)}):
            with pytest.raises(FenceLost):
                await slow.publish(claimed.stored, draft(1, fresh), 3)
        await client.hset(keys.garbage, "739000:old.1", "0:0")
        with pytest.raises(FenceLost):
            await slow.sweep()
        assert not await client.exists(keys.part(part), keys.manifest, keys.revision, keys.report, keys.history)

    async def test_a_later_publication_takes_everything_from_the_earlier_claim(
        self, client: Any, keys: PublicKeys
    ) -> None:
        slow, quick = FencedAccount(client, keys, Holder(1, "a")), FencedAccount(client, keys, Holder(2, "b"))
        await slow.claim()
        await quick.publish(NOTHING, draft(1, {}), 3)
        assert await client.get(keys.fence) == b"2 b"
        with pytest.raises(FenceLost):
            await slow.write(Attempt().part("739000"), b"1")
        with pytest.raises(FenceLost):
            await slow.publish(await stored_of(client, keys), draft(2, {}), 3)
        assert await client.get(keys.revision) == b"1"

    async def test_an_equal_epoch_with_another_token_is_another(self, client: Any, keys: PublicKeys) -> None:
        slow, quick = FencedAccount(client, keys, Holder(7, "a")), FencedAccount(client, keys, Holder(7, "b"))
        await slow.claim()
        await quick.claim()
        with pytest.raises(FenceLost):
            await slow.write(Attempt().part("739000"), b"x")

    @pytest.mark.parametrize("action", ["claim", "publish", "sweep"])
    async def test_an_earlier_epoch_cannot_take_the_fence(self, client: Any, keys: PublicKeys, action: str) -> None:
        async def act(holder: Holder) -> None:
            account = FencedAccount(client, keys, holder)
            match action:
                case "claim":
                    await account.claim()
                case "publish":
                    await account.publish(NOTHING, draft(1, {}), 3)
                case "sweep":
                    await account.sweep()

        late, holder = Holder(1, "a"), Holder(1, "c")
        quick = FencedAccount(client, keys, Holder(2, "b"))
        await quick.claim()
        await quick.write(Attempt().part("739000"), b"x")
        late.is_ours = False
        with pytest.raises(LockLost):
            await act(late)
        assert await client.get(keys.fence) == b"2 b"
        assert not await client.exists(keys.revision)
        # Who does hold the lock outruns it: the lock's server went back to an older copy.
        await act(holder)
        assert holder.ticket == Ticket(3, "c")
        assert await client.get(keys.fence) == b"3 c"

    async def test_another_revision_is_not_replaced(self, client: Any, keys: PublicKeys) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        first, second = Attempt().part("739000"), Attempt().part("739000")
        await account.publish(NOTHING, draft(1, {first: b"1"}), 3)
        with pytest.raises(Superseded, match="revision 1"):
            await account.publish(NOTHING, draft(1, {second: b"2"}, swept=[first]), 3)
        found = await load_revision(client, keys)
        assert found is not None
        assert found.manifest == manifest(1, first)
        assert await missing_parts(client, keys, [first, second]) == {second}

    async def test_another_revision_of_the_same_number_is_not_replaced(self, client: Any, keys: PublicKeys) -> None:
        """Redis went back to an older copy, and another one was published since."""
        account = FencedAccount(client, keys, Holder(1, "a"))
        await account.publish(NOTHING, draft(1, {Attempt().part("739000"): b"1"}), 3)
        stored = await stored_of(client, keys)
        await client.delete(keys.revision, keys.manifest, keys.history)
        other = Attempt().part("739000")
        await account.publish(NOTHING, draft(1, {other: b"2"}), 3)
        with pytest.raises(Superseded, match="revision 1"):
            await account.publish(stored, draft(2, {}), 3)
        found = await load_revision(client, keys)
        assert found is not None
        assert found.manifest == manifest(1, other)

    async def test_a_revision_names_nothing_that_is_not_there_or_not_whole(self, client: Any, keys: PublicKeys) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        attempt = Attempt()
        kept, gone = attempt.part("738999"), attempt.part("738998")
        await account.publish(NOTHING, draft(1, {kept: b"kept"}), 3)
        fresh = {attempt.part(str(739_000 + day)): b"whole" for day in range(MOST_INLINE_PARTS + 1)}
        half, lost, *_ = fresh
        write = account.write

        async def losing(part: Part, value: bytes) -> None:
            await write(part, value)
            if part == half:
                await client.set(keys.part(part), value[:-1])
            elif part == lost:
                await client.delete(keys.part(part))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(account, "write", losing)
            with pytest.raises(MissingParts) as caught:
                await account.publish(await stored_of(client, keys), draft(2, fresh, kept, gone), 3)
        assert set(caught.value.parts) == {half, lost, gone}
        with pytest.raises(MissingParts) as caught:
            await account.publish(await stored_of(client, keys), draft(2, {attempt.part("1"): b"1"}, kept, gone), 3)
        assert set(caught.value.parts) == {gone}
        assert await missing_parts(client, keys, [kept, gone]) == {gone}
        assert await client.get(keys.revision) == b"1"
        # What is known to be lost may be named all the same.
        await account.publish(
            await stored_of(client, keys), draft(2, {attempt.part("1"): b"1"}, kept, gone, absent=(gone.name,)), 3
        )
        assert await client.get(keys.revision) == b"2"

    async def test_a_part_is_never_written_twice(self, client: Any, keys: PublicKeys) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        await account.claim()
        part = Attempt().part("739000")
        await account.write(part, b"1")
        with pytest.raises(RuntimeError, match="second time"):
            await account.write(part, b"2")
        assert await client.get(keys.part(part)) == b"1"

    async def test_what_is_lost_of_an_account_is_told_by_the_claim(self, client: Any, keys: PublicKeys) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        await account.publish(NOTHING, draft(1, {}), 3)
        await account.publish(await stored_of(client, keys), draft(2, {}), 3)
        whole = await client.get(keys.manifest)
        await client.set(keys.manifest, b"\xc1")
        assert await account.known(b"2", b"\xc1") == Known(
            stored_name(b"2", b"\xc1"), None, is_damaged=True, revision=2
        )
        await client.delete(keys.manifest, keys.revision)
        assert await account.known(None, None) == Known(NOTHING, None, is_damaged=True, revision=2)
        # A stored revision that is not the manifest's: the next one is after both.
        await client.set(keys.manifest, whole)
        await client.set(keys.revision, "7")
        assert await account.known(b"7", whole) == Known(
            stored_name(b"7", whole), manifest(2), is_damaged=False, revision=7
        )

    async def test_history_keeps_the_newest_documents(self, client: Any, keys: PublicKeys) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        for revision in range(1, 6):
            await account.publish(await stored_of(client, keys), draft(revision, {}), 3)
        found = await client.hgetall(keys.history)
        assert {int(number): unpacked_document(data) for number, data in found.items()} == {
            number: b"document %d" % number for number in (3, 4, 5)
        }
        # Fewer are kept than before.
        await account.publish(await stored_of(client, keys), draft(6, {}), 1)
        assert await client.hkeys(keys.history) == [b"6"]

    async def test_only_of_the_newest_revision_is_it_noted_that_it_still_says_all(
        self, client: Any, keys: PublicKeys
    ) -> None:
        async def as_of_ms() -> int:
            found = await load_revision(client, keys)
            assert found is not None
            return found.as_of_ms

        holder = Holder(2, "b")
        await FencedAccount(client, keys, holder).publish(NOTHING, draft(1, {}), 3)
        assert await as_of_ms() == 1
        await note_quiet(client, Holder(1, "a"), {keys: 1}, 100)
        await note_quiet(client, holder, {keys: 2}, 200)
        assert await as_of_ms() == 1
        await note_quiet(client, holder, {keys: 1}, 300)
        assert await as_of_ms() == 300
        await FencedAccount(client, keys, holder).publish(await stored_of(client, keys), draft(2, {}), 3)
        assert await as_of_ms() == 1, "the note was about the revision before"

    # --- garbage --------------------------------------------------------------------------------------------------

    async def test_what_was_written_and_never_named_goes_after_its_time_and_revisions(
        self, client: Any, keys: PublicKeys
    ) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        await account.claim()
        attempt = Attempt()
        early, late, named = attempt.part("1"), attempt.part("1"), attempt.part("2")
        await account.write(early, b"x")
        await account.publish(NOTHING, draft(1, {named: b"x"}), 3)
        await account.publish(await stored_of(client, keys), draft(2, {}, named), 3)
        await account.write(late, b"x")
        # A note about a part that the manifest names is a mistake, whoever made it.
        await client.hset(keys.garbage, named.member, "0:0")
        await self._pass(client, keys, GARBAGE_MS - 60_000)
        assert await account.sweep() == 0
        assert await self._garbage(client, keys) == {early, late}
        await client.hset(keys.garbage, named.member, "0:0")
        await self._pass(client, keys, 60_000)
        assert await account.sweep() == 1, "the late one is of the newest revision"
        assert await self._garbage(client, keys) == {late}
        await account.publish(await stored_of(client, keys), draft(3, {}, named), 3)
        assert await account.sweep() == 0
        await account.publish(await stored_of(client, keys), draft(4, {}, named), 3)
        assert await account.sweep() == 1
        assert await self._garbage(client, keys) == set()
        assert not await client.exists(keys.garbage)
        assert [await client.exists(keys.part(part)) for part in (early, late, named)] == [0, 0, 1]

    async def test_what_was_noted_before_redis_went_back_waits_anew(self, client: Any, keys: PublicKeys) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        await account.claim()
        part = Attempt().part("1")
        await account.write(part, b"x")
        await client.hset(keys.garbage, part.member, f"40:{2 * GARBAGE_MS}")
        await account.publish(NOTHING, draft(1, {}), 3)
        assert await account.sweep() == 0
        await account.publish(await stored_of(client, keys), draft(2, {}), 3)
        await account.publish(await stored_of(client, keys), draft(3, {}), 3)
        await self._pass(client, keys, GARBAGE_MS - 60_000)
        assert await account.sweep() == 0
        await self._pass(client, keys, 60_000)
        assert await account.sweep() == 1

    async def test_replaced_parts_go_with_the_revision_that_says_so(self, client: Any, keys: PublicKeys) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        attempt = Attempt()
        old, new = attempt.part("1"), attempt.part("1")
        await account.publish(NOTHING, draft(1, {old: b"x"}), 3)
        await account.publish(await stored_of(client, keys), draft(2, {new: b"y"}), 3)
        assert await missing_parts(client, keys, [old, new]) == set()
        with pytest.raises(MissingParts):
            await account.publish(await stored_of(client, keys), draft(3, {}, new, attempt.part("2"), swept=[old]), 3)
        assert await missing_parts(client, keys, [old, new]) == set()
        await account.publish(await stored_of(client, keys), draft(3, {}, new, swept=[old]), 3)
        assert await missing_parts(client, keys, [old, new]) == {old}

    async def test_without_a_readable_manifest_nothing_is_swept(self, client: Any, keys: PublicKeys) -> None:
        account = FencedAccount(client, keys, Holder(1, "a"))
        await account.claim()
        part = Attempt().part("1")
        await account.write(part, b"x")
        for revision in range(1, 4):
            await account.publish(await stored_of(client, keys), draft(revision, {}), 3)
        await self._pass(client, keys, 6 * GARBAGE_MS)
        for damaged in (b"\xc1", msgspec.msgpack.encode({"revision": 1, "days": {}})):
            await client.set(keys.manifest, damaged)
            assert await account.sweep() == 0
        assert await client.exists(keys.part(part))

    async def _garbage(self, client: Any, keys: PublicKeys) -> set[Part]:
        return {Part.of_member(member) for member in await client.hkeys(keys.garbage) if member != b"clock"}

    async def _pass(self, client: Any, keys: PublicKeys, milliseconds: int) -> None:
        age, seen = (await client.hget(keys.garbage, "clock")).split(b":")
        await client.hset(keys.garbage, "clock", b"%d:%s" % (int(age) + milliseconds, seen))
