"""Settings of `make demo`, from the environment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from streams.local.errors import LocalStackError
from streams.local.ports import LOOPBACK

Number = TypeVar("Number", int, float)
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """One field per variable `DEMO_…`, named in `read`.

    `seconds` (None: until stopped) counts from the moment the page answers. `folder` holds the data and logs of one
    run; both are removed at the start of the next, so that every run begins with an empty Kafka and an empty Redis.
    It is always a folder of its own name inside the one that is given: nothing else is ever removed.
    """

    seconds: float | None
    folder: Path
    kafka_port: int
    controller_port: int
    redis_port: int
    http_port: int
    worker_metrics_port: int
    snapshot_metrics_port: int
    days: int
    live_rate: float
    seed: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "DemoSettings":
        """Read them; an unset or empty variable means its default. Raises LocalStackError that names the variable."""

        def number(
            name: str, default: str, convert: Callable[[str], Number], lowest: int, highest: int = MOST
        ) -> Number:
            text = environment.get(name) or default
            try:
                value = convert(text)
                if not lowest <= value <= highest:
                    raise ValueError
            except ValueError:
                raise LocalStackError(
                    f"{name} is {text!r}, which is no number from {lowest} to {highest}.",
                    f"Leave it out, or give a number such as {name}={default}",
                ) from None
            return value

        def port(name: str, default: int) -> int:
            return number(name, str(default), int, 1, 65_535)

        kafka_port = port("DEMO_KAFKA_PORT", 19_092)
        return cls(
            seconds=number("DEMO_SECONDS", "120", float, 0) if environment.get("DEMO_SECONDS") else None,
            folder=Path(environment.get("DEMO_FOLDER") or ".local").resolve() / "mediana-demo",
            kafka_port=kafka_port,
            controller_port=port("DEMO_CONTROLLER_PORT", kafka_port + 1),
            redis_port=port("DEMO_REDIS_PORT", 16_379),
            http_port=port("DEMO_HTTP_PORT", 8_080),
            worker_metrics_port=port("DEMO_WORKER_METRICS_PORT", 19_101),
            snapshot_metrics_port=port("DEMO_SNAPSHOT_METRICS_PORT", 19_102),
            days=number("DEMO_DAYS", "14", int, 1),
            live_rate=number("DEMO_RATE", "5", float, 0),
            seed=number("DEMO_SEED", "7", int, 0),
        )

    def ports(self) -> dict[str, tuple[int, str]]:
        """Every port with whom it is for: variable → (port, owner)."""
        return {
            "DEMO_KAFKA_PORT": (self.kafka_port, "Kafka"),
            "DEMO_CONTROLLER_PORT": (self.controller_port, "Kafka's controller"),
            "DEMO_REDIS_PORT": (self.redis_port, "Redis"),
            "DEMO_HTTP_PORT": (self.http_port, "the page"),
            "DEMO_WORKER_METRICS_PORT": (self.worker_metrics_port, "the worker's metrics"),
            "DEMO_SNAPSHOT_METRICS_PORT": (self.snapshot_metrics_port, "the snapshotter's metrics"),
        }

    @property
    def redis_url(self) -> str:
        """Where the demo's Redis answers."""
        return f"redis://{LOOPBACK}:{self.redis_port}/0"

    @property
    def page_url(self) -> str:
        """Where the page answers."""
        return f"http://{LOOPBACK}:{self.http_port}"

    def program_environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The environment of a `mediana` command of the demo.

        Settings that the person has for another install are left out: the demo must not write into that one.
        """
        kept = {name: value for name, value in inherited.items() if not name.startswith("MEDIANA_")}
        if level := inherited.get("MEDIANA_LOG_LEVEL"):
            kept["MEDIANA_LOG_LEVEL"] = level
        return kept | {
            "PYTHONUNBUFFERED": "1",
            "MEDIANA_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.kafka_port}",
            "MEDIANA_REDIS_URL": self.redis_url,
            "MEDIANA_PARTITIONS": "4",
            "MEDIANA_HTTP_HOST": LOOPBACK,
            "MEDIANA_HTTP_PORT": str(self.http_port),
            "MEDIANA_METRICS_HOST": LOOPBACK,
            "MEDIANA_METRICS_PORT": str(self.worker_metrics_port),
            "MEDIANA_SNAPSHOTTER_METRICS_PORT": str(self.snapshot_metrics_port),
            # Several times a day is what a real install wants; here somebody is looking.
            "MEDIANA_SNAPSHOT_INTERVAL_SECONDS": "10",
        }
