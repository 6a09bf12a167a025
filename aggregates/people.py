"""The contacts that a report counts once: those that were reached on a day, and those that were active in a range.

They do not add up over values: a contact that two advisors reached, or on two channels, is one contact. So the counters
are of sets of values, and each distinct set is judged by the filters here; for a table, once for all of its rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from aggregates.cube import ADVISOR, Activity, Sets, decode_touches, matches, sets_key
from aggregates.filters import Filters
from aggregates.months import SpanPeople, people_keys


class People:
    """How many contacts were reached and active, under some filters."""

    __slots__ = ("active", "advisor_contacts", "contacts", "days")

    def __init__(self) -> None:
        self.active = 0
        """Distinct contacts of the range."""
        self.contacts = 0
        """Contacts reached, each once a day."""
        self.advisor_contacts = 0
        """Contacts reached, for each advisor and once a day."""
        self.days: dict[int, tuple[int, int]] = {}
        """The last two of each day on which there were any; not of the rows of a table."""


class PeopleCounter:
    """Counts people of days and spans under filters; for a table, for each value of its dimension."""

    def __init__(self, filters: Filters, table: str | None, start: int) -> None:
        # A row's filter has one value: its mask has the table's dimension, whatever is filtered.
        narrowed = filters if table is None else msgspec.structs.replace(filters, **{table: (None,)})
        self.day_key = sets_key(narrowed.mask)
        self.span_keys = people_keys(filters, narrowed.mask)
        self._people: dict[str | None, People] = defaultdict(People)
        self._filters = filters
        self._table = table
        self._start = start
        self._with_active = not narrowed.mask & ADVISOR
        self._contacts: dict[bytes, int] = {}
        """By how they were reached."""
        self._dated: list[tuple[bytes, int, Sequence[int]]] = []
        """The same by day, of no table: how, a day, and then days after it and counts in turn."""

    def add_day(self, day: int, sets: Sets) -> None:
        """Add a day's sets, those under `day_key`."""
        origins, contacts = self._filters.origin, self._contacts
        for origin, raw, n in sets.interactions:
            if origins is None or origin in origins:
                touches = bytes(raw)
                contacts[touches] = contacts.get(touches, 0) + n
                if self._table is None:
                    self._dated.append((touches, day, (0, n)))
        if self._with_active:
            self._add_active((activity, n) for origin, activity, n in sets.active if matches(origins, origin))

    def add_span(self, first: int, people: SpanPeople) -> None:
        """Add a span's people under one of `span_keys`; the range contains the span."""
        contacts = self._contacts
        for touches, n in zip(people.touches, people.contacts, strict=True):
            contacts[touches] = contacts.get(touches, 0) + n
        if self._table is None:
            self._dated += [(touches, first, days) for touches, days in zip(people.touches, people.days, strict=True)]
        if self._with_active:
            self._add_active(people.active)

    def people(self) -> Mapping[str | None, People]:
        """The people that were added, by value; those of no table under `None`. To be asked once, at the end."""
        advisors: dict[bytes, int] = {}
        for touches, n in self._contacts.items():
            for value, times in self._reached_by(touches).items():
                people = self._people[value]
                people.contacts += n
                people.advisor_contacts += n * times
                advisors[touches] = times
        for touches, first, numbers in self._dated:
            if touches in advisors:
                days, times = self._people[None].days, advisors[touches]
                for days_after, n in zip(numbers[::2], numbers[1::2], strict=True):
                    contacts, advisor_contacts = days.get(first + days_after, (0, 0))
                    days[first + days_after] = (contacts + n, advisor_contacts + n * times)
        return self._people

    def _reached_by(self, touches: bytes) -> dict[str | None, int]:
        """By how many advisors a contact was reached, for each value of the table's dimension."""
        _, groups, channels, advisors = self._filters.dimensions
        reached: dict[str | None, int] = {}
        for advisor, pairs in decode_touches(touches):
            if matches(advisors, advisor):
                found = [pair for pair in pairs if matches(channels, pair[0]) and matches(groups, pair[1])]
                # Each value once for an advisor, however often it reached the contact there.
                for value in {self._value(advisor, *pair) for pair in found}:
                    reached[value] = reached.get(value, 0) + 1
        return reached

    def _value(self, advisor: str | None, channel: str | None, group: str | None) -> str | None:
        """The value of the table's dimension."""
        return {"advisor": advisor, "channel": channel, "group": group}.get(self._table or "")

    def _add_active(self, active: Iterable[tuple[Activity, int]]) -> None:
        # Plain loops: a busy month has thousands of these.
        _, groups, channels, _ = self._filters.dimensions
        start, by_channel, by_group = self._start, self._table == "channel", self._table == "group"
        for activity, n in active:
            # A contact counts on its first matching day of the range, so not where it was active in it before.
            today: set[str | None] = set()
            before: set[str | None] = set()
            for channel, group, is_active, last in activity:
                if (channels is None or channel in channels) and (groups is None or group in groups):
                    value = channel if by_channel else group if by_group else None
                    if is_active:
                        today.add(value)
                    if last is not None and last >= start:
                        before.add(value)
            for value in today - before:
                self._people[value].active += n
