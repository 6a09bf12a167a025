"""The simulated service: an endless, repeatable stream of events in event-time order.

Each contact is a story, a generator that plays what happens to one contact and yields its events; `simulate` merges
all stories by time. Up to `Plan.now` the stories follow each account's daily and weekly rhythm. Live traffic starts
`WARM_UP_MS` before `now`, so that it has its full rate at `now`: contacts arrive evenly, whatever the hour, and
everybody answers within seconds, so that a person who watches sees something. Stories of the history go on meanwhile.

Pure: no clock, no I/O. The same plan gives the same events.
"""

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random

from msgspec import Struct

from schemas import zones
from schemas.events import Event
from streams.simulation.accounts import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Company,
    OpeningHours,
    companies,
    to_datetime,
    to_ms,
)
from streams.simulation.contact import Story, Timed

WARM_UP_MS = 3 * MINUTE_MS

EVENTS_PER_LIVE_CONTACT = 10.3
"""Events that a live contact's story gives in its first minutes, on average (a test holds it to what comes out)."""

_WEEKDAY_WEIGHTS = (1.15, 1.1, 1.05, 1.0, 0.95, 0.55, 0.4)
_HOUR_WEIGHTS = (3, 2, 1, 1, 1, 2, 5, 14, 30, 52, 64, 66, 58, 42, 44, 52, 58, 60, 56, 50, 44, 34, 20, 9)


class Plan(Struct, frozen=True):
    """What to simulate. `live_rate` is in events a second over all accounts; 0 gives the natural rhythm for ever."""

    now: datetime
    days: int
    accounts: int
    contacts_per_day: int
    live_rate: float
    seed: int

    @property
    def now_ms(self) -> int:
        """Where the history ends."""
        return to_ms(self.now)

    def companies(self) -> list[Company]:
        """The accounts of this plan."""
        return companies(self.accounts, self.now.year)


def simulate(plan: Plan) -> Iterator[Timed]:
    """Every event of the plan in the order of its instant; endless if anything arrives at all."""
    queue: list[tuple[int, int, Event | None, Iterator[Timed] | None, _Arrivals | None]] = []
    order = 0
    for company in plan.companies():
        arrivals = _Arrivals(plan, company)
        first = next(arrivals.instants, None)
        if first is not None:
            heapq.heappush(queue, (first, order, None, None, arrivals))
            order += 1
    while queue:
        at_ms, _, event, story, source = heapq.heappop(queue)
        if event is not None:
            yield at_ms, event
        if source is not None:
            story = source.story(at_ms)
            following = next(source.instants, None)
            if following is not None:
                order += 1
                heapq.heappush(queue, (following, order, None, None, source))
        step = next(story, None) if story is not None else None
        if step is not None:
            order += 1
            heapq.heappush(queue, (step[0], order, step[1], story, None))


class _Arrivals:
    """When an account's contacts appear, and the story of each."""

    def __init__(self, plan: Plan, company: Company) -> None:
        self._plan = plan
        self._company = company
        self._live_from_ms = plan.now_ms - WARM_UP_MS if plan.live_rate else None
        self._hours = _advisors_hours(company)
        self._number = 0
        self.instants = self._instants()

    def story(self, at_ms: int) -> Iterator[Timed]:
        """The story of the contact that appears at `at_ms`."""
        self._number += 1
        # The plan's instant is part of the id: a second run beside the first brings new contacts, not old ones again.
        contact_id = f"{self._company.account_id}-{self._plan.now_ms // 1000:x}-{self._number:05d}"
        rng = Random(f"{self._plan.seed}/{self._company.account_id}/{self._number}")
        return Story(self._company, self._hours, contact_id, at_ms, self._live_from_ms, rng).events()

    def _instants(self) -> Iterator[int]:
        rng = Random(f"{self._plan.seed}/{self._company.account_id}/arrivals")
        until_ms = self._live_from_ms
        for at_ms in self._natural(rng):
            if until_ms is not None and at_ms >= until_ms:
                break
            yield at_ms
        if until_ms is not None:
            sizes = [company.size for company in self._plan.companies()]
            rate = self._plan.live_rate / EVENTS_PER_LIVE_CONTACT * self._company.size / sum(sizes)
            at = float(until_ms)
            while True:
                at += rng.expovariate(rate) * SECOND_MS
                yield int(at)

    def _natural(self, rng: Random) -> Iterator[int]:
        """By the account's local days and hours, from the plan's first instant on."""
        start_ms = self._plan.now_ms - self._plan.days * DAY_MS
        zone = zones.zone(self._company.settings.timezone)
        day = to_datetime(start_ms).astimezone(zone).date()
        mean_per_day = self._plan.contacts_per_day * self._company.size
        while mean_per_day > 0:
            mean = mean_per_day * _WEEKDAY_WEIGHTS[day.weekday()]
            count = max(0, round(rng.gauss(mean, mean**0.5)))
            midnight_ms = to_ms(datetime(day.year, day.month, day.day, tzinfo=zone))
            hours = rng.choices(range(24), _HOUR_WEIGHTS, k=count)
            for at_ms in sorted(midnight_ms + hour * HOUR_MS + rng.randrange(HOUR_MS) for hour in hours):
                if at_ms >= start_ms:
                    yield at_ms
            day += timedelta(days=1)


def _advisors_hours(company: Company) -> dict[str, OpeningHours]:
    """Each advisor's working hours: of their own schedule, else their group's, else the account's."""
    settings = company.settings
    hours = {}
    for advisor_id, advisor in settings.advisors.items():
        group = settings.groups.get(advisor.group_id or "")
        name = advisor.schedule or (group.schedule if group else None) or settings.default_schedule
        hours[advisor_id] = OpeningHours(settings, name)
    return hours
