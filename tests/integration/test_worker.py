"""Workers on a real Kafka and a real Redis: they come and go, and the counters are those of one undisturbed fold."""

from random import Random
from typing import Any

import orjson

from streams.kafka.gaps import complete_from, decode_gaps
from streams.worker.startup import FORMAT
from tests.support.cluster import Site, folded, golden
from tests.support.published import golden_differences, publish


async def test_a_backlog_in_all_codecs_is_folded_exactly_and_sigterm_ends_well(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == folded(accounts, events)
    assert await site.dead_letters() == []
    assert await site.stop(worker) == [0]
    assert "ERROR" not in site.told()


async def test_workers_killed_started_and_joined_by_others_count_everything_once(site: Site) -> None:
    accounts, events = golden()
    third = len(events) // 3
    await site.create_topics()
    await site.send(accounts, events[:third])
    small = {"BATCH_EVENTS": "10", "CACHE_CONTACTS": "5", "CACHE_FIELDS": "50"}
    first = site.start_worker(**small)
    await site.wait_for(lambda applied: applied > 20)
    first.kill()
    await site.send([], events[third : 2 * third])
    second = site.start_worker(**small)
    await site.wait_for(lambda applied: applied > third)
    third_worker = site.start_worker(**small)
    await site.send([], events[2 * third :])
    await site.wait_for(lambda applied: applied > third + 100)
    second.kill()
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == folded(accounts, events)
    assert await site.dead_letters() == []
    assert await site.stop(third_worker) == [0]


async def test_bad_records_are_set_aside_and_the_others_folded(site: Site) -> None:
    accounts, events = golden()
    topics = site.config.topics
    await site.create_topics()
    await site.send(accounts, events[:50])
    await site.send_raw(topics.conversations, 1, b"ana", b'{"id": "1", "type": "message.sent"')
    await site.send_raw(topics.conversations, 1, None, events[0])
    await site.send_raw(topics.contacts, 2, b"ana", None)
    await site.send_raw(topics.contacts, 2, b"ana", b'{"id": "1", "type": "contact.enlightened"}')
    await site.send_raw(topics.accounts, 0, b"acme", b'{"account_id": "acme", "timezone": "Mars/Olympus"}')
    await site.send([], events[50:])
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == len(events) + 4)
    assert await site.facts() == folded(accounts, events)
    letters = {letter.key: (dict(letter.headers)["reason"], letter.value) for letter in await site.dead_letters()}
    prefix = site.config.topic_prefix.encode()
    assert sorted((key.partition(prefix)[2].rpartition(b"/")[0], *letter) for key, letter in letters.items()) == [
        (b".accounts/0", b"malformed", b'{"account_id": "acme", "timezone": "Mars/Olympus"}'),
        (b".contacts/2", b"malformed", None),
        (b".conversations/1", b"key-mismatch", events[0]),
        (b".conversations/1", b"malformed", b'{"id": "1", "type": "message.sent"'),
    ]
    assert await site.stop(worker) == [0]


async def test_fuzzed_records_are_all_set_aside_and_stop_nothing(site: Site) -> None:
    accounts, events = golden()
    random = Random(5)
    bad = [*nasty_values(), *(mutilated(random.choice(events), random) for _ in range(300))]
    await site.create_topics()
    await site.send(accounts, events[:300])
    for number, value in enumerate(bad):
        topic = site.config.topics.contacts if number % 2 else site.config.topics.conversations
        await site.send_raw(topic, number % site.partitions, b"nobody", value)
    await site.send([], events[300:])
    worker = site.start_worker(DEAD_LETTER_RATIO="1", DEAD_LETTER_RUN="0")
    await site.wait_for(lambda applied: applied == len(events) + len(bad))
    assert await site.facts() == folded(accounts, events)
    assert len({letter.key for letter in await site.dead_letters()}) == len(bad)
    assert await site.stop(worker) == [0]


def nasty_values() -> list[bytes]:
    """Values that have broken decoders before."""
    event = '{"id": "e", "type": "contact.deleted", "account_id": "acc0", "contact_id": "nobody", "occurred_at": %s}'
    return [
        b"",
        b"\x00" * 100,
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"type": "contact.deleted", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"id": "%s"}' % (b"x" * 900_000),
        (event % '"2026-03-01T00:00:00Z", "id": "\\ud800"').encode(),
        (event % '"0001-01-01T00:00:00Z"').encode(),
        (event % '"9999-12-31T23:59:59Z"').encode(),
        (event % '"2026-03-01T00:00:00"').encode(),
        (event % "1e308").encode(),
        (event % '"2026-03-01T00:00:00Z", "sequence": 1e999').encode(),
        (event % ('"2026-03-01T00:00:00Z", "sequence": ' + "9" * 4000)).encode(),
        (event % ('"2026-03-01T00:00:00Z", "account_id": "' + "a" * 100_000 + '"')).encode(),
    ]


