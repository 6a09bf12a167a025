"""Commands and options of the command line, their help, and combinations that are refused."""

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from schemas.limits import MAX_DAYS
from schemas.lists import CLOCKS, COMPARISONS, LISTS, ORDERS

DEFAULT_LATENESS_SECONDS = 3600.0
DEFAULT_CONTACT_LATENESS_DAYS = 30.0

MOST = 1_000_000_000
"""Of anything that is counted, and of seconds (31 years)."""

_FIRST_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
_PAST_INSTANTS = datetime(9999, 1, 1, tzinfo=UTC)

WEBHOOK_FORMATS = ("chatwoot",)
"""Services whose recorded webhooks `import` reads: those of `streams.ingest.recorded_webhooks`."""

_Parser = argparse.ArgumentParser

DESCRIPTION = """\
How fast and how well a team answers its contacts: one report per account, kept up to date from Kafka events.

To run it:      worker (events to counters), snapshot --watch (counters to reports), serve (the page and its API)
To look at it:  report (numbers) and list (the rows behind them), from Redis; replay (from files, no servers needed),
                explain (why a number is what it is), business-time (the working-hours clock)
To feed it:     ingest (events over HTTP, Chatwoot's webhooks), import (exports, recorded webhooks)
To set it up:   topics, check, simulate, token (who may read the page and its API)
To mend it:     dead-letters (records that were set aside), rebuild (everything again, from the topics), namespace
"""
EPILOG = """\
Settings come from the environment (MEDIANA_…) or from a TOML file named by MEDIANA_CONFIG; docs/run/settings.md lists
them.
'mediana COMMAND --help' explains a command.
"""
REPLAY = """\
Computes the report from files, by the rules that the worker applies: no Kafka, no Redis. Each file holds one event per
line, in the order of arrival; several files are read one after the other.

Prints the snapshot document of the account, or, with --from and --to, its metrics for those days: with --compare those
of the period that they are compared with, with --list the rows behind a number.
"""
EXPLAIN = """\
Prints what happened to one contact, and at each moment what the report made of it: when a wait began and ended, both
durations, the schedule and the intervals that were counted, what was left out and by which rule. For whoever doubts a
number. Reads the state in Redis, or, when files are given, those files as 'replay' does.
"""
REPORT = """\
Prints an account's metrics for a range of days, from the snapshot published in Redis. Live counters are not touched, so
the numbers are those of the page at the same revision.
"""
LIST = """\
Prints the rows that a number of the report counts, from the snapshot published in Redis: one JSON object a line,
ordered by instant, then contact. As many rows as the number says, under the same range and filters. 'waiting' needs no
range: it then lists all who wait.
"""
WORKER = """\
Reads the contact, conversation and account topics, folds events into each contact's state and each day's counters, and
commits both to Redis with the position in the log, in one step. Start as many as there are partitions; they share the
work. Stopping one at any moment loses nothing and counts nothing twice.
"""
SNAPSHOT = """\
Publishes every account's report to Redis now and ends. With --watch it keeps running and publishes by the schedule in
the settings (MEDIANA_SNAPSHOT_CRON or MEDIANA_SNAPSHOT_INTERVAL_SECONDS).
"""
SIMULATE = """\
Plays a messaging service: publishes account settings, then days of plausible history that end now, then live traffic
until stopped. Equal --seed and --now give equal events. With --out it writes files instead, which 'mediana replay'
reads.
"""
INGEST = """\
Takes events over HTTP, checks each one and sends it to Kafka, for services that do not speak Kafka themselves: POST
/v1/events, PUT /v1/accounts/ACCOUNT for settings, POST /v1/chatwoot/ACCOUNT for Chatwoot's webhooks. An event is taken
when every replica of Kafka has it. Runs until stopped.
"""
IMPORT = """\
Makes events of exports (CSV, JSONL or a workbook) by a mapping file that says which column is which field, or of
recorded webhooks (--format, one body a line), and sends them to Kafka in the order of their time, or writes them to a
file. A row that gives the same event again is counted once, so that an import can be repeated. Nothing is sent while a
row has an error, unless --skip-errors is given. Exit status 1 if any row was refused.
"""
BUSINESS_TIME = """\
Reads cases from stdin, one JSON object per line: {"timezone", "schedule", "holidays", "start", "end"}, where schedule
is weekly hours such as {"mon": [["09:00", "13:00"], ["14:00", "18:00"]]}. Prints one line each: {"seconds": N}, the
seconds between start and end that lie inside working hours.
"""
DEAD_LETTERS = """\
list: prints what could not be used and was set aside, one record a line: reason, where it was, when it was sent, its
size and what is wrong with it. What it holds is shown only with --payload.

replay: sends such records again, as they are or repaired (--file), after the checks that a worker makes: to the topic
of the event's type, keyed by its contact. An event counts once, however often it is sent. What would be refused again
is left out and listed; exit status 1 then. Those that came too late are never sent again: they are in their topic, and
only a rebuild with a longer MEDIANA_LATENESS_SECONDS includes them.
"""
REBUILD = """\
Computes everything in Redis again from the topics, into a new namespace beside the present one, which goes on
untouched: runs workers until they are up with the log, publishes, compares the reports of both namespaces, and prints
what differs as JSON. Interrupted, the same command goes on where it was. Which namespace is used is a setting,
MEDIANA_NAMESPACE.
"""
NAMESPACE = """\
drop: deletes everything that a namespace keeps in Redis, little by little. Not the one in use (MEDIANA_NAMESPACE), and
none that workers are working on.
"""
TOKEN = """\
create: makes a token that opens one account, adds its digest to the tokens file, and prints the token as JSON: once, it
is kept nowhere. list: prints which accounts have tokens, and the tokens' ids. revoke: takes tokens out, one by --id or
all of an --account. A running server follows the file within seconds.
"""
CHECK = """\
Checks the settings and the servers they name, changes nothing, and says what to do about each failure. Exit status 1 if
anything failed; warnings do not fail.
"""


