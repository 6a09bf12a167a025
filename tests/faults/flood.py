"""Very many records, sent quickly; and what they do to the memory of a process."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer

from streams.kafka.clients import client_options
from tests.support.cluster import Site

ACCOUNT = "flood"
CONTACTS = 1_000
RECORDS_OF_A_BATCH = 2_000
ZEROS = b"0" * 9


async def flood(site: Site, count: int, shards: range, padding: int = 0) -> None:
    """Send so many messages of an account of their own, in equal shares to these shards."""
    topic = site.config.topics.conversations
    producer = AIOKafkaProducer(**client_options(site.config), max_batch_size=4 << 20, compression_type="lz4")
    # Encoded once: only the number of the event and of the contact differ, and all numbers are of one length.
    event = b'{"id":"f%b","type":"message.received","account_id":"flood","contact_id":"f%b","occurred_at":"%b",'
    event += b'"conversation_id":"v","channel":"sms","padding":"' + b"x" * padding + b'"}'
    now = datetime.now(UTC).isoformat(timespec="seconds").encode()
    await producer.start()
    try:
        waiting = []
        for begin in range(0, count, RECORDS_OF_A_BATCH):
            shard = shards[begin // RECORDS_OF_A_BATCH % len(shards)]
            batch = producer.create_batch()
            for number in range(begin, min(begin + RECORDS_OF_A_BATCH, count)):
                # A contact stays in its shard: its number is that of the shard, and one more.
                contact = b"%d-%03d" % (shard, number % CONTACTS)
                taken = batch.append(key=b"f" + contact, value=event % (b"%09d" % number, contact, now), timestamp=None)
                assert taken is not None
            waiting.append(await producer.send_batch(batch, topic, partition=shard))
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()


class Highest:
    """The most memory that a process had resident, seen ten times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = self.kilobytes = rss_kilobytes(pid)

    @property
    def growth(self) -> int:
        """By how many kilobytes it grew, at most."""
        return self.kilobytes - self.before

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            self.kilobytes = max(self.kilobytes, rss_kilobytes(self._pid))
            await asyncio.sleep(0.1)


@asynccontextmanager
async def highest_memory(pid: int) -> AsyncIterator[Highest]:
    """Watch a process meanwhile."""
    found = Highest(pid)
    watching = asyncio.ensure_future(found.watch())
    try:
        yield found
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def busy_share(pid: int, seconds: float) -> float:
    """The share of a core that a process takes in the next seconds."""
    before, began = _cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(seconds)
    return (_cpu_seconds(pid) - before) / (time.monotonic() - began)


def rss_kilobytes(pid: int) -> int:
    """How much memory of a process is resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
