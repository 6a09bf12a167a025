"""A contact's history: applies events in any order of arrival, and returns the facts that changed.

A history is a *journal* of the contact's latest entries in event order, the contact's state before the journal
(`base`) and after it (`tip`). An event in order steps the tip. Events that belong earlier are put in, all those of a
batch together, and their effect is the difference between the facts that the journal made and those that it makes now:
both are folded from the base. So the facts are a function of the set of events that were accepted.

An event is accepted as long as it is within its lateness window behind the contact's newest event: one window for
conversation events, a longer one for the contact's own. Past it, it is `TOO_LATE`. Entries that no conversation event
can come before any more leave the journal in *chunks*, which are kept apart, and read only when one of the contact's
own events belongs among them. What is past both windows is *settled*, and goes. A creation may arrive after
`CREATION_MAY_FOLLOW` events of its contact, however old it is by then; until it is known, so many entries are kept.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from aggregates.answers import Answers, Measured, Recounted, Retracted, with_counted
from aggregates.contact import Contact, Facts, born_as, closed_of, is_known, spend, standing_facts, step
from aggregates.contact_bytes import contact_of, contact_parts, decode_contact, encode_contact
from aggregates.deflate import deflated, inflated, squeezed, unsqueezed
from aggregates.entry import CREATED, MAKE_KNOWN, STARTED, Counted, Entry, entry_of
from aggregates.errors import ChunksNeeded, StateVersionError
from aggregates.facts import Fact
from aggregates.journal import Journal, JournalParts, journal_of
from aggregates.pending import Pending, creation_in
from aggregates.rules import RulesBook
from schemas.events import ContactAbsorbed, ConversationTransferred, Event
from schemas.limits import (
    MAX_CONTACT_CHUNKS,
    MAX_CONTACT_CONVERSATIONS,
    MAX_CONTACT_ENTRIES,
    MAX_CONTACT_OPEN_CONVERSATIONS,
)

STATE_VERSION: Final = 1
"""First byte of an encoded history. A change of what is encoded that old bytes do not fit raises it."""

CHUNK_ENTRIES: Final = 32
"""How many entries leave the journal together: enough to make it rare, few enough to keep a state small."""

CREATION_MAY_FOLLOW: Final = 200
"""After so many events of its contact a creation is in time, whatever its instant."""

_SLICE_ENTRIES: Final = 256
"""Entries folded between two breaths of the caller: some milliseconds."""


class Outcome(Enum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    TOO_LATE = "too-late"
    TOO_LARGE = "contact-too-large"


@dataclass(frozen=True)
class Lateness:
    """How far behind its contact's newest event an event may come, in microseconds."""

    conversation_us: int
    contact_us: int

    @property
    def longest_us(self) -> int:
        """The longer of both windows."""
        return max(self.conversation_us, self.contact_us)


@dataclass
class FactChanges:
    """Facts of one contact that are true now, and those that no longer are. What is in both has not changed."""

    added: Facts = field(default_factory=list)
    removed: Facts = field(default_factory=list)

    def net(self) -> tuple[list[Fact], list[Fact]]:
        """What is left of both when equal facts cancel out: what is to be removed, and what is to be added."""
        if not self.removed:
            return [], self.added
        counts: dict[Fact, int] = {}
        for fact in self.added:
            counts[fact] = counts.get(fact, 0) + 1
        for fact in self.removed:
            counts[fact] = counts.get(fact, 0) - 1
        return (
            [fact for fact, count in counts.items() if count < 0],
            [fact for fact, count in counts.items() if count > 0],
        )


class Chunk(NamedTuple):
    """Entries that have left the journal, and the contact's state before them (`None`: they are its first)."""

    start: bytes | None
    entries: list[Entry]


QUIET_US: Final = 2 * 86_400_000_000
"""So much longer than a lateness window a contact must have been quiet before the window is taken to be over."""


