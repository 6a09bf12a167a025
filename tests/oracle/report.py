"""The `metrics` object: facts filtered and counted, nothing kept from one question to the next."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from schemas import zones
from tests.oracle.arrival import DAY_SECONDS, split
from tests.oracle.business import WEEKDAYS
from tests.oracle.facts import Account, Answer, ContactFacts, Waiting, tell_all
from tests.oracle.filters import Filters, passes, reaches, waits
from tests.oracle.instants import SECOND_US, instant, local
from tests.oracle.lists import WITHOUT_ADVISOR, rows_of
from tests.oracle.outcomes import is_at_rest, is_resolved

Event = Mapping[str, Any]
Metrics = dict[str, Any]


class Oracle:
    """The report of a history: make it once from the events, then ask it anything.

    `events` are decoded events in any order, already without those that came too late; `Oracle.of_log` takes a log in
    arrival order instead and sets those aside itself. `accounts` are settings documents.
    """

    def __init__(self, events: Iterable[Event], accounts: Iterable[Mapping[str, Any]]) -> None:
        accounts = list(accounts)
        self._accounts = {account["account_id"]: Account(account) for account in accounts}
        self._zones = {account["account_id"]: zones.zone(account.get("timezone") or "UTC") for account in accounts}
        self.facts = tell_all(events, accounts)

    @classmethod
    def of_log(
        cls,
        log: Iterable[Event],
        accounts: Iterable[Mapping[str, Any]],
        lateness_seconds: float = 3_600,
        contact_lateness_seconds: float = 30 * DAY_SECONDS,
    ) -> "Oracle":
        """The report of a log in arrival order."""
        return cls(split(log, lateness_seconds, contact_lateness_seconds).counted, accounts)

    def metrics(
        self, account: str, first: date, last: date, filters: Filters | Mapping[str, Sequence[str]] | None = None
    ) -> Metrics:
        """The `metrics` object of an account from one local day to another, both included, long after both.

        Raises ValueError if the range ends before it begins.
        """
        if last < first:
            raise ValueError(f"{first} is after {last}")
        asked = filters if isinstance(filters, Filters) else Filters.of(filters or {})
        zone = self._zones.get(account, zones.zone("UTC"))
        contacts = [facts for facts in self.facts.get(account, []) if passes(asked.origin, facts.origin)]
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        nobody_in_particular = not asked.advisor  # where no advisor takes part, that filter has no meaning
        return {
            "first_response": _times(_first_responses(contacts), days, asked),
            "response": _times([answer for facts in contacts for answer in facts.responses], days, asked),
            "interactions": _interactions(contacts, days, asked),
            "new_contacts": _new_contacts(contacts, days, asked) if nobody_in_particular else None,
            "new_conversations": _new_conversations(contacts, days, asked) if nobody_in_particular else None,
            "closed_conversations": _closed_conversations(contacts, days, asked),
            "origins": _origins(contacts, days, asked) if nobody_in_particular else None,
            "heatmap": _heatmap(contacts, days, asked) if nobody_in_particular else None,
            "waiting": self._waiting_box(account, first, last, asked) if nobody_in_particular else None,
            "heatmap_occurrences": _heatmap_occurrences(first, last, zone),
        }

    def rows(
        self, account: str, name: str, first: date, last: date, filters: Mapping[str, Sequence[str]], as_of_us: int
    ) -> list[Metrics] | None:
        """The rows of a list; `None` where the filters make its box `null`."""
        asked = Filters.of(filters)
        if asked.advisor and name in WITHOUT_ADVISOR:
            return None
        contacts = [facts for facts in self.facts.get(account, []) if passes(asked.origin, facts.origin)]
        days = {first + timedelta(days=n) for n in range((last - first).days + 1)}
        known = self._accounts.get(account) or Account({"account_id": account})
        return rows_of(name, contacts, days, asked, known, as_of_us)

    def waiting(self, account: str, filters: Filters | Mapping[str, Sequence[str]] | None = None) -> list[Waiting]:
        """Who is still waiting as the history ends, the longest first; the advisor filter plays no part."""
        asked = filters if isinstance(filters, Filters) else Filters.of(filters or {})
        found = [facts.waiting for facts in self.facts.get(account, []) if facts.waiting]
        return sorted(
            (waiting for waiting in found if waits(waiting, asked)),
            key=lambda waiting: (waiting.since_us, waiting.contact),
        )

    def _waiting_box(self, account: str, first: date, last: date, asked: Filters) -> Metrics:
        zone = self._zones.get(account, zones.zone("UTC"))
        found = [
            waiting for waiting in self.waiting(account, asked) if first <= local(waiting.since_us, zone).date() <= last
        ]
        return {
            "contacts": len(found),
            "snoozed": sum(1 for each in found if each.snoozed),
            "oldest": instant(found[0].since_us) if found else None,
        }


def by_day(days: Sequence[date], of_day: Callable[[date], Any]) -> dict[str, Any]:
    """Every day of the range with its figure."""
    return {day.isoformat(): of_day(day) for day in days}


# --- the two times --------------------------------------------------------------------------------------------------


def _first_responses(contacts: Iterable[ContactFacts]) -> list[Answer]:
    return [facts.first_response for facts in contacts if facts.first_response]


def _times(answers: Iterable[Answer], days: Sequence[date], asked: Filters) -> Metrics:
    wanted = set(days)
    chosen = [answer for answer in answers if answer.day in wanted and reaches(answer, asked)]
    return {
        **_box(chosen),
        "by_day": by_day(days, lambda day: _box([answer for answer in chosen if answer.day == day])),
    }


def _box(answers: Sequence[Answer]) -> Metrics:
    return {
        "count": len(answers),
        "elapsed": _quantiles([answer.elapsed_us for answer in answers]),
        "business": _quantiles([answer.business_us for answer in answers]),
    }


def _quantiles(durations_us: Sequence[int]) -> Metrics:
    return {"median": quantile_seconds(durations_us, 0.5), "p90": quantile_seconds(durations_us, 0.9)}


def quantile_seconds(durations_us: Sequence[int], q: float) -> float | None:
    """The quantile, interpolated linearly between the closest ranks; None of nothing."""
    if not durations_us:
        return None
    ranked = sorted(durations_us)
    rank = q * (len(ranked) - 1)
    below = int(rank)
    above = min(below + 1, len(ranked) - 1)
    return (ranked[below] + (ranked[above] - ranked[below]) * (rank - below)) / SECOND_US


# --- interactions ---------------------------------------------------------------------------------------------------


def _interactions(contacts: Iterable[ContactFacts], days: Sequence[date], asked: Filters) -> Metrics:
    """Each contact once a day, and each advisor with each contact once a day: one interaction must match by itself."""
    seen: set[tuple[date, str]] = set()
    seen_by: set[tuple[date, str, str | None]] = set()
    for facts in contacts:
        for interaction in facts.interactions:
            if reaches(interaction, asked):
                seen.add((interaction.day, facts.contact))
                seen_by.add((interaction.day, facts.contact, interaction.advisor))
    pairs = Counter(day for day, _ in seen)
    triples = Counter(day for day, _, _ in seen_by)
    return {
        "contacts": sum(pairs[day] for day in days),
        "advisor_contacts": sum(triples[day] for day in days),
        "by_day": by_day(days, lambda day: {"contacts": pairs[day], "advisor_contacts": triples[day]}),
    }


# --- contacts and their origins -------------------------------------------------------------------------------------


def _created(contacts: Iterable[ContactFacts], days: Sequence[date], asked: Filters) -> list[tuple[ContactFacts, date]]:
    """The contacts created in the period, by the creation's channel."""
    wanted = set(days)
    return [
        (facts, facts.creation.day)
        for facts in contacts
        if facts.creation and facts.creation.day in wanted and passes(asked.channel, facts.creation.channel)
    ]


