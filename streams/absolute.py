"""From what a batch changed to what Redis shall hold.

A shard has one writer, so counters are written as absolute values: no script adds anything up, and writing twice is
writing once. What is stored of each touched counter comes from the cache, else from Redis under the session's fence.
"""

from collections.abc import Mapping

from aggregates.counters import Deltas, Field, Value, added, decode_value, encode_field, encode_value
from streams.caches import DayKey
from streams.ledger import DayWrite, Reads
from streams.session import Session

DayValues = dict[DayKey, dict[Field, Value | None]]


async def stored_values(session: Session, deltas: Mapping[str, Deltas]) -> DayValues:
    """What Redis holds of each touched counter. Days past the session's horizon are left out.

    Raises `SessionLost`, `Unavailable`.
    """
    stored: DayValues = {}
    unknown: dict[DayKey, list[Field]] = {}
    for account_id, changed in deltas.items():
        for ordinal, fields in changed.days.items():
            if ordinal < session.horizon:
                continue
            day = (ordinal, account_id)
            known = session.days.known(day)
            stored[day] = {field: known[field] for field in fields if field in known}
            if len(stored[day]) < len(fields):
                unknown[day] = [field for field in fields if field not in known]
    if unknown:
        keys = session.ledger.keys
        reads = [Reads(keys.day(*day), [*map(encode_field, fields)]) for day, fields in unknown.items()]
        for (day, missing), values in zip(unknown.items(), await session.read(reads), strict=True):
            decoded = (None if data is None else decode_value(data) for data in values)
            stored[day].update(zip(missing, decoded, strict=True))
    return stored


def absolute_values(stored: DayValues, deltas: Mapping[str, Deltas]) -> DayValues:
    """What each touched counter shall hold; `None`: nothing, so it goes. Raises `NegativeCounter`."""
    return {
        (ordinal, account_id): {
            field: added(held[field], delta, field) for field, delta in deltas[account_id].days[ordinal].items()
        }
        for (ordinal, account_id), held in stored.items()
    }


def day_writes(days: DayValues) -> list[DayWrite]:
    """The commit's share of these values."""
    writes = []
    for (ordinal, account_id), fields in days.items():
        write = DayWrite(ordinal, account_id)
        for field, value in fields.items():
            if value is None:
                write.deleted.append(encode_field(field))
            else:
                write.values += (encode_field(field), encode_value(value))
        writes.append(write)
    return writes
