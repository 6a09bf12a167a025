"""Encodes a contact's entries as rows of small numbers and a table of words.

A row is a msgpack array: microseconds since the row before, a code (kind, flags, actor, hour and local day packed into
one integer), the event's id, and the indices of the other words in the table; what is rare, such as the numbers that an
answer was counted with, stands at the end and is left out where a row has none of it. Rows are only ever appended, so a
state is written without making all of them anew, and they are read only when an event comes late: a contact that comes
back after weeks costs its newest state.
"""

from typing import Any, Final

import msgspec

from aggregates.entry import STARTED, Entry
from aggregates.localtime import DAY_MS, EPOCH_DAY

_ACTORS: Final[list[str | None]] = [None, "contact", "advisor", "import", "bot", "system"]
_ACTOR_CODES: Final[dict[str | None, int]] = {actor: code for code, actor in enumerate(_ACTORS)}

_SEARCHED_ROWS: Final = 256
"""Up to how many rows an id is looked for in their bytes; beyond, the ids are remembered."""

JournalParts = tuple[int, int, int, list[str], list[bytes], bytes]
"""The first entry's instant, the last one's, how many there are, the words, the versions of the
settings, and the rows."""

_encode = msgspec.msgpack.Encoder().encode
_decode_rows = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode


class Journal:
    """Entries in event order."""

    __slots__ = (
        "_by_id",
        "_entries",
        "_indices",
        "_last",
        "_last_us",
        "_rows",
        "_start_us",
        "_words",
        "count",
        "versions",
    )

    def __init__(self, parts: JournalParts) -> None:
        """The journal of another's `parts`."""
        start_us, last_us, count, words, versions, rows = parts
        self.count = count
        self.versions = versions
        """The versions of the settings that the entries name; perhaps more."""
        self._start_us = start_us
        self._last_us = last_us
        self._words = words
        self._rows = bytearray(rows)
        self._indices: dict[str | None, int] | None = None
        self._by_id: dict[str, Entry] | None = None
        self._entries: list[Entry] | None = None if count else []
        self._last: Entry | None = None

    def parts(self) -> JournalParts:
        """What `Journal` makes an equal one of. Entries that were read are forgotten: they are most of the memory."""
        self._entries = None
        return self._start_us, self._last_us, self.count, self._words, self.versions, bytes(self._rows)

    def append(self, entry: Entry) -> None:
        """Add an entry behind all others."""
        at_us = entry.at_us
        if not self.count:
            self._start_us = self._last_us = at_us
        day = entry.day - EPOCH_DAY - at_us // (1000 * DAY_MS)  # -1, 0 or 1, by the zone
        code = entry.kind | entry.flags << 4 | _ACTOR_CODES[entry.actor] << 8 | entry.hour << 11
        if day:
            code |= (2 * day if day > 0 else -2 * day - 1) << 16
        versions = self.versions
        version = len(versions) - 1
        if version < 0 or versions[version] != entry.rules:
            version = self._version(entry.rules)
        indices = self._indices
        if indices is None:
            indices = self._indices = {word: index for index, word in enumerate(self._words, 1)}
            indices[None] = 0
        channel = indices.get(entry.channel)
        if channel is None:
            channel = self._learned(entry.channel)
        conversation = indices.get(entry.conversation)
        if conversation is None:
            conversation = self._learned(entry.conversation)
        advisor = indices.get(entry.advisor)
        if advisor is None:
            advisor = self._learned(entry.advisor)
        row: list[Any] = [at_us - self._last_us, code, entry.id, version, channel, conversation]
        if (
            entry.group is None
            and entry.reason is None
            and entry.origin is None
            and entry.to_conversation is None
            and not entry.sequence
            and entry.since_ms is None
            and not entry.conversations
        ):
            if entry.counted:
                row += (advisor, entry.counted)
            elif advisor:
                row.append(advisor)
        else:
            row += self._rest_of_row(entry, advisor)
        self._rows += _encode(row)
        self.count += 1
        self._last = entry
        self._last_us = at_us
        if self._by_id is not None:
            self._by_id[entry.id] = entry
        if self._entries is not None:
            self._entries.append(entry)

    @property
    def first_us(self) -> int:
        """The oldest entry's instant; of an empty journal any."""
        return self._start_us

    def last(self) -> Entry | None:
        """The newest entry."""
        if self._last is None and self.count:
            self._last = self.entries()[-1]
        return self._last

    @property
    def has_conversation_ids(self) -> bool:
        """Whether any conversation event still has its id."""
        return any(entry.id and entry.kind >= STARTED for entry in self.entries())

    def known(self, event_id: str) -> Entry | None:
        """The entry of an id, if there is one."""
        if self._by_id is None:
            # Most ids are new: they are looked for in the bytes before any row is read.
            if self.count <= _SEARCHED_ROWS and _encode(event_id) not in self._rows:
                return None
            self._by_id = {entry.id: entry for entry in self.entries() if entry.id}
        return self._by_id.get(event_id)

    def entries(self) -> list[Entry]:
        """All entries, in order; read only. Raises `ValueError` when the bytes are damaged."""
        if self._entries is None:
            self._entries = self._read()
        return self._entries

    def _read(self) -> list[Entry]:
        entries: list[Entry] = []
        at_us = self._start_us
        words = self._words
        for row in _decode_rows(_array_head(self.count) + self._rows):
            width = len(row)
            code: int = row[1]
            at_us += row[0]
            day = code >> 16
            day = day >> 1 if not day & 1 else -((day + 1) >> 1)
            group, to_conversation, origin = row[9] if width > 9 else (0, 0, 0)
            sequence, since_ms, since_day, conversations = row[10:14] if width > 10 else (0, None, 0, ())
            entries.append(
                Entry(
                    at_us,
                    sequence,
                    code & 15,
                    row[2],
                    self.versions[row[3]],
                    day + EPOCH_DAY + at_us // (1000 * DAY_MS),
                    code >> 11 & 31,
                    code >> 4 & 15,
                    _ACTORS[code >> 8 & 7],
                    _word(words, row[4]),
                    _word(words, row[5]),
                    _word(words, row[6]) if width > 6 else None,
                    _word(words, group),
                    _word(words, to_conversation),
                    _word(words, origin),
                    _word(words, row[8]) if width > 8 else None,
                    since_ms,
                    since_day,
                    tuple((conversation, channel) for conversation, channel in conversations),
                    tuple(row[7]) if width > 7 else (),
                )
            )
        return entries

    def _rest_of_row(self, entry: Entry, advisor: int) -> list[Any]:
        """What stands in a row behind what all rows have, of an entry that has more than an advisor and numbers."""
        moves = [self._learned(word) for word in (entry.group, entry.to_conversation, entry.origin)]
        reason = self._learned(entry.reason)
        rare = _rare(entry)
        if rare:
            return [advisor, entry.counted, reason, moves, *rare]
        if any(moves):
            return [advisor, entry.counted, reason, moves]
        if reason:
            return [advisor, entry.counted, reason]
        return [advisor, entry.counted] if entry.counted else [advisor]

    def _learned(self, word: str | None) -> int:
        """The index of a word; a new one is given one."""
        assert self._indices is not None
        index = self._indices.get(word)
        if index is None:
            assert word is not None
            self._words.append(word)
            index = self._indices[word] = len(self._words)
        return index

    def _version(self, version: bytes) -> int:
        if version in self.versions:
            return self.versions.index(version)
        self.versions.append(version)
        return len(self.versions) - 1


def journal_of(entries: list[Entry]) -> Journal:
    """A journal of these entries, which are in order."""
    journal = Journal((0, 0, 0, [], [], b""))
    for entry in entries:
        journal.append(entry)
    return journal


def _rare(entry: Entry) -> list[Any]:
    """What few entries have: a sequence, what was absorbed. Empty where all of it is missing."""
    if entry.sequence or entry.since_ms is not None or entry.conversations:
        return [entry.sequence, entry.since_ms, entry.since_day, entry.conversations]
    return []


def _word(words: list[str], index: int) -> str | None:
    return words[index - 1] if index else None


def _array_head(count: int) -> bytes:
    """What msgpack writes before an array of so many items."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")
