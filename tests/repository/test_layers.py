"""The three packages import in one direction, and the core knows nothing of the world."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "aggregates", "streams")
MAY_IMPORT = {
    "schemas": {"schemas"},
    "aggregates": {"schemas", "aggregates"},
    "streams": {"schemas", "aggregates", "streams"},
}
# Everything that the core may use from outside. A list of what is allowed also holds against what nobody thought of:
# no clock, environment, logging, randomness, file, network, thread or client library is in it.
CORE_MAY_USE = frozenset(
    {
        *(
            "__future__",
            "abc",
            "array",
            "bisect",
            "collections",
            "copy",
            "dataclasses",
            "datetime",
            "enum",
            "fractions",
        ),
        *("functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "string", "struct", "types"),
        *("typing", "typing_extensions", "unicodedata", "zlib", "msgspec"),
    }
)
# datetime and date are values, but these of their methods look at the clock.
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})
FORBIDDEN_CALLS = frozenset({"open", "print", "input", "__import__", "eval", "exec"})


def imported_modules(source: str) -> Iterator[str]:
    """The full name of every module that `source` imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "." * node.level
            yield node.module or ""


def layer_breaches(package: str, source: str) -> list[str]:
    """The imports of `source`, a module of `package`, that go against the direction."""
    breaches = []
    for name in imported_modules(source):
        top = name.split(".")[0]
        if name.startswith(".") or (top in {*PACKAGES, "tests", "bench"} and top not in MAY_IMPORT[package]):
            breaches.append(name)
    return breaches


def purity_breaches(source: str) -> list[str]:
    """What `source`, a module of the core, uses that is not a value or a computation."""
    breaches = [
        name
        for name in imported_modules(source)
        if name.split(".")[0] not in CORE_MAY_USE and name.split(".")[0] not in MAY_IMPORT["aggregates"]
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) if name in FORBIDDEN_CALLS:
                    breaches.append(name)
                case ast.Attribute(value=ast.Name(id="date" | "datetime" as name), attr=method) if (
                    method in CLOCK_METHODS
                ):
                    breaches.append(f"{name}.{method}")
    return breaches


def modules_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_itself_and_those_below_it(package: str) -> None:
    modules = modules_of(package)
    assert modules, f"no module found in {package}: the check would pass over nothing"
    breaches = {str(path.relative_to(ROOT)): layer_breaches(package, path.read_text()) for path in modules}
    assert {path: names for path, names in breaches.items() if names} == {}


def test_the_core_uses_values_and_computations_only() -> None:
    breaches = {str(path.relative_to(ROOT)): purity_breaches(path.read_text()) for path in modules_of("aggregates")}
    assert {path: names for path, names in breaches.items() if names} == {}


@pytest.mark.parametrize(
    ("package", "source", "breach"),
    [
        ("schemas", "from aggregates.sketch import add", "aggregates.sketch"),
        ("schemas", "import streams", "streams"),
        ("aggregates", "def late() -> None:\n    from streams.worker.run import run", "streams.worker.run"),
        ("streams", "from tests.unit import helpers", "tests.unit"),
        ("streams", "from . import intake", "."),
    ],
)
def test_an_import_upwards_is_found(package: str, source: str, breach: str) -> None:
    assert breach in layer_breaches(package, source)


@pytest.mark.parametrize(
    "module",
    [
        *("os", "os.path", "time", "logging", "socket", "asyncio", "pathlib", "random", "secrets", "io", "threading"),
        *("subprocess", "sys", "redis", "redis.asyncio", "aiokafka", "faust", "mode", "aiohttp", "prometheus_client"),
    ],
)
def test_a_client_clock_or_system_module_in_the_core_is_found(module: str) -> None:
    assert purity_breaches(f"import {module}") == [module]
    assert purity_breaches(f"def late() -> None:\n    from {module} import something") == [module]


@pytest.mark.parametrize(
    ("source", "breach"),
    [
        ("from datetime import datetime, UTC\nnoon = datetime.now(UTC)", "datetime.now"),
        ("from datetime import date\nday = date.today()", "date.today"),
        ("print('hello')", "print"),
        ("open('state')", "open"),
    ],
)
def test_a_look_at_the_clock_or_a_file_in_the_core_is_found(source: str, breach: str) -> None:
    assert purity_breaches(source) == [breach]


def test_what_the_core_does_use_is_not_mistaken_for_a_breach() -> None:
    source = (
        "import math\nfrom datetime import datetime\nfrom schemas.events import Event\nfrom aggregates import sketch"
    )
    assert purity_breaches(source) == []
    assert layer_breaches("aggregates", source) == []
