"""The lists behind the numbers as CSV: one line for each row, the same columns always."""

from collections.abc import Mapping
from typing import Any, Final

from streams.web.csv import Cell, Row

_HEAD: Final = ("contact_id", "at", "day", "origin", "group")
_ANSWER: Final = (
    *(*_HEAD, "channel", "advisor", "conversation_id", "from", "elapsed_seconds", "business_seconds"),
    *("without_schedule", "within_target_elapsed", "within_target_business"),
)
_SEPARATOR: Final = ";"
"""Between several values in one cell."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "first_response": _ANSWER,
    "response": _ANSWER,
    "interactions": (*_HEAD, "advisors", "channels"),
    "advisor_contacts": (*_HEAD, "channel", "advisor"),
    "new_contacts": (*_HEAD, "channel", "by", "deleted", "merged"),
    "active_contacts": ("contact_id", "at", "origin", "group", "channel", "actions_days"),
    "new_conversations": (*_HEAD, "channel", "conversation_id", "opener"),
    "closed_conversations": (*_HEAD, "channel", "conversation_id", "advisor", "kind", "reason"),
    "origins": (*_HEAD, "channel", "engaged", "closed", "resolved", "at_rest"),
    "waiting": (*_HEAD, "channel", "snoozed", "elapsed_seconds", "business_seconds", "without_schedule"),
}
"""The columns of each list."""

ROW_TABLES: Final[Mapping[str, str]] = {
    "first_responses": "first_response",
    "responses": "response",
    "contacts": "new_contacts",
    "conversations": "new_conversations",
    "closures": "closed_conversations",
    "outcomes": "origins",
    "waiting": "waiting",
}
"""The tables of `rows.csv`, and the list that each of them is."""


def cells(columns: tuple[str, ...], row: Mapping[str, Any]) -> Row:
    """The cells of a list's row. What is `null` is an empty cell; several values stand in one."""
    within: Mapping[str, Any] = row.get("within_target") or {}
    flat = {**row, **{f"within_target_{clock}": value for clock, value in within.items()}}
    return [_cell(flat.get(column)) for column in columns]


def _cell(value: Any) -> Cell:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return _SEPARATOR.join(value)
    cell: Cell = value
    return cell
