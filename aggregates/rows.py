"""The facts of a range of days as columns, and which of them match filters: what every number and list is made from.

`Rows.of` puts days together, and also what it has put together before: the rows of a year can be made from the rows of
its months, which a reader may keep. Nothing is put together before it is asked for. Names (origins, groups, channels,
advisors, openers, reasons) are codes into one list for each dimension, whose first entry is `None`; contacts and
conversations likewise.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby
from typing import Final

import numpy as np
import numpy.typing as npt

from aggregates.day_block import DIMENSION_OF, KINDS, DayBlock, DayColumns, Numbers
from aggregates.filters import Filters, Values

Mask = npt.NDArray[np.bool_]

_NO_DAYS: Final = np.zeros((0, KINDS), dtype=np.int64)
_NAMELESS: Final = "a damaged day block: it numbers names that it does not have"
_NO_NUMBERS: Final = np.zeros(0, dtype="u1")


class _Union:
    """Codes for the names of several parts, and what each part's own codes become."""

    __slots__ = ("_alike", "_new_codes", "_starts", "codes", "names")

    def __init__(self, names_of: Sequence[Sequence[str | None]], first: Sequence[None] = ()) -> None:
        self._alike = len(names_of) > 0 and all(names == names_of[0] for names in names_of)
        self.codes: dict[str | None, int] = dict.fromkeys(first, 0)
        learn = self.codes.setdefault
        parts = names_of[:1] if self._alike else names_of
        found = [learn(name, len(self.codes)) for name in chain.from_iterable(parts)]
        self.names = list(self.codes)
        self._new_codes = np.array(found, dtype=np.min_scalar_type(len(self.names)))
        lengths = np.array([len(names) for names in parts], dtype=np.int64)
        self._starts = lengths.cumsum() - lengths

    def recoded(self, column: Numbers, sizes: Numbers) -> Numbers:
        """Parts' own codes, so many of each. Raises `ValueError` for codes without a name."""
        if self._alike:
            if len(column) and int(column.max()) >= len(self.names):
                raise ValueError(_NAMELESS)
            return column
        try:
            found: Numbers = self._new_codes[np.repeat(self._starts, sizes) + column]
        except IndexError:
            raise ValueError(_NAMELESS) from None
        return found


class Rows:
    """The facts of a range of days. Read only."""

    def __init__(self, sources: Sequence["DayColumns | Rows"]) -> None:
        self._sources = sources
        self.days: list[int] = [day for source in sources for day in source.days]
        self.day_sizes: Numbers = np.concatenate([_NO_DAYS, *(source.day_sizes for source in sources)])
        self._part_sizes: Numbers = np.concatenate([_NO_DAYS, *(source.sizes for source in sources)])
        self.sizes: Numbers = self.day_sizes.sum(axis=0, keepdims=True)
        """The rows of each kind."""
        self.folded: list[dict[str, int]] = [folded for source in sources for folded in source.folded]
        """Of each day, how many names of each dimension are folded into `other`."""
        self._kinds: dict[int, KindRows] = {}
        self._unions: dict[str, _Union] = {}
        self._contacts: _Union | None = None
        self._conversations: list[Sequence[str]] | None = None

    @classmethod
    def of(cls, sources: Iterable["DayBlock | Rows"]) -> "Rows":
        """The rows of days, or of rows of days, in the order of days."""
        found: list[DayColumns | Rows] = []
        for is_day, group in groupby(sources, lambda source: isinstance(source, DayBlock)):
            if is_day:
                found.append(DayColumns([block for block in group if isinstance(block, DayBlock)]))
            else:
                found += [rows for rows in group if isinstance(rows, Rows)]
        return cls(found)

    @property
    def size(self) -> int:
        """How many facts these are."""
        return int(self.sizes.sum())

    def kind(self, kind: int) -> "KindRows":
        """The rows of one kind of fact."""
        found = self._kinds.get(kind)
        if found is None:
            size = int(self.sizes[0, kind])
            found = self._kinds[kind] = KindRows(self, size, lambda name: self._joined(kind, name))
        return found

    def column(self, kind: int, name: str) -> Numbers:
        """A column of a kind, one number a row."""
        return self.kind(kind)[name]

    def names(self, dimension: str) -> Sequence[str | None]:
        """The name of each code of a dimension; the first is `None`."""
        return self._union(dimension).names

    def code(self, dimension: str, name: str | None) -> int | None:
        """The code of a name; `None` for one that does not occur."""
        return self._union(dimension).codes.get(name)

    @property
    def contacts(self) -> list[str]:
        """The contact of code n is `contacts[n]`."""
        return self._contact_union().names  # type: ignore[return-value]  # no contact is None

    @property
    def conversations(self) -> list[str]:
        """The conversation of code n is `conversations[n - 1]`; 0 is none."""
        return [*chain.from_iterable(self._conversations_of_parts())]

    # --- as a part of others -----------------------------------------------------------------------------------------

    def names_of(self, dimension: str) -> list[Sequence[str | None]]:
        return [self.names(dimension)]

    def contacts_of(self) -> list[Sequence[str]]:
        return [self.contacts]

    def conversations_of(self) -> list[Sequence[str]]:
        return [self.conversations]

    # --- putting together --------------------------------------------------------------------------------------------

    def _joined(self, kind: int, name: str) -> Numbers:
        if name == "day":
            return np.repeat(np.array(self.days, dtype=np.int32), self.day_sizes[:, kind])
        if name == "visit":
            # A day's rows of a kind stand by contact.
            return np.cumsum(_changes(self.column(kind, "day"), self._own_codes(kind, "contact")), dtype=np.int32)
        column, sizes = self._own_codes(kind, name), self._part_sizes[:, kind]
        if name == "contact":
            return self._contact_union().recoded(column, sizes)
        if name == "conversation":
            lengths = np.array([*map(len, self._conversations_of_parts())], dtype=np.int64)
            if (column > np.repeat(lengths, sizes)).any():
                raise ValueError(_NAMELESS)
            return np.where(column, column + np.repeat(lengths.cumsum() - lengths, sizes), 0)
        return self._union(DIMENSION_OF[name]).recoded(column, sizes) if name in DIMENSION_OF else column

    def _conversations_of_parts(self) -> list[Sequence[str]]:
        if self._conversations is None:
            self._conversations = [ids for source in self._sources for ids in source.conversations_of()]
        return self._conversations

    def _own_codes(self, kind: int, name: str) -> Numbers:
        return np.concatenate([_NO_NUMBERS, *(source.column(kind, name) for source in self._sources)])

    def _union(self, column: str) -> _Union:
        dimension = DIMENSION_OF[column]
        if dimension not in self._unions:
            names = [names for source in self._sources for names in source.names_of(dimension)]
            self._unions[dimension] = _Union(names, first=[None])
        return self._unions[dimension]

    def _contact_union(self) -> _Union:
        if self._contacts is None:
            self._contacts = _Union([contacts for source in self._sources for contacts in source.contacts_of()])
        return self._contacts


