"""The faults of a campaign. Each breaks something, lets it hurt for a while, and leaves everything running again.

A fault returns whether the guard that it is aimed at was seen to act; `None` where only the numbers can tell.
"""

import asyncio
import functools
import signal
from collections.abc import Awaitable, Callable
from random import Random

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis as RedisClient

from streams.kafka.clients import client_options
from streams.local.ports import LOOPBACK
from tests.faults.disk import append_only_file, fill_disk, free_disk, torn
from tests.faults.proxy import Moment, Proxy, Trap
from tests.faults.stage import REDIS_TIMEOUT_SECONDS, SESSION_SECONDS, SHARDS, Stage, Worker

MOST_WORKERS = 4
PAST_SESSION_SECONDS = SESSION_SECONDS + 2.5
"""After so long the group has given a silent worker's shards to others."""

CLAIMS = "claiming again"
"""What a worker writes when it drops a session."""

DISK_FULL = "MISCONF"
"""How Redis begins the answer to whoever wants to write what it cannot put on its disk."""

COPY = """
local copied = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
    copied[#copied + 1] = key
    copied[#copied + 1] = redis.call('DUMP', key)
end
return copied
"""
"""All keys and values of one moment."""

Fault = Callable[[Stage, Random], Awaitable[bool | None]]


# --- workers --------------------------------------------------------------------------------------------------------


async def worker_killed(stage: Stage, dice: Random) -> None:
    """`kill -9`, and a new worker after a while."""
    worker = dice.choice(stage.workers)
    stage.leaves(worker)
    await asyncio.to_thread(worker.process.kill)
    await asyncio.sleep(dice.uniform(0, 3))
    await stage.start_worker()


async def all_workers_killed(stage: Stage, dice: Random) -> None:
    """`kill -9` of everything that works, at once."""
    workers = list(stage.workers)
    for worker in workers:
        stage.leaves(worker)
        worker.process.send_signal(signal.SIGKILL)
    await asyncio.sleep(dice.uniform(0, 3))
    for _ in workers:
        await stage.start_worker()


async def scaled_up(stage: Stage, dice: Random) -> None:
    """One more worker; or one less, if there are many."""
    if len(stage.workers) >= MOST_WORKERS:
        await scaled_down(stage, dice)
    else:
        await stage.start_worker()
        await asyncio.sleep(dice.uniform(1, 4))


async def scaled_down(stage: Stage, dice: Random) -> None:
    """SIGTERM: a worker hands over and ends well. The last one is replaced first."""
    if len(stage.workers) == 1:
        await stage.start_worker()
        await asyncio.sleep(4)
    worker = dice.choice(stage.workers[:-1])
    stage.leaves(worker)
    status = await asyncio.to_thread(worker.process.stop, 30.0)
    if status != 0:
        stage.problems.append(f"{worker.process.name} ended with {status} at SIGTERM: {worker.process.last_lines(3)}")


async def rolling_restart(stage: Stage, dice: Random) -> None:
    """One worker after the other is replaced, as a deploy does."""
    for _ in range(len(stage.workers)):
        await stage.start_worker()
        await asyncio.sleep(dice.uniform(0.5, 3))
        await scaled_down(stage, dice)


async def worker_frozen(stage: Stage, dice: Random) -> None:
    """SIGSTOP until others have its shards, then SIGCONT."""
    await _two_workers(stage)
    worker = dice.choice(stage.workers)
    worker.process.pause()
    await asyncio.sleep(PAST_SESSION_SECONDS + dice.uniform(0, 2))
    worker.process.resume()


async def commit_of_a_zombie(stage: Stage, dice: Random) -> bool:
    """A worker freezes with a commit on its way, which arrives when others have its shards: it must be refused."""
    await _two_workers(stage)
    caught = await _caught(stage, dice, Moment.HELD)
    if caught is None:
        return False
    worker, trap = caught
    before = stage.refusals()
    worker.process.pause()
    await asyncio.sleep(PAST_SESSION_SECONDS)
    trap.released.set()
    await asyncio.sleep(dice.uniform(0.2, 1))
    worker.process.resume()
    return stage.refusals() > before


# --- snapshotters ---------------------------------------------------------------------------------------------------


async def snapshotter_killed(stage: Stage, dice: Random) -> None:
    """`kill -9` of one of two, wherever it is, and a new one after a while."""
    snapshotter = dice.choice(stage.snapshotters)
    await asyncio.to_thread(snapshotter.kill)
    await stage.free_lock()
    await asyncio.sleep(dice.uniform(0, 3))
    snapshotter.start()


async def snapshotter_frozen(stage: Stage, dice: Random) -> None:
    """One of two is stopped wherever it is, loses its lock meanwhile if it had it, and goes on."""
    snapshotter = dice.choice(stage.snapshotters)
    snapshotter.pause()
    try:
        await stage.free_lock()
        await asyncio.sleep(dice.uniform(2, 9))
    finally:
        snapshotter.resume()


# --- producers ------------------------------------------------------------------------------------------------------


