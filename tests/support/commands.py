"""Commands of the program as processes of their own, in a test's corner of Kafka and Redis."""

import asyncio
import subprocess
import sys

from tests.support.cluster import Site

PROGRAM = (sys.executable, "-m", "streams.cli.main")


async def run_command(site: Site, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `mediana ARGUMENTS`; `settings` as environment variables without their prefix."""
    return await asyncio.to_thread(
        subprocess.run,
        [*PROGRAM, *arguments],
        env=site.environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def started(site: Site, *arguments: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start `mediana ARGUMENTS`; the caller ends it."""
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        env=site.environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


async def answered(site: Site, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `mediana ARGUMENTS`, which must succeed."""
    ended = await run_command(site, *arguments, **settings)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended
