"""Runs all tests as two halves beside each other, about equally long: tests with servers mostly wait for them.

Whole lines of both are printed as they come. The status is 0 when both passed. Ctrl-C reaches both by itself: they are
in the terminal's group of processes, and end what they started.
"""

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

FIRST_HALF = ("tests/browser", "tests/integration", "tests/simulation")


def halves(pytest: list[str]) -> tuple[list[str], list[str]]:
    """The command lines of both."""
    return [*pytest, *FIRST_HALF], [*pytest, *(f"--ignore={folder}" for folder in FIRST_HALF)]


def run(command: list[str]) -> int:
    """Run one, print its lines, and return its status."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as half:
        assert half.stdout is not None
        for line in half.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
    return half.returncode


def main(pytest: list[str]) -> int:
    """Run both."""
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(run, command) for command in halves(pytest)]
        while True:
            with contextlib.suppress(
                KeyboardInterrupt
            ):  # the halves were told, too: they end, and say how far they came
                return int(any(half.result() for half in running))


if __name__ == "__main__":
    sys.exit(main([sys.executable, "-m", "pytest", *sys.argv[1:]]))