def _new_contacts(contacts: Iterable[ContactFacts], days: Sequence[date], asked: Filters) -> Metrics:
    chosen = [
        (facts, day)
        for facts, day in _created(contacts, days, asked)
        if facts.creation and passes(asked.group, facts.creation.entry_group)
    ]
    per_day = Counter(day for _, day in chosen)
    return {
        "total": len(chosen),
        "deleted": sum(1 for facts, _ in chosen if facts.deleted and not facts.merged),
        "merged": sum(1 for facts, _ in chosen if facts.merged),
        "by_day": by_day(days, lambda day: per_day[day]),
    }


def _origins(contacts: Iterable[ContactFacts], days: Sequence[date], asked: Filters) -> list[Metrics]:
    """A row per origin of the contacts still there, under the group each is in now."""
    kept = [
        facts
        for facts, _ in _created(contacts, days, asked)
        if not facts.deleted and not facts.merged and passes(asked.group, facts.group)
    ]
    rows: list[Metrics] = []
    for origin in {facts.origin for facts in kept}:
        members = [facts for facts in kept if facts.origin == origin]
        rows.append(
            {
                "origin": origin,
                "new_contacts": len(members),
                "engaged": sum(1 for facts in members if facts.interactions),
                "closed": sum(1 for facts in members if facts.closures),
                "resolved": sum(1 for facts in members if is_resolved(facts)),
                "at_rest": sum(1 for facts in members if is_at_rest(facts)),
            }
        )
    return sorted(rows, key=lambda row: (-row["new_contacts"], row["origin"] is None, row["origin"] or ""))


