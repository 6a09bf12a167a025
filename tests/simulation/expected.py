"""What shards must hold and reports must say: the log's events before some positions, folded anew one by one."""

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any

import msgspec

from aggregates.day_block import decode_block, encode_block
from aggregates.facts import read_fact
from aggregates.filters import Filters
from aggregates.periods import period
from aggregates.report import Metrics, metrics
from aggregates.rows import Rows
from aggregates.rules import Rules
from schemas.accounts import decode_settings
from schemas.errors import InvalidRecord, UnknownType
from schemas.events import Event, decode_timed_record
from streams.kafka.clients import EVENT_TOPICS, ConsumerRecord, TopicPartition
from tests.simulation.kafka_log import Log
from tests.support.shard_facts import Facts, OneByOne


@cache
def _rules(settings: bytes) -> Rules:
    return Rules(decode_settings(settings))


class Expected:
    """Folds prefixes of a log, shard by shard. Positions that grow cost what is new; those that went back, all."""

    def __init__(self, log: Log, topics: tuple[str, str], accounts: tuple[Mapping[str, Any], ...]) -> None:
        self._log = log
        self._topics = topics
        self._accounts = [_rules(msgspec.json.encode(account)) for account in accounts]
        self._events: dict[TopicPartition, list[Event | None]] = {}
        self._shards: dict[tuple[str, int], _Shard] = {}
        """By who asks, and shard."""

    def facts(self, shard: int, positions: tuple[int, int], asker: str) -> Facts:
        """The facts of a shard, of exactly the events before these positions.

        Each asker's positions are compared with those that it asked for before.
        """
        return self._folded(shard, positions, asker).facts

    def metrics_of(self, shards: list[Facts], account_id: str, start: date, end: date, as_of_ms: int) -> Metrics:
        """The numbers of an account and a range, of facts that are given."""
        wanted = period(start, end)
        blocks = [block for day in wanted.days if (block := block_of(shards, account_id, day)) is not None]
        (calendar,) = [rules.calendar for rules in self._accounts if rules.settings.account_id == account_id]
        return metrics(wanted, Rows.of(map(decode_block, blocks)), Filters(), calendar, as_of_ms=as_of_ms)

    def _folded(self, shard: int, positions: tuple[int, int], asker: str) -> OneByOne:
        wanted: dict[TopicPartition, int] = {}
        for topic, end in zip(self._topics, positions, strict=True):
            partition = TopicPartition(topic, shard)
            wanted[partition] = _before(self._log.history[partition], end)
        held = self._shards.get((asker, shard))
        if held is None or any(wanted[partition] < count for partition, count in held.folded.items()):
            held = self._shards[asker, shard] = _Shard(OneByOne(self._accounts))
        for partition, count in wanted.items():
            for event in self.events_of(partition)[held.folded.get(partition, 0) : count]:
                if event is not None:
                    held.alone.fold(event)
            held.folded[partition] = count
        return held.alone

    def events_of(self, partition: TopicPartition) -> list[Event | None]:
        """The event in each record of a partition, if there is one."""
        known = self._events.setdefault(partition, [])
        for record in self._log.history[partition][len(known) :]:
            known.append(event_in(record, self._topics))
        return known

    def bad(self, partition: TopicPartition) -> list[ConsumerRecord]:
        """The records of a partition that must be set aside for what they hold."""
        found = []
        for record in self._log.history[partition]:
            try:
                _decoded(record, self._topics)
            except UnknownType:
                pass
            except InvalidRecord:
                found.append(record)
        return found


class _Shard:
    """A prefix of a shard's log, folded."""

    def __init__(self, alone: OneByOne) -> None:
        self.alone = alone
        self.folded: dict[TopicPartition, int] = {}
        """How many records of each partition are in it."""


def block_of(shards: list[Facts], account_id: str, day: int) -> bytes | None:
    """The block of a day's facts, as it is published, if it has any."""
    facts = [
        read_fact(day, name, value) for shard in shards for name, value in shard.get((account_id, day), {}).items()
    ]
    return encode_block(day, facts) if facts else None


def event_in(record: ConsumerRecord, topics: tuple[str, str]) -> Event | None:
    """The event in a record, if it keeps the contract."""
    try:
        return _decoded(record, topics)
    except (InvalidRecord, UnknownType):
        return None


def _decoded(record: ConsumerRecord, topics: tuple[str, str]) -> Event:
    topic = EVENT_TOPICS[topics.index(record.topic)]
    return decode_timed_record(topic, record.key, record.value, record.timestamp)[0]


def _before(records: list[ConsumerRecord], end: int) -> int:
    """How many records are before an offset."""
    count = len(records)
    while count and records[count - 1].offset >= end:
        count -= 1
    return count
