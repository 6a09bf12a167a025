"""Health probes `/livez` and `/readyz`.

Live is whoever answers: the event loop turns. A server that is gone is no reason to restart us, so it does not show
there. Ready is who can do its work now, so readiness goes off while Redis or Kafka is away, and on again by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiohttp import web
from redis.exceptions import RedisClusterException, RedisError

Ready: TypeAlias = Callable[[], Awaitable[str | None]]
"""Says why a process is not ready, or nothing when it is. Answers within seconds, and raises nothing."""

PATIENCE_SECONDS = 2.0
"""How long Redis may take to answer; supervisors give up soon after."""


def add_probes(app: web.Application, ready: Ready) -> None:
    """Add both routes to an application. They are open to all, and name no account."""

    async def livez(_: web.Request) -> web.Response:
        return _answer(None)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(await ready())

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)


async def starting() -> str | None:
    """The readiness of a process that is not there yet."""
    return "starting"


def while_redis_answers(client: Any) -> Ready:
    """Ready while Redis answers PING."""

    async def ready() -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await client.ping()
        except (RedisError, RedisClusterException, OSError, TimeoutError):
            return "Redis does not answer"
        return None

    return ready


def _answer(problem: str | None) -> web.Response:
    response = web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)
    response.headers["Cache-Control"] = "no-store"
    return response
