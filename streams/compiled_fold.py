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
from streams.arrivals import UNKNOWN_US, Arrival
from streams.folding import Folded, accounts_of
from streams.kafka import ConsumerRecord

_FOLDED, _PYTHON, _ASKED = range(3)
"""What became of a contact."""

_OFFSET, _REASON, _CLOCK = range(3)
"""What is asked."""

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
_decode_names = msgspec.msgpack.Decoder(list[str]).decode
_decode_sums = msgspec.msgpack.Decoder(list[bytes]).decode


class CompiledFold:
    """Scans records, folds contacts and adds counters by the library; one per worker."""

    def __init__(self, library: ctypes.CDLL, cache_accounts: int) -> None:
        """`cache_accounts`: of how many accounts settings are kept in the library's form."""
        self._library = library
        library.mediana_rules.restype = ctypes.c_void_p
        self._upper_bounds = array("q", upper_bounds_ms())
        self._rules: OrderedDict[tuple[str, int], _CompiledRules] = OrderedDict()
        self._limit = cache_accounts

    # --- records -----------------------------------------------------------------------------------------------------

    def scan(self, topic: int, records: Sequence[ConsumerRecord]) -> Iterable[tuple[int, str]]:
        """Per record the event's instant, or `UNKNOWN_US` for Python to decode it, and its account."""
        count = len(records)
        # What is missing is no event's key or value, and left to Python like all that is not certain.
        keys, key_ends = _joined([record.key or b"" for record in records])
        values, value_ends = _joined([record.value or b"" for record in records])
        timestamps = array("q", [record.timestamp for record in records])
        instants = array("q", bytes(8 * count))
        account_of = array("I", bytes(4 * count))
        names: list[str] | None = self._called(
            _decode_names,
            self._library.mediana_scan,
            ctypes.c_uint8(topic),
            ctypes.c_size_t(count),
            keys,
            _address(key_ends),
            values,
            _address(value_ends),
            _address(timestamps),
            _address(instants),
            _address(account_of),
        )
        if names is None:
            return [(UNKNOWN_US, "")] * count
        # Where there is no event there is no account either, but the place of one: 0.
        names = names or [""]
        return zip(instants, map(names.__getitem__, account_of), strict=True)

    # --- a batch -----------------------------------------------------------------------------------------------------

    def fold(
        self,
        events: Sequence[Arrival],
        states: Mapping[bytes, bytes],
        books: Mapping[str, RulesBook],
        lateness_ms: int,
        folded: Folded,
    ) -> list[Arrival]:
        """Fold whole contacts into `folded`. The events of those that are Python's, in order."""
        left: set[bytes] = set()
        asked: set[bytes] = set()
        waiting = events
        for _ in range(_MOST_QUESTIONS):
            asked = self._fold_once(waiting, states, books, lateness_ms, folded, left)
            if not asked:
                break
            waiting = [event for event in waiting if event.contact in asked]
        left |= asked
        return [event for event in events if event.contact in left] if left else []

    def _fold_once(
        self,
        events: Sequence[Arrival],
        states: Mapping[bytes, bytes],
        books: Mapping[str, RulesBook],
        lateness_ms: int,
        folded: Folded,
        left: set[bytes],
    ) -> set[bytes]:
        """The contacts that ask for more of the settings, which the library knows from now on."""
        accounts = accounts_of(events)
        contacts = list(accounts)
        place_of_contact = {contact: place for place, contact in enumerate(contacts)}
        place_of_account = {account_id: place for place, account_id in enumerate(dict.fromkeys(accounts.values()))}
        rules = [self._rules_of(books[account_id].current) for account_id in place_of_account]
        values, value_ends = _joined([event.record.value for event in events])
        stored, state_ends = _joined([states[contact] for contact in contacts])
        contact_of = array("I", [place_of_contact[event.contact] for event in events])
        account_of = array("I", [place_of_account[account_id] for account_id in accounts.values()])
        handles = array("Q", [compiled.handle for compiled in rules])
        answer: _Answer | None = self._called(
            _decode_answer,
            self._library.mediana_fold,
            ctypes.c_size_t(len(events)),
            values,
            _address(value_ends),
            _address(contact_of),
            ctypes.c_size_t(len(contacts)),
            stored,
            _address(state_ends),
            _address(account_of),
            ctypes.c_size_t(len(rules)),
            _address(handles),
            _address(self._upper_bounds),
            ctypes.c_size_t(len(self._upper_bounds)),
            ctypes.c_int64(lateness_ms),
        )
        if answer is None:
            left.update(contacts)
            return set()
        became, new_states, questions, days, types = answer
        done = iter(new_states)
        asked = set()
        for contact, verdict in zip(contacts, became, strict=True):
            if verdict == _FOLDED:
                folded.states[contact] = next(done)
            elif verdict == _ASKED:
                asked.add(contact)
            else:
                left.add(contact)
        names = list(place_of_account)
        for account, ordinal, fields, deltas in days:
            folded.add_day((ordinal, names[account]), dict(zip(fields, deltas, strict=True)))
        folded.types.update({name: count for name, count in zip(_TYPES, types, strict=True) if count})
        folded.outcomes[Outcome.APPLIED] += sum(types)
        for account, about in groupby(sorted(questions), key=itemgetter(0)):
            rules[account].answer([question[1:] for question in about])
        return asked

    def sums(self, fields: Iterable[bytes], held: Iterable[bytes], deltas: Iterable[bytes]) -> list[bytes]:
        """As `aggregates.counters.sums`, which says what is wrong where the library has no answer."""
        fields, held, deltas = list(fields), list(held), list(deltas)
        before, before_ends = _joined(held)
        change, change_ends = _joined(deltas)
        totals: list[bytes] | None = self._called(
            _decode_sums,
            self._library.mediana_sums,
            ctypes.c_size_t(len(fields)),
            before,
            _address(before_ends),
            change,
            _address(change_ends),
        )
        return sums(fields, held, deltas) if totals is None else totals

    def _called(self, decode: Callable[[Any], Any], function: Any, *arguments: object) -> Any:
        """What a function of the library answers, decoded; `None` when it can say nothing."""
        data, length = ctypes.c_void_p(), ctypes.c_size_t()
        if function(*arguments, ctypes.byref(data), ctypes.byref(length)) != 0:
            return None
        try:
            # Copied: an array type of this length, to look at it in place, would be a new class for each answer.
            return decode(ctypes.string_at(data, length.value))
        finally:
            self._library.mediana_free(data, length)

    def _rules_of(self, rules: Rules) -> "_CompiledRules":
        key = (rules.settings.account_id, rules.version)
        compiled = self._rules.get(key)
        if compiled is None:
            compiled = self._rules[key] = _CompiledRules(self._library, rules)
            # Those of the batch at hand are held by the caller, however many they are.
            while len(self._rules) > max(self._limit, 1):
                self._rules.popitem(last=False)
        else:
            self._rules.move_to_end(key)
        return compiled


class _CompiledRules:
    """One version of an account's settings in the library; it is told what it needs of them when it asks."""

    def __init__(self, library: ctypes.CDLL, rules: Rules) -> None:
        self._library = library
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
            self._library.mediana_rules_free(ctypes.c_void_p(handle))

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
        self._library.mediana_rules_learn(ctypes.c_void_p(self.handle), data, ctypes.c_size_t(len(data)))


def _joined(parts: Sequence[bytes]) -> tuple[bytes, "array[int]"]:
    """All parts as one, and where each ends."""
    return b"".join(parts), array("I", accumulate(map(len, parts)))


def _address(numbers: "array[int]") -> ctypes.c_void_p:
    return ctypes.c_void_p(numbers.buffer_info()[0])
