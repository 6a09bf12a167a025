"""Checks that all programs of a namespace use the same release of the time zone database.

Nothing stops when they do not. What was counted is taken back as it was counted, and the release is part of every
settings' version. But two programs with different rules would file the same instant under different days. So the
worker that started last writes its release into the namespace, and every other program compares: one log line, a
metric, a finding of `mediana check`. `docs/run/operating.md` says how the release is changed.
"""

import contextlib
import logging
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from schemas.zones import ZONE_DATA_VERSION
from streams.redis.keys import ZONE_DATA, NamespaceKeys

logger = logging.getLogger(__name__)


def difference(namespace: str, found: bytes | None, own: str = ZONE_DATA_VERSION) -> str | None:
    """What is wrong where a namespace names this release; nothing when it is ours, or none is named yet."""
    if found is None or found.decode(errors="replace") == own:
        return None
    return (
        f"namespace {namespace!r} is counted with zone data {found.decode(errors='replace')!r}, this program has "
        f"{own!r}: days and hours may differ between them. Run the same release of Mediana everywhere, then restart "
        "the workers: docs/run/operating.md#an-update-of-the-zone-data"
    )


async def announce(client: Any, keys: NamespaceKeys) -> None:
    """Name this worker's release. Says so where another stood there. Raises what the client raises."""
    found: bytes | None = await client.hget(keys.settings_log, ZONE_DATA)
    if found == ZONE_DATA_VERSION.encode():
        return
    await client.hset(keys.settings_log, ZONE_DATA, ZONE_DATA_VERSION)
    if found is not None:
        logger.warning(
            "namespace %s: zone data %s takes the place of %s: new events are counted by it, what was counted stays",
            keys.namespace,
            ZONE_DATA_VERSION,
            found.decode(errors="replace"),
        )


async def tell(client: Any, namespace: str) -> None:
    """Log a difference once, as a program that only reads starts. A Redis that is away is told of elsewhere."""
    with contextlib.suppress(RedisError, RedisClusterException, OSError):
        problem = difference(namespace, await client.hget(NamespaceKeys(namespace).settings_log, ZONE_DATA))
        if problem is not None:
            logger.warning("%s", problem)


class ZoneDataWatch:
    """Compares, and says once what differs."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._found: bytes | None = None
        self.differs = False

    def look(self, found: bytes | None) -> bool:
        """Whether the namespace names another release than ours; the first look at one that does logs it."""
        if found != self._found:
            self._found = found
            problem = difference(self._namespace, found)
            self.differs = problem is not None
            if problem is not None:
                logger.warning("%s", problem)
        return self.differs
