"""The tables of the documentation, made from the code; `python -m streams.cli.reference` writes them again.

`settings.md`, `metrics.md` and `limits.md` in `docs/run/`, and `docs/develop/architecture.md`, hold tables between two
markers; everything around them is written by hand. A test compares the tables with the code.
"""

import ast
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.limits import LIMITS
from streams.config import SETTINGS
from streams.http.metrics import HTTP_METRICS, REPORT_METRICS
from streams.ingest.metrics import INGEST_METRICS
from streams.metric import Metric
from streams.monitoring.catalogue import WORKER_METRICS
from streams.monitoring.server import SERVER_METRICS
from streams.snapshots.metrics import SNAPSHOTTER_METRICS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# From the ground up. A folder that is not named here comes last.
_FOLDERS = (
    *("schemas", "aggregates", "streams", "streams/kafka", "streams/redis", "streams/http", "streams/monitoring"),
    *("streams/records", "streams/fold", "streams/shard", "streams/intake", "streams/worker", "streams/snapshots"),
    *("streams/web", "streams/ingest", "streams/simulation", "streams/cli", "streams/local"),
)


def settings_table() -> str:
    """Every setting: its variable, default and meaning."""
    rows = []
    for setting in SETTINGS:
        default = "unset" if setting.default is None else f"`{_shown(setting.default)}`"
        meaning = f"{setting.meaning} (secret)" if setting.secret else setting.meaning
        rows.append((f"`{setting.variable}`", default, meaning))
    return _table(("variable", "default", "meaning"), rows)


def metrics_table(metrics: Sequence[Metric]) -> str:
    """Metrics of one program: name, kind, labels and meaning."""
    rows = [
        (f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.meaning)
        for metric in metrics
    ]
    return _table(("metric", "kind", "labels", "meaning"), rows)


def limits_table() -> str:
    """Every limit: its value, what it bounds, what happens beyond it, and where it is enforced."""
    rows = [
        (f"`{limit.name}`", f"{limit.value:,} {limit.unit}", limit.of, limit.beyond, f"`{limit.enforced_in}`")
        for limit in LIMITS
    ]
    return _table(("limit", "value", "of", "beyond it", "enforced in"), rows)


def modules_table() -> str:
    """Every module of the three packages by its folder, with the first sentence of its docstring."""
    found: dict[str, list[Path]] = {}
    for package in ("schemas", "aggregates", "streams"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path)
    order = {name: number for number, name in enumerate(_FOLDERS)}
    shown = []
    for folder in sorted(found, key=lambda name: (order.get(name, len(order)), name)):
        rows = [
            (f"`{path.relative_to(ROOT).as_posix()}`", _first_sentence(path))
            for path in found[folder]
            if path.name != "__init__.py"
        ]
        says = _first_sentence(ROOT / folder / "__init__.py")
        shown.append(f"### {folder}\n\n{says}.\n\n{_table(('module', 'holds'), rows)}")
    return "\n" + "\n".join(shown) + "\n"


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    (paragraph, *_) = text.split("\n\n")
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(paragraph.split()))[0].rstrip(".:")


def pages() -> dict[str, dict[str, str]]:
    """Page → name of the table's markers → the table."""
    return {
        "run/settings.md": {"settings": settings_table()},
        "run/limits.md": {"limits": limits_table()},
        "run/metrics.md": {
            "worker": metrics_table(WORKER_METRICS),
            "snapshotter": metrics_table(SNAPSHOTTER_METRICS),
            "page": metrics_table([*HTTP_METRICS, *REPORT_METRICS]),
            "ingest": metrics_table(INGEST_METRICS),
            "server": metrics_table(SERVER_METRICS),
        },
        "develop/architecture.md": {"modules": modules_table()},
    }


def with_tables(text: str, tables: dict[str, str]) -> str:
    """A page's text with its tables renewed. Raises `ValueError` if it lacks the markers of one."""
    for name, table in tables.items():
        marked = re.compile(f"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        if not marked.search(text):
            raise ValueError(f"no markers of the table {name!r}")
        text = marked.sub(lambda found, table=table: found[1] + table + found[2], text)  # type: ignore[misc]
    return text


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else f"{default}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    for page, tables in pages().items():
        path = DOCS / page
        path.write_text(with_tables(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
        print(page, file=sys.stderr)
