"""Dead letters: records that cannot be used, kept on a topic of their own with the reason.

A dead letter's key is `TOPIC/PARTITION/OFFSET` of the record, so that a record set aside twice (a worker that died
between producing and committing) is recognised. Its value is the record's value, byte for byte; headers hold the rest:
`reason`, `detail`, `topic`, `partition`, `offset`, `timestamp` (ms), `key` (absent when the record had none), and
`omitted` (the value's length) in place of a value too long for the topic, `last_offset` where the letter stands for all
records from its own offset to that one.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordTooLargeError

from streams.errors import Fatal, Unavailable
from streams.kafka.clients import ConsumerRecord
from streams.kafka.omitted import Omitted

FOLD_ERROR = "fold-error"
TOO_LATE = "too-late"
CONTACT_TOO_LARGE = "contact-too-large"
BATCH_TOO_LARGE = "batch-too-large"
BATCH_DAMAGED = "batch-damaged"

_DETAIL_LENGTH = 500


@dataclass(frozen=True)
class DeadLetter:
    """A record and why it is set aside. `reason` is a short stable word, `detail` tells a person what to mend."""

    record: ConsumerRecord
    reason: str
    detail: str

    @property
    def key(self) -> bytes:
        """Names the record, whoever sets it aside."""
        return f"{self.record.topic}/{self.record.partition}/{self.record.offset}".encode()

    def headers(self) -> list[tuple[str, bytes]]:
        """Everything about the record but its value."""
        record = self.record
        headers = [
            ("reason", self.reason.encode()),
            ("detail", self.detail[:_DETAIL_LENGTH].encode("utf-8", "backslashreplace")),
            ("topic", record.topic.encode()),
            ("partition", b"%d" % record.partition),
            ("offset", b"%d" % record.offset),
            ("timestamp", b"%d" % record.timestamp),
        ]
        if isinstance(record.value, Omitted):
            headers.append(("last_offset", b"%d" % record.value.last_offset))
        if record.key is not None:
            headers.append(("key", record.key))
        return headers


class DeadLetters:
    """Writes dead letters."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all of them are on the topic. Raises `Unavailable` when one may not be."""
        try:
            sent = [await self._send(letter, letter.record.value) for letter in letters]
            for letter, acknowledged in zip(letters, sent, strict=True):
                try:
                    await acknowledged
                except (MessageSizeTooLargeError, RecordTooLargeError):
                    await (await self._send(letter, None))
        except KafkaError as error:
            raise Unavailable(f"dead letters: {error!r}") from error

    async def _send(self, letter: DeadLetter, value: bytes | None):  # type: ignore[no-untyped-def]  # aiokafka has none
        headers = letter.headers()
        if value is None and letter.record.value is not None:
            headers.append(("omitted", b"%d" % len(letter.record.value)))
        try:
            return await self._producer.send(self._topic, key=letter.key, value=value, headers=headers)
        except (MessageSizeTooLargeError, RecordTooLargeError):
            if value is None:
                raise
            return await self._send(letter, None)


class DeadLetterLimit:
    """Past a share or a run of bad records it is not the records that are wrong: stop instead of diverting the topic.

    `run` bad records in a row, or more than `ratio` of the latest `window` records. Late events are no bad records.
    """

    def __init__(self, ratio: float, window: int, run: int) -> None:
        self._ratio = ratio
        self._window = window
        self._run = run
        self._batches: deque[tuple[int, int]] = deque()
        self._seen = 0
        self._bad = 0
        self._in_a_row = 0

    def check(self, verdicts: Sequence[bool], why: str) -> None:
        """Look at a batch's records in order, `True` for a bad one, before its dead letters are written.

        Raises `Fatal`, with `why` in its text.
        """
        in_a_row = self._in_a_row
        for bad in verdicts:
            in_a_row = in_a_row + 1 if bad else 0
            if self._run and in_a_row >= self._run:
                raise Fatal(
                    f"{in_a_row} records in a row cannot be used ({why}). If they really are bad, raise "
                    "MEDIANA_DEAD_LETTER_RUN and start again; else mend what produces or reads them first"
                )
        seen, bad_ones = self._seen + len(verdicts), self._bad + sum(verdicts)
        if seen >= self._window and bad_ones > self._ratio * seen:
            raise Fatal(
                f"{bad_ones} of the last {seen} records cannot be used ({why}). If they really are bad, raise "
                "MEDIANA_DEAD_LETTER_RATIO and start again; else mend what produces or reads them first"
            )

    def accept(self, verdicts: Sequence[bool]) -> None:
        """Remember a batch that is committed. One without records leaves nothing behind: there may be any number."""
        if not verdicts:
            return
        for bad in reversed(verdicts):
            if not bad:
                self._in_a_row = 0
                break
        for bad in reversed(verdicts):
            if not bad:
                break
            self._in_a_row += 1
        self._batches.append((len(verdicts), sum(verdicts)))
        self._seen += len(verdicts)
        self._bad += sum(verdicts)
        while self._seen - self._batches[0][0] >= self._window:
            oldest, oldest_bad = self._batches.popleft()
            self._seen -= oldest
            self._bad -= oldest_bad
