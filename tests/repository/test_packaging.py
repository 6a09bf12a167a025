"""Images, compose file, lock files and Makefile fit the program they carry, as far as can be told without an engine."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.cli.arguments import parse_arguments
from streams.config import SETTINGS, Config
from streams.local.jars import KAFKA_VERSION

ROOT = Path(__file__).parents[2]
PROGRAM_SERVICES = ("topics", "simulator", "worker", "snapshotter", "page", "ingest")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def test_compose_has_every_part_of_the_demo(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {"kafka", "redis", "prometheus", "grafana", *PROGRAM_SERVICES}
    assert services["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", PROGRAM_SERVICES)
def test_compose_runs_commands_that_the_program_has(services: dict[str, dict[str, Any]], name: str) -> None:
    parse_arguments(services[name]["command"])  # a wrong one exits with status 2


@pytest.mark.parametrize("name", PROGRAM_SERVICES)
def test_compose_gives_settings_that_the_program_takes(services: dict[str, dict[str, Any]], name: str) -> None:
    environment = services[name]["environment"]
    assert set(environment) <= {setting.variable for setting in SETTINGS}
    assert all(isinstance(value, str) for value in environment.values()), "YAML must not turn a setting into a number"
    config = Config.from_env(environment)
    assert config.kafka_bootstrap == "kafka:9092"
    assert config.redis_address == "redis://redis:6379/0"
    assert config.metrics_host == "0.0.0.0"


def test_compose_waits_only_for_what_it_has_and_for_health_where_health_is_checked(
    services: dict[str, dict[str, Any]],
) -> None:
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in services
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other]


def test_compose_opens_ports_on_the_loopback_address_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert "127.0.0.1:8080:8080" in ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_sets_redis_up_as_a_database(services: dict[str, dict[str, Any]]) -> None:
    command = services["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--maxmemory": "768mb",
    }
    assert services["redis"]["image"].startswith("redis:7")


def test_compose_and_the_local_stack_run_the_same_kafka(services: dict[str, dict[str, Any]]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_containers_of_the_program_have_no_rights_they_do_not_need(services: dict[str, dict[str, Any]]) -> None:
    for name in PROGRAM_SERVICES:
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in services[name]["security_opt"]


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def test_the_image_installs_locked_packages_only_and_runs_as_nobody_special() -> None:
    text = dockerfile()
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001"]
    for install in re.findall(r"pip install ([^&\n]+)", text):
        assert "--require-hashes" in install or "--no-deps" in install, install
    assert 'ENTRYPOINT ["mediana"]' in text


def test_the_image_is_built_from_what_is_there_and_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(), re.MULTILINE)
        for source in sources.split()
    }
    assert copied == sent
    assert [name for name in sorted(copied) if not (ROOT / name).exists()] == []


def locked(name: str) -> dict[str, set[str]]:
    """Package → its locked versions; more than one where a newer one left an older Python behind."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9-]+)==([^ ;]+)", text, re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("name", ["runtime", "build", "dev"])
def test_every_locked_package_has_hashes_and_no_lock_names_a_host(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    packages = re.split(r"(?m)^(?=[a-z0-9-]+==)", text)[1:]
    assert len(packages) == sum(len(versions) for versions in locked(name).values()) > 0
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in text
    assert "--index" not in text


def test_tests_run_with_the_versions_that_the_image_runs_with() -> None:
    developed = locked("dev")
    assert {name: developed.get(name) for name in locked("runtime")} == locked("runtime")
    assert {name: developed.get(name) for name in locked("build")} == locked("build")


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}

    assert names(project["dependencies"]) <= set(locked("runtime"))
    assert names(project["optional-dependencies"]["dev"]) <= set(locked("dev"))


def test_make_explains_every_target_that_people_call() -> None:
    text = (ROOT / "Makefile").read_text()
    explained = set(re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE))
    assert explained >= {"help", "install", "lint", "fmt", "test", "coverage", "wheel", "demo", "bench", "clean"}
    assert ".DEFAULT_GOAL := help" in text


def test_continuous_integration_installs_lints_and_tests() -> None:
    steps = re.findall(r"^step \w+ make (\w+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert steps == ["install", "lint", "test"]
