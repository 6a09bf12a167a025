"""From which instant on a log that lost its beginning is complete, told by the first record that is left."""

import json

import pytest

from streams.config import Config
from streams.kafka.log_start import complete_from, instant_of
from tests.support.records import record

SENT_MS = 1_772_452_800_000  # 2026-03-02T12:00:00Z
NOW_MS = SENT_MS + 3_600_000


def event(occurred_at: str) -> bytes:
    fields = {"id": "1", "type": "contact.deleted", "account_id": "acme", "contact_id": "ana"}
    return json.dumps({**fields, "occurred_at": occurred_at}).encode()


@pytest.mark.parametrize(
    ("occurred_at", "expected_ms"),
    [
        ("2026-03-02T11:00:00Z", SENT_MS),  # sent an hour after it happened: what was lost was sent before
        ("2026-03-02T12:10:00Z", SENT_MS + 600_000),  # by a clock that is ahead
        ("2026-03-02T14:00:00Z", NOW_MS),  # what is lost is lost by now
    ],
)
def test_the_later_of_when_it_was_sent_and_when_it_happened(occurred_at: str, expected_ms: int) -> None:
    assert instant_of(record(5, event(occurred_at), at_ms=SENT_MS), NOW_MS) == expected_ms


@pytest.mark.parametrize("value", [None, b"", b"nonsense", b'{"type": "contact.invented"}', event("yesterday")])
def test_a_record_that_is_no_event_says_when_it_was_sent(value: bytes | None) -> None:
    assert instant_of(record(5, value, at_ms=SENT_MS), NOW_MS) == SENT_MS


def test_a_record_from_the_future_says_no_more_than_now() -> None:
    assert instant_of(record(5, None, at_ms=NOW_MS + 1), NOW_MS) == NOW_MS


@pytest.mark.parametrize("timestamp_ms", [-1, 0])
def test_a_record_without_a_timestamp_leaves_only_now(timestamp_ms: int) -> None:
    assert instant_of(record(5, event("2026-03-02T11:00:00Z"), at_ms=timestamp_ms), NOW_MS) == NOW_MS


def test_of_an_empty_log_nothing_is_left() -> None:
    assert instant_of(None, NOW_MS) == NOW_MS


async def test_where_nothing_is_missing_no_broker_is_asked() -> None:
    assert await complete_from(Config(kafka_bootstrap="127.0.0.1:1"), {}) == {}
