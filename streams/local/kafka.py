"""A real Apache Kafka of one KRaft node on this machine."""

import base64
import struct
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.local.errors import LocalStackError
from streams.local.jars import java_command, kafka_jars
from streams.local.ports import LOOPBACK, ask, free_port
from streams.local.process import Process
from streams.local.server import Server

# A Metadata request, version 1, that names no topic: length, api key 3, version 1, correlation 7, no client, no topics.
_METADATA_REQUEST = struct.pack(">ihhihi", 14, 3, 1, 7, -1, 0)
# Its answer begins: length, correlation, number of live brokers.
_METADATA_ANSWER = struct.Struct(">iii")


class Kafka(Server):
    """A broker that keeps its log, its settings file and its output under `data_folder`.

    `properties` are added to the settings of the broker and win over ours. `heap` is in Java's notation.
    Starting takes about 9 s on a slow machine, 2 s of them the formatting of a new folder.
    """

    name = "kafka"
    start_timeout_seconds = 120.0

    def __init__(
        self,
        data_folder: Path,
        *,
        port: int | None = None,
        controller_port: int | None = None,
        heap: str = "512m",
        properties: Mapping[str, str] | None = None,
        cache: Path | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        super().__init__(data_folder, port=port)
        self.controller_port = controller_port or free_port()
        self.heap = heap
        self.properties = dict(properties or {})
        self._cache = cache
        self._report = report

    @property
    def bootstrap(self) -> str:
        """What clients call the bootstrap server."""
        return self.address

    def prepare(self) -> Process:
        """Fetch the jars, write the settings, format the folder when it is new. Raises LocalStackError."""
        java = java_command()
        class_path = str(kafka_jars(self._cache, self._report) / "*")
        self.data_folder.mkdir(parents=True, exist_ok=True)
        settings = self.data_folder / "server.properties"
        settings.write_text("".join(f"{key}={value}\n" for key, value in self._settings().items()))
        if not (self.data_folder / "log" / "meta.properties").exists():
            self._format([java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", class_path], settings)
        return Process(
            self.name,
            [
                *(java, f"-Xmx{self.heap}", "-Xms128m", "-XX:+ExitOnOutOfMemoryError"),
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
                *("-cp", class_path, "kafka.Kafka", str(settings)),
            ],
            log_path=self.log_path,
        )

    def answers(self) -> bool:
        """Whether the broker names itself as alive: from then on topics can be made."""
        answer = ask(self.port, _METADATA_REQUEST)
        if len(answer) < _METADATA_ANSWER.size:
            return False
        _, _, live_brokers = _METADATA_ANSWER.unpack_from(answer)
        return bool(live_brokers == 1)

    def _settings(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{LOOPBACK}:{self.controller_port}",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_folder / "log"),
            # Topics are made on purpose, with the number of partitions that the ledger knows.
            "auto.create.topics.enable": "false",
            # One node: every internal topic has one copy; and few partitions, 50 of each cost seconds at the start.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "2",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            # The first member of a group starts at once instead of waiting 3 s for others.
            "group.initial.rebalance.delay.ms": "0",
            # Tests of faults want a dead member noticed sooner than the usual 6 s at least.
            "group.min.session.timeout.ms": "1000",
            # A broker killed and started again is let in when its former life has expired: 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Simulated history is weeks old by its timestamps, and must not be thrown away for it.
            "log.retention.ms": "-1",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": "16777216",
            **self.properties,
        }

    def _format(self, java: list[str], settings: Path) -> None:
        told = subprocess.run(
            [
                *(*java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "kafka.tools.StorageTool", "format"),
                *("--cluster-id", _cluster_id(), "--config", str(settings)),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode != 0:
            reason = (told.stderr or told.stdout).strip()[-2000:]
            raise LocalStackError(
                f"Kafka could not format its folder {self.data_folder}:\n{reason}",
                "Check that the disk has room and that the folder can be written.",
            )


def _cluster_id() -> str:
    # Kafka's own notation of a UUID. A leading dash would be read as an option.
    return "m" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
