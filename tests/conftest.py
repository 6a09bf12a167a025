"""What all tests share: how hypothesis runs, and a real Kafka and a real Redis, with a corner of each for every test.

Nothing is skipped: a server that does not start is a failure, with what to do about it. MEDIANA_TEST_KAFKA
(host:port list) and MEDIANA_TEST_REDIS (URL) name servers that run already; what is in them is left alone.
"""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from streams.local.kafka import Kafka
from streams.local.redis import Redis
from tests.support.cluster import Site

# Two slow cores shared with a Kafka make single examples slow now and then: time is no criterion here. A failing
# example is printed with what it takes to repeat it.
settings.register_profile(
    "mediana", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("mediana")


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Where the Kafka of the session answers."""

    bootstrap: str


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the Redis of the session answers."""

    url: str


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaAddress]:
    """A single-node Kafka, started once. Tests that stop or kill one start their own."""
    if running := os.environ.get("MEDIANA_TEST_KAFKA"):
        yield KafkaAddress(running)
        return
    with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield KafkaAddress(server.bootstrap)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisAddress]:
    """A Redis, started once. Tests that stop or kill one start their own."""
    if running := os.environ.get("MEDIANA_TEST_REDIS"):
        yield RedisAddress(running)
        return
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield RedisAddress(server.url)


@pytest.fixture
def namespace() -> str:
    """A name of its own for the test: for its topics, its consumer group and its keys."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def topic_prefix(namespace: str) -> str:
    """What the test puts before the names of its topics, so that it reads only its own records."""
    return namespace


@pytest.fixture
async def site(kafka: KafkaAddress, redis_server: RedisAddress, namespace: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Workers, topics and counters of one test's own namespace."""
    site = Site(kafka.bootstrap, redis_server.url, namespace, tmp_path)
    yield site
    await site.close()
