"""The workflows, templates and hooks of the repository run what is there."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def load(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(workflow: dict[Any, Any]) -> str:
    return "\n".join(step["run"] for step in steps(workflow) if "run" in step)


def test_there_are_workflows_for_tests_releases_and_locks() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "locks", "release"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_states_its_rights_pins_its_actions_and_ends(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"]["contents"] in {"read", "write"}
    assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_targets_and_files_that_are_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    told = commands(load(path))
    assert set(re.findall(r"\bmake ([a-z-]+)", told)) <= targets
    for file in re.findall(r"(?:\./|\b)((?:\.ci|requirements)/\S+\w)", told):
        assert (ROOT / file).is_file(), file


def test_every_python_of_the_classifiers_is_tested() -> None:
    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: Python :: 3\.\d+$", text)]
    assert load(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_a_release_is_of_the_version_of_the_project_and_the_changelog_has_it() -> None:
    told = commands(load(GITHUB / "workflows" / "release.yml"))
    for part in ("pyproject.toml", "CHANGELOG.md", "make wheel", "--require-hashes", "sha256sum", "gh release create"):
        assert part in told
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)$", changelog, re.MULTILINE)[0] == PROJECT["version"]


def test_the_changelog_has_the_usual_sections_only() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    usual = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", changelog, re.MULTILINE)) <= usual


def test_the_version_stands_in_one_place() -> None:
    sources = [path for name in ("schemas", "aggregates", "streams", "deploy") for path in (ROOT / name).rglob("*.*")]
    sources += [ROOT / "Dockerfile", ROOT / "Makefile", ROOT / "docker-compose.yml"]
    text = re.compile(rf"\b{re.escape(PROJECT['version'])}\b")
    own = [
        path
        for path in sources
        if path.is_file() and path.suffix not in {".pyc", ".json"} and "vendor" not in path.parts
    ]
    assert len(own) > 100
    assert [path for path in own if text.search(path.read_text(encoding="utf-8", errors="replace"))] == []


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem)
def test_an_issue_form_asks_for_what_it_needs(path: Path) -> None:
    form = load(path)
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"]]
    assert len(set(ids)) == len(ids)
    assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_hooks_run_the_locked_tools() -> None:
    (repo,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert {hook["entry"].split()[0] for hook in repo["hooks"]} == {
        ".venv/bin/ruff",
        ".venv/bin/mypy",
        ".venv/bin/python",
    }


def test_every_package_says_that_it_is_typed_and_the_project_where_it_lives() -> None:
    for package in ("schemas", "aggregates", "streams"):
        assert (ROOT / package / "py.typed").read_bytes() == b""
    assert set(PROJECT["urls"]) == {"Documentation", "Source", "Issues", "Changelog"}
