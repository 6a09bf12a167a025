"""The alert rules in Prometheus' own hands: checked and tested by promtool, as an operator does it."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.fail(
            "promtool is not on the PATH, and the alerts cannot be tested without it. Debian, Ubuntu: "
            "apt install --no-install-recommends prometheus (only promtool is used, the server need not run); "
            "elsewhere: https://prometheus.io/download/, or brew install prometheus."
        )
    return found


def ask(*command: str) -> tuple[int, str]:
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER)
    return told.returncode, told.stdout + told.stderr


def test_prometheus_reads_its_configuration_and_every_rule(promtool: str) -> None:
    status, told = ask(promtool, "check", "config", "prometheus.yml")
    assert status == 0, told
    assert "SUCCESS: 20 rules found" in told


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
