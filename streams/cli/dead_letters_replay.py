"""`mediana dead-letters replay`: sends dead letters again, as they are or repaired.

What passes the checks of the worker goes to the topic of its type, keyed by its contact, and to the partition that
holds the contact. An event that was counted already, or is sent again twice, counts once: its id is known.
"""

import asyncio
import sys
import time
from base64 import b64decode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec import Struct

from aggregates.history import ContactHistory, Lateness
from schemas.errors import InvalidEvent, UnknownType
from schemas.events import Event, decode_event, decode_record, event_order, instant_us
from streams.cli.dead_letters_list import Letter, Selection, read_letters
from streams.config import Config
from streams.errors import Unavailable
from streams.kafka.clients import client_options
from streams.kafka.dead_letters import BATCH_DAMAGED, BATCH_TOO_LARGE, TOO_LATE
from streams.logs import shown
from streams.redis.clients import connect
from streams.redis.keys import NamespaceKeys, contact_key

MAX_SHOWN_REFUSALS = 100
AT_ONCE = 100
"""Events whose contacts are looked up together, and that are sent together."""
PATIENCE_SECONDS = 60.0
_MAX_REQUEST_BYTES = 2 << 20

LATE_ADVICE = (
    "its contact has newer events by more than the lateness window; only a rebuild with a longer "
    "MEDIANA_LATENESS_SECONDS includes it (mediana rebuild)"
)
_SETTINGS_ADVICE = "send the account's settings again, whole: old ones sent from here might replace newer ones"


class Plan(Struct, frozen=True, kw_only=True):
    """What to send again: letters of the topic, or what a file holds."""

    selection: Selection = Selection()
    file: Path | None = None
    dry_run: bool = False


class Candidate(Struct, frozen=True, kw_only=True):
    """Something to send again: the letter that it repairs or is, if known, and the record's value."""

    name: str
    value: bytes | None
    letter: Letter | None = None
    """Of a repaired one, without its value."""


class Refusal(Struct, frozen=True):
    """What is not sent, and why."""

    record: str
    reason: str
    detail: str


class Ready(Struct, frozen=True):
    """What may be sent: the event, its bytes as given, and the partition it was in under the right key, if it was."""

    event: Event
    value: bytes
    partition: int | None


class Summary(Struct):
    """What was found and done; printed as JSON."""

    records: int = 0
    sent: int = 0
    late: int = 0
    """Of those sent (or, in a dry run, to be sent): workers will set them aside again, as too late."""
    refused: int = 0
    refusals: list[Refusal] = msgspec.field(default_factory=list)


def run(config: Config, plan: Plan) -> int:
    """Send again, print a summary, and return the exit status: 1 if something was refused. Raises `Unavailable`."""
    return asyncio.run(_replay(config, plan))


async def _replay(config: Config, plan: Plan) -> int:
    summary = Summary()
    ready: list[Ready] = []
    now_ms = time.time_ns() // 1_000_000
    candidates = letters_on(config, plan.selection) if plan.file is None else lines_of(plan.file)
    async with aclosing(candidates):
        async for candidate in candidates:
            summary.records += 1
            judged = judge(candidate, config, now_ms)
            if isinstance(judged, Ready):
                ready.append(judged)
                continue
            summary.refused += 1
            if len(summary.refusals) < MAX_SHOWN_REFUSALS:
                summary.refusals.append(judged)
    # In event order, so that none makes another of its contact late.
    ready.sort(key=lambda one: event_order(one.event))
    await _send(config, ready, summary, dry_run=plan.dry_run)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode() + "\n")
    if summary.late:
        verb = "would be" if plan.dry_run else "will be"
        _say(f"{summary.late} events {verb} set aside again as {TOO_LATE}: each is in the log then, but {LATE_ADVICE}")
    if plan.dry_run:
        _say(f"dry run: {len(ready)} records would be sent")
    return int(summary.refused > 0)


# --- what is to be sent -----------------------------------------------------------------------------------------------


async def letters_on(config: Config, selection: Selection) -> AsyncGenerator[Candidate, None]:
    """Dead letters as they are."""
    async with aclosing(read_letters(config, selection)) as letters:
        async for letter in letters:
            yield Candidate(name=letter.name, value=letter.value, letter=letter)


class _Line(Struct):
    """A line of `dead-letters list --json --payload`; what else stands in it is not asked."""

    reason: str
    topic: str
    partition: int
    offset: int
    key: str | None = None
    value: str | dict[str, Any] | None = None
    value_base64: str | None = None


