"""The compiled fold: what `native/` does of a batch, in front of the fold in Python, which does the rest.

Nearly every event is newer than all that is known of its contact, in ordinary JSON, under settings whose days are
known. Contacts that have only such events in a batch are folded by the library, from stored bytes to stored bytes;
all others are left to Python, whole. Both give the same bytes, so which of them folded a contact shows nowhere.
"""

import contextlib
import ctypes
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any

import msgspec

from aggregates.business import BusinessClock
from aggregates.counters import sums
from aggregates.history import Outcome
from aggregates.rules import Rules, RulesBook
from aggregates.sketch import upper_bounds_ms
from schemas.events import EVENT_TYPES, type_name
from streams.fold.batch_fold import Folded
from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.records.columns import ABSENT, ACCOUNT, SPANS, ScannedRun, Taken, sizes_of
from streams.records.decoded import UNKNOWN_US, Arrival
from streams.redis.keys import contact_key

_FOLDED, _PYTHON, _ASKED, _LEFT_OUT = range(4)
"""What became of a contact."""

_OFFSET, _REASON, _CLOCK = range(3)
"""What is asked."""

_NO_CONTACT = 0xFFFF_FFFF
"""Of a record in which the library has read no event, in place of its contact's number."""

_MOST_QUESTIONS = 8
"""How often a batch may ask for more of the settings. What is answered is known for good, so few do."""

_TYPES = [type_name(event) for event in EVENT_TYPES]

_Answer = tuple[
    bytes,
    list[bytes],
    list[tuple[int, int, str, int, int, int]],
    list[tuple[int, int, list[bytes], list[bytes]]],
    list[int],
]
"""Per contact what became of it; states; questions (account, kind, reason, clock, first day, last day); per account
and day fields and deltas; how many events of each type."""

_encode = msgspec.msgpack.Encoder().encode
_decode_answer = msgspec.msgpack.Decoder(_Answer).decode
_decode_columns = msgspec.msgpack.Decoder(tuple[int, bytes, bytes, bytes, bytes, bytes]).decode
_decode_contacts = msgspec.msgpack.Decoder(tuple[list[bytes], list[int], list[bytes]]).decode
_decode_sums = msgspec.msgpack.Decoder(list[bytes]).decode


