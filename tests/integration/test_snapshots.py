"""Publishing and reading snapshots on a real Redis: the shards' facts are put there as a worker would."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, tzinfo
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import redis.asyncio
from redis.crc import key_slot

from aggregates.counters import decode_vector, encode_vector
from aggregates.filters import Filters
from aggregates.lists import ListRefused
from aggregates.periods import Period, RangeError, presets
from aggregates.rules import Rules
from aggregates.sealed import SEALED, TOTALS
from schemas import zones
from schemas.accounts import decode_settings, default_settings, encode_settings
from schemas.events import decode_event
from schemas.lists import LISTS
from streams.cli.check import _reports, _settings
from streams.config import Config, Secret
from streams.kafka.gaps import Gap, Gaps, encode_gaps
from streams.kafka.log_end import LogEnds
from streams.redis.keys import NamespaceKeys, day_member
from streams.redis.shard_reader import ShardReader, UnsteadyShard
from streams.snapshots.blocks import Blocks
from streams.snapshots.fenced import FencedAccount, FenceLost, Superseded, note_quiet
from streams.snapshots.lock import LockLost, Ticket
from streams.snapshots.manifest import (
    Manifest,
    OtherFormat,
    PublicKeys,
    decode_manifest,
    encode_manifest,
    load_manifest,
    load_revision,
    unpacked_document,
)
from streams.snapshots.parts import SETTINGS, Part, days_of
from streams.snapshots.publisher import LogCut, Publisher, Round
from streams.snapshots.reader import ListQuery, MissingPart, NoReport, SnapshotReader
from streams.snapshots.snapshotter import NothingToPublish, Snapshotter
from tests.conftest import RedisAddress
from tests.support.differences import differences
from tests.support.folded import Folded, stored_day

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
SHARDS = 3
AS_OF_MS = 1_775_000_000_000  # 2026-03-31 in all three zones of the golden accounts
WHOLE = (date(2026, 2, 25), date(2026, 4, 25))


class Ends(LogEnds):
    """A log that ends where the test says."""

    def __init__(self, ends: dict[int, tuple[int, int]]) -> None:
        self.ends = ends

    async def read(self, partitions: int) -> dict[int, tuple[int, int]]:
        return {shard: self.ends[shard] for shard in range(partitions)}

    async def close(self) -> None:
        pass


class Shards:
    """What workers would have committed: events folded shard by shard, written with a sequence number."""

    def __init__(self, client: Any, namespace: str) -> None:
        self._client = client
        self.keys = NamespaceKeys(namespace)
        accounts = [decode_settings(line) for line in (GOLDEN / "accounts.jsonl").read_bytes().splitlines()]
        self.whole = Folded(accounts)
        self._parts = [Folded(accounts) for _ in range(SHARDS)]
        self.seqs = [0] * SHARDS
        self.sealed_before = 0
        """Days before this one are sealed."""

    async def begin(self) -> None:
        await self._client.hset(self.keys.meta, "partitions", SHARDS)
        for account_id, settings in self.whole.settings.items():
            await self._client.hset(self.keys.settings, account_id, encode_settings(settings))

    async def commit(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            event = decode_event(line)
            self.whole.fold(event)
            self._parts[zlib.crc32(event.contact_id.encode()) % SHARDS].fold(event)
        for shard in range(SHARDS):
            await self.write(shard)

    async def write(self, shard: int) -> None:
        keys = self.keys.shard(shard)
        self.seqs[shard] += 1
        seq = self.seqs[shard]
        for account_id, days in self._parts[shard].days.items():
            for day, facts in days.items():
                held = stored_day(day, facts, sealed=day < self.sealed_before)
                if await self._client.hgetall(keys.day(day, account_id)) == held:
                    continue
                await self._client.delete(keys.day(day, account_id))
                if held:
                    await self._client.hset(keys.day(day, account_id), mapping=held)
                await self._client.zadd(keys.changed, {day_member(day, account_id): seq})
        ledger = {"token": "t", "contacts": 10 * seq, "conversations": 20 * seq, "seq": seq}
        await self._client.hset(keys.ledger, mapping=ledger)

    def ends(self) -> dict[int, tuple[int, int]]:
        return {shard: (10 * seq, 20 * seq) for shard, seq in enumerate(self.seqs)}

    def metrics(
        self, account_id: str, first: date, last: date, filters: dict[str, list[str]], as_of_ms: int = AS_OF_MS
    ) -> dict[str, Any]:
        """What a report published as of an instant answers."""
        return self.whole.metrics(account_id, first, last, filters, as_of_ms)


def now_ms() -> int:
    """As of when a round publishes."""
    return int(time.time() * 1000)


def golden_lines() -> list[bytes]:
    return (GOLDEN / "events.jsonl").read_bytes().splitlines()


@pytest.fixture
async def client(redis_server: RedisAddress) -> AsyncIterator[Any]:
    made = redis.asyncio.Redis.from_url(redis_server.url)
    yield made
    await made.aclose()


@pytest.fixture
async def shards(client: Any, namespace: str) -> Shards:
    made = Shards(client, namespace)
    await made.begin()
    return made


class Holder:
    """Holds the lock, as the test says."""

    def __init__(self, epoch: int = 1, token: str = "t") -> None:
        self.ticket = Ticket(epoch, token)

    async def outrun(self, epoch: int) -> None:
        raise LockLost(f"the fence shows a later epoch: {epoch}")


def publisher(client: Any, shards: Shards, holder: Holder | None = None) -> Publisher:
    readers = [ShardReader(client, shards.keys, shard) for shard in range(SHARDS)]
    return Publisher(client, shards.keys.namespace, readers, 3, 800, holder or Holder(), Blocks(client, 1 << 24))


async def round_of(client: Any, shards: Shards, as_of_ms: int = AS_OF_MS) -> Round:
    scans = [await ShardReader(client, shards.keys, shard).scan(0) for shard in range(SHARDS)]
    return Round(LogCut(as_of_ms, shards.ends()), scans)


async def publish(client: Any, shards: Shards, account_id: str = "acc0", as_of_ms: int = AS_OF_MS) -> Any:
    round_ = await round_of(client, shards, as_of_ms)
    return await publisher(client, shards).publish(shards.whole.rules(account_id), round_)


MAY_MS = 1_777_593_600_000  # 2026-05-01T00:00:00Z
APRIL_MS = 1_775_143_200_000  # 2026-04-02T15:20:00Z
ACCOUNTS = ("acc0", "acc1", "acc2")


def golden_cases(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()]


async def test_every_golden_line_is_answered_from_the_published_blocks(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    for account_id in ACCOUNTS:
        await publish(client, shards, account_id, MAY_MS)
    reader = SnapshotReader(client, shards.keys.namespace)
    for case in golden_cases("expected"):
        first, last = date.fromisoformat(case["from"]), date.fromisoformat(case["to"])
        answer = await reader.metrics(case["account"], first, last, Filters.parse(**case["filters"]))
        assert differences(case["metrics"], answer.metrics) == []


async def test_every_golden_list_is_answered_from_the_published_blocks(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    for account_id in ACCOUNTS:
        await publish(client, shards, account_id, MAY_MS)
    reader = SnapshotReader(client, shards.keys.namespace)
    for case in golden_cases("lists"):
        days = Period(date.fromisoformat(case["from"]), date.fromisoformat(case["to"]))
        query = ListQuery(case["list"], Filters.parse(**case["filters"]))
        found = (await reader.list(case["account"], days, query)).page(0, None)
        assert found.total == len(found.rows)
        assert found.rows == case["rows"]
    with pytest.raises(ListRefused):
        await reader.list("acc0", Period(*WHOLE), ListQuery("new_contacts", Filters.parse(advisor=["adv1"])))


async def test_every_golden_comparison_is_answered_from_the_published_blocks(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    for account_id in ACCOUNTS:
        await publish(client, shards, account_id, APRIL_MS)
    reader = SnapshotReader(client, shards.keys.namespace)
    for case in golden_cases("comparisons"):
        first, last = date.fromisoformat(case["from"]), date.fromisoformat(case["to"])
        filters = Filters.parse(**case["filters"])
        if case["metrics"] is None:
            with pytest.raises(RangeError):
                await reader.metrics(case["account"], first, last, filters, compare=case["compare"])
            continue
        answer = await reader.metrics(case["account"], first, last, filters, compare=case["compare"])
        assert answer.compared is not None
        assert differences(case["metrics"], answer.compared.metrics) == []


async def test_sealed_days_are_read_like_open_ones(client: Any, shards: Shards) -> None:
    shards.sealed_before = date(2026, 3, 20).toordinal()
    await shards.commit(golden_lines())
    await publish(client, shards)
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
    assert answer.complete
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {})
    sealed = [
        key
        async for key in client.scan_iter(match=f"*{shards.keys.namespace}*:day:*:acc0")
        if set(await client.hkeys(key)) == {TOTALS, SEALED}
    ]
    assert len(sealed) > 10


async def test_a_reader_asks_for_what_it_does_not_know_only(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    reader = SnapshotReader(client, shards.keys.namespace)
    first = await reader.metrics("acc0", *WHOLE, Filters())
    keys = PublicKeys(shards.keys.namespace, "acc0")
    days = days_of((await the_manifest(client, keys)).parts)
    await client.delete(*(keys.part(part) for part in days.values()))
    assert await reader.metrics("acc0", *WHOLE, Filters()) == first
    # With no room to remember, they are missed.
    with pytest.raises(MissingPart):
        await SnapshotReader(client, shards.keys.namespace, 0).metrics("acc0", *WHOLE, Filters())


async def test_values_that_are_nowhere_are_named(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    reader = SnapshotReader(client, shards.keys.namespace)
    group = next(iter(shards.whole.settings["acc0"].groups))
    filters = Filters.parse(origin=["Nowhere", "none"], group=[group, "g-none"], channel=["sms"], advisor=["nobody"])
    answer = await reader.metrics("acc0", *WHOLE, filters)
    assert answer.unknown_values == {"origin": ["Nowhere"], "group": ["g-none"], "advisor": ["nobody"]}
    assert (await reader.metrics("acc0", *WHOLE, Filters())).unknown_values == {}


async def test_all_who_wait_are_listed_without_a_range(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    reader = SnapshotReader(client, shards.keys.namespace)
    document = orjson.loads(await reader.report("acc0") or b"")
    everybody = (await reader.list("acc0", None, ListQuery("waiting"))).page(0, None)
    assert everybody.total == document["waiting"]["contacts"] > 2
    assert everybody.rows[0]["at"] == document["waiting"]["oldest"]
    assert sum(row["snoozed"] for row in everybody.rows) == document["waiting"]["snoozed"]
    page = (await reader.list("acc0", None, ListQuery("waiting", order="longest"))).page(1, 2)
    assert (page.total, len(page.rows)) == (everybody.total, 2)


@pytest.mark.parametrize("name", LISTS)
async def test_lists_have_as_many_rows_as_their_numbers_say(client: Any, shards: Shards, name: str) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    reader = SnapshotReader(client, shards.keys.namespace)
    numbers: dict[str, Callable[[Any], Any]] = {
        "first_response": lambda found: found["first_response"]["count"],
        "response": lambda found: found["response"]["count"],
        "interactions": lambda found: found["interactions"]["contacts"],
        "advisor_contacts": lambda found: found["interactions"]["advisor_contacts"],
        "new_contacts": lambda found: found["new_contacts"]["total"],
        "active_contacts": lambda found: found["new_conversations"]["active_contacts"],
        "new_conversations": lambda found: found["new_conversations"]["total"],
        "closed_conversations": lambda found: found["closed_conversations"]["total"],
        "origins": lambda found: sum(row["new_contacts"] for row in found["origins"]),
        "waiting": lambda found: found["waiting"]["contacts"],
    }
    number = numbers[name]
    asked: dict[str, list[str]]
    for asked in ({}, {"channel": ["whatsapp"]}, {"origin": ["none"]}, {"group": ["g1", "none"]}):
        filters = Filters.parse(**asked)
        answer = await reader.metrics("acc0", *WHOLE, filters)
        found = (await reader.list("acc0", Period(*WHOLE), ListQuery(name, filters))).page(0, None)
        assert len(found.rows) == found.total == number(answer.metrics)


async def test_facts_that_do_not_add_up_are_published_and_said(
    client: Any, shards: Shards, redis_server: RedisAddress, caplog: pytest.LogCaptureFixture
) -> None:
    await shards.commit(golden_lines())
    keys = shards.keys.shard(1)
    member = next(m for m in await client.zrange(keys.changed, 0, -1) if m.endswith(b":acc0"))
    day = int(member.split(b":")[0])
    held = keys.day(day, "acc0")
    totals = decode_vector(await client.hget(held, TOTALS))
    await client.hset(held, TOTALS, encode_vector({**totals, 3: totals.get(3, 0) + 1}))
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    done, *others = await snapshotter.publish(all_accounts=True)
    assert (done.differing_days, done.manifest.complete, done.manifest.differing) == (1, False, (day,))
    assert all(other.manifest.complete for other in others)
    assert "the facts in shard 1 do not add up to its totals" in caplog.text
    document = orjson.loads(await client.get(PublicKeys(shards.keys.namespace, "acc0").report))
    named = date.fromordinal(day).isoformat()
    assert document["notices"] == [{"code": "totals-differ", "count": 1, "values": [named]}]
    assert (document["complete"], named in document["incomplete_reasons"][0]) == (False, True)
    # It is said of later revisions too, until the day adds up.
    (done, *_) = await snapshotter.publish("acc0", all_accounts=True)
    assert (done.differing_days, done.manifest.differing) == (0, (day,))
    await client.hset(held, TOTALS, encode_vector(totals))
    shards.seqs[1] += 1
    await client.zadd(keys.changed, {member: shards.seqs[1]})
    await client.hset(keys.ledger, mapping={"seq": shards.seqs[1]})
    (done, *_) = await snapshotter.publish("acc0", all_accounts=True)
    assert (done.manifest.differing, done.manifest.complete) == ((), True)
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {}, done.manifest.as_of_ms)


async def test_the_instant_of_a_quiet_account_moves_without_a_new_revision(
    client: Any, shards: Shards, redis_server: RedisAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shards.commit(golden_lines())
    ends = Ends(shards.ends())
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), ends)
    await snapshotter.publish(all_accounts=True)
    keys, reader = PublicKeys(shards.keys.namespace, "acc0"), SnapshotReader(client, shards.keys.namespace)
    before, document = await reader.newest("acc0"), await reader.report("acc0")
    assert before is not None
    assert await snapshotter.publish(all_accounts=False) == []
    after = await reader.newest("acc0")
    assert after is not None
    assert after.revision == before.revision
    assert after.as_of > before.as_of
    assert await reader.report("acc0") == document
    answer = await reader.metrics("acc0", *WHOLE, Filters())
    assert (answer.as_of, answer.as_of_published) == (after.as_of, before.as_of)
    # Not while a shard is behind: what the account did meanwhile is not known.
    ends.ends[0] = (10**6, 10**6)
    monkeypatch.setattr("streams.snapshots.snapshotter.CATCH_UP_SECONDS", 0)
    held = await client.get(keys.as_of)
    await snapshotter.publish(all_accounts=False)
    assert await client.get(keys.as_of) == held
    # Another revision's instant says nothing of this one.
    await client.set(keys.as_of, b"99 9999999999999")
    unmoved = await reader.newest("acc0")
    assert unmoved is not None
    assert unmoved.as_of == before.as_of


async def test_a_snapshotter_that_was_overtaken_moves_no_instant(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    keys = PublicKeys(shards.keys.namespace, "acc0")
    round_ = await round_of(client, shards)
    await publisher(client, shards, Holder(5, "later")).publish(shards.whole.rules("acc0"), round_)
    await note_quiet(client, Holder(4, "earlier"), {keys: 1}, AS_OF_MS + 1)
    assert await client.get(keys.as_of) is None
    await note_quiet(client, Holder(5, "later"), {keys: 2}, AS_OF_MS + 1)
    assert await client.get(keys.as_of) is None
    await note_quiet(client, Holder(5, "later"), {keys: 1}, AS_OF_MS + 1)
    assert await client.get(keys.as_of) == b"1 %d" % (AS_OF_MS + 1)


async def test_the_period_before_has_its_own_tables(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    reader = SnapshotReader(client, shards.keys.namespace)
    for filters in (Filters(), Filters(group=("g1", None))):
        answer = await reader.metrics("acc0", date(2026, 3, 15), date(2026, 3, 28), filters)
        before = await reader.metrics("acc0", date(2026, 3, 1), date(2026, 3, 14), filters)
        assert answer.compared is not None
        assert answer.compared.metrics == before.metrics
        alone = await reader.metrics("acc0", date(2026, 3, 15), date(2026, 3, 28), filters, compare=None)
        assert (alone.metrics, alone.compared) == (answer.metrics, None)
        for table in ("by_advisor", "by_group", "by_channel"):
            assert answer.compared.metrics[table]
            assert answer.compared.metrics[table] != answer.metrics[table]


async def test_the_document_has_every_preset_with_the_period_before(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    document = orjson.loads(await SnapshotReader(client, shards.keys.namespace).report("acc0") or b"")
    assert document["schema"] == "mediana.report/1"
    assert (document["revision"], document["complete"], document["lag"]) == (1, True, {"records": 0})
    assert set(document["periods"]) == set(presets(date(2026, 3, 31)))
    for name, box in document["periods"].items():
        parts = [box, box["previous"]]
        for part in parts:
            first, last = date.fromisoformat(part["from"]), date.fromisoformat(part["to"])
            assert differences(part["metrics"], shards.metrics("acc0", first, last, {})) == []
        contains_today = box["from"] <= "2026-03-31" <= box["to"]
        assert (
            ("previous_to_date" in box) == contains_today == (not name.startswith(("last_w", "last_m", "last_q", "y")))
        )
    last_7_days = document["periods"]["last_7_days"]
    assert (last_7_days["from"], last_7_days["to"]) == ("2026-03-25", "2026-03-31")
    assert (last_7_days["previous"]["from"], last_7_days["previous"]["to"]) == ("2026-03-18", "2026-03-24")


async def test_the_next_revision_writes_only_the_days_that_changed(client: Any, shards: Shards) -> None:
    lines = golden_lines()
    await shards.commit(lines[:900])
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    first = await load_manifest(client, keys)
    before = {day: dict(fields) for day, fields in shards.whole.days["acc0"].items()}
    await shards.commit(lines[900:])
    after = shards.whole.days["acc0"]
    changed = {day for day in before.keys() | after.keys() if before.get(day) != after.get(day)}
    assert 0 < len(changed) < len(after)

    await publish(client, shards)
    second = await load_manifest(client, keys)
    assert first is not None
    assert second is not None
    assert second.revision == 2
    kept = {name for name, version in second.parts.items() if first.parts.get(name) == version}
    assert {int(name) for name in second.parts.keys() - kept} == {day for day in changed if after[day]}
    assert second.parts[SETTINGS] == first.parts[SETTINGS]
    document = orjson.loads(await client.get(keys.report))
    assert document["changed_days"] == [date.fromordinal(day).isoformat() for day in sorted(changed)]
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {})


async def garbage_of(client: Any, keys: PublicKeys) -> set[Part]:
    return {Part.of_member(member) for member in (await the_manifest(client, keys)).replaced}


async def pass_time(client: Any, keys: PublicKeys, milliseconds: int) -> None:
    """Let the account's own clock go on."""
    manifest = await the_manifest(client, keys)
    older = msgspec.structs.replace(manifest, age_ms=manifest.age_ms + milliseconds)
    await client.set(keys.manifest, encode_manifest(older))


