"""Record batches that hold more than they may: what is within the bound is read, the rest is named and passed over."""

import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import cramjam
import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.util import calc_crc32c

from schemas.limits import MAX_BATCH_BYTES
from streams.kafka import fetch as raw_fetch
from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.kafka.decompress import Rest, plain_batches
from streams.kafka.decompression import Damaged, unpacked
from streams.kafka.omitted import Omitted
from streams.records.columns import Run
from tests.support.bombs import _CODECS, batch, bomb, record

PARTITION = TopicPartition("t", 3)
CODECS = [1, 2, 3, 4]


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's fetches."""
    for name in ("MemoryRecords", "PartitionRecords", "FetchResult"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))
    raw_fetch.install()


def fetched(data: bytes, from_offset: int = 0) -> tuple[list[ConsumerRecord], int]:
    records = fetcher.PartitionRecords(PARTITION, fetcher.MemoryRecords(data), [], from_offset, None, None, True, 1)
    return list(records), records.next_fetch_offset


def offsets_of(found: list[ConsumerRecord]) -> list[int]:
    return [record.offset for record in found]


@pytest.mark.parametrize("codec", CODECS)
def test_no_more_than_the_bound_is_decompressed(codec: int) -> None:
    data = b"0123456789abcdef" * 20_000
    compressed = _CODECS[codec](data)
    assert unpacked(codec, compressed, len(data)) == (data, True)
    beginning, is_whole = unpacked(codec, compressed, len(data) - 1)
    assert not is_whole
    assert data.startswith(beginning)
    assert len(data) - (33 << 10) < len(beginning) < len(data)  # of snappy, whole blocks
    with pytest.raises(Damaged):
        unpacked(codec, compressed[: len(compressed) // 2], len(data))
    with pytest.raises(Damaged):
        unpacked(codec, b"garbage" * 20, len(data))


@pytest.mark.parametrize("codec", CODECS)
def test_records_within_the_bound_are_read_and_the_others_named(codec: int) -> None:
    count, value_bytes = 40, 1 << 20
    fits = MAX_BATCH_BYTES // len(record(1, b"ana", b"0" * value_bytes))
    data = bomb(5, 10, 95, 0) + bomb(count, value_bytes, 100, codec) + bomb(5, 10, 140, codec)
    found, position = fetched(data)
    assert offsets_of(found) == [*range(95, 100), *range(100, 100 + fits + 1), *range(140, 145)]
    assert position == 145
    (rest,) = [each for each in found if isinstance(each.value, Omitted)]
    omitted = rest.value
    assert isinstance(omitted, Omitted)
    assert (rest.offset, omitted.last_offset, omitted.reason) == (100 + fits, 139, "batch-too-large")
    assert f"offsets {100 + fits} to 139" in omitted.detail
    # Read again from there, as a new session does, it is the same; behind it, it is not there.
    again, position = fetched(data, 100 + fits)
    assert offsets_of(again) == [100 + fits, *range(140, 145)]
    assert offsets_of(fetched(data, 140)[0]) == [*range(140, 145)]


def test_many_tiny_records_come_in_pieces_and_not_without_end() -> None:
    count = 200_000
    found, position = fetched(bomb(count, 0, 0, 4))
    assert position == count
    offsets = offsets_of(found)
    assert offsets == [*range(1 << 17), 1 << 17]


def test_a_batch_that_lies_about_its_records_is_passed_over_from_there() -> None:
    sound = b"".join(record(delta, b"ana", b"0" * 600_000) for delta in range(4))
    found, position = fetched(batch(sound[:-100], 9, 10, 4))
    assert (offsets_of(found), position) == ([10, 11, 12, 13], 19)
    last = found[-1]
    assert isinstance(last.value, Omitted)
    assert (last.value.reason, last.value.last_offset) == ("batch-damaged", 18)


def test_one_record_longer_than_the_bound_is_named_alone() -> None:
    (rest,) = plain_batches(bomb(1, MAX_BATCH_BYTES + 1, 7, 4))
    assert isinstance(rest, Rest)
    assert (rest.reason, rest.first_offset, rest.last_offset) == ("batch-too-large", 7, 7)


def test_what_is_not_read_becomes_a_dead_letter_in_its_place() -> None:
    found, _ = fetched(bomb(1, 10, 0, 0) + bomb(2, MAX_BATCH_BYTES, 1, 4))
    run = Run(1, found)
    assert run.offsets == [0, 1]
    letter = run.arrivals[1].letter
    assert letter is not None
    assert (letter.reason, letter.key) == ("batch-too-large", b"t/3/1")
    assert ("last_offset", b"2") in letter.headers()


_IN_LITTLE_MEMORY = """
    import resource, sys
    from aiokafka import TopicPartition
    from aiokafka.consumer import fetcher
    from streams.kafka import fetch as raw_fetch
    raw_fetch.install()
    data = open(sys.argv[1], "rb").read()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = (before << 10) + (400 << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    records = fetcher.PartitionRecords(
        TopicPartition("t", 0), fetcher.MemoryRecords(data), [], 0, None, None, True, 1
    )
    for each in records:
        del each
    assert records.next_fetch_offset == 1_000, records.next_fetch_offset
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_a_gigabyte_in_few_bytes_takes_little_memory(tmp_path: Path) -> None:
    # Made piecewise, so that this test itself needs no gigabyte: a frame's blocks are of what was written before.
    one = b"".join(record(delta, b"ana", b"0" * (1 << 20)) for delta in range(64))
    head = cramjam.zstd.Compressor()
    for _ in range(20):
        head.compress(one)
    compressed = bytes(head.finish())
    checked = b"".join(
        (b"\0\x04", (999).to_bytes(4, "big"), bytes(16), b"\xff" * 14, (1000).to_bytes(4, "big"), compressed)
    )
    after = b"\0\0\0\0\x02" + calc_crc32c(checked).to_bytes(4, "big") + checked
    path = tmp_path / "bomb"
    path.write_bytes(bytes(8) + len(after).to_bytes(4, "big") + after)
    assert path.stat().st_size < 1 << 20
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_IN_LITTLE_MEMORY), str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 150  # MB


def test_reading_goes_on_in_the_middle_of_a_batch_that_comes_in_pieces() -> None:
    data = bomb(12, 200_000, 100, 4)
    for position in range(100, 112):
        assert offsets_of(fetched(data, position)[0]) == [*range(position, 112)]


def test_so_many_bytes_are_handed_out_at_a_time() -> None:
    state = SimpleNamespace(paused=False, position=0)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    data = b"".join(bomb(10, 1 << 20, first, 4) for first in range(0, 100, 10))
    records = fetcher.PartitionRecords(PARTITION, fetcher.MemoryRecords(data), [], 0, None, None, True, 1)
    result = fetcher.FetchResult(PARTITION, assignment=assignment, partition_records=records, backoff=0)
    times = 0
    while result.has_more():
        before = state.position
        found = result.getall(4000)
        times += 1
        assert len(offsets_of(found)) == state.position - before <= 9
    assert (state.position, times > 10) == (100, True)
