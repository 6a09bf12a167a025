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

    async def hscan_iter(self, key: bytes, **_: int) -> AsyncIterator[tuple[bytes, bytes]]:
        for field, value in (await self.hgetall(key)).items():
            yield field, value

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
        return [self.data[ledger].get(field) for field in wanted]

    def _commit(self, keys: tuple[bytes, ...], arguments: list[bytes]) -> bytes:
        ledger, states, archive, rules, rules_used, changed, *days = keys
        held = self.data.get(ledger, {})
        if [held.get(field) for field in (b"token", b"contacts", b"conversations", b"seq")] != arguments[:4]:
            return b"lost"
        if b"busy" in held:
            return b"busy"
        rest = arguments[16 + 3 * len(days) :]

        def take(count: int) -> list[bytes]:
            taken, rest[:] = rest[:count], rest[count:]
            assert len(taken) == count
            return taken

        for key, count in zip((states, archive, rules, rules_used), arguments[11:15], strict=True):
            self._set(key, take(int(count)))
        for version in take(int(arguments[15])):
            self.hash(rules).pop(version, None)
            self.hash(rules_used).pop(version, None)
        for place, key in enumerate(days):
            count, deleted, member = arguments[16 + 3 * place : 19 + 3 * place]
            self._set(key, take(int(count)))
            if int(deleted) < 0:
                self.data.pop(key, None)
                self.hash(changed).pop(member, None)
            else:
                for field in take(int(deleted)):
                    self.hash(key).pop(field, None)
                self.hash(changed)[member] = arguments[6]
        assert not rest
        for field, value in zip(
            (b"check_contacts", b"check_conversations", b"gap", b"horizon"), arguments[7:11], strict=True
        ):
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