def program_version() -> str:
    """The installed version, or `unknown` when run from a folder that was never installed."""
    try:
        return version("mediana")
    except PackageNotFoundError:
        return "unknown"


def build_parser(filter_values: str | int = "+") -> argparse.ArgumentParser:
    """The whole command line. `filter_values` is how many values one `--origin` (group, channel, advisor) takes."""
    parser = _parser(argparse.ArgumentParser, prog="mediana", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"mediana {program_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str, description: str) -> _Parser:
        return _parser(commands.add_parser, name=name, help=summary, description=description)

    worker = command("worker", "fold events from Kafka into Redis, until stopped", WORKER)
    worker.add_argument(
        "--accept-gap",
        action="store_true",
        help="go on although Kafka no longer has records that were never read; the reports say so for good",
    )

    snapshot = command("snapshot", "publish reports: once now, or by schedule", SNAPSHOT)
    snapshot.add_argument("--account", metavar="ID", help="only this account (default: all)")
    snapshot.add_argument("--watch", action="store_true", help="keep running and publish by schedule")

    command("serve", "the page and its JSON API, until stopped", "Serves the page and its JSON API.")

    command("ingest", "take events over HTTP and send them to Kafka, until stopped", INGEST)

    importing = command("import", "events from exports and recorded webhooks", IMPORT)
    importing.add_argument(
        "files", metavar="FILE", type=Path, nargs="+", help="exports (*.csv, *.jsonl, *.xlsx), or recorded webhooks"
    )
    how = importing.add_mutually_exclusive_group(required=True)
    how.add_argument("--mapping", metavar="MAPPING.toml", type=Path, help="which column is which field")
    how.add_argument("--format", choices=WEBHOOK_FORMATS, help="the files hold webhooks of this service, one a line")
    importing.add_argument("--account", metavar="ID", help="the account, if the mapping does not say it, or another")
    importing.add_argument(
        "--out", metavar="EVENTS.jsonl", type=Path, help="write the events to this file instead of to Kafka"
    )
    importing.add_argument(
        "--dry-run", action="store_true", help="only say what would be done, and which rows are wrong"
    )
    importing.add_argument("--skip-errors", action="store_true", help="leave rows with errors out instead of stopping")

    report = command("report", "metrics of a range of days, from the published snapshot", REPORT)
    report.add_argument("--account", metavar="ID", required=True, help="the account")
    _add_range(report, required=True)
    _add_filters(report, filter_values)

    listing = command("list", "the rows behind a number, from the published snapshot", LIST)
    listing.add_argument("list", metavar="LIST", choices=LISTS, help=f"one of: {', '.join(LISTS)}")
    listing.add_argument("--account", metavar="ID", required=True, help="the account")
    _add_range(listing, required=False)
    listing.add_argument(
        "--over",
        metavar="SECONDS",
        type=_seconds,
        help="only what took strictly more, where rows have durations",
    )
    listing.add_argument("--clock", choices=CLOCKS, default=CLOCKS[0], help="which clock (default: %(default)s)")
    listing.add_argument("--order", choices=ORDERS, default=ORDERS[0], help="which first (default: %(default)s)")
    _add_filters(listing, filter_values)

    replay = command("replay", "the report from files of events, without servers", REPLAY)
    replay.add_argument(
        "files",
        metavar="EVENTS.jsonl",
        type=Path,
        # None given: `parse_arguments` looks once more before it is a mistake.
        nargs="*" if filter_values == "+" else "+",
        help="files with one event per line, in arrival order",
    )
    _add_accounts_file(replay)
    replay.add_argument("--account", metavar="ID", help="the account (needed when the events name several)")
    _add_range(replay, required=False)
    _add_filters(replay, filter_values)
    replay.add_argument("--now", metavar="INSTANT", type=_instant, help="when 'today' is, RFC 3339 (default: now)")
    replay.add_argument("--list", choices=LISTS, help="the rows behind a number of the range, one JSON object a line")
    replay.add_argument("--over", metavar="SECONDS", type=_seconds, help="of a list with durations, only longer ones")
    replay.add_argument("--compare", choices=COMPARISONS, help="the metrics of the period the range is compared with")
    _add_lateness(replay)

    explain = command("explain", "a contact's timeline as the report saw it", EXPLAIN)
    explain.add_argument(
        "files", metavar="EVENTS.jsonl", type=Path, nargs="*", help="files of events (default: what Redis keeps)"
    )
    explain.add_argument("--account", metavar="ID", required=True, help="the account")
    explain.add_argument("--contact", metavar="ID", required=True, help="the contact")
    _add_accounts_file(explain)
    _add_lateness(explain)
    explain.add_argument("--json", action="store_true", help="print one JSON document instead of lines")

    command("business-time", "seconds inside working hours, for cases on stdin", BUSINESS_TIME)

    simulate = command("simulate", "a messaging service to try things with", SIMULATE)
    simulate.add_argument("--days", type=_days, default=14, help="days of history before now (default: %(default)s)")
    simulate.add_argument("--accounts", type=_count, default=2, help="how many accounts (default: %(default)s)")
    simulate.add_argument(
        "--contacts-per-day", type=_count, default=60, help="new contacts a day and account (default: %(default)s)"
    )
    simulate.add_argument(
        "--live-rate", metavar="EVENTS", type=_seconds, default=2.0, help="live events a second (default: %(default)g)"
    )
    simulate.add_argument("--live-seconds", metavar="SECONDS", type=_seconds, help="end live traffic after so long")
    simulate.add_argument("--no-live", action="store_true", help="end after the history")
    simulate.add_argument("--seed", type=int, default=1, help="another seed, another history (default: %(default)s)")
    simulate.add_argument("--now", metavar="INSTANT", type=_instant, help="when the history ends (default: now)")
    simulate.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="write the history to this file, and the settings to FILE with .accounts.jsonl, instead of to Kafka",
    )

    topics = command("topics", "create, describe or check the Kafka topics", "The four Kafka topics.")
    topics.add_argument(
        "action",
        choices=["create", "describe", "check"],
        help="create those that are missing; print what there is; or see whether they fit (status 1 if not)",
    )

    letters = command("dead-letters", "list records that were set aside, or send them again", DEAD_LETTERS)
    letters.add_argument("action", choices=["list", "replay"], help="print them; or send them again")
    letters.add_argument("--reason", metavar="REASON", help="only those of this reason, e.g. malformed")
    letters.add_argument(
        "--offset",
        metavar="N",
        action="append",
        default=[],
        help="only the record at this offset, or TOPIC/PARTITION/OFFSET as listed; may be repeated",
    )
    letters.add_argument("--limit", metavar="N", type=_count, help="list: only the newest so many")
    letters.add_argument("--json", action="store_true", help="list: a JSON object per line instead of text")
    letters.add_argument("--payload", action="store_true", help="list: what the records hold, too")
    letters.add_argument(
        "--file",
        metavar="REPAIRED.jsonl",
        type=Path,
        help="replay: send these, one event or one mended line of 'list --json --payload' per line",
    )
    letters.add_argument("--dry-run", action="store_true", help="replay: only say what would be sent")

    rebuild = command("rebuild", "everything again from the topics, into a new namespace", REBUILD)
    rebuild.add_argument("--into", metavar="NAMESPACE", required=True, help="the new namespace")
    rebuild.add_argument(
        "--workers", metavar="N", type=_count, default=1, help="how many at once (default: %(default)s)"
    )
    rebuild.add_argument(
        "--accept-gap",
        action="store_true",
        help="rebuild although Kafka no longer has the beginning of the log; the reports say so for good",
    )

    namespace = command("namespace", "delete what a namespace keeps in Redis", NAMESPACE)
    namespace.add_argument("action", choices=["drop"], help="delete all its keys")
    namespace.add_argument("name", metavar="NAME", help="the namespace")
    namespace.add_argument("--yes", action="store_true", help="really; without it the keys are only counted")

    token = command("token", "make, list or revoke tokens of the page and its API", TOKEN)
    token.add_argument("action", choices=["create", "list", "revoke"], help="make one; print them; or take some out")
    token.add_argument("--account", metavar="ID", help="the account that it opens; list, revoke: only this account's")
    token.add_argument("--id", metavar="TOKEN_ID", help="revoke: the one with this id, as 'list' and 'create' print it")
    token.add_argument(
        "--file", metavar="TOKENS", type=Path, help="the tokens file (default: MEDIANA_HTTP_TOKENS_FILE)"
    )

    check = command("check", "settings and connections, with what to do about each failure", CHECK)
    check.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of `argv`. Exits with status 2 after a line on stderr if they make no sense."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command == "replay" and not arguments.files:
        # `replay --origin X EVENTS.jsonl`: the filter took the file for a second value. One value each, then.
        parser = build_parser(filter_values=1)
        arguments = parser.parse_args(argv)
    if arguments.command == "dead-letters":
        _check_dead_letters(parser, arguments)
    if arguments.command == "token":
        _check_token(parser, arguments)
    if arguments.command == "rebuild" and arguments.workers == 0:
        parser.error("--workers 0: a rebuild needs at least one")
    start, end = getattr(arguments, "start", None), getattr(arguments, "end", None)
    if (start is None) != (end is None):
        parser.error("--from and --to go together")
    if arguments.command == "replay":
        _check_question(parser, arguments)
    if start is not None and end is not None:
        _check_range(parser, start, end)
    if hasattr(arguments, "origin"):
        _check_filters(parser, arguments)
    return arguments