async def bomb_sent(stage: Stage, dice: Random) -> None:
    """Forty megabytes in a batch of some kilobytes: more than a worker reads of one. What is left out has a letter."""
    size = 1 << 20
    producer = AIOKafkaProducer(
        **client_options(stage.config),
        compression_type=dice.choice(("gzip", "lz4", "zstd")),
        max_batch_size=80 * size,
        max_request_size=80 * size,
        linger_ms=1_000,
    )
    await producer.start()
    try:
        topics = stage.config.topics
        topic, partition = dice.choice((topics.contacts, topics.conversations)), dice.randrange(SHARDS)
        sent = [await producer.send(topic, b"0" * size, key=b"bomb", partition=partition) for _ in range(40)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


# --- Redis ----------------------------------------------------------------------------------------------------------


async def redis_killed(stage: Stage, dice: Random) -> bool:
    """`kill -9`; back from its append-only file, without its last second perhaps."""
    before = stage.told(CLAIMS)
    await asyncio.to_thread(stage.primary.kill)
    await asyncio.sleep(dice.uniform(0, 5))
    await asyncio.to_thread(stage.primary.start)
    return await _claiming(stage, before)


async def redis_torn(stage: Stage, dice: Random) -> bool:
    """Killed, and back from a file that ends in the middle of a command."""
    before = stage.told(CLAIMS)
    await asyncio.to_thread(stage.primary.kill)
    torn(append_only_file(stage.primary), dice.randrange(1, 20_000))
    await asyncio.to_thread(stage.primary.start)
    return await _claiming(stage, before)


async def redis_restored(stage: Stage, dice: Random, *, oldest: bool = False) -> bool:
    """Killed, and started from an older copy while workers run."""
    before = stage.told(CLAIMS)
    await asyncio.to_thread(stage.primary.kill)
    await stage.restore(stage.copies[0] if oldest else dice.choice(stage.copies))
    return await _claiming(stage, before)


async def broker_away_in_a_backlog(stage: Stage, dice: Random) -> bool:
    """The oldest copy is put back, and while the log since is read again, nothing comes from the broker."""
    for worker in stage.workers:
        worker.redis.delay_seconds = 0.05  # so that the backlog lasts
    acted = await redis_restored(stage, dice, oldest=True)
    await asyncio.sleep(dice.uniform(0, 2))
    stage.kafka_door.freeze()
    # Longer than a topic waits for the other one, and sometimes than the group waits for a member.
    await asyncio.sleep(dice.uniform(6, 9))
    stage.kafka_door.thaw()
    for worker in stage.workers:
        worker.redis.delay_seconds = 0.0
    return acted


async def redis_rolled_back(stage: Stage, dice: Random) -> bool:
    """Older contents under the eyes of the workers: no connection breaks, nothing tells but what is in it."""
    before = stage.told(CLAIMS)
    stage.keep_copy()
    copied = await stage.client.eval(COPY, 0)
    await asyncio.sleep(dice.uniform(1, 4))
    pipeline = stage.client.pipeline(transaction=True)
    pipeline.flushall()
    for key, data in zip(copied[::2], copied[1::2], strict=True):
        pipeline.restore(key, 0, data)
    await pipeline.execute()
    return await _claiming(stage, before)


async def replica_promoted(stage: Stage, dice: Random) -> bool:
    """A replica that has fallen behind becomes the primary; some workers hear of it later than others."""
    before = stage.told(CLAIMS)
    async with Proxy(stage.primary.port) as link, _client(stage.replica.port) as replica:
        await replica.replicaof(LOOPBACK, str(link.port))
        async with asyncio.timeout(20):
            while (await replica.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110 - a server's state
                await asyncio.sleep(0.1)
        link.freeze()
        copied = await stage.commits()
        for _ in range(50):
            await asyncio.sleep(0.1)
            if await stage.commits() != copied:
                break
        await asyncio.sleep(dice.uniform(0, 2))
        await replica.replicaof("NO", "ONE")
    stage.exchange()
    for worker in dice.sample(stage.workers, len(stage.workers)):
        worker.redis.divert(stage.primary.port)
        await asyncio.sleep(dice.uniform(0, 0.7))
    return await _claiming(stage, before)


async def commit_cut(stage: Stage, dice: Random) -> bool:
    """The connection breaks before, in the middle of, or just after a commit, whose answer is lost."""
    before = stage.told(CLAIMS)
    moment = dice.choice((Moment.BEFORE, Moment.HALF, Moment.AFTER, Moment.AFTER))
    if await _caught(stage, dice, moment) is None:
        return False
    # After a lost answer the worker finds its commit done, and goes on.
    return moment is Moment.AFTER or await _claiming(stage, before)


async def commit_late(stage: Stage, dice: Random) -> bool:
    """A commit arrives after its worker has given up waiting for the answer, and claimed again."""
    caught = await _caught(stage, dice, Moment.HELD)
    if caught is None:
        return False
    before = stage.told(CLAIMS)
    await asyncio.sleep(REDIS_TIMEOUT_SECONDS + dice.uniform(0.1, 2))
    caught[1].released.set()
    return await _claiming(stage, before)


async def redis_slow(stage: Stage, dice: Random) -> None:
    """Every answer takes long; for some, longer than a worker waits."""
    for worker in stage.workers:
        worker.redis.delay_seconds = dice.choice((0.05, 0.3, 1.0, REDIS_TIMEOUT_SECONDS / 2 + 0.1))
    await asyncio.sleep(dice.uniform(4, 8))
    for worker in stage.workers:
        worker.redis.delay_seconds = 0.0


async def redis_frozen(stage: Stage, dice: Random) -> None:
    """SIGSTOP of the server, for longer than a worker waits."""
    stage.primary.pause()
    await asyncio.sleep(REDIS_TIMEOUT_SECONDS + dice.uniform(0.5, 3))
    stage.primary.resume()


async def redis_full(stage: Stage, dice: Random) -> bool:
    """No room for another write."""
    return await _refusing(stage, dice, "maxmemory", "1mb", "0")


async def disk_full(stage: Stage, dice: Random) -> bool:
    """The disk has no room for Redis' append-only file, perhaps in the middle of a command."""
    before = stage.told(DISK_FULL)
    fill_disk(stage.primary, dice.randrange(20_000))
    await asyncio.sleep(dice.uniform(3, 6))
    free_disk(stage.primary)
    return stage.told(DISK_FULL) > before


async def redis_without_replicas(stage: Stage, dice: Random) -> bool:
    """It takes no writes while a replica that it must have is away."""
    return await _refusing(stage, dice, "min-replicas-to-write", "2", "0")


async def _refusing(stage: Stage, dice: Random, name: str, value: str, normal: str) -> bool:
    before = stage.told(CLAIMS)
    await stage.client.config_set(name, value)
    await asyncio.sleep(dice.uniform(2, 5))
    await stage.client.config_set(name, normal)
    return stage.told(CLAIMS) > before


# --- Kafka ----------------------------------------------------------------------------------------------------------


async def broker_killed(stage: Stage, dice: Random) -> None:
    """`kill -9` of the broker, and back after a while."""
    await asyncio.to_thread(stage.kafka.kill)
    await asyncio.sleep(dice.uniform(0, 4))
    await asyncio.to_thread(stage.kafka.start)


async def broker_frozen(stage: Stage, dice: Random) -> None:
    """SIGSTOP of the broker."""
    stage.kafka.pause()
    await asyncio.sleep(dice.uniform(2, 7))
    stage.kafka.resume()


async def broker_cut_off(stage: Stage, dice: Random) -> None:
    """The workers' connections to the broker break, again and again; then nothing passes for a while."""
    for _ in range(dice.randint(1, 4)):
        stage.kafka_door.cut()
        await asyncio.sleep(dice.uniform(0, 1))
    stage.kafka_door.freeze()
    await asyncio.sleep(dice.uniform(0, PAST_SESSION_SECONDS))
    stage.kafka_door.thaw()
    stage.kafka_door.cut()


# --- helpers --------------------------------------------------------------------------------------------------------


async def _claiming(stage: Stage, before: int) -> bool:
    """Whether a worker dropped a session, at the latest when it verified it."""
    for _ in range(80):
        if stage.told(CLAIMS) > before:
            return True
        await asyncio.sleep(0.1)
    return False


def _client(port: int) -> "RedisClient":
    return RedisClient(host=LOOPBACK, port=port, socket_timeout=10)


async def _two_workers(stage: Stage) -> None:
    """Somebody must be there to take over."""
    if len(stage.workers) < 2:
        await stage.start_worker()
        await asyncio.sleep(4)


async def _caught(stage: Stage, dice: Random, moment: Moment) -> tuple[Worker, Trap] | None:
    """Lie in wait for the next commit of anyone; whose it was, or nothing when nobody commits."""
    traps = {
        asyncio.ensure_future(trap.sprung.wait()): (worker, trap)
        for worker in dice.sample(stage.workers, len(stage.workers))
        for trap in (worker.redis.set_trap(moment),)
    }
    done, waiting = await asyncio.wait(traps, timeout=8, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
        worker, _ = traps[task]
        worker.redis.trap = None
    caught = [traps[task] for task in done]
    for _, trap in caught[1:]:
        trap.released.set()
    return caught[0] if caught else None


def _by_turns(fault: Fault) -> Fault:
    """Faults that kill, freeze or set the Redis server: of two at once the second waits, or could not strike at all."""

    @functools.wraps(fault)
    async def strike(stage: Stage, dice: Random) -> bool | None:
        async with stage.redis_turn:
            return await fault(stage, dice)

    return strike


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        *(worker_killed, all_workers_killed, scaled_up, scaled_down, rolling_restart, worker_frozen),
        *(commit_of_a_zombie, commit_cut, commit_late, redis_slow),
        *(snapshotter_killed, snapshotter_frozen),
        *map(_by_turns, (redis_killed, redis_torn, redis_restored, redis_rolled_back, replica_promoted)),
        *map(_by_turns, (redis_frozen, redis_full, disk_full, redis_without_replicas)),
        bomb_sent,
        *(broker_killed, broker_frozen, broker_cut_off, broker_away_in_a_backlog),
    )
}
