"""Applies one batch of a shard: decode, read, fold, set bad records aside, commit.

Nothing here waits per event. Whatever goes wrong before the commit leaves Redis as it was; the session that sees an
exception must be dropped, for its caches may hold what was not committed.

A commit has a budget of time and one of memory. What exceeds them is cut: the batch's first records are committed, then
the others. While it is folded the event loop goes on every few milliseconds; should the session be dropped meanwhile,
what was folded is thrown away.
"""

import asyncio
import logging
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter, time
from typing import Final, NamedTuple

from aggregates.entry import STARTED
from aggregates.errors import ChunksNeeded, MissingRules, NegativeCounter, StateVersionError
from aggregates.history import CHUNK_ENTRIES, ContactHistory, Lateness
from aggregates.rules import Rules, RulesBook
from schemas.accounts import encode_settings
from streams.errors import SessionLost, ShardStopped
from streams.fold.batch_fold import BrokenContact, BrokenFold, Folded, SortedOut, accounts_of, folding, sort_out
from streams.kafka.clients import CONTACTS, CONVERSATIONS, ConsumerRecord
from streams.kafka.dead_letters import (
    CONTACT_TOO_LARGE,
    FOLD_ERROR,
    TOO_LATE,
    DeadLetter,
    DeadLetterLimit,
    DeadLetters,
)
from streams.monitoring.catalogue import Cut, WorkerMetrics
from streams.records.columns import Taken
from streams.records.decoded import Arrival
from streams.redis.keys import chunk_field, rules_field
from streams.redis.ledger import Changes, Positions, Reads
from streams.redis.settings_store import RulesStore, add_versions
from streams.shard.day_values import day_changes
from streams.shard.pace import Pace, Speed
from streams.shard.session import Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Records of both topics of a shard in event time, and the positions before and after them."""

    session: Session
    start: Positions
    end: Positions
    records: Taken
    pace: Pace | None = None

    def first(self, count: int) -> "Batch":
        """Its first records as a batch of their own; after them, each topic goes on with its next record."""
        nexts = (self.records.next_offset(topic, count) for topic in range(len(self.end)))
        end = Positions(*(end if offset is None else offset for offset, end in zip(nexts, self.end, strict=True)))
        return replace(self, end=end, records=self.records.first(count))

    def after(self, first: "Batch") -> "Batch":
        """What is left of it behind its first records."""
        return replace(self, start=first.end, records=self.records.after(len(first.records)))


class Budget(NamedTuple):
    """What one commit may take."""

    seconds: float = 2.0
    """To fold its events."""
    memory: int = 64 << 20
    """Bytes of states, and so much of chunks as takes as much when it is read."""


_PATIENCE: Final = 4
"""A fold that takes so many times as long as was reckoned is begun again with half of the records."""

_BREATH_SECONDS: Final = 0.02
"""How long the event loop waits for a fold."""

_DECODED_PER_BREATH: Final = 16
"""States decoded between two looks at the clock, unless they are long."""

_CHUNK_WEIGHT: Final = 16
"""A byte of a chunk, which is deflated, is so many bytes of entries."""

_CHUNKS_AT_ONCE: Final = 256
"""Chunks read together."""

_OLDER_RULES: Final = 256
"""Versions of settings, not the current ones, that a worker keeps compiled: journals name those of their window."""

_STATES_IN_ORDER: Final = 32
"""Contacts read together where states are known to be long."""

_UNREAD: Final = 50
"""So many entries that are only read and written, as bytes, cost what one costs that is folded."""

_STATES_AT_ONCE: Final = 256
"""Contacts read together at first; twice as many each time, while they are short."""


class _TooMuch(Exception):
    """The batch must be cut: so many of its records are enough."""

    def __init__(self, records: int, cause: Cut) -> None:
        super().__init__()
        self.records = records
        self.cause: Cut = cause


class _Breath:
    """Lets others run while a batch is folded."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._since = self.started = perf_counter()

    async def take(self) -> None:
        """Go on at once, or when all others that are ready have run. Raises `SessionLost`."""
        now = perf_counter()
        if now - self._since < _BREATH_SECONDS:
            return
        await asyncio.sleep(0)
        self._since = perf_counter()
        if self._session.dropped:
            raise SessionLost(f"shard {self._session.shard}: dropped while its batch was folded")


