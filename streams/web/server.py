"""`mediana serve`: the page and the JSON API over published snapshots.

The server binds loopback unless told otherwise. Beyond loopback it starts only with a tokens file
(MEDIANA_HTTP_TOKENS_FILE), or when MEDIANA_HTTP_OPEN says that whoever reaches it may read every account.
"""

import logging
import sys
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import CollectorRegistry

from streams import gc as collector
from streams.config import Config
from streams.http.access_log import keep_requests_out_of_the_log
from streams.http.authorization import ACCESS
from streams.http.connections import serve
from streams.http.errors import errors_as_json
from streams.http.guards import Refused, add_security_headers, refuse_foreign_hosts
from streams.http.listening import cannot_listen
from streams.http.metrics import PAGE_METRICS, HttpMetrics, PageMetrics, observing
from streams.http.rate_limit import Rates, limiting
from streams.http.tokens import Access
from streams.logs import shown
from streams.monitoring.probes import add_probes, while_redis_answers
from streams.monitoring.server import MetricsServer
from streams.outage import Outage
from streams.redis import zone_data
from streams.redis.clients import connect
from streams.snapshots.reader import SnapshotReader
from streams.web.access import page_access
from streams.web.api import add_api
from streams.web.errors import PAGE_FAILURES
from streams.web.page import add_page
from streams.web.reader_protocol import OUTAGE, READER, Reader, Watched
from streams.web.revisions import REVISIONS, Revisions

logger = logging.getLogger(__name__)


def create_web_app(
    reader: Reader,
    access: Access | None = None,
    *,
    only_loopback_names: bool = False,
    metrics: HttpMetrics | None = None,
    page_metrics: PageMetrics | None = None,
    rates: Rates | None = None,
) -> web.Application:
    """The application: page, files and API over `reader`.

    `access` says which token opens which account (default: all open). `only_loopback_names` refuses requests that
    name another host than this machine; `run` sets it for a server that is open because it is on loopback. `metrics`
    counts what is asked, `page_metrics` what could not be answered, `rates` says how often one caller may ask (default:
    as often as it likes).
    """
    keep_requests_out_of_the_log()
    guards = [refuse_foreign_hosts] if only_loopback_names else []
    observers = [] if metrics is None else [observing(metrics)]
    limits = [] if rates is None else [limiting(rates)]
    app = web.Application(middlewares=[*observers, errors_as_json(PAGE_FAILURES), *guards, *limits])
    app[OUTAGE] = Outage("Redis", logger)
    app[READER] = Watched(reader, app[OUTAGE])
    if page_metrics is not None:
        app[PAGE_METRICS] = page_metrics
    app[ACCESS] = access or Access()
    app[REVISIONS] = Revisions(reader)
    app.on_shutdown.append(_end_streams)
    app.on_response_prepare.append(add_security_headers)
    add_api(app)
    add_page(app)
    return app


async def _end_streams(app: web.Application) -> None:
    """Else a stop would wait for listeners who mean to stay for ever."""
    await app[REVISIONS].close()


def run(config: Config) -> int:
    """Serve until interrupted. Returns the exit status: 0, or 2 (with the reason on stderr) if it could not start."""
    host, port = config.http_host, config.http_port
    try:
        access = page_access(config)
    except Refused as error:
        return _refuse(str(error))
    redis = connect(config)
    registry = CollectorRegistry()
    ready = while_redis_answers(redis)
    server = MetricsServer(registry, config.metrics_host, config.page_metrics_port, ready)
    app = create_web_app(
        SnapshotReader(redis, config.namespace),
        access,
        only_loopback_names=not (access.needs_token or config.http_open),
        metrics=HttpMetrics(registry),
        page_metrics=PageMetrics(registry),
        rates=Rates(config.http_rate_per_second) if config.http_rate_per_second else None,
    )
    add_probes(app, ready)

    async def beside(_: web.Application) -> AsyncIterator[None]:
        await server.start()
        await zone_data.tell(redis, config.namespace)
        yield
        await server.stop()
        await redis.aclose()

    app.cleanup_ctx.append(beside)

    async def make() -> web.Application:
        return app

    collector.calm()
    try:
        serve(make(), host, port)
    except OSError as error:
        return _refuse(cannot_listen(host, port, error, "MEDIANA_HTTP_PORT"))
    return 0


def _refuse(reason: str) -> int:
    print(shown(f"mediana serve: {reason}"), file=sys.stderr)
    return 2
