"""The contacts that a report counts once: those that were reached on a day, and those that were active in a range.

They do not add up over values: a contact that two advisors reached, or on two channels, is one contact. So the counters
are of sets of values, and each distinct set is judged by the filters here; for a table, once for all of its rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from aggregates.cube import ADVISOR, Activity, Sets, Touches, matches, sets_key
from aggregates.filters import Filters
from aggregates.months import MonthPeople, people_keys


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
    """Counts people of days and months under filters; for a table, for each value of its dimension.

    `people` has them by value, those of no table under `None`.
    """

    def __init__(self, filters: Filters, table: str | None, start: int) -> None:
        # A row's filter has one value: its mask has the table's dimension, whatever is filtered.
        narrowed = filters if table is None else msgspec.structs.replace(filters, **{table: (None,)})
        self.day_key = sets_key(narrowed.mask)
        self.month_keys = people_keys(filters, narrowed.mask)
        self.people: Mapping[str | None, People] = defaultdict(People)
        self._filters = filters
        self._table = table
        self._start = start
        self._with_active = not narrowed.mask & ADVISOR
        self._reached: dict[Touches, dict[str | None, int]] = {}

    def add_day(self, day: int, sets: Sets) -> None:
        """Add a day's sets, those under `day_key`."""
        origins, known = self._filters.origin, self._reached
        for origin, touches, n in sets.interactions:
            if origins is None or origin in origins:
                reached = known.get(touches)
                if reached is None:
                    reached = known[touches] = self._reached_by(touches)
                if reached:
                    self._add_interactions(reached, n, day, (0, n))
        if self._with_active:
            self._add_active((activity, n) for origin, activity, n in sets.active if matches(origins, origin))

    def add_month(self, first: int, people: MonthPeople) -> None:
        """Add a month's people under one of `month_keys`; the range contains the month."""
        known = self._reached
        for touches, total, days in people.interactions:
            reached = known.get(touches)
            if reached is None:
                reached = known[touches] = self._reached_by(touches)
            if reached:
                self._add_interactions(reached, total, first, days)
        if self._with_active:
            self._add_active(people.active)

    def _add_interactions(self, reached: Mapping[str | None, int], total: int, first: int, days: Sequence[int]) -> None:
        """Add contacts that were reached so, on days after `first`: which, and how many, in turn."""
        for value, advisors in reached.items():
            people = self.people[value]
            people.contacts += total
            people.advisor_contacts += total * advisors
            if self._table is None:
                for days_after, n in zip(days[::2], days[1::2], strict=True):
                    day = first + days_after
                    contacts, advisor_contacts = people.days.get(day, (0, 0))
                    people.days[day] = (contacts + n, advisor_contacts + n * advisors)

    def _reached_by(self, touches: Touches) -> dict[str | None, int]:
        """By how many advisors a contact was reached, for each value of the table's dimension."""
        _, groups, channels, advisors = self._filters.dimensions
        reached: dict[str | None, int] = {}
        for advisor, pairs in touches:
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
                self.people[value].active += n
