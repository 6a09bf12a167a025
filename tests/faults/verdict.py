"""Compares what is published with what an independent program makes of the topics: every number of every account."""

import asyncio
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer

from aggregates.filters import Filters
from streams.config import Config
from streams.kafka.clients import ConsumerRecord, TopicPartition, client_options
from streams.kafka.dead_letters import TOO_LATE
from streams.snapshots.reader import SnapshotReader
from tests.faults.revisions import Seen
from tests.oracle.arrival import split
from tests.oracle.facts import TYPES
from tests.oracle.histories import random_filters
from tests.oracle.instants import instant_us
from tests.oracle.report import Oracle
from tests.support.comparison import differences, expected_uncounted, expected_waiting

HOUR_MS = 3_600_000
SECTIONS = 40
"""More days than the report has tables for, and fewer than make a comparison slow."""

Event = dict[str, Any]
Metrics = dict[str, Any]


@dataclass
class _Topics:
    """What the topics hold."""

    contacts: list[ConsumerRecord] = field(default_factory=list)
    conversations: list[ConsumerRecord] = field(default_factory=list)
    accounts: list[ConsumerRecord] = field(default_factory=list)
    dead_letters: list[ConsumerRecord] = field(default_factory=list)


async def read_topics(config: Config, shards: int) -> _Topics:
    """All records from the beginning to the end."""
    found = _Topics()
    names = config.topics
    consumer = AIOKafkaConsumer(
        **client_options(config), auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        into = {
            names.contacts: found.contacts,
            names.conversations: found.conversations,
            names.accounts: found.accounts,
            names.dead_letters: found.dead_letters,
        }
        counts = {names.contacts: shards, names.conversations: shards}
        partitions = [TopicPartition(name, number) for name in into for number in range(counts.get(name, 1))]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while open_ones := [p for p in partitions if await consumer.position(p) < ends[p]]:
            for partition, records in (await consumer.getmany(*open_ones, timeout_ms=500)).items():
                into[partition.topic] += [record for record in records if record.offset < ends[partition]]
    finally:
        await consumer.stop()
    return found


def as_event(record: ConsumerRecord) -> Event | None:
    """The event in a record; nothing if it is none. Knows only the ways to be none that the traffic has."""
    try:
        event = json.loads(record.value or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str) or event["type"] not in TYPES:
        return None
    if not isinstance(event.get("id"), str) or record.key != event["contact_id"].encode():
        return None
    return event if instant_us(event["occurred_at"]) // 1000 <= record.timestamp + HOUR_MS else None


class Verdict:
    """One comparison."""

    def __init__(self, config: Config, shards: int, client: Any, begin: dt.date, random: Random) -> None:
        self._config = config
        self._shards = shards
        self._reader = SnapshotReader(client, config.namespace)
        self._begin = begin
        self._random = random
        self.events = 0
        self.too_late = 0
        self.revisions = 0
        """Revisions compared with the records before their positions, so far."""
        self.compared = 0
        """Numbers compared so far."""

    async def differences(self, seen: Sequence[Seen] = ()) -> list[str]:
        """Where the published reports or the dead letters differ from what the topics say, one line each.

        Of the revisions that were `seen` before, each is compared with the records before the positions it names.
        """
        topics = await read_topics(self._config, self._shards)
        found = await self._whole(topics)
        for each in seen:
            found += await asyncio.to_thread(self._prefix, topics, each)
            self.revisions += 1
        return found

    def _prefix(self, topics: "_Topics", seen: Seen) -> list[str]:
        """Where a revision differs from what exactly the records say that stand before its positions."""
        account_id, manifest = seen.account_id, seen.manifest
        records = [
            *(r for r in topics.conversations if r.offset < manifest.positions[r.partition][1]),
            *(r for r in topics.contacts if r.offset < manifest.positions[r.partition][0]),
        ]
        # All contacts' events of the account; which come too late depends on those of the contact alone.
        log = [event for record in records if (event := as_event(record)) and event["account_id"] == account_id]
        settings = {record.key: json.loads(record.value) for record in topics.accounts}
        account = next(each for each in settings.values() if each["account_id"] == account_id)
        oracle = Oracle(split(log).counted, [account])
        label = f"{account_id} revision {manifest.revision} before {manifest.positions}"
        found = []
        for name, box in orjson.loads(seen.document)["periods"].items():
            for each in (box, box["previous"]):
                first, last = (dt.date.fromisoformat(each[end]) for end in ("from", "to"))
                expected = _metrics(oracle, account_id, first, last)
                found += self._compare(f"{label}: {name} {first}..{last}", expected, each["metrics"])
        if seen.whole is not None:
            first, last = self._begin, seen.last_day
            expected = _metrics(oracle, account_id, first, last)
            expected["waiting"] = expected_waiting(oracle, account, first, last, {})
            expected["uncounted_advisor_messages"] = expected_uncounted(oracle, account_id, first, last, {})
            found += self._compare(f"{label}: {first}..{last}", expected, seen.whole.metrics)
        return found

    async def _whole(self, topics: "_Topics") -> list[str]:
        """Where the newest reports or the dead letters differ from all that is in the topics."""
        # Conversations first: the traffic is such that any interleaving gives the same (see `traffic`).
        log = [event for r in (*topics.conversations, *topics.contacts) if (event := as_event(r)) is not None]
        self.events = len(log)
        settings = {record.key: json.loads(record.value) for record in topics.accounts}
        arrivals = await asyncio.to_thread(split, log)
        self.too_late = len(arrivals.too_late)
        oracle = await asyncio.to_thread(Oracle, arrivals.counted, list(settings.values()))
        found = _dead_letter_differences(topics)
        for account in settings.values():
            if any(event["account_id"] == account["account_id"] for event in arrivals.counted):
                found += await self._account(oracle, account)
        return found

    async def _account(self, oracle: Oracle, account: Mapping[str, Any]) -> list[str]:
        account_id = account["account_id"]
        found = await self._document(oracle, account)
        today = dt.datetime.now(dt.UTC).date() + dt.timedelta(1)
        days = (today - self._begin).days
        for number, asked in enumerate(random_filters(self._random.randrange(1 << 30), 4)):
            first, last = self._begin, today
            if number > 1:
                first += dt.timedelta(self._random.randrange(days))
                last = min(today, first + dt.timedelta(self._random.randrange(SECTIONS)))
            answer = await self._reader.metrics(account_id, first, last, Filters.parse(**asked))
            label = f"{account_id} {first}..{last} {asked or ''}"
            if not answer.complete:
                found.append(f"{label}: not complete, though everything is applied")
            expected = _metrics(oracle, account_id, first, last, asked)
            expected["waiting"] = expected_waiting(oracle, account, first, last, asked)
            expected["uncounted_advisor_messages"] = expected_uncounted(oracle, account_id, first, last, asked)
            found += self._compare(label, expected, answer.metrics)
            span = last - first + dt.timedelta(1)
            previous = _metrics(oracle, account_id, first - span, last - span, asked)
            compared = None if answer.compared is None else answer.compared.metrics
            found += self._compare(f"{label} previous", previous, compared)
        return found

    async def _document(self, oracle: Oracle, account: Mapping[str, Any]) -> list[str]:
        account_id = account["account_id"]
        data = await self._reader.report(account_id)
        if data is None:
            return [f"{account_id}: nothing is published"]
        document = orjson.loads(data)
        found = [] if document["complete"] else [f"{account_id}: the report is not complete"]
        if document["lag"]["records"]:
            found.append(f"{account_id}: lag of {document['lag']['records']} though everything is applied")
        for name, box in document["periods"].items():
            for each in (box, box["previous"]):
                first, last = (dt.date.fromisoformat(each[end]) for end in ("from", "to"))
                expected = _metrics(oracle, account_id, first, last)
                found += self._compare(f"{account_id} {name} {first}..{last}", expected, each["metrics"])
        return found

    def _compare(self, label: str, expected: Metrics, found: Mapping[str, Any] | None) -> list[str]:
        self.compared += _numbers(expected)
        if found is None:
            return [f"{label}: nothing was said of it"]
        return [f"{label}: {line}" for line in differences(expected, found)]


def _metrics(
    oracle: Oracle, account_id: str, first: dt.date, last: dt.date, asked: Mapping[str, Sequence[str]] | None = None
) -> Metrics:
    """The oracle's numbers. It looks back from long after the range, a report does not: hours are still to come."""
    found: Metrics = oracle.metrics(account_id, first, last, asked)
    if last >= dt.datetime.now(dt.UTC).date() - dt.timedelta(1):
        del found["heatmap_occurrences"]
    return found


def _dead_letter_differences(topics: _Topics) -> list[str]:
    """Every record that is no event is set aside, and no other one but what came too late."""
    records = (*topics.contacts, *topics.conversations)
    bad = {f"{r.topic}/{r.partition}/{r.offset}" for r in records if as_event(r) is None}
    letters: dict[str, set[bytes]] = {}
    for record in topics.dead_letters:
        letters.setdefault(record.key.decode(), set()).add(dict(record.headers)["reason"])
    refused = {key for key, reasons in letters.items() if reasons != {TOO_LATE.encode()}}
    return [
        *(f"dead letters: {key} is not among them" for key in sorted(bad - refused)),
        *(f"dead letters: {key} should not be among them: {letters[key]}" for key in sorted(refused - bad)),
    ]


def _numbers(document: object) -> int:
    """How many figures a document has."""
    if isinstance(document, Mapping):
        return sum(map(_numbers, document.values()))
    if isinstance(document, list):
        return sum(map(_numbers, document))
    return 1
