"""What `pip install` brings: a pure Python wheel, from the tree or from an sdist, with everything inside.

The environments start empty. Their dependencies are those of the tests' own environment, found through a path file, so
that nothing is fetched; the program itself comes from the wheel alone.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "aggregates", "streams")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
NAME = f"mediana-{VERSION}-py3-none-any.whl"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command: str | Path, folder: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of(root: Path) -> set[str]:
    """Every file of the three packages, except what Python makes by itself."""
    return {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build needs: a build leaves files in its folder."""
    folder = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("sdist")
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(target)!r})"
    run(sys.executable, "-c", build, folder=tree)
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module", params=["tree", "sdist"])
def wheel(request: pytest.FixtureRequest, tree: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tree if request.param == "tree" else sdist
    target = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", target, source)
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which the wheel is installed, and no other copy of the program."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path file of a path file is not followed, so the editable install of the tests' environment stays out.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def test_an_sdist_has_every_file_that_a_wheel_is_made_of(sdist: Path, tree: Path) -> None:
    assert sdist.name == f"mediana-{VERSION}.tar.gz"
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*files_of(tree), "pyproject.toml", "README.md", "LICENSE"} <= names


def test_a_wheel_is_of_no_platform_and_has_every_file_of_the_packages(wheel: Path, tree: Path) -> None:
    assert wheel.name == NAME
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith("mediana-")}
        assert names == files_of(tree)
        described = archive.read(f"mediana-{VERSION}.dist-info/METADATA").decode()
    for kind in ("py.typed", ".lua", "schemas/json/account.json", "schemas/examples/account.json", "static/"):
        assert any(kind in name for name in names), kind
    for line in ("Requires-Python: >=3.11", "License-Expression: Apache-2.0", "Project-URL: Changelog, https://"):
        assert line in described


def test_the_installed_command_runs_and_knows_its_version(python: Path) -> None:
    assert run(python.with_name("mediana"), "--version").split() == ["mediana", VERSION]


def test_every_module_can_be_imported_from_the_wheel_alone(python: Path, tree: Path) -> None:
    modules = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in files_of(tree)
        if name.endswith(".py") and not name.endswith("__main__.py")
    )
    program = (
        "import importlib, json, sys\n"
        "names = json.loads(sys.argv[1])\n"
        "print(json.dumps([importlib.import_module(name).__file__ for name in names]))"
    )
    found = json.loads(run(python, "-I", "-c", program, json.dumps(modules)))
    assert len(found) == len(modules) > 100
    assert [file for file in found if not file.startswith(str(python.parents[1]))] == []


def test_data_inside_the_wheel_is_what_the_program_opens(python: Path) -> None:
    """Examples and the files of the page are found where the package is, not where the tree is."""
    program = (
        "from importlib.resources import files\n"
        "from schemas.accounts import decode_settings\n"
        "print(decode_settings(files('schemas').joinpath('examples/account.json').read_bytes()).account_id)"
    )
    assert run(python, "-I", "-c", program).strip() == "andes"
    page = "from importlib.resources import files; print(files('streams').joinpath('web/static').is_dir())"
    assert run(python, "-I", "-c", page).strip() == "True"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_type_checker_takes_the_types_of_the_wheel(python: Path, package: str, tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", python, "--follow-imports", "silent", "-c",
         f"import {package}\nreveal_type({package}.__doc__)"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout  # "missing library stubs or py.typed marker" otherwise
