"""The tables of the reference pages, made from the catalogues; `python -m streams.cli.reference` writes them again.

`docs/settings.md`, `docs/metrics.md` and `docs/limits.md` hold tables between two markers; everything around them is
written by hand. A test compares the tables with the catalogues.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.limits import LIMITS
from streams.config import SETTINGS
from streams.http.metrics import HTTP_METRICS, REPORT_METRICS
from streams.http.metrics import HTTP_METRICS
from streams.ingest.metrics import INGEST_METRICS
from streams.monitoring.catalogue import WORKER_METRICS, Metric
from streams.monitoring.server import SERVER_METRICS
from streams.snapshots.metrics import SNAPSHOTTER_METRICS

DOCS = Path(__file__).parents[2] / "docs"


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


def pages() -> dict[str, dict[str, str]]:
    """Page → name of the table's markers → the table."""
    return {
        "settings.md": {"settings": settings_table()},
        "limits.md": {"limits": limits_table()},
        "metrics.md": {
            "worker": metrics_table(WORKER_METRICS),
            "snapshotter": metrics_table(SNAPSHOTTER_METRICS),
            "page": metrics_table([*HTTP_METRICS, *REPORT_METRICS]),
            "ingest": metrics_table(INGEST_METRICS),
            "server": metrics_table(SERVER_METRICS),
        },
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
