"""What a session remembers of its shard, within limits. Nothing is right or wrong by a cache: it saves reads only.

States, fields and values are remembered as the bytes that Redis holds: small, and nothing can change them by accident.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

DayKey = tuple[int, str]
"""A local day's ordinal and its account."""


class StateCache:
    """Contacts' states, the least recently used forgotten first. Empty: nothing is stored of the contact."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._states: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, contact: bytes) -> bytes | None:
        """The contact's state, if remembered."""
        state = self._states.get(contact)
        if state is not None:
            self._states.move_to_end(contact)
        return state

    def put(self, states: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember these, and forget what is over the limit."""
        self._states.update(states)
        while len(self._states) > self._limit:
            self._states.popitem(last=False)


class DayCache:
    """Fields of days, as far as known, the day least recently used forgotten whole. Empty: it has no such field."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._days: OrderedDict[DayKey, dict[bytes, bytes]] = OrderedDict()
        self._whole: set[DayKey] = set()
        self._fields = 0

    def __len__(self) -> int:
        return self._fields

    def known(self, day: DayKey) -> Mapping[bytes, bytes]:
        """The fields known of a day. Read only; `put` adds."""
        found = self._days.get(day)
        if found is None:
            return {}
        self._days.move_to_end(day)
        return found

    def is_known(self, day: DayKey) -> bool:
        """Whether anything is remembered of a day."""
        return day in self._days

    def is_whole(self, day: DayKey) -> bool:
        """Whether a day has no field but those remembered."""
        return day in self._whole

    def begin(self, day: DayKey) -> None:
        """The day has no field yet: what will be remembered of it, from now on, is all of it."""
        self._days.setdefault(day, {})
        self._whole.add(day)

    def put(self, day: DayKey, values: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Remember these fields' values, and forget what is over the limit; what is known of the day, in any case."""
        into = self._days.setdefault(day, {})
        before = len(into)
        into.update(values)
        self._fields += len(into) - before
        self._days.move_to_end(day)
        while self._fields > self._limit:
            oldest, forgotten = self._days.popitem(last=False)
            self._whole.discard(oldest)
            self._fields -= len(forgotten)
        return into

    def forget(self, day: DayKey) -> None:
        """Forget a day that is deleted."""
        self._whole.discard(day)
        self._fields -= len(self._days.pop(day, ()))
