"""The ledger of one shard: claim it, read under a fence, commit a batch in one step. Rules: docs/run/guarantees.md.

Redis holds the positions in both topics beside the states and counters that follow from the records up to there. A
worker claims a shard with a random token, reads only together with token and position, and commits through a script
that compares both. So every write follows from exactly the records before its position, whoever else is running.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from time import time
from typing import Any, NamedTuple, Protocol

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterError,
    ExecAbortError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from streams.errors import SessionLost, ShardStopped, Unavailable
from streams.redis import keys
from streams.redis.clients import Client, server_of
from streams.redis.keys import ShardKeys

CLAIM = resources.files("streams.redis").joinpath("lua/claim.lua").read_text()
COMMIT = resources.files("streams.redis").joinpath("lua/commit.lua").read_text()

_FENCE_FIELDS = (keys.TOKEN, keys.CONTACTS, keys.CONVERSATIONS, keys.SEQ)

_NOT_EXECUTED = (
    *("NOSCRIPT", "OOM", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY"),
    *("NOREPLICAS", "MISCONF", "NOAUTH", "EXECABORT"),
)
"""What Redis answers instead of running a script."""

_NOT_EXECUTED_ERRORS = (
    *(NoScriptError, OutOfMemoryError, BusyLoadingError, ReadOnlyError, TryAgainError, AskError, ClusterError),
    ExecAbortError,
)


class Positions(NamedTuple):
    """The next record of each event topic's partition."""

    contacts: int
    conversations: int


class Fence(NamedTuple):
    """What a ledger must hold for a session's reads and writes to count."""

    token: bytes
    positions: Positions
    seq: int
    """Rises with each commit: milliseconds since 1970, or one more than the last."""

    def values(self) -> list[bytes]:
        """The fields' values, as Redis keeps them."""
        return [self.token, b"%d" % self.positions.contacts, b"%d" % self.positions.conversations, b"%d" % self.seq]


class Claim(NamedTuple):
    """What a claim found."""

    fence: Fence
    checks: tuple[bytes | None, bytes | None]
    """The last applied record of each topic, `OFFSET:CRC32`."""
    gap: bytes | None
    """What was lost before it was read, as `streams.kafka.gaps` encodes it."""
    horizon: int
    """Days before this ordinal are deleted, and not written again."""
    sealed_below: int
    """Days before this ordinal may be sealed (`streams/worker/sealing.py`)."""


@dataclass
class DayWrite:
    """Changes of one account's day."""

    ordinal: int
    account_id: str
    values: list[bytes] = field(default_factory=list)
    """Field, value, field, value…"""
    deleted: list[bytes] = field(default_factory=list)
    whole: bool = False
    """Delete all of it."""
    same: bool = False
    """It is only sealed, and says what it said: nobody has to publish it again."""
    open: bool = False
    """It is only sealed in part: facts are left beside the sealed ones."""


@dataclass
class Changes:
    """What one commit writes beside the new positions."""

    states: list[bytes] = field(default_factory=list)
    """Fields and values, in turn."""
    chunks: list[bytes] = field(default_factory=list)
    """Fields and chunks of contacts' older entries, in turn."""
    chunks_gone: list[bytes] = field(default_factory=list)
    rules: list[bytes] = field(default_factory=list)
    rules_used: list[bytes] = field(default_factory=list)
    """Fields of versions of settings and the day of their last use, in turn."""
    rules_gone: list[bytes] = field(default_factory=list)
    """Fields of versions of settings that are deleted."""
    days: list[DayWrite] = field(default_factory=list)
    checks: tuple[bytes | None, bytes | None] = (None, None)
    gap: bytes | None = None
    horizon: int | None = None
    sealed_below: int | None = None


class Reads(NamedTuple):
    """One hash and the fields wanted of it; without fields, how many it has, as digits."""

    key: bytes
    fields: Sequence[bytes]


class Ledger(Protocol):
    """A shard's ledger, as sessions use it. Tests put a fake in its place."""

    keys: ShardKeys

    async def claim(self) -> Claim | None:
        """Become the shard's writer; `None` when there is no ledger. Raises `Unavailable`, `ShardStopped`."""

    async def read(self, fence: Fence, reads: Sequence[Reads]) -> list[list[bytes | None]]:
        """The fields' values, all of one moment at which the fence held. Raises `SessionLost`, `Unavailable`."""

    async def commit(self, fence: Fence, end: Positions, changes: Changes) -> Fence:
        """Write changes and positions in one step; the new fence.

        Raises `SessionLost`, `Unavailable`, `ShardStopped`.
        """


