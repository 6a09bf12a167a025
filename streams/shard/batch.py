"""One batch of one shard: decode, read, fold, turn into absolute values, set bad records aside, commit.

Nothing here waits per event. Whatever goes wrong before the commit leaves Redis as it was; the session that sees an
exception must be dropped, for its caches may hold what was not committed.
"""

import logging
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, time

from aggregates.counters import sums
from aggregates.errors import ArchiveNeeded, MissingRules, NegativeCounter, StateVersionError
from aggregates.history import ContactHistory, Outcome
from aggregates.rules import RulesBook
from schemas.accounts import encode_settings
from streams.errors import SessionLost, ShardStopped
from streams.fold.batch_fold import BrokenFold, Folded, SortedOut, accounts_of, fold, sort_out
from streams.fold.compiled_fold import CompiledFold
from streams.kafka.clients import CONTACTS, CONVERSATIONS, ConsumerRecord
from streams.kafka.dead_letters import FOLD_ERROR, TOO_LATE, DeadLetter, DeadLetterLimit, DeadLetters
from streams.monitoring.catalogue import WorkerMetrics
from streams.records.columns import Taken
from streams.records.decoded import Arrival
from streams.redis.keys import archive_field, rules_field
from streams.redis.ledger import Changes, Positions, Reads
from streams.redis.settings_store import RulesStore, add_versions
from streams.shard.day_values import day_changes, held_values
from streams.shard.session import Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Records of both topics of a shard in event time, and the positions before and after them."""

    session: Session
    start: Positions
    end: Positions
    records: Taken


class BatchProcessor:
    """Applies batches; one per worker. Different shards' batches may be under way at once, one shard's never."""

    def __init__(
        self,
        rules: RulesStore,
        dead_letters: DeadLetters,
        limit: DeadLetterLimit,
        metrics: WorkerMetrics,
        lateness_ms: int,
        fold_events: Callable[..., Folded] = fold,
        compiled: CompiledFold | None = None,
    ) -> None:
        """`compiled` folds what it can, `fold_events` the rest."""
        self._rules = rules
        self._dead_letters = dead_letters
        self._limit = limit
        self._metrics = metrics
        self._lateness_ms = lateness_ms
        self._fold = fold_events
        self._compiled = compiled
        self._sums = sums if compiled is None else compiled.sums

    async def apply(self, batch: Batch) -> None:
        """Take the batch in: afterwards the session stands at its end, in memory and in Redis.

        Raises `SessionLost`, `Unavailable`, `ShardStopped`, `Fatal`; then nothing of it is written, or whether it is
        does not matter to whoever claims next.
        """
        session = batch.session
        if session.dropped or batch.start != session.positions:
            raise SessionLost(f"shard {session.shard}: the batch begins elsewhere than the session stands")
        try:
            await self._apply(batch, sort_out(batch.records.looked_at()))
        except StateVersionError as error:
            raise ShardStopped(f"shard {session.shard}: {error}") from error
        except (NegativeCounter, MissingRules) as error:
            raise ShardStopped(
                f"shard {session.shard}: {error}. Nothing of this batch is written. Restore Redis from a copy, or "
                "rebuild into a new namespace"
            ) from error

    async def _apply(self, batch: Batch, found: SortedOut) -> None:
        session = batch.session
        rest: Sequence[Arrival] = list(found.events.values())
        accounts = accounts_of(rest)
        scanned = None if self._compiled is None else self._compiled.contacts(batch.records)
        if scanned is not None:
            accounts |= scanned.accounts
        books = await self._rules.books(set(accounts.values()))
        states = await self._states(session, accounts)
        folded = Folded()
        if scanned is not None:
            started = perf_counter()
            rest = scanned.fold(states, books, self._lateness_ms, folded, found.events)
            self._metrics.fold_seconds.observe(perf_counter() - started)
        compiled = folded.outcomes[Outcome.APPLIED]
        if rest:
            folded.add(await self._folded(session, rest, states, books))
        days = day_changes(await held_values(session, folded.days), folded.days, self._sums)
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
            session.states.put(states.items())
            session.states.put(folded.states.items())
            for change in days:
                session.days.put(change.day, change.values)
            today = _utc_day()
            session.stored_rules.update({(name, book.current.version): today for name, book in books.items()})
        self._limit.accept(verdicts)
        self._metrics.compiled.inc(compiled)
        self._count(batch, found, folded, letters)

    async def _folded(
        self, session: Session, events: Sequence[Arrival], states: Mapping[bytes, bytes], books: Mapping[str, RulesBook]
    ) -> Folded:
        """Fold in Python. A record that breaks the fold is set aside, and all is folded again without it."""
        accounts = accounts_of(events)
        broken_letters: list[DeadLetter] = []
        archived: set[bytes] = set()
        have_rules = False
        while True:
            histories = {contact: history_of(states[contact]) for contact in accounts}
            await self._attach_archives(
                session, archived | _needing_archives(events, histories, self._lateness_ms), histories
            )
            started = perf_counter()
            try:
                folded = self._fold(events, histories, books, self._lateness_ms)
            except MissingRules:
                # Few batches measure an answer of older settings again. All that they may need is read at once.
                if have_rules:
                    raise
                await self._load_rules(session, accounts, histories, books)
                have_rules = True
            except BrokenFold as broken:
                contact, record = broken.arrival.contact, broken.arrival.record
                if isinstance(broken.cause, ArchiveNeeded) and contact not in archived:
                    archived.add(contact)
                    continue
                logger.warning("shard %d: record %d breaks the fold", session.shard, record.offset, exc_info=broken)
                broken_letters.append(DeadLetter(record, FOLD_ERROR, str(broken)))
                events = [event for event in events if event.record is not record]
            else:
                folded.letters += broken_letters
                self._tell_missed(session, books)
                return folded
            finally:
                self._metrics.fold_seconds.observe(perf_counter() - started)

    async def _states(self, session: Session, contacts: Iterable[bytes]) -> dict[bytes, bytes]:
        """The contacts' states, from the cache or under the fence; empty for contacts never heard of."""
        states = {}
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
        return states

    async def _attach_archives(
        self, session: Session, contacts: set[bytes], histories: Mapping[bytes, ContactHistory]
    ) -> None:
        if not contacts:
            return
        wanted = sorted(contacts)
        reads = [
            Reads(
                session.ledger.keys.archive,
                [archive_field(contact, number) for number in range(histories[contact].archive_count)],
            )
            for contact in wanted
        ]
        for contact, chunks in zip(wanted, await session.read(reads), strict=True):
            present = [chunk for chunk in chunks if chunk is not None]
            if len(present) != len(chunks):
                raise ShardStopped(
                    f"shard {session.shard}: a contact's archive has {len(present)} of {len(chunks)} chunks: restore "
                    "Redis from a copy, or rebuild into a new namespace"
                )
            histories[contact].attach_archive(present)

    async def _load_rules(
        self,
        session: Session,
        accounts: Mapping[bytes, str],
        histories: Mapping[bytes, ContactHistory],
        books: Mapping[str, RulesBook],
    ) -> None:
        missing: set[tuple[str, bytes]] = set()
        for contact, account_id in accounts.items():
            book = books[account_id]
            missing.update((account_id, v) for v in histories[contact].rule_versions() if v not in book)
        if not missing:
            return
        wanted = sorted(missing)
        (found,) = await session.read([Reads(session.ledger.keys.rules, [rules_field(*version) for version in wanted])])
        for (account_id, version), data in zip(wanted, found, strict=True):
            add_versions(books[account_id], account_id, {version: data})

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
        changes = Changes(checks=_checks(batch.records), archive=folded.archive)
        for contact, state in folded.states.items():
            changes.states += (contact, state)
        today = _utc_day()
        for account_id, book in books.items():
            rules = book.current
            last_used = batch.session.stored_rules.get((account_id, rules.version))
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


def _utc_day() -> int:
    """The day it is, counted from 1970."""
    return int(time() // 86_400)


def _checks(records: Taken) -> tuple[bytes | None, bytes | None]:
    contacts, conversations = records.last(CONTACTS), records.last(CONVERSATIONS)
    return contacts and checksum(contacts), conversations and checksum(conversations)


def _needing_archives(
    events: Sequence[Arrival], histories: Mapping[bytes, ContactHistory], lateness_ms: int
) -> set[bytes]:
    return {
        arrival.contact
        for arrival in events
        if (history := histories[arrival.contact]).archive_count
        and history.needs_archive(arrival.event, lateness_ms, arrival.at_us)
    }


def _verdicts(records: Taken, letters: Sequence[DeadLetter]) -> list[bool]:
    """Per record, whether it is bad. An event that came too late is good, only late."""
    verdicts = [False] * len(records)
    bad = {id(letter.record) for letter in letters if letter.reason != TOO_LATE}
    if bad:
        for place, arrival in records.looked_at().items():
            verdicts[place] = id(arrival.record) in bad
    return verdicts
