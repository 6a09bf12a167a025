"""The lock of the one snapshotter of a namespace: held by time, not by progress, and lost at once.

While work is done under it a task of its own renews the lock, however long a single account takes. When the lock is
lost, or may be lost because nobody could renew it, the work is cancelled. That alone does not make it safe: a process
may be stopped between any two of its steps. So every script that writes for publication compares what the lock gave
out, its `Ticket`: those of the namespace compare the lock itself, those of an account the account's fence
(`streams/snapshots/fenced.py`), which on a Redis Cluster is in another slot than the lock.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import resources
from typing import Any, TypeVar

from msgspec import Struct
from redis.exceptions import RedisClusterException, RedisError

from streams.snapshots.manifest import SnapshotterKeys

logger = logging.getLogger(__name__)

LOCK = resources.files("streams.redis").joinpath("lua/snapshot_lock.lua").read_text()

LEASE_SECONDS = 60.0
"""How long the lock outlives its holder."""
RENEWALS_PER_LEASE = 4
PATIENCE_LEASES = 2
POLL_SECONDS = 0.2
CANCEL_AGAIN_SECONDS = 0.5

T = TypeVar("T")


class LockBusy(RuntimeError):
    """Another snapshotter holds the lock, and has for long."""


class LockLost(RuntimeError):
    """The lock is somebody else's by now, or may be: what was done under it is given up."""


class Ticket(Struct, frozen=True):
    """What one acquisition of the lock is known by."""

    epoch: int
    """Rises with each acquisition, so that of two the later one can be told."""
    token: str
    """Random: after Redis went back to an older copy, an epoch may be given out twice."""


class Lease:
    """The lock while it is held: what work under it is handed."""

    def __init__(self, redis: Any, keys: SnapshotterKeys, ticket: Ticket, seconds: float) -> None:
        self._redis = redis
        self._keys = keys
        self._seconds = seconds
        self.ticket = ticket

    async def renew(self) -> None:
        """Hold it for another lease. Raises `LockLost` and what Redis raises."""
        await self._ask((self._keys.lock, self._keys.epoch), "renew", milliseconds(self._seconds))

    async def outrun(self, epoch: int) -> None:
        """Take an epoch above one that an account's fence shows. Raises `LockLost` if that one is of a later holder.

        It is not where the lock's server went back to an older copy and the account's did not.
        """
        found = await self._ask((self._keys.lock, self._keys.epoch), "outrun", str(epoch))
        self.ticket = Ticket(int(found), self.ticket.token)

    async def set(self, name: str, values: Mapping[Any, Any]) -> None:
        """Write fields of a hash of the namespace. Raises `LockLost`."""
        if values:
            pairs = [part for pair in values.items() for part in pair]
            await self._ask((self._keys.lock, self._keys.epoch, name), "set", *pairs)

    async def delete(self, name: str, fields: Iterable[Any]) -> None:
        """Delete fields of a hash of the namespace. Raises `LockLost`."""
        if wanted := list(fields):
            await self._ask((self._keys.lock, self._keys.epoch, name), "delete", *wanted)

    async def release(self) -> None:
        """Give the lock back, if it is still ours."""
        await self._redis.eval(LOCK, 2, self._keys.lock, self._keys.epoch, "release", self.ticket.token)

    async def _ask(self, keys: tuple[str, ...], action: str, *arguments: Any) -> bytes:
        answer: bytes = await self._redis.eval(LOCK, len(keys), *keys, action, self.ticket.token, *arguments)
        if answer == b"lost":
            raise LockLost("another snapshotter has taken the lock")
        return answer


class SnapshotLock:
    """The lock of a namespace. `redis` must answer from the primary."""

    def __init__(self, redis: Any, keys: SnapshotterKeys, lease_seconds: float = LEASE_SECONDS) -> None:
        self._redis = redis
        self._keys = keys
        self._seconds = lease_seconds

    async def run(self, work: Callable[[Lease], Awaitable[T]]) -> T:
        """Do some work under the lock. Raises `LockBusy`, `LockLost`, and what the work raises.

        The work is cancelled as soon as the lock is lost.
        """
        lease = await self._acquire()
        working = asyncio.ensure_future(work(lease))
        renewing = asyncio.create_task(self._keep(lease))
        try:
            await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await _end(working)
                renewing.result()  # raises
            return working.result()
        finally:
            await _end(working)
            await _end(renewing)
            try:
                await lease.release()
            except (RedisError, RedisClusterException, OSError) as error:
                logger.warning("the snapshotter's lock could not be given back, it ends by itself: %s", error)

    async def _acquire(self) -> Lease:
        token = secrets.token_hex(16)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_LEASES * self._seconds
        while True:
            answer = await self._redis.eval(
                LOCK, 2, self._keys.lock, self._keys.epoch, "acquire", token, milliseconds(self._seconds)
            )
            if answer != b"busy":
                return Lease(self._redis, self._keys, Ticket(int(answer), token), self._seconds)
            if loop.time() > deadline:
                raise LockBusy(
                    f"another snapshotter has been at work for {PATIENCE_LEASES * self._seconds:.0f} s; is it stuck?"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _keep(self, lease: Lease) -> None:
        loop = asyncio.get_running_loop()
        ours_until = loop.time() + self._seconds
        while True:
            await asyncio.sleep(self._seconds / RENEWALS_PER_LEASE)
            begun = loop.time()
            try:
                await lease.renew()
                ours_until = begun + self._seconds
            except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
                logger.warning("the snapshotter's lock could not be renewed: %s", error)
                if loop.time() >= ours_until - self._seconds / RENEWALS_PER_LEASE:
                    raise LockLost(f"the lock could not be renewed in time: {error}") from error


async def _end(task: "asyncio.Future[Any]") -> None:
    """Cancel a task and wait until it is over; what it raises is of no interest any more.

    A cancellation may be lost: where an answer comes in the same moment, a client may return it, or raise an error of
    its own, and the task goes on.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=CANCEL_AGAIN_SECONDS)
    if not task.cancelled():
        task.exception()


def milliseconds(seconds: float) -> str:
    """As Redis takes it."""
    return str(max(1, int(seconds * 1000)))
