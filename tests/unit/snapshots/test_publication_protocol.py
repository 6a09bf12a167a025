"""The lock and the fence on the simulated Redis: the same contract as a real one's."""

import time
from random import Random
from typing import Any

import pytest

from tests.simulation.loop import Process
from tests.simulation.redis_client import Client, Command, Link
from tests.simulation.redis_server import Server
from tests.support.publication_contract import PublicationContract


class NoNetwork(Link):
    """A link to a server that answers at once."""

    def __init__(self) -> None:
        self.server = Server(time.monotonic)
        super().__init__(self.server, Process("test"), Random(0), 1.0)

    async def send(self, commands: list[Command], *, atomic: bool) -> list[Any]:  # noqa: ARG002
        return [self.server.execute(command) for command in commands]


@pytest.fixture
def namespace() -> str:
    return "test"


@pytest.fixture
def client() -> Client:
    return Client(NoNetwork())


class TestSimulatedPublication(PublicationContract):
    """The simulated Redis keeps the contract."""
