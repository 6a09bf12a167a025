"""Log lines: for people or for collectors, and without secrets in either form."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import pytest

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