class CompiledFold:
    """Scans records, folds contacts and adds counters by the library; one per worker."""

    def __init__(self, library: ctypes.CDLL, cache_accounts: int) -> None:
        """`cache_accounts`: of how many accounts settings are kept in the library's form."""
        self.library = library
        library.mediana_rules.restype = ctypes.c_void_p
        self.upper_bounds = array("q", upper_bounds_ms())
        self._rules: OrderedDict[tuple[str, bytes], _CompiledRules] = OrderedDict()
        self._limit = cache_accounts

    # --- records -----------------------------------------------------------------------------------------------------

    def run_of(self, topic: int, records: Sequence[ConsumerRecord]) -> ScannedRun:
        """A run of a partition's records, which are one or more."""
        parts = [part for record in records for part in (record.key, record.value)]
        data, ends = _joined([part or b"" for part in parts])
        starts = array("I", (0, *ends[:-1]))
        spans = array("I", bytes(4 * SPANS * len(records)))
        for which in range(2):
            spans[2 * which :: SPANS] = starts[which::2]
            spans[2 * which + 1 :: SPANS] = ends[which::2]
        for place in [place for place, part in enumerate(parts) if part is None]:
            first = SPANS * (place // 2) + 2 * (place % 2)
            spans[first : first + 2] = ABSENT
        # Until the library has looked, a record is one that Python must look at.
        for which in range(2):
            spans[ACCOUNT + which :: SPANS] = ABSENT[which : which + 1] * len(records)
        timestamps_ms = array("q", [record.timestamp for record in records])
        instants_us = array("q", [UNKNOWN_US]) * len(records)
        self.library.mediana_scan(
            ctypes.c_uint8(topic),
            data,
            ctypes.c_size_t(len(data)),
            ctypes.c_size_t(len(records)),
            _address(spans),
            _address(timestamps_ms),
            _address(instants_us),
        )
        partition = TopicPartition(records[0].topic, records[0].partition)
        offsets = array("q", [record.offset for record in records])
        return ScannedRun(topic, partition, data, spans, offsets, timestamps_ms, instants_us, sizes_of(records))

    def read(
        self, topic: int, partition: TopicPartition, data: bytes, from_offset: int
    ) -> tuple[ScannedRun | None, int] | None:
        """The records from an offset on in what a broker sent, if there are any, and the offset after all of them.

        `None` where the client library must read it: what is compressed, of a transaction, of an old format, damaged.
        """
        found: tuple[int, bytes, bytes, bytes, bytes, bytes] | None = self.called(
            _decode_columns,
            self.library.mediana_read,
            ctypes.c_uint8(topic),
            data,
            ctypes.c_size_t(len(data)),
            ctypes.c_int64(from_offset),
        )
        if found is None:
            return None
        next_offset, spans, *columns = found
        offsets, timestamps_ms, instants_us, sizes = [array("q", column) for column in columns]
        if not offsets:
            return None, next_offset
        run = ScannedRun(topic, partition, data, array("I", spans), offsets, timestamps_ms, instants_us, sizes)
        return run, next_offset

    # --- a batch -----------------------------------------------------------------------------------------------------

    def contacts(self, records: Taken) -> "ScannedBatch":
        """Find the contacts of a batch whose runs are all of this library."""
        return ScannedBatch(self, records)

    def sums(self, fields: Iterable[bytes], held: Iterable[bytes], deltas: Iterable[bytes]) -> list[bytes]:
        """As `aggregates.counters.sums`, which says what is wrong where the library has no answer."""
        fields, held, deltas = list(fields), list(held), list(deltas)
        before, before_ends = _joined(held)
        change, change_ends = _joined(deltas)
        totals: list[bytes] | None = self.called(
            _decode_sums,
            self.library.mediana_sums,
            ctypes.c_size_t(len(fields)),
            before,
            _address(before_ends),
            change,
            _address(change_ends),
        )
        return sums(fields, held, deltas) if totals is None else totals

    def called(self, decode: Callable[[Any], Any], function: Any, *arguments: object) -> Any:
        """What a function of the library answers, decoded; `None` when it can say nothing."""
        data, length = ctypes.c_void_p(), ctypes.c_size_t()
        if function(*arguments, ctypes.byref(data), ctypes.byref(length)) != 0:
            return None
        try:
            # Copied: an array type of this length, to look at it in place, would be a new class for each answer.
            return decode(ctypes.string_at(data, length.value))
        finally:
            self.library.mediana_free(data, length)

    def rules_of(self, rules: Rules) -> "_CompiledRules":
        """An account's settings in the library's form."""
        key = (rules.settings.account_id, rules.version)
        compiled = self._rules.get(key)
        if compiled is None:
            compiled = self._rules[key] = _CompiledRules(self.library, rules)
            # Those of the batch at hand are held by the caller, however many they are.
            while len(self._rules) > max(self._limit, 1):
                self._rules.popitem(last=False)
        else:
            self._rules.move_to_end(key)
        return compiled


class ScannedBatch:
    """A batch's records in the library's form."""

    def __init__(self, compiled: CompiledFold, records: Taken) -> None:
        self._compiled = compiled
        self._contact_of = array("I", bytes(4 * len(records)))
        self._table, self._names, self._held = _table(records)
        found: tuple[list[bytes], list[int], list[bytes]] | None = compiled.called(
            _decode_contacts,
            compiled.library.mediana_contacts,
            ctypes.byref(self._table),
            ctypes.c_size_t(len(records)),
            _address(self._names),
            _address(self._contact_of),
        )
        if found is None:
            raise MemoryError("the compiled fold could not find the contacts of a batch")
        names, account_of, keys = found
        self._account_of = array("I", account_of)
        self._accounts = [name.decode() for name in names]
        prefixes = [contact_key(account_id, "") for account_id in self._accounts]
        # A record's key is its contact's id, or it would not have passed.
        self._contacts = [prefixes[account] + key for account, key in zip(account_of, keys, strict=True)]
        self.accounts = dict(zip(self._contacts, map(self._accounts.__getitem__, account_of), strict=True))
        """The contacts of the events that the library has read, each with its account."""

    def fold(
        self,
        states: Mapping[bytes, bytes],
        books: Mapping[str, RulesBook],
        lateness_ms: int,
        folded: Folded,
        events: Mapping[int, Arrival],
    ) -> list[int]:
        """Fold whole contacts into `folded`. The places of the events of those that are Python's, in order.

        `events` are those that only Python could read, by their place: their contacts are Python's.
        """
        rules = [self._compiled.rules_of(books[account_id].current) for account_id in self._accounts]
        stored, ends = _joined([states[contact] for contact in self._contacts])
        pythons = {event.contact for event in events.values()}
        became = bytes(_PYTHON if contact in pythons else _ASKED for contact in self._contacts)
        for _ in range(_MOST_QUESTIONS):
            if _ASKED not in became:
                break
            became = self._fold_once(became, stored, ends, rules, lateness_ms, folded)
        left = {contact for contact, verdict in enumerate(became) if verdict != _FOLDED}
        if not left and not events:
            return []
        places = [place for place, contact in enumerate(self._contact_of) if contact in left]
        return sorted((*places, *events))

    def contact_at(self, place: int) -> bytes | None:
        """The contact of the record at a place, if the library has read an event there."""
        contact = self._contact_of[place]
        return None if contact == _NO_CONTACT else self._contacts[contact]

    def _fold_once(
        self,
        before: bytes,
        stored: bytes,
        ends: "array[int]",
        rules: Sequence["_CompiledRules"],
        lateness_ms: int,
        folded: Folded,
    ) -> bytes:
        """Fold the contacts that asked before; what became of each. What they ask for now, the library knows then."""
        left_out = bytes(verdict != _ASKED for verdict in before)
        handles = array("Q", [compiled.handle for compiled in rules])
        upper_bounds = self._compiled.upper_bounds
        answer: _Answer | None = self._compiled.called(
            _decode_answer,
            self._compiled.library.mediana_fold,
            ctypes.byref(self._table),
            ctypes.c_size_t(len(self._names)),
            _address(self._names),
            _address(self._contact_of),
            ctypes.c_size_t(len(before)),
            stored,
            _address(ends),
            _address(self._account_of),
            left_out,
            ctypes.c_size_t(len(rules)),
            _address(handles),
            _address(upper_bounds),
            ctypes.c_size_t(len(upper_bounds)),
            ctypes.c_int64(lateness_ms),
        )
        if answer is None:
            return before.replace(bytes([_ASKED]), bytes([_PYTHON]))
        became, new_states, questions, days, types = answer
        done = [contact for contact, verdict in zip(self._contacts, became, strict=True) if verdict == _FOLDED]
        folded.states.update(zip(done, new_states, strict=True))
        for account, ordinal, fields, deltas in days:
            folded.add_day((ordinal, self._accounts[account]), dict(zip(fields, deltas, strict=True)))
        folded.types.update({name: count for name, count in zip(_TYPES, types, strict=True) if count})
        folded.outcomes[Outcome.APPLIED] += sum(types)
        for account, about in groupby(sorted(questions), key=itemgetter(0)):
            rules[account].answer([question[1:] for question in about])
        return bytes(now if now != _LEFT_OUT else was for was, now in zip(before, became, strict=True))


class _RunTable(ctypes.Structure):
    """Runs as the library takes them; see `RunTable` in `native/src/lib.rs`."""

    _fields_ = (
        ("count", ctypes.c_size_t),
        ("first", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
        ("sizes", ctypes.c_void_p),
        ("spans", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
    )


def _table(records: Taken) -> tuple[_RunTable, "array[int]", object]:
    """The runs of a batch, the names of its records by the runs' places in that table, and what must live meanwhile.

    The table has a row per run of the batch: a run's own number tells how many fetches came before it, and a batch must
    cost the same on every day of a session.
    """
    columns = [array("Q", bytes(8 * len(records.runs))) for _ in range(4)]
    data, sizes, spans, lengths = columns
    shifts: dict[int, int] = {}
    for place, (number, run) in enumerate(records.runs.items()):
        assert isinstance(run, ScannedRun)
        data[place], sizes[place] = run.address, len(run.data)
        spans[place], lengths[place] = run.spans.buffer_info()
        shifts[number] = place - number << 32
    names = array("Q", [name + shifts[name >> 32] for name in records.names])
    return _RunTable(len(data), 0, *map(_address, columns)), names, columns


class _CompiledRules:
    """One version of an account's settings in the library; it is told what it needs of them when it asks."""

    def __init__(self, library: ctypes.CDLL, rules: Rules) -> None:
        self.library = library
        self._rules = rules
        default, of_advisors = rules.clocks()
        clocks = {id(clock): clock for clock in (default, *of_advisors.values()) if clock is not None}
        self._clocks: list[BusinessClock] = list(clocks.values())
        places = {id(clock): place for place, clock in enumerate(self._clocks)}
        data = _encode(
            (
                rules.version,
                rules.first_response_target_ms,
                rules.response_target_ms,
                sorted(rules.effective_channels),
                places.get(id(default)),
                {advisor_id: places.get(id(clock)) for advisor_id, clock in of_advisors.items()},
            )
        )
        self.handle: int = library.mediana_rules(data, ctypes.c_size_t(len(data)))
        if not self.handle:
            raise MemoryError("the compiled fold could not take in an account's settings")

    def __del__(self) -> None:
        handle = getattr(self, "handle", 0)
        if handle:
            self.library.mediana_rules_free(ctypes.c_void_p(handle))

    def answer(self, questions: Iterable[tuple[int, str, int, int, int]]) -> None:
        """Tell the library what it asked for: (kind, reason, clock, first day, last day)."""
        offsets: dict[int, tuple[int, int, int]] = {}
        reasons: dict[str, bool] = {}
        open_days: dict[tuple[int, int], tuple[int, list[int]]] = {}
        for kind, reason, clock, first, last in questions:
            # What has no answer is asked again, and then left to Python, which sets the event aside.
            with contextlib.suppress(ValueError, OverflowError):
                if kind == _OFFSET:
                    offsets[first] = self._rules.calendar.offsets_of_day(first)
                elif kind == _REASON:
                    reasons[reason] = self._rules.snoozes(reason)
                else:
                    for day in range(first, last + 1):
                        total_ms, spans = self._clocks[clock].open_day(day)
                        open_days[clock, day] = (total_ms, [instant for span in spans for instant in span])
        data = _encode(
            (
                [(day, *offsets_of_day) for day, offsets_of_day in offsets.items()],
                list(reasons.items()),
                [(*clock_and_day, *is_open) for clock_and_day, is_open in open_days.items()],
            )
        )
        self.library.mediana_rules_learn(ctypes.c_void_p(self.handle), data, ctypes.c_size_t(len(data)))


def _joined(parts: Sequence[bytes]) -> tuple[bytes, "array[int]"]:
    """All parts as one, and where each ends."""
    return b"".join(parts), array("I", accumulate(map(len, parts)))


def _address(numbers: "array[int]") -> ctypes.c_void_p:
    return ctypes.c_void_p(numbers.buffer_info()[0])
