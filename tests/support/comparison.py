"""The report and its rows as the fold computes them, to be held beside the oracle's."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson

from aggregates.facts import fact_field, fact_value
from aggregates.filters import Filters
from aggregates.history import Lateness
from aggregates.periods import period
from schemas import zones
from schemas.accounts import AccountSettings, decode_settings
from schemas.events import decode_event
from streams.cli.replay import Question, Replay
from tests.oracle.filters import passes
from tests.oracle.report import Oracle
from tests.support.differences import differences

__all__ = ["differences"]

Plain = Mapping[str, Any]
Asked = Mapping[str, Sequence[str]]
"""Filters: a dimension and the values wanted of it."""

FactBytes = dict[str, dict[int, dict[bytes, bytes]]]

DAY_SECONDS = 86_400
LATER_MS = 4_102_444_800_000
"""2100: by then every hour of every history has begun."""


def replayed(
    events: Iterable[Plain],
    accounts: Iterable[Plain],
    lateness_seconds: float = 3600,
    kind: Callable[[list[AccountSettings], Lateness], Replay] = Replay,
    contact_lateness_seconds: float = 30 * DAY_SECONDS,
) -> Replay:
    """A log of plain events, folded as `mediana replay` does, or by a replay of another kind."""
    lateness = Lateness(round(lateness_seconds * 1_000_000), round(contact_lateness_seconds * 1_000_000))
    replay = kind([decode_settings(orjson.dumps(account)) for account in accounts], lateness)
    for event in events:
        replay.fold(decode_event(orjson.dumps(event)))
    return replay


def fact_bytes(replay: Replay) -> FactBytes:
    """Every fact as the ledger keeps it: account, day, field, value."""
    return {
        account_id: {
            day: {fact_field(contact, fact): fact_value(fact) for contact, fact in facts.values()}
            for day, facts in days.items()
            if facts
        }
        for account_id, days in replay.facts.items()
    }


def report_of(
    replay: Replay, account_id: str, first: date, last: date, filters: Asked, now_ms: int = LATER_MS
) -> dict[str, Any]:
    """The metrics object, as `mediana replay` prints it."""
    found = replay.answer(account_id, Question(period(first, last), Filters.parse(**filters)), now_ms)
    assert isinstance(found, dict)
    return found


def rows_of(
    replay: Replay, account_id: str, name: str, first: date, last: date, filters: Asked, now_ms: int = LATER_MS
) -> list[dict[str, Any]]:
    """The rows of a list, as `mediana replay --list` prints them. Raises `ListRefused`."""
    found = replay.answer(account_id, Question(period(first, last), Filters.parse(**filters), name), now_ms)
    assert isinstance(found, list)
    return found


def expected_waiting(oracle: Oracle, account: Plain, first: date, last: date, asked: Asked) -> Any:
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
