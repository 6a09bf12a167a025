"""Operations that usually lose data: each works, or refuses with a message that says what to do."""

import asyncio
import json
import shutil
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from aggregates.report import instant_text
from schemas.events import decode_event
from streams.config import Secret
from streams.kafka.clients import TopicPartition, client_options
from streams.kafka.log_end import LogEnds
from streams.kafka.log_start import complete_from
from streams.local.process import Process
from streams.local.redis import Redis, redis_command
from streams.snapshots.manifest import PublicKeys
from streams.snapshots.snapshotter import Snapshotter
from tests.conftest import KafkaAddress
from tests.support.cluster import Site, folded, golden
from tests.support.commands import answered, run_command

# --- Redis goes back ------------------------------------------------------------------------------------------------


class Copy:
    """Everything a site has in Redis, as of one moment."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._keys: dict[bytes, bytes] = {}

    async def take(self) -> "Copy":
        pattern = f"{{mediana:{self._site.config.namespace}*"
        self._keys = {key: await self._site.client.dump(key) for key in await self._site.client.keys(pattern)}
        return self

    async def put_back(self) -> None:
        pattern = f"{{mediana:{self._site.config.namespace}*"
        pipeline = self._site.client.pipeline(transaction=True)
        pipeline.delete(*await self._site.client.keys(pattern))
        for key, data in self._keys.items():
            pipeline.restore(key, 0, data)
        await pipeline.execute()


async def test_idle_shards_that_are_rolled_back_again_and_again_are_caught_up_each_time(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events[:300])
    workers = [site.start_worker(), site.start_worker()]
    await site.wait_for(lambda applied: applied == 300)
    old = await Copy(site).take()
    await site.send([], events[300:])
    await site.wait_for(lambda applied: applied == len(events))
    for _ in range(3):
        await old.put_back()
        assert await site.applied() == 300
        # Nothing is sent any more: only the verification of idle sessions can notice.
        await site.wait_for(lambda applied: applied == len(events))
        assert await site.facts() == folded(accounts, events)
    # Where the copy holds the session's own token, the position gives the roll-back away, else the token does.
    told = "".join(site.log_of(number).read_text() for number in range(len(workers)))
    assert told.count("the ledger is at") + told.count("Redis went back to before the claim") >= 3
    assert await site.stop(*workers) == [0, 0]


async def test_settings_that_redis_forgot_are_read_again_by_a_worker_at_rest(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    worker = site.start_worker()
    await site.send([], events[:200])
    await site.wait_for(lambda applied: applied == 200)
    old = await Copy(site).take()
    await site.send(accounts, [])
    await wait_for_position(site, len(accounts))
    await old.put_back()
    # Shards at rest are where the copy has them: only the settings are missing.
    await wait_for_position(site, len(accounts))
    await site.send([], events[200:])
    await site.wait_for(lambda applied: applied == len(events))
    assert "reading settings again" in site.told()
    assert await site.stop(worker) == [0]


async def test_settings_and_events_that_redis_forgot_are_read_again_in_that_order(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    worker = site.start_worker()
    other = [line.replace(b'"effective_channels"', b'"unknown_field"') for line in accounts]
    await site.send(other, [])
    await wait_for_position(site, len(accounts))
    old = await Copy(site).take()
    await site.send(accounts, [])
    await wait_for_position(site, len(accounts) * 2)
    await site.send([], events)
    await site.wait_for(lambda applied: applied == len(events))
    right = await site.facts()
    assert right == folded(accounts, events)
    await old.put_back()
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == right
    assert await site.stop(worker) == [0]


async def wait_for_position(site: Site, position: int) -> None:
    """Wait until so many settings are taken over."""
    async with asyncio.timeout(30):
        while int(await site.client.hget(site.keys.settings_log, "position:0") or 0) < position:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_backup_recipe_brings_back_a_past_that_is_caught_up_exactly(
    kafka: KafkaAddress, namespace: str, tmp_path: Path
) -> None:
    """docs/run/operating.md: an RDB copy, put back while nothing runs. With `appendonly`, Redis reads no RDB file."""
    accounts, events = golden()
    folder = tmp_path / "redis"
    server = Redis(folder)
    server.start()
    site = Site(kafka.bootstrap, server.url, namespace, tmp_path)
    try:
        await site.create_topics()
        await site.send(accounts, events[:400])
        worker = site.start_worker()
        await site.wait_for(lambda applied: applied == 400)
        await site.client.save()
        copy = shutil.copy(folder / "dump.rdb", tmp_path / "copy.rdb")
        await site.send([], events[400:])
        await site.wait_for(lambda applied: applied == len(events))
        assert await site.stop(worker) == [0]
        await asyncio.to_thread(server.stop)

        shutil.rmtree(folder / "appendonlydir")
        shutil.copy(copy, folder / "dump.rdb")
        restored = Process(
            "redis",
            [redis_command(), "--port", str(server.port), "--dir", str(folder), "--appendonly", "no", "--save", ""],
            log_path=tmp_path / "restored.log",
        )
        restored.start()
        while not server.answers():  # noqa: ASYNC110 - a server's state
            await asyncio.sleep(0.1)
        await site.client.connection_pool.disconnect()
        await site.client.config_set("appendonly", "yes")
        while (await site.client.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.1)
        await asyncio.to_thread(restored.stop)
        await asyncio.to_thread(server.start)

        await site.client.connection_pool.disconnect()
        assert await site.applied() == 400
        worker = site.start_worker()
        await site.wait_for(lambda applied: applied == len(events))
        assert await site.facts() == folded(accounts, events)
        assert await site.stop(worker) == [0]
    finally:
        await site.close()
        await asyncio.to_thread(server.stop)


# --- Kafka changes --------------------------------------------------------------------------------------------------


async def admin(site: Site) -> AIOKafkaAdminClient:
    client = AIOKafkaAdminClient(**client_options(site.config))
    await client.start()
    return client


async def test_records_dropped_before_they_were_read_leave_a_mark_in_every_report_to_come(site: Site) -> None:
    accounts, events = golden()
    topics = site.config.topics
    await site.create_topics()
    await site.send(accounts, events[:200])
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == 200)
    assert await site.stop(worker) == [0]
    await site.send([], events[200:])
    position = int(await site.client.hget(site.keys.shard(1).ledger, "conversations"))
    dropped = position + 3
    await site.trim(topics.conversations, 1, dropped)
    since_ms = await site.sent_ms(topics.conversations, 1, dropped)
    assert await site.ended(site.start_worker()) == 1
    assert f"{topics.conversations} partition 1 offsets {position} to {dropped - 1}" in site.told()
    assert await site.applied() == 200
    worker = site.start_worker("--accept-gap")
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.stop(worker) == [0]
    # For good: also when a worker without that word has gone on.
    worker = site.start_worker()
    await site.send([], [_later(events[-1])])
    await site.wait_for(lambda applied: applied == len(events) + 1)
    ends_reader = LogEnds(site.config)
    published = await Snapshotter(site.client, site.config, ends_reader).publish(all_accounts=True)
    await ends_reader.close()
    assert len(published) == 3
    assert not any(done.manifest.complete for done in published)
    assert {done.manifest.complete_from_ms for done in published} == {since_ms}
    assert await site.stop(worker) == [0]


async def test_a_first_install_on_a_log_that_lost_its_beginning_says_from_when_it_is_complete(site: Site) -> None:
    accounts, events = golden()
    conversations = site.config.topics.conversations
    await site.create_topics()
    await site.send(accounts, events)
    await site.trim(conversations, 1, 5)
    since = instant_text(await site.sent_ms(conversations, 1, 5))
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == folded(accounts, _without_the_first(events, 5))
    assert f"reports have everything that was sent from {since} on" in site.told()
    await answered(site, "snapshot")
    document = json.loads(await site.client.get(PublicKeys(site.config.namespace, "acc0").report))
    assert (document["complete"], document["complete_from"]) == (False, since)
    assert document["incomplete_reasons"] == [
        (
            f"shard 1 lacks records that Kafka lost before they were read: {conversations} partition 1 offsets 0 to 4; "
            f"everything sent from {since} on is there"
        )
    ]
    reported = await answered(site, "report", "--account", "acc0", "--from", "2026-03-01", "--to", "2026-03-31")
    assert f"is not complete; records were lost, none that was sent from {since} on" in reported.stderr
    assert f"reports say complete: false, and complete_from: {since}" in (await run_command(site, "check")).stdout
    assert await site.stop(worker) == [0]


def _without_the_first(events: Sequence[bytes], count: int) -> list[bytes]:
    """Events but for the first ones of the conversations topic's partition 1."""
    kept = []
    for line in events:
        event = decode_event(line)
        if count and event.topic == "conversations" and zlib.crc32(event.contact_id.encode()) % 4 == 1:
            count -= 1
        else:
            kept.append(line)
    return kept