def _check_question(parser: _Parser, arguments: argparse.Namespace) -> None:
    asked = [option for option in ("list", "over", "compare") if getattr(arguments, option) is not None]
    if asked and arguments.start is None:
        parser.error(f"--{asked[0]} asks about a range: give --from and --to")
    if arguments.list is not None and arguments.compare is not None:
        parser.error("--list and --compare do not go together")
    if arguments.over is not None and arguments.list is None:
        parser.error("--over needs --list")


def _check_range(parser: _Parser, start: date, end: date) -> None:
    from aggregates.periods import RangeError, period

    if start > end:
        parser.error(f"--from {start} is after --to {end}")
    try:
        period(start, end)
    except RangeError as error:
        parser.error(f"--from {start} --to {end}: {error}")


def _check_filters(parser: _Parser, arguments: argparse.Namespace) -> None:
    from aggregates.filters import FilterError, Filters

    try:
        Filters.parse(arguments.origin, arguments.group, arguments.channel, arguments.advisor)
    except FilterError as error:
        parser.error(f"{error}; ask in several parts")


def _check_dead_letters(parser: _Parser, arguments: argparse.Namespace) -> None:
    of_list = {"--limit": arguments.limit is not None, "--json": arguments.json, "--payload": arguments.payload}
    of_replay = {"--file": arguments.file is not None, "--dry-run": arguments.dry_run}
    action, foreign = arguments.action, of_replay if arguments.action == "list" else of_list
    for option, given in foreign.items():
        if given:
            parser.error(f"'dead-letters {action}' takes no {option}")
    if arguments.file is not None and (arguments.reason is not None or arguments.offset):
        parser.error("--file says what to send; --reason and --offset choose among the dead letters")


