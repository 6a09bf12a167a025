"""Dead letters on a real Kafka: set aside by a worker, listed, mended, sent again, and counted once."""

import json
import zlib
from pathlib import Path

from tests.support.cluster import Site, folded, golden
from tests.support.commands import answered, run_command


def partition_of(site: Site, key: bytes) -> int:
    """Where `Site.send` puts a contact: a partitioner other than Kafka's own."""
    return zlib.crc32(key) % site.partitions


def event(contact: str, number: int, at: str, **fields: object) -> bytes:
    named = {"id": str(number), "type": "message.received", "account_id": "acme", "contact_id": contact}
    conversation = {"conversation_id": "k1", "channel": "whatsapp"}
    return json.dumps({**named, "occurred_at": f"2026-11-20T{at}Z", **conversation, **fields}).encode()


def sent(contact: str, number: int, at: str) -> bytes:
    return event(contact, number, at, type="message.sent", author={"kind": "advisor", "id": "ana"})


async def test_a_broken_event_is_set_aside_mended_sent_again_and_counted_once(site: Site, tmp_path: Path) -> None:
    accounts, events = golden()
    *others, last = events
    fields = json.loads(last)
    key = fields["contact_id"].encode()
    broken = json.dumps({**fields, "occurred_at": "yesterday"}).encode()
    topic = site.config.topics.contacts if fields["type"].startswith("contact.") else site.config.topics.conversations
    await site.create_topics()
    await site.send(accounts, others)
    partition = partition_of(site, key)
    await site.send_raw(topic, partition, key, broken)
    worker = site.start_worker()
    await site.wait_for(len(events).__eq__)
    assert await site.facts() == folded(accounts, others)

    # Without --payload nothing of what the record holds is shown.
    listed = await answered(site, "dead-letters", "list", "--json")
    (line,) = map(json.loads, listed.stdout.splitlines())
    assert (line["reason"], line["topic"], line["partition"], line["size"]) == (
        "malformed",
        topic,
        partition,
        len(broken),
    )
    assert fields["id"] not in listed.stdout

    whole = await answered(site, "dead-letters", "list", "--json", "--payload", "--reason", "malformed")
    repaired = tmp_path / "repaired.jsonl"
    repaired.write_text(whole.stdout.replace("yesterday", fields["occurred_at"]))
    for total in (len(events) + 1, len(events) + 2):  # the second time changes nothing
        summary = json.loads((await answered(site, "dead-letters", "replay", "--file", str(repaired))).stdout)
        assert (summary["records"], summary["sent"], summary["late"], summary["refused"]) == (1, 1, 0, 0)
        await site.wait_for(total.__eq__)
        assert await site.facts() == folded(accounts, events)
    assert len(await site.dead_letters()) == 1
    assert await site.stop(worker) == [0]


async def test_a_wrong_key_is_mended_by_sending_the_letter_again_to_where_its_contact_is(site: Site) -> None:
    topics = site.config.topics
    events = [event("ana", 1, "10:00:00"), sent("ana", 2, "10:05:00")]
    await site.create_topics()
    await site.send([], events[:1])
    home = partition_of(site, b"ana")
    await site.send_raw(topics.conversations, (home + 1) % site.partitions, b"someone", events[1])
    site.start_worker()
    await site.wait_for((2).__eq__)
    assert await site.facts() == folded([], events[:1])
    rehearsed = await answered(site, "dead-letters", "replay", "--dry-run")
    assert json.loads(rehearsed.stdout)["sent"] == 0
    assert "1 records would be sent" in rehearsed.stderr
    assert await site.applied() == 2
    await answered(site, "dead-letters", "replay", "--reason", "key-mismatch")
    await site.wait_for((3).__eq__)
    assert await site.facts() == folded([], events)
    held = [shard for shard in range(site.partitions) if await site.client.exists(site.keys.shard(shard).states)]
    assert held == [home]


async def test_what_came_too_late_is_not_sent_again_and_what_would_come_too_late_is_told(
    site: Site, tmp_path: Path
) -> None:
    await site.create_topics()
    await site.send([], [event("ana", 1, "15:00:00"), event("ana", 2, "10:00:00")])
    site.start_worker()
    await site.wait_for((2).__eq__)
    refused = await run_command(site, "dead-letters", "replay")
    assert refused.returncode == 1
    summary = json.loads(refused.stdout)
    assert (summary["sent"], summary["refused"]) == (0, 1)
    assert summary["refusals"][0]["reason"] == "too-late"
    assert "only a rebuild" in summary["refusals"][0]["detail"]

    repaired = tmp_path / "repaired.jsonl"
    repaired.write_bytes(event("ana", 3, "11:00:00") + b"\n" + b'{"id": "4", "type": "message.sent"}\n')
    rehearsed = await run_command(site, "dead-letters", "replay", "--dry-run", "--file", str(repaired))
    assert rehearsed.returncode == 1
    summary = json.loads(rehearsed.stdout)
    assert (summary["records"], summary["sent"], summary["late"], summary["refused"]) == (2, 0, 1, 1)
    assert summary["refusals"][0]["record"] == f"{repaired}:2"
    assert "1 events would be set aside again as too-late" in rehearsed.stderr
    assert await site.applied() == 2
