"""Checks before the first record is read: topics, Redis' settings, the namespace's ledgers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import time
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from redis.asyncio import RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError

from aggregates.report import instant_text
from streams.config import Config
from streams.errors import Fatal, Unavailable
from streams.kafka.auth import login_refusal
from streams.kafka.clients import TopicPartition, admin_client
from streams.kafka.gaps import Gaps, complete_from, encode_gaps, gap
from streams.kafka.log_start import complete_from as log_complete_from
from streams.outage import Outage
from streams.redis.clients import Client
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Positions, RedisLedger
from streams.redis.zone_data import announce

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of everything in Redis together; a program that finds another refuses the namespace."""

_PATIENCE_SECONDS = 5.0

Answer = TypeVar("Answer")


class Partitions(NamedTuple):
    """How many partitions the topics have."""

    events: int
    accounts: int


async def patiently(what: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until a server answers, saying so once. Raises `Fatal` when it refuses us for good."""
    delay = 0.25
    outage = Outage(what, logger, settled_seconds=0)  # it is asked once more and never again
    while True:
        try:
            answer = await ask()
        except (AuthenticationError, NoPermissionError) as error:
            raise Fatal(
                f"{what} refuses us: {error}; look at the user and password in the settings (MEDIANA_REDIS_USERNAME, "
                "MEDIANA_REDIS_PASSWORD, or those in MEDIANA_REDIS_URL)"
            ) from error
        except (KafkaError, RedisError, RedisClusterException, OSError, Unavailable) as error:
            outage.failed(f"{what} does not answer, trying again: {str(error) or type(error).__name__}")
        else:
            outage.answered()
            return answer
        await asyncio.sleep(delay)
        delay = min(2 * delay, _PATIENCE_SECONDS)


async def check_redis(client: Client) -> None:
    """Refuse a Redis that would evict what it must keep. Raises `Fatal`, or what the client raises."""
    if isinstance(client, RedisCluster):
        answers = await client.info("memory", target_nodes=RedisCluster.PRIMARIES)
        nodes = answers.values() if "maxmemory_policy" not in answers else [answers]
    else:
        nodes = [await client.info("memory")]
    for node in nodes:
        policy = node.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise Fatal(
                f"Redis has maxmemory-policy {policy}: it would silently throw away parts of the report. Set it to "
                "noeviction (CONFIG SET maxmemory-policy noeviction, and in its configuration file)"
            )


async def find_partitions(config: Config) -> Partitions:
    """How many partitions the topics have.

    Raises `Fatal` if one is missing, the event topics differ, or Kafka refuses our user.
    """
    topics = config.topics
    admin = admin_client(config)
    try:
        await admin.start()
        described = await admin.describe_topics(_names(config))
    except KafkaConnectionError as error:
        refusal = await login_refusal(config)  # the client does not say why it could not connect
        if refusal is not None:
            raise Fatal(f"Kafka at {config.kafka_bootstrap} refuses us: {refusal}") from error
        raise
    finally:
        await admin.close()
    counts = {topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]}
    missing = [name for name in _names(config) if not counts.get(name)]
    if missing:
        raise Fatal(f"Kafka has no topic {', '.join(missing)}: create the topics with 'mediana topics create'")
    if counts[topics.contacts] != counts[topics.conversations]:
        raise Fatal(
            f"{topics.contacts} has {counts[topics.contacts]} partitions and {topics.conversations} "
            f"{counts[topics.conversations]}: a contact's events must meet in one partition number, so give both "
            "equally many in a new pair of topics (MEDIANA_TOPIC_PREFIX)"
        )
    return Partitions(counts[topics.contacts], counts[topics.accounts])


async def open_namespace(config: Config, client: Client, consumer: AIOKafkaConsumer, partitions: Partitions) -> None:
    """Check what the namespace was made for, or make it: a ledger per shard, at the beginning of the logs.

    Where Kafka has dropped records already, the ledger says so for good, and from when on everything is there.
    Raises `Fatal` when the namespace belongs to other topics, or when there is none although there once was one.
    """
    keys = NamespaceKeys(config.namespace)
    meta = await _meta(client, keys)
    if meta:
        _check_meta(config, meta, partitions)
        await announce(client, keys)
        return
    committed = await _committed(config)
    meta = await _meta(client, keys)  # another worker may have made it, and committed, in between
    if meta:
        _check_meta(config, meta, partitions)
        await announce(client, keys)
        return
    if committed:
        raise Fatal(
            f"Redis at {config.redis_address} has no namespace {config.namespace!r}, yet consumer group "
            f"{config.group_id!r} has read these topics before: this is another Redis, or an emptied one. Point "
            "MEDIANA_REDIS_URL at the right one, restore it from a copy, or build anew with another MEDIANA_NAMESPACE"
        )
    topics = config.topics
    shards = range(partitions.events)
    contacts = [TopicPartition(topics.contacts, shard) for shard in shards]
    conversations = [TopicPartition(topics.conversations, shard) for shard in shards]
    begins = await consumer.beginning_offsets([*contacts, *conversations])
    since = await log_complete_from(config, {partition: begin for partition, begin in begins.items() if begin > 0})
    lost = [gap(partition, 0, begins[partition], since_ms) for partition, since_ms in since.items()]
    for shard in shards:
        gaps = Gaps(tuple(one for one in lost if one.partition == shard))
        ledger = RedisLedger(client, keys.shard(shard), shard)
        positions = Positions(begins[contacts[shard]], begins[conversations[shard]])
        await ledger.create(positions, encode_gaps(gaps) if gaps.lost else None)
    # Last, for from here on a missing ledger is a lost one.
    fields: Any = {
        "format": FORMAT,
        "partitions": partitions.events,
        "topic_prefix": config.topic_prefix,
        "created_at": round(time() * 1000),
    }
    await announce(client, keys)
    await client.hset(keys.meta, mapping=fields)
    logger.info("namespace %s: new, %d shards", config.namespace, partitions.events)
    if lost:
        logger.warning(
            "Kafka no longer has the beginning of the log (%d partitions): reports have everything that was sent from "
            "%s on, and will say so for good",
            len(lost),
            instant_text(complete_from([Gaps(tuple(lost))])),
        )


def _names(config: Config) -> list[str]:
    topics = config.topics
    return [topics.contacts, topics.conversations, topics.accounts, topics.dead_letters]


async def _meta(client: Client, keys: NamespaceKeys) -> Mapping[bytes, bytes]:
    answer: Any = client.hgetall(keys.meta)  # redis-py's hints do not say what a client of bytes returns
    found: Mapping[bytes, bytes] = await answer
    return found


def _check_meta(config: Config, meta: Mapping[bytes, bytes], partitions: Partitions) -> None:
    if int(meta[b"format"]) != FORMAT:
        raise Fatal(
            f"namespace {config.namespace!r} has format {int(meta[b'format'])}, this program knows {FORMAT}: run the "
            "version of Mediana that wrote it, or rebuild into a new namespace"
        )
    if int(meta[b"partitions"]) != partitions.events:
        raise Fatal(
            f"namespace {config.namespace!r} was made for {int(meta[b'partitions'])} partitions, the event topics now "
            f"have {partitions.events}: contacts have moved between shards. Rebuild into a new namespace "
            "(another MEDIANA_NAMESPACE reads the topics from the beginning)"
        )
    prefix = meta[b"topic_prefix"].decode()
    if prefix != config.topic_prefix:
        raise Fatal(
            f"namespace {config.namespace!r} was made from the topics {prefix}.*, not {config.topic_prefix}.*: set "
            "another MEDIANA_NAMESPACE, or the right MEDIANA_TOPIC_PREFIX"
        )


async def _committed(config: Config) -> bool:
    """Whether the consumer group ever committed a position in one of the event topics."""
    admin: AIOKafkaAdminClient = admin_client(config)
    try:
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(config.group_id)
    finally:
        await admin.close()
    events = (config.topics.contacts, config.topics.conversations)
    return any(partition.topic in events and found.offset >= 0 for partition, found in offsets.items())
