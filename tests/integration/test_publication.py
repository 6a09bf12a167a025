"""The lock and the fence on a real Redis: the same contract as the simulated one's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from streams.config import Config, Secret
from streams.redis.clients import connect
from tests.conftest import RedisAddress
from tests.support.publication_contract import PublicationContract


@pytest.fixture
async def client(redis_server: RedisAddress) -> AsyncIterator[Any]:
    made = connect(Config(redis_url=Secret(redis_server.url)))
    yield made
    await made.aclose()


class TestRedisPublication(PublicationContract):
    """A real Redis keeps the contract."""
