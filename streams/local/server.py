"""Base of the local Kafka and Redis: a fixed port, readiness, `with` and `async with`."""

import asyncio
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.local.errors import LocalStackError
from streams.local.ports import LOOPBACK, free_port, require_free
from streams.local.process import Process

READY_POLL_SECONDS = 0.1


class Server(ABC):
    """A server of our own, with its data in a folder given by the caller, on the loopback address.

    The port is chosen when the object is made and kept over restarts, as clients expect. Usable as `with`, as
    `async with`, or by `start` and `stop` from anywhere; in a coroutine call the blocking methods through
    `asyncio.to_thread`.
    """

    name: str
    start_timeout_seconds: float = 60.0
    stop_grace_seconds: float = 20.0

    def __init__(self, data_folder: Path, *, port: int | None = None) -> None:
        self.data_folder = data_folder.resolve()
        self.port = port or free_port()
        self.log_path = self.data_folder / f"{self.name}.log"
        self.process: Process | None = None

    @property
    def address(self) -> str:
        """`host:port`, as clients want it."""
        return f"{LOOPBACK}:{self.port}"

    @abstractmethod
    def prepare(self) -> Process:
        """Make the data folder ready and return the process to start. Raises LocalStackError."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server does its work at this moment; takes a second at most."""

    def start(self) -> None:
        """Start, and return when the server answers. After `kill` or `stop` it finds its data again.

        Raises LocalStackError when its port is taken, when it ends instead (with its last log lines), and when it
        does not answer in time.
        """
        process = self.process = self.process or self.prepare()
        # Else whoever listens there would answer in our place, and be taken for ready.
        require_free(self.port, self.name, "Stop what listens there, or choose another port.")
        process.start()
        deadline = time.monotonic() + self.start_timeout_seconds
        while not (process.running and self.answers()):
            if not process.running:
                raise LocalStackError(
                    f"{self.name} ended at its start (exit status {process.status}). Its last lines:\n"
                    f"{process.last_lines()}",
                    f"The whole log: {self.log_path}. If another program took port {self.port}, start again.",
                )
            if time.monotonic() > deadline:
                process.kill()
                raise LocalStackError(
                    f"{self.name} did not answer on port {self.port} within {self.start_timeout_seconds:.0f} s. "
                    f"Its last lines:\n{process.last_lines()}",
                    f"The whole log: {self.log_path}. A busy machine may need another try.",
                )
            time.sleep(READY_POLL_SECONDS)

    def stop(self) -> None:
        """End it in good order, by force after a while; nothing happens when it does not run."""
        if self.process is not None:
            self.process.stop(self.stop_grace_seconds)

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, data as they are on the disk."""
        if self.process is not None:
            self.process.kill()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers, until `resume`."""
        if self.process is not None:
            self.process.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        if self.process is not None:
            self.process.resume()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()  # an interrupt during the wait, say: `__exit__` is not called after a failed `__enter__`
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)
