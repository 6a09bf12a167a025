"""Packages, and the rooms of `streams`, import in one direction, and the core knows nothing of the world."""

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "aggregates", "streams")
MAY_IMPORT = {
    "schemas": {"schemas"},
    "aggregates": {"schemas", "aggregates"},
    "streams": {"schemas", "aggregates", "streams"},
}
# The rooms of `streams`, from the ground up, each with the rooms that it imports. All may import the root (the modules
# that stand in `streams` itself), `schemas` and `aggregates`. An import inside a function counts like any other.
ROOMS: dict[str, frozenset[str]] = {
    "kafka": frozenset(),
    "redis": frozenset({"kafka"}),
    "http": frozenset(),
    "monitoring": frozenset({"kafka", "http"}),
    "records": frozenset({"kafka", "redis"}),
    "fold": frozenset({"kafka", "redis", "records"}),
    "shard": frozenset({"kafka", "redis", "monitoring", "records", "fold"}),
    "intake": frozenset({"kafka", "redis", "monitoring", "records", "shard"}),
    "worker": frozenset({"kafka", "redis", "monitoring", "shard", "intake"}),
    "snapshots": frozenset({"kafka", "redis", "monitoring"}),
    "web": frozenset({"redis", "http", "monitoring", "snapshots"}),
    "ingest": frozenset({"kafka", "http", "monitoring"}),
    "simulation": frozenset({"kafka"}),
    "local": frozenset(),
    "cli": frozenset(
        {"kafka", "redis", "http", "monitoring", "worker", "snapshots", "web", "ingest", "simulation"},
    ),
}
ROOT_ROOM = "streams"
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
        # Columns of facts, and the compression of stored blocks: computations on values like the rest.
        *("numpy", "cramjam"),
    }
)
# datetime and date are values, but these of their methods look at the clock.
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})
# numpy is for computing, and these parts of it are not.
IMPURE_NUMPY = frozenset({"random", "load", "loadtxt", "save", "savez", "savetxt", "fromfile", "memmap", "genfromtxt"})
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


def room_of(module: str) -> str | None:
    """The room of a module of `streams`: a package's name, or `streams` for what stands in the root."""
    parts = module.split(".")
    if parts[0] != "streams":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ROOT_ROOM


def names_imported(source: str) -> Iterator[str]:
    """As `imported_modules`, with `from streams import x` and `from streams.kafka import x` as `streams.kafka.x`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = (ROOT / node.module.replace(".", "/")).is_dir()
            yield from (f"{node.module}.{alias.name}" for alias in node.names) if package else (node.module,)


def room_breaches(module: str, source: str) -> list[str]:
    """The imports of a module of `streams` that its room may not have."""
    room = room_of(module)
    assert room is not None
    may = {ROOT_ROOM} if room == ROOT_ROOM else {room, ROOT_ROOM, *ROOMS[room]}
    return [name for name in names_imported(source) if (other := room_of(name)) is not None and other not in may]


def circles(arrows: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Every name that reaches itself along the arrows, with the way round."""
    found: list[list[str]] = []
    ways = [[name] for name in arrows]
    for way in ways:
        seen = {way[0]}
        turns = [way]
        while turns:
            turn = turns.pop()
            for after in arrows.get(turn[-1], ()):
                if after == way[0]:
                    found.append([*turn, after])
                    turns.clear()
                    break
                if after not in seen:
                    seen.add(after)
                    turns.append([*turn, after])
    return found


def purity_breaches(source: str) -> list[str]:
    """What `source`, a module of the core, uses that is not a value or a computation."""
    breaches = [
        name
        for name in imported_modules(source)
        if name.split(".")[0] not in CORE_MAY_USE and name.split(".")[0] not in MAY_IMPORT["aggregates"]
    ]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=attr) if attr in IMPURE_NUMPY:
                breaches.append(f"numpy.{attr}")
            case ast.ImportFrom(module="numpy", names=names):
                breaches += [f"numpy.{name.name}" for name in names if name.name in IMPURE_NUMPY]
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


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_package_of_streams_is_a_room_and_every_room_is_there() -> None:
    found = {path.parent.name for path in (ROOT / "streams").glob("*/__init__.py")}
    assert found == set(ROOMS)


