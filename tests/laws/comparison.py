"""The report as the fold computes it, beside the oracle's: every count equal, every quantile within the stated error."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import orjson

from aggregates.filters import Filters
from aggregates.periods import period
from aggregates.report import metrics, table_filters
from schemas.accounts import decode_settings
from schemas.events import decode_event
from streams.replay import Replay

RELATIVE_ERROR = 0.01
ABSOLUTE_ERROR_SECONDS = 0.01
CLOCKS = ("elapsed", "business")

Plain = Mapping[str, Any]


def replayed(
    events: Iterable[Plain], accounts: Iterable[Plain], lateness_seconds: float = 3600, **options: Any
) -> Replay:
    """A log of plain events, folded as `mediana replay` does."""
    replay = Replay([decode_settings(orjson.dumps(account)) for account in accounts], lateness_seconds, **options)
    for event in events:
        replay.fold(decode_event(orjson.dumps(event)))
    return replay


def report_of(
    replay: Replay, account_id: str, first: date, last: date, filters: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The metrics object, through cubes, as published snapshots answer."""
    parsed = Filters.parse(**filters)
    cubes = replay.cubes(account_id)
    calendar = replay.book(account_id).current.calendar
    wanted = period(first, last)
    tables = table_filters(parsed, (cubes[day] for day in wanted.days if day in cubes))
    return metrics(wanted, cubes, parsed, calendar, tables)


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where the found document lacks or differs from what is expected; fields the expected one has not are ignored."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        counted = path.endswith(("by_day", "by_channel", "by_opener"))
        missing = [f"{path}.{key}: missing" for key in expected if key not in found]
        extra = [f"{path}.{key}: not expected" for key in found if counted and key not in expected]
        inside = [
            line
            for key in expected
            if key in found
            for line in differences(expected[key], found[key], f"{path}.{key}")
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
