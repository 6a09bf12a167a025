"""What keeps one account from being published: its kinds, and how it is told."""

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from streams.cli.check import MOST_FAILURES_TOLD, failure_findings
from streams.redis.shard_reader import DamagedDay, UnsteadyShard
from streams.snapshots.failures import MOST_TEXT, Failure, decode_failure, encode_failure, reason_of, text_of
from streams.snapshots.fenced import FenceLost, MissingParts, Superseded
from streams.snapshots.metrics import SnapshotterMetrics
from streams.snapshots.parts import Part

NOON_MS = 1_795_348_800_000
"""2026-11-22T12:00:00Z."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DamagedDay("day 739000"), "counters"),
        (MissingParts("acme", [Part("739000", "a.1")]), "parts"),
        (UnsteadyShard("half a commit"), "shard"),
        (FenceLost("another"), "overtaken"),
        (Superseded("revision 7"), "overtaken"),
        (ResponseError("WRONGTYPE"), "redis"),
        (RedisConnectionError("too large for Redis"), "redis"),
        (ConnectionResetError("too large for Redis"), "redis"),
        (RedisTimeoutError("too slow for Redis"), "redis"),
        (KeyError("x"), "unforeseen"),
    ],
)
def test_every_kind_of_trouble_has_its_reason(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_a_text_is_one_short_line() -> None:
    assert text_of(ValueError("two\nlines")) == "two lines"
    assert text_of(ValueError()) == "ValueError"
    assert len(text_of(ValueError("x" * 10_000))) == MOST_TEXT


def test_a_failure_reads_back_and_says_since_when() -> None:
    failure = Failure("shard", NOON_MS, "half a commit")
    assert decode_failure(encode_failure(failure)) == failure
    assert failure.told() == "it has no newer report since 2026-11-22T12:00:00.000Z: half a commit (shard)"
    lacking = Failure("parts", NOON_MS, "2 days are lost", is_published=True)
    assert lacking.told() == "its report lacks numbers since 2026-11-22T12:00:00.000Z: 2 days are lost (parts)"


def test_check_names_the_accounts_that_wait_longest_and_counts_the_rest() -> None:
    assert failure_findings({}) == []
    failures = {f"a{number:02}": Failure("redis", NOON_MS - number, "no") for number in range(MOST_FAILURES_TOLD + 3)}
    findings = failure_findings(failures)
    assert len(findings) == MOST_FAILURES_TOLD + 1
    assert findings[0].what.startswith("account 'a22': ")
    assert findings[-1].what == "3 more accounts have no newer report"
    assert {finding.status for finding in findings} == {"fail"}


def test_the_metric_counts_accounts_by_reason_and_forgets_those_that_are_mended() -> None:
    registry = CollectorRegistry()
    metrics = SnapshotterMetrics(registry)

    def failed(reason: str) -> float | None:
        return registry.get_sample_value("mediana_snapshot_failed_accounts", {"reason": reason})

    assert failed("shard") == 0
    metrics.set_failed(["shard", "shard", "redis"])
    assert (failed("shard"), failed("redis"), failed("parts")) == (2, 1, 0)
    metrics.set_failed([])
    assert failed("shard") == 0
