"""The lists behind the numbers: the rows that a box counts, under the same range and filters; as many as it says.

Each list takes the rows that `aggregates.report.select` chooses for its box. A list that counts contacts once a day, or
once in the range, shows of each the first fact that matches, and what else matched beside it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from fractions import Fraction
from typing import Any, Final

import numpy as np

from aggregates import facts
from aggregates.business import BusinessClock
from aggregates.day_block import DIMENSION_OF, Numbers
from aggregates.filters import Filters
from aggregates.report import Selection, instant_text, select
from aggregates.rows import KindRows, Rows, by_name
from schemas.lists import CLOCKS, LISTS, ORDERS

Row = dict[str, Any]

DURATIONS: Final = frozenset({"first_response", "response", "waiting"})
"""Lists whose rows have durations, so that `over` can be asked of them."""
WITHOUT_ADVISOR: Final = frozenset({"new_contacts", "active_contacts", "new_conversations", "origins", "waiting"})
"""Lists of boxes that are `null` under an advisor filter."""


class ListRefused(ValueError):
    """A list that cannot be given; the text says why."""


class WaitClocks:
    """The schedules by which waits are measured while nobody has answered: the group's, else the account's."""

    def __init__(self, of_group: Callable[[str | None], BusinessClock | None], as_of_ms: int) -> None:
        self.of_group = of_group
        self.as_of_ms = as_of_ms


def check_list(
    name: str, filters: Filters, over: float | None = None, clock: str = "elapsed", order: str = "oldest"
) -> None:
    """Raises `ListRefused` for a list that does not exist, or that cannot be filtered, cut or ordered so."""
    if name not in LISTS:
        raise ListRefused(f"there is no list {name!r}; there are: {', '.join(LISTS)}")
    if clock not in CLOCKS:
        raise ListRefused(f"there is no clock {clock!r}; there are: {', '.join(CLOCKS)}")
    if order not in ORDERS:
        raise ListRefused(f"there is no order {order!r}; there are: {', '.join(ORDERS)}")
    if filters.advisor is not None and name in WITHOUT_ADVISOR:
        raise ListRefused(f"the list {name} cannot be filtered by advisor: its number is null then")
    if name not in DURATIONS and over is not None:
        raise ListRefused(f"the rows of {name} have no durations: `over` asks for nothing")
    if name not in DURATIONS and order == "longest":
        raise ListRefused(f"the rows of {name} have no durations: none is the longest")
    if over is not None and not math.isfinite(over):
        raise ListRefused(f"`over` is a number of seconds, not {over}")


def list_rows(
    name: str,
    rows: Rows,
    filters: Filters,
    waits: WaitClocks,
    *,
    over: float | None = None,
    clock: str = "elapsed",
    order: str = "oldest",
    offset: int = 0,
    limit: int | None = None,
) -> tuple[int, list[Row]]:
    """How many rows a list has, and those from `offset` on, at most `limit`.

    `over` leaves rows of more seconds than that, on `clock`. Raises `ListRefused`.
    """
    check_list(name, filters, over, clock, order)
    if offset < 0 or (limit is not None and limit < 0):
        raise ListRefused(f"a page begins at 0 or later, and has no fewer rows than 0: not {offset}, {limit}")
    found = _LISTED[name](select(rows, filters))
    measured = _measured(name, found, waits)
    if over is not None:
        # As it was written: of 1.001 seconds, 1,001 milliseconds are not more, whatever its binary form is.
        chosen = np.flatnonzero(measured[clock] > math.floor(Fraction(repr(float(over))) * 1000))
        found = found.take(chosen)
        measured = {name: column[chosen] for name, column in measured.items()}
    # By instant, then contact id, then event order.
    keys: list[Numbers] = [found["tie"].astype(np.int64), _contact_order(found), found["at_ms"]]
    if order == "newest":
        keys = [-key for key in keys]
    elif order == "longest":
        keys.append(-measured[clock])
    ordered = np.lexsort(keys)
    page = ordered[offset : None if limit is None else offset + limit]
    shown = found.take(page)
    return found.size, list(
        _SHOWN[name](shown, {name: column[page] for name, column in measured.items()}, rows, filters)
    )


def _contact_order(rows: KindRows) -> Numbers:
    """Numbers that order rows of the same instant by contact id, as text."""
    instants, codes = np.unique(rows["at_ms"], return_inverse=True)
    shared = np.bincount(codes, minlength=len(instants))[codes] > 1
    contacts = rows.all.contacts
    ordered = sorted(np.unique(rows["contact"][shared]).tolist(), key=contacts.__getitem__)
    order = np.zeros(len(contacts), dtype=np.int64)
    order[ordered] = np.arange(len(ordered))
    return order[rows["contact"]]


# --- which rows ------------------------------------------------------------------------------------------------------


def _first_of(rows: KindRows, *columns: str) -> KindRows:
    """Of the rows that are alike in columns, the first by instant and event order."""
    order = np.lexsort((rows["tie"], rows["at_ms"], *(rows[column] for column in columns[::-1])))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = False
    for column in columns:
        ordered = rows[column][order]
        first[1:] |= ordered[1:] != ordered[:-1]
    return rows.take(np.sort(order[first]))


_LISTED: Final[Mapping[str, Callable[[Selection], KindRows]]] = {
    "first_response": lambda chosen: chosen.first_response,
    "response": lambda chosen: chosen.response,
    "interactions": lambda chosen: _first_of(chosen.touches, "day", "contact"),
    "advisor_contacts": lambda chosen: _first_of(chosen.touches, "day", "contact", "advisor"),
    "new_contacts": lambda chosen: chosen.new_contacts,
    "active_contacts": lambda chosen: _first_of(chosen.actions, "contact"),
    "new_conversations": lambda chosen: chosen.started,
    "closed_conversations": lambda chosen: chosen.closed,
    "origins": lambda chosen: chosen.origins,
    "waiting": lambda chosen: chosen.waiting,
}


def _measured(name: str, rows: KindRows, waits: WaitClocks) -> dict[str, Numbers]:
    """Both durations of rows that have them, in milliseconds; of waits, and whether a schedule applied."""
    if name not in DURATIONS:
        return {}
    if name != "waiting":
        return {clock: rows[f"{clock}_ms"].astype(np.int64) for clock in CLOCKS}
    elapsed, business, unscheduled = [], [], []
    for since_ms, group in zip(rows["at_ms"].tolist(), rows.texts("group"), strict=True):
        clock = waits.of_group(group)
        waited_ms = max(0, waits.as_of_ms - since_ms)
        elapsed.append(waited_ms)
        business.append(waited_ms if clock is None else clock.between_ms(since_ms, waits.as_of_ms))
        unscheduled.append(clock is None)
    return {
        "elapsed": np.array(elapsed, dtype=np.int64),
        "business": np.array(business, dtype=np.int64),
        "without_schedule": np.array(unscheduled, dtype=np.int64),
    }


# --- what a row shows ------------------------------------------------------------------------------------------------

_Shown = Callable[[KindRows, Mapping[str, Numbers], Rows, Filters], Iterator[Row]]


class _Texts:
    """A page of rows, each column as texts."""

    def __init__(self, rows: KindRows) -> None:
        everything = rows.all
        contacts = everything.contacts
        self.count = rows.size
        self.contact = [contacts[code] for code in rows["contact"].tolist()]
        self.at = [instant_text(at_ms) for at_ms in rows["at_ms"].tolist()]
        self.since = [instant_text(at_ms) for at_ms in (rows["at_ms"] - rows["elapsed_ms"]).tolist()]
        self.day = [date.fromordinal(day).isoformat() for day in rows["day"].tolist()]
        self.flags: list[int] = rows["flags"].tolist()
        conversations = rows["conversation"].tolist()
        ids = everything.conversations if any(conversations) else []
        self.conversation = [ids[code - 1] if code else None for code in conversations]
        for name in DIMENSION_OF:
            setattr(self, name, rows.texts(name))

    origin: list[str | None]
    group: list[str | None]
    channel: list[str | None]
    advisor: list[str | None]
    text: list[str | None]
    entry_group: list[str | None]

    def head(self, place: int, *, day: bool = True) -> Row:
        row: Row = {"contact_id": self.contact[place], "at": self.at[place]}
        if day:
            row["day"] = self.day[place]
        return row | {"origin": self.origin[place], "group": self.group[place]}


def _answers(rows: KindRows, measured: Mapping[str, Numbers], _: Rows, __: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    for place in range(texts.count):
        flags = texts.flags[place]
        within = None
        if flags & facts.TARGETED:
            within = {
                "elapsed": flags & facts.WITHIN_ELAPSED != 0,
                "business": flags & facts.WITHIN_BUSINESS != 0,
            }
        yield texts.head(place) | {
            "channel": texts.channel[place],
            "advisor": texts.advisor[place],
            "conversation_id": texts.conversation[place],
            "from": texts.since[place],
            "elapsed_seconds": int(measured["elapsed"][place]) / 1000,
            "business_seconds": int(measured["business"][place]) / 1000,
            "without_schedule": flags & facts.WITHOUT_SCHEDULE != 0,
            "within_target": within,
        }


def _interactions(rows: KindRows, _: Mapping[str, Numbers], all_rows: Rows, filters: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    touches = select(all_rows, filters).touches
    touches = touches.take(np.isin(touches["contact"], rows["contact"]))
    advisors: dict[tuple[int, int], set[str | None]] = {}
    channels: dict[tuple[int, int], set[str | None]] = {}
    keys = zip(touches["day"].tolist(), touches["contact"].tolist(), strict=True)
    for key, advisor, channel in zip(keys, touches.texts("advisor"), touches.texts("channel"), strict=True):
        advisors.setdefault(key, set()).add(advisor)
        channels.setdefault(key, set()).add(channel)
    for place, key in enumerate(zip(rows["day"].tolist(), rows["contact"].tolist(), strict=True)):
        yield texts.head(place) | {
            "advisors": by_name(advisors[key] - {None}),
            "channels": by_name(channels[key] - {None}),
        }


def _advisor_contacts(rows: KindRows, _: Mapping[str, Numbers], __: Rows, ___: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    for place in range(texts.count):
        yield texts.head(place) | {"channel": texts.channel[place], "advisor": texts.advisor[place]}


def _new_contacts(rows: KindRows, _: Mapping[str, Numbers], __: Rows, ___: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    for place in range(texts.count):
        flags = texts.flags[place]
        yield texts.head(place) | {
            "group": texts.entry_group[place],
            "channel": texts.channel[place],
            "by": texts.text[place],
            "deleted": flags & facts.DELETED != 0,
            "merged": flags & facts.MERGED != 0,
        }


def _active_contacts(rows: KindRows, _: Mapping[str, Numbers], all_rows: Rows, filters: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    actions = select(all_rows, filters).actions
    actions = actions.take(np.isin(actions["contact"], rows["contact"]))
    days: dict[int, set[int]] = {}
    for day, contact in zip(actions["day"].tolist(), actions["contact"].tolist(), strict=True):
        days.setdefault(contact, set()).add(day)
    for place, contact in enumerate(rows["contact"].tolist()):
        yield texts.head(place, day=False) | {
            "channel": texts.channel[place],
            "actions_days": [date.fromordinal(day).isoformat() for day in sorted(days[contact])],
        }


def _new_conversations(rows: KindRows, _: Mapping[str, Numbers], __: Rows, ___: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    for place in range(texts.count):
        yield texts.head(place) | {
            "channel": texts.channel[place],
            "conversation_id": texts.conversation[place],
            "opener": texts.text[place],
        }


def _closed_conversations(rows: KindRows, _: Mapping[str, Numbers], __: Rows, ___: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    for place in range(texts.count):
        transferred = texts.flags[place] & facts.TRANSFERRED
        yield texts.head(place) | {
            "channel": texts.channel[place],
            "conversation_id": texts.conversation[place],
            "advisor": texts.advisor[place],
            "kind": "transferred" if transferred else "closed",
            "reason": texts.text[place],
        }


def _origins(rows: KindRows, _: Mapping[str, Numbers], __: Rows, ___: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    for place in range(texts.count):
        flags = texts.flags[place]
        yield texts.head(place) | {
            "channel": texts.channel[place],
            "engaged": flags & facts.ENGAGED != 0,
            "closed": flags & facts.CLOSED_ONCE != 0,
            "resolved": flags & facts.RESOLVED != 0,
            "at_rest": flags & facts.AT_REST != 0,
        }


def _waiting(rows: KindRows, measured: Mapping[str, Numbers], _: Rows, __: Filters) -> Iterator[Row]:
    texts = _Texts(rows)
    for place in range(texts.count):
        yield texts.head(place) | {
            "channel": texts.channel[place],
            "snoozed": texts.flags[place] & facts.SNOOZED != 0,
            "elapsed_seconds": int(measured["elapsed"][place]) / 1000,
            "business_seconds": int(measured["business"][place]) / 1000,
            "without_schedule": bool(measured["without_schedule"][place]),
        }


_SHOWN: Final[Mapping[str, _Shown]] = {
    "first_response": _answers,
    "response": _answers,
    "interactions": _interactions,
    "advisor_contacts": _advisor_contacts,
    "new_contacts": _new_contacts,
    "active_contacts": _active_contacts,
    "new_conversations": _new_conversations,
    "closed_conversations": _closed_conversations,
    "origins": _origins,
    "waiting": _waiting,
}
