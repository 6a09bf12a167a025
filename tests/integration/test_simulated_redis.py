"""The Redis of the simulation and a real one: the same commands, the same answers, through the same client library."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from streams.redis.ledger import CLAIM
from tests.conftest import RedisAddress
from tests.simulation.loop import Process
from tests.simulation.redis_client import Client, Command, Link
from tests.simulation.redis_server import Server
from tests.support.ledger_contract import LedgerContract


class NoNetwork(Link):
    """A link to a server that answers at once."""

    def __init__(self) -> None:
        self.server = Server(lambda: 0.0)
        super().__init__(self.server, Process("test"), Random(0), 1.0)

    async def send(self, commands: list[Command], *, atomic: bool) -> list[Any]:  # noqa: ARG002
        return [self.server.execute(command) for command in commands]


class TestSimulatedLedger(LedgerContract):
    @pytest.fixture
    def client(self) -> Client:
        return Client(NoNetwork())

    async def leave_half_written(self, client: Any, key: bytes) -> None:
        await client.hset(key, "busy", "1")


@pytest.fixture
async def real(redis_server: RedisAddress) -> AsyncIterator[Any]:
    client = Redis.from_url(redis_server.url, protocol=2)  # whose answers are as they come
    yield client
    await client.aclose()


UNPACK = """
local found = cmsgpack.unpack(ARGV[1])
local known, wrong = pcall(cmsgpack.unpack, 'xyz')
return {found.parts.a, found.parts.b.c[2], #found.parts.b.c, redis.call('TIME')[1] ~= nil}
"""

SCRIPT = """
local held = redis.call('HMGET', KEYS[1], ARGV[1], 'b')
redis.call('HSET', KEYS[1], ARGV[1], (tonumber(held[1] or '0')) + 1, 'n', #ARGV)
if ARGV[2] == 'fail' then return redis.error_reply('SUPERSEDED by ' .. ARGV[1]) end
if ARGV[2] == 'break' then return redis.call('ZADD', KEYS[1], 1, 'x') end
if ARGV[2] == 'caught' then return redis.pcall('ZADD', KEYS[1], 1, 'x')['err'] ~= nil end
local kind = redis.call('TYPE', KEYS[1])['ok']
return {kind, held[2] or 'none', redis.call('HGETALL', KEYS[1]), 7, redis.status_reply('OK')}
"""


def drawn(dice: Random, prefix: str) -> tuple[Any, ...]:
    """A command that the program might send."""
    hash_key, set_key, text_key = f"{prefix}h{dice.randrange(2)}", f"{prefix}z", f"{prefix}t{dice.randrange(2)}"
    field, value = f"f{dice.randrange(4)}", str(dice.randrange(5))
    any_key = dice.choice((hash_key, set_key, text_key, f"{prefix}none"))
    score, low, high = dice.randrange(5), dice.randrange(5), dice.randrange(5)
    commands: list[tuple[Any, ...]] = [
        ("HSET", hash_key, field, value, f"g{value}", value),
        ("HSETNX", hash_key, field, value),
        ("HGET", any_key, field),
        ("HMGET", any_key, field, "f0", "nothing"),
        ("HDEL", hash_key, field, "f1"),
        ("HLEN", any_key),
        ("HEXISTS", hash_key, field),
        ("HINCRBY", hash_key, f"n{value}", 3),
        ("ZADD", set_key, score, field),
        ("ZREM", set_key, field),
        ("ZSCORE", set_key, field),
        ("ZCARD", set_key),
        ("ZMSCORE", any_key, field, "f0", "nothing"),
        ("ZRANGE", set_key, "-inf", f"({high}", "BYSCORE", "LIMIT", dice.randrange(3), dice.randrange(3)),
        ("ZRANGE", set_key, f"({low}", "+inf", "BYSCORE", "WITHSCORES"),
        ("ZRANGE", set_key, low, high, "BYSCORE"),
        ("ZRANGE", set_key, low - 2, high - 2),
        ("SET", text_key, value),
        ("SET", text_key, value, "NX", "EX", 100),
        ("GET", any_key),
        ("MGET", any_key, hash_key, f"{prefix}t0", f"{prefix}none"),
        ("MSET", text_key, value, f"{prefix}t0", value),
        ("STRLEN", any_key),
        ("EVAL", UNPACK, 0, msgspec.msgpack.encode({"parts": {"a": 1, "b": {"c": [7, "x"]}}, "n": None})),
        ("INCR", text_key),
        ("EXPIRE", text_key, 50),
        ("DEL", any_key),
        ("UNLINK", any_key, f"{prefix}none"),
        ("EXISTS", hash_key, set_key, f"{prefix}none"),
        ("TYPE", any_key),
        ("EVAL", SCRIPT, 1, any_key, f"n{value}", dice.choice(("go", "fail", "break", "caught"))),
        ("EVAL", CLAIM, 1, hash_key, "token"),
        ("EVALSHA", "0" * 40, 1, hash_key),
    ]
    return dice.choice(commands)


async def answer_of(client: Any, command: tuple[Any, ...]) -> Any:
    """What a client makes of the answer; of an error its kind and, of scripts' own errors, its text."""
    try:
        found = await client.execute_command(*command)
    except Exception as error:  # noqa: BLE001 - compared
        text = str(error)
        return type(error).__name__, text if text.startswith("SUPERSEDED") else text.split(" ", maxsplit=1)[0]
    if command[0] == "EVAL" and isinstance(found, list) and len(found) == 5:
        pairs = found[2]
        return [*found[:2], dict(zip(pairs[::2], pairs[1::2], strict=True)), *found[3:]]
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_any_commands_have_the_same_answers_on_both(real: Any, namespace: str, seed: int) -> None:
    dice = Random(seed)
    simulated = Client(NoNetwork())
    for number in range(250):
        command = drawn(dice, f"{{{namespace}}}:")
        found, right = await answer_of(simulated, command), await answer_of(real, command)
        assert found == right, f"command {number}: {command}"


async def test_a_hash_and_a_set_are_scanned_whole(real: Any, namespace: str) -> None:
    for client in (real, Client(NoNetwork())):
        await client.hset(namespace, mapping={"a": "1", "b": "2", "ax": "3"})
        await client.zadd(f"{namespace}:z", {"m": 1, "n": 2.5})
        assert {name: value async for name, value in client.hscan_iter(namespace, match="a*")} == {
            b"a": b"1",
            b"ax": b"3",
        }
        assert {member: score async for member, score in client.zscan_iter(f"{namespace}:z")} == {b"m": 1.0, b"n": 2.5}


async def test_a_lock_goes_by_itself_and_a_copy_is_what_it_was() -> None:
    clock = [0.0]
    server = Server(lambda: clock[0])
    assert server.execute([b"SET", b"lock", b"me", b"NX", b"EX", b"5"]) == b"OK"
    server.execute([b"HSET", b"h", b"f", b"1"])
    server.copy()
    clock[0] = 4.9
    server.execute([b"HSET", b"h", b"f", b"2"])
    assert server.execute([b"SET", b"lock", b"you", b"NX", b"EX", b"5"]) is None
    clock[0] = 5.0
    assert server.execute([b"GET", b"lock"]) is None
    assert server.go_back(5.0) == 5.0
    assert server.execute([b"HGET", b"h", b"f"]) == b"1"
