"""The boxes of the report: the `metrics` object of any range of days under any filters, each from the rows it counts.

Which facts a box counts, and by which of their dimensions filters choose, stands here and in `aggregates/lists.py`,
which shows the same rows.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

import numpy as np

from aggregates import facts
from aggregates.day_block import KINDS, OTHER, Numbers
from aggregates.filters import FILTERED, Filters, Values
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period
from aggregates.quantiles import Durations, order_of
from aggregates.rows import KindRows, Rows, by_name, counts, distinct, tally
from aggregates.sketch import DISTRIBUTION_EDGES_MS
from schemas.accounts import WEEKDAYS
from schemas.limits import MAX_TABLE_ROWS

Metrics = dict[str, Any]

_BY_ADVISOR: Final = (facts.FIRST_RESPONSE, facts.RESPONSE, facts.TOUCH, facts.CLOSED, facts.UNCOUNTED)
TABLES: Final = ("advisor", "group", "channel")
_UP_TO_SECONDS: Final = [*(edge / 1000 for edge in DISTRIBUTION_EDGES_MS), None]
_CLOCKS: Final = (
    ("elapsed", "elapsed_ms", facts.WITHIN_ELAPSED),
    ("business", "business_ms", facts.WITHIN_BUSINESS),
)
_ORIGIN_FLAGS: Final = {
    "engaged": facts.ENGAGED,
    "closed": facts.CLOSED_ONCE,
    "resolved": facts.RESOLVED,
    "at_rest": facts.AT_REST,
}


class Selection(NamedTuple):
    """The rows of a range that match filters, by box."""

    first_response: KindRows
    response: KindRows
    touches: KindRows
    actions: KindRows
    started: KindRows
    closed: KindRows
    uncounted: KindRows
    new_contacts: KindRows
    origins: KindRows
    waiting: KindRows


def select(rows: Rows, filters: Filters, cut_ms: int | None = None) -> Selection:
    """The rows of each box; with a cut, only those whose instant lies before it.

    The instant of a first response is then the later of creation and answer: what was not there yet is left out.
    """
    contacts = rows.kind(facts.CONTACT)
    present = contacts.take((contacts["flags"] & (facts.DELETED | facts.MERGED)) == 0)
    found = Selection(
        first_response=rows.kind(facts.FIRST_RESPONSE).matching(filters, advisor=True),
        response=rows.kind(facts.RESPONSE).matching(filters, advisor=True),
        touches=rows.kind(facts.TOUCH).matching(filters, advisor=True),
        actions=rows.kind(facts.ACTION).matching(filters),
        started=rows.kind(facts.STARTED).matching(filters),
        closed=rows.kind(facts.CLOSED).matching(filters, advisor=True),
        uncounted=rows.kind(facts.UNCOUNTED).matching(filters, advisor=True),
        new_contacts=contacts.matching(filters, group="entry_group"),
        origins=present.matching(filters),
        waiting=rows.kind(facts.WAITING).matching(filters),
    )
    if cut_ms is None:
        return found
    created = np.full(len(rows.contacts), np.iinfo(np.int64).min)
    created[contacts["contact"]] = contacts["at_ms"]
    answers = found.first_response
    known = np.maximum(answers["at_ms"], created[answers["contact"]])
    before = Selection(*(box.take(box["at_ms"] < cut_ms) for box in found))
    return before._replace(first_response=answers.take(known < cut_ms))


def metrics(
    period: Period,
    rows: Rows,
    filters: Filters,
    calendar: LocalCalendar,
    *,
    as_of_ms: int | None = None,
    tables: bool = True,
) -> Metrics:
    """The metrics object of a period from the rows of its days.

    Hours count as occurred once they have begun by `as_of_ms`; `None` counts all of them. Where a table would have more
    rows than `MAX_TABLE_ROWS`, `rows_left_out` says how many it lacks.
    """
    boxes = _Boxes(period, select(rows, filters), filters)
    document = boxes.whole()
    document["heatmap_occurrences"] = occurrences(period, calendar, as_of_ms)
    if tables:
        left_out = {}
        for name in TABLES:
            values, left_out[name] = _table_values(rows, name, getattr(filters, name))
            document[f"by_{name}"] = boxes.table(name, values, rows)
        if any(left_out.values()):
            document["rows_left_out"] = left_out
    return document


def metrics_to_date(period: Period, rows: Rows, filters: Filters, calendar: LocalCalendar, cut_ms: int) -> Metrics:
    """The metrics of an earlier period up to an instant: what its report would have shown of it then.

    Facts that say what a contact is now are left out: origins, who waits, and how many were deleted or merged.
    """
    document = _Boxes(period, select(rows, filters, cut_ms), filters).whole()
    document["heatmap_occurrences"] = occurrences(period, calendar, cut_ms - 1)
    del document["origins"], document["waiting"]
    if document["new_contacts"] is not None:
        del document["new_contacts"]["deleted"], document["new_contacts"]["merged"]
    return document


def occurrences(period: Period, calendar: LocalCalendar, as_of_ms: int | None) -> dict[str, list[int]]:
    """How often each hour of each weekday has begun within the period, by `as_of_ms` if given."""
    cells = [[0] * 24 for _ in WEEKDAYS]
    for day in period.days:
        hours = cells[(day - 1) % 7]
        for hour, times in enumerate(calendar.hours_of_day(day, as_of_ms)):
            hours[hour] += times
    return dict(zip(WEEKDAYS, cells, strict=True))


def instant_text(instant_ms: int | None) -> str | None:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    if instant_ms is None:
        return None
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- the report as a whole -------------------------------------------------------------------------------------------


class _Times:
    """The rows of one of the two times, and their durations on both clocks."""

    def __init__(self, rows: KindRows) -> None:
        self.rows = rows
        self.clocks = {clock: Durations(rows[column]) for clock, column, _ in _CLOCKS}

    def by(self, codes: Numbers, length: int) -> list[Metrics]:
        """How many, and the quantiles, of the rows of each code."""
        elapsed, business = (self.clocks[clock].quantiles_by(codes, length, (0.5, 0.9)) for clock, _, _ in _CLOCKS)
        return [
            {
                "count": count,
                "elapsed": {"median": elapsed_median, "p90": elapsed_p90},
                "business": {"median": business_median, "p90": business_p90},
            }
            for count, elapsed_median, elapsed_p90, business_median, business_p90 in zip(
                counts(codes, length), *elapsed, *business, strict=True
            )
        ]

    def boxes(self, codes: Numbers, length: int) -> list[Metrics]:
        """The same, with the shares within target and how many had no schedule."""
        flags = self.rows["flags"]
        targeted = _counts_with(flags, facts.TARGETED, codes, length)
        within = {clock: _counts_with(flags, flag, codes, length) for clock, _, flag in _CLOCKS}
        without_schedule = _counts_with(flags, facts.WITHOUT_SCHEDULE, codes, length)
        return [
            box
            | {
                "within_target": {
                    clock: found[code] / targeted[code] if targeted[code] else None for clock, found in within.items()
                },
                "without_schedule": without_schedule[code],
            }
            for code, box in enumerate(self.by(codes, length))
        ]

    def distribution(self) -> dict[str, list[Metrics]]:
        return {
            clock: [
                {"up_to": up_to, "count": count}
                for up_to, count in zip(_UP_TO_SECONDS, times.distribution(), strict=True)
            ]
            for clock, times in self.clocks.items()
        }


class _Boxes:
    def __init__(self, period: Period, selection: Selection, filters: Filters) -> None:
        self._by_advisor = filters.advisor is not None
        if not self._by_advisor:  # contacts are counted once for each table: that is faster when they are in order
            in_order = order_of(selection.actions["contact"])
            selection = selection._replace(actions=selection.actions.take(in_order))
        self._rows = selection
        self._times = {name: _Times(getattr(selection, name)) for name in ("first_response", "response")}
        self._first_day = period.days.start
        self._dates = [date.fromordinal(day).isoformat() for day in period.days]

    def whole(self) -> Metrics:
        rows = self._rows
        by_advisor = self._by_advisor
        return {
            **{name: self._durations(times) for name, times in self._times.items()},
            "interactions": self._interactions(),
            "new_contacts": None if by_advisor else self._new_contacts(),
            "new_conversations": None if by_advisor else self._new_conversations(),
            "closed_conversations": self._closed(),
            "origins": None if by_advisor else _origins(rows.origins),
            "heatmap": None if by_advisor else _heatmap(rows.started),
            "waiting": None if by_advisor else waiting_box(rows.waiting),
            "uncounted_advisor_messages": rows.uncounted.size,
        }

    def _days(self, rows: KindRows) -> Numbers:
        """The day of each row, counted from the period's first: two bytes are enough for it."""
        return (rows["day"] - self._first_day).astype(np.uint16)

    def _by_day(self, days: Numbers) -> dict[str, int]:
        return dict(zip(self._dates, counts(days, len(self._dates)), strict=True))

    def _durations(self, times: _Times) -> Metrics:
        days = times.by(self._days(times.rows), len(self._dates))
        return {
            **times.boxes(*_all_alike(times.rows))[0],
            "distribution": times.distribution(),
            "by_day": dict(zip(self._dates, days, strict=True)),
        }

    def _interactions(self) -> Metrics:
        touches = self._rows.touches
        days = self._days(touches)
        contacts = self._by_day(distinct(days, touches["visit"])[0])
        pairs = self._by_day(distinct(days, touches["advisor"], touches["visit"])[0])
        return {
            "contacts": sum(contacts.values()),
            "advisor_contacts": sum(pairs.values()),
            "by_day": {day: {"contacts": contacts[day], "advisor_contacts": pairs[day]} for day in self._dates},
        }

    def _new_contacts(self) -> Metrics:
        rows = self._rows.new_contacts
        return {**_contact_counts(rows, *_all_alike(rows))[0], "by_day": self._by_day(self._days(rows))}

    def _new_conversations(self) -> Metrics:
        started, actions = self._rows.started, self._rows.actions
        box = _conversation_counts(started, actions, *_all_alike(started), _all_alike(actions)[0])[0]
        return {**box, "by_day": self._by_day(self._days(started))}

    def _closed(self) -> Metrics:
        closed = self._rows.closed
        return {**_closed_counts(closed, *_all_alike(closed))[0], "by_day": self._by_day(self._days(closed))}

    def table(self, name: str, values: Sequence[str | None], rows: Rows) -> list[Metrics]:
        """The report once more for each value of a dimension, in few boxes."""
        chosen = self._rows
        length = len(values) + 1  # one more for all other values, which is not shown
        place_of = np.full(len(rows.names(name)), len(values), dtype=np.min_scalar_type(len(values)))
        for place, value in enumerate(values):
            place_of[rows.code(name, value)] = place

        def places(box: KindRows, column: str = name) -> Numbers:
            found: Numbers = place_of[box[column]]
            return found

        touches, closed, waiting = chosen.touches, chosen.closed, chosen.waiting
        boxes: dict[str, Sequence[Metrics | None]] = {
            **{box: times.boxes(places(times.rows), length) for box, times in self._times.items()},
            "interactions": _interaction_counts(touches, places(touches), length),
        }
        if name != "advisor" and not self._by_advisor:
            new, started, actions = chosen.new_contacts, chosen.started, chosen.actions
            entered = places(new, "entry_group" if name == "group" else name)
            boxes["new_contacts"] = _contact_counts(new, entered, length)
            boxes["new_conversations"] = _conversation_counts(
                started, actions, places(started), length, places(actions)
            )
        boxes["closed_conversations"] = _closed_counts(closed, places(closed), length)
        if name != "advisor":
            boxes["waiting"] = [None] * length if self._by_advisor else _waiting_boxes(waiting, places(waiting), length)
        return [
            {name: value, **{box: found[place] for box, found in boxes.items()}} for place, value in enumerate(values)
        ]