class KindRows:
    """Rows of one kind of fact, one number a row: `rows["at_ms"]`. Read only; a column is made when it is asked for.

    Columns are those of a block, and two more: `day`, and `visit`, which numbers the contacts of each day: rows of the
    same day and contact, and no others, share one.
    """

    __slots__ = ("_column", "_columns", "all", "size")

    def __init__(self, rows: Rows, size: int, column: Callable[[str], Numbers]) -> None:
        self.all = rows
        """The rows of all kinds that these are of: its codes are theirs."""
        self.size = size
        self._column = column
        self._columns: dict[str, Numbers] = {}

    def __getitem__(self, name: str) -> Numbers:
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = self._column(name)
        return found

    def take(self, chosen: Mask | Numbers) -> "KindRows":
        """The rows that a mask or indices choose."""
        places = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return KindRows(self.all, len(places), lambda name: self[name][places])

    def matching(self, filters: Filters, *, group: str = "group", advisor: bool = False) -> "KindRows":
        """The rows that match the filters; `group` names the column that a group is looked for in.

        Without `advisor` the advisor filter is not looked at: the rows have none.
        """
        wanted = {"origin": filters.origin, group: filters.group, "channel": filters.channel}
        if advisor:
            wanted["advisor"] = filters.advisor
        masks = [self._is_one_of(name, values) for name, values in wanted.items() if values is not None]
        return self.take(np.logical_and.reduce(masks)) if masks else self

    def _is_one_of(self, name: str, values: Values) -> Mask:
        admitted = np.zeros(len(self.all.names(name)), dtype=np.bool_)
        for value in values:
            code = self.all.code(name, value)
            if code is not None:
                admitted[code] = True
        found: Mask = admitted[self[name]]
        return found

    def texts(self, name: str) -> list[str | None]:
        """A column of names as names."""
        names = self.all.names(name)
        return [names[code] for code in self[name].tolist()]


def by_name(values: Iterable[str | None]) -> list[str | None]:
    """Names in order, `None` last."""
    return sorted(values, key=lambda value: (value is None, value or ""))


def counts(codes: Numbers, length: int) -> list[int]:
    """How often each code below `length` occurs."""
    found: list[int] = np.bincount(codes, minlength=length).tolist()
    return found


def tally(*columns: Numbers) -> tuple[list[Numbers], Numbers]:
    """The distinct combinations of columns, as columns, in order; and how often each occurs."""
    # Columns of one or two bytes are sorted in linear time, and so are longer ones that are in order already.
    order = np.lexsort(columns[::-1])
    ordered = [column[order] for column in columns]
    new = _changes(*ordered)
    first = np.flatnonzero(new)
    return [column[first] for column in ordered], np.diff(first, append=len(new))


def distinct(*columns: Numbers) -> list[Numbers]:
    """The distinct combinations of columns, as columns, in order."""
    return tally(*columns)[0]


def _changes(*columns: Numbers) -> Mask:
    """Where a row differs from the one before it."""
    found = np.ones(len(columns[0]), dtype=np.bool_)
    found[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return found
