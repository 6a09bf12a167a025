"""Errors of the schemas, split by what happens next.

InvalidRecord                 the record is dead-lettered with `reason`; the next one is processed
├── InvalidEvent              an event that breaks the contract
└── InvalidSettings           account settings that break the contract: refused whole
UnknownType                   an event type this version does not know: skipped and counted
"""

EVENT_REASONS = ("malformed", "key-mismatch", "wrong-topic", "future", "oversize")
"""Why an event is refused."""

SETTINGS_REASONS = ("malformed", "key-mismatch", "oversize", "unknown-schedule", "unknown-group")
"""Why account settings are refused."""


class InvalidRecord(ValueError):
    """A record that cannot be used.

    `reason` is a short stable word for metrics and dead letters, one of those above; `detail` tells a person what to
    mend.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class InvalidEvent(InvalidRecord):
    """An event that breaks the contract of the event topics."""


class InvalidSettings(InvalidRecord):
    """Account settings that break their contract; the account keeps the settings it had."""


class UnknownType(Exception):
    """An event of a type this version does not know; skipped and counted, so that producers may go ahead of us."""

    def __init__(self, type_name: str) -> None:
        super().__init__(f"unknown event type {type_name[:80]!r}")
        self.type_name = type_name