def mutilated(line: bytes, random: Random) -> bytes:
    """An event cut short or with bytes changed, and in any case under a key that is not its own."""
    if random.random() < 0.5:
        return line[: random.randrange(1, len(line) - 1)]
    damaged = bytearray(line)
    for _ in range(random.randrange(1, 5)):
        damaged[random.randrange(len(damaged))] = random.choice(b'\x00\xff"{}[]:,0a')
    # A type that becomes unknown would be skipped, not set aside.
    return bytes(damaged).replace(b'"type"', b'"typo"')


async def test_a_worker_with_nothing_but_bad_records_stops_instead_of_diverting_them(site: Site) -> None:
    await site.create_topics()
    for _ in range(12):
        await site.send_raw(site.config.topics.contacts, 0, b"ana", b"nonsense")
    worker = site.start_worker(DEAD_LETTER_RUN="10")
    assert await site.ended(worker) == 1
    assert "10 records in a row cannot be used" in site.told()
    assert len(await site.dead_letters()) < 10
    assert await site.applied() < 10


# --- what a worker refuses ------------------------------------------------------------------------------------------


async def test_topics_that_are_not_there_are_named(site: Site) -> None:
    worker = site.start_worker()
    assert await site.ended(worker) == 1
    assert f"Kafka has no topic {site.config.topic_prefix}.contacts" in site.told()
    assert "mediana topics create" in site.told()


async def test_event_topics_of_different_partition_counts_are_refused(site: Site) -> None:
    await site.create_topics(**{site.config.topics.contacts: 3})
    assert await site.ended(site.start_worker()) == 1
    assert "has 3 partitions" in site.told()


async def has_read_golden(site: Site) -> int:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.stop(worker) == [0]
    return len(events)


async def test_an_emptied_redis_is_not_taken_for_a_new_one(site: Site) -> None:
    await has_read_golden(site)
    for key in await site.client.keys(f"{{mediana:{site.config.namespace}*"):
        await site.client.delete(key)
    assert await site.ended(site.start_worker()) == 1
    assert "has read these topics before" in site.told()
    assert await site.applied() == 0


async def test_a_lost_ledger_is_not_begun_again(site: Site) -> None:
    await has_read_golden(site)
    await site.client.delete(site.keys.shard(2).ledger)
    assert await site.ended(site.start_worker()) == 1
    assert "shard 2" in site.told()
    assert "no ledger any more" in site.told()


async def test_an_emptied_redis_is_noticed_by_a_worker_at_rest(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == len(events))
    for key in await site.client.keys(f"{{mediana:{site.config.namespace}*"):
        await site.client.delete(key)
    assert await site.ended(worker) == 1
    assert "no ledger any more" in site.told()


async def test_a_topic_made_anew_is_not_taken_for_the_old_one(site: Site) -> None:
    accounts, events = golden()
    await has_read_golden(site)
    topics = site.config.topics
    await site.delete_topics(topics.contacts, topics.conversations)
    await site.create_topics()
    assert await site.ended(site.start_worker(), 60) == 1
    assert "the topic was recreated" in site.told()
    # Grown past the old positions, it is known by the last record that was read.
    await site.send(accounts, [*events, *events])
    assert await site.ended(site.start_worker()) == 1
    assert "is not the one that was read" in site.told()


async def test_redis_put_back_to_an_older_copy_is_caught_up_by_the_same_worker(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events[:500])
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == 500)
    pattern = f"{{mediana:{site.config.namespace}*"
    copies = {key: await site.client.dump(key) for key in await site.client.keys(pattern)}
    await site.send([], events[500:])
    await site.wait_for(lambda applied: applied == len(events))
    pipeline = site.client.pipeline(transaction=True)
    pipeline.delete(*await site.client.keys(pattern))
    for key, data in copies.items():
        pipeline.restore(key, 0, data)
    await pipeline.execute()
    assert await site.applied() == 500
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == folded(accounts, events)
    assert await site.stop(worker) == [0]


