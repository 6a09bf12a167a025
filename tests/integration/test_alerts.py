"""The alert rules in Prometheus' own hands: checked and tested by promtool, as an operator does it."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import programs

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards" / "mediana.json"


@pytest.fixture(scope="module")
def promtool() -> str:
    return programs.need("promtool")


def ask(*command: str) -> tuple[int, str]:
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER)
    return told.returncode, told.stdout + told.stderr


def test_prometheus_reads_its_configuration_and_every_rule(promtool: str) -> None:
    status, told = ask(promtool, "check", "config", "prometheus.yml")
    assert status == 0, told
    assert "SUCCESS: 27 rules found" in told


def test_every_alert_fires_on_its_fault_and_stays_silent_beside_it(promtool: str) -> None:
    status, told = ask(promtool, "test", "rules", "rules.test.yml")
    assert status == 0, told


def test_a_rule_that_never_fires_would_be_noticed(promtool: str, tmp_path: Path) -> None:
    for name in ("rules.yml", "rules.test.yml"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace('mediana_shards{state="stopped"} > 0', "mediana_shards > 1e9"))
    status, told = ask(promtool, "test", "rules", str(tmp_path / "rules.test.yml"))
    assert status != 0
    assert "MedianaShardStopped" in told


def test_prometheus_can_read_every_expression_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = [
        {"record": f"panel_{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions)
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    status, told = ask(promtool, "check", "rules", str(tmp_path / "panels.yml"))
    assert status == 0, told
    assert f"SUCCESS: {len(expressions)} rules found" in told
