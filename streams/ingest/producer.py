"""Sends events and settings to Kafka, and tells whether they are stored there.

The producer is idempotent and waits for every replica in sync (`acks=all`): its own retries neither double nor reorder
a contact's events. What was not acknowledged in time may still arrive later, so whoever is told `NotSent` sends the
same events again, under the same ids: they count once.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError

from schemas.accounts import AccountSettings, encode_settings
from schemas.events import Event, encode_event
from schemas.topics import Topics
from streams.config import Config
from streams.kafka.clients import client_options

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""How long Kafka may take to acknowledge; callers of a web service give up not much later."""

_STOP_SECONDS = 5.0
_PROBE_SECONDS = 2.0
_MAX_REQUEST_BYTES = 2 << 20


class Outgoing(NamedTuple):
    """A record to send."""

    topic: str
    key: bytes
    value: bytes


class NotSent(Exception):
    """Kafka did not confirm every record. `problem` says why, `advice` what to do; some may be there all the same.

    The text has the `detail` too, such as a broker's address, which only operators are shown.
    """

    def __init__(self, problem: str, advice: str, detail: str | None = None) -> None:
        super().__init__(f"{problem}{'' if detail is None else f': {detail}'} ({advice})")
        self.problem = problem
        self.advice = advice


class TooLarge(Exception):
    """A record that is longer than Kafka takes; sending it again would not help."""


def event_record(event: Event, topics: Topics) -> Outgoing:
    """The record of an event: on the topic of its type, keyed by its contact, without fields we do not know."""
    topic = topics.contacts if event.topic == "contacts" else topics.conversations
    return Outgoing(topic, event.contact_id.encode(), encode_event(event))


def settings_record(settings: AccountSettings, topics: Topics) -> Outgoing:
    """The record of an account's settings, keyed by the account."""
    return Outgoing(topics.accounts, settings.account_id.encode(), encode_settings(settings))


class Sender:
    """A connection to Kafka that is made when first needed, and made anew after it broke."""

    def __init__(self, config: Config, client_id: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._config = config
        self._client_id = client_id
        self._patience_seconds = patience_seconds
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Return when Kafka has every record. Raises `NotSent` if it has not after `patience_seconds`, or `TooLarge`.

        Records of one key keep their order.
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._send(records)
        except TimeoutError:
            raise self._unanswered(records) from None
        except MessageSizeTooLargeError:
            raise TooLarge("a record is longer than Kafka takes") from None
        except (KafkaError, OSError) as error:
            # Some errors end an idempotent producer for good. A new one costs little, and is right after all of them.
            await self._discard()
            problem = "Kafka does not answer" if isinstance(error, KafkaConnectionError | OSError) else "Kafka refused"
            advice = "'mediana check' tells more; send the same again when it is mended"
            raise NotSent(problem, advice, " ".join(str(error).split()) or type(error).__name__) from error

    async def ready(self) -> str | None:
        """Why nothing can be sent now, or nothing when it can; within a few seconds."""
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                producer = await self._connected()
                if not await producer.client.force_metadata_update():
                    return "Kafka does not answer"
        except (KafkaError, OSError, TimeoutError):
            return "Kafka does not answer"
        return None

    async def stop(self) -> None:
        """Send what is still under way, as far as Kafka answers, and disconnect."""
        await self._discard()

    async def _send(self, records: Sequence[Outgoing]) -> None:
        producer = await self._connected()
        waiting: list[asyncio.Future[object]] = []
        for record in records:
            future = await producer.send(record.topic, key=record.key, value=record.value)
            # An answer that comes after we stopped waiting is looked at too, or asyncio complains.
            future.add_done_callback(_look_at)
            waiting.append(future)
        if waiting:
            # `wait` leaves the futures alone when we give up; `gather` would cancel what Kafka may yet acknowledge.
            await asyncio.wait(waiting)
        for future in waiting:
            future.result()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **client_options(self._config),
                    client_id=self._client_id,
                    enable_idempotence=True,
                    acks="all",
                    linger_ms=5,
                    max_request_size=_MAX_REQUEST_BYTES,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await producer.stop()
        except TimeoutError:
            logger.warning("Kafka did not take everything before the end; nobody was told that it did")
            # It would try for ever, and its `stop` waits for that; there is no public way to make it give up.
            await producer._sender.close()  # noqa: SLF001
            await producer.client.close()
        except (KafkaError, OSError) as error:
            logger.warning("the connection to Kafka did not end well: %s", error)

    def _unanswered(self, records: Sequence[Outgoing]) -> NotSent:
        cluster = None if self._producer is None else self._producer.client.cluster
        if cluster is not None and cluster.brokers():
            for topic in sorted({record.topic for record in records}):
                if cluster.partitions_for_topic(topic) is None:
                    return NotSent(f"Kafka has no topic {topic}", "create the topics with 'mediana topics create'")
        return NotSent(
            f"Kafka did not answer within {self._patience_seconds:g} s",
            "send the same again in a moment; if it lasts, 'mediana check' tells more",
        )


def _look_at(future: "asyncio.Future[object]") -> None:
    if not future.cancelled():
        future.exception()
