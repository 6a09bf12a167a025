"""Finds the compiled fold: a library made of `native/`, that lies in the package where it could be built.

Without it, or with one of another version of this program, the fold in Python does all the work, to the same bytes.
"""

import ctypes
import sys
from pathlib import Path
from typing import NamedTuple

from streams.errors import Fatal

ABI = 4
"""What library and program have agreed on: the calls, and what each gives. Any change of either raises it, here and in
`native/src/lib.rs`, so that a library left from before is never asked."""

AUTO, COMPILED, PYTHON = MODES = ("auto", "compiled", "python")
"""Use the library if there is one; do not work without; do not use it."""

LIBRARY = (
    Path(__file__).parents[1] / "lib" / ("libmediana_fold.dylib" if sys.platform == "darwin" else "libmediana_fold.so")
)


class Unusable(Exception):
    """There is no library to use; the text says why, and goes on after "the compiled fold "."""


class Absent(Unusable):
    """It was not built, or not installed."""


class Stale(Unusable):
    """It is for another version of this program, or for another machine."""


class Loaded(NamedTuple):
    """What folds: the library, or without one Python; and why, in a sentence for the log."""

    library: ctypes.CDLL | None
    reason: str


def load(mode: str, path: Path = LIBRARY) -> Loaded:
    """What is to fold under a mode of `MODES`. Raises `Fatal` when only the library would do and it cannot be used."""
    if mode == PYTHON:
        return Loaded(None, "folding in Python, as MEDIANA_FOLD says")
    try:
        return Loaded(open_library(path), f"folding compiled, by {path}")
    except Unusable as error:
        if mode == COMPILED:
            raise Fatal(f"MEDIANA_FOLD=compiled, and the compiled fold {error}") from None
        return Loaded(None, f"folding in Python, which is slower: the compiled fold {error}")


def open_library(path: Path = LIBRARY) -> ctypes.CDLL:
    """The library, held against `ABI`. Raises `Absent`, `Stale`."""
    if not path.exists():
        raise Absent(f"is not there ({path}); where the source is, `make native` builds it")
    try:
        library = ctypes.CDLL(str(path))
        version = library.mediana_abi
    except (OSError, AttributeError) as error:
        raise Stale(f"cannot be used here ({error}); where the source is, `make native` builds it anew") from None
    version.restype = ctypes.c_uint32
    version.argtypes = ()
    if (found := version()) != ABI:
        raise Stale(f"speaks version {found}, not {ABI} ({path}); where the source is, `make native` builds it anew")
    return library
