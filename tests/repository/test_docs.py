"""Documentation and code say the same: settings, metrics, topics, routes, commands, events, links."""

import argparse
import json
import re
import shlex
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from schemas import limits
from schemas.accounts import decode_settings
from schemas.events import EVENT_TYPES, BaseEvent, type_name
from schemas.limits import LIMITS
from schemas.topics import topics
from streams.cli.arguments import build_parser, parse_arguments
from streams.cli.main import COMMANDS
from streams.cli.reference import pages, with_tables
from streams.config import FILE_VARIABLE, SETTINGS
from streams.http.metrics import HTTP_METRICS, REPORT_METRICS
from streams.ingest.metrics import INGEST_METRICS
from streams.kafka.dead_letters import FOLD_ERROR, TOO_LATE
from streams.monitoring.catalogue import WORKER_METRICS
from streams.monitoring.server import SERVER_METRICS
from streams.snapshots.manifest import PublicKeys
from streams.snapshots.metrics import SNAPSHOTTER_METRICS
from streams.web.api import add_api
from streams.web.page import add_page

ROOT = Path(__file__).parents[2]
# What measurements print, in docs/develop/performance/, lies one folder deeper.
DOCS = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")])
PAGES = [*(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")), *DOCS]
METRICS = [*WORKER_METRICS, *SNAPSHOTTER_METRICS, *HTTP_METRICS, *REPORT_METRICS, *INGEST_METRICS, *SERVER_METRICS]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(markdown: str) -> str:
    return re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)


def anchors(markdown: str) -> set[str]:
    """The anchors that headings get where the repository is shown."""
    headings = re.findall(r"^#+ (.+)$", prose(markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(markdown: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", markdown, re.DOTALL | re.MULTILINE)
    assert found, f"no section {heading!r}"
    return found[1]


def broken_links(page: Path, markdown: str) -> list[str]:
    broken = []
    for target in LINK.findall(prose(markdown)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_resolves(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_noticed() -> None:
    markdown = (
        "[a](docs/use/events.md) [b](docs/nothing.md) [c](docs/use/events.md#every-event) [d](docs/use/events.md#none)"
    )
    assert broken_links(ROOT / "README.md", markdown) == ["docs/nothing.md", "docs/use/events.md#none"]


def test_the_readme_and_the_index_lead_to_every_page() -> None:
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in DOCS}
    assert {f"docs/{page}" for page in pages} <= set(LINK.findall(text("README.md")))
    assert pages - {"index.md"} <= set(LINK.findall(text("docs/index.md")))


# --- settings and metrics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["run/settings.md", "run/metrics.md", "run/limits.md", "develop/architecture.md"])
def test_the_tables_are_those_of_the_code(page: str) -> None:
    markdown = text(f"docs/{page}")
    assert with_tables(markdown, pages()[page]) == markdown, "run: python -m streams.cli.reference"


def test_a_page_without_the_markers_of_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no markers of the table 'settings'"):
        with_tables("# Settings\n", {"settings": "| |\n"})


def test_every_setting_and_every_metric_has_its_row() -> None:
    assert [s.variable for s in SETTINGS if f"| `{s.variable}` |" not in text("docs/run/settings.md")] == []
    assert [metric.name for metric in METRICS if f"| `{metric.name}` |" not in text("docs/run/metrics.md")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_setting_or_metric_that_does_not_exist(page: Path) -> None:
    markdown = page.read_text(encoding="utf-8")
    known = {setting.variable for setting in SETTINGS} | {FILE_VARIABLE, "MEDIANA_"}
    assert set(re.findall(r"\bMEDIANA_[A-Z_]*", markdown)) - known == set()
    known = {metric.name for metric in METRICS}
    assert set(re.findall(r"\bmediana_[a-z_]+\b", markdown)) - known == set()


def test_every_limit_is_named_by_the_module_that_enforces_it() -> None:
    for limit in LIMITS:
        assert getattr(limits, limit.name.upper()) == limit.value
        assert limit.name.upper() in text(limit.enforced_in), f"{limit.enforced_in} does not use {limit.name}"


# --- what goes in -----------------------------------------------------------------------------------------------------


def test_every_topic_has_its_row() -> None:
    for name in msgspec.structs.astuple(topics()):
        assert f"| `{name}` |" in text("docs/use/events.md")


@pytest.mark.parametrize("struct", EVENT_TYPES, ids=type_name)
def test_every_event_type_has_a_row_with_its_fields_under_its_topic(struct: type[BaseEvent]) -> None:
    kind = f"Events of {struct.topic}: `mediana.{struct.topic}`"
    row = next(
        line
        for line in section(text("docs/use/events.md"), kind).splitlines()
        if line.startswith(f"| `{type_name(struct)}` |")
    )
    base = {field.name for field in msgspec.structs.fields(BaseEvent)}
    for field in msgspec.structs.fields(struct):
        if field.name not in base:
            optional = not field.required and not (type_name(struct) == "call.logged" and field.name == "advisor_id")
            assert (f"`{field.encode_name}`?" if optional else f"`{field.encode_name}`") in row


def test_every_field_of_all_events_has_its_row() -> None:
    for field in msgspec.structs.fields(BaseEvent):
        mark = "" if field.required else "?"
        assert f"| `{field.name}`{mark} |" in section(text("docs/use/events.md"), "Every event")


def test_the_settings_shown_are_valid() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", text("docs/use/events.md"), re.DOTALL)
    assert decode_settings(shown).default_schedule == "office"


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    reasons = {FOLD_ERROR, TOO_LATE}
    for name in ("events", "accounts"):
        reasons |= set(re.findall(r'Invalid(?:Event|Settings)\(\s*"([a-z-]+)"', text(f"schemas/{name}.py")))
    assert {"malformed", "key-mismatch", "unknown-group"} <= reasons
    explained = section(text("docs/use/events.md"), "What is refused")
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in explained] == []


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_every_route_has_its_row() -> None:
    app = web.Application()
    add_api(app)
    add_page(app)
    routes = {resource.canonical.rstrip("/") for resource in app.router.resources()}
    shown = re.findall(r"\| `GET (\S+)` \|", text("docs/use/snapshot.md"))
    assert {route.rstrip("/") for route in shown} == routes


def test_the_public_keys_are_those_of_the_code() -> None:
    keys = PublicKeys("main", "ACCOUNT")
    shown = text("docs/use/snapshot.md")
    for name in (keys.report, keys.history, keys.revision, keys.channel):
        assert f"| `{name}` |" in shown
    assert PublicKeys("v2", "ACCOUNT").report in text("docs/run/operating.md")


def test_every_json_shown_can_be_read() -> None:
    for page in PAGES:
        for shown in re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            json.loads(shown)


# --- commands ---------------------------------------------------------------------------------------------------------


def subparsers() -> dict[str, argparse.ArgumentParser]:
    (found,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def test_every_command_has_its_section() -> None:
    assert set(subparsers()) == set(COMMANDS)
    sections = re.findall(r"^## mediana (\S+)$", text("docs/run/commands.md"), re.MULTILINE)
    assert sorted(sections) == sorted(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_options_of_a_command_are_those_of_its_section(command: str) -> None:
    options = {option for action in subparsers()[command]._actions for option in action.option_strings}
    rows = [
        line.split("|")[1]
        for line in section(text("docs/run/commands.md"), f"mediana {command}").splitlines()
        if line.startswith("| `--")
    ]
    assert set(re.findall(r"--[a-z-]+", " ".join(rows))) == options - {"-h", "--help"}


def test_every_action_on_topics_is_explained() -> None:
    (action,) = (action for action in subparsers()["topics"]._actions if action.dest == "action")
    shown = section(text("docs/run/commands.md"), "mediana topics")
    assert action.choices is not None
    assert all(f"{choice}`" in shown for choice in action.choices)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_command_that_does_not_exist(page: Path) -> None:
    markdown = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)mediana ([a-z][a-z-]+)", markdown, re.MULTILINE))
    assert named - set(COMMANDS) == set()


def lines_of_mediana(markdown: str) -> list[list[str]]:
    """The arguments of each `mediana … --option …` in a page's text; without options it is a name, not a command."""
    found = re.findall(r"`(?:[A-Z_]+=\S+ )*mediana ([^`]+)`", prose(markdown))
    whole = (line.partition(" < ")[0] for line in found if not re.search(r"[…\[]|COMMAND", line))
    return [shlex.split(line) for line in whole if " --" in line]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_text_is_one_that_the_program_takes(page: Path) -> None:
    for arguments in lines_of_mediana(page.read_text(encoding="utf-8")):
        parse_arguments(arguments)  # a wrong one exits with status 2


def test_a_wrong_command_in_the_text_would_be_noticed() -> None:
    (arguments,) = lines_of_mediana("say `A=b mediana worker --acept-gap`, not `mediana worker` or `mediana replay F…`")
    with pytest.raises(SystemExit):
        parse_arguments(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_make_target_that_does_not_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - targets == set()


# --- architecture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    markdown = page.read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:schemas|aggregates|streams|tests)/[\w/.]+)`", markdown))
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
    modules = set(re.findall(r"python -m ([\w.]+)", markdown))
    places = {name: ROOT / name.replace(".", "/") for name in modules}  # a package runs its __main__
    there = {name for name, at in places.items() if at.with_suffix(".py").exists() or (at / "__main__.py").exists()}
    assert sorted(modules - there) == []


def modules() -> list[str]:
    """Every module of the three packages; a package's own file only says what the package is."""
    found = (path for package in ("schemas", "aggregates", "streams") for path in (ROOT / package).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path.name != "__init__.py")


def test_every_module_has_its_row_once_and_no_row_is_left_over() -> None:
    rows = re.findall(
        r"^\| `(\S+\.py)` \| \S", section(text("docs/develop/architecture.md"), "Every module"), re.MULTILINE
    )
    assert sorted(rows) == modules()
