"""A Redis in memory: the commands that the program uses, on data that can be put back to an earlier moment.

Scripts run by their text, in Lua. `tests/integration/test_simulated_redis.py` holds it and a real server to the same
answers.
"""

from collections import deque
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from hashlib import sha1
from typing import Any

import msgspec
from lupa import lua51  # Redis' own version of Lua

from tests.simulation.loop import EPOCH

Value = bytes | dict[bytes, bytes] | dict[bytes, float]


class Hash(dict[bytes, bytes]):
    """A hash."""


class SortedSet(dict[bytes, float]):
    """A sorted set."""


class Status(bytes):
    """An answer that is no value: `OK`."""


class ReplyError(Exception):
    """An error answer; the text begins with its code."""


_WRONG = "WRONGTYPE Operation against a key holding the wrong kind of value"
_READS = frozenset(
    b"EXISTS GET HEXISTS HGET HGETALL HKEYS HLEN HMGET HSCAN INFO MGET PING PTTL SCRIPT STRLEN TIME TYPE "
    b"ZCARD ZMSCORE ZRANGE ZSCAN ZSCORE".split()
)

_lua: Any = lua51.LuaRuntime(encoding=None)
_lua.globals()[b"cmsgpack"] = _lua.table_from({b"unpack": lambda data: _unpacked(msgspec.msgpack.decode(data))})
_compiled: dict[bytes, Any] = {}


