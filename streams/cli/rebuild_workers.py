"""Worker processes of a rebuild."""

import asyncio
import os
import sys
from collections.abc import Mapping

from streams import parent_death as leash
from streams.config import PREFIX, Config
from streams.errors import Fatal

STOP_SECONDS = 30.0


class RebuildWorkers:
    """Workers of the new namespace, as processes of their own, that end with us however we end.

    They share our stderr, and not our terminal's Ctrl-C.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], count: int) -> None:
        self._count = count
        self._environ = {
            **environ,
            f"{PREFIX}NAMESPACE": config.namespace,
            f"{PREFIX}GROUP": config.group_id,
            f"{PREFIX}ACCEPT_GAP": str(config.accept_gap).lower(),
            f"{PREFIX}METRICS_PORT": "0",
        }
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start all of them."""
        for _ in range(self._count):
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", leash.__file__, str(os.getpid())),
                *(sys.executable, "-m", "streams.cli.main", "worker"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env=self._environ,
                start_new_session=True,
            )
            self._running.append(worker)

    def check(self) -> None:
        """Raises `Fatal` when one of them has ended."""
        for worker in self._running:
            if worker.returncode is not None:
                raise Fatal(
                    f"a worker of the rebuild ended with status {worker.returncode}; its last line, above, says why. "
                    "The same command goes on where it was"
                )

    async def stop(self) -> None:
        """Stop those that still run, as an operator does; what does not end in time is killed, which loses nothing."""
        running = [worker for worker in self._running if worker.returncode is None]
        for worker in running:
            worker.terminate()
        for worker in running:
            try:
                await asyncio.wait_for(worker.wait(), STOP_SECONDS)
            except TimeoutError:
                worker.kill()
                await worker.wait()
