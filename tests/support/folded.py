"""Events folded into facts in memory, as workers and publications hold them, and the numbers that follow."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from aggregates.counters import encode_vector
from aggregates.day_block import DayBlock, decode_block, encode_block
from aggregates.facts import fact_field, fact_value
from aggregates.filters import Filters
from aggregates.history import ContactHistory, FactChanges, Lateness
from aggregates.lists import Row, WaitClocks, list_rows
from aggregates.periods import Period, period
from aggregates.report import metrics
from aggregates.rows import Rows
from aggregates.rules import Rules, RulesBook
from aggregates.sealed import SEALED, TOTALS, seal
from aggregates.shard_days import contributions
from aggregates.totals import totals_of
from schemas.accounts import AccountSettings, default_settings
from schemas.events import Event, instant_us

LATENESS = Lateness(3600 * 10**6, 30 * 86_400 * 10**6)

Fields = dict[bytes, bytes]


class Folded:
    """What events contributed, account by account and day by day."""

    def __init__(self, accounts: Iterable[AccountSettings]) -> None:
        self.settings = {settings.account_id: settings for settings in accounts}
        self.days: dict[str, dict[int, Fields]] = {}
        """Account → day → each fact's field and value. A day that a correction emptied is empty."""
        self._histories: dict[tuple[str, str], bytes] = {}
        self._books: dict[str, RulesBook] = {}

    def rules(self, account_id: str) -> Rules:
        """An account's settings, compiled."""
        return self.book(account_id).current

    def book(self, account_id: str) -> RulesBook:
        """The same, as the fold takes them."""
        if account_id not in self._books:
            settings = self.settings.setdefault(account_id, default_settings(account_id))
            self._books[account_id] = RulesBook(Rules(settings))
        return self._books[account_id]

    def fold(self, event: Event) -> None:
        """Take one event in."""
        key = (event.account_id, event.contact_id)
        held = self._histories.get(key)
        history = ContactHistory() if held is None else ContactHistory.decode(held)
        changes = FactChanges()
        history.fold([(event, instant_us(event.occurred_at))], self.book(event.account_id), LATENESS, changes)
        removed, added = changes.net()
        days = self.days.setdefault(event.account_id, {})
        for fact in removed:
            del days[fact.day][fact_field(event.contact_id, fact)]
        for fact in added:
            days.setdefault(fact.day, {})[fact_field(event.contact_id, fact)] = fact_value(fact)
        history.compact(LATENESS)
        self._histories[key] = history.encode()

    def block(self, account_id: str, day: int) -> DayBlock:
        """A day's block."""
        return decode_block(encode_block(day, contributions(day, self.days[account_id][day])))

    def rows(self, account_id: str, days: Iterable[int]) -> Rows:
        """The rows of days."""
        held = self.days.get(account_id, {})
        return Rows.of([self.block(account_id, day) for day in days if held.get(day)])

    def metrics(
        self,
        account_id: str,
        first: date,
        last: date,
        filters: Mapping[str, Sequence[str]] | None = None,
        as_of_ms: int | None = None,
    ) -> dict[str, Any]:
        """The metrics object of a range."""
        wanted = period(first, last)
        rows = self.rows(account_id, wanted.days)
        calendar = self.rules(account_id).calendar
        return metrics(wanted, rows, Filters.parse(**(filters or {})), calendar, as_of_ms=as_of_ms)

    def list(
        self, account_id: str, name: str, days: Period, as_of_ms: int, filters: Filters | None = None
    ) -> tuple[int, list[Row]]:
        """A whole list."""
        waits = WaitClocks(self.rules(account_id).clock_of_group, as_of_ms)
        return list_rows(name, self.rows(account_id, days.days), filters or Filters(), waits)


def stored_day(day: int, facts: Fields, *, sealed: bool = False) -> Fields:
    """What a shard's hash of a day holds."""
    if not facts:
        return {}
    totals = totals_of(fact for _, fact in contributions(day, facts))
    held = {SEALED: seal(facts)} if sealed else dict(facts)
    return {**held, TOTALS: encode_vector(totals)}
