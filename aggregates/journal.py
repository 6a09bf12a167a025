"""A contact's entries in few bytes: rows of small numbers over a table of the words they name.

A row is a msgpack array: milliseconds since the row before, a code (kind, flags, actor, hour and local day packed into
one integer), the event's id, and the places of the other words in the table; what is rare stands at the end and is
left out where a row has none of it. Rows are only ever appended, so a state is written without making all of them
anew, and they are read only when an event comes late: a contact that comes back after months costs its newest state.

A chunk of the archive is a journal too, deflated, and without the ids of conversation events: nothing that old is
compared with them any more, and within the archive the order is settled.
"""

from bisect import bisect_left
from typing import Any, Final

import msgspec

from aggregates.deflate import deflated, inflated
from aggregates.entry import STARTED, Entry
from aggregates.localtime import DAY_MS, EPOCH_DAY

_ACTORS: Final[list[str | None]] = [None, "contact", "advisor", "import", "bot", "system"]
_ACTOR_CODES: Final[dict[str | None, int]] = {actor: code for code, actor in enumerate(_ACTORS)}

_SEARCHED_ROWS: Final = 64
_SEARCHES: Final = 32
"""An id is looked for in the rows' bytes; in more than so many rows only so often, then entries are found by id."""

JournalParts = tuple[int, int, int, list[str], list[int], bytes]

_REST_US: Final = 10
"""Where in a row microseconds stand."""

_encode = msgspec.msgpack.Encoder().encode
_decode_rows = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode
_decode_chunk = msgspec.msgpack.Decoder(JournalParts).decode


