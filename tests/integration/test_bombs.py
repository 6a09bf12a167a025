"""A record batch that holds a hundred times its bytes, on a real Kafka: the worker lives, what follows is counted."""

import re
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from schemas.limits import MAX_BATCH_BYTES
from streams.kafka.clients import client_options
from tests.support.cluster import Site, folded, golden

RECORDS, VALUE_BYTES = 160, (1 << 20) + 1


async def send_bomb(site: Site, topic: str, partition: int, codec: str) -> None:
    """A hundred and sixty megabytes in one batch."""
    size = 2 * RECORDS * VALUE_BYTES
    producer = AIOKafkaProducer(
        **client_options(site.config),
        compression_type=codec,
        max_batch_size=size,
        max_request_size=size,
        linger_ms=2_000,
    )
    await producer.start()
    try:
        value = b"0" * VALUE_BYTES
        waiting = [await producer.send(topic, value, key=b"ana", partition=partition) for _ in range(RECORDS)]
        offsets = {(await sent).offset for sent in waiting}
        assert len(offsets) == RECORDS
    finally:
        await producer.stop()


def most_memory(pid: int) -> int:
    """The most memory a process has ever had, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) >> 10


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_a_bomb_is_passed_over_and_what_follows_is_counted(site: Site, codec: str) -> None:
    accounts, events = golden()
    first, last = events[:20], events[20:]
    await site.create_topics()
    await site.send(accounts, first)
    worker = site.start_worker(DEAD_LETTER_RUN="0", DEAD_LETTER_RATIO="1")
    await site.wait_for(len(first).__eq__)
    before = most_memory(worker.pid)
    await send_bomb(site, site.config.topics.conversations, 1, codec)
    await send_bomb(site, site.config.topics.accounts, 0, codec)
    await site.wait_for((len(first) + RECORDS).__eq__)
    await site.send([], last)
    await site.wait_for((len(events) + RECORDS).__eq__)
    assert await site.facts() == folded(accounts, events)
    assert most_memory(worker.pid) - before < 130
    letters = [dict(letter.headers) for letter in await site.dead_letters()]
    fits = MAX_BATCH_BYTES // VALUE_BYTES
    for topic in (site.config.topics.conversations, site.config.topics.accounts):
        reasons = [headers["reason"] for headers in letters if headers["topic"] == topic.encode()]
        assert reasons == [b"oversize"] * fits + [b"batch-too-large"]
        (rest,) = [
            headers
            for headers in letters
            if (headers["topic"], headers["reason"]) == (topic.encode(), b"batch-too-large")
        ]
        assert int(rest["last_offset"]) - int(rest["offset"]) + 1 == RECORDS - fits
    assert worker.poll() is None
