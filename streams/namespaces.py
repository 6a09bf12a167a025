"""`mediana namespace drop`: deletes everything that a namespace keeps in Redis, a bounded number of keys at a time."""

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson

from streams.config import MAIN_NAMESPACE, Config
from streams.errors import Fatal
from streams.kafka import admin_client
from streams.keys import NamespaceKeys
from streams.redis import connect

BATCH_KEYS = 500
"""Keys unlinked in one go; Redis frees what they held in the background."""


def run(config: Config, name: str, *, confirmed: bool) -> int:
    """Drop the namespace, or without confirmation only count its keys. Returns the exit status.

    Raises `ConfigError` for a name that is none, `Fatal` for a namespace in use.
    """
    return asyncio.run(_run(config, name, confirmed=confirmed))


async def _run(config: Config, name: str, *, confirmed: bool) -> int:
    dropped = dataclasses.replace(config, namespace=name)
    redis = connect(config)
    try:
        if not confirmed:
            count = 0
            async for _ in keys_of(redis, name):
                count += 1
            _tell(name, count, 0)
            print(f"namespace: nothing is deleted; 'mediana namespace drop {name} --yes' does", file=sys.stderr)
            return 1
        if name == config.namespace:
            raise Fatal(
                f"namespace {name!r} is the one in use (MEDIANA_NAMESPACE): set the one that takes its place first"
            )
        await _refuse_workers(dropped)
        count = await drop(redis, name)
    finally:
        await redis.aclose()
    _tell(name, count, count)
    return 0


async def drop(redis: Any, name: str) -> int:
    """Delete every key of the namespace; how many there were. Begun again after an end half way, it ends the work.

    The ledgers go first: a worker that is still there stops at once. The mark of the namespace goes last: until then no
    worker takes it for a new one.
    """
    keys = NamespaceKeys(name)
    partitions = int(await redis.hget(keys.meta, "partitions") or 0)
    count = await _unlink(redis, (keys.shard(shard).ledger for shard in range(partitions)))
    batch: list[bytes] = []
    async for key in keys_of(redis, name):
        if key == keys.meta:
            continue
        batch.append(key)
        if len(batch) >= BATCH_KEYS:
            count += await _unlink(redis, batch)
            batch.clear()
    count += await _unlink(redis, batch)
    return count + await _unlink(redis, [keys.meta])


async def keys_of(redis: Any, name: str) -> AsyncIterator[bytes]:
    """The keys of a namespace, of its shards and of its accounts; some may come twice. Names have no glob signs."""
    public = "mediana:{*" if name == MAIN_NAMESPACE else f"{name}:mediana:{{*"
    for pattern in (f"{{mediana:{name}:*}}:*", f"{{mediana:{name}}}:*", public):
        async for key in redis.scan_iter(match=pattern, count=BATCH_KEYS):
            yield key


async def _unlink(redis: Any, keys: Iterable[bytes]) -> int:
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.unlink(key)  # one each: on a Cluster they are of many slots
        return sum(await pipe.execute())


async def _refuse_workers(config: Config) -> None:
    """Raises `Fatal` when the consumer group of the namespace has members. One group for all tells nothing."""
    if config.group is not None:
        return
    admin = admin_client(config)
    try:
        await admin.start()
        answers = await admin.describe_consumer_groups([config.group_id])
    finally:
        await admin.close()
    members = sum(len(group[5]) for answer in answers for group in answer.groups)
    if members:
        raise Fatal(
            f"{members} workers of namespace {config.namespace!r} are running (consumer group {config.group_id!r}): "
            "stop them first"
        )


def _tell(name: str, keys: int, deleted: int) -> None:
    sys.stdout.write(orjson.dumps({"namespace": name, "keys": keys, "deleted": deleted}).decode() + "\n")
