"""Charts of a run, as small SVG files that a page can show: bars, no scripts, legible in light and dark."""

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import msgspec
from msgspec import Struct

from bench.compare.contenders import MEDIANA

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 760, 320, 90, 30, 46


class Lane(Struct, frozen=True):
    """What a chart needs of a lane's result."""

    name: str
    title: str
    cpu_us: float | None
    cpu_us_low: float | None
    cpu_us_high: float | None
    server_us: float | None
    events_per_second: float | None


class Results(Struct, frozen=True):
    """What a chart needs of a run."""

    lanes: list[Lane]


class Bar(Struct, frozen=True):
    """One row: a bar to `value`, and a thin line from `low` to `high` where they are known."""

    label: str
    value: float
    low: float | None
    high: float | None
    ours: bool


def draw(data: bytes, folder: Path) -> list[Path]:
    """Write `cpu.svg` and `throughput.svg` for the JSON of a run; returns their paths."""
    lanes = msgspec.json.decode(data, type=Results).lanes
    cpu = []
    for lane in lanes:
        if lane.cpu_us is not None:
            cpu.append(Bar(lane.title, lane.cpu_us, lane.cpu_us_low, lane.cpu_us_high, lane.name == MEDIANA))
        if lane.server_us is not None:
            cpu.append(Bar("    its Redis server", lane.server_us, None, None, ours=True))
    rates = [
        Bar(lane.title, lane.events_per_second, None, None, lane.name == MEDIANA)
        for lane in lanes
        if lane.events_per_second is not None
    ]
    charts = {
        "cpu.svg": bars("CPU microseconds per event (less is better; lines: lowest to highest round)", cpu, 1),
        "throughput.svg": bars("Events per second, one process (more is better)", rates, 0),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in charts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in charts]


def bars(title: str, rows: Sequence[Bar], places: int) -> str:
    """A bar chart. The scale is linear and begins at zero: the lengths compare as the numbers do."""
    height = _TOP + _ROW * len(rows) + 12
    most = max((row.high or row.value for row in rows), default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
    head += f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13">'
    parts = [
        head,
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        f'<text x="16" y="26" font-weight="600" fill="#1f2933">{escape(title)}</text>',
    ]
    for place, row in enumerate(rows):
        y = _TOP + place * _ROW
        end = _LEFT + row.value * scale
        colour = "#0b7285" if row.ours else "#9aa5b1"
        shown = max(end, _LEFT + (row.high or 0) * scale)
        parts += [
            f'<text x="{_LEFT - 10}" y="{y + 17}" text-anchor="end" fill="#1f2933">{escape(row.label.strip())}</text>',
            f'<rect x="{_LEFT}" y="{y + 4}" width="{end - _LEFT:.1f}" height="18" rx="2" fill="{colour}"/>',
            f'<text x="{shown + 6:.1f}" y="{y + 17}" fill="#1f2933">{row.value:,.{places}f}</text>',
        ]
        if row.low is not None and row.high is not None and row.high > row.low:
            low, high = _LEFT + row.low * scale, _LEFT + row.high * scale
            parts.append(f'<path d="M{low:.1f} {y + 13}H{high:.1f}" stroke="#1f2933" stroke-width="1.5"/>')
    return "\n".join([*parts, "</svg>", ""])
