"""Membership in the consumer group, which assigns partitions and notices dead workers.

A consumer of its own, that fetches nothing: while the group rebalances, aiokafka hands out no record of a consumer that
is a member. So membership and reading are apart, and a shard that a worker keeps is read throughout.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import ConsumerStoppedError, KafkaError, NoOffsetForPartitionError

from schemas.topics import Topics
from streams.intake.ownership import Ownership
from streams.kafka.clients import TopicPartition

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often aiokafka is asked for errors of the group; it goes on only after they are taken."""

ANSWER_SECONDS = 5.0


class Membership:
    """This worker as a member of the group."""

    def __init__(self, member: AIOKafkaConsumer, ownership: Ownership, topics: Topics, patience_seconds: float) -> None:
        """A group that gives nothing but errors for `patience_seconds`, from a Kafka that answers, ends the worker."""
        self._member = member
        self._patience_seconds = patience_seconds
        self._failing_since: float | None = None
        self._ownership = ownership
        self._topics = topics

    def join(self) -> None:
        """Join the group; what follows comes from the rebalance listener."""
        topics = self._topics
        listener = _Listener(self._ownership, topics, self._pause)
        self._member.subscribe([topics.contacts, topics.conversations, topics.accounts], listener=listener)

    async def look(self) -> None:
        """Take the group's errors, so that aiokafka tries again, and tell aiokafka that this member is alive.

        Waits as long as a rebalance lasts.
        """
        try:
            await self._member.getmany(timeout_ms=0)
        except NoOffsetForPartitionError:
            self._failing_since = None  # positions are none of the group's business
        except ConsumerStoppedError:
            return
        except KafkaError as error:
            await self._failed(error)
        else:
            self._failing_since = None

    async def _failed(self, error: KafkaError) -> None:
        """A worker that is no member any more, and does not know, would take shards from their new owners for ever."""
        logger.warning("the consumer group: %r", error)
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since < self._patience_seconds:
            return
        try:
            await asyncio.wait_for(self._member.topics(), ANSWER_SECONDS)
        except (KafkaError, TimeoutError):
            self._failing_since = None
        else:
            self._ownership.fail(f"the consumer group gives nothing but errors; the last one: {error!r}: restart me")

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell the group where the shards stand, for lag tools only: nothing here reads it back."""
        assigned = self._member.assignment()
        offsets = {partition: offset for partition, offset in offsets.items() if partition in assigned}
        # While the group rebalances it takes none.
        if not offsets or not self._ownership.joined:
            return
        try:
            await asyncio.wait_for(self._member.commit(offsets), ANSWER_SECONDS)
        except (KafkaError, TimeoutError) as error:
            logger.debug("group offsets were not committed: %r", error)

    async def leave(self) -> None:
        """Leave the group, so that others take over at once."""
        await self._member.stop()

    def _pause(self) -> None:
        # Before the consumer knows a position, so it fetches nothing ever.
        self._member.pause(*self._member.assignment())


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Passes the group's word on. Never waits: the group is standing still meanwhile."""

    def __init__(self, ownership: Ownership, topics: Topics, pause: Callable[[], None]) -> None:
        self._ownership = ownership
        self._topics = topics
        self._pause = pause

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - all of them, always
        self._ownership.revoked()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._pause()
        owned: dict[str, set[int]] = {}
        for partition in assigned:
            owned.setdefault(partition.topic, set()).add(partition.partition)
        contacts = owned.get(self._topics.contacts, set())
        conversations = owned.get(self._topics.conversations, set())
        if contacts != conversations:
            self._ownership.fail(
                f"the group gave this worker partitions {sorted(contacts)} of {self._topics.contacts} but "
                f"{sorted(conversations)} of {self._topics.conversations}: every member of it must be a Mediana worker"
            )
            return
        shards = sorted(contacts)
        logger.info("shards of this worker: %s", ", ".join(map(str, shards)) or "none, others have all")
        self._ownership.assigned(shards, sorted(owned.get(self._topics.accounts, ())))
