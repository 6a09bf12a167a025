"""`mediana replay`: the report of files of events, without a broker and Redis, by the rules of the worker."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from aggregates.comparison import comparison
from aggregates.day_block import DayBlock, decode_block, encode_block
from aggregates.document import Publication, period_days, snapshot_document
from aggregates.doubts import ClockDoubts, settings_doubts
from aggregates.facts import Fact, fact_field
from aggregates.filters import Filters
from aggregates.history import ContactHistory, FactChanges, Lateness, Outcome
from aggregates.lists import ListRefused, WaitClocks, check_list, list_rows
from aggregates.periods import Period, RangeError, period
from aggregates.report import Metrics, metrics, metrics_to_date
from aggregates.rows import Rows
from aggregates.rules import Rules, RulesBook
from aggregates.shard_days import waiting_of
from schemas.accounts import AccountSettings, decode_settings, default_settings
from schemas.errors import InvalidRecord, InvalidSettings, UnknownType
from schemas.events import Event, decode_event, instant_us
from streams.logs import shown

DEFAULT_LATENESS = Lateness(3_600_000_000, 30 * 86_400_000_000)


class Question(NamedTuple):
    """What is asked of a range: its metrics, those of a comparison, or the rows of a list."""

    period: Period
    filters: Filters
    list_name: str | None = None
    over: float | None = None
    compare: str | None = None


class Replay:
    """Folds events in the order they are given, and keeps every account's facts in memory."""

    def __init__(self, settings: Iterable[AccountSettings], lateness: Lateness = DEFAULT_LATENESS) -> None:
        self.settings = {account.account_id: account for account in settings}
        self.facts: dict[str, dict[int, dict[bytes, tuple[str, Fact]]]] = {}
        """Per account and day its facts, each with its contact, by field."""
        self.outcomes: Counter[str] = Counter()
        self._lateness = lateness
        self._books: dict[str, RulesBook] = {}
        self._histories: dict[tuple[str, str], ContactHistory] = {}
        self._chunks: dict[tuple[str, str], dict[int, bytes]] = {}

    def book(self, account_id: str) -> RulesBook:
        """The settings of an account, compiled; the default ones if it never sent any."""
        if account_id not in self._books:
            settings = self.settings.setdefault(account_id, default_settings(account_id))
            self._books[account_id] = RulesBook(Rules(settings))
        return self._books[account_id]

    def history(self, account_id: str, contact_id: str) -> ContactHistory | None:
        """A contact's history with its chunks, if any of its events was seen."""
        history = self._histories.get((account_id, contact_id))
        if history is not None:
            self._attach(history, (account_id, contact_id))
        return history

    def fold(self, event: Event) -> Outcome:
        """Take one event in."""
        key = (event.account_id, event.contact_id)
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = ContactHistory()
        at_us = instant_us(event.occurred_at)
        if history.needs_chunks(event, at_us, self._lateness):
            self._attach(history, key)
        changes = FactChanges()
        (outcome,) = history.fold([(event, at_us)], self.book(event.account_id), self._lateness, changes)
        self.outcomes[outcome.value] += 1
        self._apply(*key, changes)
        for number, chunk in history.compact(self._lateness):
            kept = self._chunks.setdefault(key, {})
            if chunk is None:
                kept.pop(number, None)
            else:
                kept[number] = chunk
        return outcome

    def doubts(self) -> Iterator[str]:
        """What is allowed in settings and events and surely means something else."""
        for account_id, settings in sorted(self.settings.items()):
            for doubt in settings_doubts(settings):
                yield f"account {account_id!r}, {doubt.where}: {doubt.what} ({doubt.advice})"
        clocks = ClockDoubts()
        for history in self._histories.values():
            clocks.saw(history.entries)
        if (odd := clocks.doubt()) is not None:
            yield f"{odd.where}: {odd.what} ({odd.advice})"

    def blocks(self, account_id: str, days: Iterable[int] | None = None) -> dict[int, DayBlock]:
        """The block of each day (of those asked for) that has facts, as a publication would make it."""
        known = self.facts.get(account_id, {})
        wanted = sorted(known) if days is None else days
        return {day: decode_block(encode_block(day, list(known[day].values()))) for day in wanted if known.get(day)}

    def rows(self, account_id: str, wanted: Period) -> Rows:
        """The facts of a period."""
        return Rows.of(self.blocks(account_id, wanted.days).values())

    def answer(self, account_id: str, question: Question, now_ms: int) -> Metrics | list[dict[str, Any]]:
        """What is asked of an account. Raises `RangeError`, `ListRefused`."""
        rules = self.book(account_id).current
        calendar, filters, wanted = rules.calendar, question.filters, question.period
        if question.list_name is not None:
            check_list(question.list_name, filters, question.over)
            waits = WaitClocks(rules.clock_of_group, now_ms)
            rows = self.rows(account_id, wanted)
            return list_rows(question.list_name, rows, filters, waits, over=question.over)[1]
        if question.compare is None:
            return metrics(wanted, self.rows(account_id, wanted), filters, calendar, as_of_ms=now_ms)
        earlier, cut_ms = comparison(question.compare, wanted, calendar, now_ms)
        if cut_ms is None:
            return metrics(earlier, self.rows(account_id, earlier), filters, calendar, as_of_ms=now_ms)
        return metrics_to_date(earlier, self.rows(account_id, earlier), filters, calendar, cut_ms)

    def _attach(self, history: ContactHistory, key: tuple[str, str]) -> None:
        chunks = self._chunks.get(key, {})
        history.attach_chunks([chunks[number] for number in history.chunk_numbers()])

    def _apply(self, account_id: str, contact_id: str, changes: FactChanges) -> None:
        days = self.facts.setdefault(account_id, {})
        removed, added = changes.net()
        for fact in removed:
            del days[fact.day][fact_field(contact_id, fact)]
        for fact in added:
            days.setdefault(fact.day, {})[fact_field(contact_id, fact)] = (contact_id, fact)


