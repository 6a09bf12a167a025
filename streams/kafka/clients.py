"""Constructs this program's Kafka clients from its settings."""

import ssl
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord

from streams.config import Config
from streams.kafka import fetch
from streams.kafka.assignor import ShardAssignor
from streams.tls import client_context

__all__ = [
    "ConsumerRecord",
    "TopicPartition",
    "admin_client",
    "client_options",
    "event_consumer",
    "group_member",
    "producer",
    "worker_client_id",
]

EVENT_TOPICS: tuple[Literal["contacts"], Literal["conversations"]] = ("contacts", "conversations")
"""The two event topics; everywhere a position or a buffer comes in pairs, it is in this order."""

CONTACTS, CONVERSATIONS = range(len(EVENT_TOPICS))

# The group must not throw out a member that has no partitions, or one that Redis keeps waiting: whether a worker
# gets on is watched by the worker itself. The largest the protocol takes, 24 days.
_NO_POLL_LIMIT_MS = 2**31 - 1

MOST_HEARTBEAT_SECONDS = 1.0

_MAX_REQUEST_BYTES = 16 << 20


def client_options(config: Config) -> dict[str, Any]:
    """What every aiokafka client is constructed with: where the brokers are and how to prove who we are.

    From the first call on, no consumer of this process decompresses more than it may. Raises `ConfigError` for files of
    TLS that cannot be used.
    """
    fetch.install()
    options: dict[str, Any] = {
        "bootstrap_servers": config.kafka_bootstrap,
        "security_protocol": config.kafka_security_protocol,
    }
    if config.kafka_security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": config.kafka_sasl_mechanism,
            "sasl_plain_username": config.kafka_sasl_username,
            "sasl_plain_password": str(config.kafka_sasl_password),
        }
    if config.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(config)
    return options


def _ssl_context(config: Config) -> ssl.SSLContext:
    context = client_context(
        "kafka",
        config.kafka_ssl_cafile,
        config.kafka_ssl_certfile,
        config.kafka_ssl_keyfile,
        config.kafka_ssl_key_password,
    )
    context.check_hostname = config.kafka_ssl_check_hostname
    return context


def worker_client_id(namespace: str) -> str:
    """What the consumers of a namespace's workers call themselves, whatever their group: so others can find them."""
    return f"mediana-worker-{namespace}"


def event_consumer(config: Config) -> AIOKafkaConsumer:
    """The one consumer that a worker reads with, from all three topics; it is told what to read, and is in no group.

    It never chooses a position by itself (`none`): positions come from the ledger.
    """
    return AIOKafkaConsumer(
        **client_options(config),
        client_id=worker_client_id(config.namespace),
        auto_offset_reset="none",
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=2 * config.batch_events,
        max_partition_fetch_bytes=1 << 20,
        metadata_max_age_ms=60_000,
        request_timeout_ms=30_000,
    )


def group_member(config: Config) -> AIOKafkaConsumer:
    """A worker's member of the consumer group: it is given partitions, and reads none.

    Heartbeats come often, for with the answer to one a worker learns that the group rebalances.
    """
    heartbeat_seconds = min(config.kafka_session_timeout_seconds / 4, MOST_HEARTBEAT_SECONDS)
    return AIOKafkaConsumer(
        **client_options(config),
        client_id=worker_client_id(config.namespace),
        group_id=config.group_id,
        auto_offset_reset="none",
        enable_auto_commit=False,
        isolation_level="read_committed",
        partition_assignment_strategy=(ShardAssignor(config.topics),),
        max_poll_interval_ms=_NO_POLL_LIMIT_MS,
        session_timeout_ms=round(config.kafka_session_timeout_seconds * 1000),
        heartbeat_interval_ms=round(heartbeat_seconds * 1000),
        metadata_max_age_ms=60_000,
        request_timeout_ms=30_000,
    )


def producer(config: Config) -> AIOKafkaProducer:
    """The producer of dead letters: a letter counts as written when every replica in sync has it."""
    return AIOKafkaProducer(
        **client_options(config),
        client_id="mediana-dead-letters",
        acks="all",
        compression_type="gzip",
        max_request_size=_MAX_REQUEST_BYTES,
        request_timeout_ms=30_000,
    )


def admin_client(config: Config) -> AIOKafkaAdminClient:
    """A client for questions about topics and groups."""
    return AIOKafkaAdminClient(**client_options(config), client_id="mediana-admin", request_timeout_ms=30_000)
