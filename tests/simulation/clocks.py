"""Puts a simulation's clock and dice where the program's modules have the real ones.

The program imports them by name (`from time import monotonic`) or as modules (`time.time()`, `secrets.token_hex()`).
Whatever module of `streams` has one of them among its names gets the simulated one, so that no module can be forgotten.
"""

import random
import secrets
import sys
import time
import types
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from random import Random
from typing import Any

from tests.simulation.loop import EPOCH, PROCESS, VirtualLoop

_REAL = {
    "time": time.time,
    "monotonic": time.monotonic,
    "perf_counter": time.perf_counter,
    "token_hex": secrets.token_hex,
    "token_bytes": secrets.token_bytes,
    "token_urlsafe": secrets.token_urlsafe,
    "uuid4": uuid.uuid4,
}
_MODULES: dict[str, types.ModuleType] = {"time": time, "secrets": secrets, "uuid": uuid, "random": random}


def wall(loop: VirtualLoop) -> float:
    """Seconds since 1970, as the clock of the running process shows them."""
    process = PROCESS.get()
    return EPOCH + loop.now + (0.0 if process is None else process.clock_ahead)


@contextmanager
def simulated(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """While this lasts, the program lives in the loop's time and throws the seed's dice."""
    dice = Random(f"{seed} tokens")

    def token_hex(size: int = 32) -> str:
        return dice.randbytes(size).hex()

    def monotonic() -> float:
        return loop.now

    fakes: dict[str, Any] = {
        "time": lambda: wall(loop),
        "monotonic": monotonic,
        "perf_counter": monotonic,
        "token_hex": token_hex,
        "token_bytes": dice.randbytes,
        "token_urlsafe": token_hex,
        "uuid4": lambda: uuid.UUID(bytes=dice.randbytes(16), version=4),
    }
    modules = {
        "time": types.SimpleNamespace(**{name: fakes[name] for name in ("time", "monotonic", "perf_counter")}),
        "secrets": types.SimpleNamespace(token_hex=token_hex, token_bytes=dice.randbytes, token_urlsafe=token_hex),
        "uuid": types.SimpleNamespace(uuid4=fakes["uuid4"], UUID=uuid.UUID),
        "random": dice,
    }
    places = _places(len(sys.modules))
    before = [(module, name, getattr(module, name)) for module, name, _, _ in places]
    try:
        for module, name, kind, which in places:
            if getattr(module, name) is not (_MODULES if kind == "module" else _REAL)[which]:
                continue  # a test has put something of its own there
            setattr(module, name, modules[which] if kind == "module" else fakes[which])
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@cache
def _places(modules_loaded: int) -> list[tuple[types.ModuleType, str, str, str]]:  # noqa: ARG001 - what it depends on
    """Where the program's modules have clocks and dice: module, name there, kind, and which one."""
    found = []
    for module_name, module in sorted(sys.modules.items()):
        if not module_name.startswith(("streams.", "aggregates.", "schemas.")):
            continue
        for name, value in sorted(vars(module).items()):
            found += [(module, name, "function", which) for which, real in _REAL.items() if value is real]
            found += [(module, name, "module", which) for which, real in _MODULES.items() if value is real]
    return found
