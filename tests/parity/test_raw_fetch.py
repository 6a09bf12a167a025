"""Records that the compiled fold finds in what a broker sent are those that aiokafka finds, or it leaves them to it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from streams.fold.compiled import open_library
from streams.fold.compiled_fold import CompiledFold
from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.records import decompress as record_batches
from streams.records import fetch as raw_fetch
from streams.records.columns import Run
from streams.records.decompress import decompressed
from tests import native
from streams.records.decompress import Rest, decompressed

PARTITION = TopicPartition("t", 3)
ELSEWHERE = TopicPartition("accounts", 0)
STAMP_MS = 1_772_540_000_000
LAST_OFFSET_DELTA, ATTRIBUTES, LOG_TIME = slice(23, 27), slice(21, 23), 1 << 3

Part = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Milliseconds after the first, key, value, headers."""


@pytest.fixture(scope="module")
def compiled() -> CompiledFold:
    return CompiledFold(native.library(), cache_accounts=2)


def batch_of(parts: Sequence[Part], first: int, *, codec: int = 0, transactional: bool = False) -> bytes:
    """A batch as a producer builds it; a broker writes the first record's offset into it."""
    builder = DefaultRecordBatchBuilder(2, codec, transactional, 5, 0, 0, 1 << 20)
    for delta, (after_ms, key, value, headers) in enumerate(parts):
        builder.append(delta, STAMP_MS + after_ms, key, value, headers)
    built = bytearray(builder.build())
    built[:8] = first.to_bytes(8, "big")
    return bytes(built)


def resealed(batch: bytes) -> bytes:
    """The batch with a checksum of what is now in it."""
    crc = _crc32c(batch[21:])
    return batch[:17] + crc.to_bytes(4, "big") + batch[21:]


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def by_aiokafka(data: bytes, from_offset: int) -> tuple[list[ConsumerRecord], int]:
    records = fetcher.PartitionRecords(PARTITION, MemoryRecords(data), [], from_offset, None, None, True, 1)
    return list(records), records.next_fetch_offset


def seen(record: ConsumerRecord) -> tuple[Any, ...]:
    return record.topic, record.partition, record.offset, record.timestamp, record.key, record.value


def is_taken(compiled: CompiledFold, data: bytes, from_offset: int = 0) -> bool:
    """Whether the library reads it; if so, aiokafka must read the same."""
    found = compiled.read(1, PARTITION, data, from_offset)
    if found is None:
        return False
    run, next_offset = found
    records, expected = by_aiokafka(data, from_offset)
    assert next_offset == expected
    mine = [] if run is None else [run.record(place) for place in range(len(run))]
    assert list(map(seen, mine)) == list(map(seen, records))
    if run is not None:
        assert [*run.offsets] == [record.offset for record in records]
        assert [*run.sizes] == [len(record.key or b"") + len(record.value or b"") for record in records]
        assert [run.timestamp_ms(place) for place in range(len(run))] == [record.timestamp for record in records]
    return True


texts = st.none() | st.binary(max_size=200)
parts = st.lists(
    st.tuples(st.integers(-(10**9), 10**9), texts, texts, st.lists(st.tuples(st.text(max_size=4), texts), max_size=2)),
    min_size=1,
    max_size=70,
)
messages = [b'{"n":%d}' % number for number in range(100)]
PLAIN: list[Part] = [(number, b"ana", value, []) for number, value in enumerate(messages)]


@given(st.lists(parts, min_size=1, max_size=4), st.integers(0, 200), st.integers(0, 100), st.integers(0, 80))
def test_records_of_plain_batches_are_found_alike(
    compiled: CompiledFold, batches: list[list[Part]], base: int, hole: int, cut: int
) -> None:
    # What a broker sends begins with the batch that has the offset asked for, and ends anywhere.
    asked = base + len(batches[0]) // 2
    data = b""
    for batch in batches:
        data += batch_of(batch, base)
        base += len(batch) + hole
    data = data[: len(data) - cut]
    assert is_taken(compiled, data, 0)
    assert is_taken(compiled, data, asked)


def test_a_compacted_batch_ends_where_it_says(compiled: CompiledFold) -> None:
    batch = bytearray(batch_of(PLAIN[:3], 10))
    batch[LAST_OFFSET_DELTA] = (7).to_bytes(4, "big")
    found = compiled.read(1, PARTITION, resealed(bytes(batch)), 10)
    assert found is not None
    assert found[1] == 18
    assert is_taken(compiled, resealed(bytes(batch)), 10)
    assert compiled.read(1, PARTITION, resealed(bytes(batch)), 13) == (None, 18)


