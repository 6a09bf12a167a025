"""Reads published reports and the worker's metrics to show the demo's progress."""

import contextlib
import json
import urllib.request
from dataclasses import dataclass
from typing import Any

import redis
from prometheus_client.parser import text_string_to_metric_families

from streams.local.ports import LOOPBACK

EVENTS_METRIC = "mediana_events_total"
"""Events folded, by type."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a person wants to know of an account's newest report. `missing` says why it would look empty."""

    account_id: str
    revision: int
    as_of: str
    lag_records: int | None
    missing: str | None


def read_published(redis_url: str, account_id: str) -> Published:
    """The newest report of an account, or the reason why there is none; revision 0 stands for none."""
    try:
        with redis.Redis.from_url(redis_url, socket_timeout=2.0, socket_connect_timeout=2.0) as client:
            document = client.get(f"mediana:{{{account_id}}}:report")
    except redis.RedisError as error:
        return Published(account_id, 0, "", None, f"Redis does not answer: {error}")
    if document is None:
        return Published(account_id, 0, "", None, "no report was published")
    report: dict[str, Any] = json.loads(document)
    metrics = report["periods"]["last_30_days"]["metrics"]
    figures = {
        "new contacts": metrics["new_contacts"]["total"],
        "new conversations": metrics["new_conversations"]["total"],
        "first responses": metrics["first_response"]["count"],
        "responses": metrics["response"]["count"],
    }
    empty = [name for name, figure in figures.items() if not figure]
    return Published(
        account_id,
        report["revision"],
        report["as_of"],
        report["lag"]["records"],
        f"its report has no {', no '.join(empty)} in the last 30 days" if empty else None,
    )


def events_folded(metrics_port: int) -> int | None:
    """How many events the worker has folded, by its own metrics; None when they cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        text = fetch(metrics_url(metrics_port)).decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return int(sum(sample.value for sample in samples if sample.name == EVENTS_METRIC))
    return None


def metrics_url(port: int) -> str:
    """Where a program of the demo shows its metrics."""
    return f"http://{LOOPBACK}:{port}/metrics"


def fetch(url: str) -> bytes:
    """The body of an answer with status 200. Raises OSError for anything else."""
    # Without the proxies of the environment: all of this is on the loopback address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=2.0) as answer:
        body: bytes = answer.read()
        return body
