"""A Redis in memory that knows the commands the ledger and the settings use, with a hook around each.

It runs the program's own scripts by their meaning, not their text; `tests/integration/test_ledger.py` holds it and a
real Redis to the same contract.
"""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from streams.redis.ledger import CLAIM, COMMIT
from streams.redis.settings_store import APPLY

COMMIT_SHA = "c0ffee"
HEAD = 18
"""How many arguments of a commit stand before those of the days."""

Hook = Callable[[str, str], Awaitable[None]]
"""Awaited with the command's name, `before` it runs and `after` it has; what it raises reaches the caller."""


async def no_hook(command: str, moment: str) -> None:
    """Nothing happens between the steps."""


class FakeRedis:
    """A client and its server in one. `data` may be copied and put back, as a server restored from a copy would be."""

    def __init__(self, hook: Hook = no_hook) -> None:
        self.data: dict[bytes, dict[bytes, bytes]] = {}
        self.hook = hook

    def copied(self) -> dict[bytes, dict[bytes, bytes]]:
        """What a backup of this moment holds."""
        return copy.deepcopy(self.data)

    def sharing(self, hook: Hook) -> "FakeRedis":
        """Another client of the same server."""
        other = FakeRedis(hook)
        other.data = self.data
        return other

    def restore(self, data: dict[bytes, dict[bytes, bytes]]) -> None:
        """Go back to a copy, for every client."""
        self.data.clear()
        self.data.update(copy.deepcopy(data))

    def hash(self, key: bytes) -> dict[bytes, bytes]:
        """A hash, made when it is not there."""
        return self.data.setdefault(key, {})

    async def _run(self, name: str, command: Callable[[], Any]) -> Any:
        await self.hook(name, "before")
        answer = command()
        await self.hook(name, "after")
        return answer

    # --- commands, as redis-py spells them ------------------------------------------------------------------------

    async def hget(self, key: bytes, field: bytes | str) -> bytes | None:
        return (await self._run("hget", lambda: self._hmget(key, [field])))[0]  # type: ignore[no-any-return]

    async def hgetall(self, key: bytes) -> dict[bytes, bytes]:
        return await self._run("HGETALL", lambda: dict(self.data.get(key, {})))  # type: ignore[no-any-return]

    async def hmget(self, key: bytes, fields: list[bytes | str]) -> list[bytes | None]:
        return await self._run("hmget", lambda: self._hmget(key, fields))  # type: ignore[no-any-return]

    async def hset(self, key: bytes, field: bytes | str, value: bytes | str) -> int:
        def command() -> int:
            self.hash(key)[_bytes(field)] = _bytes(value)
            return 1

        return await self._run("hset", command)  # type: ignore[no-any-return]

    async def hlen(self, key: bytes) -> int:
        return await self._run("hlen", lambda: len(self.data.get(key, {})))  # type: ignore[no-any-return]

    async def hexists(self, key: bytes, field: bytes) -> bool:
        return await self._run("hexists", lambda: field in self.data.get(key, {}))  # type: ignore[no-any-return]

    async def hscan_iter(self, key: bytes, **_: int) -> AsyncIterator[tuple[bytes, bytes]]:
        for field, value in (await self.hgetall(key)).items():
            yield field, value

    async def hscan(self, key: bytes, cursor: int, *, count: int) -> tuple[int, dict[bytes, bytes]]:
        """Cursors count fields in order, so whoever walks while fields come meets some of them twice, as in Redis."""

        def command() -> tuple[int, dict[bytes, bytes]]:
            fields = sorted(self.data.get(key, {}).items())
            left = cursor + count < len(fields)
            return (cursor + count if left else 0), dict(fields[cursor : cursor + count])

        return await self._run("hscan", command)  # type: ignore[no-any-return]

    async def zrange(
        self, key: bytes, start: Any, end: Any, *, byscore: bool = False, offset: int = 0, num: int | None = None
    ) -> list[bytes]:
        """By place, the first and last of which may be negative; or by score, the end exclusive (`(SCORE`)."""

        def command() -> list[bytes]:
            members = sorted(self.data.get(key, {}), key=lambda member: (float(self.data[key][member]), member))
            if not byscore:
                count = len(members)
                return members[start if start >= 0 else count + start : (end if end >= 0 else count + end) + 1]
            assert start == "-inf"
            assert end.startswith("(")
            below = [member for member in members if float(self.data[key][member]) < float(end[1:])]
            return below[offset : None if num is None else offset + num]

        return await self._run("zrange", command)  # type: ignore[no-any-return]

    async def zmscore(self, key: bytes, members: list[bytes]) -> list[float | None]:
        def command() -> list[float | None]:
            held = self.data.get(key, {})
            return [float(held[member]) if member in held else None for member in members]

        return await self._run("zmscore", command)  # type: ignore[no-any-return]

    async def zscan_iter(self, key: bytes, **_: int) -> AsyncIterator[tuple[bytes, float]]:
        for member, score in (await self._run("zscan", lambda: dict(self.data.get(key, {})))).items():
            yield member, float(score)

    async def script_load(self, script: str) -> str:
        assert script == COMMIT
        return COMMIT_SHA

    async def eval(self, script: str, count: int, *rest: Any) -> Any:
        keys, arguments = rest[:count], [_bytes(value) for value in rest[count:]]
        if script == CLAIM:
            return await self._run("claim", lambda: self._claim(keys[0], arguments[0]))
        assert script == APPLY
        return await self._run("settings", lambda: self._apply(keys, arguments))

    async def execute_command(self, name: str, sha: str, count: int, *rest: bytes) -> Any:
        assert (name, sha) == ("EVALSHA", COMMIT_SHA)
        return await self._run("commit", lambda: self._commit(rest[:count], list(rest[count:])))

    def pipeline(self, transaction: bool) -> "FakePipeline":
        assert transaction
        return FakePipeline(self)

    # --- what they do ---------------------------------------------------------------------------------------------

    def _hmget(self, key: bytes, fields: list[bytes | str]) -> list[bytes | None]:
        held = self.data.get(key, {})
        return [held.get(_bytes(field)) for field in fields]

    def _claim(self, ledger: bytes, token: bytes) -> Any:
        if ledger not in self.data:
            return b"missing"
        if b"busy" in self.data[ledger]:
            return b"busy"
        self.data[ledger][b"token"] = token
        wanted = (b"contacts", b"conversations", b"seq", b"gap", b"check_contacts", b"check_conversations", b"horizon")
        return [self.data[ledger].get(field) for field in (*wanted, b"sealed")]

    def _commit(self, keys: tuple[bytes, ...], arguments: list[bytes]) -> bytes:
        ledger, states, chunks, rules, rules_used, changed, open_days, *days = keys
        held = self.data.get(ledger, {})
        if [held.get(field) for field in (b"token", b"contacts", b"conversations", b"seq")] != arguments[:4]:
            return b"lost"
        if b"busy" in held:
            return b"busy"
        rest = arguments[HEAD + 3 * len(days) :]

        def take(count: int) -> list[bytes]:
            taken, rest[:] = rest[:count], rest[count:]
            assert len(taken) == count
            return taken

        for key, count in zip((states, chunks, rules, rules_used), arguments[12:16], strict=True):
            self._set(key, take(int(count)))
        for version in take(int(arguments[16])):
            self._delete(rules, version)
            self._delete(rules_used, version)
        for chunk in take(int(arguments[17])):
            self._delete(chunks, chunk)
        for place, key in enumerate(days):
            count, deleted, member = arguments[HEAD + 3 * place : HEAD + 3 * place + 3]
            self._set(key, take(int(count)))
            if int(deleted) < 0:
                self.data.pop(key, None)
                self._delete(changed, member)
                self._delete(open_days, member)
                continue
            for field in take(int(deleted)):
                self._delete(key, field)
            if member.startswith(b"~"):
                self._delete(open_days, member[1:])
            elif not member.startswith(b"="):
                self.hash(changed)[member] = arguments[6]
                self.hash(open_days)[member] = member.partition(b":")[0]
        assert not rest
        names = (b"check_contacts", b"check_conversations", b"gap", b"horizon", b"sealed")
        for field, value in zip(names, arguments[7:12], strict=True):
            if value:
                held[field] = value
        held[b"contacts"], held[b"conversations"], held[b"seq"] = arguments[4:7]
        return b"done"

    def _apply(self, keys: tuple[bytes, ...], arguments: list[bytes]) -> bytes:
        settings, log, before = keys
        field, start, end, version, count = arguments[:5]
        if self.hash(log).get(field, b"") != start:
            return b"lost"
        values = arguments[5 : 5 + int(count)]
        for account_id, data in zip(values[::2], values[1::2], strict=True):
            held = self.hash(settings).get(account_id)
            if held is not None and held != data:
                self.hash(before)[account_id] = held
        self._set(settings, values)
        for account_id in arguments[5 + int(count) :]:
            self.hash(settings).pop(account_id, None)
            self.hash(before).pop(account_id, None)
        if version:
            self.hash(log)[b"version"] = version
        self.hash(log)[field] = end
        return b"done"

    def _delete(self, key: bytes, field: bytes) -> None:
        """Without its last field a key is gone."""
        held = self.data.get(key, {})
        held.pop(field, None)
        if not held:
            self.data.pop(key, None)

    def _set(self, key: bytes, values: list[bytes]) -> None:
        if values:
            self.hash(key).update(zip(values[::2], values[1::2], strict=True))


class FakePipeline:
    """MULTI … EXEC: all of it in one step."""

    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis
        self._commands: list[Callable[[], Any]] = []

    def hsetnx(self, key: bytes, field: bytes, value: bytes) -> None:
        self._commands.append(lambda: self._redis.hash(key).setdefault(field, value))

    def execute_command(self, name: str, key: bytes, *fields: bytes) -> None:
        if name == "HLEN":
            self._commands.append(lambda: len(self._redis.data.get(key, {})))
            return
        assert name == "HMGET"
        self._commands.append(lambda: self._redis._hmget(key, list(fields)))

    async def execute(self) -> list[Any]:
        return await self._redis._run("read", lambda: [command() for command in self._commands])  # type: ignore[no-any-return]


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
