"""`mediana explain`: a contact's timeline as the report saw it, from the ledger or from files."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Any

import orjson
from redis.exceptions import RedisError

from aggregates.explanation import Measure, Moment, explain
from aggregates.history import ContactHistory, Lateness, Outcome
from aggregates.report import instant_text
from aggregates.rules import Rules, RulesBook
from schemas import zones
from schemas.events import Event, instant_us, type_name
from streams.cli.replay import Refused, Replay, read_events, read_settings
from streams.config import Config
from streams.logs import one_line, shown
from streams.redis.clients import connect
from streams.redis.keys import NamespaceKeys, ShardKeys, chunk_field, contact_key, rules_field
from streams.redis.settings_store import add_versions
from streams.redis.usable_settings import in_use

Excluded = tuple[Event, str]
"""An event that is not in the timeline, and the rule that kept it out."""


class UnknownContactError(LookupError):
    """No event of that contact was ever accepted."""

    def __init__(self, account_id: str, contact_id: str) -> None:
        super().__init__(f"account {account_id!r} has no contact {contact_id!r}, or none of its events was accepted")


def run_files(
    files: Sequence[Path], accounts: Path | None, account: str, contact: str, lateness: Lateness, as_json: bool
) -> int:
    """Explain a contact from files of events in arrival order. Returns the exit status: 1 if anything was refused."""
    refused = Refused()
    replay = Replay(read_settings(accounts, refused) if accounts is not None else (), lateness)
    excluded: list[Excluded] = []
    for event in read_events(files, Counter(), refused):
        if (event.account_id, event.contact_id) == (account, contact):
            outcome = replay.fold(event)
            if outcome is not Outcome.APPLIED:
                excluded.append((event, outcome.value))
    history = replay.history(account, contact)
    if history is None:
        print(shown(f"mediana: {UnknownContactError(account, contact)}"), file=sys.stderr)
        return 1
    book = replay.book(account)
    _print(account, contact, explain(history.start(), history.entries, book), excluded, book.current, as_json)
    return refused.status


def run(config: Config, account: str, contact: str, as_json: bool) -> int:
    """Explain a contact from the ledger in Redis. Returns the exit status."""
    try:
        entries_book = asyncio.run(_from_ledger(config, account, contact))
    except (UnknownContactError, RedisError) as error:
        print(shown(f"mediana: {error}"), file=sys.stderr)
        return 1
    history, book = entries_book
    _print(account, contact, explain(history.start(), history.entries, book), [], book.current, as_json)
    return 0


async def _from_ledger(config: Config, account: str, contact: str) -> tuple[ContactHistory, RulesBook]:
    redis: Any = connect(config)
    try:
        namespace = NamespaceKeys(config.namespace)
        key = contact_key(account, contact)
        partitions = int(await redis.hget(namespace.meta, "partitions") or 0)
        for shard in map(namespace.shard, range(partitions)):
            data = await redis.hget(shard.states, key)
            if data is not None:
                history = ContactHistory.decode(data)
                fields = [chunk_field(key, number) for number in history.chunk_numbers()]
                history.attach_chunks(await redis.hmget(shard.chunks, fields) if fields else [])
                return history, await _book(redis, namespace, shard, account, history)
        raise UnknownContactError(account, contact)
    finally:
        await redis.aclose()


async def _book(
    redis: Any, namespace: NamespaceKeys, shard: ShardKeys, account: str, history: ContactHistory
) -> RulesBook:
    """The account's rules, with every version that the history names."""
    book = RulesBook((await in_use(redis, namespace, account, await redis.hget(namespace.settings, account))).rules)
    for version in history.settings_versions():
        if version not in book:
            add_versions(book, account, {version: await redis.hget(shard.rules, rules_field(account, version))})
    return book


def _print(
    account: str, contact: str, moments: Iterable[Moment], excluded: Sequence[Excluded], rules: Rules, as_json: bool
) -> None:
    if as_json:
        document = {
            "account_id": account,
            "contact_id": contact,
            "timezone": rules.settings.timezone,
            "moments": [_moment_document(moment) for moment in moments],
            "excluded": [_excluded_document(*pair) for pair in excluded],
        }
        sys.stdout.write(orjson.dumps(document).decode() + "\n")
        return
    zone = zones.zone(rules.settings.timezone)
    sys.stdout.write(one_line(f"Contact {contact} of account {account}, times in {rules.settings.timezone}") + "\n")
    for line in _lines(moments, zone):
        sys.stdout.write(one_line(line) + "\n")
    for event, rule in excluded:
        at = _local(instant_us(event.occurred_at) // 1000, zone)
        sys.stdout.write(f"{at}  {type_name(event)}  {one_line(event.id)}\n    not counted: {rule}\n")


def _lines(moments: Iterable[Moment], zone: tzinfo) -> Iterator[str]:
    for moment in moments:
        details = [
            f"{name} {value}"
            for name, value in (
                ("conversation", moment.conversation),
                ("channel", moment.channel),
                ("advisor", moment.advisor),
                ("group", moment.group),
            )
            if value is not None
        ]
        yield f"{_local(moment.at_ms, zone)}  {moment.type}  {moment.id}  {', '.join(details)}"
        for note in moment.notes:
            yield f"    {note.text}"
            if note.measure is not None:
                yield from _measure_lines(note.measure, zone)


def _measure_lines(measure: Measure, zone: tzinfo) -> Iterator[str]:
    yield f"        from {_local(measure.since_ms, zone)} to {_local(measure.until_ms, zone)}"
    yield f"        elapsed {measure.elapsed_ms / 1000:.3f} s, business {measure.business_ms / 1000:.3f} s"
    if measure.schedule is None:
        yield "        no schedule: business is elapsed"
        return
    yield f"        schedule {measure.schedule}"
    for span in measure.spans:
        version = span.valid_from or "the first version"
        yield f"        counted {_local(span.start_ms, zone)} to {_local(span.end_ms, zone)} ({version})"


def _moment_document(moment: Moment) -> dict[str, Any]:
    return {
        "at": instant_text(moment.at_ms),
        "day": date.fromordinal(moment.local_day).isoformat(),
        "type": moment.type,
        "id": moment.id,
        "conversation_id": moment.conversation,
        "channel": moment.channel,
        "advisor_id": moment.advisor,
        "group_id": moment.group,
        "notes": [
            {"rule": note.rule, "text": note.text}
            | ({} if note.measure is None else {"measure": _measure_document(note.measure)})
            for note in moment.notes
        ],
    }


def _measure_document(measure: Measure) -> dict[str, Any]:
    return {
        "since": instant_text(measure.since_ms),
        "until": instant_text(measure.until_ms),
        "elapsed_seconds": measure.elapsed_ms / 1000,
        "business_seconds": measure.business_ms / 1000,
        "schedule": measure.schedule,
        "counted": [
            {"from": instant_text(span.start_ms), "to": instant_text(span.end_ms), "valid_from": span.valid_from}
            for span in measure.spans
        ],
    }


def _excluded_document(event: Event, rule: str) -> dict[str, Any]:
    return {
        "at": instant_text(instant_us(event.occurred_at) // 1000),
        "type": type_name(event),
        "id": event.id,
        "rule": rule,
    }


def _local(instant_ms: int, zone: tzinfo) -> str:
    moment = datetime.fromtimestamp(instant_ms / 1000, UTC).astimezone(zone)
    return moment.isoformat(sep=" ", timespec="milliseconds")
