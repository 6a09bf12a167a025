"""Clients of the Redis in memory: redis-py's own commands and answers, over a network of the simulation's.

A request travels, is executed, and its answer travels back; the client gives up after a time-out, whatever becomes of
the request. What goes wrong on the way is drawn up beforehand, as a list of mishaps.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from redis._parsers.base import BaseParser
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.simulation.loop import Killed, Process, VirtualLoop
from tests.simulation.redis_server import ReplyError, Server

Command = list[bytes]


@dataclass(frozen=True)
class Mishap:
    """What becomes of one of a process's next requests."""

    kind: str
    """`lost request`, `lost answer`, `no answer`, `late` (it arrives after its sender has given up), or `held`: the
    process is frozen when it is about to send it."""
    of: str
    """Which requests are counted: `any`, `script`, or `commit`."""
    skip: int
    """How many of them go well before."""
    seconds: float = 0.0


_NAMES = {"script": b"EVAL", "commit": b"EVALSHA"}


class Link:
    """One process's way to the server."""

    def __init__(self, server: Server, process: Process, dice: Random, timeout: float) -> None:
        self._server = server
        self._process = process
        self._dice = dice
        self._timeout = timeout
        self.latency = 0.001
        self.mishaps: deque[Mishap] = deque()
        self._passed = 0
        self.seen: dict[str, int] = {}
        """How many mishaps of each kind happened."""
        self.busiest: tuple[int, str] = (0, "")
        """Most requests of one kind in one second, and of which kind."""
        self._second = 0
        self._requests: Counter[bytes] = Counter()

    async def send(self, commands: list[Command], *, atomic: bool) -> list[Any]:
        """The answers. Raises what redis-py raises when none come."""
        if self._process.dead:
            raise Killed
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._count(int(loop.now), commands[0][0])
        mishap = self._mishap(commands)
        if mishap is not None and mishap.kind == "held":
            self._process.frozen = True
            loop.call_outside(mishap.seconds, loop.thaw, self._process)
            await asyncio.sleep(0)
        answered: asyncio.Future[list[Any]] = loop.create_future()
        request = _Request(loop, self._server, commands, atomic, answered, mishap, self._delay)
        late = mishap.seconds if mishap is not None and mishap.kind == "late" else 0.0
        loop.call_outside(late + self._delay(), request.arrive)
        timer = loop.call_later(self._timeout, _give_up, answered)
        try:
            return await answered
        finally:
            timer.cancel()

    def _count(self, second: int, name: bytes) -> None:
        if second != self._second:
            self._second = second
            self._requests.clear()
        self._requests[name] += 1
        if self._requests[name] > self.busiest[0]:
            self.busiest = (self._requests[name], name.decode())

    def _delay(self) -> float:
        return self.latency * (0.3 + self._dice.random())

    def _mishap(self, commands: list[Command]) -> Mishap | None:
        if not self.mishaps:
            return None
        mishap = self.mishaps[0]
        if mishap.of != "any" and not any(command[0].startswith(_NAMES[mishap.of]) for command in commands):
            return None
        self._passed += 1
        if self._passed <= mishap.skip:
            return None
        self._passed = 0
        self.mishaps.popleft()
        self.seen[mishap.kind] = self.seen.get(mishap.kind, 0) + 1
        return mishap


class _Request:
    """A request on its way. It may outlive its sender."""

    __slots__ = ("answered", "answers", "atomic", "commands", "delay", "epoch", "loop", "mishap", "server")

    def __init__(
        self,
        loop: VirtualLoop,
        server: Server,
        commands: list[Command],
        atomic: bool,
        answered: "asyncio.Future[list[Any]]",
        mishap: Mishap | None,
        delay: Any,
    ) -> None:
        self.loop = loop
        self.server = server
        self.commands = commands
        self.atomic = atomic
        self.answered = answered
        self.mishap = mishap
        self.delay = delay
        self.epoch = server.epoch
        self.answers: list[Any] = []

    def arrive(self) -> None:
        """Be executed, all at once or, if it is no transaction, one command after the other."""
        server = self.server
        kind = "" if self.mishap is None else self.mishap.kind
        if not server.up or server.epoch != self.epoch or kind == "lost request":
            self._end(RedisConnectionError("Connection reset by peer"))
            return
        if self.atomic:
            self.answers = [server.execute(command) for command in self.commands]
        else:
            while len(self.answers) < len(self.commands):
                self.answers.append(server.execute(self.commands[len(self.answers)]))
                if len(self.answers) < len(self.commands):
                    self.loop.call_outside(self.delay() / 3, self.arrive)
                    return
        if kind == "lost answer":
            self._end(RedisConnectionError("Connection reset by peer"))
        elif kind != "no answer":
            self.loop.call_outside(self.delay(), self._return)

    def _return(self) -> None:
        if self.server.epoch != self.epoch:
            self._end(RedisConnectionError("Connection reset by peer"))
        elif not self.answered.done():
            self.answered.set_result(self.answers)

    def _end(self, error: Exception) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)


def _give_up(answered: "asyncio.Future[list[Any]]") -> None:
    if not answered.done():
        answered.set_exception(RedisTimeoutError("Timeout reading from redis"))


class Client(Redis):
    """redis-py's client on a link."""

    def __init__(self, link: Link) -> None:
        super().__init__(protocol=2)
        self.link = link

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and take its answer."""
        (reply,) = await self.link.send([_encoded(args)], atomic=True)
        return _parsed(self.response_callbacks, args[0], reply, options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "_Pipeline":  # noqa: ARG002
        """Commands that are sent together."""
        return _Pipeline(self, transaction)


class _Pipeline(Pipeline):
    def __init__(self, client: Client, transaction: bool) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, None)
        self._link = client.link

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        replies = await self._link.send([_encoded(args) for args, _ in stack], atomic=self.is_transaction)
        answers: list[Any] = []
        for (args, options), reply in zip(stack, replies, strict=True):
            try:
                answers.append(_parsed(self.response_callbacks, args[0], reply, options))
            except ResponseError as error:
                if raise_on_error:
                    raise
                answers.append(error)
        return answers


def _encoded(args: tuple[Any, ...]) -> Command:
    words = args[0].split() if isinstance(args[0], str) else [args[0]]
    return [_bytes(part) for part in (*words, *args[1:])]


def _bytes(part: Any) -> bytes:
    if isinstance(part, bytes):
        return part
    return part.encode() if isinstance(part, str) else repr(part).encode()


def _parsed(callbacks: Any, name: Any, reply: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(reply, ReplyError):
        raise BaseParser.parse_error(str(reply))  # type: ignore[no-untyped-call]
    known = {option: value for option, value in options.items() if option != "keys"}
    return callbacks[name](reply, **known) if name in callbacks else reply
