"""Rebuilds on a real Kafka and Redis: beside the running install, compared with it, and the old one deleted."""

import asyncio
import dataclasses
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aggregates.report import instant_text
from streams.snapshots.manifest import PublicKeys
from tests.support.cluster import Site, folded, golden
from tests.support.commands import answered, run_command, started
from tests.support.shard_facts import Facts


class Beside:
    """What a site has in a second namespace."""

    def __init__(self, site: Site) -> None:
        self.namespace = f"{site.config.namespace}-v2"
        self._site = Site(
            site.config.kafka_bootstrap, str(site.config.redis_url), self.namespace, Path(), site.partitions
        )
        self.keys = self._site.keys
        self.client = self._site.client

    async def facts(self) -> Facts:
        return await self._site.facts()

    async def document(self, account_id: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(await self.client.get(PublicKeys(self.namespace, account_id).report))
        return document

    async def all_keys(self) -> list[bytes]:
        found: list[bytes] = await self.client.keys(f"*{self.namespace}*")
        return found


@pytest.fixture
async def beside(site: Site) -> AsyncIterator[Beside]:
    beside = Beside(site)
    yield beside
    await beside.client.aclose()


async def test_a_rebuild_equals_what_it_was_rebuilt_beside_and_the_old_one_can_go(site: Site, beside: Beside) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    worker = site.start_worker()
    await site.wait_for(len(events).__eq__)
    expected = folded(accounts, events)

    rebuilt = await answered(site, "rebuild", "--into", beside.namespace, "--workers", "2")
    found = json.loads(rebuilt.stdout)
    assert (found["namespace"], found["records"], found["missing"]) == (beside.namespace, len(events), [])
    assert found["published"] == {"acc0": True, "acc1": True, "acc2": True}
    assert found["comparison"]["equal"] is True
    assert [account["same_position"] for account in found["comparison"]["accounts"]] == [True] * 3
    assert await beside.facts() == expected
    assert await site.facts() == expected
    assert f"MEDIANA_NAMESPACE={beside.namespace}" in rebuilt.stderr
    assert (await beside.document("acc0"))["complete"] is True

    again = await run_command(site, "rebuild", "--into", beside.namespace)
    assert again.returncode == 1
    assert "is there already" in again.stderr

    # Nobody deletes what is in use, or what workers are working on.
    old = site.config.namespace
    refused = await run_command(site, "namespace", "drop", old, "--yes")
    assert (refused.returncode, "is the one in use" in refused.stderr) == (1, True)
    switched = {"NAMESPACE": beside.namespace}
    # Not even who has given the workers of the new one a group of their own.
    for group in ({}, {"GROUP": f"{old}-elsewhere"}):
        refused = await run_command(site, "namespace", "drop", old, "--yes", **switched, **group)
        assert (refused.returncode, "workers of namespace" in refused.stderr) == (1, True), refused.stderr
    assert await site.facts() == expected

    assert await site.stop(worker) == [0]
    counted = await run_command(site, "namespace", "drop", old, **switched)
    assert counted.returncode == 1
    keys = json.loads(counted.stdout)["keys"]
    assert json.loads(counted.stdout) == {"namespace": old, "keys": keys, "deleted": 0}
    dropped = await answered(site, "namespace", "drop", old, "--yes", **switched)
    assert json.loads(dropped.stdout) == {"namespace": old, "keys": keys, "deleted": keys}
    assert {key for key in await site.client.keys(f"*{old}*") if key not in await beside.all_keys()} == set()
    assert await beside.facts() == expected

    # A worker of the new namespace goes on where the rebuild was.
    site.start_worker(**switched)
    later = events[-1].replace(b'"id": "', b'"id": "again-')
    await site.send([], [later])
    site.keys, site.config = beside.keys, dataclasses.replace(site.config, namespace=beside.namespace)
    await site.wait_for((len(events) + 1).__eq__)
    assert await site.facts() == folded(accounts, [*events, later])


def event(topic: str, number: int, at: str) -> bytes:
    fields = {"id": str(number), "account_id": "acme", "contact_id": "ana", "occurred_at": f"2026-11-20T{at}Z"}
    if topic == "contacts":
        return json.dumps({**fields, "type": "contact.moved", "group_id": "sales"}).encode()
    more = {"type": "message.received", "conversation_id": "k1", "channel": "whatsapp"}
    if number % 2 == 0:
        more |= {"type": "message.sent", "author": {"kind": "advisor", "id": "bo"}}  # type: ignore[dict-item]
    return json.dumps({**fields, **more}).encode()


async def test_a_rebuild_includes_what_was_too_late_only_for_the_other_topic(site: Site, beside: Beside) -> None:
    question, answer = event("conversations", 1, "10:00:00"), event("conversations", 2, "10:05:00")
    moved = event("contacts", 3, "15:00:00")
    await site.create_topics()
    await site.send([], [moved])
    site.start_worker()
    await site.wait_for((1).__eq__)
    await site.send([], [question, answer])
    await site.wait_for((3).__eq__)
    assert await site.facts() == folded([], [moved])  # both came too late
    # A backlog of both topics is read in event time.
    rebuilt = await answered(site, "rebuild", "--into", beside.namespace)
    assert await beside.facts() == folded([], [question, answer, moved])
    (account,) = json.loads(rebuilt.stdout)["comparison"]["accounts"]
    assert (account["equal"], account["same_position"], account["differing_days"]) == (False, True, ["2026-11-20"])
    differences = {found["number"]: (found["old"], found["new"], found["by"]) for found in account["differences"]}
    assert differences["response.count"] == (0, 1, 1)
    assert differences["response.elapsed.median"] == (None, pytest.approx(300, rel=0.01), None)


async def test_what_was_too_late_within_its_topic_needs_a_longer_window(site: Site, beside: Beside) -> None:
    question, answer = event("conversations", 1, "10:00:00"), event("conversations", 2, "10:05:00")
    newer = event("conversations", 5, "15:00:00")
    await site.create_topics()
    await site.send([], [newer, question, answer])
    site.start_worker()
    await site.wait_for((3).__eq__)
    assert await site.facts() == folded([], [newer])
    # The topic's own order stays: at the same window the same events are too late.
    same = await answered(site, "rebuild", "--into", beside.namespace)
    assert json.loads(same.stdout)["comparison"]["equal"] is True
    await answered(site, "namespace", "drop", beside.namespace, "--yes")
    assert await beside.all_keys() == []
    await answered(site, "rebuild", "--into", beside.namespace, LATENESS_SECONDS="36000")
    assert await beside.facts() == folded([], [question, answer, newer])


async def test_a_log_without_its_beginning_is_rebuilt_only_on_a_persons_word_and_marked_for_good(
    site: Site, beside: Beside
) -> None:
    accounts, events = golden()
    topics = site.config.topics
    await site.create_topics()
    await site.send(accounts, events)
    await site.trim(topics.conversations, 1, 5)
    since = instant_text(await site.sent_ms(topics.conversations, 1, 5))

    refused = await run_command(site, "rebuild", "--into", beside.namespace)
    assert refused.returncode == 1
    assert f"{topics.conversations} partition 1 begins at offset 5" in refused.stderr
    assert f"everything that was sent from {since} on" in refused.stderr
    assert await beside.all_keys() == []

    rebuilt = await answered(site, "rebuild", "--into", beside.namespace, "--accept-gap")
    found = json.loads(rebuilt.stdout)
    (missing,) = found["missing"]
    assert missing == {"topic": topics.conversations, "partition": 1, "first_offset": 5, "since": since}
    assert found["complete_from"] == since
    assert found["published"] == {"acc0": False, "acc1": False, "acc2": False}
    assert found["comparison"] is None
    # For good: also in what is published later.
    await answered(site, "snapshot", NAMESPACE=beside.namespace)
    document = await beside.document("acc0")
    assert (document["complete"], document["complete_from"]) == (False, since)
    (reason,) = document["incomplete_reasons"]
    assert reason.startswith("shard 1 lacks records that Kafka lost before they were read: ")
    assert reason.endswith(f"; everything sent from {since} on is there")


async def test_workers_in_a_group_of_any_name_hold_their_namespace(site: Site, beside: Beside) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events[:50])
    worker = site.start_worker(GROUP=f"{site.config.namespace}-another-name")
    await site.wait_for((50).__eq__)
    switched = {"NAMESPACE": beside.namespace}
    refused = await run_command(site, "namespace", "drop", site.config.namespace, "--yes", **switched)
    assert refused.returncode == 1
    assert f"(consumer group '{site.config.namespace}-another-name'): stop them first" in refused.stderr
    assert await site.applied() == 50
    # Workers of another namespace hold only theirs, whatever group the command is told.
    told = {"GROUP": f"{site.config.namespace}-another-name"}
    await answered(site, "namespace", "drop", "nobodys", "--yes", **switched, **told)
    assert await site.stop(worker) == [0]
    await answered(site, "namespace", "drop", site.config.namespace, "--yes", **switched, **told)