class RedisLedger:
    """The ledger in Redis. The client must not retry by itself (`streams.redis.clients.connect`)."""

    def __init__(
        self, client: Client, shard_keys: ShardKeys, shard: int, now_ms: Callable[[], int] = lambda: int(time() * 1000)
    ) -> None:
        self._now_ms = now_ms
        self.keys = shard_keys
        self.shard = shard
        self._client = client
        self._commit_sha = ""

    async def create(self, positions: Positions, gap: bytes | None = None) -> None:
        """Begin a ledger at these positions, unless there is one; `gap` marks what was before them and is lost.

        Raises `Unavailable`.
        """
        server = await self._ask(server_of(self._client, self.keys.ledger))
        pipeline = server.pipeline(transaction=True)
        pipeline.hsetnx(self.keys.ledger, keys.CONTACTS, b"%d" % positions.contacts)
        pipeline.hsetnx(self.keys.ledger, keys.CONVERSATIONS, b"%d" % positions.conversations)
        pipeline.hsetnx(self.keys.ledger, keys.SEQ, b"0")
        if gap is not None:
            pipeline.hsetnx(self.keys.ledger, keys.GAP, gap)
        await self._ask(pipeline.execute())

    async def claim(self) -> Claim | None:
        """Become the shard's writer; `None` when there is no ledger. Raises `Unavailable`, `ShardStopped`."""
        token = secrets.token_hex(16).encode()
        found = await self._ask(self._client.eval(CLAIM, 1, self.keys.ledger, token))
        if found == b"missing":
            return None
        if found == b"busy":
            raise ShardStopped(
                f"shard {self.shard}: a script failed half way and left half a batch written (field 'busy' in "
                f"{self.keys.ledger.decode()}): restore Redis from a copy, or rebuild into a new namespace"
            )
        self._commit_sha = _sha(await self._ask(self._load()))
        contacts, conversations, seq, gap, check_contacts, check_conversations, horizon, sealed = found
        fence = Fence(token, Positions(int(contacts), int(conversations)), int(seq))
        return Claim(fence, (check_contacts, check_conversations), gap, int(horizon or 0), int(sealed or 0))

    async def read(self, fence: Fence, reads: Sequence[Reads]) -> list[list[bytes | None]]:
        """The fields' values, all of one moment at which the fence held. Raises `SessionLost`, `Unavailable`."""
        server = await self._ask(server_of(self._client, self.keys.ledger))
        pipeline = server.pipeline(transaction=True)
        pipeline.execute_command("HMGET", self.keys.ledger, *_FENCE_FIELDS)
        for key, fields in reads:
            pipeline.execute_command("HMGET", key, *fields) if fields else pipeline.execute_command("HLEN", key)
        answer: list[Any] = await self._ask(pipeline.execute())
        held: list[bytes | None] = answer[0]
        if held != fence.values():
            raise SessionLost(f"shard {self.shard}: {_difference(held, fence)}")
        return [[b"%d" % found] if isinstance(found, int) else found for found in answer[1:]]

    async def commit(self, fence: Fence, end: Positions, changes: Changes) -> Fence:
        """Write changes and positions in one step; the new fence.

        Raises `SessionLost`, `Unavailable`, `ShardStopped`.
        """
        # The clock, so that what is committed again after Redis went back has a higher number than the first time.
        target = Fence(fence.token, end, max(fence.seq + 1, self._now_ms()))
        names, arguments = self._arguments(fence, target, changes)
        try:
            answer = await self._client.execute_command("EVALSHA", self._commit_sha, len(names), *names, *arguments)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            if isinstance(error, BusyLoadingError):
                raise Unavailable(f"shard {self.shard}: not committed: {error}") from error
            await self._resolve(target, error)
            return target
        except (RedisError, RedisClusterException) as error:
            if _was_not_executed(error):
                raise Unavailable(f"shard {self.shard}: not committed: {error}") from error
            raise ShardStopped(f"shard {self.shard}: the commit script failed: {error}") from error
        if answer == b"done":
            return target
        if answer == b"lost":
            raise SessionLost(
                f"shard {self.shard}: refused: another worker claimed it, or its position was rolled back"
            )
        raise ShardStopped(
            f"shard {self.shard}: a script failed half way, and left 'busy' in {self.keys.ledger.decode()}"
        )

    async def _resolve(self, target: Fence, error: Exception) -> None:
        """After a lost reply: done only if the ledger holds my target under my token."""
        try:
            await self.read(target, ())
        except SessionLost:
            raise Unavailable(f"shard {self.shard}: no answer to a commit, and it is not done: {error}") from error

    def _arguments(self, fence: Fence, target: Fence, changes: Changes) -> tuple[list[bytes], list[bytes]]:
        held = self.keys
        names = [held.ledger, held.states, held.chunks, held.rules, held.rules_used, held.changed, held.open]
        arguments = fence.values()
        arguments += target.values()[1:]
        arguments += [check or b"" for check in changes.checks]
        arguments.append(changes.gap or b"")
        arguments += [b"" if day is None else b"%d" % day for day in (changes.horizon, changes.sealed_below)]
        parts = (
            changes.states,
            changes.chunks,
            changes.rules,
            changes.rules_used,
            changes.rules_gone,
            changes.chunks_gone,
        )
        arguments += [b"%d" % len(part) for part in parts]
        for day in changes.days:
            names.append(self.keys.day(day.ordinal, day.account_id))
            deleted = -1 if day.whole else len(day.deleted)
            mark = b"" if not day.same else b"=" if day.open else b"~"
            member = mark + keys.day_member(day.ordinal, day.account_id)
            arguments += (b"%d" % len(day.values), b"%d" % deleted, member)
        for part in parts:
            arguments += part
        for day in changes.days:
            arguments += day.values
            arguments += day.deleted
        return names, arguments

    async def _load(self) -> Any:
        server = await server_of(self._client, self.keys.ledger)
        return await server.script_load(COMMIT)

    async def _ask(self, answer: Awaitable[Any] | Any) -> Any:
        try:
            return await answer
        except (RedisError, RedisClusterException, OSError) as error:
            raise Unavailable(f"shard {self.shard}: Redis: {error}") from error


def _was_not_executed(error: Exception) -> bool:
    return isinstance(error, _NOT_EXECUTED_ERRORS) or str(error).startswith(_NOT_EXECUTED)


def _sha(answer: bytes | str) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer


def _difference(held: Iterable[bytes | None], fence: Fence) -> str:
    token, *rest = held
    if token != fence.token:
        return "another worker claimed it, or Redis went back to before the claim"
    shown = ", ".join("none" if value is None else value.decode() for value in rest)
    return f"the ledger is at ({shown}), the session at {(*fence.positions, fence.seq)}"
