"""What is kept of one contact, and the fold: an event in, counters' deltas out, whatever order events arrive in.

A history is a *journal* of the contact's latest entries in event order, the contact's state before the journal
(`base`) and after it (`tip`). An event in order steps the tip. One that belongs earlier, within the journal, is
inserted, and its effect is the difference between what the journal contributed and what it contributes now: both are
folded from the base, once for all such events of a batch (`take`, `settling`). Entries past the lateness window leave
the journal in chunks, for the *archive*, which is read again only when a contact's own event (a creation, a move, a
deletion…) belongs before the journal: then the whole history is folded, without and with it. So the counters are a
function of the set of events that were accepted.

Conversation events more than the lateness window behind the contact's newest event are not accepted: `TOO_LATE`. Nor
is one that belongs before the journal, should the window have been made longer meanwhile: the archive has no ids of
conversation events, so nobody could tell whether it is there already.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec

from aggregates.contact import Contact, born_as, is_spent, step
from aggregates.contact_bytes import contact_parts, decode_contact, encode_contact
from aggregates.counters import Deltas
from aggregates.deflate import deflated, inflated
from aggregates.entry import CREATED, HANDED_OFF, NOTED, STARTED, Entry, entry_of
from aggregates.errors import ArchiveNeeded, StateVersionError
from aggregates.journal import Journal, JournalParts, decode_chunk, encode_entries, journal_of
from aggregates.pending import Pending, creation_in
from aggregates.rules import RulesBook
from schemas.events import ConversationTransferred, Event, instant_us
from schemas.limits import (
    MAX_CONTACT_ARCHIVE_CHUNKS,
    MAX_CONTACT_CONVERSATIONS,
    MAX_CONTACT_ENTRIES,
    MAX_CONTACT_OPEN_CONVERSATIONS,
)

STATE_VERSION: Final = 2
"""First byte of an encoded history. A change of what is encoded that old bytes do not fit raises it."""

CHUNK_ENTRIES = 32
"""How many entries leave the journal together: enough to make archiving rare, few enough to keep a state small."""


class Outcome(Enum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    TOO_LATE = "too-late"
    TOO_LARGE = "contact-too-large"
    """Its contact has reached a bound of `schemas/limits.py`."""


_LONG_ENTRIES = 4_096
"""Of a journal with more, only what is asked for is read; the compiled fold leaves it to this one."""

_INSTANT = b"\xd3"
_INSTANT_BYTES = 9

_SLICE_ENTRIES = 500
"""After so many entries folded, some two milliseconds, `settling` stops for others."""

_Stored = tuple[msgspec.Raw, JournalParts, int, bytes | None, bytes | None, int, int, int]
"""Tip, journal, newest instant, base (deflated), mark, its length, chunks of the archive, and until when they reach."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


_APPLIED: Final = Outcome.APPLIED  # to look a member up costs more than the comparison
_VERSION_BYTE = bytes((STATE_VERSION,))