def test_the_architecture_page_shows_this_table() -> None:
    page = (ROOT / "docs" / "develop" / "architecture.md").read_text(encoding="utf-8")
    _, _, shown = page.partition("## The rooms of streams")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", shown.partition("\n## ")[0], re.MULTILINE))
    everything = {"all but `local`": frozenset(ROOMS) - {"cli", "local"}}
    told = {room: everything.get(may, frozenset(re.findall(r"`(\w+)`", may))) for room, may in rows.items()}
    # The command line may import what it likes of the programs; the table in this file says what it does.
    assert {**told, "cli": ROOMS["cli"]} == ROOMS
    assert told["cli"] >= ROOMS["cli"]


def test_rooms_stand_on_rooms_below_them_only() -> None:
    """Each row of the table names earlier rows alone, so no circle can be written into it."""
    for place, (room, may) in enumerate(ROOMS.items()):
        assert may <= {*list(ROOMS)[:place]}, room


@pytest.mark.parametrize("room", [ROOT_ROOM, *ROOMS])
def test_a_room_imports_only_what_its_row_allows(room: str) -> None:
    modules = [path for path in modules_of("streams") if room_of(dotted(path)) == room]
    assert modules
    breaches = {dotted(path): room_breaches(dotted(path), path.read_text()) for path in modules}
    assert {module: names for module, names in breaches.items() if names} == {}


def test_every_arrow_of_the_table_is_used() -> None:
    """A row says what a room stands on, not what it might want one day."""
    used: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in modules_of("streams"):
        if (room := room_of(dotted(path))) in used:
            used[room] |= {other for name in names_imported(path.read_text()) if (other := room_of(name)) in ROOMS}
    assert {room: ROOMS[room] - used[room] for room in ROOMS if ROOMS[room] - used[room]} == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {dotted(path): path for package in PACKAGES for path in modules_of(package)}
    arrows = {
        name: {other for other in names_imported(path.read_text()) if other in modules and other != name}
        for name, path in modules.items()
    }
    assert sum(map(len, arrows.values())) > len(modules), "hardly an arrow found: the check would pass over nothing"
    assert circles(arrows) == []


@pytest.mark.parametrize(
    ("module", "source", "breach"),
    [
        ("streams.config", "from streams.kafka.clients import client_options", "streams.kafka.clients"),
        ("streams.kafka.clients", "from streams.redis import keys", "streams.redis.keys"),
        ("streams.fold.batch_fold", "def late() -> None:\n    import streams.shard.batch", "streams.shard.batch"),
        ("streams.shard.batch", "from streams.worker.run import run", "streams.worker.run"),
        ("streams.web.server", "from streams.cli.preflight import preflight", "streams.cli.preflight"),
        ("streams.cli.rebuild", "from streams.local.redis import Redis", "streams.local.redis"),
        ("streams.snapshots.publisher", "from streams import web", "streams.web"),
    ],
)
def test_an_import_against_the_direction_of_the_rooms_is_found(module: str, source: str, breach: str) -> None:
    assert room_breaches(module, source) == [breach]


def test_an_import_along_the_direction_is_no_breach() -> None:
    source = (
        "from streams import logs\nfrom streams.config import Config\nfrom streams.redis import keys\nimport orjson"
    )
    assert room_breaches("streams.shard.batch", source) == []


def test_a_circle_is_found_wherever_it_begins() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"], ["c", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


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
        ("import numpy as np\nnoise = np.random.default_rng()", "numpy.random"),
        ("import numpy as np\nstate = np.load('state')", "numpy.load"),
        ("from numpy import random", "numpy.random"),
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
