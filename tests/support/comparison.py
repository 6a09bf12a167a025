"""The report as the fold computes it, beside the oracle's: counts equal, quantiles within the stated error."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson

from aggregates import cube
from aggregates.counters import encode_field, encode_value
from aggregates.filters import Filters
from aggregates.periods import period
from aggregates.report import metrics, table_filters
from schemas import zones
from schemas.accounts import AccountSettings, decode_settings
from schemas.events import decode_event
from streams.cli.replay import Replay
from tests.oracle.report import Oracle, passes

RELATIVE_ERROR = 0.01
ABSOLUTE_ERROR_SECONDS = 0.01

Plain = Mapping[str, Any]
Asked = Mapping[str, Sequence[str]]
"""Filters: a dimension and the values wanted of it."""

CounterBytes = dict[str, dict[int, dict[bytes, bytes]]]


def replayed(
    events: Iterable[Plain],
    accounts: Iterable[Plain],
    lateness_seconds: float = 3600,
    kind: Callable[[list[AccountSettings], float], Replay] = Replay,
) -> Replay:
    """A log of plain events, folded as `mediana replay` does, or by a replay of another kind."""
    replay = kind([decode_settings(orjson.dumps(account)) for account in accounts], lateness_seconds)
    for event in events:
        replay.fold(decode_event(orjson.dumps(event)))
    return replay


def counter_bytes(replay: Replay) -> CounterBytes:
    """Every counter as the ledger keeps it: account, day, field, value."""
    return {
        account_id: {
            day: {encode_field(field): encode_value(value) for field, value in fields.items()}
            for day, fields in days.items()
            if fields
        }
        for account_id, days in replay.counters.items()
    }


def report_of(
    replay: Replay, account_id: str, first: date, last: date, filters: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The metrics object, through cubes, as published snapshots answer."""
    return report_of_shards([replay], account_id, first, last, filters)


def report_of_shards(
    shards: Sequence[Replay], account_id: str, first: date, last: date, filters: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The metrics object of contacts spread over several replays: their counters added up, then through cubes."""
    parsed = Filters.parse(**filters)
    wanted = period(first, last)
    days = [replay.counters.get(account_id, {}) for replay in shards]
    cubes = {
        day: cube.build(cube.merged_counters(counters[day].items() for counters in days if day in counters))
        for day in wanted.days
        if any(counters.get(day) for counters in days)
    }
    calendar = shards[0].book(account_id).current.calendar
    return metrics(wanted, cubes, parsed, calendar, table_filters(parsed, cubes.values()))


def expected_waiting(oracle: Oracle, account: Mapping[str, Any], first: date, last: date, asked: Asked) -> Any:
    """The waits that began in the range, from the oracle's."""
    if asked.get("advisor"):
        return None
    zone = zones.zone(account.get("timezone") or "UTC")
    since = [
        (datetime.fromtimestamp(wait.since_us // 1000 / 1000, UTC), wait.snoozed)
        for wait in oracle.waiting(account["account_id"], asked)
    ]
    since = [(moment, snoozed) for moment, snoozed in since if first <= moment.astimezone(zone).date() <= last]
    oldest = min(since)[0] if since else None
    return {
        "contacts": len(since),
        "snoozed": sum(snoozed for _, snoozed in since),
        "oldest": oldest and oldest.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def expected_uncounted(oracle: Oracle, account_id: str, first: date, last: date, asked: Asked) -> int:
    """Advisor messages on channels that are not effective, from the oracle's facts."""
    return sum(
        first <= message.day <= last
        and passes(tuple(asked.get("origin", ())), contact.origin)
        and passes(tuple(asked.get("group", ())), message.group)
        and passes(tuple(asked.get("channel", ())), message.channel)
        and passes(tuple(asked.get("advisor", ())), message.advisor)
        for contact in oracle.facts[account_id]
        for message in contact.unlisted_messages
    )


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where the found document lacks or differs from what is expected, one line each.

    A quantile may be off by the stated error, but zero is exact. Fields that only the found one has are ignored, but
    for days, channels and openers.
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        counted = path.endswith(("by_day", "by_channel", "by_opener"))
        missing = [f"{path}.{key}: missing" for key in expected if key not in found]
        extra = [f"{path}.{key}: not expected" for key in found if counted and key not in expected]
        inside = [
            line for key in expected if key in found for line in differences(expected[key], found[key], f"{path}.{key}")
        ]
        return missing + extra + inside
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = zip(expected, found, strict=True)
        return [line for at, pair in enumerate(pairs) for line in differences(*pair, f"{path}[{at}]")]
    if path.endswith((".median", ".p90")) and expected is not None and found is not None:
        close = abs(expected - found) <= max(RELATIVE_ERROR * expected, ABSOLUTE_ERROR_SECONDS)
        exact_zero = expected != 0 or found == 0
        return [] if close and exact_zero else [f"{path}: {expected} expected, {found} found"]
    return [] if expected == found else [f"{path}: {expected!r} expected, {found!r} found"]
