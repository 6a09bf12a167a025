"""Where a history's decisions come from: a seed, or hypothesis, which knows how to simplify them."""

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

T = TypeVar("T")


class Choices(Protocol):
    """Decisions, one at a time."""

    def integer(self, low: int, high: int) -> int:
        """Any of `low..high`; the simplest is the one nearest to 0."""

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; the simplest is the first."""

    def chance(self, percent: int) -> bool:
        """True about that often; the simplest is False."""


class Seeded:
    """Choices from a seeded generator: many, and fast."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def integer(self, low: int, high: int) -> int:
        """Any of `low..high`."""
        return self._random.randint(low, high)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self._random.random() * len(options))]

    def chance(self, percent: int) -> bool:
        """True about that often."""
        return self._random.random() * 100 < percent


class Drawn:
    """Choices hypothesis makes, and shrinks."""

    def __init__(self, draw: DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """Any of `low..high`."""
        return self._draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return self._draw(st.sampled_from(options))

    def chance(self, percent: int) -> bool:
        """True for the upper end of the integers, so that it shrinks to False."""
        return self._draw(st.integers(0, 99)) >= 100 - percent
