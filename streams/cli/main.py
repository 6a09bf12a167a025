"""Runs the commands, and maps how they end to exit statuses.

Answers go to stdout as JSON, logs and progress to stderr. Exit status: 0 done, 1 failed (one line says what to do), 2 a
command line that makes no sense, 130 interrupted. Each command imports only what it runs, so that `replay` and
`business-time` start without the Kafka and Redis clients.
"""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streams import logs
from streams.cli.arguments import parse_arguments
from streams.secrecy import environment_secrets

if TYPE_CHECKING:
    from aggregates.filters import Filters
    from aggregates.history import Lateness
    from streams.config import Config

FAILED, INTERRUPTED = 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status (argparse itself exits with 2 on a bad command line)."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    # A wrong one is reported with the other settings.
    logs.set_up(
        os.environ.get("MEDIANA_LOG_FORMAT", logs.TEXT),
        os.environ.get("MEDIANA_LOG_LEVEL", "info"),
        environment_secrets(os.environ),
    )
    try:
        status = COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout left (`| head`). Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # the last stop: a person gets one line, a developer the traceback
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger("mediana").exception("%s failed", arguments.command)
        _tell(_explain(error))
        return FAILED
    return status


def _tell(problem: str) -> None:
    """Say on stderr why the program ends, in the form of its log: collectors are told too."""
    if logs.is_json():
        logging.getLogger("mediana").critical("%s", problem)
    else:
        print(logs.shown(f"mediana: {problem}"), file=sys.stderr)


def _explain(error: Exception) -> str:
    """One line: what went wrong and, where the kind of error tells, what to do."""
    text = " ".join(str(error).split()) or type(error).__name__
    package = type(error).__module__.partition(".")[0]
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"there is no file {error.filename}"
    if package == "redis":
        return f"Redis: {text} (is MEDIANA_REDIS_URL right? 'mediana check' tells more)"
    if package == "aiokafka":
        return f"Kafka: {text} (is MEDIANA_KAFKA_BOOTSTRAP right? 'mediana check' tells more)"
    if package in ("schemas", "aggregates", "streams"):
        return text
    return f"{type(error).__name__}: {text} (MEDIANA_LOG_LEVEL=debug shows where)"


# --- what each command runs -------------------------------------------------------------------------------------------


def _worker(arguments: Namespace) -> int:
    from streams.worker import run as worker

    return worker.run(_config(), arguments.accept_gap)


def _snapshot(arguments: Namespace) -> int:
    from streams.snapshots import command as rounds

    return rounds.run(_config(), arguments.account, arguments.watch)


def _serve(_arguments: Namespace) -> int:
    from streams.web import server as http

    return http.run(_config())


def _ingest(_arguments: Namespace) -> int:
    from streams.ingest import server as ingest

    return ingest.run(_config())


def _import(arguments: Namespace) -> int:
    from streams.ingest import file_import as importing

    plan = importing.Plan(
        files=arguments.files,
        mapping=arguments.mapping,
        format=arguments.format,
        account_id=arguments.account,
        out=arguments.out,
        dry_run=arguments.dry_run,
        skip_errors=arguments.skip_errors,
    )
    return importing.run(None if plan.needs_no_kafka else _config(), plan)


def _report(arguments: Namespace) -> int:
    from streams.cli import report

    return report.run(_config(), arguments.account, arguments.start, arguments.end, _filters(arguments))


def _list(arguments: Namespace) -> int:
    from streams.cli import list_rows

    return list_rows.run(
        _config(),
        arguments.account,
        list_rows.Asked(
            arguments.list,
            arguments.start,
            arguments.end,
            _filters(arguments),
            over=arguments.over,
            clock=arguments.clock,
            order=arguments.order,
        ),
    )


def _replay(arguments: Namespace) -> int:
    from streams.cli import replay

    question = None
    if arguments.start is not None:
        more = (arguments.list, arguments.over, arguments.compare)
        question = replay.asked(arguments.start, arguments.end, _filters(arguments), *more)
    return replay.run(
        arguments.files,
        arguments.accounts,
        arguments.account,
        question,
        arguments.now,
        _lateness(arguments),
    )