async def test_replaced_blocks_stay_for_readers_under_way_and_then_go(client: Any, shards: Shards) -> None:
    lines = golden_lines()
    await shards.commit(lines[:900])
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    first = await the_manifest(client, keys)
    await shards.commit(lines[900:])
    await publish(client, shards)
    second = await the_manifest(client, keys)
    replaced = {Part(*each) for each in first.parts.items()} - {Part(*each) for each in second.parts.items()}
    assert replaced
    assert await garbage_of(client, keys) == replaced
    await pass_time(client, keys, 9 * 60_000)
    for _ in range(3):
        await publish(client, shards)
    assert await client.exists(*map(keys.part, replaced)) == len(replaced), "ten minutes are not over"
    await pass_time(client, keys, 60_000)
    await publish(client, shards)
    assert await client.exists(*map(keys.part, replaced)) == 0
    assert await garbage_of(client, keys) == set()
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {})


async def test_replaced_blocks_stay_for_two_revisions(client: Any, shards: Shards) -> None:
    lines = golden_lines()
    await shards.commit(lines[:900])
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    await shards.commit(lines[900:])
    await publish(client, shards)
    replaced = await garbage_of(client, keys)
    await pass_time(client, keys, 60 * 60_000)
    await publish(client, shards)
    assert await garbage_of(client, keys) == replaced
    await publish(client, shards)
    assert await garbage_of(client, keys) == set()


