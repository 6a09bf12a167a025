"""Runs: the records of one fetch of one partition, in columns, so that the usual record needs no object of its own.

Order, sizes and positions are columns. An object is made of a record that Python has to look at: of all of them where
there is no compiled fold, else of those that are unusual. A batch names a record by its run and its place in it:
`run << 32 | place`; the run's number is even in the topic of contacts, and odd in that of conversations.
"""

import ctypes
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Mapping, Sequence

from streams.kafka.clients import ConsumerRecord, TopicPartition
from streams.records.decoded import UNKNOWN_US, Arrival, arrived
from streams.redis.keys import contact_key

SPANS = 28
"""Numbers per record: where its key, its value and its event's account id lie in a run's bytes, from and to (from is
after to where there is none); then the event itself, as `native/src/runs.rs` keeps it."""

ACCOUNT = 4
"""Where among a record's numbers the span of the account id begins."""

ABSENT = array("I", (1, 0))
"""The span of what is not there."""

RUN_NUMBERS = 1 << 32
"""Numbers of runs are below this; even, so that those of both topics stay apart."""

_PLACE = (1 << 32) - 1


class Run(ABC):
    """Records of one fetch of one partition. `topic` is its place in `EVENT_TOPICS`."""

    __slots__ = ("_arrivals", "offsets", "order_us", "sizes", "topic")

    def __init__(self, topic: int, offsets: Sequence[int], order_us: "array[int]", sizes: "array[int]") -> None:
        self.topic = topic
        self.offsets = offsets
        self.order_us = order_us
        """When each event happened, or `UNKNOWN_US`."""
        self.sizes = sizes
        """Bytes of each key and value."""
        self._arrivals: dict[int, Arrival] = {}

    def __len__(self) -> int:
        return len(self.offsets)

    @abstractmethod
    def record(self, place: int) -> ConsumerRecord:
        """The record at a place."""

    @abstractmethod
    def timestamp_ms(self, place: int) -> int:
        """When the record at a place was sent."""

    def arrival(self, place: int) -> Arrival:
        """What the record at a place holds; from then on `looked_at` has it."""
        arrival = self._arrivals.get(place)
        if arrival is None:
            arrival = self._arrivals[place] = self._look(place)
        return arrival

    def _look(self, place: int) -> Arrival:
        """Look at a record for the first time."""
        return arrived(self.topic, self.record(place))

    @property
    def held_bytes(self) -> int:
        """How much memory the records take, about."""
        return sum(self.sizes)

    @property
    def looked_at(self) -> Mapping[int, Arrival]:
        """The records that Python has looked at, by place."""
        return self._arrivals


class DecodedRun(Run):
    """A run that Python has decoded."""

    __slots__ = ("_records",)

    def __init__(self, topic: int, records: Sequence[ConsumerRecord]) -> None:
        self._records = records
        arrivals = [arrived(topic, record) for record in records]
        offsets = [record.offset for record in records]
        order_us = array("q", [arrival.at_us for arrival in arrivals])
        super().__init__(topic, offsets, order_us, sizes_of(records))
        self._arrivals.update(enumerate(arrivals))

    def record(self, place: int) -> ConsumerRecord:
        """The record at a place."""
        return self._records[place]

    def timestamp_ms(self, place: int) -> int:
        """When the record at a place was sent."""
        sent_ms: int = self._records[place].timestamp
        return sent_ms


class ScannedRun(Run):
    """A run that the compiled fold has looked at: bytes, and where in them everything lies."""

    __slots__ = ("_partition", "_timestamps_ms", "address", "data", "spans")

    def __init__(
        self,
        topic: int,
        partition: TopicPartition,
        data: bytes,
        spans: "array[int]",
        offsets: Sequence[int],
        timestamps_ms: Sequence[int],
        instants_us: "array[int]",
        sizes: "array[int]",
    ) -> None:
        """`instants_us` are `UNKNOWN_US` where Python must look at the record."""
        super().__init__(topic, offsets, instants_us, sizes)
        self._partition = partition
        self._timestamps_ms = timestamps_ms
        self.data = data
        self.address: int = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
        """Where the bytes lie, as long as this run lives."""
        self.spans = spans
        if UNKNOWN_US in instants_us:
            for place in [place for place, at_us in enumerate(instants_us) if at_us == UNKNOWN_US]:
                self.order_us[place] = self.arrival(place).at_us

    def record(self, place: int) -> ConsumerRecord:
        """The record at a place, without its headers."""
        key, value = self._part(place, 0), self._part(place, 2)
        return ConsumerRecord(
            *(*self._partition, self.offsets[place], self._timestamps_ms[place], 0, key, value, None),
            *(len(key or b""), len(value or b""), ()),
        )

    def timestamp_ms(self, place: int) -> int:
        """When the record at a place was sent."""
        return self._timestamps_ms[place]

    def _look(self, place: int) -> Arrival:
        record, account = self.record(place), self._part(place, ACCOUNT)
        if account is None:
            return arrived(self.topic, record)
        # A record's key is its contact's id, or it would not have passed.
        account_id = account.decode()
        return Arrival(record, self.order_us[place], account_id, contact_key(account_id, record.key.decode()))

    def _part(self, place: int, which: int) -> bytes | None:
        start, end = self.spans[SPANS * place + which : SPANS * place + which + 2]
        return self.data[start:end] if start <= end else None


class OmittedRun(ScannedRun):
    """Places in a topic whose records are not read (`streams.records.omitted`), whoever else looks at the others."""

    __slots__ = ("_records",)

    def __init__(self, topic: int, records: Sequence[ConsumerRecord]) -> None:
        self._records = records
        spans = array("I", ABSENT * (SPANS // 2) * len(records))
        partition = TopicPartition(records[0].topic, records[0].partition)
        offsets = array("q", [record.offset for record in records])
        timestamps_ms = array("q", [record.timestamp for record in records])
        unknown = array("q", [UNKNOWN_US]) * len(records)
        super().__init__(topic, partition, b"", spans, offsets, timestamps_ms, unknown, sizes_of(records))

    def record(self, place: int) -> ConsumerRecord:
        """The record that stands for those that are not read."""
        return self._records[place]


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
        return self.runs[number].arrival(at)

    def looked_at(self) -> dict[int, Arrival]:
        """The records that Python has looked at, by their place in the batch."""
        looked_at = {number: run.looked_at for number, run in self.runs.items() if run.looked_at}
        if not looked_at:
            return {}
        found = {}
        for place, name in enumerate(self.names):
            number, at = split(name)
            if number in looked_at and at in looked_at[number]:
                found[place] = looked_at[number][at]
        return found

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
