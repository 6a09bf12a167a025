"""Records as the broker sent them: what a fetch brought goes to the compiled fold in one piece, without an object each.

aiokafka makes a Python object of every record, which costs a worker more than folding it, and decompresses a batch
whole, however much it is. Nothing in its public surface gives the bytes, so three names of its fetcher are replaced:
what holds a fetch keeps its bytes and hands out its batches decompressed (`streams.records.decompress`), what walks through
them asks the consumer's reader first, and what hands them out counts what is in a run. Consumers without a reader, and
whatever a reader leaves alone (transactions, old formats, damage), are served by aiokafka as ever.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord

from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.records.columns import Run
from streams.records.decompress import decompressed
from streams.records.decompress import Rest, decompressed, plain_batches
from streams.records.omitted import Omitted

logger = logging.getLogger(__name__)

Read = Callable[[int, TopicPartition, bytes, int], tuple[Run | None, int] | None]
"""Like `CompiledFold.read`."""


class Reader:
    """What a consumer is given as its `value_deserializer`, to have fetches of some topics read by `read`."""

    def __init__(self, topics: Sequence[str], read: Read) -> None:
        """`read` is told a topic's place in `topics`."""
        self._topics = {topic: place for place, topic in enumerate(topics)}
        self._read = read

    def read(self, partition: TopicPartition, data: bytes, from_offset: int) -> tuple[Run | None, int] | None:
        """What a broker sent of a partition, from an offset on: a run, if there are records, and the offset after them.

        `None` where aiokafka must read it.
        """
        topic = self._topics.get(partition.topic)
        return None if topic is None else self._read(topic, partition, data, from_offset)

    def reads(self, partition: TopicPartition) -> bool:
        """Whether a partition is of one of the topics."""
        return partition.topic in self._topics

    def __call__(self, value: bytes | None) -> bytes | None:
        """For the records that aiokafka reads."""
        return value


_MemoryRecords: Any = getattr(fetcher, "MemoryRecords", None)
_StockPartitionRecords: Any = getattr(fetcher, "PartitionRecords", object)
_StockFetchResult: Any = getattr(fetcher, "FetchResult", object)

_EXPECTED = [
    *("self", "tp", "records", "aborted_transactions", "fetch_offset"),
    *("key_deserializer", "value_deserializer", "check_crcs", "isolation_level"),
]


class _KeptRecords:
    """aiokafka's `MemoryRecords`, and the bytes in them; its batches come decompressed, one at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._stock = _MemoryRecords(data)
        self._batches: Iterator[Any] | None = None
        self._next: Any = None

    def size_in_bytes(self) -> int:
        """How much was fetched."""
        return len(self.data)

    def has_next(self) -> bool:
        """Whether there is another batch; the first is not decompressed for that."""
        if self._batches is None:
            return bool(self._stock.has_next())
        if self._next is None:
            self._next = next(self._batches, None)
        return self._next is not None

    def next_batch(self) -> Any:
        """The next batch, if there is one."""
        if self._batches is None:
            self._batches = self._read()
        found, self._next = self._next, None
        return next(self._batches, None) if found is None else found

    def _read(self) -> Iterator[Any]:
        for batch in plain_batches(self.data):
            yield _RestBatch(batch) if isinstance(batch, Rest) else _MemoryRecords(batch).next_batch()


class _RestBatch:
    """Records that are not read, as a batch of aiokafka with one record."""

    is_control_batch = False
    timestamp_type = 0
    key = checksum = None
    headers = ()

    def __init__(self, rest: Rest) -> None:
        self.producer_id = None if rest.producer_id < 0 else rest.producer_id
        self.is_transactional = rest.is_transactional
        self.base_offset = self.offset = rest.first_offset
        self.next_offset = rest.last_offset + 1
        self.timestamp = rest.timestamp_ms
        self.value = Omitted(rest.reason, rest.detail, rest.last_offset)

    def validate_crc(self) -> bool:
        """It was looked at when the batch was."""
        return True

    def __iter__(self) -> Iterator["_RestBatch"]:
        yield self


class _PartitionRecords(_StockPartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """Gives a run in place of records, where the consumer has a reader that can read them."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Run | ConsumerRecord]:
        reader, records = self._value_deserializer, self._records
        if isinstance(reader, Reader) and isinstance(records, _KeptRecords):
            whole = reader.read(self._tp, records.data, self.next_fetch_offset)
            pieces = [whole] if whole is not None else self._decompressed(reader, records.data)
            for piece in pieces:
                if piece is None:
                    break
                run, self.next_fetch_offset = piece
                if run is not None:
                    yield run
            else:
                return
        # aiokafka begins with the first batch again, and steps back to its end.
        done = self.next_fetch_offset
        for record in super()._unpack_records():
            if record.offset >= done:
                yield record
        self.next_fetch_offset = max(self.next_fetch_offset, done)

    def _decompressed(self, reader: Reader, data: bytes) -> Iterator[tuple[Run | ConsumerRecord | None, int] | None]:
        for plain in decompressed(data):
            if not isinstance(plain, Rest):
                yield reader.read(self._tp, plain, self.next_fetch_offset)
            elif not reader.reads(self._tp) or plain.is_transactional:
                yield None  # only aiokafka knows whether it was aborted
            elif plain.first_offset >= self.next_fetch_offset:
                yield self._consumer_record(self._tp, _RestBatch(plain)), plain.last_offset + 1
            else:
                yield None, max(plain.last_offset + 1, self.next_fetch_offset)


MOST_BYTES = 8 << 20
"""About how much of a partition is handed out at a time: compressed, it may be many times what was fetched."""


class _FetchResult(_StockFetchResult):  # type: ignore[misc]
    """Counts a run as all of its records, where a consumer says how many it has room for; and looks at their length."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Run | ConsumerRecord]:
        """As in aiokafka."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        found: list[Run | ConsumerRecord] = []
        count = size = 0
        records: Iterator[Run | ConsumerRecord] = self._partition_records
        for each in records:
            found.append(each)
            if isinstance(each, Run):
                count += len(each)
                size += each.held_bytes
            else:
                count += 1
                size += len(each.value or b"")
            if (max_records is not None and count >= max_records) or size >= MOST_BYTES:
                self._update_position()
                return found
        self._update_position()
        self._partition_records = None
        return found


def reader(topics: Sequence[str], read: Read) -> Reader:
    """A reader of these topics, which consumers of this process ask from now on."""
    install()
    return Reader(topics, read)


def install() -> None:
    """Keep all consumers of this process from decompressing a batch whole, and let those with a reader ask it."""
    if fetcher.MemoryRecords is _KeptRecords:
        return
    found = [*inspect.signature(_PartitionRecords.__init__).parameters]
    has_all = hasattr(_StockPartitionRecords, "_unpack_records") and hasattr(_StockFetchResult, "getall")
    if _MemoryRecords is None or found != _EXPECTED or not has_all:
        logger.warning(
            "this aiokafka is not known: records are read one by one, which is slower, and compressed batches may take "
            "any memory"
        )
        return
    fetcher.MemoryRecords = _KeptRecords
    fetcher.PartitionRecords = _PartitionRecords
    fetcher.FetchResult = _FetchResult
