"""The compiled fold for the tests that need it."""

import ctypes
import os
import shutil

import pytest

from streams.fold.compiled import LIBRARY, open_library


def library() -> ctypes.CDLL:
    """The library. Fails where it was not built although it could be; skips only where no cargo can be had.

    As root on Debian `make install` installs cargo. `CARGO=none` says that a machine is to do without.
    """
    if LIBRARY.exists():
        return open_library()  # raises for one that was built from other source
    cargo = os.environ.get("CARGO", "cargo")
    if cargo != "none" and shutil.which(cargo) is not None:
        pytest.fail(f"the compiled fold was not built although {cargo} is there: `make native` says why")
    if cargo == "cargo" and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        pytest.fail("the compiled fold was not built: `make native` installs cargo here, or says why it cannot")
    pytest.skip(f"no compiled fold, and no cargo to build it (CARGO={cargo}): workers fold in Python here")
