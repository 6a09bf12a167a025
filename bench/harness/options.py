"""What can be chosen about `make bench`, by the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.harness.errors import BenchError


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """One field per variable `BENCH_…`, named in `read`.

    `folder` holds servers' data, logs and the results of the last run. It is always a folder of its own name inside
    the one that is given, and is removed at the start of a run.
    """

    events: int
    rounds: int
    seed: int
    lanes: frozenset[str]
    """Which lanes to run; empty: all."""
    folder: Path
    charts: Path | None
    """Where results, table and charts go besides; for the documentation."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "BenchSettings":
        """Read them; an unset or empty variable means its default. Raises `BenchError` that names the variable."""

        def number(name: str, default: int, lowest: int) -> int:
            text = environment.get(name) or str(default)
            if not text.isdecimal() or int(text) < lowest:
                raise BenchError(f"{name} is {text!r}, which is no whole number from {lowest}")
            return int(text)

        return cls(
            events=number("BENCH_EVENTS", 200_000, 1_000),
            rounds=number("BENCH_ROUNDS", 3, 1),
            seed=number("BENCH_SEED", 7, 0),
            lanes=frozenset((environment.get("BENCH_LANES") or "").replace(",", " ").split()),
            folder=Path(environment.get("BENCH_FOLDER") or ".local").resolve() / "mediana-bench",
            charts=Path(charts) if (charts := environment.get("BENCH_CHARTS")) else None,
        )
