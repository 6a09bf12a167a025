"""`mediana list`: the rows that a number of the report counts, from the published snapshot."""

import asyncio
import sys
from datetime import date

import orjson
from msgspec import Struct

from aggregates.filters import Filters
from aggregates.lists import ListRefused
from aggregates.periods import RangeError, period
from streams.cli.report import REFUSED, tell, tell_what_is_missing
from streams.config import Config
from streams.redis.clients import connect
from streams.snapshots.reader import ListQuery, NoReport, SnapshotReader

PAGE_ROWS = 5_000
"""Rows that are made and written at once."""


class Asked(Struct, frozen=True):
    """Which rows."""

    name: str
    start: date | None
    end: date | None
    filters: Filters
    over: float | None = None
    clock: str = "elapsed"
    order: str = "oldest"


def run(config: Config, account: str, asked: Asked) -> int:
    """Print the rows, one JSON object a line. Returns the exit status."""
    return asyncio.run(_list(config, account, asked))


async def _list(config: Config, account: str, asked: Asked) -> int:
    redis = connect(config)
    try:
        if (asked.start is None) != (asked.end is None) or (asked.start is None and asked.name != "waiting"):
            raise RangeError(f"the list {asked.name} needs --from and --to")
        days = None if asked.start is None or asked.end is None else period(asked.start, asked.end)
        query = ListQuery(asked.name, asked.filters, asked.over, asked.clock, asked.order)
        rows = await SnapshotReader(redis, config.namespace).list(account, days, query)
    except NoReport as error:
        tell(str(error))
        return 1
    except (RangeError, ListRefused) as error:
        tell(str(error))
        return REFUSED
    finally:
        await redis.aclose()
    offset = 0
    while True:
        page = rows.page(offset, PAGE_ROWS)
        if not offset:
            tell_what_is_missing(page)
        sys.stdout.write("".join(orjson.dumps(row).decode() + "\n" for row in page.rows))
        offset += len(page.rows)
        if not page.rows or offset >= page.total:
            return 0