class Server:
    """The server. `now` gives its clock, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.data: dict[bytes, Value] = {}
        self.expires: dict[bytes, float] = {}
        self.epoch = 0
        """Raised when its connections break."""
        self.up = True
        self.mood = ""
        """An error that it answers everything with (`BUSY …`, `LOADING …`), or writes only (`OOM …`, `READONLY …`)."""
        self.break_after: int | None = None
        """The next script that begins with a ledger and has more keys fails after so many writes."""
        self.on_script: Callable[[list[bytes]], None] = lambda keys: None  # noqa: ARG005
        """Called with the keys of a script that has run."""
        self.copies: deque[tuple[float, dict[bytes, Value], dict[bytes, float]]] = deque(maxlen=200)
        self._scripts: dict[bytes, bytes] = {}
        self._owned: set[bytes] = set()
        self._writes: int | None = None
        """How many the running script has made."""
        self._breaks_at: int | None = None

    # --- what happens to it ------------------------------------------------------------------------------------------

    def copy(self) -> None:
        """Remember this moment."""
        self._owned.clear()
        self.copies.append((self._now(), dict(self.data), dict(self.expires)))

    def go_back(self, seconds: float) -> float:
        """Be as it was so long ago, or as long as is remembered: a crash, a stale replica, a restored copy.

        Connections break and scripts are forgotten. Returns how far it went.
        """
        then = self._now() - seconds
        while len(self.copies) > 1 and self.copies[-1][0] > then:
            self.copies.pop()
        at, data, expires = self.copies[-1]
        self.data, self.expires = dict(data), dict(expires)
        self._owned.clear()
        self._scripts.clear()
        self.epoch += 1
        return self._now() - at

    # --- commands ----------------------------------------------------------------------------------------------------

    def execute(self, command: list[bytes]) -> Any:
        """The answer to a command; an error is returned too, as a `ReplyError`."""
        try:
            return self._execute(command)
        except ReplyError as error:
            return error

    def _execute(self, command: list[bytes]) -> Any:
        name = command[0].upper()
        if self.mood.startswith(("BUSY", "LOADING", "MASTERDOWN", "CLUSTERDOWN")):
            raise ReplyError(self.mood)
        if self.mood and name not in _READS and not name.startswith(b"EVAL") and not self._writes:
            # A script that has begun to write is let go on.
            raise ReplyError(self.mood)
        if self._writes is not None and name not in _READS:
            if self._breaks_at is not None and self._writes >= self._breaks_at:
                self._breaks_at = self.break_after = None
                raise ReplyError("ERR the script was stopped half way")
            self._writes += 1
        method = getattr(self, f"_{name.decode().lower()}", None)
        if method is None:
            raise ReplyError(f"ERR unknown command '{name.decode()}'")
        return method(*command[1:])

    def _live(self, key: bytes) -> Value | None:
        at = self.expires.get(key)
        if at is not None and at <= self._now():
            self._remove(key)
        return self.data.get(key)

    def _remove(self, key: bytes) -> bool:
        self.expires.pop(key, None)
        self._owned.discard(key)
        return self.data.pop(key, None) is not None

    def _read_hash(self, key: bytes) -> dict[bytes, bytes]:
        value = self._live(key)
        if value is None:
            return {}
        if not isinstance(value, Hash):
            raise ReplyError(_WRONG)
        return value

    def _read_set(self, key: bytes) -> dict[bytes, float]:
        value = self._live(key)
        if value is None:
            return {}
        if not isinstance(value, SortedSet):
            raise ReplyError(_WRONG)
        return value

    def _own(self, key: bytes, kind: type[Any]) -> Any:
        """A container that may be changed: a copy, if one that is remembered shares it."""
        value = self._live(key)
        if value is None:
            value = self.data[key] = kind()
        elif not isinstance(value, kind):
            raise ReplyError(_WRONG)
        elif key not in self._owned:
            value = self.data[key] = kind(value)
        self._owned.add(key)
        return value

    def _drop_empty(self, key: bytes) -> None:
        if not self.data.get(key):
            self._remove(key)

    # strings and keys

    def _ping(self) -> Any:
        return Status(b"PONG")

    def _info(self, *_: bytes) -> Any:
        return b"maxmemory_policy:noeviction\r\nused_memory:1\r\n"

    def _get(self, key: bytes) -> Any:
        value = self._live(key)
        if value is not None and not isinstance(value, bytes):
            raise ReplyError(_WRONG)
        return value

    def _mget(self, *keys: bytes) -> Any:
        values = [self._live(key) for key in keys]
        return [value if isinstance(value, bytes) else None for value in values]

    def _mset(self, *pairs: bytes) -> Any:
        if not pairs or len(pairs) % 2:
            raise ReplyError("ERR wrong number of arguments for 'mset' command")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self._set(key, value)
        return Status(b"OK")

    def _set(self, key: bytes, value: bytes, *options: bytes) -> Any:
        words = [option.upper() for option in options]
        there = self._live(key) is not None
        if (b"NX" in words and there) or (b"XX" in words and not there):
            return None
        self._remove(key)
        self.data[key] = value
        if b"EX" in words:
            self.expires[key] = self._now() + float(options[words.index(b"EX") + 1])
        if b"PX" in words:
            self.expires[key] = self._now() + float(options[words.index(b"PX") + 1]) / 1000
        return Status(b"OK")

    def _del(self, *keys: bytes) -> int:
        return sum(self._live(key) is not None and self._remove(key) for key in keys)

    _unlink = _del

    def _exists(self, *keys: bytes) -> int:
        return sum(self._live(key) is not None for key in keys)

    def _expire(self, key: bytes, seconds: bytes) -> int:
        return self._pexpire(key, b"%d" % (int(seconds) * 1000))

    def _pexpire(self, key: bytes, milliseconds: bytes) -> int:
        if self._live(key) is None:
            return 0
        self.expires[key] = self._now() + int(milliseconds) / 1000
        return 1

    def _pttl(self, key: bytes) -> int:
        if self._live(key) is None:
            return -2
        return -1 if key not in self.expires else round((self.expires[key] - self._now()) * 1000)

    def _strlen(self, key: bytes) -> int:
        return len(self._get(key) or b"")

    def _time(self) -> Any:
        seconds, rest = divmod(EPOCH + self._now(), 1)
        return [b"%d" % seconds, b"%d" % (rest * 1e6)]

    def _incr(self, key: bytes) -> int:
        value = int(self._get(key) or 0) + 1
        self.data[key] = b"%d" % value
        return value

    def _type(self, key: bytes) -> Any:
        kinds = {type(None): b"none", Hash: b"hash", SortedSet: b"zset"}
        return Status(kinds.get(type(self._live(key)), b"string"))

    def _publish(self, channel: bytes, message: bytes) -> int:  # noqa: ARG002 - nobody listens
        return 0

    # hashes

    def _hget(self, key: bytes, field: bytes) -> Any:
        return self._read_hash(key).get(field)

    def _hmget(self, key: bytes, *fields: bytes) -> Any:
        held = self._read_hash(key)
        return [held.get(field) for field in fields]

    def _hgetall(self, key: bytes) -> Any:
        return [part for pair in self._read_hash(key).items() for part in pair]

    def _hkeys(self, key: bytes) -> Any:
        return list(self._read_hash(key))

    def _hlen(self, key: bytes) -> int:
        return len(self._read_hash(key))

    def _hexists(self, key: bytes, field: bytes) -> int:
        return int(field in self._read_hash(key))

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        if not pairs or len(pairs) % 2:
            raise ReplyError("ERR wrong number of arguments for 'hset' command")
        held = self._own(key, Hash)
        before = len(held)
        held.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(held) - before

    def _hsetnx(self, key: bytes, field: bytes, value: bytes) -> int:
        return 0 if field in self._read_hash(key) else self._hset(key, field, value)

    def _hincrby(self, key: bytes, field: bytes, by: bytes) -> int:
        value = int(self._read_hash(key).get(field, 0)) + int(by)
        self._hset(key, field, b"%d" % value)
        return value

    def _hdel(self, key: bytes, *fields: bytes) -> int:
        if not self._read_hash(key):
            return 0
        held = self._own(key, Hash)
        gone = sum(held.pop(field, None) is not None for field in fields)
        self._drop_empty(key)
        return gone

    def _hscan(self, key: bytes, cursor: bytes, *options: bytes) -> Any:  # noqa: ARG002 - all at once, as of small ones
        pattern = options[options.index(b"MATCH") + 1] if b"MATCH" in options else b"*"
        found = [pair for pair in self._read_hash(key).items() if _matches(pattern, pair[0])]
        return [b"0", [part for pair in found for part in pair]]

    # sorted sets

    def _zadd(self, key: bytes, *pairs: bytes) -> int:
        held = self._own(key, SortedSet)
        before = len(held)
        held.update((member, float(score)) for score, member in zip(pairs[::2], pairs[1::2], strict=True))
        return len(held) - before

    def _zrem(self, key: bytes, *members: bytes) -> int:
        if not self._read_set(key):
            return 0
        held = self._own(key, SortedSet)
        gone = sum(held.pop(member, None) is not None for member in members)
        self._drop_empty(key)
        return gone

    def _zcard(self, key: bytes) -> int:
        return len(self._read_set(key))

    def _zscore(self, key: bytes, member: bytes) -> Any:
        score = self._read_set(key).get(member)
        return None if score is None else _number(score)

    def _zmscore(self, key: bytes, *members: bytes) -> Any:
        return [self._zscore(key, member) for member in members]

    def _zrange(self, key: bytes, first: bytes, last: bytes, *options: bytes) -> Any:
        words = [option.upper() for option in options]
        order = sorted((score, member) for member, score in self._read_set(key).items())
        if b"BYSCORE" in words:
            low, above = _bound(first)
            high, below = _bound(last)
            order = [
                (score, member)
                for score, member in order
                if (low < score or (low == score and not above)) and (score < high or (score == high and not below))
            ]
        else:
            start, stop = int(first), int(last)
            start = max(0, start + len(order) if start < 0 else start)
            order = order[start : (stop + len(order) if stop < 0 else stop) + 1]
        if b"LIMIT" in words:
            offset, count = (int(option) for option in options[words.index(b"LIMIT") + 1 :][:2])
            order = order[offset : offset + count]
        return _scored(order, with_scores=b"WITHSCORES" in words)

    def _zscan(self, key: bytes, cursor: bytes, *options: bytes) -> Any:  # noqa: ARG002 - all at once
        order = [(score, member) for member, score in self._read_set(key).items()]
        return [b"0", _scored(order, with_scores=True)]

    # scripts

    def _script(self, what: bytes, *text: bytes) -> Any:
        if what.upper() != b"LOAD":
            raise ReplyError("ERR only SCRIPT LOAD is known here")
        sha = sha1(text[0], usedforsecurity=False).hexdigest().encode()
        self._scripts[sha] = text[0]
        return sha

    def _eval(self, text: bytes, count: bytes, *rest: bytes) -> Any:
        self._script(b"LOAD", text)
        return self._run(text, list(rest[: int(count)]), list(rest[int(count) :]))

    def _evalsha(self, sha: bytes, count: bytes, *rest: bytes) -> Any:
        text = self._scripts.get(sha.lower())
        if text is None:
            raise ReplyError("NOSCRIPT No matching script. Please use EVAL.")
        return self._run(text, list(rest[: int(count)]), list(rest[int(count) :]))

    def _run(self, text: bytes, keys: list[bytes], arguments: list[bytes]) -> Any:
        script = _compiled.get(text)
        if script is None:
            script = _compiled[text] = _lua.execute(b"return function(redis, KEYS, ARGV) " + text + b"\nend")
        library = {
            b"call": lambda *command: _to_lua(self._execute([_argument(part) for part in command])),
            b"pcall": lambda *command: _to_lua(self.execute([_argument(part) for part in command])),
            b"sha1hex": lambda data: sha1(data, usedforsecurity=False).hexdigest().encode(),
            b"error_reply": lambda error: _lua.table_from({b"err": error}),
            b"status_reply": lambda status: _lua.table_from({b"ok": status}),
        }
        self._writes = 0
        if len(keys) > 1 and keys[0].endswith(b":ledger"):
            self._breaks_at = self.break_after
        try:
            answer = _from_lua(script(_lua.table_from(library), _lua.table_from(keys), _lua.table_from(arguments)))
        except lua51.LuaError as error:
            raise ReplyError(f"ERR {error}") from error
        finally:
            self._writes = self._breaks_at = None
        self.on_script(keys)
        if isinstance(answer, ReplyError):
            raise answer
        return answer


def _unpacked(value: Any) -> Any:
    """What `cmsgpack` makes of a value."""
    if isinstance(value, dict):
        return _lua.table_from({_unpacked(key): _unpacked(each) for key, each in value.items()})
    if isinstance(value, list):
        return _lua.table_from([_unpacked(each) for each in value])
    return value.encode() if isinstance(value, str) else value


def _argument(part: Any) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, int | float):
        return _number(part)
    raise ReplyError("ERR Lua redis lib command arguments must be strings or integers")


def _to_lua(answer: Any) -> Any:
    if answer is None:
        return False
    if isinstance(answer, Status):
        return _lua.table_from({b"ok": bytes(answer)})
    if isinstance(answer, ReplyError):
        return _lua.table_from({b"err": str(answer).encode()})
    if isinstance(answer, list):
        return _lua.table_from([_to_lua(part) for part in answer])
    return answer


def _from_lua(answer: Any) -> Any:
    if answer is None or answer is False:
        return None
    if answer is True:
        return 1
    if isinstance(answer, int | float):
        return int(answer)
    if isinstance(answer, bytes):
        return answer
    error, status = answer[b"err"], answer[b"ok"]
    if error is not None:
        text = error.decode()
        return ReplyError(text)
    if status is not None:
        return Status(status)
    found: list[Any] = []
    while (part := answer[len(found) + 1]) is not None:
        found.append(_from_lua(part))
    return found


def _number(value: float) -> bytes:
    return b"%d" % value if value == int(value) else repr(value).encode()


def _bound(text: bytes) -> tuple[float, bool]:
    """A score of a range, and whether it is itself left out."""
    return (float(text[1:]), True) if text.startswith(b"(") else (float(text), False)


def _scored(order: Iterable[tuple[float, bytes]], *, with_scores: bool) -> list[bytes]:
    if with_scores:
        return [part for score, member in order for part in (member, _number(score))]
    return [member for _, member in order]


def _matches(pattern: bytes, field: bytes) -> bool:
    return pattern == b"*" or fnmatchcase(field.decode("latin-1"), pattern.decode("latin-1"))
