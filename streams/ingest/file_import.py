"""The body of `mediana import`: rows of exports, by a mapping, to events in the order of their time.

Everything is read and judged before the first event leaves: a row with an error stops the import, unless such rows are
to be skipped. Memory is bounded (`streams/ingest/external_sort.py`), so that an export may be larger than it.
"""

import asyncio
import codecs
import csv
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import msgspec
from msgspec import Struct

from schemas.errors import InvalidEvent
from schemas.events import decode_event, type_name
from streams.config import Config
from streams.ingest.body import refuse_future
from streams.ingest.external_sort import SortedEvents
from streams.ingest.mapping import ExportMapping, MappingError, Row, read_mapping
from streams.logs import one_line

MAX_SHOWN_ERRORS = 100
SENDS_AWAITED_TOGETHER = 2_000
SEND_PATIENCE_SECONDS = 60.0
PROGRESS_EVERY_EVENTS = 100_000

MAX_CELL_BYTES = 16 << 20
"""Texts of messages stand in exports; Python's own limit of 128 KiB is less than a long e-mail."""

BAD_ROW = "bad-row"
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


class Plan(Struct, frozen=True, kw_only=True):
    """What to import, and where to. Without `out`, and if it is no dry run, events go to Kafka."""

    files: list[Path]
    mapping: Path
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
    written: int = 0


def run(config: Config | None, plan: Plan) -> int:
    """Import, print a summary on stdout, and return the exit status: 1 if rows had errors that were not to be skipped.

    Raises `MappingError`, `OSError`, and what the Kafka client raises. `config` may be missing where Kafka is not
    needed.
    """
    mapping = read_mapping(plan.mapping)
    if plan.account_id is None and mapping.account_id is None and not mapping.names_accounts():
        raise MappingError(f"{plan.mapping} names no account: give it account_id, or use --account")
    with SortedEvents() as events:
        summary = collect(plan, mapping, events)
        stopped = bool(summary.error_count) and not plan.skip_errors
        if not plan.dry_run and not stopped:
            summary.written = write(plan.out, events) if plan.out else asyncio.run(send(_given(config), events))
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode() + "\n")
    if stopped and not plan.dry_run:
        _say(
            f"nothing was imported: {summary.error_count} rows have errors; mend them, or leave them with --skip-errors"
        )
    return int(stopped)


def collect(plan: Plan, mapping: ExportMapping, events: SortedEvents) -> Summary:
    """Read every row of every file into `events`, and say what was found."""
    summary = Summary()
    counts: Counter[str] = Counter()
    first = last = None
    now_ms = time.time_ns() // 1_000_000
    for path in plan.files:
        for line, row in rows(path, mapping):
            summary.rows += 1
            try:
                if isinstance(row, InvalidEvent):
                    raise row
                # All of a row or nothing of it: half of one would be hard to find again.
                found = list(mapping.events(row, plan.account_id))
                for event in found:
                    refuse_future(event, now_ms)
            except InvalidEvent as error:
                summary.error_count += 1
                if len(summary.errors) < MAX_SHOWN_ERRORS:
                    summary.errors.append(RowError(str(path), line, error.reason, error.detail))
                continue
            for event in found:
                events.add(event)
                counts[type_name(event)] += 1
                first = event.occurred_at if first is None else min(first, event.occurred_at)
                last = event.occurred_at if last is None else max(last, event.occurred_at)
    summary.events = dict(sorted(counts.items()))
    summary.first = None if first is None else first.isoformat()
    summary.last = None if last is None else last.isoformat()
    return summary


def rows(path: Path, mapping: ExportMapping) -> Iterator[tuple[int, Row | InvalidEvent]]:
    """The rows of an export with the line each ends on; in place of one that cannot be read, what is wrong with it."""
    try:
        with path.open(encoding=mapping.encoding, newline="") as file:
            yield from _json_rows(file) if path.suffix.lower() in _JSON_SUFFIXES else _csv_rows(path, file, mapping)
    except UnicodeDecodeError as error:
        raise MappingError(
            f"{path} is not {codecs.lookup(mapping.encoding).name}: set `encoding` ({error.reason})"
        ) from None


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


def _csv_rows(path: Path, file: TextIO, mapping: ExportMapping) -> Iterator[tuple[int, Row | InvalidEvent]]:
    csv.field_size_limit(MAX_CELL_BYTES)
    reader = csv.DictReader(file, delimiter=mapping.delimiter, strict=True)
    try:
        header = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    except csv.Error as error:
        raise MappingError(f"{path}: the header cannot be read: {error}") from None
    missing = sorted(mapping.columns() - set(header))
    if missing:
        raise MappingError(f"{path} has no column {', '.join(map(repr, missing))}; it has {', '.join(header)}")
    doubled = sorted(name for name in mapping.columns() if header.count(name) > 1)
    if doubled:
        raise MappingError(f"{path} has more than one column {', '.join(map(repr, doubled))}")
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, InvalidEvent(BAD_ROW, str(error))
            continue
        if row is None:
            return
        if None in row:
            yield reader.line_num, InvalidEvent(BAD_ROW, f"it has more cells than the header's {len(header)}")
        elif row[header[-1]] is None:
            yield reader.line_num, InvalidEvent(BAD_ROW, f"it has fewer cells than the header's {len(header)}")
        else:
            yield reader.line_num, row


def _json_rows(file: TextIO) -> Iterator[tuple[int, Row | InvalidEvent]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            yield number, InvalidEvent(BAD_ROW, str(error))
            continue
        yield number, row if isinstance(row, dict) else InvalidEvent(BAD_ROW, "it is no JSON object")


def _given(config: Config | None) -> Config:
    assert config is not None, "sending needs settings"
    return config


def _say(text: str) -> None:
    print(one_line(f"import: {text}"), file=sys.stderr, flush=True)
