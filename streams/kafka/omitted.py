"""Stands for records that are not read: beyond the size limit of a batch, or in a damaged one.

They stand in the stream as one record, at the offset of the first of them, whose value is an `Omitted`. It becomes a
dead letter that names them all, and the position moves past them.
"""

from typing import Self


class Omitted(bytes):
    """An empty value that says which records are missing, and why."""

    reason: str
    detail: str
    last_offset: int

    def __new__(cls, reason: str, detail: str, last_offset: int) -> Self:
        """`reason` is a short stable word, `detail` tells a person what to mend."""
        omitted = super().__new__(cls)
        omitted.reason, omitted.detail, omitted.last_offset = reason, detail, last_offset
        return omitted