async def test_a_rebuild_that_was_interrupted_goes_on_where_it_was(site: Site, beside: Beside) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events[:400])
    # A record that stops its worker: the rebuild ends, and says so.
    for _ in range(3):
        await site.send_raw(site.config.topics.contacts, 0, b"ana", b"nonsense")
    stopped = await run_command(site, "rebuild", "--into", beside.namespace, DEAD_LETTER_RUN="3")
    assert stopped.returncode == 1
    assert "a worker of the rebuild ended with status 1" in stopped.stderr
    assert "3 records in a row cannot be used" in stopped.stderr
    await site.send([], events[400:])
    rebuilt = await answered(site, "rebuild", "--into", beside.namespace)
    assert "going on with the rebuild" in rebuilt.stderr
    assert json.loads(rebuilt.stdout)["records"] == len(events) + 3
    assert await beside.facts() == folded(accounts, events)


def workers_of(namespace: str) -> list[int]:
    """Processes that were given this namespace, but for those that wait to be reaped."""
    setting = f"MEDIANA_NAMESPACE={namespace}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if setting in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:
            pass  # ended, or somebody else's
    return found


async def test_a_rebuild_that_is_killed_leaves_no_worker_behind_and_can_be_repeated(site: Site, beside: Beside) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events)
    rebuild = started(site, "rebuild", "--into", beside.namespace)
    try:
        async with asyncio.timeout(30):
            while not workers_of(beside.namespace):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    finally:
        rebuild.kill()
        rebuild.wait()
    async with asyncio.timeout(5):
        while workers_of(beside.namespace):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    await answered(site, "rebuild", "--into", beside.namespace)
    assert await beside.facts() == folded(accounts, events)


