"""Steady traffic over all shards, and how long each shard stood still: for tests of what a rebalance stops."""

import asyncio
import itertools
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaProducer

from streams.kafka.clients import client_options
from tests.support.cluster import Counters, Site, folded

EVERY_SECONDS = 0.1
"""Between two events of the same shard and topic."""
POLL_SECONDS = 0.01

_ACCOUNT = b'{"account_id": "steady", "name": "Steady", "timezone": "UTC"}'


class SteadyTraffic:
    """Every tenth of a second an event of both topics in every shard, of contacts that have no other event.

    So no interleaving of the topics changes a number. Use it with `async with`: it sends until the end of the block.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._producer = AIOKafkaProducer(**client_options(site.config), linger_ms=0)
        self._names = _names(site.partitions)
        self._ended = False
        self.sent: list[bytes] = []

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._producer.send_and_wait(self._site.config.topics.accounts, _ACCOUNT, key=b"steady")
        self._task = asyncio.ensure_future(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        # Never by cancelling: what it waits for may swallow that.
        self._ended = True
        await self._task
        await self._producer.stop()

    async def _send(self) -> None:
        topics = self._site.config.topics
        due = time.monotonic()
        while not self._ended:
            waiting = []
            for shard in range(self._site.partitions):
                for topic, event in ((topics.contacts, _contact), (topics.conversations, _message)):
                    name = next(self._names[shard])
                    line = orjson.dumps(event(name, datetime.now(UTC) - timedelta(milliseconds=1)))
                    self.sent.append(line)
                    waiting.append(await self._producer.send(topic, line, key=name.encode(), partition=shard))
            await asyncio.gather(*waiting)
            due += EVERY_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def expected(self) -> Counters:
        """The counters of all that was sent."""
        return folded([_ACCOUNT], self.sent)


class Commits:
    """When each shard's position was seen to move. Use it with `async with`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.seen: dict[int, list[float]] = {shard: [] for shard in range(site.partitions)}
        self._ended = False
        self._last: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended = True
        await self._task

    async def _watch(self) -> None:
        while not self._ended:
            for shard in self.seen:
                applied = await self._site.applied_of(shard)
                if applied != self._last.get(shard, applied):
                    self.seen[shard].append(time.monotonic())
                self._last[shard] = applied
            await asyncio.sleep(POLL_SECONDS)

    def pauses(self, begin: float, end: float) -> Mapping[int, float]:
        """Per shard, the longest time between two instants in which it did not move."""
        return {
            shard: _longest([begin, *(at for at in seen if begin < at < end), end]) for shard, seen in self.seen.items()
        }


def _longest(instants: Iterable[float]) -> float:
    return max(after - before for before, after in pairwise(instants))


def _names(partitions: int) -> Mapping[int, Iterator[str]]:
    """Per shard, contacts that belong there."""
    return {shard: _of(shard, partitions) for shard in range(partitions)}


def _of(shard: int, partitions: int) -> Iterator[str]:
    for number in itertools.count():
        if zlib.crc32(f"c{number}".encode()) % partitions == shard:
            yield f"c{number}"


def _contact(name: str, at: datetime) -> dict[str, Any]:
    return {**_common(name, at), "type": "contact.created", "channel": "whatsapp", "origin": "ads"}


def _message(name: str, at: datetime) -> dict[str, Any]:
    return {
        **_common(name, at),
        "type": "conversation.started",
        "conversation_id": f"{name}-1",
        "channel": "whatsapp",
        "by": "contact",
    }


def _common(name: str, at: datetime) -> dict[str, Any]:
    return {"id": f"{name}-1", "account_id": "steady", "contact_id": name, "occurred_at": at.isoformat()}
