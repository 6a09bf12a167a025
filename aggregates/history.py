"""What is kept of one contact, and the fold: an event in, counters' deltas out, whatever order events arrive in.

A history is a *journal* of the contact's latest entries in event order, the contact's state before the journal
(`base`) and after it (`tip`). An event in order steps the tip. One that belongs earlier, within the journal, is
inserted, and its effect is the difference between what the journal contributed and what it contributes now: both are
folded from the base. Entries past the lateness window leave the journal in chunks, for the *archive*, which is read
again only when a contact's own event (a creation, a move, a deletion…) belongs before the journal: then the whole
history is folded, without and with it. So the counters are a function of the set of events that were accepted.

Conversation events more than the lateness window behind the contact's newest event are not accepted: `TOO_LATE`.
"""

from bisect import insort
from collections.abc import Callable
from enum import Enum

import msgspec
from msgspec import Struct

from aggregates.contact import Contact, born_as, step
from aggregates.counters import Deltas
from aggregates.journal import CREATED, Entry, decode_entries, encode_entries, entry_of
from aggregates.rules import RulesBook
from schemas.events import BaseEvent, Event, instant_us

STATE_VERSION = 1
"""First byte of an encoded history. A change of `Contact`, `Entry` or `_Stored` that old bytes do not fit raises it."""

CHUNK_ENTRIES = 32
"""How many entries leave the journal together: enough to make archiving rare, few enough to keep a state small."""