async def test_a_rebuild_that_is_told_to_stop_stops_its_workers_and_says_so(site: Site, beside: Beside) -> None:
    await site.create_topics()
    rebuild = started(site, "rebuild", "--into", beside.namespace, stderr=subprocess.PIPE)
    async with asyncio.timeout(30):
        while not workers_of(beside.namespace):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    rebuild.terminate()
    _, told = await asyncio.to_thread(rebuild.communicate)
    assert rebuild.returncode == 1
    assert "the rebuild was stopped; the same command goes on where it was" in told.decode()
    assert workers_of(beside.namespace) == []


async def test_a_rebuild_keeps_up_with_what_is_sent_meanwhile(site: Site, beside: Beside) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events[:300])
    site.start_worker()
    await site.wait_for((300).__eq__)

    async def traffic() -> None:
        for first in range(300, len(events), 25):
            await site.send([], events[first : first + 25])
            await asyncio.sleep(0.1)

    sending = asyncio.create_task(traffic())
    rebuilt = await answered(site, "rebuild", "--into", beside.namespace)
    await sending
    found = json.loads(rebuilt.stdout)
    assert 300 <= found["records"] <= len(events)
    assert all(account["equal"] for account in found["comparison"]["accounts"] if account["same_position"])
    await site.wait_for(len(events).__eq__)
    site.start_worker(NAMESPACE=beside.namespace)
    site.keys, site.config = beside.keys, dataclasses.replace(site.config, namespace=beside.namespace)
    await site.wait_for(len(events).__eq__)
    assert await site.facts() == folded(accounts, events)
