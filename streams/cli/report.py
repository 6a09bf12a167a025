"""`mediana report`: the metrics of a range under filters, from the published snapshot."""

import asyncio
import sys
from datetime import date

import orjson

from aggregates.filters import Filters
from aggregates.periods import RangeError
from streams.config import Config
from streams.logs import one_line
from streams.redis.clients import connect
from streams.snapshots.reader import NoReport, SnapshotReader


def run(config: Config, account: str, start: date, end: date, filters: Filters) -> int:
    """Print the metrics object as JSON. Returns the exit status."""
    return asyncio.run(_report(config, account, start, end, filters))


async def _report(config: Config, account: str, start: date, end: date, filters: Filters) -> int:
    redis = connect(config)
    try:
        answer = await SnapshotReader(redis, config.namespace).metrics(
            account, start, end, filters, with_previous=False
        )
    except (NoReport, RangeError) as error:
        print(one_line(f"mediana: {error}"), file=sys.stderr)
        return 1
    finally:
        await redis.aclose()
    if not answer.complete:
        since = answer.complete_from
        lost = "" if since is None else f"; records were lost, none that was sent from {since} on"
        text = f"mediana: revision {answer.revision} as of {answer.as_of} is not complete{lost}"
        print(one_line(text), file=sys.stderr)
    sys.stdout.write(orjson.dumps(answer.metrics).decode() + "\n")
    return 0
