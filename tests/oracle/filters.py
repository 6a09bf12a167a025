"""Filters, and what they let through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.oracle.facts import Answer, Interaction, Waiting

NONE = "none"  # how a filter asks for null


@dataclass(frozen=True)
class Filters:
    """Several values each, combined; an empty tuple lets everything through, `none` asks for null."""

    origin: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    channel: tuple[str, ...] = ()
    advisor: tuple[str, ...] = ()

    @classmethod
    def of(cls, filters: Mapping[str, Sequence[str]]) -> "Filters":
        """From the plain form, `{"group": ["sales", "none"]}`."""
        return cls(**{name: tuple(values) for name, values in filters.items()})


def passes(asked: tuple[str, ...], value: str | None) -> bool:
    """Whether a value is among those asked for."""
    return not asked or (NONE if value is None else value) in asked


def reaches(effective: Answer | Interaction, asked: Filters) -> bool:
    """Whether an answer or interaction is let through; the origin is its contact's."""
    return (
        passes(asked.group, effective.group)
        and passes(asked.channel, effective.channel)
        and passes(asked.advisor, effective.advisor)
    )


def waits(waiting: Waiting, asked: Filters) -> bool:
    """Whether a wait is let through."""
    return (
        passes(asked.origin, waiting.origin)
        and passes(asked.group, waiting.group)
        and passes(asked.channel, waiting.channel)
    )