def _explain_contact(arguments: Namespace) -> int:
    from streams.cli import explain

    account, contact = arguments.account, arguments.contact
    if arguments.files:
        return explain.run_files(
            arguments.files, arguments.accounts, account, contact, _lateness(arguments), arguments.json
        )
    return explain.run(_config(), account, contact, arguments.json)


def _business_time(_arguments: Namespace) -> int:
    from streams.cli import business_time

    return business_time.run(sys.stdin, sys.stdout)


def _simulate(arguments: Namespace) -> int:
    from streams.simulation import command as simulate
    from streams.simulation.stream import Plan

    plan = Plan(
        now=arguments.now or datetime.now(UTC),
        days=arguments.days,
        accounts=arguments.accounts,
        contacts_per_day=arguments.contacts_per_day,
        live_rate=0.0 if arguments.no_live or arguments.out else arguments.live_rate,
        seed=arguments.seed,
    )
    if arguments.out:
        return simulate.write_files(plan, arguments.out)
    return simulate.run(_config(), plan, arguments.live_seconds)


def _topics(arguments: Namespace) -> int:
    from streams.kafka import topics

    _quiet_clients()
    return topics.run(_config(), arguments.action)


def _dead_letters(arguments: Namespace) -> int:
    from streams.cli import dead_letters_list as letters
    from streams.cli import dead_letters_replay as redelivery

    _quiet_clients()
    selection = letters.Selection(arguments.reason, frozenset(arguments.offset))
    if arguments.action == "list":
        return letters.run(_config(), selection, arguments.limit, json=arguments.json, payload=arguments.payload)
    plan = redelivery.Plan(selection=selection, file=arguments.file, dry_run=arguments.dry_run)
    return redelivery.run(_config(), plan)


def _rebuild(arguments: Namespace) -> int:
    from streams.cli import rebuild as rebuilding

    _quiet_clients()
    plan = rebuilding.Plan(into=arguments.into, workers=arguments.workers, accept_gap=arguments.accept_gap)
    return rebuilding.run(_config(), plan, os.environ)


def _namespace(arguments: Namespace) -> int:
    from streams.cli import namespaces

    _quiet_clients()
    return namespaces.run(_config(), arguments.name, confirmed=arguments.yes)


def _token(arguments: Namespace) -> int:
    from streams.cli import tokens

    plan = tokens.Plan(
        action=arguments.action, account_id=arguments.account, token_id=arguments.id, file=arguments.file
    )
    return tokens.run(_config(), plan)


def _check(arguments: Namespace) -> int:
    from streams.cli import check
    from streams.config import ConfigError

    with suppress(ConfigError):  # the check itself says what is wrong with the settings
        _config()
    _quiet_clients()
    return check.run(os.environ, json=arguments.json)


COMMANDS: Mapping[str, Callable[[Namespace], int]] = {
    "worker": _worker,
    "snapshot": _snapshot,
    "serve": _serve,
    "ingest": _ingest,
    "import": _import,
    "report": _report,
    "list": _list,
    "replay": _replay,
    "explain": _explain_contact,
    "business-time": _business_time,
    "simulate": _simulate,
    "topics": _topics,
    "dead-letters": _dead_letters,
    "rebuild": _rebuild,
    "namespace": _namespace,
    "token": _token,
    "check": _check,
}


def _filters(arguments: Namespace) -> "Filters":
    from aggregates.filters import Filters

    return Filters.parse(arguments.origin, arguments.group, arguments.channel, arguments.advisor)


def _lateness(arguments: Namespace) -> "Lateness":
    from aggregates.history import Lateness

    return Lateness(round(arguments.lateness * 1_000_000), round(arguments.contact_lateness * 86_400_000_000))


def _config() -> "Config":
    from streams.config import load

    config = load(os.environ)
    secrets = {*config.secrets(), *environment_secrets(os.environ)}
    logs.set_up(config.log_format, config.log_level, secrets)  # the settings' file may say otherwise
    return config


def _quiet_clients() -> None:
    """Keep the Kafka client's own complaints out of an answer that says the same, and what to do."""
    logger = logging.getLogger("aiokafka")
    if logger.getEffectiveLevel() > logging.DEBUG:
        logger.setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
