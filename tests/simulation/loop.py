"""An event loop without a clock, threads or sockets: time jumps to the next timer as soon as nothing is ready.

Everything that runs belongs to a `Process`, by a context variable that tasks and callbacks inherit. A process can be
frozen, so that nothing of it runs until it goes on, and killed: then nothing of it ever runs again, not even a
`finally`.
Two runs of the same program make the same steps in the same order.
"""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

EPOCH = 1_780_000_000.0
"""The wall clock when a simulation begins, in seconds since 1970 (28 May 2026)."""


class Killed(BaseException):
    """What a dead process meets when the interpreter, tidying up, makes its code run once more."""


class Process:
    """A program that runs in the simulation, from its start to its end; a restart is another one."""

    def __init__(self, name: str, clock_ahead: float = 0.0) -> None:
        self.name = name
        self.clock_ahead = clock_ahead
        """By how many seconds its wall clock differs from the true one."""
        self.dead = False
        self.frozen = False
        self.steps_left: int | None = None
        """After so many steps more, `at_last_step` is called, and the next one is not made."""
        self.at_last_step: Callable[[], None] = self.kill
        self.on_death: Callable[[], None] = _nothing
        self.held: deque[asyncio.Handle] = deque()
        self.context = contextvars.Context()

    def start(self, loop: "VirtualLoop", program: Coroutine[Any, Any, None]) -> None:
        """Run a program as this process."""
        self.context.run(PROCESS.set, self)
        loop.processes.append(self)
        loop.create_task(program, context=self.context)

    def kill(self) -> None:
        """End it at once: SIGKILL."""
        if not self.dead:
            self.dead = True
            self.held.clear()
            self.on_death()


def _nothing() -> None:
    pass


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)

OUTSIDE = contextvars.Context()
"""The context of what belongs to no process: servers, the network, the scenario."""


class Standstill(RuntimeError):
    """Nothing is ready and no timer is set."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs handles of processes that are neither frozen nor dead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self.failure: BaseException | None = None
        """The first thing that went wrong in a callback of nobody's."""
        self.all_tasks: list[asyncio.Task[Any]] = []
        self.processes: list[Process] = []
        self.set_task_factory(self._new_task)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self.now

    def call_outside(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Call something that belongs to no process."""
        return self.call_later(delay, callback, *args, context=OUTSIDE)

    def thaw(self, process: Process) -> None:
        """Let a frozen process go on with everything that became due meanwhile."""
        process.frozen = False
        self._ready.extend(process.held)  # type: ignore[attr-defined]
        process.held.clear()

    def bury(self) -> None:
        """Close whatever did not end, so that the interpreter finds nothing to complain about."""
        for process in self.processes:
            process.dead = True
        for task in self.all_tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                with suppress(BaseException):  # what it says cannot matter any more
                    coroutine.close()
        self.all_tasks.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self.close()

    def _new_task(self, loop: asyncio.AbstractEventLoop, program: Any, context: Any = None) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(program, loop=loop, context=context)
        self.all_tasks.append(task)
        return task

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG002
        error = context.get("exception")
        if self.failure is None and error is not None and "never retrieved" not in str(context.get("message")):
            self.failure = error

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not timers:
                raise Standstill("nothing will ever happen again")
            self.now = max(self.now, timers[0]._when)
        while timers and timers[0]._when <= self.now:
            handle = heapq.heappop(timers)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is not None:
                if process.steps_left is not None:
                    process.steps_left -= 1
                    if process.steps_left < 0:
                        process.steps_left = None
                        process.at_last_step()
                if process.dead:
                    continue
                if process.frozen:
                    process.held.append(handle)
                    continue
            self.steps += 1
            handle._run()

    def _process_events(self, event_list: object) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no threads."""
