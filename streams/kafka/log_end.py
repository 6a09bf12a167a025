"""Reads where the log ends, so that a report can say whether it has everything that was sent."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.config import Config
from streams.kafka.clients import client_options


class LogEnds:
    """Asks Kafka for the ends of both event topics; connects when first asked, and again after an error."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._consumer: AIOKafkaConsumer | None = None

    async def read(self, partitions: int) -> dict[int, tuple[int, int]]:
        """Shard → the ends of its contacts and its conversations partition. Raises `KafkaError` and its like."""
        topics = self._config.topics
        try:
            if self._consumer is None:
                # No group: this asks, and never reads. `read_committed` ends where no open transaction begins.
                consumer = AIOKafkaConsumer(
                    **client_options(self._config), client_id="mediana-snapshotter", isolation_level="read_committed"
                )
                await consumer.start()
                self._consumer = consumer
            asked = [
                TopicPartition(topic, shard)
                for topic in (topics.contacts, topics.conversations)
                for shard in range(partitions)
            ]
            ends = await self._consumer.end_offsets(asked)
        except BaseException:
            await self.close()
            raise
        return {
            shard: (ends[TopicPartition(topics.contacts, shard)], ends[TopicPartition(topics.conversations, shard)])
            for shard in range(partitions)
        }

    async def close(self) -> None:
        """Leave Kafka."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
