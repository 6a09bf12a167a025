"""From what shards hold of an account's day to its contributions, and whether facts and totals tell the same."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aggregates.counters import Vector
from aggregates.day_block import Contribution
from aggregates.facts import SNOOZED, WAITING, read_fact
from aggregates.totals import totals_of


class Waiting(NamedTuple):
    """Contacts waiting since some day."""

    contacts: int = 0
    snoozed: int = 0
    oldest_ms: int | None = None


def contributions(day: int, facts: Mapping[bytes, bytes]) -> list[Contribution]:
    """The facts of a day, as a shard holds them. Raises `ValueError` when they are damaged."""
    try:
        return [read_fact(day, field, value) for field, value in facts.items()]
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise ValueError(f"a damaged fact: {error}") from error


def adds_up(facts: Iterable[Contribution], totals: Vector) -> bool:
    """Whether facts are as many, of each kind, hour and bin, as their shard's totals say."""
    return totals_of(fact for _, fact in facts) == totals


def waiting_of(facts: Iterable[Contribution]) -> Waiting:
    """Who waits since this day."""
    waits = [fact for _, fact in facts if fact.kind == WAITING]
    snoozed = sum(fact.flags & SNOOZED for fact in waits)
    return Waiting(len(waits), snoozed, min((fact.at_ms for fact in waits), default=None))


def summed_waiting(days: Sequence[Waiting]) -> Waiting:
    """Who waits since any of the days."""
    oldest = [day.oldest_ms for day in days if day.oldest_ms is not None]
    return Waiting(sum(day.contacts for day in days), sum(day.snoozed for day in days), min(oldest, default=None))
