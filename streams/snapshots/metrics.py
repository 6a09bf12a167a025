"""The snapshotter's part of the catalogue of metrics."""

from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.metric import Metric
from streams.snapshots.failures import REASONS

SNAPSHOTTER_METRICS: tuple[Metric, ...] = (
    Metric("mediana_snapshots_total", "counter", (), "Reports published, one per account and revision."),
    Metric("mediana_snapshot_days_total", "counter", (), "Account-days whose block was written again."),
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
    Metric(
        "mediana_snapshot_failed_accounts",
        "gauge",
        ("reason",),
        "Accounts that got no newer report in the last round, or one that lacks days for good, by reason.",
        known=REASONS,
    ),
    Metric(
        "mediana_snapshot_repaired_parts_total",
        "counter",
        (),
        "Parts of published reports that were missing in Redis and were made again from the shards.",
    ),
    Metric(
        "mediana_snapshot_differing_days_total",
        "counter",
        (),
        "Account-days that were read and whose facts do not add up to the counters beside them; reports say so.",
    ),
    Metric(
        "mediana_snapshot_refused_writes_total",
        "counter",
        (),
        "Times that a snapshotter which had been overtaken was kept from writing, and gave up.",
    ),
    Metric(
        "mediana_snapshot_unusable_settings",
        "gauge",
        (),
        "Accounts whose newest settings cannot be used; their reports are made with the settings before, and say so.",
    ),
    Metric(
        "mediana_snapshot_zone_data_differs",
        "gauge",
        (),
        "1 while the namespace is counted with another release of the zone data than the snapshotter's.",
    ),
)


class SnapshotterMetrics:
    """The snapshotter's collectors, on a registry that the caller brings."""

    def __init__(self, registry: CollectorRegistry) -> None:
        published, days, failures, seconds, timestamp, due, incomplete, *rest = SNAPSHOTTER_METRICS
        failed, repaired, differing, refused, unusable, zone_data = rest
        self.published = Counter(published.name, published.meaning, registry=registry)
        self.days = Counter(days.name, days.meaning, registry=registry)
        self.failures = Counter(failures.name, failures.meaning, registry=registry)
        self.seconds = Histogram(seconds.name, seconds.meaning, registry=registry, buckets=seconds.buckets)
        self.timestamp = Gauge(timestamp.name, timestamp.meaning, registry=registry)
        self.due = Gauge(due.name, due.meaning, registry=registry)
        self.incomplete = Gauge(incomplete.name, incomplete.meaning, registry=registry)
        self.failed = Gauge(failed.name, failed.meaning, failed.labels, registry=registry)
        self.repaired = Counter(repaired.name, repaired.meaning, registry=registry)
        self.differing = Counter(differing.name, differing.meaning, registry=registry)
        self.refused = Counter(refused.name, refused.meaning, registry=registry)
        self.unusable = Gauge(unusable.name, unusable.meaning, registry=registry)
        self.zone_data_differs = Gauge(zone_data.name, zone_data.meaning, registry=registry)
        self.set_failed(())

    def set_failed(self, reasons: Iterable[str]) -> None:
        """Why accounts have no newer report, one reason for each."""
        counted = Counts(reasons)
        for reason in REASONS:
            self.failed.labels(reason).set(counted[reason])