_Stored = list[Any]
"""Tip, newest instant, how long before it the newest settled entry was (none settled: `None`), the same of
`nameless_us`, journal, base, first chunk's number, each chunk's newest instant; usual ones at the end are missing."""

_USUAL: Final[_Stored] = [None, -1, None, None, None, None, 0, []]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode
_decode_chunk = msgspec.msgpack.Decoder(tuple[bytes | None, JournalParts]).decode
_VERSION_BYTE = bytes((STATE_VERSION,))
_SMALL_BYTE = bytes((STATE_VERSION | 0x80,))
_APPLIED, _DUPLICATE, _TOO_LATE, _TOO_LARGE = Outcome  # to look a member up costs more than the comparison


class ContactHistory:
    """One contact's history. Mutable; whoever holds it is its only writer."""

    __slots__ = (
        "_base",
        "_chunks",
        "_dirty",
        "_journal",
        "_measured",
        "_pending",
        "_stood",
        "_tip",
        "chunk_ends",
        "first_chunk",
        "nameless_us",
        "newest_us",
        "settled_us",
    )

    def __init__(self, tip: Contact | None = None, journal: Journal | None = None) -> None:
        """A contact never heard of, unless told otherwise."""
        self._tip = Contact() if tip is None else tip
        self._journal = journal_of([]) if journal is None else journal
        self._base: bytes | None = None
        self._chunks: list[Chunk] | None = None
        self._dirty = False
        self._measured: Measured | None = None
        self._pending: Pending | None = None
        self._stood: list[Fact] | None = None
        self.newest_us = -1
        self.settled_us = -1
        """Instant of the newest entry that is settled; -1 while none is."""
        self.nameless_us = -1
        """Up to this instant conversation events in the journal have lost their ids (`rest`); -1 while none has."""
        self.first_chunk = 0
        """Number of the oldest chunk; they are numbered without gaps."""
        self.chunk_ends: list[int] = []
        """Of each chunk, the instant of its newest entry."""

    @property
    def contact(self) -> Contact:
        """The contact as of its newest entry; read only."""
        return self._tip

    @property
    def journal_length(self) -> int:
        """How many entries the journal has."""
        return self._journal.count

    @property
    def entries(self) -> list[Entry]:
        """The entries of the attached chunks and of the journal, in event order; read only."""
        return [*self._older(), *self._journal.entries()]

    def start(self) -> Contact:
        """The contact before the first of `entries`; the caller's own."""
        if self._chunks:
            return self._start(self._chunks[0].start, self.entries)
        if not self._journal.count:
            return decode_contact(encode_contact(self._tip))
        return self._start(self._base, self._journal.entries())

    def settings_versions(self) -> set[bytes]:
        """The versions of the settings that a fold may ask its book for, besides the current one."""
        versions = set(self._journal.versions)
        for entry in self._older():
            versions.add(entry.rules)
        return versions

    # --- bytes -------------------------------------------------------------------------------------------------------

    def encode(self, *, small: bool = False) -> bytes:
        """The history's bytes, chunks apart: a version byte and one msgpack array, which is deflated if `small`.

        That takes longer than to fold an event, and is for what is seldom written.
        """
        stored: _Stored = [
            contact_parts(self._tip),
            self.newest_us,
            None if self.settled_us < 0 else self.newest_us - self.settled_us,
            None if self.nameless_us < 0 else self.newest_us - self.nameless_us,
            self._journal.parts() if self._journal.count else None,
            self._base,
            self.first_chunk,
            self.chunk_ends,
        ]
        while len(stored) > 2 and stored[-1] == _USUAL[len(stored) - 1]:
            stored.pop()
        encoded = _encode(stored)
        return _SMALL_BYTE + squeezed(encoded) if small else _VERSION_BYTE + encoded

    @classmethod
    def decode(cls, data: bytes) -> "ContactHistory":
        """The history of `encode`'s bytes. Raises `StateVersionError`, or `ValueError` when they are damaged."""
        version = data[:1]
        if version == _VERSION_BYTE:
            stored = _decode(data[1:])
        elif version == _SMALL_BYTE:
            stored = _decode(unsqueezed(data[1:]))
        else:
            raise StateVersionError(data[0] if data else -1, STATE_VERSION)
        if not 2 <= len(stored) <= len(_USUAL):
            raise ValueError(f"a history has 2 to {len(_USUAL)} parts, not {len(stored)}")
        tip, newest_us, settled, nameless, journal, base, first_chunk, chunk_ends = [*stored, *_USUAL[len(stored) :]]
        history = cls(contact_of(tip), None if journal is None else Journal(journal))
        history.newest_us = newest_us
        history._base = base
        history.settled_us = -1 if settled is None else newest_us - settled
        history.nameless_us = -1 if nameless is None else newest_us - nameless
        history.first_chunk = first_chunk
        history.chunk_ends = list(chunk_ends)
        return history

    def chunk_numbers(self) -> range:
        """The numbers of the chunks."""
        return range(self.first_chunk, self.first_chunk + len(self.chunk_ends))

    def attach_chunks(self, chunks: Sequence[bytes]) -> None:
        """Hand over all chunks, in order. Raises `ValueError` when they are damaged."""
        self._chunks = [_read_chunk(chunk) for chunk in chunks]

    # --- the fold ----------------------------------------------------------------------------------------------------

    def fold(
        self, events: Sequence[tuple[Event, int]], book: RulesBook, lateness: Lateness, changes: FactChanges
    ) -> list[Outcome]:
        """Take events in, each with its instant in microseconds, in order of arrival; what became of each.

        Raises what `take` raises; the history is then of no more use.
        """
        outcomes = [self.take(event, at_us, book, lateness, changes) for event, at_us in events]
        for _ in self.settling(book, changes):
            pass
        return outcomes

    def take(self, event: Event, at_us: int, book: RulesBook, lateness: Lateness, changes: FactChanges) -> Outcome:
        """Take an event in; what it changes is in `changes` when `settling` is done, for all that were taken meanwhile.

        Raises `ChunksNeeded` when `needs_chunks(…)` and none are attached, `MissingRules` when `book` lacks one of
        `settings_versions()`.
        """
        if self._stood is None:
            self._stood = list(standing_facts(self._tip))
        journal, pending = self._journal, self._pending
        if at_us > self.newest_us and pending is None and event.rank >= STARTED:
            # Most events: newer than all that is known, so neither too late nor among what has left the journal.
            if journal.known(event.id) is not None:
                return _DUPLICATE
            if not self._has_room() and self._is_full(event, at_us, lateness):
                return _TOO_LARGE
            self._append(entry_of(event, book.current, at_us), book, changes.added)
            self.newest_us = at_us
            return _APPLIED
        known = journal.known(event.id) if pending is None else pending.known(event.id)
        if self._is_too_late(event, at_us, lateness):
            return _DUPLICATE if known is not None and known.at_us == at_us else _TOO_LATE
        if self._needs_chunks(event, at_us):
            if self._chunks is None:
                raise ChunksNeeded("the event belongs before the journal: attach the contact's chunks first")
            pending = self._pend()
            if not pending.with_chunks:
                pending.add_older(self._older())
            known = pending.known(event.id)
        entry = entry_of(event, book.current, at_us)
        if known is not None and known.order <= entry.order:
            return _DUPLICATE
        if known is None and self._is_full(event, at_us, lateness):
            return _TOO_LARGE
        if pending is None and known is None and self._is_next(entry):
            self._append(entry, book, changes.added)
        else:
            self._put(self._pend(), entry)
        if at_us > self.newest_us:
            self.newest_us = at_us
        return _APPLIED

    def settling(self, book: RulesBook, changes: FactChanges) -> Iterator[None]:
        """Add to `changes` what the events taken have changed, in slices of which each takes some milliseconds."""
        if self._pending is not None:
            yield from self._refold(self._pending, book, changes)
            self._pending = None
        stood, self._stood = self._stood or [], None
        stands = list(standing_facts(self._tip))
        if stands != stood:
            changes.removed += [fact for fact in stood if fact not in stands]
            changes.added += [fact for fact in stands if fact not in stood]

    def needs_chunks(self, event: Event, at_us: int, lateness: Lateness) -> bool:
        """Whether `take` needs the contact's chunks for an event."""
        return self._needs_chunks(event, at_us) and not self._is_too_late(event, at_us, lateness)

    def compact(self, lateness: Lateness) -> list[tuple[int, bytes | None]]:
        """Let go of what cannot be corrected any more. To be called once per commit, before `encode`.

        Returns the chunks that are to be written (`None`: deleted) with their numbers, by the same commit.
        """
        writes = self._rewritten()
        if self._journal.count >= CHUNK_ENTRIES and self._journal.first_us < self.newest_us - lateness.conversation_us:
            writes += self._leave(lateness)
        horizon_us = self.newest_us - lateness.longest_us
        if self.chunk_ends and (self.chunk_ends[0] < horizon_us or len(self.chunk_ends) > MAX_CONTACT_CHUNKS):
            writes += self._drop_chunks(horizon_us)
        elif not self.chunk_ends and self._journal.count >= CHUNK_ENTRIES // 2 and self._journal.first_us < horizon_us:
            entries = self._journal.entries()
            count = bisect_left(entries, horizon_us, key=_instant)
            if count >= max(1, CHUNK_ENTRIES // 2) and self._may_settle(self._kept, entries[count - 1].at_us):
                self._settle(entries, count)
        return writes

    def rest(self, now_us: int, lateness: Lateness) -> list[tuple[int, bytes | None]] | None:
        """Keep of a contact that has been quiet only what is needed; chunks to write as of `compact`.

        `now_us`: about how far the contact's shard has come; older events are hardly expected. `None` when nothing is
        to be done.

        Windows lie behind the contact's own newest event. So an event may be in time by them however long its contact
        was quiet, if it was only delayed for as long; a journal kept for such a one would be kept for ever. Therefore
        quiet ends a window: when a contact's newest event lies the window and `QUIET_US` more behind `now_us`, what is
        older than that event is too late from then on, though by the window alone it would be in time.

        - Past the conversations' window the ids of conversation events go. All conversation events up to the newest
          entry are then too late (`nameless_us`), or one that is sent again would count twice.
        - Past both windows the journal goes, and all is settled. Nothing up to the newest entry is taken any more.

        Newer events than the contact's newest are never too late, so the state keeps what they are compared with: the
        touches and actions of its last day, the wait, conversations. `now_us` may be wrong, then; what follows from it
        is a record among the dead letters, that a rebuild takes, and never a fact that is counted twice.
        """
        if not self._journal.count:
            return None
        quiet_us = now_us - QUIET_US - self.newest_us
        if quiet_us > lateness.longest_us and self._tip.created:
            writes: list[tuple[int, bytes | None]] = [(number, None) for number in self.chunk_numbers()]
            self.first_chunk, self.chunk_ends = 0, []
            self._settle(self._journal.entries(), self._journal.count)
            self.nameless_us = -1
            self._tip.forget_beginnings()
            return writes
        if quiet_us > lateness.conversation_us and self.nameless_us < self.newest_us:
            self.nameless_us = self.newest_us
            if self._journal.has_conversation_ids:
                self._journal = journal_of([_without_id(entry) for entry in self._journal.entries()])
                return []
        return None

    # --- what an event does ------------------------------------------------------------------------------------------

    @property
    def _left_us(self) -> int:
        """Instant of the newest entry that has left the journal; -1 while none has."""
        return self.chunk_ends[-1] if self.chunk_ends else self.settled_us

    def _is_too_late(self, event: Event, at_us: int, lateness: Lateness) -> bool:
        if event.rank >= STARTED:
            oldest_us = self.newest_us - lateness.conversation_us
            return at_us < oldest_us or at_us <= self._left_us or at_us <= self.nameless_us
        if at_us <= self.settled_us:
            return True
        # A first creation is in time as long as nothing is settled: `_may_settle`.
        is_awaited = event.rank == CREATED and self.settled_us < 0 and self._creation() is None
        return at_us < self.newest_us - lateness.longest_us and not is_awaited

    def _needs_chunks(self, event: Event, at_us: int) -> bool:
        """Whether an event belongs among the chunks, or changes which creation they are read with."""
        if not self.chunk_ends:
            return False
        if event.rank < STARTED and at_us <= self.chunk_ends[-1]:
            return True
        creation = self._creation()
        if creation is None:
            return event.rank == CREATED
        return at_us <= creation.at_us and (event.rank == CREATED or event.id == creation.id)

    def _creation(self) -> Entry | None:
        """The creation of the entries as they are by now."""
        known, pending = self._tip.creation, self._pending
        if pending is None or not pending.with_chunks or (known is not None and known.at_us <= self.settled_us):
            return known  # what is pending has not changed it
        return creation_in(pending.entries)

    def _is_next(self, entry: Entry) -> bool:
        """Whether stepping the tip is all there is to do."""
        if entry.kind == CREATED and self._tip.creation is None:
            return not self._journal.count and self._left_us < 0  # else all is read again, the creation known
        if entry.at_us > self.newest_us or not self._journal.count:
            return True
        last = self._journal.last()
        return last is not None and last.order < entry.order

    def _has_room(self) -> bool:
        """Whether the contact is so far from every bound that no event of a conversation can pass one."""
        tip = self._tip
        return (
            self._journal.count < MAX_CONTACT_ENTRIES
            and len(tip.conversations) + tip.spent.count <= MAX_CONTACT_OPEN_CONVERSATIONS - 2
        )

    def _is_full(self, event: Event, at_us: int, lateness: Lateness) -> bool:
        """Whether the contact has reached a bound that the event would pass."""
        count = self._journal.count if self._pending is None else len(self._pending.entries)
        if count >= MAX_CONTACT_ENTRIES:
            from_us = max(self.newest_us, at_us) - lateness.conversation_us
            entries = self._journal.entries() if self._pending is None else self._pending.entries
            if len(entries) - bisect_left(entries, from_us, key=_instant) >= MAX_CONTACT_ENTRIES:
                return True
        if event.rank < STARTED and not isinstance(event, ContactAbsorbed):
            return False
        tip, pending = self._tip, self._pending
        new = sum(not self._knows(conversation) for conversation in _begun_by(event))
        if not new:
            return False
        new += 0 if pending is None else len(pending.conversations)
        known = len(tip.conversations) + len(tip.spent)
        return tip.open + new > MAX_CONTACT_OPEN_CONVERSATIONS or known + new > MAX_CONTACT_CONVERSATIONS

    def _knows(self, conversation: str) -> bool:
        pending = self._pending
        return is_known(self._tip, conversation) or (pending is not None and conversation in pending.conversations)

    def _pend(self) -> Pending:
        if self._pending is None:
            self._pending = Pending(self._journal.entries(), with_chunks=not self.chunk_ends)
        return self._pending

    def _put(self, pending: Pending, entry: Entry) -> None:
        pending.put(entry)
        if entry.kind in MAKE_KNOWN:
            for conversation in (entry.conversation, entry.to_conversation):
                if conversation is not None and not is_known(self._tip, conversation):
                    pending.conversations.add(conversation)
        for conversation, _ in entry.conversations:
            if not is_known(self._tip, conversation):
                pending.conversations.add(conversation)

    def _append(self, entry: Entry, book: RulesBook, added: Facts) -> None:
        if not self._journal.count:
            if self._left_us >= 0:
                self._base = encode_contact(self._tip)
            elif entry.kind == CREATED and self._tip.creation is None:
                self._tip = born_as(entry)
        measured = self._measured
        if measured is None or measured.book is not book:
            measured = self._measured = Measured(book)
        counted = step(self._tip, entry, measured, added)
        self._journal.append(with_counted(entry, counted) if counted else entry)

    def _refold(self, pending: Pending, book: RulesBook, changes: FactChanges) -> Iterator[None]:
        """Replace journal and chunks: take away the facts that the old entries made, add those of the new ones."""
        base = self._base
        if not self._journal.count and self._left_us >= 0:
            base = encode_contact(self._tip)
        whole = pending.with_chunks and bool(self._chunks)
        start = self._chunks[0].start if whole and self._chunks else base
        retracted = Retracted()
        yield from _folding(self._start(start, pending.before), pending.before, retracted, changes.removed)
        recounted = Recounted(retracted, book)
        tip, after = self._start(start, pending.entries), pending.entries
        left = bisect_right(after, self._left_us, key=_instant) if whole else 0
        chunks: list[Chunk] = []
        at = 0
        for end_us in self.chunk_ends if whole else ():
            to = bisect_right(after, end_us, key=_instant)
            before = encode_contact(tip) if at else start
            chunks.append(Chunk(before, (yield from _folding(tip, after[at:to], recounted, changes.added))))
            at = to
        if whole:
            base = encode_contact(tip)
        entries = yield from _folding(tip, after[left:], recounted, changes.added)
        self._tip, self._base, self._journal = tip, base, journal_of(entries)
        if whole:
            self._chunks, self._dirty = chunks, True

    def _start(self, start: bytes | None, entries: list[Entry]) -> Contact:
        creation = creation_in(entries)
        if start is None:
            return born_as(creation)
        contact = decode_contact(start)
        if contact.creation is None and creation is not None:
            # Its first entries are settled: what they say of it can be corrected no more, but all that follows can.
            born = born_as(creation)
            contact.creation, contact.origin = creation, born.origin
            contact.group = born.group if contact.group is None else contact.group
            if contact.first_from_ms is None:
                contact.first_from_ms = born.first_from_ms
        return contact

    # --- what leaves -------------------------------------------------------------------------------------------------

    def _older(self) -> list[Entry]:
        return [entry for chunk in self._chunks or () for entry in chunk.entries]

    def _rewritten(self) -> list[tuple[int, bytes | None]]:
        if not self._dirty:
            return []
        assert self._chunks is not None
        self._dirty = False
        return [
            (number, _chunk_bytes(chunk.start, chunk.entries))
            for number, chunk in zip(self.chunk_numbers(), self._chunks, strict=True)
        ]

    def _leave(self, lateness: Lateness) -> list[tuple[int, bytes | None]]:
        """Move what no conversation event can come before any more into a chunk, if there is enough of it."""
        entries = self._journal.entries()
        count = bisect_left(entries, self.newest_us - lateness.conversation_us, key=_instant)
        if count < CHUNK_ENTRIES:
            return []
        leaving, left = entries[:count], entries[count:]
        state = self._start(self._base, entries)
        _forgetting(state, leaving)
        number = self.first_chunk + len(self.chunk_ends)
        chunk = Chunk(self._base, leaving)
        if self._chunks is not None:
            self._chunks.append(chunk)
        self.chunk_ends = [*self.chunk_ends, leaving[-1].at_us]
        self._base, self._journal = encode_contact(state), journal_of(left)
        return [(number, _chunk_bytes(chunk.start, chunk.entries))]

    def _drop_chunks(self, horizon_us: int) -> list[tuple[int, bytes | None]]:
        """Settle the oldest chunks."""
        writes: list[tuple[int, bytes | None]] = []
        while self.chunk_ends:
            end_us = self.chunk_ends[0]
            too_many = len(self.chunk_ends) > MAX_CONTACT_CHUNKS
            is_over = end_us < horizon_us and self._may_settle(self._kept, end_us)
            if not too_many and not is_over:
                break
            writes.append((self.first_chunk, None))
            self.settled_us = end_us
            self.first_chunk, self.chunk_ends = self.first_chunk + 1, self.chunk_ends[1:]
            if self._chunks is not None:
                self._chunks = self._chunks[1:]
        if writes:
            self._forget_spent()
        return writes

    @property
    def _kept(self) -> int:
        """How many entries are kept, or fewer: a chunk has `CHUNK_ENTRIES` or more."""
        return self._journal.count + CHUNK_ENTRIES * len(self.chunk_ends)

    def _may_settle(self, kept: int, until_us: int | None = None) -> bool:
        """Whether the creation is among the entries up to an instant (or any), or cannot be in time any more."""
        creation = self._tip.creation
        if creation is not None:
            return until_us is None or creation.at_us <= until_us
        return self.settled_us >= 0 or kept > CREATION_MAY_FOLLOW

    def _settle(self, entries: list[Entry], count: int) -> None:
        """Let the journal's first entries go for good: the base becomes the state after them."""
        base = self._start(self._base, entries)
        _forgetting(base, entries[:count])
        left = entries[count:]
        self.settled_us = entries[count - 1].at_us
        self._base = encode_contact(base) if left else None
        self._journal = journal_of(left)
        self._forget_spent()

    def _forget_spent(self) -> None:
        """Keep of conversations that closed before what is kept only hashes of their ids; of a quiet contact all."""
        tip = self._tip
        if self._base is None:
            closed = closed_of(tip)
        elif self.chunk_ends:
            return  # chunks hold states of their own; they are told apart when they go
        else:
            base = decode_contact(self._base)
            closed = closed_of(base)
            spend(base, closed)
            self._base = encode_contact(base)
        spend(tip, closed)


def _begun_by(event: Event) -> Iterator[str]:
    """The conversations that an event may begin, or spend the id of."""
    if isinstance(event, ContactAbsorbed):
        yield from (known.id for known in event.open_conversations or ())
    elif event.rank in MAKE_KNOWN:
        conversation: str = event.conversation_id  # type: ignore[union-attr]  # every event of that topic has one
        yield conversation
        if isinstance(event, ConversationTransferred) and event.to_conversation_id is not None:
            yield event.to_conversation_id


def _chunk_bytes(start: bytes | None, entries: list[Entry]) -> bytes:
    """A chunk; ids of conversation events are left out: nothing that old is compared with them any more."""
    return deflated(_encode((start, journal_of([_without_id(entry) for entry in entries]).parts())))


def _read_chunk(data: bytes) -> Chunk:
    start, journal = _decode_chunk(inflated(data))
    return Chunk(start, Journal(journal).entries())


def _without_id(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, id="") if entry.kind >= STARTED and entry.id else entry


def _instant(entry: Entry) -> int:
    return entry.at_us


class _Nothing(list[Fact]):
    """Takes facts that nobody needs."""

    def append(self, fact: Fact, /) -> None:
        pass


def _as_counted(entry: Entry, first_ms: int | None, since_ms: int) -> Counted:  # noqa: ARG001 - as `Answers`
    """Answers whose facts nobody needs."""
    return entry.counted or (0, 0)


def _forgetting(contact: Contact, entries: list[Entry]) -> None:
    """Step a contact through entries whose facts are settled."""
    nothing = _Nothing()
    for entry in entries:
        step(contact, entry, _as_counted, nothing)


def _folding(
    contact: Contact, entries: list[Entry], answers: Answers, out: Facts
) -> Generator[None, None, list[Entry]]:
    """Step a contact through entries, in slices; the entries as they were counted."""
    counted: list[Entry] = []
    for first in range(0, len(entries), _SLICE_ENTRIES):
        for entry in entries[first : first + _SLICE_ENTRIES]:
            counted.append(with_counted(entry, step(contact, entry, answers, out)))  # noqa: PERF401 - in slices
        yield
    return counted