# --- boxes, one for each code of a column ----------------------------------------------------------------------------


def _all_alike(rows: KindRows) -> tuple[Numbers, int]:
    """One code for all rows: the box of all of them."""
    return np.zeros(rows.size, dtype=np.uint8), 1


def _counts_with(flags: Numbers, flag: int, codes: Numbers, length: int) -> list[int]:
    return counts(codes[(flags & flag) != 0], length)


def _interaction_counts(touches: KindRows, codes: Numbers, length: int) -> list[Metrics]:
    contacts = counts(distinct(codes, touches["visit"])[0], length)
    pairs = counts(distinct(codes, touches["advisor"], touches["visit"])[0], length)
    return [{"contacts": contacts[code], "advisor_contacts": pairs[code]} for code in range(length)]


def _contact_counts(rows: KindRows, codes: Numbers, length: int) -> list[Metrics]:
    flags, total = rows["flags"], counts(codes, length)
    deleted = _counts_with(flags, facts.DELETED, codes, length)
    merged = _counts_with(flags, facts.MERGED, codes, length)
    return [{"total": total[code], "deleted": deleted[code], "merged": merged[code]} for code in range(length)]


def _conversation_counts(
    started: KindRows, actions: KindRows, codes: Numbers, length: int, action_codes: Numbers
) -> list[Metrics]:
    total = counts(codes, length)
    active = counts(distinct(action_codes, actions["contact"])[0], length)
    by_channel, by_opener = (_name_counts(started, column, codes) for column in ("channel", "text"))
    return [
        {
            "total": total[code],
            "active_contacts": active[code],
            "by_channel": by_channel.get(code, {}),
            "by_opener": by_opener.get(code, {}),
        }
        for code in range(length)
    ]


