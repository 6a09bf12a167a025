# ruff: noqa: INP001 - an example that stands alone, not part of a package
"""Send events to Mediana: one JSON object per line on stdin.

    pip install aiokafka
    python producer.py [BOOTSTRAP] [TOPIC_PREFIX] < events.jsonl

What matters, in any client:
- the key is the contact's id, on both event topics, and both have equally many partitions: so a contact's events stay
  in one partition number. This client's default partitioner is Java's. Those of librdkafka (confluent-kafka) are not:
  set `partitioner=murmur2_random` where some producers use librdkafka and others do not;
- `enable_idempotence` and `acks=all`: what the client sends again by itself is neither doubled nor out of order;
- an event keeps its `id` when you send it again after a failure: Mediana counts it once;
- an event is sent when its acknowledgement is there, not when `send` returns.
"""

import asyncio
import json
import sys

from aiokafka import AIOKafkaProducer

IN_FLIGHT = 1000


async def main(bootstrap: str = "127.0.0.1:9092", prefix: str = "mediana") -> int:
    """Send every line, wait for every acknowledgement, say how many there were."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=20)
    await producer.start()
    sent = 0
    waiting: list[asyncio.Future[object]] = []
    try:
        for line in sys.stdin:
            event = json.loads(line)
            kind = "contacts" if event["type"].startswith("contact.") else "conversations"
            key = event["contact_id"].encode()
            waiting.append(await producer.send(f"{prefix}.{kind}", key=key, value=json.dumps(event).encode()))
            if len(waiting) >= IN_FLIGHT:
                sent += len(await asyncio.gather(*waiting))
                waiting.clear()
        sent += len(await asyncio.gather(*waiting))  # raises what Kafka refused: send from there again, same ids
    finally:
        await producer.stop()
    print(f"{sent} events acknowledged", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
