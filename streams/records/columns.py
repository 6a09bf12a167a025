"""Records of one fetch of one partition, and the records of a batch.

A batch names a record by its run and its index in it: `run << 32 | index`; the run's number is even in the topic of
contacts, and odd in that of conversations.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence

from streams.kafka.clients import ConsumerRecord
from streams.records.decoded import Arrival, arrived

RUN_NUMBERS = 1 << 32
"""Numbers of runs are below this; even, so that those of both topics stay apart."""

_PLACE = (1 << 32) - 1


class Run:
    """Records of one fetch of one partition, decoded. `topic` is its index in `EVENT_TOPICS`."""

    __slots__ = ("_records", "arrivals", "offsets", "order_us", "sizes", "topic")

    def __init__(self, topic: int, records: Sequence[ConsumerRecord]) -> None:
        self.topic = topic
        self.offsets: list[int] = [record.offset for record in records]
        self._records = records
        self.arrivals = [arrived(topic, record) for record in records]
        """What each record holds."""
        self.order_us = array("q", [arrival.at_us for arrival in self.arrivals])
        """When each event happened, or `UNKNOWN_US`."""
        self.sizes = sizes_of(records)
        """Bytes of each key and value."""

    def __len__(self) -> int:
        return len(self.offsets)

    def record(self, index: int) -> ConsumerRecord:
        """The record at an index."""
        return self._records[index]

    def timestamp_ms(self, index: int) -> int:
        """When the record at an index was sent."""
        sent_ms: int = self._records[index].timestamp
        return sent_ms

    @property
    def held_bytes(self) -> int:
        """How much memory the records take, about."""
        return sum(self.sizes)


class Taken(Sequence[Arrival]):
    """A batch's records, in order."""

    __slots__ = ("names", "runs")

    def __init__(self, runs: Mapping[int, Run], names: "array[int]") -> None:
        self.runs = runs
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> Arrival:  # type: ignore[override]  # nobody slices it
        number, at = split(self.names[place])
        return self.runs[number].arrivals[at]

    def all(self) -> list[Arrival]:
        """Every record, decoded, in order."""
        arrivals = {number: run.arrivals for number, run in self.runs.items()}
        return [arrivals[name >> 32][name & _PLACE] for name in self.names]

    def first(self, count: int) -> "Taken":
        """The first so many records."""
        return self._part(self.names[:count])

    def after(self, count: int) -> "Taken":
        """All but the first so many records."""
        return self._part(self.names[count:])

    def _part(self, names: "array[int]") -> "Taken":
        return Taken({number: self.runs[number] for number in dict.fromkeys(name >> 32 for name in names)}, names)

    def next_offset(self, topic: int, place: int) -> int | None:
        """The offset of a topic's first record at that place or behind."""
        for name in self.names[place:]:
            if topic_of(name) == topic:
                number, at = split(name)
                return self.runs[number].offsets[at]
        return None

    def last(self, topic: int) -> ConsumerRecord | None:
        """The last record of a topic."""
        for name in reversed(self.names):
            if topic_of(name) == topic:
                number, at = split(name)
                return self.runs[number].record(at)
        return None


NOTHING = Taken({}, array("Q"))
"""No records."""


def names_of(number: int, run: Run, first: int = 0) -> range:
    """The names of a run's records, from a place on."""
    return range(number << 32 | first, number << 32 | len(run))


def split(name: int) -> tuple[int, int]:
    """The number of a record's run, and its place there."""
    return name >> 32, name & _PLACE


def topic_of(name: int) -> int:
    """The topic of a record, by its name."""
    return name >> 32 & 1


def sizes_of(records: Iterable[ConsumerRecord]) -> "array[int]":
    """Bytes of each record's key and value."""
    return array("q", [len(record.key or b"") + len(record.value or b"") for record in records])