async def test_a_log_of_which_nothing_is_left_is_complete_from_now_on(site: Site) -> None:
    topics = site.config.topics
    await site.create_topics()
    for _ in range(3):
        await site.send_raw(topics.contacts, 0, b"ana", b"nonsense")
        await site.send_raw(topics.contacts, 1, b"ana", b"nonsense")
    await site.trim(topics.contacts, 0, 3)
    await site.trim(topics.contacts, 1, 2)
    emptied, trimmed = TopicPartition(topics.contacts, 0), TopicPartition(topics.contacts, 1)
    before_ms = int(time.time() * 1000)
    found = await complete_from(site.config, {emptied: 3, trimmed: 2})
    assert before_ms <= found[emptied] <= int(time.time() * 1000)
    assert found[trimmed] == await site.sent_ms(topics.contacts, 1, 2)


def _later(line: bytes) -> bytes:
    """The same event under another id."""
    event = decode_event(line)
    return line.replace(event.id.encode(), event.id.encode() + b"-again")


async def test_partitions_that_were_added_are_refused_by_a_worker_that_starts(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == len(events))
    client = await admin(site)
    topics = site.config.topics
    await client.create_partitions({topics.contacts: NewPartitions(6), topics.conversations: NewPartitions(6)})
    await client.close()
    assert await site.stop(worker) == [0]
    assert await site.ended(site.start_worker()) == 1
    assert "was made for 4 partitions, the event topics now have 6" in site.told()
    assert await site.facts() == folded(accounts, events)


