"""Seals days at rest and shrinks quiet contacts, through the shard's fence.

A day that lies `REST_DAYS` behind the newest one of its shard changes seldom. Its facts become one compressed value
(`aggregates/sealed.py`); what changes of it later is written beside that, and sealed with it when it has been at rest
again for a while. Sealing changes no fact, so it may happen at any time.

A contact that has been quiet for longer than the lateness windows needs neither the ids of its entries nor, later, the
entries (`ContactHistory.rest`); all contacts are looked at in turn, some at a time. That ends its windows. So it waits
until the shard has caught up with its log, and brings no past (`streams/shard/ages.py`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic, time
from typing import Any, Final

from aggregates.errors import StateVersionError
from aggregates.history import ContactHistory, Lateness
from aggregates.sealed import SEALED, TOTALS, facts_in, seal
from streams.intake.ownership import Ownership
from streams.intake.shard_feed import ShardFeed
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.clients import Client
from streams.redis.keys import chunk_field, split_day_member
from streams.redis.ledger import Changes, DayWrite
from streams.shard.session import Session
from streams.worker.upkeep import Upkeep, between_batches

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 5.0
REST_DAYS: Final = 2
"""So far behind the newest day of its shard a day may be sealed."""
FIRST_REST_MS: Final = 60_000
"""So long after its last change a day is sealed for the first time."""
REST_MS: Final = 600_000
"""So long after its last change what was written beside sealed facts is sealed with them."""
DAYS_AT_ONCE: Final = 512
"""Open days that one round looks at."""
DAYS_PER_ROUND: Final = 64
"""Days that one round seals."""
FACTS_PER_COMMIT: Final = 5_000
"""What is beside the sealed facts of a day is read, sealed and deleted so many at a time, or Redis would be busy."""
FACTS_PER_DAY: Final = 100_000
"""Days with more facts beside the sealed ones stay as they are: sealing them again and again would cost too much."""
FACTS_IN_THREAD: Final = 1_000
"""So many facts are sealed in a thread, so that the event loop goes on."""
CLOCKS_DIFFER_MS: Final = 60_000
MOST_AHEAD: Final = 10_000
CONTACTS_PER_ROUND: Final = 500
CONTACTS_PER_BREATH: Final = 50
"""Contacts decoded or encoded before others may run."""
CAUGHT_UP: Final = 5_000
"""A shard that has so many records to read at most has caught up with its log."""

_FIELDS_PER_SCAN: Final = 1_000


class Sealing(Upkeep):
    """Seals this worker's shards, a few days and contacts at a time."""

    every_seconds = EVERY_SECONDS
    purpose = "sealing"

    def __init__(
        self,
        ownership: Ownership,
        client: Client,
        metrics: WorkerMetrics,
        lateness: Lateness,
        now_ms: Callable[[], int] = lambda: int(time() * 1000),
        **options: Any,
    ) -> None:
        super().__init__(ownership, **options)
        self._client: Any = client
        self._metrics = metrics
        self._lateness = lateness
        self._now_ms = now_ms
        self._passed: dict[int, int] = {}
        """Per shard, how many open days the walk through them has left as they are."""
        self._ahead: dict[tuple[int, bytes], tuple[float, float]] = {}
        """Per shard and day, a last commit that is numbered later than now, and since when we know."""
        self._cursors: dict[int, int] = {}
        """Per shard, where the walk through its contacts goes on."""

    async def work(self, feed: ShardFeed, session: Session, /) -> None:
        """Seal some of what rests in one shard."""
        await self._seal_days(session)
        if max(feed.lag()) <= CAUGHT_UP:
            await self._shrink_contacts(session)

    # --- days --------------------------------------------------------------------------------------------------------

    async def _seal_days(self, session: Session) -> None:
        keys = session.ledger.keys
        newest = await self._client.zrange(keys.open, -1, -1)
        if not newest:
            return
        below = split_day_member(newest[0])[0] - REST_DAYS
        for member in await self._due(session, below):
            is_done: bool | None = False
            while is_done is False:
                try:
                    is_done = await between_batches(session, partial(self._seal, session, member, below))
                except ValueError as error:
                    logger.warning("shard %d: day %s cannot be sealed: %s", session.shard, member.decode(), error)
                    self._passed[session.shard] += 1
                    break
            if is_done is None:
                return

    async def _due(self, session: Session, below: int) -> list[bytes]:
        """Days to be sealed now. Each round looks at others, so that those that never rest keep nobody waiting."""
        keys, shard = session.ledger.keys, session.shard
        passed = self._passed.get(shard, 0)
        members: list[bytes] = await self._client.zrange(
            keys.open, "-inf", f"({below}", byscore=True, offset=passed, num=DAYS_AT_ONCE
        )
        if not members:
            self._passed[shard] = 0
            return []
        now_ms = self._now_ms()
        due: list[bytes] = []
        for member, changed_ms in zip(members, await self._client.zmscore(keys.changed, members), strict=True):
            if len(due) == DAYS_PER_ROUND:
                break
            if await self._rests(session, member, self._age_ms(shard, member, changed_ms or 0, now_ms)):
                due.append(member)
            else:
                passed += 1
        else:
            if len(members) < DAYS_AT_ONCE:
                passed = 0  # the walk is at its end
        self._passed[shard] = passed
        return due

    def _age_ms(self, shard: int, member: bytes, changed_ms: float, now_ms: int) -> float:
        """How long ago a day changed; by our own watch, where a clock that was ahead numbered its last commit."""
        if changed_ms <= now_ms + CLOCKS_DIFFER_MS:
            return now_ms - changed_ms
        known, since = self._ahead.get((shard, member), (-1.0, 0.0))
        if known != changed_ms:
            since = monotonic()
            if len(self._ahead) >= MOST_AHEAD:
                self._ahead.clear()
            self._ahead[shard, member] = (changed_ms, since)
        return (monotonic() - since) * 1000

    async def _rests(self, session: Session, member: bytes, age_ms: float) -> bool:
        if age_ms < FIRST_REST_MS:
            return False
        key = session.ledger.keys.day(*split_day_member(member))
        if age_ms < REST_MS and await self._client.hexists(key, SEALED):
            return False
        return bool(await self._client.hlen(key) <= FACTS_PER_DAY)

    async def _seal(self, session: Session, member: bytes, below: int) -> bool:
        """Seal a day or a part of it; whether all of it is sealed."""
        ordinal, account_id = split_day_member(member)
        key = session.ledger.keys.day(ordinal, account_id)
        beside: dict[bytes, bytes] = {}
        async for name, value in self._client.hscan_iter(key, count=_FIELDS_PER_SCAN):
            if name not in (SEALED, TOTALS):
                beside[name] = value
                if len(beside) == FACTS_PER_COMMIT:
                    break
        before = await self._client.hget(key, SEALED)
        sealed = await self._sealed(beside if before is None else {SEALED: before, **beside})
        is_part = len(beside) == FACTS_PER_COMMIT
        write = DayWrite(ordinal, account_id, same=True, open=is_part, deleted=list(beside))
        if sealed is not None:
            write.values += (SEALED, sealed)
        elif before is not None:
            write.deleted.append(SEALED)
        below = max(below, session.sealed_below)
        await session.commit(session.positions, Changes(days=[write], sealed_below=below))
        session.sealed_below = below
        if not is_part:
            self._metrics.sealed_days.inc()
        return not is_part

    async def _sealed(self, day: Mapping[bytes, bytes]) -> bytes | None:
        if len(day) < FACTS_IN_THREAD and len(day.get(SEALED, b"")) < 10 * FACTS_IN_THREAD:
            return _sealed(day)
        return await asyncio.to_thread(_sealed, day)

    # --- contacts ----------------------------------------------------------------------------------------------------

    async def _shrink_contacts(self, session: Session) -> None:
        now_us = min(self._now_ms() * 1000, session.ages.expected_us)
        if now_us < 0:
            return
        cursor, found = await self._client.hscan(
            session.ledger.keys.states, self._cursors.get(session.shard, 0), count=CONTACTS_PER_ROUND
        )
        self._cursors[session.shard] = cursor
        if resting := await self._resting(found, now_us):
            await between_batches(session, partial(self._shrink, session, list(resting), now_us))

    async def _shrink(self, session: Session, contacts: list[bytes], now_us: int) -> None:
        keys = session.ledger.keys
        # Read again: a batch may have come in between. Whoever else wrote since fails at the fence.
        states = zip(contacts, await self._client.hmget(keys.states, contacts), strict=True)
        resting = await self._resting({contact: state for contact, state in states if state is not None}, now_us)
        if not resting:
            return
        changes = Changes()
        for contact, (state, chunks) in resting.items():
            changes.states += (contact, state)
            changes.chunks_gone += [chunk_field(contact, number) for number in chunks]
        await session.commit(session.positions, changes)
        session.states.forget(resting)
        self._metrics.shrunk_contacts.inc(len(resting))

    async def _resting(self, states: Mapping[bytes, bytes], now_us: int) -> dict[bytes, tuple[bytes, list[int]]]:
        """Of the contacts that can shrink, what is then kept, and the numbers of the chunks that go."""
        resting = {}
        for place, (contact, state) in enumerate(states.items()):
            if place % CONTACTS_PER_BREATH == CONTACTS_PER_BREATH - 1:
                await asyncio.sleep(0)
            try:
                history = ContactHistory.decode(state)
            except (StateVersionError, ValueError):
                continue  # its next event stops the shard, and tells what to do
            chunks = history.rest(now_us, self._lateness)
            if chunks is not None:
                resting[contact] = (history.encode(small=True), [number for number, _ in chunks])
        return resting


def _sealed(day: Mapping[bytes, bytes]) -> bytes | None:
    facts = facts_in(day)
    return seal(facts) if facts else None
