"""What a measurement comes to: tables for people, one line of JSON for programs, a page for the documentation."""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench.harness import tables
from bench.harness.tables import Cell


class Table(Struct, frozen=True):
    """A table with a line above it. `places` are shown behind the point."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    places: int = 1


class Outcome(Struct, frozen=True, kw_only=True):
    """A measurement's name, tables and summary."""

    name: str
    tables: Sequence[Table]
    summary: dict[str, Any]
    notes: Sequence[str] = ()


def text(outcome: Outcome) -> str:
    """What a person reads on a terminal."""
    parts = [f"{each.title}\n\n{tables.plain(each.head, each.rows, each.places)}" for each in outcome.tables]
    return "\n\n".join([*parts, *outcome.notes])


def page(outcome: Outcome, machine: str) -> str:
    """What the documentation shows; it replaces the page of an earlier run."""
    parts = [f"# {outcome.name}", f"Written by `make bench-{outcome.name}` on {machine}."]
    parts += [f"{each.title}\n\n{tables.markdown(each.head, each.rows, each.places)}" for each in outcome.tables]
    return "\n\n".join([*parts, *outcome.notes]) + "\n"


def line(outcome: Outcome) -> str:
    """The one line that programs read."""
    return msgspec.json.encode({outcome.name: outcome.summary}).decode()


def machine() -> str:
    """What it was measured on, without names."""
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"


def publish(outcome: Outcome, documents: Path | None) -> None:
    """Show it, and where a folder is given write its page and its numbers there."""
    if documents is not None:
        documents.mkdir(parents=True, exist_ok=True)
        (documents / f"{outcome.name}.md").write_text(page(outcome, machine()), encoding="utf-8")
        (documents / f"{outcome.name}.json").write_text(line(outcome) + "\n", encoding="utf-8")
    print(f"\n{text(outcome)}\n", file=sys.stderr)
    print(line(outcome), flush=True)
