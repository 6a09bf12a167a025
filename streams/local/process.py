"""A child process in a group of its own, with its output in a file, that never outlives this process.

The death signal of a child (see `leash`) fires when the *thread* that forked it ends. So that `start` may be called
from any thread, every child is forked by one thread that lives as long as this process.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LEASH = Path(__file__).parents[1] / "parent_death.py"
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class Process:
    """A command that can be started again after it ended.

    `log_path` receives standard output and error and is appended to, so that the story of all starts is in one file.
    `environment` is the whole environment of the child; None hands on ours. Methods block; none is for an event loop.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log_path = log_path
        self.environment = environment
        self.working_folder = working_folder
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __repr__(self) -> str:
        return f"Process({self.name!r}, pid={self.pid}, status={self.status})"

    @property
    def pid(self) -> int | None:
        """The process id of the newest start, also after its end."""
        return None if self._child is None else self._child.pid

    @property
    def status(self) -> int | None:
        """The exit status of the newest start: negative for a signal, None while it runs or was never started."""
        return None if self._child is None else self._child.poll()

    @property
    def running(self) -> bool:
        """Whether the child lives (a paused one does)."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start the command; return as soon as it is a process. Raises RuntimeError when it runs already."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already, as process {self.pid}")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        leashed = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *self.command]
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._child = _SPAWNER.submit(
                subprocess.Popen,
                leashed,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self.environment is None else dict(self.environment),
                cwd=self.working_folder,
                # A group of its own: Ctrl-C in a terminal reaches us alone, and we end the children in order.
                start_new_session=True,
            ).result()

    def wait(self, timeout_seconds: float) -> int | None:
        """Wait for the end; the exit status, or None when it still runs after that long."""
        if self._child is None:
            return None
        try:
            return self._child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_seconds: float = 15.0) -> int | None:
        """Ask the group to end (SIGTERM), kill it after `grace_seconds`; the exit status. Harmless when ended."""
        if self.running:
            self.send_signal(signal.SIGTERM)
            self.send_signal(signal.SIGCONT)  # a paused process could not even take notice
            if self.wait(grace_seconds) is None:
                self.kill()
        return self.status

    def kill(self) -> None:
        """End the group at once (SIGKILL) and wait until it is gone. Harmless when ended."""
        if self._child is not None and self.running:
            self.send_signal(signal.SIGKILL)
            self._child.wait()

    def pause(self) -> None:
        """Freeze the group (SIGSTOP): sockets stay open and nothing answers, from the return of this on."""
        self.send_signal(signal.SIGSTOP)
        if sys.platform == "linux":
            # The signal is only a request: threads that run on another core go on until each has noticed.
            stopped = os.WSTOPPED | os.WNOWAIT | os.WNOHANG
            while self._child is not None and self.running and os.waitid(os.P_PID, self._child.pid, stopped) is None:
                time.sleep(0.001)

    def resume(self) -> None:
        """Undo `pause`."""
        self.send_signal(signal.SIGCONT)

    def log_text(self) -> str:
        """What the newest start has written so far."""
        with contextlib.suppress(FileNotFoundError), self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")
        return ""

    def last_lines(self, count: int = 15) -> str:
        """The end of the newest start's log, for an error message."""
        return "\n".join(self.log_text().splitlines()[-count:])

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the group; nothing happens when it ended. Safe in a signal handler: it never waits."""
        if self._child is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