def _check_token(parser: _Parser, arguments: argparse.Namespace) -> None:
    if arguments.action == "create" and arguments.account is None:
        parser.error("'token create' needs --account")
    if arguments.action == "revoke" and arguments.account is None and arguments.id is None:
        parser.error("'token revoke' needs --id, or --account for all of an account")
    if arguments.action != "revoke" and arguments.id is not None:
        parser.error(f"'token {arguments.action}' takes no --id")


def _parser(make: Callable[..., _Parser], **options: object) -> _Parser:
    """A parser that keeps the line breaks of its texts and takes no abbreviated options."""
    return make(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)


def _add_accounts_file(parser: _Parser) -> None:
    parser.add_argument("--accounts", metavar="ACCOUNTS.jsonl", type=Path, help="account settings, one per line")


def _add_lateness(parser: _Parser) -> None:
    parser.add_argument(
        "--lateness",
        metavar="SECONDS",
        type=_seconds,
        default=DEFAULT_LATENESS_SECONDS,
        help="how far behind its contact's newest event a conversation event may arrive (default: %(default)g)",
    )
    parser.add_argument(
        "--contact-lateness",
        metavar="DAYS",
        type=_seconds,
        default=DEFAULT_CONTACT_LATENESS_DAYS,
        help="the same for a contact's own events (default: %(default)g)",
    )


