"""The compiled fold is built where it can be, put in its place whole, and carried by wheels of its platform only.

The compiler is a stand-in: what it makes is for the tests of the fold.
"""

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from streams.fold.compiled import LIBRARY

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "dirname", "mkdir", "cp", "chmod", "mv", "rm", "uname", "cat")

CARGO = """#!/bin/sh
case "$*" in *--offline*--manifest-path\\ native/Cargo.toml*) ;; *) exit 64 ;; esac
mkdir -p native/target/release
echo "built, stripped of $CARGO_PROFILE_RELEASE_STRIP" > "native/target/release/{library}"
"""
BROKEN_CARGO = """#!/bin/sh
echo 'error: linker `cc` not found' >&2
exit 101
"""
APT = """#!/bin/sh
echo "$@" >> apt.log
[ "$1" != install ] || cp "{cargo}" "{bin}/cargo"
"""


@dataclass(frozen=True)
class Machine:
    """A copy of what the build needs, and a PATH that has only what is put there."""

    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / "streams" / "lib" / LIBRARY.name

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def has(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def build(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", self.folder / "native" / "build.sh", *arguments],
            env={"PATH": str(self.bin), **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Nobody special, without cargo and apt."""
    found = Machine(tmp_path)
    for folder in (found.bin, tmp_path / "native"):
        folder.mkdir()
    for tool in TOOLS:
        where = shutil.which(tool)
        assert where is not None, tool
        (found.bin / tool).symlink_to(where)
    found.has("id", "#!/bin/sh\necho 1000\n")
    shutil.copy(ROOT / "native" / "build.sh", tmp_path / "native" / "build.sh")
    return found


def leave_an_old_one(machine: Machine) -> None:
    machine.library.parent.mkdir(parents=True)
    machine.library.write_text("old\n")


def test_the_library_is_built_offline_stripped_and_alone_in_its_place(machine: Machine) -> None:
    leave_an_old_one(machine)
    machine.has("cargo", CARGO.format(library=LIBRARY.name))
    done = machine.build()
    assert done.returncode == 0, done.stderr
    assert machine.library.read_text() == "built, stripped of symbols\n"
    assert [path.name for path in machine.library.parent.iterdir()] == [LIBRARY.name]
    assert machine.library.stat().st_mode & 0o777 == 0o644, "an image runs as another user"


@pytest.mark.parametrize(("cargo", "problem"), [(None, "cargo not found"), (BROKEN_CARGO, "cargo could not build it")])
def test_asked_for_by_name_a_build_that_cannot_be_made_fails(machine: Machine, cargo: str | None, problem: str) -> None:
    if cargo is not None:
        machine.has("cargo", cargo)
    done = machine.build()
    assert done.returncode == 1
    assert f"native: {problem}\n" in done.stderr
    assert not machine.library.exists()


@pytest.mark.parametrize(("cargo", "problem"), [(None, "cargo not found"), (BROKEN_CARGO, "cargo could not build it")])
def test_an_install_goes_on_in_python_says_so_and_leaves_no_library_of_older_source(
    machine: Machine, cargo: str | None, problem: str
) -> None:
    leave_an_old_one(machine)
    if cargo is not None:
        machine.has("cargo", cargo)
    done = machine.build("--or-python")
    assert done.returncode == 0, done.stderr
    assert f"native: {problem}\n" in done.stderr
    assert "workers fold in Python" in done.stderr
    assert "then: make native" in done.stderr
    assert not machine.library.exists()


def root_on_debian(machine: Machine) -> None:
    elsewhere = machine.folder / "package"
    elsewhere.write_text(CARGO.format(library=LIBRARY.name))
    elsewhere.chmod(0o755)
    machine.has("apt-get", APT.format(cargo=elsewhere, bin=machine.bin))
    machine.has("id", "#!/bin/sh\necho 0\n")


def test_root_on_debian_gets_cargo_once(machine: Machine) -> None:
    root_on_debian(machine)
    for _ in range(2):
        assert machine.build("--or-python").returncode == 0
        assert machine.library.exists()
    assert (machine.folder / "apt.log").read_text().splitlines() == [
        "update -qq",
        "install -y -qq --no-install-recommends cargo",
    ]


def test_who_wants_none_gets_none(machine: Machine) -> None:
    root_on_debian(machine)
    assert machine.build("--or-python", CARGO="none").returncode == 0
    assert not machine.library.exists()
    assert not (machine.folder / "apt.log").exists()


# --- wheels -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that wheels are made of, without what was built in it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("schemas", "aggregates", "streams"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "libmediana_fold.*"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def wheel(source: Path, into: Path) -> tuple[str, list[str]]:
    """The name of the wheel that the source gives, and the libraries in it."""
    into.mkdir()
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(into)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, timeout=120, check=True)
    (made,) = into.iterdir()
    return made.name, [name for name in ZipFile(made).namelist() if name.startswith("streams/lib/")]


def test_a_wheel_with_the_library_is_of_its_platform_and_one_without_is_of_all(source: Path, tmp_path: Path) -> None:
    library = source / "streams" / "lib" / LIBRARY.name
    library.parent.mkdir(exist_ok=True)
    library.write_bytes(b"as if built")
    name, libraries = wheel(source, tmp_path / "with")
    assert libraries == [f"streams/lib/{LIBRARY.name}"]
    assert name.startswith("mediana-0.1.0-py3-none-")
    assert name.removesuffix(".whl").endswith(platform.machine())

    library.unlink()
    assert wheel(source, tmp_path / "without") == ("mediana-0.1.0-py3-none-any.whl", [])
