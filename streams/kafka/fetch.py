"""Limits what a fetched record batch is decompressed to.

aiokafka decompresses a batch whole, however much it is: 53 kB of zstd may hold 1.26 GB. Nothing in its public surface
comes before that, so three names of its fetcher are replaced, for all consumers of this process: what holds a fetch
hands out its batches decompressed up to a bound (`streams.kafka.decompress`), and not all of them at once.
"""

import inspect
import logging
from collections.abc import Iterator
from typing import Any, Final

from aiokafka import ConsumerRecord
from aiokafka.consumer import fetcher

from streams.kafka.decompress import Rest, plain_batches
from streams.kafka.omitted import Omitted

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 8 << 20
"""About how much of a partition is handed out at a time: decompressed, it may be many times what was fetched."""

_MemoryRecords: Any = getattr(fetcher, "MemoryRecords", None)
_StockPartitionRecords: Any = getattr(fetcher, "PartitionRecords", object)
_StockFetchResult: Any = getattr(fetcher, "FetchResult", object)


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
    """aiokafka's, which after each batch goes on at its end, even where it was asked for what is behind that.

    Of a long batch that comes in pieces, it would give the records of the second piece that it was to pass over.
    """

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[ConsumerRecord]:
        done = self.next_fetch_offset
        for record in super()._unpack_records():
            if record.offset >= done:
                yield record
        self.next_fetch_offset = max(self.next_fetch_offset, done)


class _FetchResult(_StockFetchResult):  # type: ignore[misc]
    """aiokafka's, which looks at how long the records are that it hands out."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[ConsumerRecord]:
        """As in aiokafka."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        found: list[ConsumerRecord] = []
        size = 0
        for record in self._partition_records:
            found.append(record)
            size += len(record.key or b"") + (len(record.value) if isinstance(record.value, bytes) else 0)
            if (max_records is not None and len(found) >= max_records) or size >= MOST_BYTES:
                self._update_position()
                return found
        self._update_position()
        self._partition_records = None
        return found


def _is_known() -> bool:
    has_all = hasattr(_StockPartitionRecords, "_unpack_records") and hasattr(_StockFetchResult, "_update_position")
    return (
        _MemoryRecords is not None
        and has_all
        and [*inspect.signature(_StockPartitionRecords.__init__).parameters] == _EXPECTED
        and [*inspect.signature(_StockFetchResult.getall).parameters] == ["self", "max_records"]
    )


_EXPECTED: Final = [
    *("self", "tp", "records", "aborted_transactions", "fetch_offset", "key_deserializer", "value_deserializer"),
    *("check_crcs", "isolation_level"),
]


def install() -> None:
    """Keep all consumers of this process from decompressing a batch whole."""
    if fetcher.MemoryRecords is _KeptRecords:
        return
    if not _is_known():
        logger.warning("this aiokafka is not known: compressed batches may take any memory")
        return
    fetcher.MemoryRecords = _KeptRecords
    fetcher.PartitionRecords = _PartitionRecords
    fetcher.FetchResult = _FetchResult
