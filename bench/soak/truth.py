"""Whether what a soak left in Redis is what a batch program makes of the same traffic, number by number.

The traffic follows from its seed, so it is made again rather than kept. One account at a time is folded by the code of
`mediana replay`, so that memory does not grow with the number of accounts.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Any

from msgspec import Struct

from aggregates import cube
from aggregates.counters import Field, Value, decode_field, decode_value
from aggregates.filters import Filters
from aggregates.periods import Period, period
from aggregates.report import metrics, table_filters
from schemas.limits import MAX_DAYS
from streams.cli.replay import Replay
from streams.config import Config
from streams.redis.keys import HORIZON, NamespaceKeys, split_day_member
from streams.simulation.accounts import Company
from streams.simulation.stream import Plan, simulate
from streams.snapshots.reader import SnapshotReader

Days = dict[int, dict[Field, Value]]


class Truth(Struct, frozen=True, kw_only=True):
    """What the comparison found."""

    counters_compared: int
    figures_compared: int
    differences: list[str]


async def compare(client: Any, config: Config, plan: Plan, events: int, today: int) -> Truth:
    """Compare all counters and published reports with a batch recomputation of the plan's first events.

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
    counters, figures = 0, 0
    differences: list[str] = []
    for company in plan.companies():
        account_id = company.account_id
        days = _recomputed(plan, events, company, config.lateness_seconds, horizon)
        counters += sum(map(len, days.values()))
        differences += _different_days(account_id, days, stored.get(account_id, {}))
        if not days:
            continue
        first = max(min(days), max(days) - MAX_DAYS + 1, today - config.retention_days + 2)
        wanted = period(date.fromordinal(first), date.fromordinal(max(days)))
        cubes = {day: cube.build(fields) for day, fields in days.items()}
        calendar = Replay([company.settings], config.lateness_seconds).book(account_id).current.calendar
        for filters in _filters(company):
            expected = _metrics(wanted, cubes, filters, calendar)
            answer = await reader.metrics(account_id, wanted.start, wanted.end, filters)
            found = list(_different(expected, answer.metrics))
            figures += _figures(expected)
            differences += [f"{account_id} {wanted.start}..{wanted.end} {filters}: {line}" for line in found]
            if not answer.complete:
                differences.append(f"{account_id}: not complete, though everything is applied")
    return Truth(counters_compared=counters, figures_compared=figures, differences=differences)


def _recomputed(plan: Plan, events: int, company: Company, lateness_seconds: float, horizon: int) -> Days:
    replay = Replay([company.settings], lateness_seconds)
    for _, event in islice(simulate(plan), events):
        if event.account_id == company.account_id:
            replay.fold(event)
    return {day: fields for day, fields in replay.counters[company.account_id].items() if fields and day >= horizon}


async def _stored(client: Any, keys: NamespaceKeys, partitions: int, horizon: int) -> dict[str, Days]:
    found: dict[str, dict[int, list[list[tuple[Field, Value]]]]] = {}
    for shard in (keys.shard(number) for number in range(partitions)):
        for member in await client.zrange(shard.changed, 0, -1):
            day, account_id = split_day_member(member)
            held = await client.hgetall(shard.day(day, account_id))
            if day >= horizon and held:
                part = [(decode_field(name), decode_value(value)) for name, value in held.items()]
                found.setdefault(account_id, {}).setdefault(day, []).append(part)
    return {
        account_id: {day: cube.merged_counters(parts) for day, parts in days.items()}
        for account_id, days in found.items()
    }


def _different_days(account_id: str, expected: Days, found: Days) -> Iterator[str]:
    for day in sorted({*expected, *found}):
        one, other = expected.get(day, {}), found.get(day, {})
        if one != other:
            count = sum(one.get(field) != other.get(field) for field in {*one, *other})
            yield f"{account_id} {date.fromordinal(day)}: {count} of {len({*one, *other})} counters differ"


def _filters(company: Company) -> list[Filters]:
    """None, and one of each kind that the account has."""
    advisor, group = next(iter(company.settings.advisors)), next(iter(company.settings.groups))
    channel, origin = company.channels.values[0], company.origins.values[0]
    asked: list[Mapping[str, Sequence[str]]] = [{}, {"advisor": [advisor]}, {"group": [group]}]
    if channel is not None:
        asked.append({"channel": [channel]})
    if origin is not None:
        asked.append({"origin": [origin]})
    return [Filters.parse(**each) for each in asked]


def _metrics(wanted: Period, cubes: Mapping[int, Any], filters: Filters, calendar: Any) -> Any:
    return metrics(wanted, cubes, filters, calendar, table_filters(filters, cubes.values()))


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