def test_the_logs_own_time_stands_for_all_records_of_a_batch(compiled: CompiledFold) -> None:
    batch = bytearray(batch_of(PLAIN[:3], 10))
    batch[ATTRIBUTES] = LOG_TIME.to_bytes(2, "big")
    sealed = resealed(bytes(batch))
    found = compiled.read(1, PARTITION, sealed, 10)
    assert found is not None
    assert found[0] is not None
    assert [found[0].timestamp_ms(place) for place in range(3)] == [STAMP_MS + 2] * 3
    assert is_taken(compiled, sealed, 10)


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_compressed_batches_are_read_as_what_is_in_them(compiled: CompiledFold, codec: int) -> None:
    data = batch_of(PLAIN, 0) + batch_of(PLAIN, 100, codec=codec)
    assert not is_taken(compiled, data)
    (plain,) = decompressed(data)
    assert plain == batch_of(PLAIN, 0) + batch_of(PLAIN, 100)
    assert is_taken(compiled, plain)


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_what_is_damaged_on_its_way_is_left_to_aiokafka(codec: int) -> None:
    data, plain = batch_of(PLAIN, 0, codec=codec), batch_of(PLAIN, 0)
    odd = data[:-1] + bytes([data[-1] ^ 1])
    assert list(decompressed(data + odd + data)) == [plain + odd + plain]
    assert list(decompressed(data[:-1])) == []  # cut off
    assert list(decompressed(data + data[:30])) == [plain]


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5, 7])
def test_what_cannot_be_decompressed_is_passed_over(codec: int) -> None:
    data, plain = batch_of(PLAIN, 0, codec=1), batch_of(PLAIN, 0)
    garbage = bytearray(batch_of(PLAIN, 100))
    garbage[ATTRIBUTES] = codec.to_bytes(2, "big")
    before, rest, after = decompressed(data + resealed(bytes(garbage)) + data)
    assert (before, after) == (plain, plain)
    assert isinstance(rest, Rest)
    assert (rest.reason, rest.first_offset, rest.last_offset) == ("batch-damaged", 100, 199)


def test_so_much_is_decompressed_at_a_time() -> None:
    batches = [batch_of(PLAIN, first, codec=3) for first in (0, 100, 200, 300, 400)]
    plain = [batch_of(PLAIN, first) for first in (0, 100, 200, 300, 400)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_batches, "PIECE_BYTES", 2 * len(plain[0]))
        assert list(decompressed(b"".join(batches))) == [b"".join(plain[:2]), b"".join(plain[2:4]), plain[4]]


def test_transactions_and_old_formats_are_left_to_aiokafka(compiled: CompiledFold) -> None:
    assert not is_taken(compiled, batch_of(PLAIN, 0, transactional=True))
    old = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    old.append(0, STAMP_MS, b"ana", b"{}", [])
    assert not is_taken(compiled, bytes(old.build()))


@given(st.data())
def test_damage_is_left_to_aiokafka_which_refuses_it(compiled: CompiledFold, data: st.DataObject) -> None:
    sound = batch_of(PLAIN[:5], 7)
    place = data.draw(st.integers(16, len(sound) - 1))
    damaged = bytearray(sound)
    damaged[place] ^= data.draw(st.integers(1, 255))
    assert not is_taken(compiled, bytes(damaged))


@given(st.data())
def test_lengths_that_lie_are_left_to_aiokafka_or_read_alike(compiled: CompiledFold, data: st.DataObject) -> None:
    sound = batch_of(PLAIN[:5], 7)
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(57, len(sound) - 1))] = data.draw(st.integers(0, 255))
    sealed = resealed(bytes(damaged))
    found = compiled.read(1, PARTITION, sealed, 0)
    if found is not None and found[0] is not None:
        # Sealed garbage: whatever it is, it lies within the bytes.
        assert all(seen(found[0].record(place)) for place in range(len(found[0])))


# --- in the consumer's fetcher ---------------------------------------------------------------------------------------


@pytest.fixture
def reader(compiled: CompiledFold, monkeypatch: pytest.MonkeyPatch) -> raw_fetch.Reader:
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)  # put back afterwards
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    monkeypatch.setattr(fetcher, "FetchResult", fetcher.FetchResult)
    return raw_fetch.reader(("u", "t"), compiled.read)


