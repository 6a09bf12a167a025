"""What publishing costs, and how fast a report of a year is read: `make bench-snapshots`.

Many accounts, of which all, one in a hundred or none changed: time, CPU and Redis commands of a publication, and the
longest single command. Then one account with two busy years: its size, and how long any filter of a whole year takes,
alone, and with the year before beside it, as the page asks for it: with a reader of its own for each (cold), and with
one for all (warm).
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from msgspec import Struct

from aggregates.filters import Filters
from bench.harness.errors import BenchError
from bench.harness.population import LONGEST_VISIT_MS, Population, live_records
from bench.harness.report import Outcome, Table, publish
from bench.harness.servers import Stand
from bench.harness.statistics import quantile
from bench.harness.tables import Cell
from bench.harness.variables import Variables
from bench.scaling.flat import LIVE_MS, now_ms, verify, written
from bench.soak.samples import Kind, RedisLook
from streams import gc as collector
from streams.config import Config
from streams.kafka.log_end import LogEnds
from streams.local.errors import LocalStackError
from streams.redis.clients import connect
from streams.simulation.accounts import Company
from streams.snapshots.manifest import PublicKeys
from streams.snapshots.publisher import Published
from streams.snapshots.reader import SnapshotReader
from streams.snapshots.snapshotter import Snapshotter

PARTITIONS = 4
CONTACTS_PER_ACCOUNT = 10
DAYS = 30
YEAR = 365
SLOW_US = 200
"""Commands that take longer than this are in the server's SLOWLOG, up to so many."""
SLOW_KEPT = 50_000

_OWN = (b"SLOWLOG", b"CONFIG", b"INFO")
"""What the measurement itself asks."""


class Round(Struct, frozen=True):
    """One publication."""

    title: str
    accounts: int
    """Published."""
    days: int
    """Blocks written."""
    wall_seconds: float
    cpu_seconds: float
    server_seconds: float
    commands: int
    slowest_us: int | None
    """The longest command; `None` when none took longer than `SLOW_US`."""
    slowest: str
    document_bytes: float
    """Of one account, on average."""


class Year(Struct, frozen=True):
    """The account with two busy years."""

    publication: Round
    blocks: Kind
    document_bytes: int
    reads: "list[Reads]"


class Reads(Struct, frozen=True):
    """Reading reports of a year."""

    cold: bool
    with_previous: bool
    wall_seconds: dict[int, list[float]]
    """By how many dimensions were filtered: of each read."""
    cpu_seconds: list[float]
    """Of this process, of each read: what remains of them where nothing else is at work."""

    @property
    def title(self) -> str:
        return f"{'cold' if self.cold else 'warm'}, a year{' and the year before' if self.with_previous else ''}"

    @property
    def all_wall_seconds(self) -> list[float]:
        return [each for seconds in self.wall_seconds.values() for each in seconds]