def _closed_counts(rows: KindRows, codes: Numbers, length: int) -> list[Metrics]:
    total = counts(codes, length)
    transferred = _counts_with(rows["flags"], facts.TRANSFERRED, codes, length)
    return [
        {"total": total[code], "closed": total[code] - transferred[code], "transferred": transferred[code]}
        for code in range(length)
    ]


def _name_counts(rows: KindRows, column: str, codes: Numbers) -> dict[int, dict[str, int]]:
    """Of each code that occurs, how often each name of a column does; ordered by name."""
    names = rows.all.names(column)
    (found, named), times = tally(codes, rows[column])
    by_code: dict[int, dict[str, int]] = {}
    for code, place, count in zip(found.tolist(), named.tolist(), times.tolist(), strict=True):
        name = names[place]
        if name is not None:
            by_code.setdefault(code, {})[name] = count
    return {code: dict(sorted(of_code.items())) for code, of_code in by_code.items()}


def _origins(rows: KindRows) -> list[Metrics]:
    names = rows.all.names("origin")
    flags, codes, length = rows["flags"], rows["origin"], len(names)
    columns = [counts(codes, length), *(_counts_with(flags, flag, codes, length) for flag in _ORIGIN_FLAGS.values())]
    found = [(names[code], *numbers) for code, numbers in enumerate(zip(*columns, strict=True)) if numbers[0]]
    found.sort(key=lambda row: (-row[1], row[0] is None, row[0] or ""))
    if len(found) > MAX_TABLE_ROWS:
        rest = [*map(sum, zip(*(numbers for _, *numbers in found[MAX_TABLE_ROWS - 1 :]), strict=True))]
        found = [*found[: MAX_TABLE_ROWS - 1], (OTHER, *rest)]
    return [dict(zip(("origin", "new_contacts", *_ORIGIN_FLAGS), row, strict=True)) for row in found]


