"""What is in deploy/ fits the program: metrics, alerts and their runbook, dashboard, units, Kubernetes."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.cli.arguments import parse_arguments
from streams.config import SETTINGS, Config
from streams.http.metrics import HTTP_METRICS, REPORT_METRICS
from streams.http.tokens import FileAccess
from streams.ingest.metrics import INGEST_METRICS
from streams.metric import Metric
from streams.monitoring.catalogue import WORKER_METRICS
from streams.monitoring.server import SERVER_METRICS
from streams.snapshots.cron import LATE_SECONDS
from streams.snapshots.metrics import SNAPSHOTTER_METRICS
from tests import programs

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CATALOGUE = [*WORKER_METRICS, *SNAPSHOTTER_METRICS, *HTTP_METRICS, *REPORT_METRICS, *INGEST_METRICS, *SERVER_METRICS]
ALERTS_SERIES = {"ALERTS"}
PROCESS_METRICS = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds", "up"}
PORTS = {
    "worker": Config().metrics_port,
    "snapshotter": Config().snapshotter_metrics_port,
    "page": Config().page_metrics_port,
    "ingest": Config().ingest_metrics_port,
}
HTTP_PORTS = {"page": Config().http_port, "ingest": Config().ingest_port}


def series_of(metric: Metric) -> set[str]:
    """The names under which Prometheus keeps a metric."""
    if metric.kind == "histogram":
        return {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return {metric.name}


KNOWN = PROCESS_METRICS | ALERTS_SERIES | {name for metric in CATALOGUE for name in series_of(metric)}
LABELS = {name: set(metric.labels) | {"le"} for metric in CATALOGUE for name in series_of(metric)}


def unknown_series(expression: str) -> set[str]:
    """Names in a PromQL expression that look like series and are none of ours."""
    bare = re.sub(r'"[^"]*"', "", expression)
    named = set(re.findall(r"\b(?:mediana_[a-z_]+|process_[a-z_]+|up(?=\{))", bare))
    return named - KNOWN


def unknown_labels(expression: str) -> set[str]:
    """Labels that a selector asks for and its metric does not have."""
    wrong = set()
    for name, selector in re.findall(r"(mediana_[a-z_]+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", selector)))
        wrong |= asked - LABELS[name] - {"job", "instance"}
    return wrong


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# --- alerts -----------------------------------------------------------------------------------------------------------

RULES: list[dict[str, Any]] = [
    rule for group in load(DEPLOY / "prometheus" / "rules.yml")["groups"] for rule in group["rules"]
]
BY_NAME = pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))


@BY_NAME
def test_an_alert_looks_only_at_series_that_there_are(rule: dict[str, Any]) -> None:
    assert unknown_series(rule["expr"]) == set()
    assert unknown_labels(rule["expr"]) == set()


def test_a_misspelt_series_or_label_is_noticed() -> None:
    assert unknown_series('rate(mediana_evnts_total[5m]) / up{job="x"}') == {"mediana_evnts_total"}
    assert unknown_series("mediana_commit_seconds") == {"mediana_commit_seconds"}
    assert unknown_labels('mediana_shards{status="stopped", job="x"}') == {"status"}


@BY_NAME
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/run/runbook.md#{rule['alert'].lower()}"
    assert not rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")


def test_the_runbook_has_a_section_for_every_alert_and_for_none_else() -> None:
    sections = re.findall(
        r"^## (\S+)$", (ROOT / "docs" / "run" / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sections == [rule["alert"] for rule in RULES]


def test_every_alert_is_seen_to_fire_and_to_stay_silent() -> None:
    fired: set[str] = set()
    silent: set[str] = set()
    for group in load(DEPLOY / "prometheus" / "rules.test.yml")["tests"]:
        for case in group.get("promql_expr_test", ()):
            for alert in re.findall(r'alertname="(\w+)"', case["expr"]):
                (fired if case["exp_samples"] else silent).add(alert)
    assert fired == silent == {rule["alert"] for rule in RULES}


def test_a_round_is_late_for_the_alert_when_it_is_for_the_probe() -> None:
    (stale,) = (rule for rule in RULES if rule["alert"] == "MedianaSnapshotStale")
    assert stale["expr"].endswith(f"> {LATE_SECONDS:.0f}")


def test_critical_names_a_rule_that_may_wait_no_longer_than_a_quarter_of_an_hour() -> None:
    for rule in RULES:
        if rule["labels"]["severity"] == "critical":
            minutes = re.fullmatch(r"(\d+)m", rule.get("for", "0m"))
            assert minutes is not None
            assert int(minutes[1]) <= 15


# --- Prometheus and Grafana as compose runs them ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load(ROOT / "docker-compose.yml")["services"]
    return found


def test_prometheus_asks_each_program_at_its_own_port(services: dict[str, dict[str, Any]]) -> None:
    jobs = {job["job_name"]: job for job in load(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]}
    assert set(jobs) == {f"mediana-{name}" for name in PORTS}
    (found,) = jobs["mediana-worker"]["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["worker"], PORTS["worker"])
    for name in ("snapshotter", "page", "ingest"):
        assert jobs[f"mediana-{name}"]["static_configs"] == [{"targets": [f"{name}:{PORTS[name]}"]}]
        assert name in services


def test_the_rules_ask_for_jobs_that_prometheus_has() -> None:
    jobs = {job["job_name"] for job in load(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]}
    asked = {job for rule in RULES for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert asked <= jobs
    assert load(DEPLOY / "prometheus" / "prometheus.yml")["rule_files"] == ["rules.yml"]


def test_compose_mounts_what_there_is(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for volume in service.get("volumes", ()):
            source, _, mode = volume.split(":")
            assert (ROOT / source).is_dir()
            assert mode == "ro"


def test_the_ingest_service_of_compose_has_the_token_that_its_head_names(services: dict[str, dict[str, Any]]) -> None:
    (volume,) = services["ingest"]["volumes"]
    source, target, _ = volume.split(":")
    file = services["ingest"]["environment"]["MEDIANA_INGEST_TOKENS_FILE"]
    assert file.startswith(f"{target}/")
    assert "the token is `demo`" in (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert FileAccess(ROOT / source / file.removeprefix(f"{target}/")).opened_by("demo") == {"*"}


def test_compose_asks_for_routes_and_ports_that_the_programs_have(services: dict[str, dict[str, Any]]) -> None:
    for name, port in {**PORTS, **HTTP_PORTS}.items():
        assert f"http://127.0.0.1:{port}/readyz" in services[name]["healthcheck"]["test"][-1]


def test_compose_bounds_the_memory_of_every_service_and_lets_a_worker_hand_over(
    services: dict[str, dict[str, Any]],
) -> None:
    assert [name for name, service in services.items() if "mem_limit" not in service] == []
    assert services["worker"]["stop_grace_period"] == "30s"


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    images = load(ROOT / "docker-compose.yml")["x-images"]
    for image in images:
        assert re.fullmatch(r"[\w/.-]+:v?\d+(\.\d+)*", image)
    # Each is named in one place.
    assert sorted(images) == sorted(service["image"] for service in services.values() if "build" not in service)


DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "mediana.json").read_text(encoding="utf-8"))


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_the_dashboard_shows_only_series_that_there_are() -> None:
    for expression in expressions():
        assert (expression, unknown_series(expression), unknown_labels(expression)) == (expression, set(), set())


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(expressions())
    assert [metric.name for metric in CATALOGUE if not any(name in shown for name in series_of(metric))] == []


def test_every_panel_explains_itself_and_none_covers_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        assert panel["type"] == "row" or panel["description"]
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, f"{panel['title']} covers {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_grafana_finds_prometheus_and_the_dashboard(services: dict[str, dict[str, Any]]) -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = load(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    (provider,) = load(provisioning / "dashboards" / "mediana.yml")["providers"]
    folders = {volume.split(":")[1] for volume in services["grafana"]["volumes"]}
    assert provider["options"]["path"] in folders
    variables = {variable["name"]: variable["query"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "prometheus"}


# --- systemd ----------------------------------------------------------------------------------------------------------

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
assert len(UNITS) == len(PORTS)
PROGRAM = "/opt/mediana/bin/mediana"


def directives(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_a_command_that_there_is_with_settings_that_there_are(unit: Path) -> None:
    ((program, *arguments),) = (shlex.split(line) for line in directives(unit, "ExecStart"))
    assert program == PROGRAM
    parse_arguments(arguments)
    given = [line.partition("=")[0] for line in directives(unit, "Environment")]
    assert set(given) <= {setting.variable for setting in SETTINGS}
    assert directives(unit, "DynamicUser") == ["yes"]
    assert directives(unit, "WantedBy") == ["mediana.target"]


def test_the_example_environment_is_a_valid_set_of_settings() -> None:
    lines = (DEPLOY / "systemd" / "mediana.env.example").read_text(encoding="utf-8").splitlines()
    environment = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(environment) <= {setting.variable for setting in SETTINGS}
    Config.from_env(environment)


def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    verify = programs.need("systemd-analyze")
    program = tmp_path / "mediana"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    names = []
    for unit in [*UNITS, DEPLOY / "systemd" / "mediana.target"]:
        name = unit.name.replace("@.", "@9471.")
        names.append(name)
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text(encoding="utf-8").replace(PROGRAM, str(program)))
    told = subprocess.run(
        [verify, "verify", "--man=no", "--recursive-errors=no", *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (told.returncode, told.stderr) == (0, "")


# --- Kubernetes -------------------------------------------------------------------------------------------------------

MANIFESTS: list[dict[str, Any]] = [
    document
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
DEPLOYMENTS = {
    manifest["metadata"]["name"]: manifest["spec"] for manifest in MANIFESTS if manifest["kind"] == "Deployment"
}
BY_DEPLOYMENT = pytest.mark.parametrize("name", sorted(DEPLOYMENTS))


def container_of(name: str) -> dict[str, Any]:
    (container,) = DEPLOYMENTS[name]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_kubernetes_runs_each_program() -> None:
    assert set(DEPLOYMENTS) == {f"mediana-{program}" for program in PORTS}
    assert {manifest["metadata"].get("namespace", "mediana") for manifest in MANIFESTS} == {"mediana"}


@BY_DEPLOYMENT
def test_a_deployment_runs_a_command_that_there_is_and_asks_it_where_it_answers(name: str) -> None:
    container = container_of(name)
    parse_arguments(container["args"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    program = name.removeprefix("mediana-")
    annotations = DEPLOYMENTS[name]["template"]["metadata"]["annotations"]
    assert ports["metrics"] == PORTS[program] == int(annotations["prometheus.io/port"])
    assert ports.get("http") == HTTP_PORTS.get(program)
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        asked = container[probe]["httpGet"]
        assert asked["path"] == path
        assert asked["port"] in ports
    assert set(container["resources"]) == {"requests", "limits"}


@BY_DEPLOYMENT
def test_a_pod_has_no_rights_it_does_not_need(name: str) -> None:
    pod = DEPLOYMENTS[name]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container_of(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_kubernetes_gives_settings_that_the_program_takes_and_no_secret_in_a_config_map() -> None:
    (given,) = (manifest["data"] for manifest in MANIFESTS if manifest["kind"] == "ConfigMap")
    secrets = {setting.variable for setting in SETTINGS if setting.secret}
    for name in DEPLOYMENTS:
        extra = {pair["name"]: pair["value"] for pair in container_of(name).get("env", ())}
        environment = {**given, **extra}
        assert set(environment) <= {setting.variable for setting in SETTINGS}
        config = Config.from_env({**environment, "MEDIANA_KAFKA_SASL_PASSWORD": "given as a Secret"})
        assert config.secrets() == ("given as a Secret",)
    assert set(given) & secrets <= {"MEDIANA_REDIS_URL"}


def test_labels_and_selectors_of_kubernetes_meet() -> None:
    labels = {name: spec["template"]["metadata"]["labels"] for name, spec in DEPLOYMENTS.items()}
    for name, spec in DEPLOYMENTS.items():
        assert spec["selector"]["matchLabels"] == labels[name]
    for manifest in MANIFESTS:
        if manifest["kind"] == "Service":
            assert manifest["spec"]["selector"] in labels.values()
        if manifest["kind"] == "PodDisruptionBudget":
            assert manifest["spec"]["selector"]["matchLabels"] in labels.values()
