"""`mediana import`: rows of exports, or recorded webhooks, to events in the order of their time.

Everything is read and judged before the first event leaves: a row with an error stops the import, unless such rows are
to be skipped. Memory is bounded (`streams/ingest/external_sort.py`), so that an export may be larger than it; only a
workbook is read whole.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent
from schemas.events import Event, decode_event, instant_us, type_name
from streams.config import Config
from streams.ingest.body import refuse_future
from streams.ingest.external_sort import Place, SortedEvents
from streams.ingest.mapping import MappingError, Row, read_mapping
from streams.ingest.recorded_webhooks import FORMATS, body_of
from streams.ingest.tables import Found, Reading, json_lines, rows
from streams.logs import shown

MAX_SHOWN_ERRORS = 100
SENDS_AWAITED_TOGETHER = 2_000
SEND_PATIENCE_SECONDS = 60.0
PROGRESS_EVERY_EVENTS = 100_000


class Plan(Struct, frozen=True, kw_only=True):
    """What to import, and where to: exports by a `mapping`, or recorded webhooks of a `format`.

    Without `out`, and if it is no dry run, events go to Kafka.
    """

    files: list[Path]
    mapping: Path | None = None
    format: str | None = None
    account_id: str | None = None
    out: Path | None = None
    dry_run: bool = False
    skip_errors: bool = False

    @property
    def needs_no_kafka(self) -> bool:
        """Whether it can be done without Kafka, and so without its settings."""
        return self.dry_run or self.out is not None


class RowError(Struct, frozen=True):
    """A row that gives no event: where it stands (the line it ends on, from 1), and what is wrong with it."""

    file: str
    line: int
    reason: str
    detail: str


class Summary(Struct):
    """What an import found and did; printed as JSON."""

    rows: int = 0
    events: dict[str, int] = msgspec.field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    error_count: int = 0
    errors: list[RowError] = msgspec.field(default_factory=list)
    without_events: dict[str, int] = msgspec.field(default_factory=dict)
    """Of recorded webhooks, how many gave no events, by the reason."""
    files: list[Reading] = msgspec.field(default_factory=list)
    """How each file was read."""
    written: int = 0


class Source(Struct, frozen=True):
    """Where rows come from, and what becomes of one."""

    rows: Callable[[Path, Reading], Iterator[Found]]
    events: Callable[[Row], list[Event]]
    why_nothing: Callable[[Row], str] | None = None
    """Why a row gives no events, where that is worth a word."""


def run(config: Config | None, plan: Plan) -> int:
    """Import, print a summary on stdout, and return the exit status: 1 if any row was refused.

    Raises `MappingError`, `OSError`, and what the Kafka client raises. `config` may be missing where Kafka is not
    needed.
    """
    source = source_of(plan)
    with SortedEvents() as events:
        summary = collect(plan.files, source, events)
        stopped = bool(summary.error_count) and not plan.skip_errors
        if not plan.dry_run and not stopped:
            summary.written = write(plan.out, events) if plan.out else asyncio.run(send(_given(config), events))
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode() + "\n")
    for told in (reading.told() for reading in summary.files):
        if told is not None:
            _say(told)
    if stopped and not plan.dry_run:
        _say(
            f"nothing was imported: {summary.error_count} rows have errors; mend them, or leave them with --skip-errors"
        )
    return int(bool(summary.error_count))


def source_of(plan: Plan) -> Source:
    """Where a plan's rows come from. Raises `MappingError`."""
    if plan.format is not None:
        return _recorded(plan.format, plan.account_id)
    if plan.mapping is None:
        raise MappingError("say how to read the files: --mapping MAPPING.toml, or --format for recorded webhooks")
    mapping = read_mapping(plan.mapping)
    if plan.account_id is None and mapping.account_id is None and not mapping.names_accounts():
        raise MappingError(f"{plan.mapping} names no account: give it account_id, or use --account")
    return Source(
        lambda path, reading: rows(path, mapping, reading), lambda row: list(mapping.events(row, plan.account_id))
    )


