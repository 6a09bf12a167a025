"""Topics in memory: partitions with holes, transactions under way, and beginnings that move."""

from bisect import bisect_left

from aiokafka.errors import KafkaConnectionError

from streams.kafka.clients import ConsumerRecord, TopicPartition


class Partition:
    """One partition's records, as a consumer that reads only what is committed sees them."""

    def __init__(self) -> None:
        self.begin = 0
        self.end = 0
        """The last stable offset: where a transaction that is under way begins, else the end."""
        self.records: list[ConsumerRecord] = []
        self.appended: list[float] = []
        self.offsets: list[int] = []
        self._held: list[tuple[float, ConsumerRecord]] | None = None
        self._next = 0

    def append(self, record: ConsumerRecord, now: float) -> None:
        """Append a record, at the offset it has."""
        if self._held is not None:
            self._held.append((now, record))
        else:
            self._show(now, record)
        self._next = record.offset + 1
        self._settle()

    @property
    def next_offset(self) -> int:
        """The offset of the next record."""
        return self._next

    def skip(self, count: int) -> None:
        """Offsets that hold nothing to be read: marks and aborted records of a transaction."""
        self._next += count
        self._settle()

    def hold(self) -> None:
        """A transaction begins: nothing after it is shown until it ends."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """The transaction ends; its mark takes one offset."""
        held, self._held = self._held or [], None
        for now, record in held:
            self._show(now, record)
        self.skip(1)

    def trim(self, begin: int) -> None:
        """Forget what is before an offset."""
        self.begin = max(self.begin, min(begin, self.end))
        place = bisect_left(self.offsets, self.begin)
        del self.records[:place], self.offsets[:place], self.appended[:place]

    def compact(self, keep: "set[int]") -> None:
        """Forget all records but those at these offsets."""
        kept = [place for place, offset in enumerate(self.offsets) if offset in keep]
        self.records = [self.records[place] for place in kept]
        self.appended = [self.appended[place] for place in kept]
        self.offsets = [self.offsets[place] for place in kept]

    def _show(self, now: float, record: ConsumerRecord) -> None:
        self.records.append(record)
        self.offsets.append(record.offset)
        self.appended.append(now)

    def _settle(self) -> None:
        if self._held is None:
            self.end = self._next


class Log:
    """All partitions of all topics, on a broker that may be away."""

    def __init__(self) -> None:
        self.partitions: dict[TopicPartition, Partition] = {}
        self.history: dict[TopicPartition, list[ConsumerRecord]] = {}
        """Everything that was ever appended, for whoever computes what must come out."""
        self.away = False

    def create(self, topic: str, count: int) -> None:
        """Make a topic."""
        for number in range(count):
            self.partitions[TopicPartition(topic, number)] = Partition()
            self.history[TopicPartition(topic, number)] = []

    def append(self, partition: TopicPartition, key: bytes | None, value: bytes | None, ms: int, now: float) -> None:
        """Append a record."""
        place = self.partitions[partition]
        sizes = (len(key or b""), len(value or b""))
        record = ConsumerRecord(*partition, place.next_offset, ms, 0, key, value, None, *sizes, ())
        self.history[partition].append(record)
        place.append(record, now)

    def count_of(self, topic: str) -> int:
        """How many partitions a topic has."""
        return sum(partition.topic == topic for partition in self.partitions)

    def check(self) -> None:
        """Raise what a client raises when the broker is away."""
        if self.away:
            raise KafkaConnectionError("the broker is away")
