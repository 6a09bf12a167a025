"""`mediana simulate`: writes the simulated stream to Kafka, or to files for `mediana replay`."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Iterator
from itertools import chain, takewhile
from pathlib import Path

from aiokafka import AIOKafkaProducer

from schemas.events import Event, encode_event
from schemas.topics import Topics
from streams.config import Config
from streams.kafka.clients import client_options
from streams.logs import shown
from streams.simulation.accounts import Company, encoded_settings
from streams.simulation.contact import Timed
from streams.simulation.stream import Plan, simulate

SENDS_AWAITED_TOGETHER = 2_000
"""Records handed to the producer before their acknowledgements are awaited: bounds memory, keeps its batches full."""

PROGRESS_EVERY_SECONDS = 5.0
LIVE_PROGRESS_EVERY_SECONDS = 60.0


def run(config: Config, plan: Plan, live_seconds: float | None) -> int:
    """Send the plan to Kafka: settings, history, then live traffic for `live_seconds` (`None`: until interrupted)."""
    asyncio.run(play(config, plan, live_seconds))
    return 0


def write_files(plan: Plan, path: Path) -> int:
    """Write the plan's history to `path`, and its settings beside it as `NAME.accounts.jsonl`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    accounts = path.with_suffix(".accounts.jsonl")
    accounts.write_bytes(b"".join(encoded_settings(company) + b"\n" for company in plan.companies()))
    count = 0
    with path.open("wb") as out:
        for _, event in history(plan, simulate(plan)):
            out.write(encode_event(event) + b"\n")
            count += 1
    _say(f"{count:,} events in {path}, settings in {accounts}")
    return 0


async def play(config: Config, plan: Plan, live_seconds: float | None) -> None:
    """Send the plan to Kafka, as `run` does. Raises what the Kafka client raises; nothing is sent twice."""
    sender = await _Sender.start(config)
    try:
        started = time.monotonic()
        names = plan.companies()
        for company in names:
            await sender.send_settings(company)
        await sender.settle()
        _say(f"{len(names)} accounts: {', '.join(company.account_id for company in names)}")
        stream = simulate(plan)
        following = await _publish_history(sender, plan, stream)
        if plan.live_rate > 0 and following is not None:
            await _publish_live(sender, plan, chain([following], stream), started, live_seconds)
    finally:
        await sender.stop()


async def _publish_history(sender: "_Sender", plan: Plan, stream: Iterator[Timed]) -> Timed | None:
    """Everything up to the plan's `now`, as fast as it goes. Returns the first event after it."""
    following = None
    said = time.monotonic()
    first = sender.count
    for timed in stream:
        if timed[0] > plan.now_ms:
            following = timed
            break
        await sender.send(timed[1])
        if time.monotonic() - said >= PROGRESS_EVERY_SECONDS:
            said = time.monotonic()
            _say(f"history: {sender.count - first:,} events, at {timed[1].occurred_at:%Y-%m-%d %H:%M} UTC")
    await sender.settle()
    _say(f"history: {sender.count - first:,} events of {plan.days} days sent")
    return following


async def _publish_live(
    sender: "_Sender", plan: Plan, stream: Iterator[Timed], started: float, live_seconds: float | None
) -> None:
    """Each event at its instant, counted from `started`, the moment the plan's `now` stands for."""
    _say(f"live: about {plan.live_rate:g} events a second, {_until(live_seconds)}")
    ends = float("inf") if live_seconds is None else time.monotonic() + live_seconds
    said = time.monotonic()
    first = sender.count
    for at_ms, event in stream:
        due = started + (at_ms - plan.now_ms) / 1000
        if due > time.monotonic():
            await sender.settle()
            await asyncio.sleep(min(due, ends) - time.monotonic())
        if time.monotonic() >= ends:
            break
        await sender.send(event)
        if time.monotonic() - said >= LIVE_PROGRESS_EVERY_SECONDS:
            said = time.monotonic()
            _say(f"live: {sender.count - first:,} events")
    await sender.settle()
    _say(f"live: {sender.count - first:,} events sent")


class _Sender:
    """A producer that keeps every record's acknowledgement in sight: what Kafka refused is raised, not lost."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics) -> None:
        self._producer = producer
        self._topics = topics
        self._waiting: list[Awaitable[object]] = []
        self.count = 0

    @classmethod
    async def start(cls, config: Config) -> "_Sender":
        """Connect. Retries of an idempotent producer neither double nor reorder a contact's events."""
        producer = AIOKafkaProducer(
            **client_options(config), enable_idempotence=True, acks="all", linger_ms=20, client_id="mediana-simulate"
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return cls(producer, config.topics)

    async def send_settings(self, company: Company) -> None:
        await self._send(self._topics.accounts, company.account_id, encoded_settings(company))

    async def send(self, event: Event) -> None:
        topic = self._topics.contacts if event.topic == "contacts" else self._topics.conversations
        await self._send(topic, event.contact_id, encode_event(event))

    async def _send(self, topic: str, key: str, value: bytes) -> None:
        self._waiting.append(await self._producer.send(topic, key=key.encode(), value=value))
        self.count += 1
        if len(self._waiting) >= SENDS_AWAITED_TOGETHER:
            await self.settle()

    async def settle(self) -> None:
        """Wait until Kafka has everything sent so far; raises its refusal."""
        waiting, self._waiting = self._waiting, []
        await asyncio.gather(*waiting)

    async def stop(self) -> None:
        await self._producer.stop()


def history(plan: Plan, stream: Iterator[Timed]) -> Iterator[Timed]:
    """The part of a plan's stream up to its `now`."""
    return takewhile(lambda timed: timed[0] <= plan.now_ms, stream)


def _until(live_seconds: float | None) -> str:
    return "until stopped" if live_seconds is None else f"for {live_seconds:g} s"


def _say(text: str) -> None:
    print(shown(f"simulate: {text}"), file=sys.stderr, flush=True)
