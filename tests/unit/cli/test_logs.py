"""Log lines: for people or for collectors, and without secrets in either form."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import logs
from streams.config import Config


@contextmanager
def undisturbed() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A root logger that nobody has set up, not even the test runner, and what it writes to stderr."""
    root, stderr = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    try:
        with redirect_stderr(stderr):
            yield root, stderr
    finally:
        root.handlers = handlers
        root.setLevel(level)


def test_a_json_line_has_time_level_logger_and_message() -> None:
    with undisturbed() as (root, stderr):
        logs.set_up("json", "info")
        record = logging.LogRecord("streams.intake", logging.WARNING, "f.py", 1, "shard %d: %s", (3, "gone"), None)
        record.created = 1795341600.123
        root.handle(record)
        assert stderr.getvalue() == (
            '{"time":"2026-11-22T10:00:00.123Z","level":"warning",'
            '"logger":"streams.intake","message":"shard 3: gone"}\n'
        )


def test_what_a_caller_adds_stands_among_the_fields() -> None:
    with undisturbed() as (root, stderr):
        logs.set_up("json", "info")
        root.info("done", extra={"shard": 3, "topic": "mediana.contacts", "took": 0.5, "path": Path("/x"), "gap": None})
        assert json.loads(stderr.getvalue())["fields"] == {
            "shard": 3,
            "topic": "mediana.contacts",
            "took": 0.5,
            "path": "/x",
            "gap": None,
        }


def test_a_traceback_and_a_forged_newline_stay_in_one_json_line() -> None:
    with undisturbed() as (root, stderr):
        logs.set_up("json", "info")
        try:
            raise ValueError("ñ\nsecond")
        except ValueError:
            root.exception("what\n{}")
        (line,) = stderr.getvalue().splitlines()
        decoded = json.loads(line)
        assert decoded["message"] == "what\n{}"
        assert decoded["exception"].endswith("ValueError: ñ\nsecond")


BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
FORGED = "2026-11-22 10:00:00,123 CRITICAL streams.worker.run: forged"


def lines_of(text: str) -> list[str]:
    """The lines that any reader may see, each kind of break counted."""
    return re.split(f"[{BREAKS}]", text.rstrip("\n"))


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("char", [*BREAKS, "\x1b", "\x9b", "\b", "\0", "\u202e", "\u200b", "\ud800", "\U000e0001"])
def test_no_value_forges_a_line_or_moves_a_cursor(log_format: str, char: str) -> None:
    with undisturbed() as (root, stderr):
        logs.set_up(log_format, "info")
        try:
            raise ValueError(f"account {char}{FORGED}")
        except ValueError:
            root.exception("account %s", f"a{char}{FORGED}", extra={"account": f"a{char}b"}, stack_info=True)
        text = stderr.getvalue()
    assert text.endswith("\n")
    assert char not in text.removesuffix("\n") or char == "\n"
    first, *below = lines_of(text)
    assert all(line.startswith(logs.INDENT) for line in below)
    if log_format == "json":
        assert (below, json.loads(first)["message"]) == ([], f"account a{char}{FORGED}")
        assert json.loads(first)["fields"]["account"] == f"a{char}b"
    else:
        assert first.endswith(f"ERROR root: account a{char.encode('unicode_escape', 'surrogatepass').decode()}{FORGED}")
        text.encode()


@given(st.text(st.characters(exclude_categories=())))
def test_one_line_is_one_line_and_what_can_be_seen_stays(text: str) -> None:
    shown = logs.one_line(text)
    assert len((shown + ".").splitlines()) == 1
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    if text.isprintable():
        assert shown == text


def test_names_of_people_stay_as_they_are() -> None:
    for text in ("Ana Pérez", "Ventas\u00a0Norte", "日本", "🙂", "back\\slash"):
        assert logs.one_line(text) == text


def test_text_is_for_people() -> None:
    with undisturbed() as (root, stderr):
        logs.set_up("text", "info")
        root.info("hello")
        root.debug("not this")
        assert stderr.getvalue().endswith(" INFO root: hello\n")
        assert not logs.is_json()


def test_setting_up_again_changes_the_form_and_writes_no_line_twice() -> None:
    with undisturbed() as (root, stderr):
        logs.set_up("text", "info")
        logs.set_up("json", "debug")
        root.debug("once")
        assert json.loads(stderr.getvalue())["message"] == "once"
        assert logs.is_json()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_shows_a_secret(log_format: str) -> None:
    with undisturbed() as (root, stderr):
        secrets = ("hunter2", "hunter2-and-more", 'qu"ote\\d', "abc")
        logs.set_up(log_format, "debug", secrets)
        root.debug("Request: %s", b"\x00mediana\x00hunter2", extra={"url": "redis://u:hunter2-and-more@h"})
        root.info('it is qu"ote\\d, abc')
        try:
            raise ValueError("hunter2")
        except ValueError:
            root.exception("failed")
        text = stderr.getvalue()
        assert "hunter2" not in text
        assert "and-more" not in text
        assert "ote" not in text
        assert "abc" in text, "three letters are no secret worth an unreadable log"


def test_the_secrets_of_the_settings_are_their_passwords_not_their_addresses() -> None:
    config = Config.from_env(
        {
            "MEDIANA_REDIS_URL": "rediss://mediana:p%40ss-word@cache.example:6380/1",
            "MEDIANA_KAFKA_SASL_PASSWORD": "hunter2",
        }
    )
    assert set(config.secrets()) == {"hunter2", "p%40ss-word", "p@ss-word"}
    assert Config().secrets() == ()


def mediana(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
    return subprocess.run(
        [sys.executable, "-m", "streams.cli.main", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )


def test_why_a_command_ends_is_told_in_the_form_of_its_log() -> None:
    ended = mediana("report", "--account", "a", "--from", "x", "--to", "y", MEDIANA_LOG_FORMAT="json")
    assert ended.returncode == 2, "a command line that makes no sense is argparse's affair"
    ended = mediana("worker", MEDIANA_LOG_FORMAT="json", MEDIANA_PARTITIONS="hunter2")
    assert ended.returncode == 1
    line = json.loads(ended.stderr)
    assert (line["level"], line["message"]) == ("critical", "MEDIANA_PARTITIONS: must be a whole number")


def test_an_unknown_form_is_refused_with_the_other_settings() -> None:
    ended = mediana("worker", MEDIANA_LOG_FORMAT="xml")
    assert (ended.returncode, ended.stderr) == (1, "mediana: MEDIANA_LOG_FORMAT: must be one of text, json\n")


def test_a_library_that_fills_values_in_before_it_logs_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "_MOST_KINDS", 3)
    shows = logs.once_a_minute("aiokafka")

    def shown(text: str) -> bool:
        return shows(logging.LogRecord("aiokafka.client", logging.WARNING, "", 0, text, None, None))

    assert [shown(text) for text in ("1", "2", "3", "1")] == [True, True, True, False]
    assert shown("4")  # and what was said before is forgotten
    assert shown("1")
    assert not shown("4")
