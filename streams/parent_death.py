"""Runs a command that ends when the process that started it ends.

    python -I -S leash.py PARENT_PID COMMAND ARGUMENT...

A parent killed with SIGKILL cannot clean up after itself, so on Linux the kernel is asked to: this file sets the
death signal of its own process and then becomes the command. It is a program of its own because the usual place,
a function run between fork and exec, may deadlock in a process with threads. Elsewhere than on Linux it only becomes
the command. It imports nothing of this project: it must start in a few milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(arguments: list[str]) -> None:
    """Tie this process to `arguments[0]`, its parent, and become `arguments[1:]`. Does not return."""
    parent, *command = arguments
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        if prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != int(parent):
            raise SystemExit(f"leash: process {parent} ended before its child began")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