# --- conversations --------------------------------------------------------------------------------------------------


def _new_conversations(contacts: Iterable[ContactFacts], days: Sequence[date], asked: Filters) -> Metrics:
    wanted = set(days)
    starts = [
        start
        for facts in contacts
        for start in facts.starts
        if start.moment.date() in wanted and passes(asked.channel, start.channel) and passes(asked.group, start.group)
    ]
    active = [
        facts
        for facts in contacts
        if any(
            action.day in wanted and passes(asked.channel, action.channel) and passes(asked.group, action.group)
            for action in facts.actions
        )
    ]
    per_day = Counter(start.moment.date() for start in starts)
    return {
        "total": len(starts),
        "active_contacts": len(active),
        "by_channel": dict(Counter(start.channel for start in starts)),
        "by_opener": dict(Counter(start.opener for start in starts)),
        "by_day": by_day(days, lambda day: per_day[day]),
    }


def _closed_conversations(contacts: Iterable[ContactFacts], days: Sequence[date], asked: Filters) -> Metrics:
    wanted = set(days)
    closures = [
        closure
        for facts in contacts
        for closure in facts.closures
        if closure.day in wanted
        and passes(asked.channel, closure.channel)
        and passes(asked.group, closure.group)
        and passes(asked.advisor, closure.advisor)
    ]
    per_day = Counter(closure.day for closure in closures)
    transferred = sum(1 for closure in closures if closure.transferred)
    return {
        "total": len(closures),
        "closed": len(closures) - transferred,
        "transferred": transferred,
        "by_day": by_day(days, lambda day: per_day[day]),
    }


# --- most active hours ----------------------------------------------------------------------------------------------


def _heatmap(contacts: Iterable[ContactFacts], days: Sequence[date], asked: Filters) -> dict[str, list[int]]:
    wanted = set(days)
    cells = _empty_week()
    for facts in contacts:
        for start in facts.starts:
            moment = start.moment
            if moment.date() in wanted and passes(asked.channel, start.channel) and passes(asked.group, start.group):
                cells[WEEKDAYS[moment.weekday()]][moment.hour] += 1
    return cells


def _heatmap_occurrences(first: date, last: date, zone: tzinfo) -> dict[str, list[int]]:
    """How often each hour occurred: none where the clock jumped over the whole of it, twice where it was shown again.

    Walks real time in steps of five minutes (every offset in use now is a multiple of that), and counts each hour of a
    day once per offset it was seen under.
    """
    seen: set[tuple[date, int, timedelta | None]] = set()
    moment = datetime.combine(first, time(), tzinfo=UTC) - timedelta(days=1)  # earlier than any zone's first midnight
    end = datetime.combine(last, time(), tzinfo=UTC) + timedelta(days=2)
    while moment < end:
        shown = moment.astimezone(zone)
        if first <= shown.date() <= last:
            seen.add((shown.date(), shown.hour, shown.utcoffset()))
        moment += timedelta(minutes=5)
    cells = _empty_week()
    for day, hour, _ in seen:
        cells[WEEKDAYS[day.weekday()]][hour] += 1
    return cells


def _empty_week() -> dict[str, list[int]]:
    return {weekday: [0] * 24 for weekday in WEEKDAYS}
