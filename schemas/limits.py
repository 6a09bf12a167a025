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
)
"""All limits, in the order of the page."""
