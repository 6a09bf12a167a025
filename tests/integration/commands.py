"""Commands of the program as processes of their own, in a test's corner of Kafka and Redis."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping

from tests.integration.workers import Site

PROGRAM = (sys.executable, "-m", "streams.cli")


def _environment(site: Site, settings: Mapping[str, str]) -> dict[str, str]:
    given = {
        "KAFKA_BOOTSTRAP": site.config.kafka_bootstrap,
        "REDIS_URL": str(site.config.redis_url),
        "NAMESPACE": site.config.namespace,
        "TOPIC_PREFIX": site.config.topic_prefix,
        **settings,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
    return {**kept, **{f"MEDIANA_{name}": value for name, value in given.items()}}


async def run_command(site: Site, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `mediana ARGUMENTS`; `settings` as environment variables without their prefix."""
    return await asyncio.to_thread(
        subprocess.run,
        [*PROGRAM, *arguments],
        env=_environment(site, settings),
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
        env=_environment(site, {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


async def answered(site: Site, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `mediana ARGUMENTS`, which must succeed."""
    ended = await run_command(site, *arguments, **settings)
    assert ended.returncode == 0, ended.stderr
    return ended
