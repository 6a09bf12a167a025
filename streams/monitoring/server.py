"""Serves `/metrics`, `/livez` and `/readyz` of a process."""

import logging

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from streams.errors import Fatal
from streams.http.connections import BoundedRunner, Bounds
from streams.http.errors import Failures, Words, errors_as_json
from streams.http.listening import cannot_listen
from streams.metric import Metric
from streams.monitoring.probes import Ready, add_probes, starting

logger = logging.getLogger(__name__)

SERVER_METRICS: tuple[Metric, ...] = (Metric("mediana_ready", "gauge", (), "1 while `/readyz` answers 200, else 0."),)


CONNECTIONS = 100
"""Scrapers and supervisors are few, and the files of a worker are for Kafka and Redis."""

_BOUNDS = Bounds(connections=CONNECTIONS)
_FAILURES = Failures(
    answer_seconds=10,
    statuses={
        404: Words("not_found", "There is nothing at this address.", "Ask for /metrics, /livez or /readyz."),
        405: Words("method_not_allowed", "This address does not answer to that method.", "Use GET or HEAD."),
    },
    explain=lambda *_: None,
    internal=Words("internal", "The metrics could not be read.", "The program's log says why."),
)


class MetricsServer:
    """A small HTTP server beside the work.

    `ready` says why the process is not ready, or nothing when it is; set it once there is something to ask. The
    process's memory, processor time and start are on the registry too.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        host: str,
        port: int,
        ready: Ready = starting,
        bounds: Bounds = _BOUNDS,
    ) -> None:
        self.ready = ready
        self._registry = registry
        self._host = host
        self._port = port
        self._bounds = bounds
        self._runner: web.AppRunner | None = None
        (metric,) = SERVER_METRICS
        self._ready_gauge = Gauge(metric.name, metric.meaning, registry=registry)
        ProcessCollector(registry=registry)

    async def start(self) -> int:
        """Listen, and return the port. A busy port is no reason not to work: any free one is taken, and named.

        Raises `Fatal` for a host that is not this machine.
        """
        app = web.Application(middlewares=[errors_as_json(_FAILURES)])
        app.router.add_get("/metrics", self._metrics)
        add_probes(app, self._why_not_ready)
        self._runner = BoundedRunner(app, bounds=self._bounds, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            logger.warning("metrics: cannot listen on %s:%d (%s)", self._host, self._port, error.strerror)
            try:
                await web.TCPSite(self._runner, self._host, 0).start()
            except OSError as worse:
                await self._runner.cleanup()
                raise Fatal(cannot_listen(self._host, self._port, worse, "MEDIANA_METRICS_PORT")) from None
        port: int = self._runner.addresses[0][1]
        logger.info("metrics at http://%s:%d/metrics", self._host, port)
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _why_not_ready(self) -> str | None:
        return await self.ready()

    async def _metrics(self, _: web.Request) -> web.Response:
        self._ready_gauge.set(await self.ready() is None)
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
