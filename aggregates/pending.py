"""The entries that a history will have once it is folded again, while a batch's late events are put among them.

Each late event moves what the later ones are compared with, so they are put in one by one, at the cost of a look-up
each; what they change is found once for all of them, at the cost of two folds.
"""

from bisect import bisect_left, insort

from aggregates.entry import CREATED, STARTED, Entry


def order_of(entry: Entry) -> tuple[int, int, int, str]:
    """For sorting entries."""
    return entry.order


def creation_in(entries: list[Entry]) -> Entry | None:
    """The first creation of entries in order."""
    for entry in entries:
        if entry.kind == CREATED:
            return entry
    return None


class Pending:
    """Entries of a journal, or of archive and journal, in order; some of them new."""

    __slots__ = ("_by_id", "_by_id_archived", "_is_parted", "conversations", "creation", "entries", "has_archive")

    def __init__(self, journal: list[Entry], creation: Entry | None) -> None:
        """`creation`: the one that the journal is read with."""
        self.entries = journal.copy()
        self.creation = creation
        self.has_archive = False
        self.conversations: set[str] = set()
        """Conversations that the new entries may have begun or ended."""
        self._by_id = {entry.id: entry for entry in journal}
        self._by_id_archived: dict[str, list[Entry]] = {}
        self._is_parted = False

    def add_archive(self, archive: list[Entry]) -> None:
        """Put the contact's archive before the journal: an event belongs there."""
        self.has_archive = True
        self.entries[:0] = archive
        for entry in archive:
            # No ids are known of archived conversation events: those in chunks of earlier builds make no difference.
            if entry.kind < STARTED:
                self._by_id_archived.setdefault(entry.id, []).append(entry)

    def known(self, event_id: str) -> Entry | None:
        """The journal's entry of an id."""
        return self._by_id.get(event_id)

    def known_anywhere(self, event_id: str) -> Entry | None:
        """The entry of an id in the archive, else in the journal."""
        archived = self._by_id_archived.get(event_id)
        return archived[0] if archived else self._by_id.get(event_id)

    def put(self, entry: Entry, known: Entry | None, archived_until_us: int = -1) -> None:
        """Put in an entry, in place of a known one of its id."""
        if self.has_archive and not self._is_parted:
            self._part(archived_until_us)
        if known is not None:
            self._take_out(known)
        if self.entries and entry.order < self.entries[-1].order:
            insort(self.entries, entry, key=order_of)
        else:
            self.entries.append(entry)
        if self.has_archive and entry.at_us <= archived_until_us:
            insort(self._by_id_archived.setdefault(entry.id, []), entry, key=order_of)
        else:
            self._by_id[entry.id] = entry
        creation = self.creation
        if entry.kind == CREATED and (creation is None or entry.order < creation.order):
            self.creation = entry
        elif known is not None and known is creation:
            self.creation = creation_in(self.entries)

    def _take_out(self, known: Entry) -> None:
        place = bisect_left(self.entries, known.order, key=order_of)
        while self.entries[place] is not known:
            place += 1
        del self.entries[place]
        archived = self._by_id_archived.get(known.id)
        if archived and archived[0] is known:
            del archived[0]
        else:
            del self._by_id[known.id]

    def _part(self, archived_until_us: int) -> None:
        """What the archive reaches to is the archive's from now on: a journal may have begun in the same instant."""
        self._is_parted = True
        for entry in [entry for entry in self._by_id.values() if entry.at_us <= archived_until_us]:
            del self._by_id[entry.id]
            if entry.kind < STARTED:
                self._by_id_archived.setdefault(entry.id, []).append(entry)
