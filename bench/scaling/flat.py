"""Whether the cost of an event stays flat as more is known: `make bench-flat`.

For each number of contacts and accounts, a population is written through the real fold (`bench.harness.population`).
Then live events, visits of random known contacts, go through a real worker: CPU time per event, and what Redis holds of
a contact and of an account's day. A second table gives the bytes of a contact by the length of its life, a third one
what the traffic of the demo takes in all (`bench.scaling.memory`).
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from random import Random
from statistics import median
from typing import Any

from msgspec import Struct
from redis import Redis as RedisClient

from aggregates.rules import Rules, RulesBook
from bench.harness.errors import BenchError, LaneFailed
from bench.harness.population import (
    LONGEST_VISIT_MS,
    Population,
    contact_id,
    life,
    live_records,
    populate,
    prepare,
    take_life,
)
from bench.harness.report import Outcome, Table, publish
from bench.harness.servers import Cost, Stand
from bench.harness.variables import Variables
from bench.scaling.memory import Memory, measure_memory, memory_table
from bench.soak.samples import Kind, RedisLook
from streams.config import Config
from streams.fold.batch_fold import Folded
from streams.local.errors import LocalStackError

PARTITIONS = 4
DAYS = 10
EVENTS_PER_VISIT = 4
LIVE_MS = 25 * 60_000
"""Event time of all rounds together: less than half the lateness window, or a worker would wait as for history."""

LIVES = (0, 1, 3, 10, 30)
"""Visits of the contacts of the second table."""
LIVES_MEASURED = 500


class Size(Struct, frozen=True):
    """What was measured with so much known."""

    contacts: int
    accounts: int
    ready: float
    """Seconds from the worker's start until it has all shards."""
    costs: list[Cost]
    """Of each round."""
    rss_mib: float
    states: Kind
    """Before the live events."""
    days: Kind
    """Hashes of facts: per shard, account and day."""
    used_bytes: int
    """What the whole population takes in the server, beside an empty one."""
    seconds: float
    """To write it."""

    @property
    def settled(self) -> list[Cost]:
        """The rounds of the second half: what is met for the first time, an account's settings above all, is known."""
        return self.costs[len(self.costs) // 2 :]


def main(_: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Measure; what stands in the way is told on standard error, with status 1."""
    variables = Variables(environment)
    try:
        sizes = variables.pairs("FLAT_SIZES", "10000x10 1000000x10 100000x10000")
        events = variables.number("FLAT_EVENTS", 40_000)
        rounds = variables.number("FLAT_ROUNDS", 6)
        with Stand(variables.folder("flat")) as stand:
            found = [measure(stand, contacts, accounts, events, rounds) for contacts, accounts in sizes]
            lives = measure_lives(stand.client)
            memory = measure_memory(stand)
        publish(outcome(found, lives, memory), variables.documents())
    except (BenchError, LocalStackError) as error:
        print(f"flat: {error}", flush=True)
        return 1
    return 0


def now_ms() -> int:
    """The clock."""
    return int(time.time() * 1000)


def written(stand: Stand, config: Config, population: Population) -> float:
    """Make topics and namespace, and write the population; how long the writing took, in seconds."""
    stand.create_topics(config)
    asyncio.run(prepare(config, population))
    stand.without_file()
    began = time.monotonic()
    populate(config, population)
    seconds = time.monotonic() - began
    stand.with_file()
    stand.say(f"{population.contacts:,} contacts of {population.accounts:,} accounts are known after {seconds:.0f} s")
    return seconds


def measure(stand: Stand, contacts: int, accounts: int, events: int, rounds: int) -> Size:
    """One size, in a Redis that is emptied first."""
    stand.client.flushall()
    empty = stand.client.info("memory")["used_memory"]
    config = stand.config(f"flat-{contacts}-{accounts}", PARTITIONS)
    population = Population(
        contacts=contacts,
        accounts=accounts,
        days=DAYS,
        partitions=PARTITIONS,
        until_ms=now_ms() - 3 * LIVE_MS,
    )
    seconds = written(stand, config, population)
    look = RedisLook(stand.client, config.namespace, PARTITIONS, [], population.seed)
    states, days = look.contacts(), look.days().all
    used = int(stand.client.info("memory")["used_memory"]) - int(empty)
    began = time.monotonic()
    worker = stand.worker(config).start()
    stand.wait_until_ready(config, [worker])
    ready = time.monotonic() - began
    stand.say(f"  a worker is ready after {ready:.1f} s")
    costs = []
    begin_ms, round_ms = now_ms() - LIVE_MS, LIVE_MS // rounds
    # Each contact once: one that is visited twice at a time is not what is measured here.
    visited = Random(0).sample(range(contacts), min(rounds * (events // EVENTS_PER_VISIT), contacts))
    for number in range(rounds):
        chosen = visited[number::rounds]
        span_ms = max(1_000, round_ms - LONGEST_VISIT_MS)
        records = live_records(population, chosen, begin_ms + number * round_ms, span_ms, f"r{number}-")
        costs.append(stand.measure(config, [worker], records))
        stand.say(
            f"  round {number + 1}: {costs[-1].cpu_us:.1f} us of CPU per event, its Redis {costs[-1].server_us:.1f}"
        )
    rss = worker.usage.rss_mib()
    verify(worker.metrics("mediana_late_events_total"), worker.metrics("mediana_dead_letters_total"))
    stand.stop([worker])
    return Size(contacts, accounts, ready, costs, rss, states, days, used, seconds)


def verify(late: float, letters: float) -> None:
    """Events that were set aside cost less than others. Raises `LaneFailed`."""
    if late or letters:
        raise LaneFailed(f"{late:.0f} events came too late and {letters:.0f} became dead letters: nothing is measured")


def measure_lives(client: RedisClient) -> list[tuple[int, float, float, int]]:
    """Per number of visits: events, encoded bytes and bytes in Redis of a contact, and chunks of its older entries."""
    population = Population(contacts=1, accounts=1, days=60, partitions=1, until_ms=now_ms())
    (company,) = population.companies()
    book = RulesBook(Rules(company.settings))
    any_client: Any = client
    found = []
    for visits in LIVES:
        folded, rng = Folded(), Random(visits)
        for number in range(LIVES_MEASURED):
            contact = contact_id(company, number)
            whole_life = life(company, contact, population.begin_ms(0), visits, rng)
            take_life(folded, company.account_id, contact, whole_life, book)
        states, chunks = folded.states, {name: chunk for name, chunk in folded.chunks.items() if chunk is not None}
        any_client.delete("lives", "chunks")
        any_client.hset("lives", mapping=states)
        held = any_client.memory_usage("lives", 0)
        if chunks:
            any_client.hset("chunks", mapping=chunks)
            held += any_client.memory_usage("chunks", 0)
        encoded = sum(map(len, states.values())) + sum(map(len, chunks.values()))
        events = 1 + EVENTS_PER_VISIT * visits
        found.append((events, encoded / LIVES_MEASURED, held / LIVES_MEASURED, len(chunks) // LIVES_MEASURED))
    any_client.delete("lives", "chunks")
    return found


def outcome(sizes: Sequence[Size], lives: Sequence[tuple[int, float, float, int]], memory: Memory) -> Outcome:
    """Tables and summary."""
    head = (
        *("contacts known", "accounts", "CPU µs/event", "lowest", "highest", "first round", "its Redis", "events/s"),
        *("ready after s", "worker MiB", "B/contact", "used B/contact", "account-days", "B/account-day"),
    )
    rows = []
    for size in sizes:
        cpu = [cost.cpu_us for cost in size.settled]
        rows.append(
            (
                *(f"{size.contacts:,}", size.accounts, median(cpu), min(cpu), max(cpu)),
                size.costs[0].cpu_us,
                median(cost.server_us for cost in size.settled),
                float(round(median(cost.per_second for cost in size.settled))),
                size.ready,
                size.rss_mib,
                size.states.each,
                (size.used_bytes - size.days.bytes) / size.contacts,
                size.days.count,
                size.days.each,
            )
        )
    summary = {
        "sizes": [
            {
                "contacts": size.contacts,
                "accounts": size.accounts,
                "cpu_us_per_event": round(median(cost.cpu_us for cost in size.settled), 2),
                "first_cpu_us_per_event": round(size.costs[0].cpu_us, 2),
                "redis_us_per_event": round(median(cost.server_us for cost in size.settled), 2),
                "ready_seconds": round(size.ready, 2),
                "bytes_per_contact": round(size.states.each),
                "bytes_per_account_day_and_shard": round(size.days.each),
            }
            for size in sizes
        ],
        "demo_bytes_per_event": round(memory.used_bytes / memory.events, 1),
        "bytes_by_events": {str(events): round(held) for events, _, held, _ in lives},
    }
    return Outcome(
        name="flat",
        tables=[
            Table("Cost of an event, by what is known", head, rows),
            Table(
                "A contact in Redis, by the events of its life",
                ("events", "encoded bytes", "bytes in Redis", "chunks"),
                [(str(events), encoded, held, chunks) for events, encoded, held, chunks in lives],
                0,
            ),
            memory_table(memory),
        ],
        summary=summary,
        notes=[
            f"Contacts of the first table have 5 events each, spread over {DAYS} days and {PARTITIONS} shards.",
            "Medians of the second half of the rounds; in the first one, each account and contact is met anew.",
            "Ready: from the start of the worker's process until it has all shards and all settings.",
            "An account-day is counted in each shard that has any of it.",
            "B/contact is by MEMORY USAGE, used B/contact by the server's used_memory without the facts.",
        ],
    )
