"""`python -m bench.soak.program CLOCK SWEEP_SECONDS COMMAND…`: a `mediana` command that lives in the soak's event time.

The soak sends a simulated day in seconds, so what depends on which day it is must take it from the traffic: which days
are past the horizon, and which are in a report. CLOCK is a file with the newest event's instant in milliseconds. The
rest is the program as it is. SWEEP_SECONDS is the pause between two looks for old days (else ten minutes).
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from streams.cli import main as cli
from streams.snapshots import snapshotter
from streams.worker import app, retention


class EventClock:
    """Tells the time of the newest event. `monotonic` stays the machine's own."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, path: Path) -> None:
        self._path = path

    def time(self) -> float:
        """Seconds since 1970."""
        return int(self._path.read_bytes()) / 1000

    def today(self) -> date:
        """The day, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC).date()


def main(arguments: list[str]) -> int:
    """Run the command; its exit status."""
    path, sweep_seconds, *command = arguments
    clock = EventClock(Path(path))
    vars(app)["_today"] = clock.today
    vars(retention)["EVERY_SECONDS"] = float(sweep_seconds)
    vars(snapshotter)["time"] = clock
    return cli.main(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
