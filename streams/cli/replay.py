"""`mediana replay`: the report of files of events, without a broker and without Redis, through the very same fold."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path

import orjson

from aggregates import counters, cube
from aggregates.counters import Deltas, Field, Value
from aggregates.document import Publication, period_days, snapshot_document, waiting_of
from aggregates.filters import Filters
from aggregates.history import ContactHistory, Outcome
from aggregates.periods import period
from aggregates.report import metrics, table_filters
from aggregates.rules import Rules, RulesBook
from schemas.accounts import AccountSettings, decode_settings, default_settings
from schemas.errors import InvalidRecord, InvalidSettings, UnknownType
from schemas.events import Event, decode_event
from streams.logs import one_line

COMPACT_AT = 64
"""Journal length at which a history is compacted, as a worker does with each commit."""


class Replay:
    """Folds events in the order they are given, and keeps every account's counters in memory."""

    def __init__(self, settings: Iterable[AccountSettings], lateness_seconds: float) -> None:
        self.settings = {account.account_id: account for account in settings}
        self.counters: dict[str, dict[int, dict[Field, Value]]] = {account_id: {} for account_id in self.settings}
        self.outcomes: Counter[str] = Counter()
        self._lateness_ms = round(lateness_seconds * 1000)
        self._books: dict[str, RulesBook] = {}
        self._histories: dict[tuple[str, str], ContactHistory] = {}
        self._archives: dict[tuple[str, str], dict[int, bytes]] = {}

    def book(self, account_id: str) -> RulesBook:
        """The rules of an account; the default ones if it never sent settings."""
        if account_id not in self._books:
            settings = self.settings.setdefault(account_id, default_settings(account_id))
            self._books[account_id] = RulesBook(Rules(settings))
        return self._books[account_id]

    def history(self, account_id: str, contact_id: str) -> ContactHistory | None:
        """A contact's history, if any of its events was seen."""
        return self._histories.get((account_id, contact_id))

    def fold(self, event: Event) -> Outcome:
        """Take one event in."""
        key = (event.account_id, event.contact_id)
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = ContactHistory()
        if history.needs_archive(event, self._lateness_ms):
            self.attach_archive(history, *key)
        deltas = Deltas()
        outcome = history.fold(event, self.book(event.account_id), self._lateness_ms, deltas)
        self.outcomes[outcome.value] += 1
        self._add(event.account_id, deltas)
        if history.journal_length >= COMPACT_AT or history.archive_count:
            self._archives.setdefault(key, {}).update(history.compact(self._lateness_ms))
        return outcome

    def attach_archive(self, history: ContactHistory, account_id: str, contact_id: str) -> None:
        """Hand a history its archive."""
        chunks = self._archives.get((account_id, contact_id), {})
        history.attach_archive([chunks[number] for number in range(history.archive_count)])

    def cubes(self, account_id: str) -> dict[int, dict[bytes, bytes]]:
        """The cube of each day that has counters."""
        return {day: cube.build(fields) for day, fields in self.counters.get(account_id, {}).items() if fields}

    def _add(self, account_id: str, deltas: Deltas) -> None:
        days = self.counters.setdefault(account_id, {})
        for day, fields in deltas.days.items():
            stored = days.setdefault(day, {})
            for field, delta in fields.items():
                value = counters.added(stored.get(field), delta, field)
                if value is None:
                    stored.pop(field, None)
                else:
                    stored[field] = value


def run(
    files: Sequence[Path],
    accounts: Path | None,
    account: str | None,
    start: date | None,
    end: date | None,
    filters: Filters,
    now: datetime | None,
    lateness_seconds: float,
) -> int:
    """Print the snapshot of each account (or of one), or with a range its metrics. Returns the exit status."""
    settings = list(read_settings(accounts)) if accounts is not None else []
    replay = Replay(settings, lateness_seconds)
    for event in read_events(files, replay.outcomes):
        replay.fold(event)
    _summarise(replay.outcomes)
    if start is None or end is None:
        now_ms = int(now.timestamp() * 1000) if now is not None else int(time.time() * 1000)
        for account_id in [account] if account is not None else sorted(replay.settings):
            _print(_snapshot(replay, account_id, now_ms))
        return 0
    if account is None:
        if len(replay.settings) != 1:
            known = ", ".join(sorted(replay.settings)) or "none"
            print(one_line(f"mediana: say which account with --account (the files have: {known})"), file=sys.stderr)
            return 2
        (account,) = replay.settings
    wanted = period(start, end)
    cubes = {
        day: cube.build(replay.counters[account][day])
        for day in wanted.days
        if replay.counters.get(account, {}).get(day)
    }
    calendar = replay.book(account).current.calendar
    _print(metrics(wanted, cubes, filters, calendar, table_filters(filters, cubes.values())))
    return 0


def _snapshot(replay: Replay, account_id: str, now_ms: int) -> dict[str, object]:
    book = replay.book(account_id)
    calendar = book.current.calendar
    cubes = replay.cubes(account_id)
    wanted = period_days(date.fromordinal(calendar.day_of(now_ms)))
    publication = Publication(revision=1, published_at_ms=now_ms, as_of_ms=now_ms, complete=True, lag_records=0)
    return snapshot_document(
        book.current.settings,
        calendar,
        {day: fields for day, fields in cubes.items() if day in wanted},
        map(waiting_of, cubes.values()),
        publication,
    )


def read_settings(path: Path) -> Iterator[AccountSettings]:
    """The settings in a file, one per line; what is refused is told on stderr."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                yield decode_settings(line)
            except InvalidSettings as error:
                print(one_line(f"{path}:{number}: settings refused: {error}"), file=sys.stderr)


def read_events(files: Sequence[Path], outcomes: Counter[str]) -> Iterator[Event]:
    """The events in files, one per line; what is refused is told on stderr, and counted by its reason."""
    for path in files:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield decode_event(line.strip())
                except UnknownType:
                    outcomes["unknown-type"] += 1
                except InvalidRecord as error:
                    outcomes[error.reason] += 1
                    print(one_line(f"{path}:{number}: event refused: {error}"), file=sys.stderr)


def _summarise(outcomes: Counter[str]) -> None:
    text = ", ".join(f"{n} {name}" for name, n in sorted(outcomes.items())) or "no events"
    print(one_line(f"replay: {text}"), file=sys.stderr)


def _print(document: object) -> None:
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
