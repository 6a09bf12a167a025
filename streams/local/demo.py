"""`make demo`: the whole of Mediana on this machine, with simulated traffic.

    Kafka, Redis -> topics -> simulated messaging service (history, then live) -> worker -> snapshotter -> page

Runs until Ctrl-C, or for DEMO_SECONDS from the moment the page answers; then the exit status is 0 if the report of
every simulated account was published with something in it. All choices are in `demo_settings`. Everything it starts
ends with it: in order when it can say goodbye, by the kernel's hand when it is killed itself.
"""

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from streams.local.demo_settings import DemoSettings
from streams.local.demo_watch import Published, events_folded, fetch, metrics_url, read_published
from streams.local.errors import LocalStackError
from streams.local.jars import java_command, kafka_jars
from streams.local.kafka import Kafka
from streams.local.ports import require_free
from streams.local.process import Process
from streams.local.redis import Redis, redis_command

ACCOUNTS = 2
CONTACTS_PER_DAY = 60

POLL_SECONDS = 0.2
STATUS_EVERY_SECONDS = 10.0
STEP_TIMEOUT_SECONDS = 180.0
# How much longer than DEMO_SECONDS it may take a slow machine to publish the first report.
LAST_REPORT_SECONDS = 60.0

PROGRAM = (sys.executable, "-m", "streams.cli.main")
ROOT = Path(__file__).parents[2]


