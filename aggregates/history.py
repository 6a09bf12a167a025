"""What is kept of one contact, and the fold: an event in, counters' deltas out, whatever order events arrive in.

A history is a *journal* of the contact's latest entries in event order, the contact's state before the journal
(`base`) and after it (`tip`). An event in order steps the tip. One that belongs earlier, within the journal, is
inserted, and its effect is the difference between what the journal contributed and what it contributes now: both are
folded from the base. Entries past the lateness window leave the journal in chunks, for the *archive*, which is read
again only when a contact's own event (a creation, a move, a deletion…) belongs before the journal: then the whole
history is folded, without and with it. So the counters are a function of the set of events that were accepted.

Conversation events more than the lateness window behind the contact's newest event are not accepted: `TOO_LATE`. Nor
is one that belongs before the journal, should the window have been made longer meanwhile: the archive has no ids of
conversation events, so nobody could tell whether it is there already.
"""

from bisect import insort
from enum import Enum
from typing import Final

import msgspec

from aggregates.answers import Answers, Measured, Recounted, Retracted, with_counted
from aggregates.contact import Contact, born_as, step
from aggregates.contact_bytes import ContactParts, contact_of, contact_parts, decode_contact, encode_contact
from aggregates.counters import Deltas
from aggregates.deflate import deflated, inflated
from aggregates.entry import CREATED, STARTED, Entry, entry_of
from aggregates.errors import ArchiveNeeded, StateVersionError
from aggregates.journal import Journal, JournalParts, decode_entries, encode_entries, journal_of
from aggregates.rules import RulesBook
from schemas.events import Event, instant_us

STATE_VERSION: Final = 3
"""First byte of an encoded history. A change of what is encoded that old bytes do not fit raises it."""

CHUNK_ENTRIES = 32
"""How many entries leave the journal together: enough to make archiving rare, few enough to keep a state small."""


