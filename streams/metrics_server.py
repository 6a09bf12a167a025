"""Serves a process's metrics at `/metrics`, and at `/healthz` whether it is ready."""

import logging
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

logger = logging.getLogger(__name__)


class MetricsServer:
    """A small HTTP server beside the work. `ready` says why the process is not ready, or nothing when it is."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int, ready: Callable[[], str | None]) -> None:
        self._registry = registry
        self._host = host
        self._port = port
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen, and return the port. A busy port is no reason not to work: any free one is taken, and named."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            logger.warning("metrics: cannot listen on %s:%d (%s)", self._host, self._port, error.strerror)
            await web.TCPSite(self._runner, self._host, 0).start()
        port: int = self._runner.addresses[0][1]
        logger.info("metrics at http://%s:%d/metrics", self._host, port)
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, _: web.Request) -> web.Response:
        problem = self._ready()
        return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)
