"""Logging: lines for people or JSON objects for collectors, without secrets.

    text   2026-11-22 10:00:00,123 INFO streams.intake.service: shards of this worker: 0, 1
    json   {"time":"2026-11-22T10:00:00.123Z","level":"info","logger":"streams.intake.service","message":"shards of …"}

A line is one line, whatever a value holds: line breaks, escapes of terminals and other characters that nobody sees are
written as `\\n`, `\\x1b`, `\\u2028`, so no line can be forged. A traceback stands below its line, indented.

What a caller gives as `extra=` stands beside these four, under `fields`, and a traceback under `exception`.
"""

import json
import logging
import sys
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from streams.secrecy import Hider, without_userinfo

TEXT: Final = "text"
JSON: Final = "json"

_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_MOST_KINDS = 1_000
"""Kinds of lines that are remembered."""

_NOISY = ("faust", "mode", "aiokafka", "asyncio")

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


INDENT = "    "
"""Before each line of a traceback: a line of the log never begins so."""


def one_line(text: str) -> str:
    """The text without anything that breaks a line, moves a cursor, or is not seen: escaped as in Python."""
    return text if text.isprintable() else "".join(map(_seen, text))


def shown(text: str) -> str:
    """A line for people, without anything that breaks it and without a secret, whatever a library put into it."""
    return one_line(_hiding.clean(without_userinfo(text)))


class _Hiding:
    """What is hidden in this process, once it is known."""

    def __init__(self) -> None:
        self.clean: Callable[[str], str] = Hider().clean


_hiding = _Hiding()


def _seen(char: str) -> str:
    if not _is_hidden(char):
        return char
    return char.encode("unicode_escape", "surrogatepass").decode()


def _is_hidden(char: str) -> bool:
    """Control and format characters, surrogates, unassigned ones, and both separators of lines and paragraphs."""
    return not char.isprintable() and (unicodedata.category(char)[0] == "C" or char in "\u2028\u2029")


class _Discreet(logging.Formatter):
    """A formatter that puts `***` where a line would show one of `secrets`.

    None of our own lines has one. Libraries are another matter: at level debug aiokafka prints its requests, and the
    one that logs in holds user and password.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(_TEXT_FORMAT)
        self._hider = Hider(secrets)

    def clean(self, text: str) -> str:
        """The text without secrets."""
        return self._hider.clean(text)


class TextFormatter(_Discreet):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if there is one."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        record.message = self.clean(record.message)  # before it is split into lines: a secret may hold line breaks
        lines = [self.formatMessage(record)]
        if record.exc_info:
            lines += _indented(self.clean(self.formatException(record.exc_info)))
        elif record.exc_text:
            lines += _indented(self.clean(record.exc_text))
        if record.stack_info:
            lines += _indented(self.clean(self.formatStack(record.stack_info)))
        # Secrets first: one that holds a character which is escaped would not be found any more.
        first, *below = (one_line(self.clean(line)) for line in lines)
        return "\n".join((first, *below))


def _indented(trace: str) -> list[str]:
    return [INDENT + line for line in trace.split("\n")]


class JsonFormatter(_Discreet):
    """One JSON object a line, whatever a message holds: nobody forges a line by a newline in a value."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as an object: time (UTC), level, logger, message, and where given exception and fields."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.removesuffix("+00:00") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.clean(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = self.clean(self.formatException(record.exc_info))
        fields = {name: self._value(value) for name, value in vars(record).items() if name not in _OWN_FIELDS}
        if fields:
            line["fields"] = fields
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        if text.isprintable():
            return text
        # JSON itself escapes only what is below U+0020.
        return "".join(json.dumps(char)[1:-1] if _is_hidden(char) else char for char in text)

    def _value(self, value: object) -> object:
        return value if value is None or isinstance(value, bool | int | float) else self.clean(str(value))


def set_up(log_format: str, level: str, secrets: Iterable[str] = ()) -> None:
    """Log to stderr from now on; call again once the settings are read. An unknown format or level is the default.

    Who named a wrong one is told so when the settings are checked, not here. Where logging is in other hands already
    (a test runner's, say), it stays there.
    """
    secrets = tuple(secrets)
    _hiding.clean = Hider(secrets).clean
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler(sys.stderr))
        root.handlers[0].setFormatter(TextFormatter())
    ours = [handler for handler in root.handlers if isinstance(handler.formatter, _Discreet)]
    for handler in ours:
        handler.setFormatter(JsonFormatter(secrets) if log_format.lower() == JSON else TextFormatter(secrets))
    if ours:
        root.setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.INFO))


def once_a_minute(library: str) -> Callable[[logging.LogRecord], bool]:
    """A log filter that lets each kind of line of a chatty library through once a minute.

    A broker that is away gives ten lines a second. Lines are of one kind when their wording is, before values are
    filled in.
    """
    said: dict[tuple[str, str], float] = {}

    def shows(record: logging.LogRecord) -> bool:
        if not record.name.startswith(f"{library}."):
            return True
        kind = (record.name, str(record.msg))
        if record.created - said.get(kind, -60.0) < 60:
            return False
        if len(said) >= _MOST_KINDS:  # of a library that fills values in before it logs
            said.clear()
        said[kind] = record.created
        return True

    return shows


def calm_libraries() -> None:
    """For a program that runs for long: let what it uses say only what matters, and seldom. Not at level debug."""
    root = logging.getLogger()
    if root.isEnabledFor(logging.DEBUG):
        return
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for handler in root.handlers:
        handler.addFilter(once_a_minute("aiokafka"))


def is_json() -> bool:
    """Whether log lines are JSON objects now."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)