class ContactHistory:
    """One contact's history. Mutable; whoever holds it is its only writer."""

    __slots__ = (
        "_archive",
        "_archive_dirty",
        "_base",
        "_chunks",
        "_journal",
        "_mark",
        "_mark_length",
        "_mark_until_us",
        "_pending",
        "_tip",
        "archive_count",
        "archived_until_us",
        "newest_us",
    )

    def __init__(self, tip: Contact | None = None, journal: Journal | None = None) -> None:
        """A contact never heard of, unless its state and journal are given."""
        self._tip = Contact() if tip is None else tip
        self._journal = journal_of([]) if journal is None else journal
        self._base: bytes | None = None
        # The state after the journal's first `_mark_length` entries: the next base, taken when the tip passed there.
        self._mark: bytes | None = None
        self._mark_length = 0
        self._mark_until_us: int | None = None
        """When the last of those entries happened, as far as it was found out."""
        self._chunks: list[Journal] | None = None
        """The archive as it was attached; read when it is needed."""
        self._archive: list[Entry] | None = None
        self._archive_dirty = False
        self._pending: Pending | None = None
        """What late events have made of the entries, until it is folded."""
        self.newest_us = -1
        self.archive_count = 0
        """Chunks the ledger holds of this contact, numbered from 0."""
        self.archived_until_us = -1

    @property
    def contact(self) -> Contact:
        """The contact as of its newest entry; read only."""
        return self._tip

    @property
    def journal(self) -> list[Entry]:
        """The entries since the archive, in event order; read only."""
        return self._journal.entries()

    @property
    def journal_length(self) -> int:
        """How many entries the journal has."""
        return self._journal.count

    @property
    def entries(self) -> list[Entry]:
        """All entries in event order, if the archive is attached or there is none; else those of the journal."""
        journal = self._journal.entries()
        return self._archived() + journal if self._has_archive else journal

    # --- bytes -------------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """The history's bytes, the archive apart: a version byte and one msgpack array."""
        assert self._pending is None
        stored = (
            contact_parts(self._tip),
            self._journal.parts(),
            self.newest_us,
            self._base,
            self._marked(),
            self._mark_length,
            self.archive_count,
            self.archived_until_us,
        )
        return _VERSION_BYTE + _encode(stored)

    @classmethod
    def decode(cls, data: bytes) -> "ContactHistory":
        """The history of `encode`'s bytes. Raises `StateVersionError`, or `ValueError` when they are damaged."""
        if not data or data[0] != STATE_VERSION:
            raise StateVersionError(data[0] if data else -1, STATE_VERSION)
        tip, journal, newest_us, base, mark, mark_length, archive_count, archived_until_us = _decode(data[1:])
        history = cls(decode_contact(bytes(tip)), Journal(journal))
        history.newest_us = newest_us
        history._base = base
        if mark is not None and mark.startswith(_INSTANT):
            history._mark_until_us = int.from_bytes(mark[1:_INSTANT_BYTES], "big", signed=True)
            mark = mark[_INSTANT_BYTES:]
        history._mark = mark
        history._mark_length = mark_length
        history.archive_count = archive_count
        history.archived_until_us = archived_until_us
        return history

    def _marked(self) -> bytes | None:
        """The mark's bytes. In front of a long journal its instant, as msgpack writes a large number, saves a look."""
        if self._mark is None or self._mark_until_us is None or self._journal.count <= _LONG_ENTRIES:
            return self._mark
        return _INSTANT + self._mark_until_us.to_bytes(_INSTANT_BYTES - 1, "big", signed=True) + self._mark

    # --- the fold ----------------------------------------------------------------------------------------------------

    def fold(
        self, event: Event, book: RulesBook, lateness_ms: int, deltas: Deltas, at_us: int | None = None
    ) -> Outcome:
        """Take an event in; add to `deltas` what it changed. Pure but for `self` and `deltas`; never waits.

        `at_us` is the event's instant, for a caller that has reckoned it.

        Raises `ArchiveNeeded` when `needs_archive(…)` and no archive is attached, `MissingRules` when `book`
        lacks one of `rule_versions()`; the history is then as it was.
        """
        newest_us = self.newest_us
        outcome = self.take(event, book, lateness_ms, deltas, at_us)
        try:
            self.settle(book, lateness_ms, deltas)
        except Exception:
            self._pending, self.newest_us = None, newest_us
            raise
        return outcome

    def take(
        self, event: Event, book: RulesBook, lateness_ms: int, deltas: Deltas, at_us: int | None = None
    ) -> Outcome:
        """Take an event in as `fold` does; what a late one changes, `settle` adds, for all that were taken meanwhile.

        Raises as `fold` does. Until it is settled, a history can only take more.
        """
        if at_us is None:
            at_us = instant_us(event.occurred_at)
        journal, pending = self._journal, self._pending
        if pending is None:
            known = journal.known(event.id)
            if known is None and at_us > self.newest_us and event.rank != CREATED:
                # Nearly every event: newer than all that is known, and no content of a known id. Then the rest is
                # settled.
                if self._is_full(event, at_us, lateness_ms):
                    return Outcome.TOO_LARGE
                entry = entry_of(event, book.current, at_us)
                step(self._tip, entry, book, deltas)
                journal.append(entry)
                self.newest_us = at_us
                return _APPLIED
        else:
            known = pending.known(event.id)
        if self._is_too_late(event, at_us, lateness_ms):
            same = known is not None and known.at_us == at_us
            return Outcome.DUPLICATE if same else Outcome.TOO_LATE
        entry = entry_of(event, book.current, at_us)
        if known is not None and known.order <= entry.order:
            return Outcome.DUPLICATE
        if self.archive_count and self.needs_archive(event, lateness_ms, at_us):
            return self._take_anywhere(entry, event, lateness_ms)
        if known is None and self._is_full(event, at_us, lateness_ms):
            return Outcome.TOO_LARGE
        if pending is None and known is None and self._is_next(entry):
            if entry.kind == CREATED and self._tip.creation is None:
                self._tip = born_as(entry)
            step(self._tip, entry, book, deltas)
            journal.append(entry)
        else:
            self._put(self._pend(), entry, known)
        if at_us > self.newest_us:
            self.newest_us = at_us
        return _APPLIED

    def settle(self, book: RulesBook, lateness_ms: int, deltas: Deltas) -> None:
        """Add to `deltas` what the late events taken have changed. Raises `MissingRules`."""
        for _ in self.settling(book, lateness_ms, deltas):
            pass

    def settling(self, book: RulesBook, lateness_ms: int, deltas: Deltas) -> Iterator[None]:
        """Settle in slices, of which each takes some milliseconds."""
        pending = self._pending
        if pending is None:
            return
        if pending.has_archive:
            yield from self._fold_whole(pending.entries, book, deltas)
        else:
            horizon_us = self.newest_us - lateness_ms * 1000
            yield from self._refold(self._journal.entries(), pending.entries, book, horizon_us, deltas)
        self._pending = None

    @property
    def unsettled(self) -> int:
        """How many entries are to be folded before it is settled: as they were, and as they will be."""
        if self._pending is None:
            return 0
        before = self._journal.count + (len(self._archived()) if self._pending.has_archive else 0)
        return before + len(self._pending.entries)

    def rule_versions(self) -> set[int]:
        """The versions of the rules that `fold` may ask its book for, besides the current one."""
        versions = set(self._journal.versions)
        for chunk in self._chunks or ():
            versions.update(chunk.versions)
        return versions

    def needs_archive(self, event: Event, lateness_ms: int, at_us: int | None = None) -> bool:
        """Whether the event belongs before the journal, or changes which creation all of it is read with."""
        if self.archive_count == 0:
            return False
        if at_us is None:
            at_us = instant_us(event.occurred_at)
        if self._is_too_late(event, at_us, lateness_ms):
            return False  # `fold` sets it aside
        if at_us <= self.archived_until_us:
            return True
        creation = self._tip.creation if self._pending is None else self._pending.creation
        # Earlier content under the creation's id takes its place, whatever type it is of.
        is_creation = event.rank == CREATED or (creation is not None and event.id == creation.id)
        return is_creation and (creation is None or (at_us, event.sequence or 0, event.rank, event.id) < creation.order)

    def attach_archive(self, chunks: list[bytes]) -> None:
        """Hand over the contact's archive, all `archive_count` chunks in order."""
        self._chunks = [decode_chunk(chunk) for chunk in chunks]
        self._archive = None

    def compact(self, lateness_ms: int) -> list[tuple[int, bytes]]:
        """Move what is past the lateness window out of the journal, once enough has gathered.

        To be called once per commit, before `encode`. Returns the archive's new or rewritten chunks with their
        numbers, to be written by the same commit.
        """
        assert self._pending is None
        chunks: list[tuple[int, bytes]] = []
        if self._archive_dirty:
            chunks = self._rewritten_archive()
        if self._mark is not None:
            horizon_us = self.newest_us - lateness_ms * 1000
            if self._mark_until_us is None:
                self._mark_until_us = self._journal.entries()[self._mark_length - 1].at_us
            if self._mark_until_us < horizon_us:
                entries = self._journal.entries()
                leaving = entries[: self._mark_length]
                chunks.append((self.archive_count, encode_entries(leaving)))
                self.archive_count += 1
                self.archived_until_us = leaving[-1].at_us
                self._journal = journal_of(entries[self._mark_length :], leaving[-1].at_us // 1000)
                self._base = deflated(self._mark)
                self._set_mark(None, 0)
        if self._mark is None and self._journal.count >= CHUNK_ENTRIES:
            self._set_mark(encode_contact(self._tip), self._journal.count)
        self._archive = self._chunks = None
        return chunks

    def _set_mark(self, mark: bytes | None, length: int) -> None:
        self._mark, self._mark_length, self._mark_until_us = mark, length, None

    def _is_too_late(self, event: Event, at_us: int, lateness_ms: int) -> bool:
        """Whether it is a conversation event past the lateness window, or from before the journal."""
        settled = at_us < self.newest_us - lateness_ms * 1000 or at_us <= self.archived_until_us
        return settled and event.rank >= STARTED

    def _is_next(self, entry: Entry) -> bool:
        """Whether stepping the tip is all there is to do."""
        if not self._journal.count:
            return True
        if entry.kind == CREATED and self._tip.creation is None:
            return False  # what came before must be read again, with the creation known
        if entry.at_us > self.newest_us:
            return True
        last = self._journal.last()
        return last is not None and last.order < entry.order

    def _is_full(self, event: Event, at_us: int, lateness_ms: int) -> bool:
        """Whether the contact has reached a bound that the event would pass."""
        if self._count_now() >= MAX_CONTACT_ENTRIES:
            from_us = max(self.newest_us, at_us) - lateness_ms * 1000
            if self._count_from(from_us) >= MAX_CONTACT_ENTRIES:
                return True
        if event.rank < STARTED:
            return False
        tip, pending = self._tip, self._pending
        begun = 0 if pending is None else len(pending.conversations)
        opened = len(tip.conversations) + begun
        spent = 0 if tip.spent is None else len(tip.spent)
        if opened < MAX_CONTACT_OPEN_CONVERSATIONS and opened + spent < MAX_CONTACT_CONVERSATIONS:
            return False
        return any(not self._knows(conversation) for conversation in _begun_by(event))

    def _count_now(self) -> int:
        pending = self._pending
        return self._journal.count if pending is None or pending.has_archive else len(pending.entries)

    def _count_from(self, at_us: int) -> int:
        pending = self._pending
        if pending is None:
            return self._journal.count_from(at_us, MAX_CONTACT_ENTRIES)
        return len(pending.entries) - bisect_left(pending.entries, at_us, key=_instant)

    def _knows(self, conversation: str) -> bool:
        tip, pending = self._tip, self._pending
        if conversation in tip.conversations or is_spent(tip, conversation):
            return True
        return pending is not None and conversation in pending.conversations

    def _pend(self) -> Pending:
        if self._pending is None:
            self._pending = Pending(self._journal.entries(), self._tip.creation)
        return self._pending

    def _put(self, pending: Pending, entry: Entry, known: Entry | None) -> None:
        pending.put(entry, known, self.archived_until_us)
        if entry.kind >= STARTED and entry.kind not in (NOTED, HANDED_OFF):
            for conversation in (entry.conversation, entry.to_conversation):
                if conversation is not None and not self._knows(conversation):
                    pending.conversations.add(conversation)

    def _take_anywhere(self, entry: Entry, event: Event, lateness_ms: int) -> Outcome:
        """Take in an event that belongs before the journal, or changes how all of it is read."""
        if not self._has_archive:
            raise ArchiveNeeded("the event belongs before the journal: attach the contact's archive first")
        if self.archive_count > MAX_CONTACT_ARCHIVE_CHUNKS or self._is_full(event, entry.at_us, lateness_ms):
            return Outcome.TOO_LARGE
        pending = self._pend()
        if not pending.has_archive:
            pending.add_archive(self._archived())
        known = pending.known_anywhere(entry.id)
        if known is not None and known.order <= entry.order:
            return Outcome.DUPLICATE
        self._put(pending, entry, known)
        self.newest_us = max(self.newest_us, entry.at_us)
        return _APPLIED

    @property
    def _has_archive(self) -> bool:
        return self._chunks is not None or self._archive is not None

    def _archived(self) -> list[Entry]:
        if self._archive is None:
            assert self._chunks is not None
            self._archive = [entry for chunk in self._chunks for entry in chunk.entries()]
        return self._archive

    def _refold(
        self, before: list[Entry], after: list[Entry], book: RulesBook, horizon_us: int, deltas: Deltas
    ) -> Iterator[None]:
        """Replace the journal: take away what the old one contributed, add what the new one does.

        Both are folded from the mark, if they differ after it only. Else the mark is set anew, where the entries past
        the lateness window end: so a contact whose events always come in some disorder has a short journal too.
        """
        change, taken = Deltas(), Deltas()
        mark, length = self._mark, self._mark_length
        if mark is not None and self._is_as_before(before, after, length):
            tip = decode_contact(mark)
            yield from _folding(decode_contact(mark), before[length:], book, taken)
        else:
            mark, length = None, 0
            tip = self._start(after)
            yield from _folding(self._start(before), before, book, taken)
            settled = bisect_left(after, horizon_us, key=_instant)
            if settled >= CHUNK_ENTRIES:
                yield from _folding(tip, after[:settled], book, change)
                mark, length = encode_contact(tip), settled
        yield from _folding(tip, after[length:], book, change)
        change.add(taken, -1)
        change.clear_zeros()
        yield
        journal = journal_of(after, self._start_ms())
        deltas.add(change, 1)
        self._tip, self._journal = tip, journal
        if mark is not self._mark:
            self._set_mark(mark, length)

    def _is_as_before(self, before: list[Entry], after: list[Entry], length: int) -> bool:
        """Whether a new journal's first entries, and the creation they are read with, are those of the present one."""
        if self._base is None and creation_in(after) is not creation_in(before):
            return False
        if len(after) < length:
            return False
        return all(after[place] is before[place] for place in range(length))

    def _start_ms(self) -> int:
        return max(self.archived_until_us // 1000, 0)

    def _start(self, journal: list[Entry]) -> Contact:
        return born_as(creation_in(journal)) if self._base is None else decode_contact(inflated(self._base))

    def _fold_whole(self, after: list[Entry], book: RulesBook, deltas: Deltas) -> Iterator[None]:
        """Replace archive and journal."""
        before = self._archived() + self._journal.entries()
        change, taken = Deltas(), Deltas()
        yield from _folding(born_as(creation_in(before)), before, book, taken)
        contact = born_as(creation_in(after))
        archived = bisect_right(after, self.archived_until_us, key=_instant)
        yield from _folding(contact, after[:archived], book, change)
        base = deflated(encode_contact(contact))
        yield from _folding(contact, after[archived:], book, change)
        change.add(taken, -1)
        change.clear_zeros()
        yield
        journal = journal_of(after[archived:], self._start_ms())
        deltas.add(change, 1)
        self._tip = contact
        self._base = base
        self._set_mark(None, 0)
        self._archive, self._journal = after[:archived], journal
        self._archive_dirty = True

    def _rewritten_archive(self) -> list[tuple[int, bytes]]:
        """The archive in chunks again. It never needs fewer chunks than before, for none is made of fewer entries."""
        entries = self._archived()
        count = max(self.archive_count, 1)
        size = -(-len(entries) // count)
        self._archive_dirty = False
        return [(number, encode_entries(entries[number * size : (number + 1) * size])) for number in range(count)]


def _instant(entry: Entry) -> int:
    return entry.at_us


def _begun_by(event: Event) -> Iterator[str]:
    """The conversations that an event may begin or end."""
    if event.rank not in (NOTED, HANDED_OFF):
        yield event.conversation_id  # type: ignore[union-attr]  # an event of the conversations topic
    if isinstance(event, ConversationTransferred) and event.to_conversation_id is not None:
        yield event.to_conversation_id


def _folding(contact: Contact, entries: list[Entry], book: RulesBook, out: Deltas) -> Iterator[None]:
    for first in range(0, len(entries), _SLICE_ENTRIES):
        for entry in entries[first : first + _SLICE_ENTRIES]:
            step(contact, entry, book, out)
        yield


def fold_entries(contact: Contact, entries: list[Entry], book: RulesBook, out: Deltas) -> Contact:
    """The contact after these entries; what they made true is added to `out`."""
    for entry in entries:
        step(contact, entry, book, out)
    return contact
