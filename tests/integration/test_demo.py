"""The demo starts in order, tells what it does, and leaves nothing behind however it ends.

Kafka and Redis are real; behind the commands of Mediana is a stand-in, so that only the demo itself is tested here.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.local.demo_settings import DemoSettings
from streams.local.errors import LocalStackError
from streams.local.ports import free_port
from tests.integration.test_local_stack import alive, wait_until_dead

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in_program.py")
DEMO = "import sys; from streams.local.demo import main; sys.exit(main(program=(sys.executable, sys.argv[1])))"
IMPATIENT_DEMO = DEMO.replace(
    "import main;", "import main; import streams.local.demo as d; d.LAST_REPORT_SECONDS = 1.0;"
)
PORTS = (
    *("DEMO_KAFKA_PORT", "DEMO_CONTROLLER_PORT", "DEMO_REDIS_PORT", "DEMO_HTTP_PORT"),
    *("DEMO_WORKER_METRICS_PORT", "DEMO_SNAPSHOT_METRICS_PORT"),
)


@contextmanager
def demo(folder: Path, program: str = DEMO, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A running demo on free ports."""
    ports = {name: str(free_port()) for name in PORTS}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(STAND_IN)],
        env={**os.environ, **ports, "DEMO_FOLDER": str(folder), **variables},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if words in line:
            return told
    pytest.fail(f"the demo ended without saying {words!r}:\n{told}")


def processes_of(folder: Path) -> list[int]:
    """The demo in the folder and all it started: processes whose command, environment or working folder names it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            names = b" ".join(
                [
                    (entry / "cmdline").read_bytes(),
                    (entry / "environ").read_bytes(),
                    os.fsencode((entry / "cwd").readlink()),
                ]
            )
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
        if os.fsencode(folder) in names and alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def test_a_demo_with_an_end_succeeds_when_every_report_is_published(tmp_path: Path) -> None:
    with demo(tmp_path, DEMO_SECONDS="1") as process:
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    steps = [
        *("Kafka: answers", "Redis: answers", "topics: created", "simulate: history: 1,234 events", "worker: started"),
        *("snapshotter: started", "page: answers", "mediana report --account acme", "events folded: 1,234"),
        *("acme: revision", "done: the reports of acme and nido", "simulator: ended", "page: ended", "all ended"),
    ]
    places = [told.find(step) for step in steps]
    assert -1 not in places, f"{steps[places.index(-1)]!r} was never said:\n{told}"
    assert places == sorted(places), told
    assert all(re.match(r"\[ *\d+\.\d s\] ", line) for line in told.splitlines() if "ended" in line)
    assert processes_of(tmp_path) == []


def test_a_demo_whose_reports_are_empty_fails_and_says_which(tmp_path: Path) -> None:
    with demo(tmp_path, IMPATIENT_DEMO, DEMO_SECONDS="1", STAND_IN_FAULT="empty-report") as process:
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "FAILED: acme: its report has no new contacts, no new conversations" in told
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_asked_to_end_ends_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        read_until(process, "everything runs")
        assert len(processes_of(tmp_path)) == 7  # Kafka, Redis, four programs, and the demo itself
        process.send_signal(number)
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "all ended" in told
    assert processes_of(tmp_path) == []


def test_nothing_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        read_until(process, "everything runs")
        started = processes_of(tmp_path)
        process.kill()
    assert all(wait_until_dead(pid) for pid in started)


def test_a_program_that_dies_ends_the_demo_with_its_last_words(tmp_path: Path) -> None:
    with demo(tmp_path, STAND_IN_FAULT="worker-dies") as process:
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "worker ended by itself (exit status 1)" in told
    assert "this is what I died of" in told
    assert processes_of(tmp_path) == []


def test_a_busy_port_stops_the_demo_before_it_starts_anything(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with demo(tmp_path, DEMO_HTTP_PORT=str(port)) as process:
            told, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Port {port}, meant for the page" in told
    assert f"DEMO_HTTP_PORT={port + 1000}" in told
    assert list(tmp_path.iterdir()) == []


def test_a_demo_setting_that_is_no_number_is_named() -> None:
    with pytest.raises(LocalStackError, match="DEMO_SECONDS is 'soon'"):
        DemoSettings.read({"DEMO_SECONDS": "soon"})
    with pytest.raises(LocalStackError, match="DEMO_HTTP_PORT is '70000'"):
        DemoSettings.read({"DEMO_HTTP_PORT": "70000"})
    with pytest.raises(LocalStackError, match="DEMO_DAYS is '0'"):
        DemoSettings.read({"DEMO_DAYS": "0"})


def test_an_empty_demo_setting_is_an_unset_one() -> None:
    # `make` hands on every variable it exports, also those that nobody gave.
    assert DemoSettings.read({"DEMO_SECONDS": "", "DEMO_HTTP_PORT": ""}) == DemoSettings.read({})


def test_the_programs_of_a_demo_do_not_see_the_settings_of_another_install() -> None:
    own = DemoSettings.read({"DEMO_REDIS_PORT": "16400"}).program_environment(
        {"PATH": "/bin", "MEDIANA_REDIS_URL": "redis://production", "MEDIANA_NAMESPACE": "other"}
    )
    assert own["MEDIANA_REDIS_URL"] == "redis://127.0.0.1:16400/0"
    assert "MEDIANA_NAMESPACE" not in own
    assert own["PATH"] == "/bin"