class StateVersionError(ValueError):
    """The bytes are of a version of the state that this program does not know."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"state version {version} is unknown to this program, which writes {STATE_VERSION}: "
            "run the version of Mediana that wrote it, or rebuild into a new namespace"
        )
        self.version = version


class ArchiveNeeded(RuntimeError):
    """`fold` was given an event that belongs before the journal, without the archive; see `needs_archive`."""


class Outcome(Enum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    TOO_LATE = "too-late"


class _Stored(Struct, array_like=True, gc=False):
    tip: Contact
    journal: list[Entry]
    newest_us: int
    base: bytes | None
    mark: bytes | None
    mark_length: int
    archive_count: int
    archived_until_us: int


_encode_stored = msgspec.msgpack.Encoder().encode
_decode_stored = msgspec.msgpack.Decoder(_Stored).decode
_encode_contact: Callable[[Contact], bytes] = msgspec.msgpack.Encoder().encode
_decode_contact = msgspec.msgpack.Decoder(Contact).decode


def _order(entry: Entry) -> tuple[int, int, int, str]:
    return entry.order


class ContactHistory:
    """One contact's history. Mutable; whoever holds it is its only writer."""

    __slots__ = (
        "_archive",
        "_archive_dirty",
        "_base",
        "_ids",
        "_journal",
        "_mark",
        "_mark_length",
        "_tip",
        "_versions",
        "archive_count",
        "archived_until_us",
        "newest_us",
    )

    def __init__(self) -> None:
        """A contact never heard of."""
        self._tip = Contact()
        self._journal: list[Entry] = []
        self._ids: dict[str, Entry] | None = None
        # Versions of the rules that the journal names, or more; found anew when unknown.
        self._versions: set[int] | None = None
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
        return self._journal

    @property
    def entries(self) -> list[Entry]:
        """All entries in event order, if the archive is attached or there is none; else those of the journal."""
        return [*(self._archive or ()), *self._journal]

    # --- bytes -------------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """The history's bytes, the archive apart: a version byte and one msgpack array."""
        stored = _Stored(
            self._tip,
            self._journal,
            self.newest_us,
            self._base,
            self._mark,
            self._mark_length,
            self.archive_count,
            self.archived_until_us,
        )
        return bytes((STATE_VERSION,)) + _encode_stored(stored)

    @classmethod
    def decode(cls, data: bytes) -> "ContactHistory":
        """The history of `encode`'s bytes. Raises `StateVersionError`, or `ValueError` when they are damaged."""
        if not data or data[0] != STATE_VERSION:
            raise StateVersionError(data[0] if data else -1)
        stored = _decode_stored(memoryview(data)[1:])
        history = cls()
        history._tip = stored.tip
        history._journal = stored.journal
        history.newest_us = stored.newest_us
        history._base = stored.base
        history._mark = stored.mark
        history._mark_length = stored.mark_length
        history.archive_count = stored.archive_count
        history.archived_until_us = stored.archived_until_us
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
        ids = self._ids
        if ids is None:
            ids = self._ids = {entry.id: entry for entry in self._journal}
        known = ids.get(event.id)
        if event.topic == "conversations" and at_us < self.newest_us - lateness_ms * 1000:
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
            step(self._tip, entry, book, deltas)
            self._journal.append(entry)
            ids[entry.id] = entry
            if self._versions is not None:
                self._versions.add(entry.rules)
        else:
            journal = [other for other in self._journal if other is not known]
            insort(journal, entry, key=_order)
            self._refold(journal, book, self.newest_us - lateness_ms * 1000, deltas)
        if at_us > self.newest_us:
            self.newest_us = at_us
        return Outcome.APPLIED

    def rule_versions(self) -> set[int]:
        """The versions of the rules that `fold` may ask its book for, besides the current one."""
        versions = self._versions
        if versions is None:
            versions = self._versions = {entry.rules for entry in self._journal}
        if self._archive is not None:
            return versions.union(entry.rules for entry in self._archive)
        return versions

    def needs_archive(self, event: BaseEvent, lateness_ms: int, at_us: int | None = None) -> bool:
        """Whether the event belongs before the journal, or changes which creation all of it is read with.

        A conversation event in time belongs there only where the lateness window was made longer meanwhile.
        """
        if self.archive_count == 0:
            return False
        if at_us is None:
            at_us = instant_us(event.occurred_at)
        if event.topic == "conversations" and at_us < self.newest_us - lateness_ms * 1000:
            return False  # too late: `fold` sets it aside
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
        horizon_us = self.newest_us - lateness_ms * 1000
        if self._mark is not None and self._journal[self._mark_length - 1].at_us < horizon_us:
            leaving = self._journal[: self._mark_length]
            del self._journal[: self._mark_length]
            chunks.append((self.archive_count, encode_entries(leaving)))
            self.archive_count += 1
            self.archived_until_us = leaving[-1].at_us
            self._base, self._mark, self._mark_length = self._mark, None, 0
            self._ids = self._versions = None
        if self._mark is None and len(self._journal) >= CHUNK_ENTRIES:
            self._mark, self._mark_length = _encode_contact(self._tip), len(self._journal)
        self._archive = None
        return chunks

    def _is_next(self, entry: Entry) -> bool:
        """Whether stepping the tip is all there is to do."""
        if not self._journal:
            return True
        if entry.kind == CREATED and self._tip.creation is None:
            return False  # what came before must be read again, with the creation known
        last = self._journal[-1]
        return last.at_us < entry.at_us or (last.at_us == entry.at_us and last.order < entry.order)

    def _refold(self, journal: list[Entry], book: RulesBook, horizon_us: int, deltas: Deltas) -> None:
        """Replace the journal: take away what the old one contributed, add what the new one does.

        Both are folded from the mark, if they differ after it only. Else the mark is set anew, where the entries past
        the lateness window end: so a contact whose events always come in some disorder has a short journal too.
        """
        change, before = Deltas(), Deltas()
        if self._mark is not None and self._is_as_before(journal, self._mark_length):
            mark, length = self._mark, self._mark_length
            tip = _decode_contact(mark)
            _fold_entries(_decode_contact(mark), self._journal[length:], book, before)
        else:
            mark, length = None, 0
            tip = self._start(journal)
            _fold_entries(self._start(self._journal), self._journal, book, before)
            settled = sum(entry.at_us < horizon_us for entry in journal)
            if settled >= CHUNK_ENTRIES:
                mark, length = _encode_contact(_fold_entries(tip, journal[:settled], book, change)), settled
        _fold_entries(tip, journal[length:], book, change)
        change.add(before, -1)
        change.clear_zeros()
        deltas.add(change, 1)
        self._tip, self._journal, self._ids, self._versions = tip, journal, None, None
        self._mark, self._mark_length = mark, length

    def _is_as_before(self, journal: list[Entry], length: int) -> bool:
        """Whether a new journal's first entries, and the creation they are read with, are those of the present one."""
        if self._base is None and _creation_in(journal) is not _creation_in(self._journal):
            return False
        return all(one is other for one, other in zip(journal[:length], self._journal[:length], strict=False))

    def _start(self, journal: list[Entry]) -> Contact:
        return _decode_contact(self._base) if self._base is not None else born_as(_creation_in(journal))

    def _fold_whole(self, entry: Entry, book: RulesBook, deltas: Deltas) -> Outcome:
        """Fold archive and journal, without and with the entry."""
        if self._archive is None:
            raise ArchiveNeeded("the event belongs before the journal: attach the contact's archive first")
        before = self._archive + self._journal
        same_id = next((other for other in before if other.id == entry.id), None)
        if same_id is not None and same_id.order <= entry.order:
            return Outcome.DUPLICATE
        after = [other for other in before if other is not same_id]
        insort(after, entry, key=_order)
        change, taken = Deltas(), Deltas()
        _fold_entries(born_as(_creation_in(before)), before, book, taken)
        contact = born_as(_creation_in(after))
        archived = sum(other.at_us <= self.archived_until_us for other in after)
        base = _encode_contact(_fold_entries(contact, after[:archived], book, change))
        self._tip = _fold_entries(contact, after[archived:], book, change)
        change.add(taken, -1)
        change.clear_zeros()
        deltas.add(change, 1)
        self._base, self._mark, self._mark_length = base, None, 0
        self._archive, self._journal, self._ids = after[:archived], after[archived:], None
        self._versions = None
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
    return next((entry for entry in entries if entry.kind == CREATED), None)


def _fold_entries(contact: Contact, entries: list[Entry], book: RulesBook, out: Deltas) -> Contact:
    for entry in entries:
        step(contact, entry, book, out)
    return contact
