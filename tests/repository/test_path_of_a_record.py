"""`docs/develop/path-of-a-record.md` tells the way that a record takes through the code as it is."""

import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.repository.test_layers import names_imported

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "develop" / "path-of-a-record.md"
MOST_STOPS = 8


class Stop(NamedTuple):
    """A row of the page's table."""

    number: int
    files: list[str]
    after: list[int]


def stops(markdown: str) -> list[Stop]:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| [^|]+ \| ([\d, ]*)\|$", markdown, re.MULTILINE)
    return [
        Stop(int(number), re.findall(r"`([^`]+)`", files), [int(each) for each in re.findall(r"\d+", after)])
        for number, files, after in rows
    ]


STOPS = stops(PAGE.read_text(encoding="utf-8"))


def module_of(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def imports(file: str) -> set[str]:
    return set(names_imported((ROOT / file).read_text(encoding="utf-8"))) if file.endswith(".py") else set()


def leads(one: list[str], other: list[str]) -> bool:
    """Whether a file of one stop imports a file of the other."""
    return any(imports(file) & {module_of(name) for name in other} for file in one)


def test_the_way_begins_at_the_broker_and_ends_at_the_commit_within_eight_stops() -> None:
    assert [stop.number for stop in STOPS] == list(range(1, len(STOPS) + 1))
    assert 2 < len(STOPS) <= MOST_STOPS
    assert STOPS[0].files == ["streams/intake/service.py"]
    assert STOPS[-1].files == ["streams/redis/ledger.py", "streams/redis/lua/commit.lua"]
    assert "commit.lua" in (ROOT / STOPS[-1].files[0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: str(stop.number))
def test_a_stop_is_there_and_goes_on_as_the_page_says(stop: Stop) -> None:
    for file in stop.files:
        assert (ROOT / file).is_file()
        if file.endswith(".py"):
            importlib.import_module(module_of(file))
    for number in stop.after:
        assert number > stop.number, "a way back"
        assert leads(stop.files, STOPS[number - 1].files), f"stop {stop.number} does not import stop {number}"


def test_every_stop_is_reached_from_the_first() -> None:
    reached = {1}
    for stop in STOPS:
        if stop.number in reached:
            reached |= set(stop.after)
    assert reached == {stop.number for stop in STOPS}


def test_no_stop_is_left_out_between_two() -> None:
    """Files of one stop hold together: each but the first is imported by another one of them, or is no Python."""
    for stop in STOPS:
        for file in stop.files[1:]:
            others = set().union(*(imports(other) for other in stop.files if other != file))
            # The order of event time is asked for by the feed, which is the stop before.
            before = set().union(*(imports(other) for other in STOPS[stop.number - 2].files))
            assert not file.endswith(".py") or module_of(file) in others | before


def test_another_way_would_be_noticed() -> None:
    row = "| 3 | `streams/redis/ledger.py`, `streams/redis/keys.py` | nothing | 1, 2 |"
    assert stops(row) == [Stop(3, ["streams/redis/ledger.py", "streams/redis/keys.py"], [1, 2])]
    assert leads(["streams/redis/ledger.py"], ["streams/redis/keys.py"])
    assert not leads(["streams/redis/keys.py"], ["streams/redis/ledger.py"])
