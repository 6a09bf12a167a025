"""`mediana report`: the metrics of a range under filters, from the published snapshot."""

import asyncio
import sys
from datetime import date

import orjson

from aggregates.filters import Filters
from aggregates.periods import RangeError
from streams.config import Config
from streams.logs import shown
from streams.redis.clients import connect
from streams.snapshots.reader import Answer, ListPage, NoReport, SnapshotReader

REFUSED = 2


def run(config: Config, account: str, start: date, end: date, filters: Filters) -> int:
    """Print the metrics object as JSON. Returns the exit status."""
    return asyncio.run(_report(config, account, start, end, filters))


async def _report(config: Config, account: str, start: date, end: date, filters: Filters) -> int:
    redis = connect(config)
    try:
        answer = await SnapshotReader(redis, config.namespace).metrics(account, start, end, filters, compare=None)
    except NoReport as error:
        tell(str(error))
        return 1
    except RangeError as error:
        tell(str(error))
        return REFUSED
    finally:
        await redis.aclose()
    tell_what_is_missing(answer)
    sys.stdout.write(orjson.dumps(answer.metrics).decode() + "\n")
    return 0


def tell_what_is_missing(found: Answer | ListPage) -> None:
    """Say on stderr what whoever reads the answer should know: records that are missing, filters that match nothing."""
    if not found.complete:
        since = found.complete_from
        lost = "" if since is None else f"; records were lost, none that was sent from {since} on"
        tell(f"revision {found.revision} as of {found.as_of} is not complete{lost}")
    for name, values in found.unknown_values.items():
        tell(f"never seen in the range, and in no settings: {name} {', '.join(map(repr, values))}")


def tell(problem: str) -> None:
    """One line on stderr."""
    print(shown(f"mediana: {problem}"), file=sys.stderr)
