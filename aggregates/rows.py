"""A day's counters one by one, at the finest grain its cube has: for those who compute numbers of their own.

A *row table* takes one kind of counter out of the finest slices (`aggregates.cube`): one row for each combination of
dimensions that occurred, with its count. Added up under the same filters, rows give the counts of the `metrics` object,
exactly; durations come as the bins of the sketch, so that quantiles computed from them are the published ones.

Two numbers cannot be had in rows that add up: interactions and active contacts are counts of *distinct* contacts, and a
contact reached by two advisors, or on two channels, belongs to both rows and is still one contact.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import NamedTuple

import msgspec

from aggregates.counters import business_bins, elapsed_bins, unpacked
from aggregates.cube import ADVISOR, CHANNEL, GROUP, ORIGIN, Cube, Slice, decode_slice, matches, slice_key
from aggregates.filters import Filters
from aggregates.report import instant_text
from aggregates.sketch import value_ms

Cell = str | int | float | None
Row = tuple[Cell, ...]
Values = tuple[str | None, ...]

WITHOUT_ADVISOR = ORIGIN | GROUP | CHANNEL
WITH_ADVISOR = WITHOUT_ADVISOR | ADVISOR
_DIMENSIONS = ("origin", "group", "channel", "advisor")


class RowTable(NamedTuple):
    """What a row table reads (the mask of its slices), its columns, and the rows of one slice after its dimensions."""

    mask: int
    counted: tuple[str, ...]
    rows: Callable[[Slice], Iterable[Row]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of a row's cells: the day, the slice's dimensions, what is counted."""
        return ("day", *_DIMENSIONS[: self.mask.bit_count()], *self.counted)


def slice_prefix(mask: int) -> bytes:
    """What the cube's fields of a mask's slices begin with, and no others do."""
    return slice_key(mask, (None,) * mask.bit_count())[:2]


def day_rows(table: RowTable, day: int, cube: Cube, filters: Filters) -> Iterator[Row]:
    """The rows of one day under filters, ordered by their dimensions, those without a value last.

    `cube` needs the fields that begin with `slice_prefix(table.mask)`; others are passed over. A filter by advisor
    leaves no rows where the table knows no advisor, as it makes the `metrics` object's box null.
    """
    if filters.advisor is not None and not table.mask & ADVISOR:
        return
    found: list[tuple[Values, bytes]] = []
    prefix = slice_prefix(table.mask)
    for key, data in cube.items():
        if key.startswith(prefix):
            values = _decode_key(key)[1:]
            if all(map(matches, filters.dimensions, values)):
                found.append((values, data))
    found.sort(key=lambda item: [(value is None, value or "") for value in item[0]])
    text = date.fromordinal(day).isoformat()
    for values, data in found:
        for row in table.rows(decode_slice(data)):
            yield (text, *values, *row)


# A key is `[mask, value, …]`; the mask is a number, the values are texts or nothing.
_decode_any_key = msgspec.msgpack.Decoder(tuple[int | str | None, ...]).decode


def _decode_key(key: bytes) -> tuple[str | None, ...]:
    return _decode_any_key(key)  # type: ignore[return-value]  # its first member, the number, is dropped at once


def _durations(box: str) -> Callable[[Slice], Iterator[Row]]:
    def rows(part: Slice) -> Iterator[Row]:
        vector = unpacked(getattr(part, box))
        for clock, bins in (("elapsed", elapsed_bins(vector)), ("business", business_bins(vector))):
            for index in sorted(bins):
                yield clock, round(value_ms(index) / 1000, 6), bins[index]

    return rows


def _conversations(part: Slice) -> Iterator[Row]:
    # A slice of the finest grain has one channel, which stands before the opener already.
    return ((opener, hour, n) for _, opener, hour, n in part.conversations)


def _closures(part: Slice) -> Iterator[Row]:
    return ((kind, n) for kind, n in (("closed", part.closed), ("transferred", part.transferred)) if n)


def _contacts(part: Slice) -> Iterator[Row]:
    statuses = (("live", part.live), ("deleted", part.deleted), ("merged", part.merged))
    return ((status, n) for status, n in statuses if n)


def _outcomes(part: Slice) -> Iterator[Row]:
    return ((int(engaged), int(closed), int(resolved), n) for _, engaged, closed, resolved, n in part.origins)


def _waiting(part: Slice) -> Iterator[Row]:
    if part.waiting:
        yield part.waiting, part.snoozed, instant_text(part.oldest_ms)


_DURATION = ("clock", "seconds", "count")

ROW_TABLES: Mapping[str, RowTable] = {
    "first_responses": RowTable(WITH_ADVISOR, _DURATION, _durations("first_response")),
    "responses": RowTable(WITH_ADVISOR, _DURATION, _durations("response")),
    "contacts": RowTable(WITHOUT_ADVISOR, ("status", "count"), _contacts),
    "conversations": RowTable(WITHOUT_ADVISOR, ("opener", "hour", "count"), _conversations),
    "closures": RowTable(WITH_ADVISOR, ("kind", "count"), _closures),
    "outcomes": RowTable(WITHOUT_ADVISOR, ("engaged", "closed", "resolved", "count"), _outcomes),
    "waiting": RowTable(WITHOUT_ADVISOR, ("contacts", "snoozed", "oldest"), _waiting),
}
"""The row tables by their names in the address."""
