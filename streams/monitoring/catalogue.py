"""Metrics of the worker: the catalogue, and the collectors made from it.

Base units, and labels that take few values: no accounts, contacts or conversations. Counters whose label's values are
known beforehand stand at 0 from the start: Prometheus sees no increase in a series that begins at 1.
"""

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.errors import EVENT_REASONS, SETTINGS_REASONS
from schemas.events import EVENT_TYPES, type_name
from streams.kafka.dead_letters import BATCH_DAMAGED, BATCH_TOO_LARGE, CONTACT_TOO_LARGE, FOLD_ERROR, TOO_LATE
from streams.metric import Metric

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 10, 50, 100, 250, 500, 1000, 2500)


Cut = Literal["memory", "time", "session"]
"""Why a batch was made shorter: what it reads is too long, it takes too long, its session was lost."""

Cause = Literal["lost", "unavailable", "rebalance", "fetch", "unforeseen"]
"""What ended a session: the ledger is another's, a server, the consumer group, a position out of the log, a fault."""

DEAD_LETTER_REASONS = tuple(
    dict.fromkeys(
        (
            *(*EVENT_REASONS, *SETTINGS_REASONS),
            *(TOO_LATE, FOLD_ERROR, CONTACT_TOO_LARGE, BATCH_TOO_LARGE, BATCH_DAMAGED),
        )
    )
)


WORKER_METRICS: tuple[Metric, ...] = (
    Metric(
        "mediana_events_total",
        "counter",
        ("type",),
        "Events folded and committed, by type.",
        known=tuple(map(type_name, EVENT_TYPES)),
    ),
    Metric("mediana_duplicates_total", "counter", (), "Events whose id their contact's history already held."),
    Metric("mediana_late_events_total", "counter", (), "Conversation events past the lateness window, set aside."),
    Metric("mediana_unknown_events_total", "counter", (), "Events of a type this version does not know, skipped."),
    Metric(
        "mediana_dead_letters_total",
        "counter",
        ("reason",),
        "Records written to the dead-letter topic.",
        known=DEAD_LETTER_REASONS,
    ),
    Metric(
        "mediana_refused_settings_total",
        "counter",
        ("reason",),
        "Account settings refused, among the dead letters.",
        known=SETTINGS_REASONS,
    ),
    Metric("mediana_settings_total", "counter", (), "Account settings taken over by this worker."),
    Metric("mediana_batch_records", "histogram", (), "Records of a committed batch.", _SIZES),
    Metric(
        "mediana_batches_cut_total",
        "counter",
        ("cause",),
        "Batches made shorter: what they read was too long, they took too long, or a session was lost in the middle.",
        known=get_args(Cut),
    ),
    Metric("mediana_fold_seconds", "histogram", (), "Time to decode and fold a batch.", _SECONDS),
    Metric("mediana_commit_seconds", "histogram", (), "Time from sending a commit to its answer.", _SECONDS),
    Metric("mediana_read_seconds", "histogram", (), "Time from sending a batch's reads to their answer.", _SECONDS),
    Metric("mediana_lag_records", "gauge", ("topic", "shard"), "Records between a shard's position and the log's end."),
    Metric("mediana_shards", "gauge", ("state",), "Shards of this worker: owned, open, stopped."),
    Metric("mediana_cached_contacts", "gauge", (), "Contacts remembered."),
    Metric("mediana_cached_counters", "gauge", (), "Counters remembered."),
    Metric(
        "mediana_sessions_dropped_total",
        "counter",
        ("cause",),
        "Sessions ended by a doubt, by its cause.",
        known=get_args(Cause),
    ),
    Metric("mediana_claims_total", "counter", (), "Shards claimed."),
    Metric("mediana_expired_days_total", "counter", (), "Days past the retention horizon deleted."),
    Metric(
        "mediana_sealed_days_total", "counter", (), "Days at rest made one compressed value, once for each sealing."
    ),
    Metric("mediana_shrunk_contacts_total", "counter", (), "Quiet contacts whose older entries were let go."),
    Metric("mediana_expired_settings_total", "counter", (), "Older versions of settings deleted: nothing needs them."),
    Metric(
        "mediana_missing_settings_total",
        "counter",
        (),
        "Older versions of settings that a late event needed and that are not to be had; the present ones stood in.",
    ),
    Metric(
        "mediana_unusable_settings",
        "gauge",
        (),
        "Accounts in use whose newest settings cannot be used; those before go on. `mediana check` names them.",
    ),
    Metric(
        "mediana_zone_data_differs",
        "gauge",
        (),
        "1 while the namespace is counted with another release of the zone data than this program's.",
    ),
    Metric("mediana_last_commit_timestamp_seconds", "gauge", (), "When this worker last committed a batch."),
)


class WorkerMetrics:
    """The worker's collectors."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        made = {metric.name: _collector(metric, registry) for metric in WORKER_METRICS}

        def counter(name: str) -> Counter:
            found = made.pop(name)
            assert isinstance(found, Counter)
            return found

        def gauge(name: str) -> Gauge:
            found = made.pop(name)
            assert isinstance(found, Gauge)
            return found

        def histogram(name: str) -> Histogram:
            found = made.pop(name)
            assert isinstance(found, Histogram)
            return found

        self.events = counter("mediana_events_total")
        self.duplicates = counter("mediana_duplicates_total")
        self.late = counter("mediana_late_events_total")
        self.unknown = counter("mediana_unknown_events_total")
        self.dead_letters = counter("mediana_dead_letters_total")
        self.refused_settings = counter("mediana_refused_settings_total")
        self.settings = counter("mediana_settings_total")
        self.batch_records = histogram("mediana_batch_records")
        self.batches_cut = counter("mediana_batches_cut_total")
        self.fold_seconds = histogram("mediana_fold_seconds")
        self.commit_seconds = histogram("mediana_commit_seconds")
        self.read_seconds = histogram("mediana_read_seconds")
        self.lag = gauge("mediana_lag_records")
        self.shards = gauge("mediana_shards")
        self.cached_contacts = gauge("mediana_cached_contacts")
        self.cached_counters = gauge("mediana_cached_counters")
        self.sessions_dropped = counter("mediana_sessions_dropped_total")
        self.claims = counter("mediana_claims_total")
        self.expired_days = counter("mediana_expired_days_total")
        self.sealed_days = counter("mediana_sealed_days_total")
        self.shrunk_contacts = counter("mediana_shrunk_contacts_total")
        self.expired_settings = counter("mediana_expired_settings_total")
        self.missing_rules = counter("mediana_missing_settings_total")
        self.unusable_settings = gauge("mediana_unusable_settings")
        self.zone_data_differs = gauge("mediana_zone_data_differs")
        self.last_commit = gauge("mediana_last_commit_timestamp_seconds")
        assert not made, f"metrics without an attribute: {sorted(made)}"


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        counter = Counter(metric.name, metric.meaning, metric.labels, registry=registry)
        for value in metric.known:
            counter.labels(value)
        return counter
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
    return Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets)
