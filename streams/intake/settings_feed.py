"""Records of one partition of the accounts topic that are fetched and not yet applied."""

from dataclasses import dataclass

from streams.kafka.clients import ConsumerRecord, TopicPartition


class SettingsFeed:
    """A partition of the accounts topic assigned to this worker. One batch of it is under way at a time."""

    def __init__(self, partition: TopicPartition) -> None:
        self.partition = partition
        self.epoch = 0
        """Raised by each drop: what was fetched in an earlier one does not count."""
        self.released = False
        self.open = False
        self.in_flight = False
        self.failures = 0
        """Batches that failed since the last one that was taken over."""
        self.start: int | None = None
        """What the store holds as this partition's position."""
        self.reads_from = 0
        """Where the consumer goes on."""
        self._seek_to: int | None = None

    @property
    def all_partitions(self) -> tuple[TopicPartition, ...]:
        """What the consumer is to have for it."""
        return (self.partition,)

    def offer(self, start: int | None, seek_to: int) -> None:
        """Begin to read at `seek_to`; `start` is what the store holds."""
        self.start = start
        self._seek_to = seek_to

    def drop(self) -> None:
        """Whatever was fetched counts no more."""
        self.epoch += 1
        self.open = False
        self._seek_to = None

    def seeks(self) -> dict[TopicPartition, int]:
        """Where the consumer must be put before it fetches: asked once per offer."""
        if self._seek_to is None:
            return {}
        seeks = {self.partition: self._seek_to}
        self.reads_from, self._seek_to, self.open = self._seek_to, None, True
        return seeks

    def places(self) -> dict[TopicPartition, int]:
        """Where the consumer goes on, if it is open: it is put there again when it was given other partitions."""
        return {self.partition: self.reads_from} if self.open else {}

    def wanted(self) -> list[TopicPartition]:
        """Its partition, if it is to be fetched."""
        return [self.partition] if self.open and not self.in_flight else []

    def batch(self, records: list[ConsumerRecord], end: int) -> "SettingsBatch":
        """What was fetched, up to the consumer's position `end`; under way from here on."""
        self.in_flight = True
        self.reads_from = end
        return SettingsBatch(self, self.epoch, self.start, end, records)


@dataclass(frozen=True)
class SettingsBatch:
    """Records of one partition of the accounts topic, and the positions before and after them."""

    feed: SettingsFeed
    epoch: int
    start: int | None
    end: int
    records: list[ConsumerRecord]
