"""Filters of a report: origin, group, channel, advisor; several values each, combined."""

from collections.abc import Iterable
from math import prod
from typing import Final

from msgspec import Struct

from schemas.limits import MAX_FILTER_COMBINATIONS, MAX_FILTER_VALUES

NONE: Final = "none"
"""The word that asks for contacts without an origin, a group…"""
LITERAL: Final = "="
"""Before a value it asks for the text that follows, whatever that is: `=none` for the name `none`."""

FILTERED: Final = ("origin", "group", "channel", "advisor")
"""The dimensions that can be filtered, in the order in which they are told."""

Values = tuple[str | None, ...]


class FilterError(ValueError):
    """Filters that ask for too much at once; the text says what to change."""


class Filters(Struct, frozen=True):
    """What a report is narrowed to. A dimension that is `None` is not filtered; a value `None` asks for none."""

    origin: Values | None = None
    group: Values | None = None
    channel: Values | None = None
    advisor: Values | None = None

    @classmethod
    def parse(
        cls,
        origin: Iterable[str] = (),
        group: Iterable[str] = (),
        channel: Iterable[str] = (),
        advisor: Iterable[str] = (),
    ) -> "Filters":
        """Filters from the words people type; `none` asks for null, `=WORD` for the word, no word filters nothing.

        Raises `FilterError`.
        """
        filters = cls(*map(_values, (origin, group, channel, advisor)))
        counts = [len(values) for values in filters.dimensions if values is not None]
        if max(counts, default=0) > MAX_FILTER_VALUES:
            raise FilterError(f"a filter has {max(counts)} values, {MAX_FILTER_VALUES} at most are answered")
        if prod(counts) > MAX_FILTER_COMBINATIONS:
            raise FilterError(
                f"the filters' values combine in {prod(counts)} ways, {MAX_FILTER_COMBINATIONS} at most are answered"
            )
        return filters

    @property
    def dimensions(self) -> tuple[Values | None, ...]:
        """Origin, group, channel, advisor."""
        return (self.origin, self.group, self.channel, self.advisor)


def _values(words: Iterable[str]) -> Values | None:
    return tuple(dict.fromkeys(map(_value, words))) or None


def _value(word: str) -> str | None:
    return None if word == NONE else word.removeprefix(LITERAL)