async def test_parts_that_were_written_and_never_named_go_in_time(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    snapshotter = await published_round(client, shards, redis_server)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    account = FencedAccount(client, keys, Holder(1))
    await client.delete(keys.fence)
    await account.claim()
    part = Part("739000", "died.1")
    await account.write(part, b"half of something")
    await snapshotter.publish("acc0", all_accounts=True)
    await snapshotter.publish("acc0", all_accounts=True)
    await snapshotter.publish(all_accounts=False)
    assert await client.exists(keys.part(part)), "ten minutes are not over"
    age, seen = (await client.hget(keys.garbage, "clock")).split(b":")
    await client.hset(keys.garbage, "clock", b"%d:%s" % (int(age) + 600_000, seen))
    await snapshotter.publish(all_accounts=False)
    assert not await client.exists(keys.part(part), keys.garbage)


async def test_many_parts_are_written_one_by_one_and_published_together(
    client: Any, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.snapshots.fenced.MOST_INLINE_PARTS", 3)
    await shards.commit(golden_lines())
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    assert not await client.exists(keys.garbage)
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {})


async def test_history_keeps_the_newest_documents_and_subscribers_hear_of_each(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    keys = PublicKeys(shards.keys.namespace, "acc0")
    subscription = client.pubsub()
    await subscription.subscribe(keys.channel)
    for _ in range(5):
        await publish(client, shards)
    assert sorted(map(int, await client.hkeys(keys.history))) == [3, 4, 5]
    assert unpacked_document(await client.hget(keys.history, 5)) == await client.get(keys.report)
    assert orjson.loads(unpacked_document(await client.hget(keys.history, 4)))["revision"] == 4
    assert await client.hstrlen(keys.history, 4) * 4 < await client.strlen(keys.report)
    heard: list[int] = []
    async with asyncio.timeout(5):
        while len(heard) < 5:
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=1)
            heard += [orjson.loads(message["data"])["revision"]] if message else []
    await subscription.aclose()
    assert heard == [1, 2, 3, 4, 5]


async def test_a_shard_that_was_rolled_back_is_read_again_whole(client: Any, shards: Shards) -> None:
    lines = golden_lines()
    await shards.commit(lines[:500])
    await shards.commit(lines[500:])
    await publish(client, shards)
    # An older copy of Redis comes back: fewer events, a smaller sequence. The published report stays where it was.
    older = Shards(client, shards.keys.namespace)
    for shard in range(SHARDS):
        async for key in client.scan_iter(match=f"{{mediana:{shards.keys.namespace}:{shard}}}*"):
            await client.delete(key)
    await older.commit(lines[:500])
    await publish(client, older)
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == older.metrics("acc0", *WHOLE, {})


async def test_what_is_committed_again_after_a_roll_back_is_published_again(client: Any, shards: Shards) -> None:
    lines = golden_lines()
    shards.seqs = [20_000_000] * SHARDS
    await shards.commit(lines[:900])
    await publish(client, shards)
    # Redis lost its last moments; another worker claimed, its clock behind by a second, and the log went on.
    keys = [shards.keys.shard(shard) for shard in range(SHARDS)]
    shards.seqs = [19_999_000] * SHARDS
    for shard in keys:
        await client.hset(shard.ledger, "token", "another")
    await shards.commit(lines[900:])
    for shard in keys:
        await client.hset(shard.ledger, mapping={"token": "another", "seq": 20_000_001})
    await publish(client, shards)
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {})


