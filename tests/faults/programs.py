"""Programs that publish to the simulated Redis, and an event loop without waits.

Each program of a simulation is a `Program` with a client of its own; what it does between two commands happens at one
instant, and at each command it may be stopped for a while or for good. The server runs the program's own scripts, and a
test can take a guard out of them.
"""

import asyncio
import contextlib
import contextvars
import selectors
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from random import Random
from typing import Any, Final

from streams.snapshots.fenced import PUBLICATION, QUIET
from streams.snapshots.lock import LOCK
from tests.simulation.loop import EPOCH, Process
from tests.simulation.redis_client import Client, Command, Link
from tests.simulation.redis_server import Server as SimulatedServer
from tests.simulation.redis_server import Value

GUARDS: Final = {
    "fence": (
        "if held_epoch ~= epoch or held_token ~= token then",
        "if tonumber(held_epoch or '0') > tonumber(epoch) then",
        "if redis.call('EXISTS', part) == 1 then",
    ),
    "revision": ("if known ~= ARGV[5] then",),
    "missing": ("if #missing > 1 then",),
}
"""The conditions of `lua/publication.lua` that keep what is published whole and right."""

Copy = tuple[dict[bytes, Value], dict[bytes, float]]
Hook = Callable[["Program", str, str], Awaitable[None]]
"""Awaited with the program, the command's name, and `before` it runs or `after` it has."""

current: contextvars.ContextVar["Program"] = contextvars.ContextVar("program")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next thing that is due."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self._now = 0.0

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            scheduled = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            assert scheduled, "everything waits for something that will never come"
            self._now = max(self._now, min(scheduled))
        super()._run_once()  # type: ignore[misc]


def simulate(main: Awaitable[Any]) -> Any:
    """Run in a loop of its own, in no time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()


class Program:
    """A process of the simulation: its clock may be wrong, it may be stopped, it may be dead."""

    def __init__(self, name: str, clock_ahead_seconds: float = 0.0) -> None:
        self.name = name
        self.clock_ahead_seconds = clock_ahead_seconds
        self.is_dead = False
        self.commands = 0

    def now_seconds(self) -> float:
        """What its clock shows."""
        return EPOCH + asyncio.get_running_loop().time() + self.clock_ahead_seconds

    def run(self, work: Awaitable[Any]) -> "asyncio.Task[Any]":
        """Start a task of it."""

        async def under_its_name() -> Any:
            current.set(self)
            return await work

        return asyncio.create_task(under_its_name())

    async def run_all(self, work: Awaitable[Any]) -> None:
        """Run it as the only thing there is."""
        await self.run(work)


class ProgramClock:
    """Takes the place of the module `time`: the clock of the program that asks."""

    @staticmethod
    def time() -> float:
        """Seconds since 1970."""
        return current.get().now_seconds()

    @staticmethod
    def monotonic() -> float:
        """Seconds since the simulation began."""
        return asyncio.get_running_loop().time()


async def no_hook(program: Program, command: str, moment: str) -> None:
    """Nothing happens between the steps."""


def loop_seconds() -> float:
    """The time since a simulation began; 0 outside of one."""
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop().time()
    return 0.0


class Server(SimulatedServer):
    """What all clients share."""

    def __init__(self, hook: Hook = no_hook) -> None:
        super().__init__(lambda: loop_seconds() + self.clock_ahead_ms / 1000)
        self.hook = hook
        self.clock_ahead_ms = 0
        self.refused = 0
        """How often a script found another's fence or lock: a guard that never acts was not tested."""
        self.published: Callable[[bytes], None] = lambda _: None
        """Told the manifest's key after each publication."""
        self.without: frozenset[str] = frozenset()
        """Of `GUARDS`, those that are taken out."""

    def copied(self) -> Copy:
        """What a backup of this moment holds."""
        self._owned.clear()
        return dict(self.data), dict(self.expires)

    def restore(self, copy: Copy) -> None:
        """Go back to a copy."""
        self._owned.clear()
        self.data, self.expires = dict(copy[0]), dict(copy[1])

    def client(self, program: Program) -> Client:
        """A connection of a program's."""
        return Client(Wire(self, program))

    def hash(self, key: bytes | str) -> dict[bytes, bytes]:
        """A hash, to be looked at; an empty one where there is none."""
        return self._read_hash(_bytes(key))

    def _run(self, text: bytes, keys: list[bytes], arguments: list[bytes]) -> Any:
        answer = super()._run(_without(text, self.without), keys, arguments)
        said = answer[0] if isinstance(answer, list) else answer
        self.refused += said in (b"lost", b"newer")
        if text == _PUBLICATION and arguments[0] == b"publish" and said == b"ok":
            self.published(keys[2])
        return answer


@cache
def _without(text: bytes, guards: frozenset[str]) -> bytes:
    """A script without some of its guards."""
    if text == _PUBLICATION:
        for guard in guards:
            for condition in GUARDS[guard]:
                assert text.count(condition.encode()) == 1, condition
                text = text.replace(condition.encode(), b"if false then")
    return text


_PUBLICATION = PUBLICATION.encode()
_SCRIPTS = {_PUBLICATION: "", LOCK.encode(): "lock ", QUIET.encode(): "quiet "}


class Wire(Link):
    """A program's way to the server: what is sent together is one step, with a hook before and after it."""

    def __init__(self, server: Server, program: Program) -> None:
        super().__init__(server, Process(program.name), Random(0), 1.0)
        self._shared = server
        self._program = program

    async def send(self, commands: list[Command], *, atomic: bool) -> list[Any]:  # noqa: ARG002 - one step, either way
        """The answers."""
        name = _name(commands)
        self._program.commands += 1
        await self._shared.hook(self._program, name, "before")
        answers = [self._shared.execute(command) for command in commands]
        await self._shared.hook(self._program, name, "after")
        return answers


def _name(commands: list[Command]) -> str:
    """A script's action, or a command's name."""
    first = commands[0]
    if first[0] == b"EVAL":
        return f"{_SCRIPTS[first[1]]}{first[3 + int(first[2])].decode()}"
    return "read" if len(commands) > 1 else first[0].decode().lower()


@contextlib.contextmanager
def clocks_of_programs() -> Iterator[None]:
    """Let the snapshotter's modules take the time from the program that runs them."""
    from streams.snapshots import publisher, snapshotter

    before = {module: vars(module)["time"] for module in (publisher, snapshotter)}
    for module in before:
        vars(module)["time"] = ProgramClock
    try:
        yield
    finally:
        for module, time in before.items():
            vars(module)["time"] = time


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
