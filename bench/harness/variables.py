"""What can be chosen about a measurement, by the environment: numbers and lists of them, each with its default."""

from collections.abc import Mapping
from pathlib import Path

from bench.harness.errors import BenchError


class Variables:
    """Reads them; an unset or empty one means its default. Raises `BenchError` that names what cannot be used."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def number(self, name: str, default: int, lowest: int = 1) -> int:
        """A whole number."""
        text = self._environment.get(name) or str(default)
        return self._whole(name, text, lowest)

    def numbers(self, name: str, default: str, lowest: int = 1) -> list[int]:
        """Whole numbers, separated by spaces or commas."""
        return [self._whole(name, word, lowest) for word in self._words(name, default)]

    def pairs(self, name: str, default: str, lowest: int = 1) -> list[tuple[int, int]]:
        """Pairs such as `1000x10`, separated by spaces or commas."""
        found = []
        for word in self._words(name, default):
            first, _, second = word.partition("x")
            found.append((self._whole(name, first, lowest), self._whole(name, second, lowest)))
        return found

    def folder(self, scenario: str) -> Path:
        """Where servers' data and logs go: a folder of the scenario's own, emptied at its start."""
        return Path(self._environment.get("BENCH_FOLDER") or ".local").resolve() / f"mediana-{scenario}"

    def documents(self) -> Path | None:
        """Where tables go besides, for the documentation (`BENCH_CHARTS`)."""
        return Path(named) if (named := self._environment.get("BENCH_CHARTS")) else None

    def _words(self, name: str, default: str) -> list[str]:
        return (self._environment.get(name) or default).replace(",", " ").split()

    def _whole(self, name: str, text: str, lowest: int) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise BenchError(f"{name}: {text!r} is no whole number from {lowest}")
        return int(text)