@pytest.mark.parametrize("published_before", [False, True])
async def test_a_snapshotter_that_was_overtaken_writes_nothing(
    client: Any, shards: Shards, published_before: bool
) -> None:
    await shards.commit(golden_lines())
    slow, quick = publisher(client, shards), publisher(client, shards, Holder(2, "quick"))
    rules, round_ = shards.whole.rules("acc0"), await round_of(client, shards)
    if published_before:
        await publish(client, shards)
    read = slow._changed_days

    async def overtaken(*arguments: Any, **more: Any) -> Any:
        found = await read(*arguments, **more)
        await quick.publish(rules, round_)
        return found

    slow._changed_days = overtaken  # type: ignore[method-assign]
    with pytest.raises((FenceLost, LockLost)):
        await slow.publish(rules, round_)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    manifest = await the_manifest(client, keys)
    assert manifest.revision == 1 + published_before
    parts = [key async for key in client.scan_iter(match=f"{shards.keys.namespace}:mediana:{{acc0}}:part:*")]
    assert len(parts) == len(manifest.parts), "the slow one left nothing behind"


async def test_two_snapshotters_that_share_an_epoch_do_not_mix(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    slow, quick = publisher(client, shards, Holder(2, "slow")), publisher(client, shards, Holder(2, "quick"))
    rules, round_ = shards.whole.rules("acc0"), await round_of(client, shards)
    await quick.publish(rules, round_)
    read = slow._changed_days

    async def overtaken(*arguments: Any, **more: Any) -> Any:
        found = await read(*arguments, **more)
        await quick.publish(rules, round_)
        return found

    slow._changed_days = overtaken  # type: ignore[method-assign]
    with pytest.raises(Superseded):
        await slow.publish(rules, round_)
    assert (await the_manifest(client, PublicKeys(shards.keys.namespace, "acc0"))).revision == 2


async def test_a_half_written_shard_is_not_published(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await client.hset(shards.keys.shard(1).ledger, "busy", 2)
    with pytest.raises(UnsteadyShard, match="shard 1 holds half a commit"):
        await publish(client, shards)
    with pytest.raises(NoReport):
        await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("contacts", 7, "shard 1 is 3 records behind"),
        (
            "gap",
            encode_gaps(Gaps((Gap("t", 1, 0, 9, AS_OF_MS),))),
            (
                "shard 1 lacks records that Kafka lost before they were read: t partition 1 offsets 0 to 9; everything "
                "sent from 2026-03-31T23:33:20.000Z on is there"
            ),
        ),
        (
            "gap",
            "offsets 0 to 9",
            (
                "shard 1 lacks records that Kafka lost before they were read: offsets 0 to 9; from when on nothing is "
                "lost is not known"
            ),
        ),
    ],
)
async def test_a_report_says_why_it_is_not_complete(
    client: Any, shards: Shards, field: str, value: object, reason: str
) -> None:
    await shards.commit(golden_lines())
    await client.hset(shards.keys.shard(1).ledger, field, value)
    await publish(client, shards)
    document = orjson.loads(await client.get(PublicKeys(shards.keys.namespace, "acc0").report))
    assert (document["complete"], document["incomplete_reasons"]) == (False, [reason])


