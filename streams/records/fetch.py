"""Records as the broker sent them: what a fetch brought goes to the compiled fold in one piece, without an object each.

aiokafka makes a Python object of every record, which costs a worker more than folding it. Nothing in its public surface
gives the bytes, so three names of its fetcher are replaced: what holds a fetch keeps its bytes, what walks through them
asks the consumer's reader first, and what hands them out counts what is in a run. Consumers without a reader, and
whatever a reader leaves alone (transactions, old formats, damage), are served by aiokafka as ever; so is everything
when a later aiokafka has no such names, or calls them otherwise: only slower.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiokafka.consumer import fetcher

from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.records.columns import Run
from streams.records.decompress import decompressed

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
    """aiokafka's `MemoryRecords`, and the bytes in them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._records = _MemoryRecords(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)


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

    def _decompressed(self, reader: Reader, data: bytes) -> Iterator[tuple[Run | None, int] | None]:
        for plain in decompressed(data):
            yield reader.read(self._tp, plain, self.next_fetch_offset)


class _FetchResult(_StockFetchResult):  # type: ignore[misc]
    """Counts a run as all of its records, where a consumer says how many it has room for."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Run | ConsumerRecord]:
        """As in aiokafka."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        found: list[Run | ConsumerRecord] = []
        count = 0
        records: Iterator[Run | ConsumerRecord] = self._partition_records
        for each in records:
            found.append(each)
            count += len(each) if isinstance(each, Run) else 1
            if max_records is not None and count >= max_records:
                self._update_position()
                return found
        self._update_position()
        self._partition_records = None
        return found


def reader(topics: Sequence[str], read: Read) -> Reader:
    """A reader of these topics, which consumers of this process ask from now on."""
    _install()
    return Reader(topics, read)


def _install() -> None:
    found = [*inspect.signature(_PartitionRecords.__init__).parameters]
    has_all = hasattr(_StockPartitionRecords, "_unpack_records") and hasattr(_StockFetchResult, "getall")
    if _MemoryRecords is None or found != _EXPECTED or not has_all:
        logger.warning("this aiokafka is not known: records are read one by one, which is slower")
        return
    fetcher.MemoryRecords = _KeptRecords
    fetcher.PartitionRecords = _PartitionRecords
    fetcher.FetchResult = _FetchResult
