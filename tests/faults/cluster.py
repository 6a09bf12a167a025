"""A Redis Cluster of three primaries on this machine."""

import asyncio
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis as RedisClient

from streams.local.ports import LOOPBACK, free_port
from streams.local.redis import Redis

NODES = 3
SLOTS = 16_384


class Cluster:
    """Use it with `async with`; `nodes` may be killed and started again one by one."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Redis(folder / f"node-{number}", options=_options()) for number in range(NODES)]

    @property
    def url(self) -> str:
        """Of any node."""
        return self.nodes[0].url

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(asyncio.to_thread(node.start) for node in self.nodes))
            await self._join()
        except BaseException:
            self._kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._kill)

    def _kill(self) -> None:
        for node in self.nodes:
            node.kill()

    async def _join(self) -> None:
        clients: list[Any] = [RedisClient(host=LOOPBACK, port=node.port) for node in self.nodes]
        try:
            for number, client in enumerate(clients):
                first, last = number * SLOTS // NODES, (number + 1) * SLOTS // NODES - 1
                await client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
                # Else each begins with the same number, and they settle later, when it disturbs.
                await client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            for node in self.nodes[1:]:
                bus_port = node.options["cluster-port"]
                await clients[0].execute_command("CLUSTER MEET", LOOPBACK, node.port, bus_port)
            async with asyncio.timeout(30):
                while not all([await _is_whole(client) for client in clients]):  # noqa: ASYNC110 - servers' state
                    await asyncio.sleep(0.1)
        finally:
            for client in clients:
                await client.aclose()

    def node_of(self, slot: int) -> Redis:
        """Who has a slot."""
        return self.nodes[next(number for number in range(NODES) if slot < (number + 1) * SLOTS // NODES)]


def _options() -> dict[str, str]:
    return {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-node-timeout": "2000",
        "cluster-require-full-coverage": "no",
    }


async def _is_whole(client: Any) -> bool:
    info = await client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == NODES