def config_of(redis_server: RedisAddress, namespace: str) -> Config:
    return Config(redis_url=Secret(redis_server.url), namespace=namespace)


async def test_a_round_publishes_what_changed_and_then_rests(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    lines = golden_lines()
    await shards.commit(lines[:500])
    ends = Ends(shards.ends())
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), ends)
    assert [done.account_id for done in await snapshotter.publish(all_accounts=False)] == ["acc0", "acc1", "acc2"]
    assert await snapshotter.publish(all_accounts=False) == []
    await shards.commit([line for line in lines[500:] if b'"acc1"' in line])
    ends.ends = shards.ends()
    assert [done.account_id for done in await snapshotter.publish(all_accounts=False)] == ["acc1"]
    everybody = await snapshotter.publish(all_accounts=True)
    assert [(done.account_id, done.changed_days) for done in everybody] == [("acc0", 0), ("acc1", 0), ("acc2", 0)]
    assert await SnapshotReader(client, shards.keys.namespace).accounts() == ["acc0", "acc1", "acc2"]


async def test_a_gap_is_told_once_by_every_report_and_then_rests(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    await shards.commit(golden_lines())
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    first = await snapshotter.publish(all_accounts=False)
    assert [(done.manifest.complete_from_ms, done.pending) for done in first] == [(None, False)] * 3
    # Nothing changed but what is known of the log; later ones of the same kind change nothing.
    await client.hset(shards.keys.shard(1).ledger, "gap", encode_gaps(Gaps((Gap("t", 1, 0, 9, AS_OF_MS),))))
    async with client.pubsub() as subscription:
        await subscription.subscribe(PublicKeys(shards.keys.namespace, "acc1").channel)
        await subscription.get_message(ignore_subscribe_messages=True, timeout=5)
        told = await snapshotter.publish(all_accounts=False)
        notification = orjson.loads((await subscription.get_message(timeout=5))["data"])
    assert [(done.manifest.complete, done.manifest.complete_from_ms) for done in told] == [(False, AS_OF_MS)] * 3
    assert not any(done.pending for done in told)
    assert (notification["complete"], notification["complete_from"]) == (False, "2026-03-31T23:33:20.000Z")
    newest = await SnapshotReader(client, shards.keys.namespace).newest("acc1")
    assert newest is not None
    assert (newest.complete, newest.complete_from) == (False, "2026-03-31T23:33:20.000Z")
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc1", *WHOLE, Filters())
    assert (answer.complete, answer.complete_from) == (False, "2026-03-31T23:33:20.000Z")
    assert await snapshotter.publish(all_accounts=False) == []


async def test_changed_settings_are_published_although_no_counter_changed(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    await shards.commit(golden_lines())
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    await snapshotter.publish(all_accounts=True)
    await client.hset(shards.keys.settings, "acc1", b'{"account_id": "acc1", "name": "Renamed", "timezone": "UTC"}')
    assert [done.account_id for done in await snapshotter.publish(all_accounts=False)] == ["acc1"]
    document = orjson.loads(await client.get(PublicKeys(shards.keys.namespace, "acc1").report))
    assert (document["account"]["name"], document["timezone"]) == ("Renamed", "UTC")


async def test_an_account_without_events_has_an_empty_report(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    await client.hset(shards.keys.settings, "quiet", b'{"account_id": "quiet"}')
    await shards.commit(golden_lines()[:10])
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    await snapshotter.publish("quiet", all_accounts=True)
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("quiet", *WHOLE, Filters())
    assert answer.metrics["new_contacts"]["total"] == 0
    assert answer.metrics["response"]["elapsed"] == {"median": None, "p90": None}
    assert answer.metrics["origins"] == []


async def test_the_wrong_redis_or_an_unknown_account_is_said_plainly(
    client: Any, shards: Shards, redis_server: RedisAddress, namespace: str
) -> None:
    nowhere = Snapshotter(client, config_of(redis_server, f"{namespace}-nowhere"), Ends({}))
    with pytest.raises(NothingToPublish, match="start a worker first"):
        await nowhere.publish(all_accounts=True)
    await shards.commit(golden_lines()[:10])
    here = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    with pytest.raises(NothingToPublish, match="'stranger'"):
        await here.publish("stranger", all_accounts=True)


async def the_manifest(client: Any, keys: PublicKeys) -> Manifest:
    manifest = await load_manifest(client, keys)
    assert manifest is not None
    return manifest


async def test_a_report_of_another_release_is_refused_with_advice_and_made_again(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    earlier = msgspec.msgpack.encode({"format": 2, "revision": 1, "parts": {}})
    with pytest.raises(OtherFormat):
        decode_manifest(earlier)
    await client.set(keys.manifest, earlier)
    reader = SnapshotReader(client, shards.keys.namespace)
    with pytest.raises(NoReport, match="mediana rebuild"):
        await reader.metrics("acc0", *WHOLE, Filters())
    done = await publish(client, shards)
    assert done.repaired == 1
    assert (await reader.metrics("acc0", *WHOLE, Filters())).metrics == shards.metrics("acc0", *WHOLE, {})


@pytest.mark.parametrize("member", [b"739700:q-_9.12", b"settings:q-_9.1"])
def test_a_part_reads_back_what_it_wrote(member: bytes) -> None:
    part = Part.of_member(member)
    assert part.version == member.decode().rpartition(":")[2]
    assert part.member.encode() == member
    assert PublicKeys("main", "acme").part(part) == "mediana:{acme}:part:" + member.decode()


async def test_a_revision_names_the_positions_that_it_is_of(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines()[:100])
    await shards.commit(golden_lines()[100:])
    await publish(client, shards)
    found = await load_revision(client, PublicKeys(shards.keys.namespace, "acc0"), with_document=True)
    assert found is not None
    assert found.document is not None
    assert found.manifest.positions == {0: (20, 40), 1: (20, 40), 2: (20, 40)}
    assert b'"positions"' not in found.document


# --- parts that are missing -----------------------------------------------------------------------------------------


async def published_round(client: Any, shards: Shards, redis_server: RedisAddress) -> Snapshotter:
    await shards.commit(golden_lines())
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    await snapshotter.publish(all_accounts=True)
    return snapshotter


async def test_a_missing_part_is_an_error_and_is_made_again_by_the_next_round(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    snapshotter = await published_round(client, shards, redis_server)
    keys, reader = PublicKeys(shards.keys.namespace, "acc0"), SnapshotReader(client, shards.keys.namespace)
    days = days_of((await the_manifest(client, keys)).parts)
    missing = sorted(days)[2:5]
    await client.delete(*[keys.part(days[day]) for day in missing])
    with pytest.raises(MissingPart, match="not in Redis"):
        await reader.metrics("acc0", date.fromordinal(missing[0]), date.fromordinal(missing[1]), Filters())
    with pytest.raises(MissingPart):
        await reader.list("acc0", Period(*WHOLE), ListQuery("response"))
    # Nothing changed: it is found by looking, and only what is missing is made again.
    (done,) = await snapshotter.publish(all_accounts=False)
    assert (done.account_id, done.repaired, done.changed_days) == ("acc0", 3, 3)
    answer = await reader.metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {}, now_ms())
    assert await snapshotter.publish(all_accounts=False) == []


@pytest.mark.parametrize("lost", ["manifest", "revision", "report", "damaged manifest", "damaged revision", "all"])
async def test_lost_keys_of_an_account_are_made_again_and_its_revision_goes_on(
    client: Any, shards: Shards, redis_server: RedisAddress, lost: str
) -> None:
    snapshotter = await published_round(client, shards, redis_server)
    await snapshotter.publish("acc0", all_accounts=True)
    keys, reader = PublicKeys(shards.keys.namespace, "acc0"), SnapshotReader(client, shards.keys.namespace)
    match lost:
        case "damaged manifest":
            await client.set(keys.manifest, b"\x81\xa6format")
        case "damaged revision":
            await client.set(keys.revision, b"seven")
        case "all":
            await client.delete(keys.manifest, keys.revision, keys.report)
        case _:
            await client.delete(getattr(keys, lost))
    await snapshotter.publish(all_accounts=lost == "damaged revision")
    assert snapshotter.failures == {}
    answer = await reader.metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {}, now_ms())
    assert answer.revision == 3
    assert sorted(map(int, await client.hkeys(keys.history))) == [1, 2, 3]


async def test_a_day_that_no_shard_has_any_more_stays_an_error_and_the_rest_goes_on(
    client: Any, shards: Shards, redis_server: RedisAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two years on, no period of the document has the day any more.
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 500 * 86_400)
    await shards.commit(golden_lines())
    keys, reader = PublicKeys(shards.keys.namespace, "acc0"), SnapshotReader(client, shards.keys.namespace)
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    await snapshotter.publish(all_accounts=True)
    days = days_of((await the_manifest(client, keys)).parts)
    day = min(days)
    await client.delete(keys.part(days[day]))
    for shard in range(SHARDS):
        await client.delete(shards.keys.shard(shard).day(day, "acc0"))
        await client.zrem(shards.keys.shard(shard).changed, day_member(day, "acc0"))
    for _ in range(2):
        (done,) = await snapshotter.publish(all_accounts=False)
        assert done.manifest.absent == (str(day),)
        assert not done.manifest.complete
        assert snapshotter.failures["acc0"].is_published
    with pytest.raises(MissingPart):
        await reader.metrics("acc0", date.fromordinal(day), date.fromordinal(day), Filters())
    after = date.fromordinal(day + 1)
    answer = await reader.metrics("acc0", after, WHOLE[1], Filters(), compare=None)
    assert answer.metrics == shards.metrics("acc0", after, WHOLE[1], {}, now_ms())
    document = orjson.loads(await client.get(keys.report))
    assert date.fromordinal(day).isoformat() in document["incomplete_reasons"][0]


# --- one account's trouble ------------------------------------------------------------------------------------------


async def breaks_settings(client: Any, shards: Shards) -> None:
    await client.hset(shards.keys.settings, "acc1", b'{"account_id": "acc1", "timezone": "Atlantis/Center"}')


async def breaks_facts(client: Any, shards: Shards) -> None:
    keys = shards.keys.shard(1)
    member = next(m for m in await client.zrange(keys.changed, 0, -1) if m.endswith(b":acc1"))
    await client.hset(keys.day(int(member.split(b":")[0]), "acc1"), b"\xff\x00", b"junk")
    await client.zadd(keys.changed, {member: shards.seqs[1]})


async def breaks_head(client: Any, shards: Shards) -> None:
    await client.hset(f"{{mediana:{shards.keys.namespace}}}:published", "acc1", b"\xc1")


async def breaks_history_key(client: Any, shards: Shards) -> None:
    keys = PublicKeys(shards.keys.namespace, "acc1")
    await client.delete(keys.history)
    await client.set(keys.history, "another kind")


async def unforeseen(client: Any, shards: Shards) -> None:
    """The test breaks it."""


@pytest.mark.parametrize("before", ["kept", "unusable", None])
async def test_settings_that_cannot_be_used_leave_the_account_those_before_and_its_report_says_so(
    client: Any, shards: Shards, redis_server: RedisAddress, before: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    await shards.commit(golden_lines())
    config = config_of(redis_server, shards.keys.namespace)
    snapshotter = Snapshotter(client, config, Ends(shards.ends()))
    await snapshotter.publish(all_accounts=True)
    assert orjson.loads(await client.get(PublicKeys(shards.keys.namespace, "acc1").report))["notices"] == []
    kept = shards.whole.settings["acc1"]
    if before is not None:
        data = encode_settings(kept) if before == "kept" else b"{"
        await client.hset(shards.keys.settings_before, "acc1", data)
    await breaks_settings(client, shards)
    await breaks_head(client, shards)
    for _ in range(3):
        published = await snapshotter.publish(all_accounts=True)
        assert [done.account_id for done in published] == ["acc0", "acc1", "acc2"]
    assert snapshotter.failures == {}
    problem = "malformed: timezone: 'Atlantis/Center' is not an IANA time zone"
    assert snapshotter.unusable == {"acc1": problem}
    assert caplog.text.count("account 'acc1': its newest settings cannot be used") == 1
    document = orjson.loads(await client.get(PublicKeys(shards.keys.namespace, "acc1").report))
    assert document["notices"] == [{"code": "settings-unusable", "count": 1, "values": [problem]}]
    assert document["timezone"] == (kept.timezone if before == "kept" else "UTC")
    (finding,) = [each for each in await _settings(client, shards.keys) if each.status == "fail"]
    assert finding.what.startswith("account 'acc1': its settings cannot be used, the ")
    assert problem in finding.what
    await client.hset(shards.keys.settings, "acc1", encode_settings(kept))
    (done,) = await snapshotter.publish(all_accounts=False)
    assert done.account_id == "acc1"
    assert snapshotter.unusable == {}
    assert orjson.loads(await client.get(PublicKeys(shards.keys.namespace, "acc1").report))["notices"] == []


async def test_a_report_of_a_zone_that_this_program_does_not_have_is_refused_alone(
    client: Any, shards: Shards, redis_server: RedisAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shards.commit(golden_lines())
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    await snapshotter.publish(all_accounts=True)
    real, gone = zones.zone, shards.whole.settings["acc1"].timezone

    def zone(name: str) -> tzinfo:
        return real("Mars/Olympus" if name == gone else name)

    monkeypatch.setattr(zones, "zone", zone)
    reader = SnapshotReader(client, shards.keys.namespace)
    with pytest.raises(NoReport, match="zone data"):
        await reader.metrics("acc1", *WHOLE, Filters())
    other = next(name for name, settings in shards.whole.settings.items() if settings.timezone != gone)
    assert (await reader.metrics(other, *WHOLE, Filters())).complete
    # The round that finds the zone gone publishes with settings that can be used.
    published = await snapshotter.publish(all_accounts=True)
    assert len(published) == len(shards.whole.settings)
    assert (await reader.metrics("acc1", *WHOLE, Filters())).timezone == "UTC"


@pytest.mark.parametrize("account_id", ["}", "}x", "%", "%7D", "a}b", "{a}", "a\nb"])
async def test_all_keys_of_any_account_lie_in_one_slot_and_are_no_other_accounts(
    client: Any, shards: Shards, account_id: str
) -> None:
    settings = default_settings(account_id)
    await shards.commit(golden_lines()[:1])
    round_ = await round_of(client, shards)
    before = set(await client.keys("*"))
    done = await publisher(client, shards).publish(Rules(settings), round_)
    keys = set(await client.keys("*")) - before
    assert len({key_slot(key) for key in keys}) == 1
    assert (
        orjson.loads(await client.get(PublicKeys(shards.keys.namespace, account_id).report))["account_id"] == account_id
    )
    assert done.account_id == account_id


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (breaks_facts, "counters"),
        (breaks_history_key, "redis"),
        (unforeseen, "unforeseen"),
    ],
)
async def test_what_is_wrong_with_one_account_is_noted_and_the_others_are_published(
    client: Any,
    shards: Shards,
    redis_server: RedisAddress,
    breaks: Any,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = golden_lines()
    await shards.commit(lines[:900])
    ends = Ends(shards.ends())
    config = config_of(redis_server, shards.keys.namespace)
    snapshotter = Snapshotter(client, config, ends)
    await snapshotter.publish(all_accounts=True)
    keys = PublicKeys(shards.keys.namespace, "acc1")
    old = await client.get(keys.report)
    await shards.commit(lines[900:])
    ends.ends = shards.ends()
    await breaks(client, shards)
    with monkeypatch.context() as broken:
        if breaks is unforeseen:
            real = Publisher.publish

            async def raising(self: Publisher, rules: Rules, *arguments: Any, **more: Any) -> Any:
                if rules.settings.account_id == "acc1":
                    raise LookupError("nobody foresaw this")
                return await real(self, rules, *arguments, **more)

            broken.setattr(Publisher, "publish", raising)
        for expected in (["acc0", "acc2"], []):
            published = await snapshotter.publish(all_accounts=False)
            assert [done.account_id for done in published] == expected
            assert {name: failure.reason for name, failure in snapshotter.failures.items()} == {"acc1": reason}
    assert "account 'acc1' is not published" in caplog.text
    assert await client.get(keys.report) == old
    assert [finding.what for finding in await _reports(client, config)] == [
        f"account 'acc1': {snapshotter.failures['acc1'].told()}"
    ]
    # Mended, it has all that came in between.
    await client.hset(shards.keys.settings, "acc1", encode_settings(shards.whole.settings["acc1"]))
    if reason == "counters":
        for member in await client.zrange(shards.keys.shard(1).changed, 0, -1):
            await client.hdel(shards.keys.shard(1).day(int(member.split(b":")[0]), "acc1"), b"\xff\x00")
    if reason == "redis":
        await client.delete(keys.history)
    (done,) = await snapshotter.publish(all_accounts=False)
    assert done.account_id == "acc1"
    assert snapshotter.failures == {}
    assert await _reports(client, config) == []
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc1", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc1", *WHOLE, {}, now_ms())


# --- clocks ---------------------------------------------------------------------------------------------------------

YEARS_MS = 6 * 365 * 86_400_000


async def test_a_clock_that_is_years_ahead_takes_nothing_away_for_good(
    client: Any, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.snapshots.publisher.DAYS_FORGOTTEN", 5)
    await shards.commit(golden_lines())
    keys, reader = PublicKeys(shards.keys.namespace, "acc0"), SnapshotReader(client, shards.keys.namespace)
    await publish(client, shards)
    first = await the_manifest(client, keys)
    await publish(client, shards, as_of_ms=AS_OF_MS + YEARS_MS)
    ahead = await the_manifest(client, keys)
    assert ahead.revision == 2
    assert len(days_of(first.parts)) - len(days_of(ahead.parts)) == 5
    assert await client.exists(*(keys.part(part) for part in days_of(first.parts).values())) == len(
        days_of(first.parts)
    ), "nothing is swept early"
    await publish(client, shards)
    document = orjson.loads(await client.get(keys.report))
    assert document["revision"] == 3
    assert document["as_of"] < document["as_of_before"]
    assert sorted(map(int, await client.hkeys(keys.history))) == [1, 2, 3]
    answer = await reader.metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == shards.metrics("acc0", *WHOLE, {})
    await publish(client, shards)
    assert orjson.loads(await client.get(keys.report))["as_of_before"] is None


async def test_a_clock_that_jumps_sweeps_nothing_before_its_time(
    client: Any, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = golden_lines()
    await shards.commit(lines[:900])
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    await shards.commit(lines[900:])
    await publish(client, shards)
    replaced = await garbage_of(client, keys)
    real = time.time
    for jump_ms in (YEARS_MS, -YEARS_MS):
        age_ms = (await the_manifest(client, keys)).age_ms
        monkeypatch.setattr("streams.snapshots.publisher.time.time", lambda by=jump_ms: real() + by / 1000)
        await publish(client, shards)
        assert 0 <= (await the_manifest(client, keys)).age_ms - age_ms <= 300_000
        assert await garbage_of(client, keys) == replaced
    monkeypatch.undo()
    await pass_time(client, keys, 600_000)
    await publish(client, shards)
    assert await garbage_of(client, keys) == set()


# --- what a publication costs ---------------------------------------------------------------------------------------


async def test_an_account_of_which_a_day_changed_takes_few_commands(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    """Every command that the server runs for it counts, those inside scripts and transactions too."""
    lines = golden_lines()
    await shards.commit(lines)
    ends = Ends(shards.ends())
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), ends)
    await snapshotter.publish(all_accounts=True)
    created = next(event for event in map(orjson.loads, lines) if event["type"] == "contact.created")
    for account_id in ACCOUNTS:
        event = {**created, "id": f"new-{account_id}", "contact_id": f"new-{account_id}", "account_id": account_id}
        await shards.commit([orjson.dumps({**event, "occurred_at": "2026-04-20T12:00:00Z"})])
    ends.ends = shards.ends()
    heard: list[str] = []
    # A connection of its own: it hears everything, and answers nothing else.
    listener = redis.asyncio.Redis.from_url(redis_server.url)
    async with listener.monitor() as monitor:
        published = await snapshotter.publish(all_accounts=False)
        await client.echo("the round is over")
        async for command in monitor.listen():
            if "the round is over" in command["command"]:
                break
            heard.append(command["command"])
    await listener.aclose()
    assert [done.account_id for done in published] == sorted(ACCOUNTS)
    for account_id in ACCOUNTS:
        own = [command for command in heard if f"{{{account_id}}}" in command or f":{account_id} " in f"{command} "]
        names = [command.split()[0] for command in own]
        assert "PUBLISH" in names
        assert len(names) <= 12, names
    # What the round itself takes is shared by all of them.
    assert len(heard) <= 12 * len(ACCOUNTS) + 10 * SHARDS + 20
