"""How the program logs: lines for people, or one JSON object a line for collectors; never a secret in either.

    text   2026-11-22 10:00:00,123 INFO streams.intake.service: shards of this worker: 0, 1
    json   {"time":"2026-11-22T10:00:00.123Z","level":"info","logger":"streams.intake.service","message":"shards of …"}

What a caller gives as `extra=` stands beside these four, under `fields`, and a traceback under `exception`.
"""

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

TEXT: Final = "text"
JSON: Final = "json"

HIDDEN = "***"

LEAST_SECRET = 4
"""Shorter ones are not looked for: a password `a` would make every line unreadable, and hides nothing."""

_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Discreet(logging.Formatter):
    """A formatter that puts `***` where a line would show one of `secrets`.

    None of our own lines has one. Libraries are another matter: at level debug aiokafka prints its requests, and the
    one that logs in holds user and password.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(_TEXT_FORMAT)
        shown = {form for secret in secrets if len(secret) >= LEAST_SECRET for form in (secret, repr(secret)[1:-1])}
        # A secret that begins with another one is looked for first, or its end would stay.
        self._secrets = sorted(shown, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


class TextFormatter(_Discreet):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if there is one."""
        return self.clean(super().format(record))


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
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"))

    def _value(self, value: object) -> object:
        return value if value is None or isinstance(value, bool | int | float) else self.clean(str(value))


def set_up(log_format: str, level: str, secrets: Iterable[str] = ()) -> None:
    """Log to stderr from now on; call again once the settings are read. An unknown format or level is the default.

    Who named a wrong one is told so when the settings are checked, not here. Where logging is in other hands already
    (a test runner's, say), it stays there.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler(sys.stderr))
        root.handlers[0].setFormatter(TextFormatter())
    ours = [handler for handler in root.handlers if isinstance(handler.formatter, _Discreet)]
    for handler in ours:
        handler.setFormatter(JsonFormatter(secrets) if log_format.lower() == JSON else TextFormatter(secrets))
    if ours:
        root.setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.INFO))


def is_json() -> bool:
    """Whether log lines are JSON objects now."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)