class BatchProcessor:
    """Applies batches; one per worker. Different shards' batches may be under way at once, one shard's never."""

    def __init__(
        self,
        rules: RulesStore,
        dead_letters: DeadLetters,
        limit: DeadLetterLimit,
        metrics: WorkerMetrics,
        lateness: Lateness,
        fold_events: Callable[..., Generator[None, None, Folded]] = folding,
        budget: Budget | None = None,
    ) -> None:
        self._budget = Budget() if budget is None else budget
        self._speed = Speed()
        self._older_rules: OrderedDict[tuple[str, bytes], Rules] = OrderedDict()
        self._rules = rules
        self._dead_letters = dead_letters
        self._limit = limit
        self._metrics = metrics
        self._lateness = lateness
        self._fold = fold_events

    async def apply(self, batch: Batch) -> None:
        """Take the batch in: afterwards the session stands at its end, in memory and in Redis.

        Raises `SessionLost`, `Unavailable`, `ShardStopped`, `Fatal`; then nothing of it is written, or whether it is
        does not matter to whoever claims next.
        """
        session = batch.session
        if session.dropped or batch.start != session.positions:
            raise SessionLost(f"shard {session.shard}: the batch begins elsewhere than the session stands")
        try:
            await self._apply_in_parts(batch)
        except StateVersionError as error:
            raise ShardStopped(f"shard {session.shard}: {error}") from error
        except (NegativeCounter, MissingRules) as error:
            raise ShardStopped(
                f"shard {session.shard}: {error}. Nothing of this batch is written. Restore Redis from a copy, or "
                "rebuild into a new namespace"
            ) from error

    async def _apply_in_parts(self, batch: Batch) -> None:
        """Apply all of it, in as many commits as it takes."""
        states: dict[bytes, bytes] = {}
        part, most, cuts = batch, len(batch.records), 0
        while True:
            part = batch if most >= len(batch.records) else batch.first(most)
            try:
                await self._apply(part, sort_out(part.records.all()), states)
            except _TooMuch as cut:
                self._metrics.batches_cut.labels(cut.cause).inc()
                cuts += 1
                most = min(cut.records, len(part.records) - 1)
                continue
            if part is batch:
                break
            if batch.session.dropped:
                raise SessionLost(f"shard {batch.session.shard}: dropped while its batch was committed in parts")
            batch, most = batch.after(part), 2 * most
        if cuts:
            logger.info(
                "shard %d: a batch was committed in parts: whole it would take too long, or too much memory (%d cuts)",
                batch.session.shard,
                cuts,
            )

    async def _apply(self, batch: Batch, found: SortedOut, states: dict[bytes, bytes]) -> None:
        """Apply it in one commit; `states` are those known already. Raises `_TooMuch` before anything is done."""
        session = batch.session
        breath = _Breath(session)
        accounts = accounts_of(found.events.values())
        books = await self._books(dict.fromkeys(accounts.values()))
        await self._load_states(session, accounts, states)
        if accounts.keys() - states.keys():
            raise _TooMuch(await self._load_in_order(batch, found, states), "memory")
        folded = Folded()
        if found.events:
            folded = await self._folded(batch, found.events, states, books, breath)
        days = await day_changes(session, folded.days)
        await breath.take()
        changes = self._changes(batch, folded, books)
        changes.days = [change.write for change in days]
        letters = found.letters + folded.letters
        verdicts = _verdicts(batch.records, letters)
        if letters:
            self._limit.check(verdicts, f"the last one: {letters[-1].reason}: {letters[-1].detail}")
            await self._dead_letters.write(letters)
        if session.dropped:
            raise SessionLost(f"shard {session.shard}: dropped while its batch was folded")
        started = perf_counter()
        await session.commit(batch.end, changes)
        self._metrics.commit_seconds.observe(perf_counter() - started)
        if not session.dropped:
            session.states.put((contact, states.pop(contact)) for contact in accounts)
            session.states.put(folded.states.items())
            for change in days:
                session.days.put(change.day, change.totals)
            instants = [arrival.at_us for arrival in found.events.values() if arrival.event.rank >= STARTED]
            if instants:
                session.ages.saw(min(instants), max(instants))
            today = _utc_day()
            for account_id, book in books.items():
                session.stored_rules.put(account_id, book.current.version, today)
        if batch.pace is not None:
            batch.pace.committed()
        self._limit.accept(verdicts)
        self._count(batch, found, folded, letters)

    async def _books(self, account_ids: Collection[str]) -> dict[str, RulesBook]:
        """The accounts' rules, in books of this batch's own: older versions that it adds go with it."""
        return {name: book.copy() for name, book in (await self._rules.books(account_ids)).items()}

    async def _folded(
        self,
        batch: Batch,
        found: Mapping[int, Arrival],
        states: Mapping[bytes, bytes],
        books: Mapping[str, RulesBook],
        breath: _Breath,
    ) -> Folded:
        """Fold these records, by their places. One that breaks the fold is set aside, the rest folded again."""
        events = list(found.items())
        accounts = accounts_of(arrival for _, arrival in events)
        share = 1.0 if batch.pace is None else batch.pace.share
        most_entries = self._speed.entries_in(self._budget.seconds * share)
        broken_letters: list[DeadLetter] = []
        with_chunks: set[bytes] = set()
        one_by_one: set[bytes] = set()
        while True:
            histories = {}
            for number, contact in enumerate(accounts):
                histories[contact] = history_of(states[contact])
                if not number % _DECODED_PER_BREATH:
                    await breath.take()
            needing = _needing_chunks(events, histories, self._lateness)
            cost = _cost(events, histories, needing, most_entries)
            needing |= with_chunks
            await self._attach_chunks(batch, needing, histories, events)
            await self._load_rules(batch.session, accounts, histories, books)
            started = perf_counter()
            arrivals = [arrival for _, arrival in events]
            try:
                steps = self._fold(arrivals, histories, books, self._lateness, one_by_one)
                folded, seconds = await self._taken(steps, len(batch.records), breath)
            except BrokenContact as broken:
                logger.warning("shard %d: late events break the fold", batch.session.shard, exc_info=broken)
                one_by_one.add(broken.contact)
            except BrokenFold as broken:
                contact, record = broken.arrival.contact, broken.arrival.record
                if isinstance(broken.cause, ChunksNeeded) and contact not in with_chunks:
                    with_chunks.add(contact)
                    continue
                logger.warning(
                    "shard %d: record %d breaks the fold", batch.session.shard, record.offset, exc_info=broken
                )
                broken_letters.append(DeadLetter(record, FOLD_ERROR, str(broken)))
                events = [event for event in events if event[1].record is not record]
            else:
                self._speed.measured(cost, seconds)
                folded.letters += broken_letters
                self._tell_missed(batch.session, books)
                return folded
            finally:
                self._metrics.fold_seconds.observe(perf_counter() - started)

    async def _taken(self, steps: Generator[None, None, Folded], records: int, breath: _Breath) -> tuple[Folded, float]:
        """Take the steps of a fold; what it gives, and how long it took beside all that ran meanwhile.

        Raises `_TooMuch` when it takes far longer than was reckoned.
        """
        spent = 0.0
        while True:
            started = perf_counter()
            try:
                next(steps)
            except StopIteration as done:
                folded: Folded = done.value
                return folded, spent + perf_counter() - started
            spent += perf_counter() - started
            if records > 1 and spent > _PATIENCE * self._budget.seconds:
                raise _TooMuch(records // 2, "time")
            await breath.take()

    async def _load_states(self, session: Session, contacts: Iterable[bytes], states: dict[bytes, bytes]) -> None:
        """Add the contacts' states to `states`, from the cache or under the fence; empty for contacts never heard of.

        As long as they are no longer than the budget allows.
        """
        size = 0
        missing = []
        for contact in contacts:
            state = states.get(contact)
            if state is None and (state := session.states.get(contact)) is not None:
                states[contact] = state
            if state is None:
                missing.append(contact)
            else:
                size += len(state)
        # What comes next may be as long as the longest so far.
        at_once = max(1, min(_STATES_AT_ONCE, self._budget.memory // (session.longest_state + 1)))
        while missing and size < self._budget.memory:
            some, missing = missing[:at_once], missing[at_once:]
            await self._read_states(session, some, states)
            size += sum(len(states[contact]) for contact in some)
            at_once = max(1, min(2 * at_once, (self._budget.memory - size) // (session.longest_state + 1)))

    async def _load_in_order(self, batch: Batch, found: SortedOut, states: dict[bytes, bytes]) -> int:
        """Load the states of a batch that is too long for all of them: of how many of its first records they are."""
        states.clear()
        session, size = batch.session, 0
        wanted: dict[bytes, None] = {}
        for place in range(len(batch.records)):
            event = found.events.get(place)
            contact = None if event is None else event.contact
            if contact is None or contact in states or contact in wanted:
                continue
            if len(wanted) == _STATES_IN_ORDER or size >= self._budget.memory:
                await self._read_states(session, list(wanted), states)
                size += sum(len(states[known]) for known in wanted)
                wanted.clear()
                if size >= self._budget.memory:
                    return place
            wanted[contact] = None
        await self._read_states(session, list(wanted), states)
        # Their lengths were reckoned too long: the half will do, and is there.
        return max(1, len(batch.records) - 1)

    async def _read_states(self, session: Session, contacts: list[bytes], states: dict[bytes, bytes]) -> None:
        """Add these contacts' states."""
        missing = []
        for contact in contacts:
            state = session.states.get(contact)
            if state is None:
                missing.append(contact)
            else:
                states[contact] = state
        if missing:
            started = perf_counter()
            (found,) = await session.read([Reads(session.ledger.keys.states, missing)])
            self._metrics.read_seconds.observe(perf_counter() - started)
            states.update((contact, data or b"") for contact, data in zip(missing, found, strict=True))
            session.longest_state = max(session.longest_state, *(len(data or b"") for data in found))

    async def _attach_chunks(
        self,
        batch: Batch,
        contacts: set[bytes],
        histories: Mapping[bytes, ContactHistory],
        events: Sequence[tuple[int, Arrival]],
    ) -> None:
        """Attach chunks, group by group. Raises `_TooMuch` when they are longer than the budget allows."""
        if not contacts:
            return
        session = batch.session
        in_order = [contact for contact in accounts_of(arrival for _, arrival in events) if contact in contacts]
        size = 0
        for group in _groups(in_order, lambda contact: len(histories[contact].chunk_ends)):
            if size > self._budget.memory:
                place = next(place for place, arrival in events if arrival.contact == group[0])
                if place:
                    raise _TooMuch(place, "memory")
            reads = [
                Reads(
                    session.ledger.keys.chunks,
                    [chunk_field(contact, number) for number in histories[contact].chunk_numbers()],
                )
                for contact in group
            ]
            for contact, chunks in zip(group, await session.read(reads), strict=True):
                present = [chunk for chunk in chunks if chunk is not None]
                if len(present) != len(chunks):
                    raise ShardStopped(
                        f"shard {session.shard}: of a contact's older entries {len(present)} of {len(chunks)} chunks "
                        "are there: restore Redis from a copy, or rebuild into a new namespace"
                    )
                histories[contact].attach_chunks(present)
                size += _CHUNK_WEIGHT * sum(map(len, present))

    async def _load_rules(
        self,
        session: Session,
        accounts: Mapping[bytes, str],
        histories: Mapping[bytes, ContactHistory],
        books: Mapping[str, RulesBook],
    ) -> None:
        missing: set[tuple[str, bytes]] = set()
        older = self._older_rules
        for contact, account_id in accounts.items():
            book = books[account_id]
            for version in histories[contact].settings_versions():
                if version in book:
                    continue
                known = older.get((account_id, version))
                if known is None:
                    missing.add((account_id, version))
                else:
                    older.move_to_end((account_id, version))
                    book.add(known, version)
        if not missing:
            return
        wanted = sorted(missing)
        (found,) = await session.read([Reads(session.ledger.keys.rules, [rules_field(*version) for version in wanted])])
        for (account_id, version), data in zip(wanted, found, strict=True):
            if not add_versions(books[account_id], account_id, {version: data}):
                older[account_id, version] = books[account_id].version(version)
        while len(older) > _OLDER_RULES:
            older.popitem(last=False)

    def _tell_missed(self, session: Session, books: Mapping[str, RulesBook]) -> None:
        for account_id, book in books.items():
            while book.missed:
                version = book.missed.pop()
                self._metrics.missing_rules.inc()
                logger.warning(
                    "shard %d: account %r: settings of version %s are not to be had any more: an answer that a late "
                    "event changes is measured by the present ones",
                    session.shard,
                    account_id,
                    version.hex(),
                )

    def _changes(self, batch: Batch, folded: Folded, books: Mapping[str, RulesBook]) -> Changes:
        changes = Changes(checks=_checks(batch.records))
        for name, chunk in folded.chunks.items():
            if chunk is None:
                changes.chunks_gone.append(name)
            else:
                changes.chunks += (name, chunk)
        for contact, state in folded.states.items():
            changes.states += (contact, state)
        today = _utc_day()
        for account_id, book in books.items():
            rules = book.current
            last_used = batch.session.stored_rules.last_used(account_id, rules.version)
            if last_used is None:
                changes.rules += (rules_field(account_id, rules.version), encode_settings(rules.settings))
            if last_used != today:
                changes.rules_used += (rules_field(account_id, rules.version), b"%d" % today)
        return changes

    def _count(self, batch: Batch, found: SortedOut, folded: Folded, letters: Sequence[DeadLetter]) -> None:
        metrics = self._metrics
        for type_name, count in folded.types.items():
            metrics.events.labels(type_name).inc(count)
        for outcome, count in folded.outcomes.items():
            if outcome is outcome.DUPLICATE:
                metrics.duplicates.inc(count)
            elif outcome is outcome.TOO_LATE:
                metrics.late.inc(count)
            elif outcome is outcome.TOO_LARGE:
                pass  # among the dead letters, by their reason
        for letter in letters:
            metrics.dead_letters.labels(letter.reason).inc()
        metrics.unknown.inc(found.unknown)
        metrics.unusable_settings.set(len(self._rules.unusable))
        metrics.zone_data_differs.set(self._rules.zone_data.differs)
        metrics.batch_records.observe(len(batch.records))
        metrics.last_commit.set(time())


def checksum(record: ConsumerRecord) -> bytes:
    """What the ledger remembers of a record, to recognise its log: offset and CRC-32 of key, value and timestamp."""
    crc = zlib.crc32(record.key or b"")
    crc = zlib.crc32(record.value or b"", crc)
    crc = zlib.crc32(b"%d" % record.timestamp, crc)
    return b"%d:%08x" % (record.offset, crc)


def history_of(state: bytes) -> ContactHistory:
    """The history in a stored state; a new one for a contact never heard of."""
    return ContactHistory.decode(state) if state else ContactHistory()


def _checks(records: Taken) -> tuple[bytes | None, bytes | None]:
    contacts, conversations = records.last(CONTACTS), records.last(CONVERSATIONS)
    return contacts and checksum(contacts), conversations and checksum(conversations)


def _utc_day() -> int:
    """The day it is, counted from 1970."""
    return int(time() // 86_400)


def _needing_chunks(
    events: Sequence[tuple[int, Arrival]], histories: Mapping[bytes, ContactHistory], lateness: Lateness
) -> set[bytes]:
    having = {contact for contact, history in histories.items() if history.chunk_ends}
    if not having:
        return having
    return {
        arrival.contact
        for _, arrival in events
        if arrival.contact in having and histories[arrival.contact].needs_chunks(arrival.event, arrival.at_us, lateness)
    }


def _groups(contacts: Sequence[bytes], chunks_of: Callable[[bytes], int]) -> Iterable[list[bytes]]:
    """Contacts in groups that have so many chunks together, or one contact with more."""
    group: list[bytes] = []
    count = 0
    for contact in contacts:
        count += chunks_of(contact)
        if group and count > _CHUNKS_AT_ONCE:
            yield group
            group, count = [], chunks_of(contact)
        group.append(contact)
    if group:
        yield group


def _cost(
    events: Sequence[tuple[int, Arrival]],
    histories: Mapping[bytes, ContactHistory],
    needing_chunks: Collection[bytes],
    most: int,
) -> int:
    """About how many entries are folded for these events.

    Raises `_TooMuch` when they are more than `most`, and there is a record before that.
    """
    newest = {contact: history.newest_us for contact, history in histories.items()}
    folded_again: set[bytes] = set()
    for _, arrival in events:
        contact = arrival.contact
        if arrival.at_us > newest[contact]:
            newest[contact] = arrival.at_us
        else:
            folded_again.add(contact)
    costs = {contact: history.journal_length // _UNREAD for contact, history in histories.items()}
    for contact in folded_again:
        costs[contact] += 2 * histories[contact].journal_length
    for contact in needing_chunks:
        costs[contact] += 2 * CHUNK_ENTRIES * len(histories[contact].chunk_ends)
    total = len(events) + sum(costs.values())
    if total > most:
        _cut(events, costs, most)
    return total


def _cut(events: Sequence[tuple[int, Arrival]], costs: Mapping[bytes, int], most: int) -> None:
    """Raise `_TooMuch` at the record with which it becomes too much, if there is one before it."""
    total = 0
    seen: set[bytes] = set()
    for place, arrival in events:
        total += 1
        if arrival.contact not in seen:
            seen.add(arrival.contact)
            total += costs[arrival.contact]
        if total > most and place:
            raise _TooMuch(place, "time")


def _verdicts(records: Taken, letters: Sequence[DeadLetter]) -> list[bool]:
    """Per record, whether it is bad. An event that came too late is good, only late."""
    verdicts = [False] * len(records)
    bad = {id(letter.record) for letter in letters if letter.reason not in (TOO_LATE, CONTACT_TOO_LARGE)}
    if bad:
        for place, arrival in enumerate(records.all()):
            verdicts[place] = id(arrival.record) in bad
    return verdicts
