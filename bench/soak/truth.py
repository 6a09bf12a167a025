"""Whether what a soak left in Redis is what a batch program makes of the same traffic, fact by fact.

The traffic follows from its seed, so it is made again rather than kept. One account at a time is folded by the code of
`mediana replay`, so that memory does not grow with the number of accounts.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any

from msgspec import Struct

from aggregates.counters import Vector, decode_vector, summed
from aggregates.facts import fact_value
from aggregates.filters import Filters
from aggregates.periods import period
from aggregates.sealed import TOTALS, facts_in
from aggregates.totals import totals_of
from schemas.limits import MAX_DAYS
from streams.cli.replay import Replay, asked
from streams.config import Config
from streams.redis.keys import HORIZON, NamespaceKeys, split_day_member
from streams.simulation.accounts import Company
from streams.simulation.stream import Plan, simulate
from streams.snapshots.reader import SnapshotReader


class Day(Struct, frozen=True):
    """An account's day: its facts by field, and its totals."""

    facts: dict[bytes, bytes]
    totals: Vector


Days = dict[int, Day]
_NO_DAY = Day({}, {})


class Truth(Struct, frozen=True, kw_only=True):
    """What the comparison found."""

    facts_compared: int
    figures_compared: int
    differences: list[str]


async def compare(client: Any, config: Config, plan: Plan, events: int, today: int) -> Truth:
    """Compare all facts, totals and published reports with a batch recomputation of the plan's first events.

    Days before any shard's horizon are left out: they are forgotten, or about to be; and of reports, those that are
    `MEDIANA_RETENTION_DAYS` before `today` (an ordinal, in UTC). `client` must answer from the primary, and everything
    sent must be applied and published.
    """
    keys = NamespaceKeys(config.namespace)
    partitions = int(await client.hget(keys.meta, "partitions"))
    horizons = [await client.hget(keys.shard(shard).ledger, HORIZON) for shard in range(partitions)]
    horizon = max(int(held or 0) for held in horizons)
    stored = await _stored(client, keys, partitions, horizon)
    reader = SnapshotReader(client, config.namespace)
    compared, figures = 0, 0
    differences: list[str] = []
    for company in plan.companies():
        account_id = company.account_id
        replay = _replayed(plan, events, company, config)
        days = _recomputed(replay, account_id, horizon)
        compared += sum(len(day.facts) for day in days.values())
        differences += _different_days(account_id, days, stored.get(account_id, {}))
        if not days:
            continue
        first = max(min(days), max(days) - MAX_DAYS + 1, today - config.retention_days + 2)
        wanted = period(date.fromordinal(first), date.fromordinal(max(days)))
        for filters in _filters(company):
            answer = await reader.metrics(account_id, wanted.start, wanted.end, filters)
            as_of_ms = round(datetime.fromisoformat(answer.as_of).timestamp() * 1000)
            expected = replay.answer(account_id, asked(wanted.start, wanted.end, filters), as_of_ms)
            found = list(_different(expected, answer.metrics))
            figures += _figures(expected)
            differences += [f"{account_id} {wanted.start}..{wanted.end} {filters}: {line}" for line in found]
            if not answer.complete:
                differences.append(f"{account_id}: not complete, though everything is applied")
    return Truth(facts_compared=compared, figures_compared=figures, differences=differences)


def _replayed(plan: Plan, events: int, company: Company, config: Config) -> Replay:
    replay = Replay([company.settings], config.lateness)
    for _, event in islice(simulate(plan), events):
        if event.account_id == company.account_id:
            replay.fold(event)
    return replay


def _recomputed(replay: Replay, account_id: str, horizon: int) -> Days:
    days: Days = {}
    for ordinal, found in replay.facts.get(account_id, {}).items():
        if found and ordinal >= horizon:
            facts = [fact for _, fact in found.values()]
            days[ordinal] = Day({name: fact_value(fact) for name, (_, fact) in found.items()}, totals_of(facts))
    return days


async def _stored(client: Any, keys: NamespaceKeys, partitions: int, horizon: int) -> dict[str, Days]:
    """What the shards hold together. A fact is of one contact, and so of one shard."""
    found: dict[str, dict[int, list[Day]]] = {}
    for shard in (keys.shard(number) for number in range(partitions)):
        for member in await client.zrange(shard.changed, 0, -1):
            day, account_id = split_day_member(member)
            held = await client.hgetall(shard.day(day, account_id))
            if day >= horizon and held:
                totals = held.get(TOTALS)
                part = Day(facts_in(held), decode_vector(totals) if totals else {})
                found.setdefault(account_id, {}).setdefault(day, []).append(part)
    return {
        account_id: {day: together for day, parts in days.items() if (together := _together(parts)).facts}
        for account_id, days in found.items()
    }


def _together(parts: Sequence[Day]) -> Day:
    facts = {name: value for part in parts for name, value in part.facts.items()}
    return Day(facts, summed(part.totals for part in parts))


def _different_days(account_id: str, expected: Days, found: Days) -> Iterator[str]:
    for ordinal in sorted({*expected, *found}):
        one, other = expected.get(ordinal, _NO_DAY), found.get(ordinal, _NO_DAY)
        if one.facts != other.facts:
            names = {*one.facts, *other.facts}
            count = sum(one.facts.get(name) != other.facts.get(name) for name in names)
            yield f"{account_id} {date.fromordinal(ordinal)}: {count} of {len(names)} facts differ"
        if one.totals != other.totals:
            yield f"{account_id} {date.fromordinal(ordinal)}: the day's totals differ"


def _filters(company: Company) -> list[Filters]:
    """None, and one of each kind that the account has."""
    advisor, group = next(iter(company.settings.advisors)), next(iter(company.settings.groups))
    channel, origin = company.channels.values[0], company.origins.values[0]
    wanted: list[Mapping[str, Sequence[str]]] = [{}, {"advisor": [advisor]}, {"group": [group]}]
    if channel is not None:
        wanted.append({"channel": [channel]})
    if origin is not None:
        wanted.append({"origin": [origin]})
    return [Filters.parse(**each) for each in wanted]


def _different(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in {**expected, **found}:
            yield from _different(expected.get(name), found.get(name), f"{path}.{name}" if path else str(name))
    elif expected != found:
        yield f"{path}: {expected!r} expected, {found!r} published"


def _figures(document: object) -> int:
    if isinstance(document, Mapping):
        return sum(map(_figures, document.values()))
    if isinstance(document, list):
        return sum(map(_figures, document))
    return 1