class Interrupted(BaseException):
    """A signal asked the demo to end.

    Like KeyboardInterrupt it is no Exception, so that nothing on the way takes it for a failure.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Demo:
    """One run. `program` is the command that `mediana` stands for; a test puts a stand-in there."""

    def __init__(
        self, settings: DemoSettings, environment: Mapping[str, str], program: Sequence[str] = PROGRAM
    ) -> None:
        self.settings = settings
        self._environment = environment
        self._program = tuple(program)
        self._started = time.monotonic()
        self._accounts: tuple[str, ...] = ()
        self._page_answers = False
        self._relayed: dict[str, int] = {}
        logs, data = settings.folder / "logs", settings.folder / "data"
        self._kafka = Kafka(
            data / "kafka", port=settings.kafka_port, controller_port=settings.controller_port, report=self._say
        )
        self._redis = Redis(data / "redis", port=settings.redis_port)

        def child(name: str, *arguments: str) -> Process:
            return Process(
                name,
                [*self._program, *arguments],
                log_path=logs / f"{name}.log",
                environment=settings.program_environment(environment),
                working_folder=ROOT,
            )

        self._topics = child("topics", "topics", "create")
        self._simulator = child(
            "simulator",
            *("simulate", "--days", str(settings.days), "--accounts", str(ACCOUNTS)),
            *("--contacts-per-day", str(CONTACTS_PER_DAY), "--live-rate", f"{settings.live_rate:g}"),
            *("--seed", str(settings.seed)),
        )
        self._worker = child("worker", "worker")
        self._snapshotter = child("snapshotter", "snapshot", "--watch")
        self._page = child("page", "serve")
        # The order in which they end: first who writes, last who is still asked.
        self._children = (self._topics, self._simulator, self._worker, self._snapshotter, self._page)

    def run(self) -> int:
        """Start everything, watch it, end everything; the exit status. Raises LocalStackError when it cannot go on."""
        try:
            self._check_machine()
            self._start()
            self._watch()
        except Interrupted as interrupted:
            self._say(f"{interrupted}: ending")
            return 0 if self._page_answers else 128 + interrupted.number
        else:
            return self._verdict()
        finally:
            signal.signal(signal.SIGINT, self._hurry)
            signal.signal(signal.SIGTERM, self._hurry)
            self._end()

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _check_machine(self) -> None:
        """What would stop us later is said now, before anything is touched."""
        java_command(self._environment)
        redis_command()
        for variable, (port, owner) in self.settings.ports().items():
            require_free(
                port,
                owner,
                "If a demo runs already, end it with Ctrl-C. Else choose another port, for example:\n"
                f"make demo {variable}={port + 1000}",
            )
        kafka_jars(report=self._say)

    def _start(self) -> None:
        for name in ("data", "logs"):
            shutil.rmtree(self.settings.folder / name, ignore_errors=True)
        self._say(f"Kafka: starting (a fresh one, in {self.settings.folder / 'data'})")
        self._kafka.start()
        self._say(f"Kafka: answers at {self._kafka.address}")
        self._redis.start()
        self._say(f"Redis: answers at {self._redis.address}")

        self._topics.start()
        self._wait("topics: created", lambda: self._topics.status == 0, self._topics)
        self._simulator.start()
        self._say(f"simulator: {self.settings.days} days of history for {ACCOUNTS} accounts")
        # Settings come before history, and the worker after both: what it shows first is how it catches up.
        self._wait("simulator: history is in Kafka", self._history_is_sent, self._simulator)
        self._worker.start()
        self._say("worker: started, folds the history")
        self._snapshotter.start()
        self._say("snapshotter: started, publishes every 10 s")
        self._page.start()
        self._wait("page: answers", self._healthy, self._page)
        self._page_answers = True
        self._say_where_to_look()

    def _history_is_sent(self) -> bool:
        self._relay(self._simulator)
        log = self._simulator.log_text()
        if accounts := re.search(r"accounts: (.+)$", log, re.MULTILINE):
            self._accounts = tuple(name.strip() for name in accounts[1].split(","))
        return re.search(r"history: .* sent$", log, re.MULTILINE) is not None

    def _healthy(self) -> bool:
        try:
            fetch(f"{self.settings.page_url}/healthz")
        except OSError:
            return False
        return True

    def _watch(self) -> None:
        """Until the time is over and every report is there (or a little longer, if one is not)."""
        began = said = time.monotonic()
        ends = began + (float("inf") if self.settings.seconds is None else self.settings.seconds)
        while True:
            self._require_children()
            now = time.monotonic()
            if now - said >= STATUS_EVERY_SECONDS:
                said = now
                self._say(self._status())
            if now >= ends and (now >= ends + LAST_REPORT_SECONDS or not self._missing()):
                return
            time.sleep(POLL_SECONDS)

    def _verdict(self) -> int:
        self._say(self._status())
        if missing := self._missing():
            self._say("FAILED: " + "; ".join(f"{report.account_id}: {report.missing}" for report in missing))
            return 1
        self._say(f"done: the reports of {' and '.join(self._accounts)} are published and not empty")
        return 0

    def _end(self) -> None:
        for process in self._children:
            if process.running:
                process.stop()
                self._say(f"{process.name}: ended")
        for server in (self._redis, self._kafka):
            server.stop()
        if self._kafka.process is not None:
            self._say(f"all ended; logs are in {self.settings.folder / 'logs'}")

    # --- help for the steps -------------------------------------------------------------------------------------------

    def _wait(self, done: str, condition: Callable[[], bool], child: Process) -> None:
        """Until the condition holds: then say `done`. A child that ends before is a failure, and so is a long wait."""
        began = said = time.monotonic()
        while not condition():
            if child.status is not None and not condition():
                raise _ended(child)
            now = time.monotonic()
            if now - began > STEP_TIMEOUT_SECONDS:
                raise LocalStackError(
                    f"{child.name} is not ready after {STEP_TIMEOUT_SECONDS:.0f} s. "
                    f"Its last lines:\n{child.last_lines()}",
                    f"The whole log: {child.log_path}",
                )
            if now - said >= STATUS_EVERY_SECONDS:
                said = now
                self._say(f"{child.name}: not ready yet ({now - began:.0f} s)")
            time.sleep(POLL_SECONDS)
        self._say(done)

    def _require_children(self) -> None:
        for child in self._children[1:]:
            # Without live traffic (DEMO_RATE=0) the simulator has nothing left to do after the history.
            done = child is self._simulator and self.settings.live_rate == 0 and child.status == 0
            if not child.running and not done:
                raise _ended(child)
        for process in (self._kafka.process, self._redis.process):
            if process is not None and not process.running:
                raise _ended(process)

    def _reports(self) -> list[Published]:
        return [read_published(self.settings.redis_url, account_id) for account_id in self._accounts]

    def _missing(self) -> list[Published]:
        return [report for report in self._reports() if report.missing is not None]

    def _status(self) -> str:
        folded = events_folded(self.settings.worker_metrics_port)
        parts = ["events folded: " + ("not known yet" if folded is None else f"{folded:,}")]
        for report in self._reports():
            if report.revision:
                state = f"revision {report.revision} as of {report.as_of}, lag {report.lag_records}"
            else:
                state = report.missing or ""
            parts.append(f"{report.account_id}: {state}")
        return "; ".join(parts)

    def _say_where_to_look(self) -> None:
        settings, today = self.settings, datetime.now(UTC).date()
        account = self._accounts[0]
        report = f".venv/bin/mediana report --account {account} --from {today - timedelta(days=6)} --to {today}"
        lines = [
            f"  page       {settings.page_url}",
            f"  report     MEDIANA_REDIS_URL={settings.redis_url} {report}",
            f"  Redis      {settings.redis_url}, key mediana:{{{account}}}:report",
            f"  Kafka      {self._kafka.address}, topics mediana.*",
            f"  metrics    {metrics_url(settings.worker_metrics_port)} (worker)",
            f"             {metrics_url(settings.snapshot_metrics_port)} (snapshotter)",
            f"  logs       {settings.folder / 'logs'}",
        ]
        ending = "Ctrl-C ends it" if settings.seconds is None else f"it ends by itself in {settings.seconds:g} s"
        self._say("\n".join([f"everything runs; {ending}. Where to look:", "", *lines, ""]))

    def _relay(self, process: Process) -> None:
        """Say what a child has written since the last time."""
        lines = process.log_text().split("\n")[:-1]
        for line in lines[self._relayed.get(process.name, 0) :]:
            self._say(line)
        self._relayed[process.name] = len(lines)

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:5.1f} s] {text}", flush=True)

    def _hurry(self, _number: int, _frame: FrameType | None) -> None:
        """The second Ctrl-C: no more patience."""
        for process in (*self._children, self._redis.process, self._kafka.process):
            if process is not None:
                process.send_signal(signal.SIGKILL)


def _ended(process: Process) -> LocalStackError:
    return LocalStackError(
        f"{process.name} ended by itself (exit status {process.status}). Its last lines:\n{process.last_lines()}",
        f"The whole log: {process.log_path}",
    )


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


def main(environment: Mapping[str, str] = os.environ, program: Sequence[str] = PROGRAM) -> int:
    """Run the demo; what stands in its way is told on standard error, with exit status 1."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return Demo(DemoSettings.read(environment), environment, program).run()
    except LocalStackError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
