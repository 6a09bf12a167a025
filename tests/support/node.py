"""The npm packages that examples for Node import, kept beside Kafka's jars."""

import fcntl
import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from streams.local.jars import cache_folder

PACKAGES = ("kafkajs@2.2.4", "redis@5.8.2")


@functools.cache
def node_folder() -> Path:
    """A folder whose `node_modules` has them; it is made once, from the npm registry.

    Skips the test where there is no Node: only the examples for it need it. Fails it where npm cannot fetch.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node on this machine (Debian, Ubuntu: apt install nodejs npm)")
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / "-".join(["node", *(package.replace("@", "-") for package in PACKAGES)])
    with (cache / "node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            folder.mkdir(exist_ok=True)
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
            done = subprocess.run([*command, *PACKAGES], capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                pytest.fail(f"npm could not fetch {' '.join(PACKAGES)} (once; kept in {cache}): {done.stderr[-500:]}")
            (folder / "complete").touch()
    return folder