async def test_records_that_kafka_dropped_before_they_were_read_need_a_persons_word(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    await site.client.hset(
        site.keys.meta, mapping={"format": FORMAT, "partitions": 4, "topic_prefix": site.config.topic_prefix}
    )
    for shard in range(4):
        # As if the ledger were of a time before the log begins: no topic of Kafka begins above 0 without being trimmed.
        ledger = {"contacts": -2, "conversations": 0, "seq": 0}
        await site.client.hset(site.keys.shard(shard).ledger, mapping=ledger)
    assert await site.ended(site.start_worker()) == 1
    assert "no longer has records that were never read" in site.told()
    worker = site.start_worker("--accept-gap")
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == folded(accounts, events)
    gaps = decode_gaps(await site.client.hget(site.keys.shard(0).ledger, "gap"))
    assert gaps.text == f"{site.config.topics.contacts} partition 0 offsets -2 to -1"
    assert complete_from([gaps]) == await site.sent_ms(site.config.topics.contacts, 0, 0)
    assert await site.stop(worker) == [0]


async def test_settings_sent_just_before_an_accounts_first_event_hold_for_it(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    site.start_worker()
    sent: list[bytes] = []
    for number, account in enumerate(accounts):
        # The worker runs; from the second on it meets each account right after its settings were sent.
        its_events = [line for line in events if b'"acc%d"' % number in line]
        await site.send([account], its_events)
        sent += its_events
        await site.wait_for(len(sent).__eq__)
    assert await site.facts() == folded(accounts, sent)


async def test_settings_that_change_hold_for_the_events_after_them(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send([], events[:200])
    worker = site.start_worker()
    await site.wait_for(lambda applied: applied == 200)
    assert await site.facts() == folded([], events[:200])
    await site.send(accounts, [])
    await site.wait_for_settings("acc0")
    await site.send([], events[200:])
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() != folded([], events)
    assert await site.stop(worker) == [0]


async def test_accounts_whose_settings_are_extreme_or_damaged_stop_nobody(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    hostile: list[dict[str, Any]] = [
        {"account_id": "target", "targets": {"response_seconds": 9.3e15}},
        {"account_id": "more", "targets": {"response_seconds": 1e306}},
        {"account_id": "many", "advisors": {f"{number:x}": {} for number in range(19_400)}},
        {"account_id": "minutes", "schedules": {"s": [{"weekly": {"mon": [["09:00", "09:01"]] * 1_440}}]}},
        {"account_id": "host", "timezone": "localtime"},
        {"account_id": "line", "effective_channels": ["email\n"]},
        {"account_id": "}brace\n", "timezone": "Asia/Kathmandu"},
    ]
    for each in hostile:
        await site.send_raw(site.config.topics.accounts, 0, str(each["account_id"]).encode(), orjson.dumps(each))
    await site.send(accounts, events[:300])
    workers = [site.start_worker(), site.start_worker()]
    await site.wait_for(lambda applied: applied == 300)
    refused = [dict(letter.headers)["reason"] for letter in await site.dead_letters()]
    assert refused == [b"malformed"] * 6
    # Settings that were fine once, and are not any more: all workers start again over them.
    assert await site.stop(*workers) == [0, 0]
    for account in accounts[1:]:
        name = orjson.loads(account)["account_id"]
        await site.client.hset(site.keys.settings_before, name, account)
        await site.client.hset(site.keys.settings, name, b'{"account_id": "%s", "timezone": "M/O"}' % name.encode())
    odd = [
        orjson.dumps({**orjson.loads(line), "account_id": account, "contact_id": "odd"})
        for account in ("target", "}brace\n")
        for line in events[:20]
    ]
    workers = [site.start_worker(), site.start_worker()]
    await site.send([], [*events[300:], *odd])
    await site.wait_for(lambda applied: applied == len(events) + len(odd))
    expected = folded([*accounts, orjson.dumps(hostile[-1])], [*events, *odd])
    assert await site.facts() == expected
    published = {done.account_id for done in await publish(site)}
    assert {"target", "}brace\n", *(orjson.loads(account)["account_id"] for account in accounts)} <= published
    assert await golden_differences(site) == []
    assert await site.stop(*workers) == [0, 0]
    assert "ERROR" not in site.told()
    assert (
        site.told().count("account 'acc1': its newest settings cannot be used") <= 2 * 2
    )  # once in each worker's life