class Outcome(Enum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    TOO_LATE = "too-late"


_Stored = tuple[ContactParts, JournalParts, int, bytes | None, bytes | None, int, int, int]
"""Tip, journal, newest instant, base (deflated), mark, its length, chunks of the archive, and until when they reach."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


def _order(entry: Entry) -> tuple[int, int, int, str]:
    return entry.order


_APPLIED: Final = Outcome.APPLIED  # to look a member up costs more than the comparison
_VERSION_BYTE = bytes((STATE_VERSION,))


class ContactHistory:
    """One contact's history. Mutable; whoever holds it is its only writer."""

    __slots__ = (
        "_archive",
        "_archive_dirty",
        "_base",
        "_journal",
        "_mark",
        "_mark_length",
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
        self._archive: list[Entry] | None = None
        self._archive_dirty = False
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
        return journal if self._archive is None else self._archive + journal

    # --- bytes -------------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """The history's bytes, the archive apart: a version byte and one msgpack array."""
        stored = (
            contact_parts(self._tip),
            self._journal.parts(),
            self.newest_us,
            self._base,
            self._mark,
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
        history = cls(contact_of(tip), Journal(journal))
        history.newest_us = newest_us
        history._base = base
        history._mark = mark
        history._mark_length = mark_length
        history.archive_count = archive_count
        history.archived_until_us = archived_until_us
        return history

    # --- the fold ----------------------------------------------------------------------------------------------------

    def fold(
        self, event: Event, book: RulesBook, lateness_ms: int, deltas: Deltas, at_us: int | None = None
    ) -> Outcome:
        """Take an event in; add to `deltas` what it changed. Pure but for `self` and `deltas`; never waits.

        `at_us` is the event's instant, for a caller that has reckoned it.

        Raises `ArchiveNeeded` when `needs_archive(…)` and no archive is attached, `MissingRules` when `book`
        lacks one of `rule_versions()`; the history is then as it was.
        """
        if at_us is None:
            at_us = instant_us(event.occurred_at)
        journal = self._journal
        known = _with_id(journal.entries(), event.id) if journal.may_have(event.id) else None
        if known is None and at_us > self.newest_us and event.rank != CREATED:
            # Nearly every event: newer than all that is known, and no content of a known id. Then the rest is settled.
            entry = entry_of(event, book.current, at_us)
            journal.append(self._stepped(entry, book, deltas))
            self.newest_us = at_us
            return _APPLIED
        if self._is_too_late(event, at_us, lateness_ms):
            same = known is not None and known.at_us == at_us
            return Outcome.DUPLICATE if same else Outcome.TOO_LATE
        entry = entry_of(event, book.current, at_us)
        if known is not None and known.order <= entry.order:
            return Outcome.DUPLICATE
        if self.archive_count and self.needs_archive(event, lateness_ms, at_us):
            return self._fold_whole(entry, book, deltas)
        if known is None and self._is_next(entry):
            if entry.kind == CREATED and self._tip.creation is None:
                self._tip = born_as(entry)
            journal.append(self._stepped(entry, book, deltas))
        else:
            before = journal.entries()
            after = [other for other in before if known is None or other.id != known.id]
            insort(after, entry, key=_order)
            self._refold(before, after, book, self.newest_us - lateness_ms * 1000, deltas)
        if at_us > self.newest_us:
            self.newest_us = at_us
        return _APPLIED

    def rule_versions(self) -> set[bytes]:
        """The versions of the rules that `fold` may ask its book for, besides the current one."""
        versions = set(self._journal.versions)
        if self._archive is not None:
            versions.update(entry.rules for entry in self._archive)
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
        creation = self._tip.creation
        # Earlier content under the creation's id takes its place, whatever type it is of.
        is_creation = event.rank == CREATED or (creation is not None and event.id == creation.id)
        return is_creation and (creation is None or (at_us, event.sequence or 0, event.rank, event.id) < creation.order)

    def attach_archive(self, chunks: list[bytes]) -> None:
        """Hand over the contact's archive, all `archive_count` chunks in order."""
        self._archive = [entry for chunk in chunks for entry in decode_entries(chunk)]

    def compact(self, lateness_ms: int) -> list[tuple[int, bytes]]:
        """Move what is past the lateness window out of the journal, once enough has gathered.

        To be called once per commit, before `encode`. Returns the archive's new or rewritten chunks with their
        numbers, to be written by the same commit.
        """
        chunks: list[tuple[int, bytes]] = []
        if self._archive_dirty:
            assert self._archive is not None
            chunks = self._rewritten_archive()
        if self._mark is not None:
            horizon_us = self.newest_us - lateness_ms * 1000
            entries = self._journal.entries()
            leaving = entries[: self._mark_length]
            if leaving[-1].at_us < horizon_us:
                chunks.append((self.archive_count, encode_entries(leaving)))
                self.archive_count += 1
                self.archived_until_us = leaving[-1].at_us
                self._journal = journal_of(entries[self._mark_length :], leaving[-1].at_us // 1000)
                self._base, self._mark, self._mark_length = deflated(self._mark), None, 0
        if self._mark is None and self._journal.count >= CHUNK_ENTRIES:
            self._mark, self._mark_length = encode_contact(self._tip), self._journal.count
        self._archive = None
        return chunks

    def _stepped(self, entry: Entry, book: RulesBook, deltas: Deltas) -> Entry:
        """Step the tip; the entry as it was counted."""
        counted = step(self._tip, entry, Measured(book), deltas)
        return with_counted(entry, counted) if counted else entry

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

    def _refold(
        self, before: list[Entry], after: list[Entry], book: RulesBook, horizon_us: int, deltas: Deltas
    ) -> None:
        """Replace the journal: take away what the old one contributed, add what the new one does.

        Both are folded from the mark, if they differ after it only. Else the mark is set anew, where the entries past
        the lateness window end: so a contact whose events always come in some disorder has a short journal too.
        """
        change, taken = Deltas(), Deltas()
        retracted = Retracted()
        mark, length = self._mark, self._mark_length
        if mark is not None and self._is_as_before(before, after, length):
            tip = decode_contact(mark)
            _fold_entries(decode_contact(mark), before[length:], retracted, taken)
            recounted = Recounted(retracted, book)
            folded = after[:length]
        else:
            mark, length = None, 0
            tip = self._start(after)
            _fold_entries(self._start(before), before, retracted, taken)
            recounted = Recounted(retracted, book)
            folded = []
            settled = len([True for entry in after if entry.at_us < horizon_us])
            if settled >= CHUNK_ENTRIES:
                folded = _fold_entries(tip, after[:settled], recounted, change)
                mark, length = encode_contact(tip), settled
        after = folded + _fold_entries(tip, after[length:], recounted, change)
        change.add(taken, -1)
        change.clear_zeros()
        deltas.add(change, 1)
        self._tip, self._journal = tip, journal_of(after, self._start_ms())
        self._mark, self._mark_length = mark, length

    def _is_as_before(self, before: list[Entry], after: list[Entry], length: int) -> bool:
        """Whether a new journal's first entries, and the creation they are read with, are those of the present one."""
        if self._base is None and _creation_in(after) is not _creation_in(before):
            return False
        if len(after) < length:
            return False
        return all(after[place] is before[place] for place in range(length))

    def _start_ms(self) -> int:
        return max(self.archived_until_us // 1000, 0)

    def _start(self, journal: list[Entry]) -> Contact:
        return born_as(_creation_in(journal)) if self._base is None else decode_contact(inflated(self._base))

    def _fold_whole(self, entry: Entry, book: RulesBook, deltas: Deltas) -> Outcome:
        """Fold archive and journal, without and with the entry."""
        if self._archive is None:
            raise ArchiveNeeded("the event belongs before the journal: attach the contact's archive first")
        journal = self._journal.entries()
        before = self._archive + journal
        # No ids are known of archived conversation events: those in chunks of earlier builds make no difference.
        same_id = _with_id([other for other in self._archive if other.kind < STARTED] + journal, entry.id)
        if same_id is not None and same_id.order <= entry.order:
            return Outcome.DUPLICATE
        after = [other for other in before if other is not same_id]
        insort(after, entry, key=_order)
        change, taken = Deltas(), Deltas()
        retracted = Retracted()
        _fold_entries(born_as(_creation_in(before)), before, retracted, taken)
        recounted = Recounted(retracted, book)
        contact = born_as(_creation_in(after))
        archived = sum(other.at_us <= self.archived_until_us for other in after)
        old = _fold_entries(contact, after[:archived], recounted, change)
        base = deflated(encode_contact(contact))
        new = _fold_entries(contact, after[archived:], recounted, change)
        self._tip = contact
        change.add(taken, -1)
        change.clear_zeros()
        deltas.add(change, 1)
        self._base, self._mark, self._mark_length = base, None, 0
        self._archive, self._journal = old, journal_of(new, self._start_ms())
        self._archive_dirty = True
        self.newest_us = max(self.newest_us, entry.at_us)
        return Outcome.APPLIED

    def _rewritten_archive(self) -> list[tuple[int, bytes]]:
        """The archive in chunks again. It never needs fewer chunks than before, for none is made of fewer entries."""
        assert self._archive is not None
        entries = self._archive
        count = max(self.archive_count, 1)
        size = -(-len(entries) // count)
        self._archive_dirty = False
        return [(number, encode_entries(entries[number * size : (number + 1) * size])) for number in range(count)]


def _creation_in(entries: list[Entry]) -> Entry | None:
    for entry in entries:
        if entry.kind == CREATED:
            return entry
    return None


def _with_id(entries: list[Entry], event_id: str) -> Entry | None:
    for entry in entries:
        if entry.id == event_id:
            return entry
    return None


def _fold_entries(contact: Contact, entries: list[Entry], answers: Answers, out: Deltas) -> list[Entry]:
    """Step through all entries; they, as they were counted."""
    return [with_counted(entry, step(contact, entry, answers, out)) for entry in entries]
