"""Publishing and reading snapshots on a real Redis: the shards' counters are put there as a worker would."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import date, tzinfo
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import redis.asyncio
from redis.crc import key_slot

from aggregates.counters import encode_field, encode_value
from aggregates.filters import Filters
from aggregates.months import Span
from aggregates.rows import WITH_ADVISOR, WITHOUT_ADVISOR, slice_prefix
from schemas import zones
from schemas.accounts import decode_settings, default_settings, encode_settings
from schemas.events import decode_event
from streams.cli.check import _reports, _settings
from streams.cli.replay import Replay
from streams.config import Config, Secret
from streams.kafka.gaps import Gap, Gaps, encode_gaps
from streams.kafka.log_end import LogEnds
from streams.redis.keys import NamespaceKeys, day_member
from streams.redis.shard_reader import ShardReader, UnsteadyShard
from streams.snapshots.fenced import FenceLost
from streams.snapshots.lock import Ticket
from streams.snapshots.manifest import Manifest, PublicKeys, load_manifest, load_revision
from streams.snapshots.parts import Part, contents
from streams.snapshots.publisher import LogCut, Publisher
from streams.snapshots.reader import MissingPart, NoReport, SnapshotReader, VanishedCube
from streams.snapshots.snapshotter import NothingToPublish, Snapshotter
from tests.conftest import RedisAddress
from tests.support.comparison import differences, report_of

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
        self.whole = Replay(accounts, 3600)
        self._parts = [Replay(accounts, 3600) for _ in range(SHARDS)]
        self.seqs = [0] * SHARDS

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
        for account_id, days in self._parts[shard].counters.items():
            for day, fields in days.items():
                encoded = {encode_field(field): encode_value(value) for field, value in fields.items()}
                if await self._client.hgetall(keys.day(day, account_id)) == encoded:
                    continue
                await self._client.delete(keys.day(day, account_id))
                if encoded:
                    await self._client.hset(keys.day(day, account_id), mapping=encoded)
                await self._client.zadd(keys.changed, {day_member(day, account_id): seq})
        ledger = {"token": "t", "contacts": 10 * seq, "conversations": 20 * seq, "seq": seq}
        await self._client.hset(keys.ledger, mapping=ledger)

    def ends(self) -> dict[int, tuple[int, int]]:
        return {shard: (10 * seq, 20 * seq) for shard, seq in enumerate(self.seqs)}


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
        raise AssertionError(f"the fence shows a later epoch: {epoch}")


def publisher(client: Any, shards: Shards, holder: Holder | None = None) -> Publisher:
    readers = [ShardReader(client, shards.keys, shard) for shard in range(SHARDS)]
    return Publisher(client, shards.keys.namespace, readers, 3, 800, holder or Holder())


async def publish(client: Any, shards: Shards, account_id: str = "acc0", as_of_ms: int = AS_OF_MS) -> Any:
    scans = [await ShardReader(client, shards.keys, shard).scan(0) for shard in range(SHARDS)]
    settings = shards.whole.settings[account_id]
    return await publisher(client, shards).publish(settings, LogCut(as_of_ms, shards.ends()), scans)


async def test_every_golden_line_is_answered_from_the_published_cubes(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    for account_id in ("acc0", "acc1", "acc2"):
        await publish(client, shards, account_id)
    reader = SnapshotReader(client, shards.keys.namespace)
    for line in (GOLDEN / "expected.jsonl").read_bytes().splitlines():
        expected = orjson.loads(line)
        first, last = date.fromisoformat(expected["from"]), date.fromisoformat(expected["to"])
        answer = await reader.metrics(expected["account"], first, last, Filters.parse(**expected["filters"]))
        assert differences(expected["metrics"], answer.metrics) == []
        # And it is, to the last digit, what a replay of the same events answers.
        assert answer.metrics == report_of(shards.whole, expected["account"], first, last, expected["filters"])


async def test_the_period_before_has_its_own_tables(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    reader = SnapshotReader(client, shards.keys.namespace)
    for filters in (Filters(), Filters(group=("g1", None))):
        answer = await reader.metrics("acc0", date(2026, 3, 15), date(2026, 3, 28), filters)
        before = await reader.metrics("acc0", date(2026, 3, 1), date(2026, 3, 14), filters)
        assert answer.previous == before.metrics
        alone = await reader.metrics("acc0", date(2026, 3, 15), date(2026, 3, 28), filters, with_previous=False)
        assert (alone.metrics, alone.previous) == (answer.metrics, {})
        assert answer.previous["by_advisor"]
        assert answer.previous["by_group"]
        assert answer.previous["by_channel"]
        assert answer.previous["by_advisor"] != answer.metrics["by_advisor"]


async def test_the_document_has_every_preset_with_the_period_before(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    document = orjson.loads(await SnapshotReader(client, shards.keys.namespace).report("acc0") or b"")
    assert document["schema"] == "mediana.report/1"
    assert (document["revision"], document["complete"], document["lag"]) == (1, True, {"records": 0})
    names = {"today", "yesterday", "last_7_days", "last_30_days", "this_month", "last_month"}
    assert set(document["periods"]) == names
    for box in document["periods"].values():
        for part in (box, box["previous"]):
            first, last = date.fromisoformat(part["from"]), date.fromisoformat(part["to"])
            found = report_of(shards.whole, "acc0", first, last, {})
            assert differences(part["metrics"], found) == []
    last_7_days = document["periods"]["last_7_days"]
    assert (last_7_days["from"], last_7_days["to"]) == ("2026-03-25", "2026-03-31")
    assert (last_7_days["previous"]["from"], last_7_days["previous"]["to"]) == ("2026-03-18", "2026-03-24")


async def test_the_next_revision_writes_only_the_days_that_changed(client: Any, shards: Shards) -> None:
    lines = golden_lines()
    await shards.commit(lines[:900])
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    first = await load_manifest(client, keys)
    before = {day: dict(fields) for day, fields in shards.whole.counters["acc0"].items()}
    await shards.commit(lines[900:])
    after = shards.whole.counters["acc0"]
    changed = {day for day in before.keys() | after.keys() if before.get(day) != after.get(day)}
    assert 0 < len(changed) < len(after)

    await publish(client, shards)
    second = await load_manifest(client, keys)
    assert first is not None
    assert second is not None
    assert second.revision == 2
    kept = {name for name, version in second.parts.items() if first.parts.get(name) == version}
    assert {int(name) for name in second.parts.keys() - kept} == {day for day in changed if after[day]}
    document = orjson.loads(await client.get(keys.report))
    assert document["changed_days"] == [date.fromordinal(day).isoformat() for day in sorted(changed)]
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == report_of(shards.whole, "acc0", *WHOLE, {})


async def garbage_of(client: Any, keys: PublicKeys) -> set[Part]:
    return {Part.of_member(member) for member in await client.hkeys(keys.garbage) if b":" in member}


async def pass_time(client: Any, keys: PublicKeys, milliseconds: int) -> None:
    """Let the account's own clock of garbage go on."""
    age, seen = (await client.hget(keys.garbage, "clock")).split(b":")
    await client.hset(keys.garbage, "clock", b"%d:%s" % (int(age) + milliseconds, seen))


