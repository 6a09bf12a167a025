"""Claims a shard: becomes its writer, and checks that Kafka still has what its ledger expects."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from aggregates.report import instant_text
from streams.config import Config
from streams.errors import Fatal, Unavailable
from streams.intake.shard_feed import ShardFeed
from streams.kafka.clients import TopicPartition
from streams.kafka.gaps import complete_from, decode_gaps, encode_gaps, gap, records_text
from streams.kafka.log_start import Instants
from streams.kafka.log_start import complete_from as log_complete_from
from streams.redis.ledger import Changes, Ledger, Positions
from streams.shard.session import Session

logger = logging.getLogger(__name__)

TRIES_BEYOND_END = 6
"""A broker that has just become the leader may not know the end of its log for some seconds."""


class Claims:
    """Claims shards for one worker."""

    def __init__(
        self,
        config: Config,
        consumer: AIOKafkaConsumer,
        ledger_of: Callable[[int], Ledger],
        instants: Instants | None = None,
    ) -> None:
        self._config = config
        self._consumer = consumer
        self._ledger_of = ledger_of
        self._instants = instants or partial(log_complete_from, config)

    async def claim(self, feed: ShardFeed, ready: Callable[[ShardFeed], Awaitable[None]] | None = None) -> None:
        """Give the feed a session, once `ready` returns. Raises `Unavailable`, `ShardStopped`, `SessionLost`, `Fatal`.

        `ready` is awaited when the ledger is found: in an emptied Redis nothing is to be made ready.
        """
        ledger = self._ledger_of(feed.shard)
        # A worker that cannot reach Kafka must not take the shard from one that can.
        await self._ends(feed)
        claim = await ledger.claim()
        if claim is None:
            raise Fatal(
                f"shard {feed.shard} of namespace {self._config.namespace!r} has no ledger any more: Redis at "
                f"{self._config.redis_address} was emptied, or is another one. Point MEDIANA_REDIS_URL at the right "
                "one, restore it from a copy, or build anew with another MEDIANA_NAMESPACE; so too if the event topics "
                "have more partitions now than when the namespace was made"
            )
        begins, ends = await self._begins(feed), await self._ends(feed)
        config = self._config
        caches = (config.cache_contacts, config.cache_days, config.cache_bytes)
        session = Session(feed.shard, ledger, claim, *caches)
        gaps: dict[TopicPartition, tuple[int, int]] = {}
        for partition, position, begin, end in zip(feed.partitions, session.positions, begins, ends, strict=True):
            if end < position:
                problem = _beyond_end(partition, position, end)
                raise Fatal(problem) if feed.failures >= TRIES_BEYOND_END else Unavailable(problem)
            if begin > position:
                gaps[partition] = position, begin
        if gaps:
            await self._accept(session, claim.gap, gaps, begins)
        if ready is not None:
            await ready(feed)
        if not feed.released:
            feed.offer(session, claim.checks, begins, ends)

    async def _begins(self, feed: ShardFeed) -> Positions:
        try:
            found = await self._consumer.beginning_offsets(feed.partitions)
        except KafkaError as error:
            raise Unavailable(f"shard {feed.shard}: Kafka: {error!r}") from error
        return Positions(*(found[partition] for partition in feed.partitions))

    async def _ends(self, feed: ShardFeed) -> Positions:
        try:
            found = await self._consumer.end_offsets(feed.partitions)
        except KafkaError as error:
            raise Unavailable(f"shard {feed.shard}: Kafka: {error!r}") from error
        return Positions(*(found[partition] for partition in feed.partitions))

    async def _accept(
        self,
        session: Session,
        known: bytes | None,
        found: Mapping[TopicPartition, tuple[int, int]],
        begins: Positions,
    ) -> None:
        """Go on behind gaps (partition → the position and where its log begins), and mark them for good."""
        if not self._config.accept_gap:
            named = ", ".join(records_text(partition, first, begin - 1) for partition, (first, begin) in found.items())
            raise Fatal(
                f"Kafka no longer has records that were never read: {named}. Restore them, or go on without "
                "them with 'mediana worker --accept-gap': the reports will say so for good, and from when on they "
                "have everything"
            )
        try:
            since = await self._instants({partition: begin for partition, (_, begin) in found.items()})
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"shard {session.shard}: Kafka: {error!r}") from error
        accepted = [gap(partition, *ends, since[partition]) for partition, ends in found.items()]
        gaps = decode_gaps(known).with_more(accepted)
        positions = Positions(*map(max, session.positions, begins))
        await session.commit(positions, Changes(gap=encode_gaps(gaps)))
        logger.warning(
            "shard %d goes on without %s; it has everything that was sent from %s on",
            session.shard,
            ", ".join(one.text for one in accepted),
            instant_text(complete_from([gaps])) or "an unknown time",
        )


def _beyond_end(partition: TopicPartition, position: int, end: int) -> str:
    return (
        f"{partition.topic} partition {partition.partition} ends at {end}, but was read up to {position}: the topic "
        "was recreated, or Kafka lost records, or this is another Kafka. Point MEDIANA_KAFKA_BOOTSTRAP at the right "
        "one, or rebuild into a new namespace (another MEDIANA_NAMESPACE reads the topics from the beginning)"
    )
