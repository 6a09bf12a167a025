"""Metrics of `mediana ingest`."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from streams.http.metrics import HttpMetrics
from streams.metric import Metric

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUEST_METRICS: tuple[Metric, ...] = (
    Metric("mediana_ingest_requests_total", "counter", ("route", "status"), "Requests answered, by route and status."),
    Metric("mediana_ingest_request_seconds", "histogram", ("route",), "Time to answer a request.", _SECONDS),
    Metric("mediana_ingest_requests_open", "gauge", ("route",), "Requests being answered now."),
)

EVENT_METRICS: tuple[Metric, ...] = (
    Metric("mediana_ingest_events_accepted_total", "counter", (), "Events that Kafka acknowledged."),
    Metric("mediana_ingest_events_refused_total", "counter", ("reason",), "Events that break the contract, by reason."),
    Metric(
        "mediana_ingest_produce_seconds",
        "histogram",
        (),
        "Time from sending what one request brought to Kafka's acknowledgement of all of it.",
        _SECONDS,
    ),
    Metric(
        "mediana_ingest_produce_failures_total",
        "counter",
        (),
        "Requests whose events or settings Kafka did not acknowledge; their senders were told so.",
    ),
)

INGEST_METRICS = REQUEST_METRICS + EVENT_METRICS


class IngestMetrics:
    """The service's collectors, on a registry that the caller brings."""

    def __init__(self, registry: CollectorRegistry) -> None:
        accepted, refused, seconds, failures = EVENT_METRICS
        self.requests = HttpMetrics(registry, REQUEST_METRICS)
        self.accepted = Counter(accepted.name, accepted.meaning, registry=registry)
        self.refused = Counter(refused.name, refused.meaning, refused.labels, registry=registry)
        self.produce_seconds = Histogram(seconds.name, seconds.meaning, registry=registry, buckets=seconds.buckets)
        self.produce_failures = Counter(failures.name, failures.meaning, registry=registry)