async def test_replaced_cubes_stay_for_readers_under_way_and_then_go(client: Any, shards: Shards) -> None:
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
    assert answer.metrics == report_of(shards.whole, "acc0", *WHOLE, {})


async def test_replaced_cubes_stay_for_two_revisions(client: Any, shards: Shards) -> None:
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


async def test_history_keeps_the_newest_documents_and_subscribers_hear_of_each(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    keys = PublicKeys(shards.keys.namespace, "acc0")
    subscription = client.pubsub()
    await subscription.subscribe(keys.channel)
    for _ in range(5):
        await publish(client, shards)
    assert sorted(map(int, await client.hkeys(keys.history))) == [3, 4, 5]
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
    assert answer.metrics == report_of(older.whole, "acc0", *WHOLE, {})


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
    assert answer.metrics == report_of(shards.whole, "acc0", *WHOLE, {})


async def test_a_snapshotter_that_was_overtaken_writes_nothing(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines())
    slow, quick = publisher(client, shards), publisher(client, shards, Holder(2, "quick"))
    scans = [await ShardReader(client, shards.keys, shard).scan(0) for shard in range(SHARDS)]
    settings, log = shards.whole.settings["acc0"], LogCut(AS_OF_MS, shards.ends())
    read = slow._changed_counters

    async def overtaken(*arguments: Any, **more: Any) -> Any:
        found = await read(*arguments, **more)
        await quick.publish(settings, log, scans)
        return found

    slow._changed_counters = overtaken  # type: ignore[method-assign]
    with pytest.raises(FenceLost):
        await slow.publish(settings, log, scans)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    manifest = await the_manifest(client, keys)
    assert manifest.revision == 1
    cubes = [key async for key in client.scan_iter(match=f"{shards.keys.namespace}:mediana:{{acc0}}:cube:*")]
    assert len(cubes) == len(contents(manifest.parts).days), "the slow one left nothing behind"


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


@pytest.mark.parametrize("mask", [WITH_ADVISOR, WITHOUT_ADVISOR])
async def test_the_finest_slices_are_read_whole_and_without_the_rest(
    client: Any, shards: Shards, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    # A few fields at a time, so that a cube takes many commands.
    monkeypatch.setattr("streams.snapshots.reader.FIELDS_PER_SCAN", 10)
    slices = await SnapshotReader(client, shards.keys.namespace).slices("acc0", *WHOLE, mask)
    prefix = slice_prefix(mask)
    expected = {
        day: {key: value for key, value in built.items() if key.startswith(prefix)}
        for day, built in sorted(shards.whole.cubes("acc0").items())
        if WHOLE[0].toordinal() <= day <= WHOLE[1].toordinal()
    }
    assert slices.revision == 1
    assert [found async for found in slices.days] == list(expected.items())


async def test_slices_are_of_one_revision_and_a_vanished_cube_is_no_empty_day(client: Any, shards: Shards) -> None:
    lines = golden_lines()
    await shards.commit(lines[:900])
    await publish(client, shards)
    reader = SnapshotReader(client, shards.keys.namespace)
    under_way = await reader.slices("acc0", *WHOLE, WITH_ADVISOR)
    before = [found async for found in (await reader.slices("acc0", *WHOLE, WITH_ADVISOR)).days]
    first = await anext(aiter(under_way.days))
    await shards.commit(lines[900:])
    await publish(client, shards)
    assert [first, *[found async for found in under_way.days]] == before
    newest = await reader.slices("acc0", *WHOLE, WITH_ADVISOR)
    assert newest.revision == 2
    for name in await client.keys(f"{shards.keys.namespace}:mediana:{{acc0}}:cube:*"):
        await client.delete(name)
    with pytest.raises(VanishedCube):
        await anext(aiter(newest.days))
    with pytest.raises(NoReport):
        await reader.slices("nobody", *WHOLE, WITH_ADVISOR)


MARCH, END_OF_MARCH = (Span(date(2026, 3, day).toordinal(), date(2026, 3, 31).toordinal()) for day in (1, 21))


async def rolled_up_account(client: Any, shards: Shards) -> PublicKeys:
    """A published account whose months before AS_OF_MS are rolled up."""
    await shards.commit(golden_lines())
    await publish(client, shards, as_of_ms=AS_OF_MS + 45 * 86_400_000)
    return PublicKeys(shards.keys.namespace, "acc0")


async def the_manifest(client: Any, keys: PublicKeys) -> Manifest:
    manifest = await load_manifest(client, keys)
    assert manifest is not None
    return manifest


@pytest.mark.parametrize("span", [MARCH, END_OF_MARCH])
async def test_spans_that_are_over_are_rolled_up_and_answer_for_their_days(
    client: Any, shards: Shards, span: Span
) -> None:
    keys = await rolled_up_account(client, shards)
    manifest = await the_manifest(client, keys)
    there = contents(manifest.parts)
    assert span in there.spans
    days = [day for day in there.days if day in span.days]
    assert len(days) > 6
    # These days are not looked at: the answer is the same without them.
    for day in days:
        await client.delete(keys.part(there.days[day]))
    reader = SnapshotReader(client, shards.keys.namespace)
    first, last = (date.fromordinal(MARCH.first + 20), WHOLE[1]) if span == END_OF_MARCH else WHOLE
    asked: list[dict[str, list[str]]] = [{}, {"channel": ["whatsapp", "email"]}, {"advisor": ["adv1"]}]
    for filters in asked:
        answer = await reader.metrics("acc0", first, last, Filters.parse(**filters))
        assert answer.metrics == report_of(shards.whole, "acc0", first, last, filters)


async def as_an_earlier_build(client: Any, keys: PublicKeys) -> Manifest:
    """Rewrite what is published as a build would have that versioned cubes by the revision that wrote them."""
    manifest = await the_manifest(client, keys)
    for name, version in manifest.parts.items():
        await client.rename(keys.part(Part(name, version)), keys.part(Part(name, "1")))
    there = contents(manifest.parts)
    month = keys.part(Part(f"month:{MARCH.first}", "1"))
    await client.hset(month, "values", "of another form")
    earlier = {
        **{name: value for name, value in msgspec.structs.asdict(manifest).items() if name in EARLIER_FIELDS},
        "format": 1,
        "rules": 0xDEC0DE,  # they were 32 bits
        "days": {day: [1, manifest.waiting[day]] for day in there.days},
        "spans": dict.fromkeys(there.spans, 1),
        "months": {MARCH.first: 1},
    }
    await client.set(keys.manifest, msgspec.msgpack.encode(earlier))
    await client.delete(keys.fence)
    return manifest


EARLIER_FIELDS = {
    *("revision", "published_at_ms", "as_of_ms", "complete", "timezone", "today", "rules", "commits"),
    "complete_from_ms",
}


async def test_what_an_earlier_build_published_is_read_and_goes_on(client: Any, shards: Shards) -> None:
    keys = await rolled_up_account(client, shards)
    manifest = await as_an_earlier_build(client, keys)
    earlier = await the_manifest(client, keys)
    assert earlier.parts == {**dict.fromkeys(manifest.parts, "1"), f"month:{MARCH.first}": "1"}
    reader = SnapshotReader(client, shards.keys.namespace)
    answer = await reader.metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == report_of(shards.whole, "acc0", *WHOLE, {})
    await publish(client, shards, as_of_ms=AS_OF_MS + 45 * 86_400_000)
    # Nothing changed, so nothing is written again; the month is not named any more, and is known as garbage.
    assert (await the_manifest(client, keys)).parts == dict.fromkeys(manifest.parts, "1")
    assert await client.exists(keys.part(Part(f"month:{MARCH.first}", "1")))
    assert (await reader.metrics("acc0", *WHOLE, Filters())).metrics == answer.metrics


async def test_a_changed_day_replaces_the_roll_ups_it_is_in_only(client: Any, shards: Shards) -> None:
    keys = await rolled_up_account(client, shards)
    first = contents((await the_manifest(client, keys)).parts).spans
    old = await client.hgetall(keys.part(first[MARCH]))
    created = next(
        event
        for event in map(orjson.loads, golden_lines())
        if event["type"] == "contact.created" and event["account_id"] == "acc0"
    )
    found = []
    for number, at in enumerate(("2026-04-10T12:00:00Z", "2026-03-10T12:00:00Z")):
        created |= {"id": f"new-{number}", "contact_id": f"new-{number}", "occurred_at": at}
        await shards.commit([orjson.dumps(created)])
        await publish(client, shards, as_of_ms=AS_OF_MS + 45 * 86_400_000)
        found.append(contents((await the_manifest(client, keys)).parts).spans)
        answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc0", *WHOLE, Filters())
        assert answer.metrics == report_of(shards.whole, "acc0", *WHOLE, {})
    assert [spans[MARCH] == first[MARCH] for spans in found] == [True, False]
    assert [spans[END_OF_MARCH] == first[END_OF_MARCH] for spans in found] == [True, True]
    # A reader of a revision before still finds what its manifest names; it is garbage, and goes in time.
    assert await client.hgetall(keys.part(first[MARCH])) == old
    assert first[MARCH] in await garbage_of(client, keys)


@pytest.mark.parametrize("member", [b"739700:4", b"month:739700:4", b"span:739700-739709:4", b"739700:q-_9.12"])
def test_a_part_reads_back_what_it_wrote_and_what_earlier_builds_did(member: bytes) -> None:
    part = Part.of_member(member)
    assert part.version == member.decode().rpartition(":")[2]
    assert part.member.encode() == member
    name = PublicKeys("main", "acme").part(part)
    assert name == "mediana:{acme}:" + ("cube:" if member.startswith(b"7") else "") + member.decode()


async def test_a_revision_names_the_positions_that_it_is_of(client: Any, shards: Shards) -> None:
    await shards.commit(golden_lines()[:100])
    await shards.commit(golden_lines()[100:])
    await publish(client, shards)
    found = await load_revision(client, PublicKeys(shards.keys.namespace, "acc0"))
    assert found is not None
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
    days = contents((await the_manifest(client, keys)).parts).days
    missing = sorted(days)[2:5]
    await client.delete(*[keys.part(days[day]) for day in missing])
    with pytest.raises(MissingPart, match="not in Redis"):
        await reader.metrics("acc0", date.fromordinal(missing[0]), date.fromordinal(missing[1]), Filters())
    with pytest.raises(MissingPart):
        await reader.slices("acc0", *WHOLE, WITH_ADVISOR)
    # Nothing changed: it is found by looking, and only what is missing is made again.
    (done,) = await snapshotter.publish(all_accounts=False)
    assert (done.account_id, done.repaired, done.changed_days) == ("acc0", 3, 3)
    answer = await reader.metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == report_of(shards.whole, "acc0", *WHOLE, {})
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
    assert answer.metrics == report_of(shards.whole, "acc0", *WHOLE, {})
    assert answer.revision == 3
    assert sorted(map(int, await client.hkeys(keys.history))) == [1, 2, 3]


async def test_a_day_that_no_shard_has_any_more_stays_an_error_and_the_rest_goes_on(
    client: Any, shards: Shards, redis_server: RedisAddress
) -> None:
    await shards.commit(golden_lines())
    keys, reader = PublicKeys(shards.keys.namespace, "acc0"), SnapshotReader(client, shards.keys.namespace)
    snapshotter = Snapshotter(client, config_of(redis_server, shards.keys.namespace), Ends(shards.ends()))
    await snapshotter.publish(all_accounts=True)
    days = contents((await the_manifest(client, keys)).parts).days
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
    answer = await reader.metrics("acc0", after, WHOLE[1], Filters(), with_previous=False)
    assert answer.metrics == report_of(shards.whole, "acc0", after, WHOLE[1], {})
    document = orjson.loads(await client.get(keys.report))
    assert date.fromordinal(day).isoformat() in document["incomplete_reasons"][0]


# --- one account's trouble ------------------------------------------------------------------------------------------


async def breaks_settings(client: Any, shards: Shards) -> None:
    await client.hset(shards.keys.settings, "acc1", b'{"account_id": "acc1", "timezone": "Atlantis/Center"}')


async def breaks_counters(client: Any, shards: Shards) -> None:
    keys = shards.keys.shard(1)
    member = next(m for m in await client.zrange(keys.changed, 0, -1) if m.endswith(b":acc1"))
    await client.hset(keys.day(int(member.split(b":")[0]), "acc1"), b"\xff\x00", b"junk")
    await client.zadd(keys.changed, {member: shards.seqs[1]})


async def breaks_head(client: Any, shards: Shards) -> None:
    await client.hset(f"{{mediana:{shards.keys.namespace}}}:published", "acc1", b"\xc1")


async def breaks_manifest_key(client: Any, shards: Shards) -> None:
    keys = PublicKeys(shards.keys.namespace, "acc1")
    await client.delete(keys.manifest)
    await client.sadd(keys.manifest, "another kind")


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
    scans = [await ShardReader(client, shards.keys, shard).scan(0) for shard in range(SHARDS)]
    before = set(await client.keys("*"))
    done = await publisher(client, shards).publish(settings, LogCut(AS_OF_MS, shards.ends()), scans)
    keys = set(await client.keys("*")) - before
    assert len({key_slot(key) for key in keys}) == 1
    assert (
        orjson.loads(await client.get(PublicKeys(shards.keys.namespace, account_id).report))["account_id"] == account_id
    )
    assert done.account_id == account_id


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (breaks_counters, "counters"),
        (breaks_manifest_key, "redis"),
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

            async def raising(self: Publisher, settings: Any, *arguments: Any, **more: Any) -> Any:
                if settings.account_id == "acc1":
                    raise LookupError("nobody foresaw this")
                return await real(self, settings, *arguments, **more)

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
        await client.delete(keys.history if breaks is breaks_history_key else keys.manifest)
    (done,) = await snapshotter.publish(all_accounts=False)
    assert done.account_id == "acc1"
    assert snapshotter.failures == {}
    assert await _reports(client, config) == []
    answer = await SnapshotReader(client, shards.keys.namespace).metrics("acc1", *WHOLE, Filters())
    assert answer.metrics == report_of(shards.whole, "acc1", *WHOLE, {})


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
    assert len(contents(first.parts).days) - len(contents(ahead.parts).days) == 5
    assert await client.exists(*(keys.part(part) for part in contents(first.parts).days.values())) == len(
        contents(first.parts).days
    ), "nothing is swept early"
    await publish(client, shards)
    document = orjson.loads(await client.get(keys.report))
    assert document["revision"] == 3
    assert document["as_of"] < document["as_of_before"]
    assert sorted(map(int, await client.hkeys(keys.history))) == [1, 2, 3]
    answer = await reader.metrics("acc0", *WHOLE, Filters())
    assert answer.metrics == report_of(shards.whole, "acc0", *WHOLE, {})
    await publish(client, shards)
    assert orjson.loads(await client.get(keys.report))["as_of_before"] is None


async def test_a_redis_clock_that_jumps_sweeps_nothing_before_half_the_time(client: Any, shards: Shards) -> None:
    lines = golden_lines()
    await shards.commit(lines[:900])
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    await shards.commit(lines[900:])
    await publish(client, shards)
    replaced = await garbage_of(client, keys)
    for jump_ms in (YEARS_MS, -YEARS_MS, YEARS_MS):
        # As if the server's clock had gone by so much since the last look at it.
        age, seen = (await client.hget(keys.garbage, "clock")).split(b":")
        await client.hset(keys.garbage, "clock", b"%s:%d" % (age, max(0, int(seen) - jump_ms)))
        await publish(client, shards)
        age_after = int((await client.hget(keys.garbage, "clock")).split(b":")[0])
        assert 0 <= age_after - int(age) <= 300_000 + 10_000
        if jump_ms == YEARS_MS and age_after < 600_000:
            assert await garbage_of(client, keys) == replaced


async def test_garbage_noted_by_an_earlier_build_with_the_time_of_day_is_kept_for_its_time(
    client: Any, shards: Shards
) -> None:
    await shards.commit(golden_lines())
    await publish(client, shards)
    keys = PublicKeys(shards.keys.namespace, "acc0")
    old = Part("700000", "1")
    await client.hset(keys.part(old), "values", "old")
    await client.hset(keys.garbage, old.member, f"1:{AS_OF_MS}")
    for _ in range(3):
        await publish(client, shards)
    assert await client.exists(keys.part(old))
    await pass_time(client, keys, 11 * 60_000)
    await publish(client, shards)
    assert not await client.exists(keys.part(old))
