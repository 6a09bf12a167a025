"""A Redis Sentinel that watches a primary and its replicas, and promotes one of them when the primary is gone."""

from pathlib import Path

from streams.local.ports import LOOPBACK, ask
from streams.local.process import Process
from streams.local.redis import Redis, redis_command
from streams.local.server import Server

SERVICE = "reports"


class Sentinel(Server):
    """One is a quorum here: this is not about how Sentinels agree."""

    name = "sentinel"

    def __init__(self, data_folder: Path, primary: Redis) -> None:
        super().__init__(data_folder)
        self._primary = primary

    def prepare(self) -> Process:
        """Write the settings, which it will go on writing itself."""
        self.data_folder.mkdir(parents=True, exist_ok=True)
        settings = self.data_folder / "sentinel.conf"
        settings.write_text(
            f"bind {LOOPBACK}\n"
            f"port {self.port}\n"
            f"dir {self.data_folder}\n"
            f"sentinel monitor {SERVICE} {LOOPBACK} {self._primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\n"
            f"sentinel failover-timeout {SERVICE} 4000\n"
        )
        return Process(self.name, [redis_command(), str(settings), "--sentinel"], log_path=self.log_path)

    def answers(self) -> bool:
        """Whether it answers PING."""
        return ask(self.port, b"PING\r\n").startswith(b"+PONG")
