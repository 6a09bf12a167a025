"""`mediana worker`: runs the app until it is stopped or cannot go on."""

import asyncio
import dataclasses
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from prometheus_client import CollectorRegistry

from streams import gc as collector
from streams import logs
from streams.config import Config
from streams.errors import Fatal
from streams.kafka import clients as kafka
from streams.monitoring.server import MetricsServer
from streams.redis.clients import connect
from streams.worker.app import WorkerApp, create_app
from streams.worker.startup import check_redis, find_partitions, open_namespace, patiently

logger = logging.getLogger(__name__)

DONE, FAILED = 0, 1

KafkaClient = TypeVar("KafkaClient", AIOKafkaConsumer, AIOKafkaProducer)


def run(config: Config, accept_gap: bool = False) -> int:
    """Work until SIGTERM or SIGINT: 0, or 1 with the reason in the log's last line."""
    if accept_gap:
        config = dataclasses.replace(config, accept_gap=True)
    logs.calm_libraries()
    try:
        return asyncio.run(_run(config))
    except Fatal as error:
        logger.critical("%s", error)
        return FAILED


async def _run(config: Config) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str | None] = loop.create_future()

    def end(reason: str | None) -> None:
        if not ended.done():
            ended.set_result(reason)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, None)
    started = asyncio.Event()
    async with AsyncExitStack() as stack:
        starting = asyncio.ensure_future(_start(config, stack, end))
        starting.add_done_callback(lambda _: started.set())
        ended.add_done_callback(lambda _: started.set())
        await started.wait()
        if starting.done():
            app = starting.result()
            stopped = asyncio.ensure_future(app.wait_until_stopped())
            stopped.add_done_callback(lambda _: end(f"the app crashed: {app.crash_reason!r}"))
            await ended
        else:
            starting.cancel()  # still waiting for a server
            await asyncio.gather(starting, return_exceptions=True)
    reason = ended.result()
    if reason is not None:
        raise Fatal(reason)
    logger.info("stopped")
    return DONE


async def _start(config: Config, stack: AsyncExitStack, end: Callable[[str], None]) -> WorkerApp:
    """Check everything, then start everything; what was started is stopped by the stack, in reverse."""
    registry = CollectorRegistry()
    # From the first moment: a supervisor sees a worker that waits for its servers as live, and not ready.
    server = MetricsServer(registry, config.metrics_host, config.metrics_port)
    await server.start()
    stack.push_async_callback(server.stop)
    client = connect(config)
    stack.push_async_callback(client.aclose)
    redis, broker = f"Redis at {config.redis_address}", f"Kafka at {config.kafka_bootstrap}"
    await patiently(redis, lambda: check_redis(client))
    partitions = await patiently(broker, lambda: find_partitions(config))
    consumer = await _started(broker, lambda: kafka.event_consumer(config), stack)
    member = await _started(broker, lambda: kafka.group_member(config), stack)
    await patiently("Redis or Kafka", lambda: open_namespace(config, client, member, partitions))
    producer = await _started(broker, lambda: kafka.producer(config), stack)
    app = create_app(config, client, consumer, member, producer, registry, end)
    server.ready = app.why_not_ready
    stack.push_async_callback(app.stop)
    await app.start()
    collector.calm()
    logger.info("working: namespace %s, group %s, topics %s.*", config.namespace, config.group_id, config.topic_prefix)
    return app


async def _started(broker: str, make: Callable[[], KafkaClient], stack: AsyncExitStack) -> KafkaClient:
    """A Kafka client that has connected; each attempt is a new one, for a failed one is of no use."""

    async def attempt() -> KafkaClient:
        client = make()
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    client = await patiently(broker, attempt)
    stack.push_async_callback(client.stop)
    return client
