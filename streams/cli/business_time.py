"""`mediana business-time`: working seconds between two instants.

Each line in is one case, as JSON; each gives one line out. `seconds` is exact to the millisecond.

    {"timezone": "Europe/Madrid", "schedule": {"mon": [["09:00", "18:00"]]}, "holidays": ["2026-01-06"],
     "start": "2026-01-05T17:00:00+01:00", "end": "2026-01-07T10:00:00+01:00"}
    {"seconds": 3600}

`special_days` and `valid_from` may be given too; or, in place of weekly hours, a list of versions as account settings
have them (`"schedule": [...]` or `"versions": [...]`). Without a schedule all time counts, as in the report.
"""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

import msgspec
from msgspec import Struct

from aggregates.business import BusinessClock
from schemas.accounts import decode_settings
from schemas.events import Instant, instant_us
from streams.logs import shown

_SCHEDULE = "schedule"


class _Case(Struct, frozen=True):
    start: Instant
    end: Instant
    timezone: str | None = None
    schedule: dict[str, Any] | list[Any] | None = None
    holidays: list[Any] | None = None
    special_days: dict[str, Any] | None = None
    valid_from: str | None = None
    versions: list[Any] | None = None


_decode_case = msgspec.json.Decoder(_Case).decode


def run(lines: Iterable[str], out: TextIO) -> int:
    """Answer each case on its own line of `out`; blank lines are skipped. Returns the exit status.

    A case that breaks the contract gives `{"error": …}` in its place and a line on stderr, and the status is 1.
    """
    status = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        answer: dict[str, int | float | str]
        try:
            answer = {"seconds": _seconds(_decode_case(line))}
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            answer = {"error": str(error)}
            status = 1
            print(shown(f"line {number}: {error}"), file=sys.stderr)
        out.write(msgspec.json.encode(answer).decode() + "\n")
    return status


def _seconds(case: _Case) -> int | float:
    start_ms, end_ms = instant_us(case.start) // 1000, instant_us(case.end) // 1000
    clock = _clock(case)
    counted_ms = max(end_ms - start_ms, 0) if clock is None else clock.between_ms(start_ms, end_ms)
    return counted_ms / 1000 if counted_ms % 1000 else counted_ms // 1000


def _clock(case: _Case) -> BusinessClock | None:
    """The clock of a case's schedule, checked as account settings are; `None` if it has none."""
    versions = case.versions
    if versions is None and isinstance(case.schedule, list):
        versions = case.schedule
    if versions is None and case.schedule is not None:
        versions = [
            {
                "weekly": case.schedule,
                "holidays": case.holidays,
                "special_days": case.special_days,
                "valid_from": case.valid_from,
            }
        ]
    schedules = {} if versions is None else {_SCHEDULE: versions}
    settings = decode_settings(
        msgspec.json.encode({"account_id": "case", "timezone": case.timezone, "schedules": schedules})
    )
    if versions is None:
        return None
    return BusinessClock(settings.schedules[_SCHEDULE], settings.timezone)
