"""The command line: what it takes, what it prints where, and how it ends."""

import io
import itertools
import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aggregates.filters import Filters
from aggregates.history import Lateness
from streams.cli import list_rows
from streams.cli.arguments import parse_arguments
from streams.cli.main import COMMANDS, main

DAY_US = 86_400_000_000
ROOT = Path(__file__).parents[3]


def usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(arguments)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def words(command_line: str) -> list[str]:
    return command_line.split()


class Recorder:
    """Stands in for a module that runs a command: remembers the call, answers with a status or an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: str, answer: int | BaseException = 0) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answer = answer
        stand_in = ModuleType(f"streams.{module}")
        stand_in.__dict__["run"] = self._run
        monkeypatch.setitem(sys.modules, f"streams.{module}", stand_in)
        monkeypatch.setattr(f"streams.{module}", stand_in, raising=False)

    def _run(self, *arguments: Any) -> int:
        self.calls.append(arguments)
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


# --- what it takes ----------------------------------------------------------------------------------------------------


def test_replay_takes_its_fixed_form() -> None:
    found = parse_arguments(
        words(
            "replay a.jsonl b.jsonl --accounts acc.jsonl --account acme --from 2026-11-01 --to 2026-11-22 "
            "--origin Google --group sales --channel email --advisor ana --now 2026-11-22T12:00:00Z --lateness 60"
        )
    )
    assert found.files == [Path("a.jsonl"), Path("b.jsonl")]
    assert found.accounts == Path("acc.jsonl")
    assert (found.account, found.start, found.end) == ("acme", date(2026, 11, 1), date(2026, 11, 22))
    assert (found.origin, found.group, found.channel, found.advisor) == (["Google"], ["sales"], ["email"], ["ana"])
    assert found.now == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert found.lateness == 60.0


def test_replay_needs_nothing_but_files() -> None:
    found = parse_arguments(["replay", "a.jsonl"])
    assert (found.accounts, found.account, found.start, found.end, found.now) == (None,) * 5
    assert found.lateness == 3600.0
    assert found.origin == []


@pytest.mark.parametrize(
    "arguments",
    [
        "replay a.jsonl --origin Google --origin none --to 2026-11-22 --from 2026-11-01",
        "replay a.jsonl --origin Google none --to 2026-11-22 --from 2026-11-01",
        "replay --from 2026-11-01 --to 2026-11-22 --origin Google --origin none a.jsonl",
        "replay --origin Google none --from 2026-11-01 --to 2026-11-22 a.jsonl",
    ],
)
def test_filters_are_repeated_or_take_several_values_before_or_after_the_files(arguments: str) -> None:
    found = parse_arguments(arguments.split())
    assert (found.files, found.origin) == ([Path("a.jsonl")], ["Google", "none"])


def test_report_takes_its_fixed_form() -> None:
    found = parse_arguments(
        words("report --account acme --from 2026-11-01 --to 2026-11-01 --advisor ana bruno --group none")
    )
    assert (found.account, found.start, found.end) == ("acme", date(2026, 11, 1), date(2026, 11, 1))
    assert (found.advisor, found.group) == (["ana", "bruno"], ["none"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "COMMAND"),
        ("fly", "invalid choice: 'fly'"),
        ("replay", "EVENTS.jsonl"),
        ("replay --origin X", "EVENTS.jsonl"),
        ("replay a.jsonl --from 2026-11-01", "--from and --to go together"),
        ("replay a.jsonl --to 2026-11-01", "--from and --to go together"),
        ("replay a.jsonl --from 2026-11-02 --to 2026-11-01", "--from 2026-11-02 is after --to 2026-11-01"),
        ("replay a.jsonl --from 20261101 --to 2026-11-02", "'20261101' is not a date; write 2026-11-22"),
        ("replay a.jsonl --from 2026-02-30 --to 2026-11-02", "'2026-02-30' is not a date"),
        ("replay a.jsonl --now 2026-11-22T12:00:00", "is not an instant with offset"),
        ("replay a.jsonl --now yesterday", "is not an instant with offset"),
        ("replay a.jsonl --lateness -1", "'-1' is not a number of 0 or more"),
        ("replay a.jsonl --lateness nan", "'nan' is not a number of 0 or more"),
        ("replay a.jsonl --lateness inf", "'inf' is not a number of 0 or more"),
        ("replay a.jsonl --acc x", "unrecognized arguments: --acc"),
        ("report --from 2026-11-01 --to 2026-11-01", "--account"),
        ("report --account acme", "--from, --to"),
        ("simulate --days -1", "'-1' is not a whole number of 0 or more"),
        ("simulate --days 1.5", "'1.5' is not a whole number of 0 or more"),
        ("report --account acme --from 2026-11-01 --to 9999-12-31", "longer than 3660 days"),
        ("report --account acme --from 9999-12-31 --to 9999-12-31", "not within the years 1900 to 9998"),
        ("replay a.jsonl --from 0001-01-01 --to 0001-01-02", "not within the years 1900 to 9998"),
        ("report --account acme --from 2026-11-01 --to 2026-11-01 --origin" + " x{}" * 101, "a filter has 101 values"),
        (
            "replay a.jsonl --from 2026-11-01 --to 2026-11-01 --group" + " g{}" * 40 + " --advisor" + " a{}" * 40,
            "combine in 1600 ways",
        ),
        ("replay a.jsonl --now 0001-01-01T00:00:00+14:00", "is before 1970 or past the year 9998"),
        ("replay a.jsonl --now 9999-12-31T23:59:59-12:00", "is before 1970 or past the year 9998"),
        ("replay a.jsonl --lateness 1e300", "'1e300' is more than 1000000000"),
        ("dead-letters list --limit 1" + "0" * 5000, "is more than 1000000000"),
        ("simulate --days 3661", "'3661' is more than 3660 days"),
        ("topics", "action"),
        ("topics delete", "invalid choice: 'delete'"),
    ],
)
def test_a_command_line_without_sense_ends_with_status_2_and_says_why(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = itertools.count()
    assert says in usage_error([each.format(next(numbers)) for each in arguments.split()], capsys)


def test_every_command_has_a_body() -> None:
    helped = subprocess.run(
        [sys.executable, "-m", "streams.cli.main", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert all(f"\n    {name}" in helped for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: mediana {command}" in capsys.readouterr().out


# --- what it calls ----------------------------------------------------------------------------------------------------


def test_replay_hands_over_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Recorder(monkeypatch, "cli.replay")
    assert main(["replay", "a.jsonl", "--account", "acme", "--lateness", "0"]) == 0
    assert replay.calls == [([Path("a.jsonl")], None, "acme", None, None, Lateness(0, 30 * DAY_US))]


def test_report_hands_over_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Recorder(monkeypatch, "cli.report")
    assert (
        main(["report", "--account", "acme", "--from", "2026-11-01", "--to", "2026-11-02", "--channel", "email"]) == 0
    )
    assert report.calls[0][1:] == ("acme", date(2026, 11, 1), date(2026, 11, 2), Filters(channel=("email",)))


@pytest.mark.parametrize(
    ("arguments", "handed_over"),
    [
        ("snapshot", (None, False)),
        ("snapshot --account acme", ("acme", False)),
        ("snapshot --watch", (None, True)),
    ],
)
def test_snapshot_hands_over_its_arguments(
    monkeypatch: pytest.MonkeyPatch, arguments: str, handed_over: tuple[object, ...]
) -> None:
    rounds = Recorder(monkeypatch, "snapshots.command")
    assert main(arguments.split()) == 0
    assert rounds.calls[0][1:] == handed_over


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = Recorder(monkeypatch, "web.server")
    monkeypatch.setenv("MEDIANA_HTTP_PORT", "8181")
    assert main(["serve"]) == 0
    assert serve.calls[0][0].http_port == 8181


def test_the_status_of_a_command_is_that_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder(monkeypatch, "cli.replay", answer=1)
    assert main(["replay", "a.jsonl"]) == 1


# --- how it fails -----------------------------------------------------------------------------------------------------


def failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException) -> str:
    Recorder(monkeypatch, "cli.replay", answer=error)
    assert main(["replay", "a.jsonl"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_a_failure_is_one_line_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = failure(monkeypatch, capsys, RuntimeError("two\nlines"))
    assert text == "mediana: RuntimeError: two lines (MEDIANA_LOG_LEVEL=debug shows where)\n"


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(monkeypatch, capsys, FileNotFoundError(2, "No such file", "a.jsonl")) == (
        "mediana: there is no file a.jsonl\n"
    )


def test_a_wrong_setting_is_named_and_its_value_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDIANA_HTTP_PORT", "hunter2")
    assert main(["serve"]) == 1
    assert capsys.readouterr().err == "mediana: MEDIANA_HTTP_PORT: must be a whole number\n"


def test_an_unreachable_server_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDIANA_REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
    assert main(["report", "--account", "acme", "--from", "2026-11-01", "--to", "2026-11-01"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("mediana: Redis: ")
    assert "MEDIANA_REDIS_URL" in text
    assert "hunter2" not in text


def test_an_interrupt_ends_with_status_130_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Recorder(monkeypatch, "cli.replay", answer=KeyboardInterrupt())
    assert main(["replay", "a.jsonl"]) == 130
    assert capsys.readouterr() == ("", "")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    Recorder(monkeypatch, "cli.replay", answer=RuntimeError("deep inside"))
    assert main(["replay", "a.jsonl"]) == 1
    assert "Traceback" in caplog.text


# --- as a program -----------------------------------------------------------------------------------------------------


def program(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams.cli.main", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_business_time_reads_cases_and_prints_one_line_each() -> None:
    case = {
        "timezone": "America/Santiago",
        "schedule": {"mon": [["09:00", "13:00"], ["14:00", "18:00"]]},
        "holidays": [],
        "start": "2026-11-23T12:00:00-03:00",
        "end": "2026-11-23T15:00:00-03:00",
    }
    ended = program("business-time", stdin=f"{json.dumps(case)}\n{json.dumps({**case, 'holidays': ['2026-11-23']})}\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [json.loads(line)["seconds"] for line in ended.stdout.splitlines()] == [7200, 0]


def test_a_reader_who_leaves_is_no_reason_for_noise(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    events = tmp_path / "events.jsonl"
    events.write_text(
        '{"id": "1", "type": "contact.deleted", "account_id": "a", "contact_id": "c", '
        '"occurred_at": "2026-11-22T12:00:00Z"}\n'
    )
    ended = subprocess.run(
        [sys.executable, "-m", "streams.cli.main", "replay", str(events)],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert ended.returncode == 1
    assert "Error" not in ended.stderr


def test_replay_and_business_time_load_no_client_of_kafka_or_redis() -> None:
    code = (
        "import sys; from streams.cli import business_time, main, replay; "
        "print([name for name in ('aiokafka', 'redis', 'faust', 'aiohttp') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_the_version_is_printed() -> None:
    assert program("--version").stdout.startswith("mediana ")


def test_the_standard_input_of_business_time_is_that_of_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert main(["business-time"]) == 0
    assert capsys.readouterr().out == ""


def test_list_hands_over_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def run(*handed: Any) -> int:
        calls.append(handed)
        return 0

    monkeypatch.setattr(list_rows, "run", run)
    command = "list response --account acme --from 2026-11-01 --to 2026-11-02 --channel email --over 60 --order longest"
    assert main(words(command)) == 0
    ((_, account, asked),) = calls
    assert account == "acme"
    assert (asked.name, asked.start, asked.end) == ("response", date(2026, 11, 1), date(2026, 11, 2))
    assert (asked.filters, asked.over, asked.clock, asked.order) == (
        Filters(channel=("email",)),
        60,
        "elapsed",
        "longest",
    )


@pytest.mark.parametrize(
    ("command_line", "reason"),
    [
        ("list nothing --account acme", "invalid choice"),
        ("list response --account acme --from 2026-11-01", "--from and --to go together"),
        ("list response --account acme --over -1", "not a number of 0 or more"),
        ("list response", "--account"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(
    command_line: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reason in usage_error(words(command_line), capsys)
