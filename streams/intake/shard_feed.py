"""Records of one shard that are fetched and not yet applied, with its session and gate."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from streams.errors import Fatal
from streams.kafka.clients import CONTACTS, CONVERSATIONS, ConsumerRecord, TopicPartition
from streams.records.columns import Run
from streams.records.event_time import Patience, TopicBuffer, take_merged
from streams.redis.ledger import Positions
from streams.shard.batch import Batch, checksum
from streams.shard.pace import Pace
from streams.shard.session import Session

HOLD_SECONDS = 5.0
"""How long a topic that has records, but none fetched, holds live records of the other one back. A backlog waits."""

BATCHES_AHEAD = 2
"""Batches' worth of records that may wait, per topic: one is folded while the next is being fetched."""


class ShardFeed:
    """A shard assigned to this worker.

    The intake's one task seeks, fetches and builds batches; claims and agents only offer a session or drop one. Each
    session has its own buffers, so that records fetched under an earlier one cannot reach a later one.
    """

    def __init__(
        self,
        shard: int,
        partitions: tuple[TopicPartition, TopicPartition],
        most: int,
        most_bytes: int,
        history_ms: int = 0,
        pace: Pace | None = None,
    ) -> None:
        self.pace = Pace(shard, most) if pace is None else pace
        self._history_ms = history_ms
        self.shard = shard
        self.partitions = partitions
        self.session: Session | None = None
        self.stopped = False
        """A person has to look at it; it takes no more records."""
        self.released = False
        """Assigned elsewhere by now."""
        self.ends = [0, 0]
        """Where both logs end, as far as known."""
        self.failures = 0
        """Claims and commits that failed since the last commit."""
        self.idle_since = 0.0
        """When it last committed, or had nothing to do."""
        self._most = most
        self._most_bytes = most_bytes
        self._buffers = (TopicBuffer(CONTACTS, 0), TopicBuffer(CONVERSATIONS, 0))
        self._checks: list[bytes | None] = [None, None]
        self._seeks: list[int] = []
        self._reads_from = [0, 0]
        self._taken = Positions(0, 0)
        self._dry_since: list[float | None] = [None, None]

    @property
    def all_partitions(self) -> tuple[TopicPartition, ...]:
        """What the consumer is to have for it."""
        return () if self.stopped else self.partitions

    # --- sessions ----------------------------------------------------------------------------------------------------

    def offer(
        self, session: Session, checks: Iterable[bytes | None], begins: Iterable[int], ends: Iterable[int]
    ) -> None:
        """Give it a session; the intake seeks before it fetches.

        Where the last applied record is still retained, reading begins with it, to see whether it is the same.
        """
        self.session = session
        self.ends = list(ends)
        self._checks = list(checks)
        self._seeks = []
        for topic, (position, begin) in enumerate(zip(session.positions, begins, strict=True)):
            check = self._checks[topic]
            offset = -1 if check is None else int(check.partition(b":")[0])
            if offset < begin:
                self._checks[topic] = None
                offset = position
            self._seeks.append(offset)

    def drop(self) -> Session | None:
        """End the session, if there is one; what was fetched for it goes with it. Returns it."""
        session = self.session
        if session is not None:
            if session.in_flight:
                self.pace.lost()
            session.drop()
        self.session = None
        self._seeks = []
        self._buffers[0].clear()
        self._buffers[1].clear()
        return session

    def seeks(self) -> dict[TopicPartition, int]:
        """Where the consumer must be put before it fetches for a new session: asked once per session."""
        if self.session is None or not self._seeks:
            return {}
        seeks = dict(zip(self.partitions, self._seeks, strict=True))
        self._reads_from, self._seeks = self._seeks, []
        self._taken = self.session.positions
        self._dry_since = [None, None]
        self._buffers = (
            TopicBuffer(CONTACTS, self._taken.contacts),
            TopicBuffer(CONVERSATIONS, self._taken.conversations),
        )
        return seeks

    def places(self) -> dict[TopicPartition, int]:
        """Where the consumer goes on for the session: it is put there again when it was given other partitions.

        Nothing for a session that it was not yet put anywhere for: `seeks` tells.
        """
        if self.session is None or self._seeks:
            return {}
        return dict(zip(self.partitions, self._reads_from, strict=True))

    # --- records -----------------------------------------------------------------------------------------------------

    def wanted(self) -> list[TopicPartition]:
        """The partitions it has room for."""
        if self.session is None or self._seeks:
            return []
        return [
            partition
            for partition, buffer in zip(self.partitions, self._buffers, strict=True)
            if len(buffer) < BATCHES_AHEAD * self._most and buffer.bytes < BATCHES_AHEAD * self._most_bytes
        ]

    def accept(self, partition: TopicPartition, fetched: Sequence[ConsumerRecord], position: int) -> None:
        """Take in the records that were fetched, and the consumer's position after them.

        Raises `Fatal` if the log is another one.
        """
        topic = self.partitions.index(partition)
        buffer = self._buffers[topic]
        if fetched:
            run = Run(topic, fetched)
            buffer.add(run, self._compared(topic, run))
        self._reads_from[topic] = position
        buffer.fetched = max(position, buffer.fetched)
        self.ends[topic] = max(self.ends[topic], buffer.fetched)

    def _compared(self, topic: int, run: Run) -> int:
        """Compare the last applied record with what the log has in its place; where the records after it begin."""
        check = self._checks[topic]
        if check is None:
            return 0
        self._checks[topic] = None
        if run.offsets[0] == int(check.partition(b":")[0]) and checksum(run.record(0)) != check:
            partition = self.partitions[topic]
            raise Fatal(
                f"{partition.topic} partition {partition.partition}: record {run.offsets[0]} is not the one that was "
                "read: the topic was recreated, or this is another Kafka. Point at the right one, or rebuild into a "
                "new namespace"
            )
        return bisect_left(run.offsets, self._taken[topic])

    def see_end(self, partition: TopicPartition, end: int | None) -> None:
        """Take in where a partition's log ends, as far as the consumer knows."""
        topic = self.partitions.index(partition)
        if end is not None and end > self.ends[topic]:
            self.ends[topic] = end

    def next_batch(self, now: float, now_ms: int) -> Batch | None:
        """The next batch, if none is in flight and there is something to do. The session is engaged then.

        `now` is of a monotonic clock, `now_ms` of the wall's. With no record left, but positions that moved on
        (transactions leave holes), the batch is empty.
        """
        session = self.session
        if session is None or session.in_flight or self._seeks or self.stopped:
            return None
        records, end = take_merged(self._buffers, self.pace.records, self._most_bytes, self._patience(now, now_ms))
        if not records and (end == self._taken or any(map(len, self._buffers))):
            return None
        batch = Batch(session, self._taken, end, records, self.pace)
        session.engage()
        self._taken = end
        return batch

    def _patience(self, now: float, now_ms: int) -> Patience:
        dry = [self._dry_seconds(topic, now) for topic in range(len(self._buffers))]
        behind = [seconds is not None for seconds in dry]
        stalled = [seconds is not None and seconds >= HOLD_SECONDS for seconds in dry]
        return Patience((behind[0], behind[1]), (stalled[0], stalled[1]), now_ms, self._history_ms)

    def _dry_seconds(self, topic: int, now: float) -> float | None:
        """How long a topic has had records to come, but none fetched; nothing when it has none to come."""
        buffer = self._buffers[topic]
        if buffer.fetched >= self.ends[topic]:
            self._dry_since[topic] = None
            return None
        if len(buffer):
            self._dry_since[topic] = None
            return 0.0
        since = self._dry_since[topic]
        if since is None:
            since = self._dry_since[topic] = now
        return now - since

    def lag(self) -> tuple[int, int]:
        """Records between the committed positions and the ends of the logs."""
        positions = self.session.positions if self.session is not None else self._taken
        return max(0, self.ends[0] - positions.contacts), max(0, self.ends[1] - positions.conversations)
