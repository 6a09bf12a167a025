"""A record without a timestamp of its own is held against the clock of its arrival."""

import time

import orjson
import pytest
from aiokafka.structs import ConsumerRecord

from streams.records.decoded import arrived


def question(at: str, timestamp_ms: int) -> ConsumerRecord:
    event = {"id": "1", "type": "message.received", "account_id": "acme", "contact_id": "ana", "occurred_at": at}
    value = orjson.dumps({**event, "conversation_id": "k1", "channel": "whatsapp"})
    return ConsumerRecord("t", 0, 7, timestamp_ms, 0, b"ana", value, None, 3, len(value), [])


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 946_684_799_999])
def test_a_missing_timestamp_refuses_nothing_that_has_happened(timestamp_ms: int) -> None:
    assert arrived(1, question("2026-11-20T10:00:00Z", timestamp_ms)).letter is None


@pytest.mark.parametrize(("ahead_s", "refused"), [(3_500, False), (3_700, True)])
def test_it_is_held_against_the_clock_of_its_arrival(ahead_s: int, refused: bool) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead_s))
    letter = arrived(1, question(at, -1)).letter
    assert (letter is not None and letter.reason == "future") == refused


def test_the_first_timestamp_that_counts_is_that_of_the_year_2000() -> None:
    letter = arrived(1, question("2026-11-20T10:00:00Z", 946_684_800_000)).letter
    assert letter is not None
    assert letter.reason == "future"
