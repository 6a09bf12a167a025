"""What Linux tells of a process: processor time, memory, threads, open files."""

import os
from pathlib import Path

_MIB = 1 << 20


class Usage:
    """What a process has used so far."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """User and system time of all its threads."""
        # The name, in parentheses, may hold spaces; utime and stime are the 14th and 15th fields.
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / self._ticks

    def peak_mib(self) -> float:
        """The most memory it held."""
        return self._status("VmHWM") / 1024

    def rss_mib(self) -> float:
        """The memory it holds now."""
        return int((self._folder / "statm").read_text().split()[1]) * self._page / _MIB

    def threads(self) -> int:
        """How many threads it has."""
        return self._status("Threads")

    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(list((self._folder / "fd").iterdir()))

    def _status(self, name: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        return 0
