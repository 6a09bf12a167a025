"""The snapshotter's part of the catalogue of metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.monitoring.catalogue import Metric

SNAPSHOTTER_METRICS: tuple[Metric, ...] = (
    Metric("mediana_snapshots_total", "counter", (), "Reports published, one per account and revision."),
    Metric("mediana_snapshot_days_total", "counter", (), "Account-days whose cube was written again."),
    Metric("mediana_snapshot_failures_total", "counter", (), "Rounds that ended with an error; the next one goes on."),
    Metric(
        "mediana_snapshot_seconds",
        "histogram",
        (),
        "Duration of a round over all accounts that were due.",
        (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0),
    ),
    Metric(
        "mediana_snapshot_timestamp_seconds", "gauge", (), "When the last round ended well; its age is now minus this."
    ),
    Metric(
        "mediana_snapshot_due_timestamp_seconds",
        "gauge",
        (),
        "When the round after the last one that ended well is due, by the schedule; at the start: now.",
    ),
    Metric(
        "mediana_snapshot_incomplete_accounts",
        "gauge",
        (),
        "Accounts whose report of the last round lacks what a later one may have; not: what is missing for good.",
    ),
)


class SnapshotterMetrics:
    """The snapshotter's collectors, on a registry that the caller brings."""

    def __init__(self, registry: CollectorRegistry) -> None:
        published, days, failures, seconds, timestamp, due, incomplete = SNAPSHOTTER_METRICS
        self.published = Counter(published.name, published.meaning, registry=registry)
        self.days = Counter(days.name, days.meaning, registry=registry)
        self.failures = Counter(failures.name, failures.meaning, registry=registry)
        self.seconds = Histogram(seconds.name, seconds.meaning, registry=registry, buckets=seconds.buckets)
        self.timestamp = Gauge(timestamp.name, timestamp.meaning, registry=registry)
        self.due = Gauge(due.name, due.meaning, registry=registry)
        self.incomplete = Gauge(incomplete.name, incomplete.meaning, registry=registry)
