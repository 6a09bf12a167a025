"""The compiled fold is used where it is whole and of this version; where not, Python folds, and the log says why."""

import _ctypes
from pathlib import Path

import pytest

from streams.config import Config, ConfigError
from streams.errors import Fatal
from streams.fold import compiled
from streams.fold.compiled import ABI, LIBRARY, MODES, Absent, Stale, load, open_library
from tests import native


@pytest.fixture
def built() -> Path:
    """The library of this checkout."""
    native.library()
    return LIBRARY


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    return tmp_path / "libmediana_fold.so"


@pytest.fixture
def broken(nowhere: Path) -> Path:
    """As of another machine: no library that this one could load."""
    nowhere.write_bytes(b"\x7fELF, but not of this machine")
    return nowhere


@pytest.fixture
def foreign() -> Path:
    """A library that loads and knows nothing of Mediana: Python's own, without which ctypes would not be."""
    file = getattr(_ctypes, "__file__", None)
    if file is None:
        pytest.skip("ctypes is built into this Python")
    return Path(file)


def test_a_library_that_is_not_there_is_absent_and_python_folds(nowhere: Path) -> None:
    with pytest.raises(Absent, match="is not there"):
        open_library(nowhere)
    library, reason = load("auto", nowhere)
    assert library is None
    assert reason.startswith(f"folding in Python, which is slower: the compiled fold is not there ({nowhere}); ")
    assert reason.endswith("`make native` builds it")


def test_a_library_of_another_machine_is_stale_and_python_folds(broken: Path) -> None:
    with pytest.raises(Stale, match="cannot be used here"):
        open_library(broken)
    assert load("auto", broken).library is None
    assert "make native" in load("auto", broken).reason


def test_a_library_that_does_not_say_its_version_is_stale(foreign: Path) -> None:
    with pytest.raises(Stale, match=r"cannot be used here .*mediana_abi"):
        open_library(foreign)


def test_a_library_of_another_version_is_stale(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "ABI", ABI + 1)
    with pytest.raises(Stale, match=f"speaks version {ABI}, not {ABI + 1}"):
        open_library(built)
    assert load("auto", built).library is None


def test_the_library_of_this_checkout_is_of_this_version_and_used(built: Path) -> None:
    for mode in ("auto", "compiled"):
        loaded = load(mode, built)
        assert loaded.library is not None
        assert loaded.library.mediana_abi() == ABI
        assert loaded.reason == f"folding compiled, by {built}"


@pytest.mark.parametrize("kind", ["nowhere", "broken"])
def test_a_worker_that_must_fold_compiled_does_not_start_without(kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(kind)
    with pytest.raises(Fatal, match=r"^MEDIANA_FOLD=compiled, and the compiled fold .*`make native` builds it"):
        load("compiled", path)


def test_a_worker_that_must_fold_in_python_does_not_look_for_a_library(broken: Path) -> None:
    assert load("python", broken) == (None, "folding in Python, as MEDIANA_FOLD says")


def test_the_modes_are_those_of_the_setting() -> None:
    assert [Config(fold=mode).fold for mode in MODES] == ["auto", "compiled", "python"]
    assert Config().fold == "auto"
    with pytest.raises(ConfigError, match="must be one of auto, compiled, python"):
        Config(fold="rust")
