"""What a session remembers of its shard, within limits. Nothing is right or wrong by a cache: it saves reads only."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from aggregates.counters import Field, Value
from aggregates.history import ContactHistory

DayKey = tuple[int, str]
"""A local day's ordinal and its account."""


class HistoryCache:
    """Contacts' histories, the least recently used forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._histories: OrderedDict[bytes, ContactHistory] = OrderedDict()

    def __len__(self) -> int:
        return len(self._histories)

    def get(self, contact: bytes) -> ContactHistory | None:
        """The contact's history, if remembered."""
        history = self._histories.get(contact)
        if history is not None:
            self._histories.move_to_end(contact)
        return history

    def put(self, histories: Iterable[tuple[bytes, ContactHistory]]) -> None:
        """Remember these, and forget what is over the limit."""
        for contact, history in histories:
            self._histories[contact] = history
        while len(self._histories) > self._limit:
            self._histories.popitem(last=False)

    def forget(self, contacts: Iterable[bytes]) -> None:
        """Forget these, so that they are read again."""
        for contact in contacts:
            self._histories.pop(contact, None)


class DayCache:
    """Counters of days, as far as known; days least recently used are forgotten whole.

    A field that is known to be absent is remembered as `None`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._days: OrderedDict[DayKey, dict[Field, Value | None]] = OrderedDict()
        self._fields = 0

    def __len__(self) -> int:
        return self._fields

    def known(self, day: DayKey) -> Mapping[Field, Value | None]:
        """The counters known of a day. Read only; `put` adds."""
        found = self._days.get(day)
        if found is None:
            return {}
        self._days.move_to_end(day)
        return found

    def put(self, day: DayKey, values: Mapping[Field, Value | None]) -> Mapping[Field, Value | None]:
        """Remember these counters' values, and forget what is over the limit; what is known of the day, in any case."""
        into = self._days.setdefault(day, {})
        before = len(into)
        into.update(values)
        self._fields += len(into) - before
        self._days.move_to_end(day)
        while self._fields > self._limit:
            _, forgotten = self._days.popitem(last=False)
            self._fields -= len(forgotten)
        return into

    def forget(self, day: DayKey) -> None:
        """Forget a day that is deleted."""
        self._fields -= len(self._days.pop(day, ()))
