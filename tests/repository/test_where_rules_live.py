"""`docs/develop/where-each-rule-lives.md` names functions that are there, and leaves out no event and no list."""

import ast
import re
from pathlib import Path

from aggregates import contact, lists
from schemas.events import EVENT_TYPES, type_name
from schemas.lists import LISTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "develop" / "where-each-rule-lives.md"
NAMED = re.compile(r"\[`([\w.]+)`\]\(([^)]+\.py)\)")


def defined(file: Path) -> set[str]:
    """Functions and classes of a module, methods as `Class.method`."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name):
                found |= {name, *(f"{name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef))}
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found


def missing(markdown: str) -> list[str]:
    return [
        f"{file}: {name}"
        for name, file in NAMED.findall(markdown)
        if name not in defined((PAGE.parent / file).resolve())
    ]


def test_every_function_that_the_page_names_is_where_it_says() -> None:
    assert missing(PAGE.read_text(encoding="utf-8")) == []


def test_a_function_that_moved_would_be_noticed() -> None:
    core = "../../aggregates"
    rows = f"[`step`]({core}/history.py) [`step`]({core}/contact.py) [`Rules.x`]({core}/rules.py)"
    assert missing(rows) == ["../../aggregates/history.py: step", "../../aggregates/rules.py: Rules.x"]


def test_each_event_has_a_row_with_the_function_that_the_fold_calls() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)`.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(map(type_name, EVENT_TYPES))
    named = {name for name, _ in NAMED.findall(PAGE.read_text(encoding="utf-8"))}
    assert sorted(contact._STEPS) == [struct.rank for struct in EVENT_TYPES]
    assert {function.__name__ for function in contact._STEPS.values()} <= named


def test_each_list_has_a_row() -> None:
    shown = PAGE.read_text(encoding="utf-8").partition("## The lists")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z_]+)`(?:,| \|)", shown)) >= set(LISTS)
    assert lists.list_rows.__name__ in shown
