"""Metrics of HTTP requests, and the middleware that counts them in every HTTP service.

Routes are named by their pattern (`/api/v1/accounts/{account_id}/report`), never by their path: labels take few values,
and no account shows among them.
"""

from collections.abc import Sequence
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.http.errors import Handler
from streams.metric import Metric

NO_ROUTE = "none"
"""The route of a request for an address that is not there."""

EVENT_STREAM = "text/event-stream"

HTTP_METRICS: tuple[Metric, ...] = (
    Metric("mediana_http_requests_total", "counter", ("route", "status"), "Requests answered, by route and status."),
    Metric(
        "mediana_http_request_seconds",
        "histogram",
        ("route",),
        "Time to answer a request; event streams, which last as long as their reader stays, are left out.",
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    ),
    Metric(
        "mediana_http_requests_open",
        "gauge",
        ("route",),
        "Requests being answered now; of an event stream's route: its subscribers.",
    ),
)

REPORT_METRICS: tuple[Metric, ...] = (
    Metric(
        "mediana_http_missing_parts_total",
        "counter",
        (),
        "Requests refused because a part of the report is not in Redis, instead of showing it as zero.",
    ),
)


class PageMetrics:
    """What only the page counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        (missing,) = REPORT_METRICS
        self.missing_parts = Counter(missing.name, missing.meaning, registry=registry)


PAGE_METRICS = web.AppKey("page_metrics", PageMetrics)


class HttpMetrics:
    """What is counted of requests, on a registry that the caller brings: the three `metrics` of one service."""

    def __init__(self, registry: CollectorRegistry, metrics: Sequence[Metric] = HTTP_METRICS) -> None:
        requests, seconds, opened = metrics
        self.requests = Counter(requests.name, requests.meaning, requests.labels, registry=registry)
        self.seconds = Histogram(
            seconds.name, seconds.meaning, seconds.labels, registry=registry, buckets=seconds.buckets
        )
        self.open = Gauge(opened.name, opened.meaning, opened.labels, registry=registry)


def observing(metrics: HttpMetrics) -> Middleware:
    """The middleware. It goes outermost, where every answer has the status that the client sees."""

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = NO_ROUTE if resource is None else resource.canonical
        started = perf_counter()
        status, streams = "500", False
        with metrics.open.labels(route).track_inprogress():
            try:
                response = await handler(request)
                status, streams = str(response.status), response.content_type == EVENT_STREAM
                return response
            except web.HTTPException as error:
                status = str(error.status)
                raise
            except ConnectionError:
                status = "gone"  # by its own will: the client went away while it was answered
                raise
            finally:
                metrics.requests.labels(route, status).inc()
                if not streams:
                    metrics.seconds.labels(route).observe(perf_counter() - started)

    return observe
