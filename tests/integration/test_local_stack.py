"""The local Kafka and Redis start, survive a kill with their data, and leave no process behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis as RedisClient

from streams.local import redis as local_redis
from streams.local.errors import LocalStackError
from streams.local.jars import java_command, kafka_jars
from streams.local.kafka import Kafka
from streams.local.ports import free_port, require_free
from streams.local.process import Process
from streams.local.redis import Redis
from tests.conftest import KafkaAddress, RedisAddress

ROOT = Path(__file__).parents[2]


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent to notice does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def wait_until_dead(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


async def create_topic(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def send(bootstrap: str, topic: str, values: list[bytes], transactional_id: str | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", transactional_id=transactional_id)
    await producer.start()
    try:
        if transactional_id is None:
            for value in values:
                await producer.send_and_wait(topic, value, partition=0)
            return
        async with producer.transaction():
            for value in values:
                await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, count: int, seconds: float = 30.0) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        values: list[bytes] = []
        async with asyncio.timeout(seconds):
            while len(values) < count:
                fetched = await consumer.getmany(partition, timeout_ms=500)
                values += [record.value for records in fetched.values() for record in records]
        return values
    finally:
        await consumer.stop()


async def test_a_plain_and_a_transactional_producer_are_both_read_back(kafka: KafkaAddress, topic_prefix: str) -> None:
    topic = topic_prefix + "events"
    await create_topic(kafka.bootstrap, topic, 2)
    await send(kafka.bootstrap, topic, [b"plain"])
    await send(kafka.bootstrap, topic, [b"committed"], transactional_id=topic)
    assert await read(kafka.bootstrap, topic, 2) == [b"plain", b"committed"]


async def test_a_consumer_group_may_commit_its_position(kafka: KafkaAddress, topic_prefix: str) -> None:
    topic = topic_prefix + "events"
    partition = TopicPartition(topic, 0)
    await create_topic(kafka.bootstrap, topic, 1)
    await send(kafka.bootstrap, topic, [b"a", b"b"])
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka.bootstrap, group_id=topic, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            assert (await consumer.getone()).value == b"a"
            await consumer.commit()
            assert await consumer.committed(partition) == 1
    finally:
        await consumer.stop()


async def test_redis_is_set_up_so_that_nothing_is_evicted_and_every_write_is_kept(redis_server: RedisAddress) -> None:
    async with RedisClient.from_url(redis_server.url, decode_responses=True) as client:
        settings = await client.config_get("maxmemory-policy", "appendonly", "appendfsync")
    assert settings == {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}


async def test_kafka_keeps_its_records_over_a_kill_and_answers_after_a_pause(tmp_path: Path) -> None:
    async with Kafka(tmp_path) as server:
        await create_topic(server.bootstrap, "events", 1)
        await send(server.bootstrap, "events", [b"before"])
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await send(server.bootstrap, "events", [b"after"])
        assert await read(server.bootstrap, "events", 2) == [b"before", b"after"]
        server.pause()
        assert not await asyncio.to_thread(server.answers)
        server.resume()
        assert await read(server.bootstrap, "events", 2) == [b"before", b"after"]
        assert server.process is not None
        pid = server.process.pid
    assert pid is not None
    assert not alive(pid)


def test_redis_keeps_its_keys_over_a_stop_and_answers_after_a_pause(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"SET kept yes\r\n")
            assert connection.recv(100) == b"+OK\r\n"
        server.stop()
        assert not server.answers()
        server.start()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET kept\r\n")
            assert connection.recv(100) == b"$3\r\nyes\r\n"
        server.pause()
        assert not server.answers()
        server.resume()
        assert server.answers()
        assert server.process is not None
        pid = server.process.pid
    assert pid is not None
    assert not alive(pid)


def test_the_wheel_serves_where_the_path_has_no_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(local_redis.redis_command()).name == "valkey-server"
    with Redis(tmp_path / "data") as server:
        assert server.answers()


def test_a_server_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from streams.local.redis import Redis\n"
        "server = Redis(Path(sys.argv[1]))\n"
        "server.start()\n"
        "print(server.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        server_pid = int(parent.stdout.readline())
        assert alive(server_pid)
        parent.kill()
    assert wait_until_dead(server_pid)


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    child = Process("sleeper", ["sleep", "60"], log_path=tmp_path / "log")

    async def from_another_thread() -> None:
        await asyncio.to_thread(child.start)

    asyncio.run(from_another_thread())  # its executor, and the thread in it, are gone after this
    time.sleep(0.1)
    assert child.running
    assert child.stop() == -signal.SIGTERM


def test_a_child_that_ignores_the_request_to_end_is_killed_with_its_group(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 60 & echo $!; wait; sleep 60"
    child = Process("stubborn", ["sh", "-c", script], log_path=tmp_path / "log")
    child.start()
    while not child.log_text():
        time.sleep(0.02)
    grandchild = int(child.log_text())
    assert child.stop(grace_seconds=0.2) == -signal.SIGKILL
    assert wait_until_dead(grandchild)


def test_a_server_that_ends_at_its_start_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError) as caught:
        Redis(tmp_path, max_memory="nonsense").start()
    assert "nonsense" in caught.value.what
    assert str(tmp_path / "redis.log") in caught.value.advice


def test_a_server_of_somebody_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    with Redis(tmp_path / "theirs") as theirs:
        with pytest.raises(LocalStackError, match=f"Port {theirs.port}, meant for redis, cannot be used"):
            Redis(tmp_path / "ours", port=theirs.port).start()
        assert theirs.answers()


def test_a_busy_port_is_named_with_its_owner_and_the_way_out() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalStackError) as caught:
            require_free(port, "the page", "Choose another: DEMO_HTTP_PORT=18080 make demo")
    assert f"Port {port}" in caught.value.what
    assert "the page" in caught.value.what
    assert "DEMO_HTTP_PORT" in caught.value.advice
    require_free(free_port(), "the page", "")


def fake_command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_missing_and_old_java_say_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="not on the PATH"):
        java_command({"PATH": str(tmp_path)})
    fake_command(tmp_path, "java", """echo 'openjdk version "1.8.0_412"' >&2""")
    with pytest.raises(LocalStackError, match="is Java 8") as caught:
        java_command({"PATH": str(tmp_path)})
    assert "openjdk-17" in caught.value.advice
    fake_command(tmp_path, "java", """echo 'openjdk version "21.0.4" 2024-07-16' >&2""")
    assert java_command({"PATH": str(tmp_path)}) == str(tmp_path / "java")


def test_missing_maven_and_missing_network_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    said: list[str] = []
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalStackError, match="mvn") as caught:
        kafka_jars(cache, said.append)
    assert "apt install maven" in caught.value.advice
    fake_command(tmp_path, "mvn", "echo 'Could not transfer artifact: Unknown host repository'; exit 1")
    with pytest.raises(LocalStackError, match="Unknown host") as caught:
        kafka_jars(cache, said.append)
    assert "network" in caught.value.advice
    assert [path.name for path in cache.iterdir()] == ["lock"]  # nothing that a later call would take for the jars
    assert len(said) == 2


def test_two_fetches_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven = """
for argument; do case $argument in -DoutputDirectory=*) out=${argument#*=};; esac; done
/bin/sleep 0.3; /bin/mkdir -p "$out"; : > "$out/kafka_2.13-4.1.1.jar"; echo fetched >> "$FETCHES"
"""
    fake_command(tmp_path, "mvn", maven)
    fetches = tmp_path / "fetches"
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "FETCHES": str(fetches)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    program = (
        "import sys; from pathlib import Path; from streams.local.jars import kafka_jars; kafka_jars(Path(sys.argv[1]))"
    )
    both = [
        Process(
            name,
            [sys.executable, "-c", program, str(tmp_path / "cache")],
            log_path=tmp_path / name,
            working_folder=ROOT,
        )
        for name in ("one", "two")
    ]
    for process in both:
        process.start()
    assert [process.wait(20) for process in both] == [0, 0]
    assert fetches.read_text() == "fetched\n"