def fetched(data: bytes, partition: TopicPartition, deserializer: Any, from_offset: int = 0) -> tuple[list[Any], int]:
    """What a consumer is handed of a fetch, and its position afterwards: as `Fetcher` does it."""
    records = fetcher.PartitionRecords(
        partition, fetcher.MemoryRecords(data), [], from_offset, None, deserializer, True, 1
    )
    return list(records), records.next_fetch_offset


def test_a_consumer_with_a_reader_is_handed_runs(reader: raw_fetch.Reader) -> None:
    data = batch_of(PLAIN, 0)
    (run,), position = fetched(data, PARTITION, reader, 40)
    assert isinstance(run, Run)
    assert (run.topic, [*run.offsets], position) == (1, [*range(40, 100)], 100)
    assert fetched(data, PARTITION, reader, 100) == ([], 100)
    (run,), position = fetched(batch_of(PLAIN, 0, codec=3), PARTITION, reader, 90)
    assert ([*run.offsets], position) == ([*range(90, 100)], 100)
    assert [run.record(place).value for place in range(10)] == messages[90:]


def test_others_and_other_topics_are_handed_records(reader: raw_fetch.Reader) -> None:
    data = batch_of(PLAIN, 0)
    for partition, deserializer in ((PARTITION, None), (ELSEWHERE, reader), (PARTITION, bytes.upper)):
        records, position = fetched(data, partition, deserializer)
        assert [record.offset for record in records] == [*range(100)]
        assert position == 100
    assert [record.value for record in fetched(data, ELSEWHERE, reader)[0]] == messages


def test_what_the_library_leaves_alone_comes_as_records(reader: raw_fetch.Reader) -> None:
    records, position = fetched(batch_of(PLAIN, 0, transactional=True), PARTITION, reader, 90)
    assert ([record.offset for record in records], position) == ([*range(90, 100)], 100)
    old = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    old.append(0, STAMP_MS, b"a", b"{}", [])
    records, position = fetched(bytes(old.build()), PARTITION, reader)
    assert ([record.value for record in records], position) == ([b"{}"], 1)
    damaged = bytearray(batch_of(PLAIN, 0))
    damaged[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        fetched(bytes(damaged), PARTITION, reader)


def test_what_is_odd_behind_what_was_read_comes_as_records_once(reader: raw_fetch.Reader) -> None:
    sound = b"".join(batch_of(PLAIN, first, codec=3) for first in (0, 100, 200))
    odd = batch_of(PLAIN, 300, transactional=True) + batch_of(PLAIN, 400)
    for per_piece, runs in ((1, 3), (1 << 20, 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(record_batches, "PIECE_BYTES", per_piece)
            found, position = fetched(sound + odd, PARTITION, reader, 50)
        offsets = [offset for each in found for offset in (each.offsets if isinstance(each, Run) else [each.offset])]
        assert (offsets, position) == ([*range(50, 500)], 500)
        assert sum(isinstance(each, Run) for each in found) == runs


def test_a_run_counts_as_all_of_its_records(reader: raw_fetch.Reader) -> None:
    state = SimpleNamespace(paused=False, position=0)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    data = b"".join(batch_of(PLAIN, first, codec=3) for first in (0, 100, 200, 300))
    records = fetcher.PartitionRecords(PARTITION, fetcher.MemoryRecords(data), [], 0, None, reader, True, 1)
    result = fetcher.FetchResult(PARTITION, assignment=assignment, partition_records=records, backoff=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_batches, "PIECE_BYTES", 1)
        assert [len(run) for run in result.getall(150)] == [100, 100]
        assert (state.position, result.has_more()) == (200, True)
        assert [len(run) for run in result.getall(1000)] == [100, 100]
        assert (state.position, result.has_more()) == (400, False)


def test_an_aiokafka_that_is_another_is_left_as_it_is(
    compiled: CompiledFold, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stock = fetcher.MemoryRecords
    monkeypatch.setattr(raw_fetch, "_EXPECTED", ["self", "another"])
    raw_fetch.reader(("t",), compiled.read)
    assert fetcher.MemoryRecords is stock
    assert "records are read one by one" in caplog.text


def test_the_checksum_of_this_test_is_that_of_aiokafka() -> None:
    batch = batch_of(PLAIN, 0)
    assert resealed(batch) == batch
    assert DefaultRecordBatch(batch).validate_crc()
