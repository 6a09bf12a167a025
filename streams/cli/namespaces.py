"""`mediana namespace drop`: deletes all keys of a namespace, a bounded number at a time."""

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code

from streams.config import MAIN_NAMESPACE, Config
from streams.errors import Fatal
from streams.kafka.clients import admin_client, worker_client_id
from streams.redis.clients import connect
from streams.redis.keys import NamespaceKeys

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
            # One each: on a Cluster they are of many slots. And not `unlink`, which its pipelines never send.
            pipe.execute_command("UNLINK", key)
        return sum(await pipe.execute())


async def _refuse_workers(config: Config) -> None:
    """Raises `Fatal` when workers of the namespace are members of any consumer group, `KafkaError` if Kafka won't say.

    Nobody need know their group: a worker's client is named after its namespace. Those of old versions, whose client
    was not, are found where the group has its usual name.
    """
    name = config.namespace
    usual = None if config.group is not None else config.group_id
    admin = admin_client(config)
    try:
        await admin.start()
        brokers = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
        groups = [group for broker in brokers for group in await _groups(admin, broker)]
    finally:
        await admin.close()
    found = {
        group.name: count
        for group in groups
        if (count := len(group.clients) if group.name == usual else group.clients.count(worker_client_id(name)))
    }
    if found:
        raise Fatal(
            f"{sum(found.values())} workers of namespace {name!r} are running (consumer group "
            f"{', '.join(map(repr, sorted(found)))}): stop them first"
        )


class _Group(NamedTuple):
    """A consumer group, and what the clients in it call themselves."""

    name: str
    clients: list[str]


async def _groups(admin: AIOKafkaAdminClient, broker: int) -> list[_Group]:
    """The consumer groups that a broker coordinates. Raises `KafkaError`, also when it is just handing them over."""
    names = [name for name, _ in await admin.list_consumer_groups([broker])]
    groups = []
    for name in names:
        # One at a time: aiokafka 0.14 cannot read an answer about several, and takes the connection for broken.
        for answer in await admin.describe_consumer_groups([name], broker):
            for code, _, _, _, _, members, *_ in answer.groups:
                error = for_code(code)
                if error.retriable:
                    raise error(f"consumer group {name!r} cannot be looked at now")
                groups.append(_Group(name, [member[1] for member in members]))
    return groups


def _tell(name: str, keys: int, deleted: int) -> None:
    sys.stdout.write(orjson.dumps({"namespace": name, "keys": keys, "deleted": deleted}).decode() + "\n")