class Journal:
    """Entries in event order."""

    __slots__ = (
        "_by_id",
        "_entries",
        "_last",
        "_last_ms",
        "_places",
        "_rows",
        "_searches",
        "_start_ms",
        "_words",
        "count",
        "versions",
    )

    def __init__(self, parts: JournalParts) -> None:
        """The journal of another's `parts`."""
        start_ms, last_ms, count, words, versions, rows = parts
        self.count = count
        self.versions = versions
        """The versions of the rules that the entries name; perhaps more."""
        self._start_ms = start_ms
        self._last_ms = last_ms
        self._words = words
        self._rows = bytearray(rows)
        self._places: dict[str | None, int] | None = None
        self._by_id: dict[str, Entry] | None = None
        self._searches = 0
        self._entries: list[Entry] | None = None if count else []
        self._last: Entry | None = None

    def parts(self) -> JournalParts:
        """From when the first row's milliseconds count, the last entry's, how many there are, the words, the versions
        of the rules, and the rows. Entries that were read are forgotten: they would be most of a cache's memory.
        """
        self._entries = self._by_id = None
        return self._start_ms, self._last_ms, self.count, self._words, self.versions, bytes(self._rows)

    def append(self, entry: Entry) -> None:
        """Add an entry behind all others."""
        at_us = entry.at_us
        at_ms = at_us // 1000
        day = entry.day - EPOCH_DAY - at_ms // DAY_MS  # -1, 0 or 1, by the zone
        code = entry.kind | entry.flags << 4 | _ACTOR_CODES[entry.actor] << 8 | entry.hour << 11
        if day:
            code |= (2 * day if day > 0 else -2 * day - 1) << 16
        versions = self.versions
        version = len(versions) - 1
        if version < 0 or versions[version] != entry.rules:
            version = self._version(entry.rules)
        places = self._places
        if places is None:
            places = self._places = _places_of(self._words)
        try:
            row = [at_ms - self._last_ms, code, entry.id, version, places[entry.channel], places[entry.conversation]]
            moves = entry.group is not None or entry.to_conversation is not None
            if moves or entry.origin is not None or entry.sequence or at_us % 1000:
                row += [
                    places[entry.advisor],
                    places[entry.group],
                    places[entry.to_conversation],
                    places[entry.origin],
                    at_us % 1000,
                    entry.sequence,
                ]
            elif entry.advisor is not None:
                row.append(places[entry.advisor])
        except KeyError:
            self._learn(entry, places)
            self.append(entry)
            return
        self._rows += _encode(row)
        self.count += 1
        self._last = entry
        self._last_ms = at_ms
        if self._by_id is not None:
            self._by_id[entry.id] = entry
        if self._entries is not None:
            self._entries.append(entry)

    def last(self) -> Entry | None:
        """The newest entry."""
        if self._last is None and self.count:
            self._last = self.entries()[-1]
        return self._last

    def known(self, event_id: str) -> Entry | None:
        """The entry of this id, if there is one."""
        if self._by_id is not None:
            return self._by_id.get(event_id)
        if self.count > _SEARCHED_ROWS:
            self._searches += 1
            if self._searches > _SEARCHES:
                self._by_id = {entry.id: entry for entry in self.entries()}
                return self._by_id.get(event_id)
        if _encode(event_id) not in self._rows:
            return None
        if self.count > _SEARCHED_ROWS:
            self._by_id = {entry.id: entry for entry in self.entries()}
            return self._by_id.get(event_id)
        for entry in self.entries():
            if entry.id == event_id:
                return entry
        return None

    def count_from(self, at_us: int, most: int) -> int:
        """How many entries happened then or later, counted up to `most`."""
        if self._entries is not None:
            return min(most, self.count - bisect_left(self._entries, at_us, key=_instant))
        count, at_ms, from_ms = 0, self._last_ms, at_us // 1000
        # Milliseconds are told without making entries of rows; the last of them may have begun before.
        for row in reversed(_decode_rows(_array_head(self.count) + self._rows)):
            if at_ms < from_ms or count >= most:
                break
            rest_us: int = row[_REST_US] if len(row) > _REST_US else 0
            count += at_ms * 1000 + rest_us >= at_us
            at_ms -= row[0]
        return count

    def entries(self) -> list[Entry]:
        """All entries, in order; read only. Raises `ValueError` when the bytes are damaged."""
        if self._entries is None:
            self._entries = self._read()
        return self._entries

    def _read(self) -> list[Entry]:
        entries: list[Entry] = []
        at_ms = self._start_ms
        words = self._words
        for row in _decode_rows(_array_head(self.count) + self._rows):
            width = len(row)
            step_ms: int = row[0]
            code: int = row[1]
            at_ms += step_ms
            wide = width > _REST_US
            day = code >> 16
            day = day >> 1 if not day & 1 else -((day + 1) >> 1)
            rest_us: int = row[_REST_US] if wide else 0
            sequence: int = row[11] if wide else 0
            entries.append(
                Entry(
                    at_ms * 1000 + rest_us,
                    sequence,
                    code & 15,
                    row[2],
                    self.versions[row[3]],
                    day + EPOCH_DAY + at_ms // DAY_MS,
                    code >> 11 & 31,
                    code >> 4 & 15,
                    _ACTORS[code >> 8 & 7],
                    _word(words, row[4]),
                    _word(words, row[5]),
                    _word(words, row[6]) if width > 6 else None,
                    _word(words, row[7]) if wide else None,
                    _word(words, row[8]) if wide else None,
                    _word(words, row[9]) if wide else None,
                )
            )
        return entries

    def _learn(self, entry: Entry, places: dict[str | None, int]) -> None:
        """Give each of the entry's words a place."""
        words = (entry.channel, entry.conversation, entry.advisor, entry.group, entry.to_conversation, entry.origin)
        for word in words:
            if word not in places:
                assert word is not None
                self._words.append(word)
                places[word] = len(self._words)

    def _version(self, version: int) -> int:
        if version in self.versions:
            return self.versions.index(version)
        self.versions.append(version)
        return len(self.versions) - 1


def _instant(entry: Entry) -> int:
    return entry.at_us


def journal_of(entries: list[Entry], start_ms: int = 0) -> Journal:
    """A journal of these entries, which are in order."""
    journal = Journal((start_ms, start_ms, 0, [], [], b""))
    for entry in entries:
        journal.append(entry)
    return journal


def encode_entries(entries: list[Entry]) -> bytes:
    """The bytes of a chunk of an archive. The ids of conversation events are left out."""
    return deflated(_encode(journal_of([_settled(entry) for entry in entries]).parts()))


def decode_chunk(data: bytes) -> Journal:
    """A chunk, whose entries are not read yet. Raises `ValueError` when the bytes are damaged."""
    return Journal(_decode_chunk(inflated(data)))


def decode_entries(data: bytes) -> list[Entry]:
    """The entries of a chunk; the id of a conversation event is empty, but in chunks of earlier builds.

    Raises `ValueError` when the bytes are damaged.
    """
    return decode_chunk(data).entries()


def _settled(entry: Entry) -> Entry:
    return entry if entry.kind < STARTED else msgspec.structs.replace(entry, id="")


def _places_of(words: list[str]) -> dict[str | None, int]:
    """Places count from 1; 0 is none."""
    places: dict[str | None, int] = {None: 0}
    for word in words:
        places[word] = len(places)
    return places


def _word(words: list[str], place: int) -> str | None:
    return words[place - 1] if place else None


def _array_head(count: int) -> bytes:
    """What msgpack writes before an array of so many items."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")