async def test_aborted_transactions_count_for_nothing_and_hold_nothing_up(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, [])
    worker = site.start_worker(BATCH_EVENTS="7")
    producer = AIOKafkaProducer(**client_options(site.config), transactional_id=site.config.namespace)
    await producer.start()
    partition_of: dict[str, int] = {}
    for place in range(0, len(events), 25):
        await producer.begin_transaction()
        for line in events[place : place + 25]:
            await _send_event(producer, site, line, partition_of)
        await producer.commit_transaction()
        await producer.begin_transaction()
        for line in events[place : place + 10]:
            await _send_event(producer, site, _later(line), partition_of)
        await producer.flush()
        await producer.abort_transaction()
    await producer.stop()
    expected = folded(accounts, events)
    async with asyncio.timeout(60):
        while await site.facts() != expected:  # noqa: ASYNC110 - it is in Redis
            await asyncio.sleep(0.3)
    ends = LogEnds(site.config)
    published = await Snapshotter(site.client, site.config, ends).publish(all_accounts=True)
    await ends.close()
    assert all(done.manifest.complete for done in published)  # the end of the log is reached, marks and all
    assert await site.stop(worker) == [0]


async def _send_event(producer: AIOKafkaProducer, site: Site, line: bytes, partition_of: dict[str, int]) -> None:
    event = decode_event(line)
    topics = site.config.topics
    partition = partition_of.setdefault(event.contact_id, len(partition_of) % site.partitions)
    topic = topics.contacts if event.topic == "contacts" else topics.conversations
    await producer.send(topic, line, key=event.contact_id.encode(), partition=partition)


# --- Redis refuses --------------------------------------------------------------------------------------------------


async def test_a_commit_that_fails_half_way_is_never_taken_for_one_that_did_not_run(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    user = site.config.namespace
    # ZADD comes after the states and the counters have been written.
    await site.client.acl_setuser(
        user, enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], commands=["+@all", "-zadd"]
    )
    url = str(site.config.redis_url).replace("redis://", f"redis://{user}:secret@")
    try:
        assert await site.ended(site.start_worker(REDIS_URL=Secret(url))) == 1
        assert "the commit script failed" in site.told()
        # With the right to do everything again, what is half written is still refused.
        assert await site.ended(site.start_worker()) == 1
        assert "left half a batch written" in site.told()
        assert "restore Redis from a copy, or rebuild" in site.told()
    finally:
        await site.client.acl_deluser(user)
