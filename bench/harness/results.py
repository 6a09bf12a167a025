"""From the rounds' numbers to medians, ratios, the table and the last line."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from bench.compare.contenders import FLOOR, LANES, MEDIANA
from bench.harness.task import Measured

SERVER = "mediana_redis"
"""The name under which the summary has the Redis server's share of Mediana's lane."""


class LaneResult(Struct, frozen=True, kw_only=True):
    """A lane over all rounds. Without rounds, `reason` says why; a number that was not measured is `None`."""

    name: str
    title: str
    rounds: tuple[Measured, ...]
    reason: str | None
    events: int
    """Events of each round."""
    cpu_us: float | None
    """CPU microseconds per event: the median of the rounds."""
    cpu_us_low: float | None
    cpu_us_high: float | None
    events_per_second: float | None
    server_us: float | None
    peak_mib: float | None
    times_floor: float | None
    """`cpu_us` in floors. Taken round by round, then the median: a slow moment hits both alike."""
    times_mediana: float | None


def cpu_us(measured: Measured) -> float:
    """CPU microseconds per event."""
    return measured.cpu_seconds / measured.events * 1e6


def summarize(rounds: Sequence[Mapping[str, Measured | str]]) -> list[LaneResult]:
    """All lanes. Each round maps a lane to what it measured, or to why it could not; a lane left out was not asked."""
    asked = [lane for lane in LANES if any(lane.name in one for one in rounds)]
    return [_summarize(lane.name, lane.title, rounds) for lane in asked]


def _summarize(name: str, title: str, rounds: Sequence[Mapping[str, Measured | str]]) -> LaneResult:
    found = [measured for one in rounds if isinstance(measured := one.get(name), Measured)]
    reasons = [reason for one in rounds if isinstance(reason := one.get(name), str)]
    costs = [cpu_us(measured) for measured in found]
    servers = [m.server_seconds / m.events * 1e6 for m in found if m.server_seconds is not None]
    return LaneResult(
        name=name,
        title=title,
        rounds=tuple(found),
        reason="; ".join(dict.fromkeys(reasons)) or None,
        events=max((measured.events for measured in found), default=0),
        cpu_us=_median(costs),
        cpu_us_low=min(costs, default=None),
        cpu_us_high=max(costs, default=None),
        events_per_second=_median([measured.events / measured.wall_seconds for measured in found]),
        server_us=_median(servers),
        peak_mib=_median([measured.peak_mib for measured in found]),
        times_floor=_median(_ratios(rounds, name, FLOOR)),
        times_mediana=_median(_ratios(rounds, name, MEDIANA)),
    )


def _ratios(rounds: Sequence[Mapping[str, Measured | str]], name: str, base: str) -> list[float]:
    pairs = [(one.get(name), one.get(base)) for one in rounds]
    return [
        cpu_us(measured) / cpu_us(against)
        for measured, against in pairs
        if isinstance(measured, Measured) and isinstance(against, Measured)
    ]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def last_line(results: Sequence[LaneResult]) -> str:
    """The one line that other programs read. A lane that could not run is null."""
    by_name = {result.name: result for result in results}
    costs: dict[str, float | None] = {}
    for lane in LANES:
        if not lane.in_summary:
            continue
        result = by_name.get(lane.name)
        costs[lane.name] = _rounded(result.cpu_us if result else None)
        if lane.name == MEDIANA:
            costs[SERVER] = _rounded(result.server_us if result else None)
    return msgspec.json.encode({"cpu_us_per_event": costs}).decode()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def as_json(results: Sequence[LaneResult], about: Mapping[str, Any]) -> bytes:
    """Everything, for charts and for whoever wants to compute something else."""
    return msgspec.json.encode({"about": dict(about), "lanes": list(results)})


class _Saved(Struct, frozen=True):
    lanes: list[LaneResult]


def from_json(data: bytes) -> list[LaneResult]:
    """The lanes of what `as_json` made."""
    return msgspec.json.decode(data, type=_Saved).lanes


def markdown(results: Sequence[LaneResult]) -> str:
    """What the documentation shows."""
    lines = [
        "| | CPU µs per event | lowest to highest | in floors | events/s | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        spread = f"{_number(result.cpu_us_low)} to {_number(result.cpu_us_high)}"
        cells = (_number(result.cpu_us), spread, _number(result.times_floor), _number(result.events_per_second, 0))
        lines.append(f"| {result.title} | {' | '.join(cells)} | {_number(result.peak_mib, 0)} |")
        if result.server_us is not None:
            lines.append(
                f"| its Redis server | {_number(result.server_us)} | | {_number(_in_floors(result, results))} | | |"
            )
    return "\n".join(lines)


def _in_floors(result: LaneResult, results: Sequence[LaneResult]) -> float | None:
    """The Redis server's share in floors."""
    floor = next((other.cpu_us for other in results if other.name == FLOOR), None)
    return None if floor is None or result.server_us is None else result.server_us / floor


def table(results: Sequence[LaneResult]) -> str:
    """What a person reads."""
    head = ("", "CPU us/event", "lowest", "highest", "x floor", "x Mediana", "events/s", "peak MiB", "events")
    rows: list[tuple[str, ...]] = [head]
    notes = []
    for result in results:
        rows.append(
            (
                result.title,
                _number(result.cpu_us),
                _number(result.cpu_us_low),
                _number(result.cpu_us_high),
                _number(result.times_floor),
                _number(result.times_mediana),
                _number(result.events_per_second, 0),
                _number(result.peak_mib, 0),
                f"{result.events:,}",
            )
        )
        if result.server_us is not None:
            in_floors = _number(_in_floors(result, results))
            rows.append(("  its Redis server", _number(result.server_us), "", "", in_floors, *[""] * 4))
        if result.reason is not None:
            notes.append(
                f"{result.name}: {'no number' if result.cpu_us is None else 'a round failed'}: {result.reason}"
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([*(line.rstrip() for line in lines), *notes])


def _number(value: float | None, places: int = 1) -> str:
    return "-" if value is None else f"{value:,.{places}f}"
