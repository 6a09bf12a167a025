"""Compares the facts and reports of two namespaces, account by account, over all days."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any

from msgspec import Struct

from aggregates.day_block import DayBlock, decode_block, encode_block
from aggregates.filters import Filters
from aggregates.periods import Period
from aggregates.report import metrics
from aggregates.rows import Rows
from aggregates.rules import Rules
from aggregates.shard_days import contributions
from schemas.limits import MAX_DAYS
from streams.redis.keys import HORIZON, NamespaceKeys
from streams.redis.shard_reader import ShardCut, ShardReader
from streams.redis.usable_settings import in_use

DAYS_AT_ONCE = 31
"""Days of an account that are read in one go from each shard."""

ATTEMPTS = 20
PAUSE_SECONDS = 0.25
"""Under traffic two namespaces stand at one position of the log most of the time, but not always."""

MAX_SHOWN = 1_000
"""Differences listed per account."""

_NEVER = 1 << 62
_LABELS = ("origin", "up_to")


class Difference(Struct, frozen=True):
    """A number of the report that is not the same: its path in the `metrics` object of all days."""

    number: str
    old: Any
    new: Any
    by: float | None
    """New less old, where both are numbers."""


class AccountComparison(Struct, frozen=True):
    """What differs between two namespaces' reports of one account."""

    account_id: str
    equal: bool
    same_position: bool
    """Whether both had read equally far. If not, a difference may only be what one of them has yet to read."""
    days: int
    differing_days: list[str]
    """Days with a fact that differs."""
    differences: list[Difference]
    differences_not_shown: int


class Comparison(Struct, frozen=True):
    """What differs between two namespaces."""

    old: str
    new: str
    equal: bool
    accounts: list[AccountComparison]


class Side:
    """One of the two namespaces. `redis` must answer from the primary."""

    def __init__(self, redis: Any, namespace: str) -> None:
        self._redis = redis
        self.namespace = namespace
        self.keys = NamespaceKeys(namespace)
        self.shards: list[ShardReader] = []

    async def open(self) -> bool:
        """Find the shards; whether there are any."""
        partitions = int(await self._redis.hget(self.keys.meta, "partitions") or 0)
        self.shards = [ShardReader(self._redis, self.keys, shard) for shard in range(partitions)]
        return bool(self.shards)

    async def days(self) -> dict[str, set[int]]:
        """The days of each account that has any."""
        found: dict[str, set[int]] = {}
        for shard in self.shards:
            for account_id, days in (await shard.scan(0)).changes.items():
                found.setdefault(account_id, set()).update(days)
        return found

    async def horizon(self) -> int:
        """Days before this one are forgotten, or about to be."""
        found = [await self._redis.hget(self.keys.shard(shard.shard).ledger, HORIZON) for shard in self.shards]
        return max((int(value or 0) for value in found), default=0)

    async def rules(self, account_id: str) -> Rules:
        """The account's settings, compiled."""
        data = await self._redis.hget(self.keys.settings, account_id)
        return (await in_use(self._redis, self.keys, account_id, data)).rules

    async def cuts(self, account_id: str, days: Sequence[int]) -> list[ShardCut]:
        """Each shard's facts of these days, and where it stands."""
        return [await shard.cut(account_id, days, _NEVER) for shard in self.shards]


async def compare(old: Side, new: Side) -> Comparison:
    """Compare two namespaces that are open. Days that one of them has forgotten are left out."""
    horizon = max(await old.horizon(), await new.horizon())
    old_days, new_days = await old.days(), await new.days()
    accounts = []
    for account_id in sorted({*old_days, *new_days}):
        days = sorted(
            day for day in old_days.get(account_id, set()) | new_days.get(account_id, set()) if day >= horizon
        )
        accounts.append(await _compare_account(old, new, account_id, days))
    return Comparison(old.namespace, new.namespace, all(account.equal for account in accounts), accounts)


async def _compare_account(old: Side, new: Side, account_id: str, days: Sequence[int]) -> AccountComparison:
    differing: list[int] = []
    same_position = True
    blocks: tuple[list[DayBlock], list[DayBlock]] = ([], [])
    for first in range(0, len(days), DAYS_AT_ONCE):
        found, same = await _facts(old, new, account_id, days[first : first + DAYS_AT_ONCE])
        same_position = same_position and same
        for day, (one, other) in found.items():
            built = _block(day, one)
            blocks[0].append(built)
            blocks[1].append(built if one == other else _block(day, other))
            if one != other:
                differing.append(day)
    differences: list[Difference] = []
    if differing:
        period = Period(date.fromordinal(max(days[0], days[-1] - MAX_DAYS + 1)), date.fromordinal(days[-1]))
        calendar = (await new.rules(account_id)).calendar
        reports = [
            dict(_leaves(metrics(period, Rows.of(_within(side, period)), Filters(), calendar, tables=False)))
            for side in blocks
        ]
        differences = list(_differences(*reports))
    return AccountComparison(
        account_id=account_id,
        equal=not differing,
        same_position=same_position,
        days=len(days),
        differing_days=[date.fromordinal(day).isoformat() for day in differing],
        differences=differences[:MAX_SHOWN],
        differences_not_shown=max(0, len(differences) - MAX_SHOWN),
    )


_Fields = Mapping[bytes, bytes]
"""A day's facts of all shards, by field."""


async def _facts(
    old: Side, new: Side, account_id: str, days: Sequence[int]
) -> tuple[dict[int, tuple[_Fields, _Fields]], bool]:
    """Both sides' facts of each day; and whether they are of one position in the log, as they are if need be."""
    attempts = 0
    while True:
        attempts += 1
        cuts = (await old.cuts(account_id, days), await new.cuts(account_id, days))
        same = _positions(cuts[0]) == _positions(cuts[1])
        one, other = _merged(cuts[0], days), _merged(cuts[1], days)
        if same or one == other or attempts >= ATTEMPTS:
            return {day: (one[day], other[day]) for day in days}, same
        await asyncio.sleep(PAUSE_SECONDS)


def _positions(cuts: Iterable[ShardCut]) -> list[tuple[int | None, int | None]]:
    return [(cut.state.contacts, cut.state.conversations) for cut in cuts]


def _merged(cuts: Sequence[ShardCut], days: Iterable[int]) -> dict[int, _Fields]:
    return {
        day: dict(chain.from_iterable(cut.days[day].facts.items() for cut in cuts if day in cut.days)) for day in days
    }


def _block(day: int, facts: _Fields) -> DayBlock:
    return decode_block(encode_block(day, contributions(day, facts)))


def _within(blocks: Iterable[DayBlock], period: Period) -> list[DayBlock]:
    return [block for block in blocks if block.day in period.days]


def _leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of a `metrics` object, by path; rows that have a label go by it."""
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield from _leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(document, list):
        for place, value in enumerate(document):
            label = next((name for name in _LABELS if isinstance(value, Mapping) and name in value), None)
            if label is None:
                yield from _leaves(value, f"{path}[{place}]")
            else:
                rest = {name: number for name, number in value.items() if name != label}
                yield from _leaves(rest, f"{path}[{label}={value[label]}]")
    else:
        yield path, document


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for number in [*old, *(number for number in new if number not in old)]:
        one, other = old.get(number), new.get(number)
        if one != other:
            numbers = isinstance(one, int | float) and isinstance(other, int | float)
            yield Difference(number, one, other, round(other - one, 6) if numbers else None)  # type: ignore[operator]
