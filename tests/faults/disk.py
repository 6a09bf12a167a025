"""Full disks and torn files, without a disk of one's own: the kernel limits how long files of a process may grow."""

import os
import resource
import sys
from pathlib import Path

from streams.local.redis import Redis


def append_only_file(server: Redis) -> Path:
    """The file to which a server appends at this moment."""
    found = (server.data_folder / "appendonlydir").glob("*.incr.aof")
    return max(found, key=lambda path: int(path.name.split(".")[-3]))


def fill_disk(server: Redis, room: int) -> None:
    """After so many bytes more of its append-only file, what the server writes fails, as on a full disk."""
    _limit(server, append_only_file(server).stat().st_size + room)


def free_disk(server: Redis) -> None:
    """There is room again."""
    _limit(server, None)


def _limit(server: Redis, size: int | None) -> None:
    assert sys.platform == "linux"
    assert server.process is not None
    assert server.process.pid is not None
    # The server ignores SIGXFSZ, as whatever Python started does: the write fails, and the process lives.
    _, most = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most if size is None else size, most))


def torn(path: Path, count: int) -> None:
    """Cut off so many bytes at the end of a file, as a machine that loses its power may."""
    os.truncate(path, max(0, path.stat().st_size - count))
