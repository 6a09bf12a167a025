"""Caches of a session, within limits. Caches never affect results, only the number of reads.

Values are remembered as the bytes that Redis holds: small, and nothing can change them by accident.
"""

from collections import OrderedDict
from collections.abc import Iterable

from streams.fold.batch_fold import DayKey


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

    def forget(self, contacts: Iterable[bytes]) -> None:
        """Forget these."""
        for contact in contacts:
            self._bytes -= len(self._states.pop(contact, b""))


class KnownVersions:
    """The settings' versions that a shard's hash is known to hold, and the last day of use that it names of each.

    Only the current ones are asked for, so an account has one, however often its settings change. The least recently
    used are forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._versions: OrderedDict[str, tuple[bytes, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._versions)

    def last_used(self, account_id: str, version: bytes) -> int | None:
        """The day, counted from 1970; `None` for a version that may not be there."""
        known, day = self._versions.get(account_id, (b"", 0))
        return day if known == version else None

    def put(self, account_id: str, version: bytes, day: int) -> None:
        """It is there now, and names this day."""
        self._versions[account_id] = (version, day)
        self._versions.move_to_end(account_id)
        while len(self._versions) > self._limit:
            self._versions.popitem(last=False)

    def forget(self, account_id: str, version: bytes) -> None:
        """It is there no more."""
        if self.last_used(account_id, version) is not None:
            del self._versions[account_id]


class TotalsCache:
    """Days' totals as bytes (empty: none), the day least recently used forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._days: OrderedDict[DayKey, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._days)

    def get(self, day: DayKey) -> bytes | None:
        """The day's totals, if known."""
        found = self._days.get(day)
        if found is not None:
            self._days.move_to_end(day)
        return found

    def put(self, day: DayKey, totals: bytes) -> None:
        """Remember a day's totals, and forget what is over the limit."""
        self._days[day] = totals
        self._days.move_to_end(day)
        while len(self._days) > self._limit:
            self._days.popitem(last=False)

    def forget(self, day: DayKey) -> None:
        """Forget a day that is deleted."""
        self._days.pop(day, None)
