"""The page's server over a reader that needs no Redis, open and behind tokens."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from streams.http.tokens import Access
from streams.web.server import create_web_app
from tests.support.fake_reader import FakeReader
from tests.support.tokens import DIGESTS, Client


@pytest.fixture
def reader() -> FakeReader:
    """Reports of two accounts."""
    return FakeReader("acme", "globex")


@pytest.fixture
async def client(reader: FakeReader) -> AsyncIterator[Client]:
    """A client of a page that anybody may read."""
    async with TestClient(TestServer(create_web_app(reader))) as client:
        yield client


@pytest.fixture
async def guarded(reader: FakeReader) -> AsyncIterator[Client]:
    """A client of a page that asks for tokens."""
    async with TestClient(TestServer(create_web_app(reader, Access(DIGESTS)))) as client:
        yield client
