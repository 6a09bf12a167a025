"""From what a batch changed to what Redis shall hold.

A shard has one writer, so counters are written as absolute values: no script adds anything up, and writing twice is
writing once. What is stored of each touched counter comes from the cache, else from Redis under the session's fence.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

from aggregates.counters import sums
from streams.redis.ledger import DayWrite, Reads
from streams.shard.caches import DayKey
from streams.shard.session import Session

DayDeltas = Mapping[DayKey, Mapping[bytes, bytes]]
"""Per account's day, how much to add to each field."""

Sums = Callable[[Iterable[bytes], Iterable[bytes], Iterable[bytes]], list[bytes]]
"""Like `aggregates.counters.sums`."""


class DayChange(NamedTuple):
    """New values of an account's day, for the cache and for the commit. Empty: nothing is left, so the field goes."""

    day: DayKey
    values: dict[bytes, bytes]
    write: DayWrite


async def held_values(session: Session, deltas: DayDeltas) -> dict[DayKey, list[bytes]]:
    """What Redis holds of each touched field, in their order, empty for nothing; the cache knows it from then on.

    Days past the horizon are left out. Raises `SessionLost`, `Unavailable`.
    """
    cache = session.days
    held: dict[DayKey, list[bytes]] = {}
    unknown: dict[DayKey, list[bytes]] = {}
    for day, fields in deltas.items():
        if day[0] < session.horizon:
            continue
        known = cache.known(day)
        held[day] = [known.get(field, b"") for field in fields]
        if not cache.is_whole(day):
            missing = [field for field in fields if field not in known]
            if missing:
                unknown[day] = missing
    if unknown:
        key = session.ledger.keys.day
        # A day that nobody has written yet will be known whole: nothing needs to be read of it again.
        new = [day for day in unknown if not cache.is_known(day)]
        reads = [Reads(key(*day), fields) for day, fields in unknown.items()]
        answer = await session.read([*reads, *(Reads(key(*day), ()) for day in new)])
        for day, length in zip(new, answer[len(reads) :], strict=True):
            if length == [b"0"]:
                cache.begin(day)
        for (day, missing), values in zip(unknown.items(), answer, strict=False):
            known = cache.put(day, {field: value or b"" for field, value in zip(missing, values, strict=True)})
            held[day] = [known[field] for field in deltas[day]]
    return held


def day_changes(held: Mapping[DayKey, list[bytes]], deltas: DayDeltas, add: Sums = sums) -> list[DayChange]:
    """What each touched field of the days in `held` shall hold. Raises `NegativeCounter`."""
    days = [(day, deltas[day]) for day in held]
    totals = iter(
        add(
            chain.from_iterable(fields for _, fields in days),
            chain.from_iterable(held.values()),
            chain.from_iterable(fields.values() for _, fields in days),
        )
    )
    changes = []
    for day, fields in days:
        values = dict(zip(fields, totals, strict=False))
        left = values
        deleted = [field for field, value in values.items() if not value]
        if deleted:
            left = {field: value for field, value in values.items() if value}
        write = DayWrite(*day, values=list(chain.from_iterable(left.items())), deleted=deleted)
        changes.append(DayChange(day, values, write))
    return changes
