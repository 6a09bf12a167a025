"""`mediana dead-letters list`: reads the dead-letter topic."""

import asyncio
import sys
from base64 import b64encode
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer
from msgspec import Struct

from streams.config import Config
from streams.errors import Fatal, Unavailable
from streams.kafka.clients import ConsumerRecord, TopicPartition, admin_client, client_options
from streams.kafka.topics import describe

FETCH_MS = 1_000
SILENCE_SECONDS = 30.0
"""How long Kafka may bring nothing although the topic goes on."""


class Letter(Struct, frozen=True, kw_only=True):
    """A dead letter: a record, where it stood, and why it was set aside."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """The record's own, not the letter's."""
    key: bytes | None
    value: bytes | None
    size: int
    """Bytes of the record's value, also where the letter could not carry it."""
    omitted: bool = False
    """The value was too long for the letter."""

    @property
    def name(self) -> str:
        """`TOPIC/PARTITION/OFFSET` of the record: the letter's key."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def time(self) -> str:
        """When the record was sent, RFC 3339."""
        moment = datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Selection(Struct, frozen=True):
    """Which letters are meant: those of a reason, and those named by `TOPIC/PARTITION/OFFSET` or the offset alone."""

    reason: str | None = None
    offsets: frozenset[str] = frozenset()

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is one of them."""
        if self.reason is not None and letter.reason != self.reason:
            return False
        return not self.offsets or letter.name in self.offsets or str(letter.offset) in self.offsets


def letter_of(record: ConsumerRecord) -> Letter | None:
    """The letter in a record of the dead-letter topic; `None` when somebody else wrote it."""
    headers: dict[str, bytes] = dict(record.headers)
    try:
        omitted = headers.get("omitted")
        return Letter(
            reason=headers["reason"].decode(),
            detail=headers["detail"].decode(errors="replace"),
            topic=headers["topic"].decode(),
            partition=int(headers["partition"]),
            offset=int(headers["offset"]),
            timestamp_ms=int(headers["timestamp"]),
            key=headers.get("key"),
            value=record.value,
            size=len(record.value or b"") if omitted is None else int(omitted),
            omitted=omitted is not None,
        )
    except (KeyError, ValueError):
        return None


async def read_letters(config: Config, selection: Selection) -> AsyncGenerator[Letter, None]:
    """The letters that are on the topic now, oldest first within a partition, each once.

    Raises `Fatal` when there is no such topic, `Unavailable` when Kafka stops answering, and what its client raises.
    """
    partitions = await _partitions(config)
    consumer = AIOKafkaConsumer(
        **client_options(config), client_id="mediana-dead-letters", auto_offset_reset="earliest"
    )
    await consumer.start()
    # A worker that dies between letter and commit leaves the same letter twice.
    seen: set[str] = set()
    try:
        async for record in _records(consumer, partitions):
            letter = letter_of(record)
            if letter is None or letter.name in seen:
                continue
            seen.add(letter.name)
            if selection.takes(letter):
                yield letter
    finally:
        await consumer.stop()


async def _records(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> AsyncGenerator[ConsumerRecord, None]:
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    ends = await consumer.end_offsets(partitions)
    ahead = [partition for partition in partitions if await consumer.position(partition) < ends[partition]]
    silent_seconds = 0.0
    while ahead:
        fetched = await consumer.getmany(*ahead, timeout_ms=FETCH_MS)
        for records in fetched.values():
            for record in records:
                yield record
        ahead = [partition for partition in ahead if await consumer.position(partition) < ends[partition]]
        silent_seconds = 0.0 if fetched else silent_seconds + FETCH_MS / 1000
        if silent_seconds >= SILENCE_SECONDS:
            raise Unavailable(
                f"dead letters: Kafka brought nothing for {SILENCE_SECONDS:g} s; 'mediana check' tells more"
            )


async def _partitions(config: Config) -> list[TopicPartition]:
    name = config.topics.dead_letters
    admin = admin_client(config)
    try:
        await admin.start()
        found = (await describe(admin, config.topics)).get(name)
    finally:
        await admin.close()
    if found is None:
        raise Fatal(f"Kafka has no topic {name}: create the topics with 'mediana topics create'")
    return [TopicPartition(name, number) for number in range(found.partitions)]


# --- mediana dead-letters list ----------------------------------------------------------------------------------------


def run(config: Config, selection: Selection, limit: int | None, *, json: bool, payload: bool) -> int:
    """Print the letters, or the newest `limit` of them, one a line. Returns the exit status."""
    return asyncio.run(_list(config, selection, limit, json=json, payload=payload))


async def _list(config: Config, selection: Selection, limit: int | None, *, json: bool, payload: bool) -> int:
    newest: deque[Letter] = deque(maxlen=limit)
    count = 0
    async with aclosing(read_letters(config, selection)) as letters:
        async for letter in letters:
            count += 1
            if limit is None:
                sys.stdout.write(shown(letter, json=json, payload=payload))
            else:
                newest.append(letter)
    for letter in newest:
        sys.stdout.write(shown(letter, json=json, payload=payload))
    print(f"dead-letters: {count} letters", file=sys.stderr)
    return 0


def shown(letter: Letter, *, json: bool, payload: bool) -> str:
    """A letter as a line: for people, or as JSON. What the record holds is shown only as `payload`."""
    fields = dict(_fields(letter, payload=payload))
    if json:
        return orjson.dumps(fields).decode() + "\n"
    line = f"{letter.reason}  {letter.name}  {letter.time}  {letter.size} bytes  {ascii(letter.detail)[1:-1]}\n"
    held = fields.get("value", fields.get("value_base64"))
    return line if held is None else f"{line}    {ascii(held)[1:-1]}\n"


def _fields(letter: Letter, *, payload: bool) -> Iterator[tuple[str, Any]]:
    for name in ("reason", "topic", "partition", "offset", "time", "detail", "size"):
        yield name, getattr(letter, name)
    if payload:
        yield from _text("key", letter.key)
        yield from _text("value", letter.value)


def _text(name: str, data: bytes | None) -> Iterator[tuple[str, str | None]]:
    try:
        yield name, None if data is None else data.decode()
    except UnicodeDecodeError:
        yield f"{name}_base64", b64encode(data or b"").decode()
