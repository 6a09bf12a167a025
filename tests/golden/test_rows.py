"""The golden history as row tables: what an analyst adds up from the files is what the report says."""

import csv
import io
import statistics
from collections.abc import AsyncIterator, Iterable
from datetime import date
from typing import Any

import orjson
import pytest

from aggregates.filters import Filters
from aggregates.periods import Period
from aggregates.rows import ROW_TABLES
from schemas.accounts import WEEKDAYS
from streams.cli.replay import Replay
from streams.snapshots.reader import Slices
from streams.web.downloads import csv_chunks
from tests.golden.test_golden import ACCOUNTS, EVENTS, EXPECTED
from tests.support.comparison import replayed, report_of

Row = dict[str, str]


@pytest.fixture(scope="module")
def golden() -> Replay:
    events, accounts = ([orjson.loads(line) for line in file.read_bytes().splitlines()] for file in (EVENTS, ACCOUNTS))
    return replayed(events, accounts)


async def file_of(replay: Replay, account_id: str, days: Period, filters: Filters, name: str) -> list[Row]:
    cubes = replay.cubes(account_id)

    async def read() -> AsyncIterator[tuple[int, dict[bytes, bytes]]]:
        for day in days.days:
            if day in cubes:
                yield day, cubes[day]

    slices = Slices(account_id, days, 1, read())
    data = b"".join([chunk async for chunk in csv_chunks(ROW_TABLES[name], slices, filters)])
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def total(rows: Iterable[Row], **cells: str) -> int:
    return sum(int(row["count"]) for row in rows if all(row[name] == cell for name, cell in cells.items()))


def by(rows: Iterable[Row], *names: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        key = " ".join(row[name] for name in names)
        found[key] = found.get(key, 0) + int(row["count"])
    return found


def occurred(counts: dict[str, int]) -> dict[str, int]:
    return {key: n for key, n in counts.items() if n}


def check_durations(box: dict[str, Any], rows: list[Row]) -> None:
    for clock in ("elapsed", "business"):
        assert total(rows, clock=clock) == box["count"]
        values = sorted(
            value for row in rows if row["clock"] == clock for value in [float(row["seconds"])] * int(row["count"])
        )
        if values:
            assert statistics.median(values) == pytest.approx(box[clock]["median"], abs=2e-6)
            # The ninth of ten cuts; its "inclusive" method is the linear interpolation between the closest ranks.
            p90 = statistics.quantiles(values * 2 if len(values) == 1 else values, n=10, method="inclusive")[8]
            assert p90 == pytest.approx(box[clock]["p90"], abs=2e-6)
        for edge, last in zip(box["distribution"][clock], [0, *box["distribution"][clock]], strict=False):
            low = last["up_to"] if isinstance(last, dict) else -1
            high = float("inf") if edge["up_to"] is None else edge["up_to"]
            assert sum(low < value <= high for value in values) == edge["count"]


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: f"{case['account']}-{case['from']}-{case['filters']}")
async def test_the_files_add_up_to_the_report(golden: Replay, case: dict[str, Any]) -> None:
    days = Period(date.fromisoformat(case["from"]), date.fromisoformat(case["to"]))
    report = report_of(golden, case["account"], days.start, days.end, case["filters"])
    filters = Filters.parse(**case["filters"])
    files = {name: await file_of(golden, case["account"], days, filters, name) for name in ROW_TABLES}

    check_durations(report["first_response"], files["first_responses"])
    check_durations(report["response"], files["responses"])
    closures, closed = files["closures"], report["closed_conversations"]
    assert by(closures, "day") == occurred(closed["by_day"])
    assert total(closures, kind="closed") == closed["closed"]
    assert total(closures, kind="transferred") == closed["transferred"]

    if filters.advisor is not None:
        assert [files[name] for name in ("contacts", "conversations", "outcomes", "waiting")] == [[], [], [], []]
        return
    contacts, created = files["contacts"], report["new_contacts"]
    assert by(contacts, "day") == occurred(created["by_day"])
    assert (total(contacts, status="deleted"), total(contacts, status="merged")) == (
        created["deleted"],
        created["merged"],
    )
    conversations, started = files["conversations"], report["new_conversations"]
    assert by(conversations, "day") == occurred(started["by_day"])
    assert by(conversations, "channel") == started["by_channel"]
    assert by(conversations, "opener") == started["by_opener"]
    heat = {f"{WEEKDAYS.index(day)} {hour}": n for day, row in report["heatmap"].items() for hour, n in enumerate(row)}
    weekdays = [{**row, "day": str(date.fromisoformat(row["day"]).weekday())} for row in conversations]
    assert by(weekdays, "day", "hour") == occurred(heat)
    outcomes = files["outcomes"]
    for row in report["origins"]:
        mine = [one for one in outcomes if one["origin"] == (row["origin"] or "")]
        assert total(mine) == row["new_contacts"]
        assert [total(mine, **{name: "1"}) for name in ("engaged", "closed", "resolved")] == [
            row["engaged"],
            row["closed"],
            row["resolved"],
        ]
    assert total(outcomes) == sum(row["new_contacts"] for row in report["origins"])
    waiting = files["waiting"]
    assert sum(int(row["contacts"]) for row in waiting) == report["waiting"]["contacts"]
    assert sum(int(row["snoozed"]) for row in waiting) == report["waiting"]["snoozed"]
    assert min((row["oldest"] for row in waiting), default=None) == report["waiting"]["oldest"]