def run(
    files: Sequence[Path],
    accounts: Path | None,
    account: str | None,
    question: Question | None,
    now: datetime | None,
    lateness: Lateness = DEFAULT_LATENESS,
) -> int:
    """Print the snapshot of each account (or of one), or the answer to a question.

    Returns the exit status: 1 if anything in the files was refused, beside the answer; 2 where nothing can be answered.
    """
    refused = Refused()
    settings = list(read_settings(accounts, refused)) if accounts is not None else []
    replay = Replay(settings, lateness)
    for event in read_events(files, replay.outcomes, refused):
        replay.fold(event)
    _summarise(replay.outcomes)
    for doubt in replay.doubts():
        print(shown(f"replay: warning: {doubt}"), file=sys.stderr)
    known = sorted({*replay.settings, *replay.facts})
    if account is not None and account not in known:
        return _refuse(f"there is no account {account!r} in these files; they have: {', '.join(known) or 'none'}")
    now_ms = int(now.timestamp() * 1000) if now is not None else int(time.time() * 1000)
    if question is None:
        for account_id in [account] if account is not None else known:
            _print(_snapshot(replay, account_id, now_ms))
        return refused.status
    if account is None:
        if len(known) != 1:
            return _refuse(f"say which account with --account (the files have: {', '.join(known) or 'none'})")
        (account,) = known
    try:
        answer = replay.answer(account, question, now_ms)
    except (RangeError, ListRefused) as error:
        return _refuse(str(error))
    for line in answer if isinstance(answer, list) else [answer]:
        _print(line)
    return refused.status


def asked(
    start: date,
    end: date,
    filters: Filters,
    list_name: str | None = None,
    over: float | None = None,
    compare: str | None = None,
) -> Question:
    """A question about a range of days. Raises `RangeError` for one that is upside down or too long."""
    return Question(period(start, end), filters, list_name, over, compare)


def _snapshot(replay: Replay, account_id: str, now_ms: int) -> dict[str, object]:
    rules = replay.book(account_id).current
    wanted = period_days(date.fromordinal(rules.calendar.day_of(now_ms)))
    publication = Publication(revision=1, published_at_ms=now_ms, as_of_ms=now_ms, complete=True, lag_records=0)
    blocks = replay.blocks(account_id)
    waiting = [waiting_of(facts.values()) for facts in replay.facts.get(account_id, {}).values()]
    shown = {day: block for day, block in blocks.items() if day in wanted}
    return snapshot_document(rules.settings, rules.calendar, shown, waiting, publication)


class Refused:
    """Counts the lines of files that were refused."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def status(self) -> int:
        """The exit status of a run that refused so many."""
        return int(self.count > 0)

    def tell(self, where: str, what: str, error: InvalidRecord) -> None:
        """Say on stderr what was refused, and count it."""
        self.count += 1
        print(shown(f"{where}: {what} refused: {error}"), file=sys.stderr)


def read_settings(path: Path, refused: Refused) -> Iterator[AccountSettings]:
    """The settings in a file, one per line; what is refused is told on stderr."""
    for number, line in enumerate(_without_mark(path.read_bytes()).splitlines(), 1):
        if line.strip():
            try:
                yield decode_settings(line)
            except InvalidSettings as error:
                refused.tell(f"{path}:{number}", "settings", error)


def read_events(files: Sequence[Path], outcomes: Counter[str], refused: Refused) -> Iterator[Event]:
    """The events in files, one per line; what is refused is told on stderr, and counted by its reason."""
    for path in files:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                line = (_without_mark(line) if number == 1 else line).strip()
                if not line:
                    continue
                try:
                    yield decode_event(line)
                except UnknownType:
                    outcomes["unknown-type"] += 1
                except InvalidRecord as error:
                    outcomes[error.reason] += 1
                    refused.tell(f"{path}:{number}", "event", error)


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _without_mark(data: bytes) -> bytes:
    """Without the mark that some programs put at the beginning of a file of UTF-8."""
    return data.removeprefix(_BYTE_ORDER_MARK)


def _summarise(outcomes: Counter[str]) -> None:
    text = ", ".join(f"{n} {name}" for name, n in sorted(outcomes.items())) or "no events"
    print(f"replay: {text}", file=sys.stderr)


def _refuse(reason: str) -> int:
    print(shown(f"mediana: {reason}"), file=sys.stderr)
    return 2


def _print(document: object) -> None:
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