def _add_range(parser: _Parser, *, required: bool) -> None:
    days = "of the account's calendar, YYYY-MM-DD"
    parser.add_argument(
        "--from", dest="start", metavar="DATE", type=_date, required=required, help=f"the first day, {days}"
    )
    parser.add_argument(
        "--to", dest="end", metavar="DATE", type=_date, required=required, help="the last day, itself included"
    )


def _add_filters(parser: _Parser, values: str | int) -> None:
    group = parser.add_argument_group(
        "filters", "May be repeated and combined; 'none' asks for what has none, '=none' for a name."
    )
    for name, meaning in (
        ("origin", "where the contact came from"),
        ("group", "a group's id"),
        ("channel", "a channel, e.g. whatsapp"),
        ("advisor", "an advisor's id"),
    ):
        group.add_argument(f"--{name}", metavar="X", nargs=values, action="extend", default=[], help=meaning)


def _date(text: str) -> date:
    try:
        if len(text) != len("2026-11-22"):  # fromisoformat also reads 20261122 and 2026-W47
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write 2026-11-22") from None


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an instant with offset; write 2026-11-22T12:00:00Z")
    if not _FIRST_INSTANT <= moment < _PAST_INSTANTS:
        raise argparse.ArgumentTypeError(f"{text!r} is before 1970 or past the year 9998")
    return moment


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    if seconds > MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST}")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    if len(text) > len(str(MOST)) or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST}")
    return int(text)


def _days(text: str) -> int:
    days = _count(text)
    if days > MAX_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MAX_DAYS} days")
    return days
