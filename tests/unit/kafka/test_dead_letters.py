"""Dead letters, and the limit past which a worker stops instead of diverting everything."""

from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from streams.errors import Fatal, Unavailable
from streams.kafka.dead_letters import DeadLetter, DeadLetterLimit, DeadLetters
from tests.support.records import STAMP_MS, record


class FakeProducer:
    """Keeps what it is sent; refuses values longer than `longest`, at once or only when asked how it went."""

    def __init__(self, longest: int = 1 << 20, *, late: bool = False, error: Exception | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._longest = longest
        self._late = late
        self._error = error

    async def send(self, topic: str, **record: Any) -> Any:
        too_long = record["value"] is not None and len(record["value"]) > self._longest
        if too_long and not self._late:
            raise MessageSizeTooLargeError

        async def acknowledged() -> None:
            if self._error is not None:
                raise self._error
            if too_long:
                raise MessageSizeTooLargeError
            self.sent.append({"topic": topic, **record})

        return acknowledged()


def letter(value: bytes | None = b"{nonsense", key: bytes | None = b"ana") -> DeadLetter:
    return DeadLetter(record(42, value, key=key, topic="mediana.contacts"), "malformed", "JSON is malformed")


async def test_a_dead_letter_is_the_record_byte_for_byte_with_the_rest_in_headers() -> None:
    producer = FakeProducer()
    await DeadLetters(producer, "mediana.dead-letters").write([letter()])
    (sent,) = producer.sent
    assert (sent["topic"], sent["key"], sent["value"]) == (
        "mediana.dead-letters",
        b"mediana.contacts/3/42",
        b"{nonsense",
    )
    assert dict(sent["headers"]) == {
        "reason": b"malformed",
        "detail": b"JSON is malformed",
        "topic": b"mediana.contacts",
        "partition": b"3",
        "offset": b"42",
        "timestamp": b"%d" % STAMP_MS,
        "key": b"ana",
    }


async def test_a_record_without_key_or_value_keeps_them_missing() -> None:
    producer = FakeProducer()
    await DeadLetters(producer, "d").write([letter(None, None)])
    assert producer.sent[0]["value"] is None
    assert {"key", "omitted"}.isdisjoint(dict(producer.sent[0]["headers"]))


@pytest.mark.parametrize("late", [False, True], ids=["client", "broker"])
async def test_a_value_too_long_for_the_topic_is_left_where_it_is(late: bool) -> None:
    producer = FakeProducer(100, late=late)
    await DeadLetters(producer, "d").write([letter(b"x" * 101), letter(b"short")])
    by_value = {sent["value"]: dict(sent["headers"]) for sent in producer.sent}
    assert by_value[None]["omitted"] == b"101"
    assert by_value[None]["offset"] == b"42"
    assert "omitted" not in by_value[b"short"]


async def test_a_letter_that_may_not_be_written_holds_the_batch_back() -> None:
    with pytest.raises(Unavailable):
        await DeadLetters(FakeProducer(error=KafkaConnectionError()), "d").write([letter()])


def test_a_run_of_bad_records_over_several_batches_stops_the_worker() -> None:
    limit = DeadLetterLimit(1, 100, 5)
    for verdicts in ([True, False, True, True], [True]):
        limit.check(verdicts, "why")
        limit.accept(verdicts)
    with pytest.raises(Fatal, match=r"5 records in a row cannot be used \(why\).*MEDIANA_DEAD_LETTER_RUN"):
        limit.check([True, True, False], "why")
    limit.check([True, False, True], "why")


def test_a_batch_that_is_tried_again_counts_once() -> None:
    limit = DeadLetterLimit(1, 100, 5)
    for _ in range(10):
        limit.check([True] * 4, "why")


def test_a_share_of_bad_records_stops_the_worker_once_there_are_enough_to_judge() -> None:
    limit = DeadLetterLimit(0.25, 100, 0)
    bad = [True, False]
    for _ in range(49):
        limit.check(bad, "why")
        limit.accept(bad)
    with pytest.raises(Fatal, match="50 of the last 100 records"):
        limit.check(bad, "why")


def test_bad_records_of_long_ago_are_forgotten() -> None:
    limit = DeadLetterLimit(0.5, 100, 0)
    limit.accept([True] * 50)
    for _ in range(20):
        limit.check([False] * 10, "why")
        limit.accept([False] * 10)
    limit.check([True] * 40, "why")


def test_limits_can_be_turned_off() -> None:
    limit = DeadLetterLimit(1, 10, 0)
    for _ in range(5):
        limit.check([True] * 100, "why")
        limit.accept([True] * 100)