def _heatmap(started: KindRows) -> dict[str, list[int]]:
    cells = counts((started["day"] - 1) % 7 * 24 + started["flags"], 7 * 24)
    return {weekday: cells[24 * place : 24 * place + 24] for place, weekday in enumerate(WEEKDAYS)}


def waiting_box(rows: KindRows) -> Metrics:
    """Who waits: how many, how many of them snoozed, and since when the oldest does."""
    return _waiting_boxes(rows, *_all_alike(rows))[0]


def _waiting_boxes(rows: KindRows, codes: Numbers, length: int) -> list[Metrics]:
    contacts = counts(codes, length)
    snoozed = _counts_with(rows["flags"], facts.SNOOZED, codes, length)
    oldest = np.full(length, np.iinfo(np.int64).max)
    np.minimum.at(oldest, codes, rows["at_ms"].astype(np.int64))
    return [
        {"contacts": count, "snoozed": snoozed[code], "oldest": instant_text(int(oldest[code])) if count else None}
        for code, count in enumerate(contacts)
    ]


# --- names -----------------------------------------------------------------------------------------------------------


def known_values(rows: Rows) -> dict[str, list[str | None]]:
    """The values of each dimension that occurred in the range, whatever the filters, in order; `None` last."""
    return {dimension: _occurred(rows, dimension) for dimension in FILTERED}


def _occurred(rows: Rows, dimension: str) -> list[str | None]:
    none: list[str | None] = [] if all(column.all() for column in _columns(rows, dimension)) else [None]
    return by_name(rows.names(dimension)[1:]) + none


def _table_values(rows: Rows, dimension: str, wanted: Values | None) -> tuple[list[str | None], int]:
    """The values of a table's rows, in order, and how many are left out: the rarest ones, when there are too many."""
    values = [
        value
        for value in _occurred(rows, dimension)
        if (wanted is None or value in wanted) and (value is not None or dimension == "group")
    ]
    if len(values) <= MAX_TABLE_ROWS:
        return values, 0
    length = len(rows.names(dimension))
    times = np.sum([np.bincount(column, minlength=length) for column in _columns(rows, dimension)], axis=0)
    frequent = sorted(values, key=lambda value: -times[rows.code(dimension, value)])[:MAX_TABLE_ROWS]
    return by_name(frequent), len(values) - MAX_TABLE_ROWS


def _columns(rows: Rows, dimension: str) -> list[Numbers]:
    """The columns in which a dimension's values occur."""
    kinds = _BY_ADVISOR if dimension == "advisor" else range(KINDS)
    columns = [rows.column(kind, dimension) for kind in kinds]
    if dimension == "group":
        columns.append(rows.column(facts.CONTACT, "entry_group"))
    return columns
