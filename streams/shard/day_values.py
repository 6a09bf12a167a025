"""Turns the facts that a batch changed into what is written to each day in Redis.

A day's hash has a field per fact, written without being read: a fact has one field, and one value as long as it is
true. Beside them it has the day's totals, as an absolute value: the shard has one writer, which knows the old one from
its cache, else reads it under its fence.
"""

from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from aggregates.counters import added, decode_vector, encode_vector
from aggregates.sealed import GONE, TOTALS
from streams.fold.batch_fold import DayFacts, DayKey
from streams.redis.ledger import DayWrite, Reads
from streams.shard.session import Session


class DayChange(NamedTuple):
    """What a commit writes of a day, and its new totals for the cache."""

    day: DayKey
    totals: bytes
    write: DayWrite


async def day_changes(session: Session, days: Mapping[DayKey, DayFacts]) -> list[DayChange]:
    """What each changed day shall hold; days past the horizon are left out.

    Raises `SessionLost`, `Unavailable`, `NegativeCounter`, and `ValueError` for damaged values.
    """
    wanted = [day for day in days if day[0] >= session.horizon]
    held = {day: totals for day in wanted if (totals := session.days.get(day)) is not None}
    unknown = [day for day in wanted if day not in held]
    if unknown:
        key = session.ledger.keys.day
        answer = await session.read([Reads(key(*day), (TOTALS,)) for day in unknown])
        held |= {day: totals or b"" for day, (totals,) in zip(unknown, answer, strict=True)}
    return [_change(day, days[day], held[day], may_be_sealed=day[0] < session.sealed_below) for day in wanted]


def _change(day: DayKey, facts: DayFacts, before: bytes, *, may_be_sealed: bool) -> DayChange:
    write = DayWrite(*day, values=list(chain.from_iterable(facts.added.items())))
    if may_be_sealed:
        write.values += chain.from_iterable((name, GONE) for name in facts.removed)
    else:
        write.deleted += facts.removed
    change = {slot: count for slot, count in facts.totals.items() if count}
    after = added(decode_vector(before) if before else {}, change)
    totals = encode_vector(after) if after else b""
    if totals:
        write.values += (TOTALS, totals)
    elif before:
        write.deleted.append(TOTALS)
    return DayChange(day, totals, write)
