"""Every bound on what comes from outside: one row each, and `docs/limits.md` shows them all.

A limit is enforced where the value is decoded or taken in, by the module that its row names. Values that fit are never
changed; what happens to one that does not fit is part of the row.
"""

from typing import Final, NamedTuple


class Limit(NamedTuple):
    """One bound."""

    name: str
    """The constant's name, in lower case."""
    value: int
    unit: str
    of: str
    """What is bounded."""
    beyond: str
    """What happens to a value beyond the limit."""
    enforced_in: str
    """Path of the module that enforces it, from the repository's root."""


MAX_RECORD_BYTES: Final = 1 << 20
"""Kafka's own default limit of a request."""
MAX_ID_LENGTH: Final = 256
MAX_NAME_LENGTH: Final = 1024

# Of an account's settings: some ten times what the largest team needs, and cheap enough to compile at any time.
MAX_SCHEDULES: Final = 1_000
MAX_SCHEDULE_VERSIONS: Final = 100
MAX_VERSIONS: Final = 2_000
"""Compiled they take 50 ms and 3 MB."""
MAX_DAY_INTERVALS: Final = 24
MAX_SPECIAL_DAYS: Final = 2_000
MAX_HOLIDAYS: Final = 2_000
MAX_GROUPS: Final = 1_000
MAX_ADVISORS: Final = 10_000
MAX_SNOOZE_REASONS: Final = 200
MAX_EFFECTIVE_CHANNELS: Final = 100
MAX_TARGET_SECONDS: Final = 366 * 86_400
MAX_STORED_SETTINGS_BYTES: Final = MAX_RECORD_BYTES
"""What is stored is read like a record, so it must fit into one."""

LIMITS: Final = (
    Limit(
        "max_record_bytes",
        MAX_RECORD_BYTES,
        "bytes",
        "value of one event or settings record",
        "refused as `oversize`, a dead letter",
        "schemas/events.py",
    ),
    Limit(
        "max_id_length",
        MAX_ID_LENGTH,
        "characters",
        "any id: of an account, contact, conversation, advisor, group or event",
        "refused as `malformed`, a dead letter",
        "schemas/events.py",
    ),
    Limit(
        "max_name_length",
        MAX_NAME_LENGTH,
        "characters",
        "a name or free text: an origin, a reason, the name of a group or advisor",
        "refused as `malformed`, a dead letter",
        "schemas/events.py",
    ),
    Limit(
        "max_schedules",
        MAX_SCHEDULES,
        "schedules",
        "schedules of an account",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_schedule_versions",
        MAX_SCHEDULE_VERSIONS,
        "versions",
        "versions of one schedule",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_versions",
        MAX_VERSIONS,
        "versions",
        "versions of all schedules of an account together",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_day_intervals",
        MAX_DAY_INTERVALS,
        "intervals",
        "opening hours of one weekday or special day",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_special_days",
        MAX_SPECIAL_DAYS,
        "days",
        "days with special hours in one version of a schedule",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_holidays",
        MAX_HOLIDAYS,
        "days",
        "holidays in one version of a schedule",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_groups",
        MAX_GROUPS,
        "groups",
        "groups of an account",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_advisors",
        MAX_ADVISORS,
        "advisors",
        "advisors of an account",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_snooze_reasons",
        MAX_SNOOZE_REASONS,
        "reasons",
        "reasons that only snooze a contact",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_effective_channels",
        MAX_EFFECTIVE_CHANNELS,
        "channels",
        "effective channels of an account",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_target_seconds",
        MAX_TARGET_SECONDS,
        "seconds",
        "a target of an account (366 days)",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_stored_settings_bytes",
        MAX_STORED_SETTINGS_BYTES,
        "bytes",
        "an account's settings as Redis keeps them",
        "refused as `oversize`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
)
"""All limits, in the order of the page."""