async def lines_of(path: Path) -> AsyncGenerator[Candidate, None]:
    """Repaired records: a line is an event, or a line of `dead-letters list --json --payload` whose value is mended."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _candidate(f"{path}:{number}", line.strip())


def _candidate(name: str, line: bytes) -> Candidate:
    try:
        listed = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Candidate(name=name, value=line)
    value: bytes | None
    if isinstance(listed.value, dict):
        value = msgspec.json.encode(listed.value)
    elif listed.value is not None:
        value = listed.value.encode()
    else:
        value = None if listed.value_base64 is None else b64decode(listed.value_base64)
    letter = Letter(
        reason=listed.reason,
        detail="",
        topic=listed.topic,
        partition=listed.partition,
        offset=listed.offset,
        timestamp_ms=0,
        key=None if listed.key is None else listed.key.encode(),
        value=None,
        size=0,
    )
    return Candidate(name=name, value=value, letter=letter)


def judge(candidate: Candidate, config: Config, now_ms: int) -> Ready | Refusal:
    """Whether a worker would take it if it were sent now."""
    name, letter, value = candidate.name, candidate.letter, candidate.value
    if letter is not None:
        if letter.reason == TOO_LATE:
            return Refusal(name, TOO_LATE, f"it is in its topic already: {LATE_ADVICE}")
        if letter.reason in (BATCH_TOO_LARGE, BATCH_DAMAGED):
            return Refusal(name, letter.reason, f"{letter.detail}. Send the events again, in smaller batches")
        if letter.topic == config.topics.accounts:
            return Refusal(name, "settings", _SETTINGS_ADVICE)
        if letter.omitted:
            return Refusal(name, letter.reason, f"the letter could not carry its {letter.size} bytes; use --file")
    if value is None:
        return Refusal(name, "malformed", "the record has no value")
    try:
        event = decode_event(value)
        # What is not in the event, its key and time, is right from now on.
        decode_record(event.topic, event.contact_id.encode(), value, now_ms)
    except UnknownType as error:
        return Refusal(name, "unknown-type", str(error))
    except InvalidEvent as error:
        return Refusal(name, error.reason, error.detail)
    stays = letter is not None and letter.key == event.contact_id.encode()
    return Ready(event, value, letter.partition if letter is not None and stays else None)


# --- sending ----------------------------------------------------------------------------------------------------------


class Contacts:
    """Where contacts are, as the namespace's shards know them."""

    def __init__(self, redis: Any, namespace: str) -> None:
        self._redis = redis
        self._keys = NamespaceKeys(namespace)
        self._shards: range | None = None

    async def find(self, events: Sequence[Event]) -> list[dict[int, int]]:
        """Of each event's contact: the shards that hold it, and its newest event there (microseconds since 1970)."""
        if self._shards is None:
            self._shards = range(int(await self._redis.hget(self._keys.meta, "partitions") or 0))
        if not self._shards or not events:
            return [{} for _ in events]
        async with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                contact = contact_key(event.account_id, event.contact_id)
                for shard in self._shards:
                    pipe.hget(self._keys.shard(shard).states, contact)
            answers = await pipe.execute()
        found = []
        for first in range(0, len(answers), len(self._shards)):
            states = zip(self._shards, answers[first : first + len(self._shards)], strict=True)
            found.append({shard: ContactHistory.decode(data).newest_us for shard, data in states if data is not None})
        return found


async def _send(config: Config, ready: Sequence[Ready], summary: Summary, *, dry_run: bool) -> None:
    redis = connect(config)
    producer = _producer(config)
    try:
        if not dry_run:
            await producer.start()
        contacts = Contacts(redis, config.namespace)
        for first in range(0, len(ready), AT_ONCE):
            part = ready[first : first + AT_ONCE]
            known = await contacts.find([one.event for one in part])
            summary.late += sum(
                _is_late(one.event, newest, config.lateness) for one, newest in zip(part, known, strict=True)
            )
            if not dry_run:
                await _send_part(producer, config, part, known)
                summary.sent += len(part)
    except (KafkaError, TimeoutError) as error:
        raise Unavailable(
            f"Kafka did not take all: {error or type(error).__name__}. {summary.sent} are sent; do the same again when "
            "it is mended: what is there twice counts once"
        ) from error
    finally:
        await producer.stop()
        await redis.aclose()


async def _send_part(
    producer: AIOKafkaProducer, config: Config, part: Sequence[Ready], known: Sequence[dict[int, int]]
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        waiting = []
        for one, shards in zip(part, known, strict=True):
            topics = config.topics
            topic = topics.contacts if one.event.topic == "contacts" else topics.conversations
            key, partition = one.event.contact_id.encode(), _partition(one, shards)
            waiting.append(await producer.send(topic, one.value, key=key, partition=partition))
        await asyncio.gather(*waiting)


def _partition(one: Ready, shards: dict[int, int]) -> int | None:
    """Where the contact is; else where the record was, if its key was right; else where Kafka's partitioner says.

    Producers may use a partitioner of their own, and a contact must not be in two shards.
    """
    if one.partition is not None and (not shards or one.partition in shards):
        return one.partition
    return min(shards) if shards else None


def _is_late(event: Event, shards: dict[int, int], lateness: Lateness) -> bool:
    newest_us = max(shards.values(), default=-1)
    window_us = lateness.conversation_us if event.topic == "conversations" else lateness.contact_us
    return instant_us(event.occurred_at) < newest_us - window_us


def _producer(config: Config) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **client_options(config),
        client_id="mediana-redelivery",
        enable_idempotence=True,
        acks="all",
        linger_ms=5,
        max_request_size=_MAX_REQUEST_BYTES,
    )


def _say(text: str) -> None:
    print(shown(f"dead-letters: {text}"), file=sys.stderr)
