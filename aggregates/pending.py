"""A history's entries while late events of a batch are inserted, before it is folded again.

Each late event moves what the later ones are compared with, so they are put in one by one, at the cost of a look-up
each; what they change is found once for all of them, at the cost of two folds.
"""

from bisect import bisect_left, insort

from aggregates.entry import CREATED, Entry


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
    """Entries in order; some of them new."""

    __slots__ = ("_by_id", "before", "conversations", "entries", "with_chunks")

    def __init__(self, entries: list[Entry], *, with_chunks: bool) -> None:
        """`entries`: those that the history has folded; `with_chunks` says whether all that it keeps are there."""
        self.before = entries
        self.entries = entries.copy()
        self.with_chunks = with_chunks
        self.conversations: set[str] = set()
        """Conversations that the new entries may have begun or ended."""
        self._by_id = {entry.id: entry for entry in entries if entry.id}

    def add_older(self, older: list[Entry]) -> None:
        """Put the entries of chunks before the others: an event belongs among them."""
        self.with_chunks = True
        self.before = older + self.before
        self.entries[:0] = older
        for entry in older:
            if entry.id:
                self._by_id.setdefault(entry.id, entry)

    def known(self, event_id: str) -> Entry | None:
        """The entry of an id, if there is one."""
        return self._by_id.get(event_id)

    def put(self, entry: Entry) -> None:
        """Put in an entry, in place of a known one of its id."""
        known = self._by_id.get(entry.id)
        if known is not None:
            index = bisect_left(self.entries, known.order, key=order_of)
            while self.entries[index] is not known:
                index += 1
            del self.entries[index]
        if self.entries and entry.order < self.entries[-1].order:
            insort(self.entries, entry, key=order_of)
        else:
            self.entries.append(entry)
        self._by_id[entry.id] = entry