def main(_: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Measure; what stands in the way is told on standard error, with status 1."""
    variables = Variables(environment)
    try:
        accounts = variables.number("SNAPSHOTS_ACCOUNTS", 3_000, lowest=100)
        per_day = variables.number("SNAPSHOTS_CONTACTS_PER_DAY", 100)
        reads = variables.number("SNAPSHOTS_READS", 100)
        with Stand(variables.folder("snapshots")) as stand:
            rounds, blocks = publications(stand, accounts)
            year = large_year(stand, per_day, reads)
        publish(outcome(accounts, rounds, blocks, per_day, year), variables.documents())
    except (BenchError, LocalStackError) as error:
        print(f"snapshots: {error}", file=sys.stderr)
        return 1
    return 0


def publications(stand: Stand, accounts: int) -> tuple[list[Round], Kind]:
    """Publish all accounts, then what changed, then nothing; and the blocks' size."""
    config = stand.config("many", PARTITIONS)
    population = Population(
        contacts=accounts * CONTACTS_PER_ACCOUNT,
        accounts=accounts,
        days=DAYS,
        partitions=PARTITIONS,
        until_ms=now_ms() - 2 * LIVE_MS,
    )
    written(stand, config, population)
    worker = stand.worker(config).start()
    stand.wait_until_ready(config, [worker])
    rounds = [_round(stand, config, "all accounts, for the first time")]
    changes = (("all accounts changed", 1), ("one of a hundred changed", 100))
    for number, (title, every) in enumerate(changes):
        # Contact `n` of the first ones is of account `n`.
        records = live_records(
            population,
            range(0, accounts, every),
            now_ms() - LIVE_MS + number,
            LIVE_MS - LONGEST_VISIT_MS,
            f"s{number}-",
        )
        stand.measure(config, [worker], records)
        rounds.append(_round(stand, config, title))
    rounds.append(_round(stand, config, "nothing changed"))
    verify(worker.metrics("mediana_late_events_total"), worker.metrics("mediana_dead_letters_total"))
    stand.stop([worker])
    names = [company.account_id for company in population.companies()[:1000]]
    blocks, _ = RedisLook(stand.client, config.namespace, PARTITIONS, names, 1).blocks()
    stand.client.flushall()
    return rounds, blocks


def large_year(stand: Stand, per_day: int, reads: int) -> Year:
    """Two years of an account, published and read."""
    config = stand.config("year", PARTITIONS)
    population = Population(
        contacts=per_day * 2 * YEAR,
        accounts=1,
        days=2 * YEAR,
        partitions=PARTITIONS,
        until_ms=now_ms(),
        visits=2,
    )
    written(stand, config, population)
    published = _round(stand, config, "two years of one account")
    (company,) = population.companies()
    blocks, _ = RedisLook(stand.client, config.namespace, PARTITIONS, [company.account_id], 1).blocks()
    document = stand.client.strlen(PublicKeys(config.namespace, company.account_id).report)
    found = []
    for with_previous in (False, True):
        for cold in (True, False):
            each = asyncio.run(_reads(config, company, reads, cold=cold, with_previous=with_previous))
            wall, cpu = (quantile(seconds, 0.99) * 1000 for seconds in (each.all_wall_seconds, each.cpu_seconds))
            stand.say(f"{each.title}: p99 {wall:.1f} ms, of CPU {cpu:.1f} ms")
            found.append(each)
    return Year(published, blocks, document, found)


def _round(stand: Stand, config: Config, title: str) -> Round:
    client = stand.client
    client.config_set("slowlog-log-slower-than", SLOW_US)
    client.config_set("slowlog-max-len", SLOW_KEPT)
    client.slowlog_reset()
    commands = client.info("stats")["total_commands_processed"]
    server, cpu, wall = stand.server_seconds(), time.process_time(), time.monotonic()
    published = asyncio.run(_publish(config))
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    server = stand.server_seconds() - server
    commands = client.info("stats")["total_commands_processed"] - commands
    logged = [each for each in client.slowlog_get(SLOW_KEPT) if not each["command"].startswith(_OWN)]
    slow = max(logged, key=lambda each: each["duration"], default=None)
    stand.say(f"{title}: {len(published):,} accounts in {wall:.1f} s, {cpu:.1f} s of CPU")
    return Round(
        title=title,
        accounts=len(published),
        days=sum(done.changed_days for done in published),
        wall_seconds=wall,
        cpu_seconds=cpu,
        server_seconds=server,
        commands=commands,
        slowest_us=None if slow is None else slow["duration"],
        slowest="" if slow is None else slow["command"].decode(errors="replace").split(" ")[0],
        document_bytes=sum(done.document_bytes for done in published) / max(1, len(published)),
    )


async def _publish(config: Config) -> list[Published]:
    client, ends = connect(config), LogEnds(config)
    try:
        return await Snapshotter(client, config, ends).publish(all_accounts=False)
    finally:
        await ends.close()
        await client.aclose()


async def _reads(config: Config, company: Company, count: int, *, cold: bool, with_previous: bool) -> Reads:
    client: Any = connect(config)
    reader = SnapshotReader(client, config.namespace)
    last = datetime.now(UTC).date()
    first = last - timedelta(days=YEAR - 1)
    rng = Random(7)
    found = Reads(cold, with_previous, {dimensions: [] for dimensions in range(5)}, [])
    collector.calm()  # as `mediana serve` does
    try:
        await reader.metrics(company.account_id, first, last, Filters())
        for place in range(count):
            dimensions = place % len(found.wall_seconds)
            filters = random_filters(company, dimensions, rng)
            if cold:
                await client.aclose()
                client = connect(config)
                reader = SnapshotReader(client, config.namespace)
            cpu, wall = time.process_time(), time.perf_counter()
            await reader.metrics(
                company.account_id, first, last, filters, compare="previous" if with_previous else None
            )
            found.wall_seconds[dimensions].append(time.perf_counter() - wall)
            found.cpu_seconds.append(time.process_time() - cpu)
    finally:
        await client.aclose()
    return found


def random_filters(company: Company, dimensions: int, rng: Random) -> Filters:
    """Filters of so many dimensions, of one value or two each."""
    values: dict[str, Sequence[str | None]] = {
        "origin": company.origins.values,
        "group": (*company.settings.groups, None),
        "channel": company.channels.values,
        "advisor": tuple(company.settings.advisors),
    }
    chosen = rng.sample(sorted(values), dimensions)
    words = {name: [value or "none" for value in rng.sample(values[name], rng.choice((1, 1, 2)))] for name in chosen}
    return Filters.parse(**words)


def outcome(accounts: int, rounds: Sequence[Round], blocks: Kind, per_day: int, year: Year) -> Outcome:
    """Tables and summary."""
    head = (
        *("publication", "accounts", "blocks", "seconds", "CPU s", "Redis CPU s", "commands"),
        *("ms CPU/account", "commands/account", "longest command ms", "which", "document bytes"),
    )
    rows: list[list[Cell]] = [
        [
            *(each.title, each.accounts, each.days, each.wall_seconds, each.cpu_seconds, each.server_seconds),
            each.commands,
            each.cpu_seconds / each.accounts * 1000 if each.accounts else None,
            each.commands / each.accounts if each.accounts else None,
            None if each.slowest_us is None else each.slowest_us / 1000,
            *(each.slowest or "-", round(each.document_bytes)),
        ]
        for each in (*rounds, year.publication)
    ]
    reads = [
        _read_row(each.title, str(dimensions), seconds, None)
        for each in year.reads
        for dimensions, seconds in each.wall_seconds.items()
        if seconds
    ]
    reads += [_read_row(each.title, "all", each.all_wall_seconds, each.cpu_seconds) for each in year.reads]
    sizes: list[list[Cell]] = [
        [f"{accounts:,} accounts of {CONTACTS_PER_ACCOUNT} contacts", round(blocks.each), None, None],
        [
            f"an account with {per_day} new contacts a day, two years",
            *(round(year.blocks.each), year.blocks.bytes / (1 << 20), year.document_bytes),
        ],
    ]
    by_title = {each.title: each for each in rounds}
    summary = {
        "publications": {
            each.title: {
                "accounts": each.accounts,
                "seconds": round(each.wall_seconds, 3),
                "cpu_seconds": round(each.cpu_seconds, 3),
                "commands": each.commands,
                "longest_command_ms": None if each.slowest_us is None else each.slowest_us / 1000,
            }
            for each in (*rounds, year.publication)
        },
        "one_percent_costs": round(
            by_title["one of a hundred changed"].cpu_seconds / by_title["all accounts changed"].cpu_seconds, 4
        ),
        "year_read_ms": {
            each.title: {
                "p50": round(quantile(each.all_wall_seconds, 0.5) * 1000, 1),
                "p99": round(quantile(each.all_wall_seconds, 0.99) * 1000, 1),
                "cpu_p99": round(quantile(each.cpu_seconds, 0.99) * 1000, 1),
            }
            for each in year.reads
        },
    }
    return Outcome(
        name="snapshots",
        tables=[
            Table("Publications", head, rows, 2),
            Table("Sizes", ("", "bytes per block", "all blocks MiB", "document bytes"), sizes),
            Table(
                "Reading a whole year, by the number of dimensions filtered",
                ("reader", "dimensions", "reads", "median ms", "p90 ms", "p99 ms", "longest ms", "CPU p99 ms"),
                reads,
            ),
        ],
        summary=summary,
        notes=[
            f"Commands of up to {SLOW_US} µs are not looked for.",
            "A block is an account's published day.",
            "A cold reader connects first. CPU is the reading process's.",
        ],
    )


def _read_row(reader: str, dimensions: str, wall: list[float], cpu: list[float] | None) -> list[Cell]:
    numbers = [quantile(wall, share) * 1000 for share in (0.5, 0.9, 0.99, 1.0)]
    return [reader, dimensions, len(wall), *numbers, None if cpu is None else quantile(cpu, 0.99) * 1000]
