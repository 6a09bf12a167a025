"""From what a batch changed to what Redis shall hold.

A shard has one writer, so counters are written as absolute values: no script adds anything up, and writing twice is
writing once. What is stored of each touched counter comes from the cache, else from Redis under the session's fence.
"""

from collections.abc import Mapping
from typing import NamedTuple

from aggregates.counters import Deltas, Field, Value, added, decode_value, encode_field, encode_value
from streams.caches import DayKey
from streams.ledger import DayWrite, Reads
from streams.session import Session

Held = Mapping[DayKey, Mapping[Field, Value | None]]
"""What Redis holds, of each day at least the counters that were asked for."""


class DayChange(NamedTuple):
    """New values of an account's day, for the cache and for the commit. `None`: nothing is left, so it goes."""

    day: DayKey
    values: dict[Field, Value | None]
    write: DayWrite


async def held_values(session: Session, deltas: Mapping[str, Deltas]) -> Held:
    """What Redis holds of each touched counter; the cache knows it from then on. Days past the horizon are left out.

    Raises `SessionLost`, `Unavailable`.
    """
    held: dict[DayKey, Mapping[Field, Value | None]] = {}
    unknown: dict[DayKey, list[Field]] = {}
    for account_id, changed in deltas.items():
        for ordinal, fields in changed.days.items():
            if ordinal < session.horizon:
                continue
            day = (ordinal, account_id)
            known = held[day] = session.days.known(day)
            missing = [field for field in fields if field not in known]
            if missing:
                unknown[day] = missing
    if unknown:
        keys = session.ledger.keys
        reads = [Reads(keys.day(*day), [*map(encode_field, fields)]) for day, fields in unknown.items()]
        for (day, missing), found in zip(unknown.items(), await session.read(reads), strict=True):
            values = (None if data is None else decode_value(data) for data in found)
            held[day] = session.days.put(day, dict(zip(missing, values, strict=True)))
    return held


def day_changes(held: Held, deltas: Mapping[str, Deltas]) -> list[DayChange]:
    """What each touched counter of the days in `held` shall hold. Raises `NegativeCounter`."""
    changes = []
    for account_id, changed in deltas.items():
        for ordinal, fields in changed.days.items():
            day = (ordinal, account_id)
            if day not in held:
                continue
            known = held[day]
            change = DayChange(day, {}, DayWrite(ordinal, account_id))
            _, values, write = change
            for field, delta in fields.items():
                value = values[field] = added(known[field], delta, field)
                if value is None:
                    write.deleted.append(encode_field(field))
                else:
                    write.values += (encode_field(field), encode_value(value))
            changes.append(change)
    return changes
