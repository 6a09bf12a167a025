"""What a session remembers of its shard, within limits. Nothing is right or wrong by a cache: it saves reads only.

States, fields and values are remembered as the bytes that Redis holds: small, and nothing can change them by accident.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

DayKey = tuple[int, str]
"""A local day's ordinal and its account."""


class StateCache:
    """Contacts' states, the least recently used forgotten first. Empty: nothing is stored of the contact."""

    def __init__(self, limit: int, limit_bytes: int = 1 << 62) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._states: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    @property
    def held_bytes(self) -> int:
        """The length of all states together."""
        return self._bytes

    def get(self, contact: bytes) -> bytes | None:
        """The contact's state, if remembered."""
        state = self._states.get(contact)
        if state is not None:
            self._states.move_to_end(contact)
        return state

    def put(self, states: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember these, and forget what is over the limits."""
        into = self._states
        for contact, state in states:
            self._bytes += len(state) - len(into.get(contact, b""))
            into[contact] = state
            into.move_to_end(contact)
        while into and (len(into) > self._limit or self._bytes > self._limit_bytes):
            _, forgotten = into.popitem(last=False)
            self._bytes -= len(forgotten)


class KnownVersions:
    """The version of each account's settings that a shard's hash is known to hold, the least recently used forgotten.

    Only the current ones are asked for, so an account has one, however often its settings change.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._versions: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._versions)

    def __contains__(self, version: tuple[str, int]) -> bool:
        account_id, number = version
        return self._versions.get(account_id) == number

    def update(self, versions: Iterable[tuple[str, int]]) -> None:
        """These are there now."""
        for account_id, number in versions:
            self._versions[account_id] = number
            self._versions.move_to_end(account_id)
        while len(self._versions) > self._limit:
            self._versions.popitem(last=False)


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