def _recorded(name: str, account_id: str | None) -> Source:
    if account_id is None:
        raise MappingError(f"recorded webhooks of {name} name no account of Mediana's: use --account")
    webhooks, now = FORMATS[name], datetime.now(UTC)

    def events(row: Row) -> list[Event]:
        body, received_at = body_of(row, now)
        return webhooks.events(account_id, body, received_at)

    return Source(json_lines, events, lambda row: webhooks.why_nothing(body_of(row, now)[0]))


def collect(files: list[Path], source: Source, events: SortedEvents) -> Summary:
    """Read every row of every file into `events`, and say what was found."""
    summary = Summary()
    counts: Counter[str] = Counter()
    nothing: Counter[str] = Counter()
    first = last = None
    now_ms = time.time_ns() // 1_000_000
    for number, path in enumerate(files):
        reading = Reading(str(path), "")
        summary.files.append(reading)
        direction = _Direction()
        for line, row in source.rows(path, reading):
            summary.rows += 1
            try:
                if isinstance(row, InvalidEvent):
                    raise row
                # All of a row or nothing of it: half of one would be hard to find again.
                found = source.events(row)
                for event in found:
                    refuse_future(event, now_ms)
            except InvalidEvent as error:
                summary.error_count += 1
                if len(summary.errors) < MAX_SHOWN_ERRORS:
                    summary.errors.append(RowError(str(path), line, error.reason, error.detail))
                continue
            if not found and source.why_nothing is not None:
                nothing[source.why_nothing(row)] += 1
            for event in found:
                events.add(event, Place(number, line))
                counts[type_name(event)] += 1
                first = event.occurred_at if first is None else min(first, event.occurred_at)
                last = event.occurred_at if last is None else max(last, event.occurred_at)
            if found:
                direction.saw(instant_us(found[0].occurred_at))
        if direction.is_backwards:
            events.newest_first(number)
    summary.events = dict(sorted(counts.items()))
    summary.without_events = dict(sorted(nothing.items()))
    summary.first = None if first is None else first.isoformat()
    summary.last = None if last is None else last.isoformat()
    return summary


class _Direction:
    """Whether a file's rows go back in time, by how many steps each way."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._steps = 0

    def saw(self, at_us: int) -> None:
        """Take the instant of the next row."""
        if self._before is not None:
            self._steps += (at_us > self._before) - (at_us < self._before)
        self._before = at_us

    @property
    def is_backwards(self) -> bool:
        """Whether more steps went back than forth."""
        return self._steps < 0


def write(path: Path, events: SortedEvents) -> int:
    """Write the events to a file, one per line. Returns how many."""
    count = 0
    with path.open("wb") as out:
        for value in events.encoded():
            out.write(value + b"\n")
            count += 1
    return count


async def send(config: Config, events: SortedEvents) -> int:
    """Send the events to Kafka. Returns how many it has; raises `NotSent`, after which the import can be repeated."""
    from streams.ingest.producer import Outgoing, Sender, event_record

    sender = Sender(config, "mediana-import", SEND_PATIENCE_SECONDS)
    count, waiting = 0, list[Outgoing]()
    try:
        for value in events.encoded():
            waiting.append(event_record(decode_event(value), config.topics))
            if len(waiting) >= SENDS_AWAITED_TOGETHER:
                await sender.send(waiting)
                count += len(waiting)
                waiting = []
                if count % PROGRESS_EVERY_EVENTS == 0:
                    _say(f"{count:,} events sent")
        await sender.send(waiting)
        count += len(waiting)
    finally:
        await sender.stop()
    return count


def _given(config: Config | None) -> Config:
    assert config is not None, "sending needs settings"
    return config


def _say(text: str) -> None:
    print(shown(f"import: {text}"), file=sys.stderr, flush=True)
