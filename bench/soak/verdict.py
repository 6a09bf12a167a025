"""The verdict on a soak: from its samples to statements that hold or do not, with the numbers behind them.

Memory is judged over the second half of the run, when caches are full and as many days are kept as ever will be: a line
through the samples, so that one of them decides nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from statistics import median
from typing import Any

from msgspec import Struct

from bench.harness import tables
from bench.harness.statistics import fitted
from bench.soak.samples import Program, Sample
from bench.soak.truth import Truth

RSS_GROWTH = 0.05
"""By how much of its size a program may grow over the second half. Half an hour of 100 events a second is 180,000
events: of a worker of 120 MiB that is 35 bytes per event, less than any object that would be kept of each."""

SPARE_HANDLES = 8
"""By how many the most threads or open files of the second half may exceed those of the first."""

LAG_SECONDS = 15.0
"""Half of the time, less than this much traffic may wait: batches, other programs, looks at Redis."""

REDIS_GROWTH = 1.5
"""What Redis grows by with each new contact, at most, in sizes of a contact (state and older entries), facts and
published days apart, which are judged by themselves: the rest is fragmentation, and hash tables that double."""

DAYS_GROWTH = 0.25
"""By how much of their size facts and published days together may grow over the second half. They go up and down
with the days of the week, and with what answers to old waits replace: replaced blocks stay for ten minutes."""

SPARE_DAYS = 3
"""How many days the oldest day may lie before the horizon, besides those that pass between two sweeps: time zones, a
sweep under way, the look itself."""

LEAST_SAMPLES = 8
"""In the second half, for a line through them to mean anything."""

LEAST_SECONDS = 600.0
"""A run that is shorter is judged by what is right or wrong at once, not by what grows."""

LEAST_REDIS_SECONDS = 1800.0
"""Redis is full only after the ten minutes that replaced blocks stay, and the publications that the history holds: with
one a minute both are over in the first half of this."""


class Finding(Struct, frozen=True):
    """A statement. `holds` is `None` when the run was too short to tell."""

    statement: str
    holds: bool | None
    measured: str


class Limits(Struct, frozen=True, kw_only=True):
    """What the run was set to."""

    retained_days: int
    rate: float
    accounts: int
    partitions: int
    sweep_days: float
    """Simulated days between two sweeps for old days, and between two publications."""


def judge(samples: Sequence[Sample], limits: Limits, truth: Truth | None, problems: Sequence[str]) -> list[Finding]:
    """The findings. `truth` is `None` when the comparison could not be made; `problems` are told in its stead."""
    half = _second_half(samples)
    long_enough = len(half) >= LEAST_SAMPLES and samples[-1].seconds >= LEAST_SECONDS
    found = [Finding("no program ended by itself", not problems, "; ".join(problems) or "none did")]
    if samples:
        found += _memory(half, long_enough)
        found += _handles(samples, half)
        found.append(_lag(half, limits))
        found += _redis(samples, half, limits, long_enough)
    found.append(_truth(truth))
    return found


def _memory(half: Sequence[Sample], long_enough: bool) -> Iterator[Finding]:
    for name in half[-1].programs:
        points = [(each.seconds, each.programs[name].rss_mib) for each in half if name in each.programs]
        line = fitted(points)
        size = median(rss for _, rss in points)
        grown = line.slope * (points[-1][0] - points[0][0])
        yield Finding(
            f"memory of {name} grows by at most {RSS_GROWTH:.0%} over the second half",
            grown <= RSS_GROWTH * size if long_enough else None,
            f"{grown:+.1f} MiB of {size:.0f} MiB ({line.slope * 3600:+.1f} MiB an hour)",
        )


def _handles(samples: Sequence[Sample], half: Sequence[Sample]) -> Iterator[Finding]:
    first = samples[: len(samples) - len(half)]
    kinds: tuple[tuple[str, Callable[[Program], int]], ...] = (
        ("threads", lambda program: program.threads),
        ("open files", lambda program: program.files),
    )
    for what, number in kinds:
        for name in half[-1].programs:
            before = max((number(each.programs[name]) for each in first if name in each.programs), default=0)
            after = max(number(each.programs[name]) for each in half if name in each.programs)
            yield Finding(
                f"{what} of {name} do not grow",
                after <= before + SPARE_HANDLES if first else None,
                f"at most {before} in the first half, {after} in the second",
            )


def _lag(half: Sequence[Sample], limits: Limits) -> Finding:
    seconds = median(each.lag for each in half) / limits.rate
    return Finding(f"workers keep up: less than {LAG_SECONDS:.0f} s behind", seconds < LAG_SECONDS, f"{seconds:.1f} s")


def _redis(samples: Sequence[Sample], half: Sequence[Sample], limits: Limits, long_enough: bool) -> Iterator[Finding]:
    last = samples[-1]
    moved = last.day - samples[0].day
    expiring = moved > limits.retained_days + 2 * SPARE_DAYS
    full = expiring and long_enough and last.seconds >= LEAST_REDIS_SECONDS
    horizon = last.day - limits.retained_days
    spare = SPARE_DAYS + math.ceil(limits.sweep_days)
    for what, oldest in (("facts", last.oldest_day), ("published days", last.oldest_block)):
        yield Finding(
            f"no {what} from before the horizon",
            oldest is not None and oldest >= horizon - spare if expiring else None,
            f"horizon {date.fromordinal(horizon)}, oldest {date.fromordinal(oldest) if oldest else 'none'}",
        )
    most = limits.accounts * limits.partitions * (limits.retained_days + spare + 2)
    kept = max(each.days.count for each in half)
    yield Finding(
        f"never more than {most} days of facts are kept in the second half",
        kept <= most if expiring else None,
        f"at most {kept}",
    )
    of_days = [(each.seconds, each.days.bytes + each.blocks.bytes) for each in half]
    grown = fitted(of_days).slope * (half[-1].seconds - half[0].seconds)
    size = median(each for _, each in of_days)
    yield Finding(
        f"facts and published days grow by at most {DAYS_GROWTH:.0%} over the second half",
        grown <= DAYS_GROWTH * size if full else None,
        f"{grown / (1 << 20):+.1f} MiB of {size / (1 << 20):.1f} MiB",
    )
    per_contact = bytes_per_contact(last)
    slope = fitted(
        [(each.contacts.count, each.redis_bytes - each.days.bytes - each.blocks.bytes) for each in half]
    ).slope
    yield Finding(
        f"the rest of Redis grows with each new contact by at most {REDIS_GROWTH} contacts' bytes",
        slope <= REDIS_GROWTH * per_contact if full else None,
        f"{slope:,.0f} bytes for each new contact; a contact, with its older entries, takes {per_contact:,.0f}",
    )


def _truth(truth: Truth | None) -> Finding:
    statement = "facts and reports equal a batch recomputation"
    if truth is None:
        return Finding(statement, False, "not compared")
    told = f"{truth.facts_compared:,} facts and {truth.figures_compared:,} figures compared"
    if truth.differences:
        told += f", {len(truth.differences)} differ: {'; '.join(truth.differences[:5])}"
    return Finding(statement, not truth.differences and truth.facts_compared > 0, told)


def bytes_per_contact(sample: Sample) -> float:
    """What a contact takes in Redis, state and older entries."""
    return (sample.contacts.bytes + sample.chunks.bytes) / sample.contacts.count if sample.contacts.count else 0.0


def passed(findings: Sequence[Finding]) -> bool:
    """Whether nothing is wrong."""
    return all(finding.holds is not False for finding in findings)


def _second_half(samples: Sequence[Sample]) -> Sequence[Sample]:
    if not samples:
        return samples
    middle = samples[-1].seconds / 2
    return [each for each in samples if each.seconds >= middle]


# --- what people and programs read ------------------------------------------------------------------------------------

SHOWN_ROWS = 24


def table(samples: Sequence[Sample]) -> str:
    """The samples, thinned out."""
    if not samples:
        return "no samples"
    names = list(samples[-1].programs)
    head = [
        *("minutes", "day", "sent", "lag", "commits"),
        *(f"{name} MiB" for name in names),
        *("redis MiB", "contacts", "B/contact", "chunks", "days", "B/day", "open", "blocks", "B/block"),
    ]
    step = max(1, -(-len(samples) // SHOWN_ROWS))
    chosen = [*samples[:-1:step], samples[-1]]
    rows: list[list[tables.Cell]] = [
        [
            f"{each.seconds / 60:.1f}",
            date.fromordinal(each.day).isoformat(),
            *(each.sent, each.lag, each.commits),
            *(each.programs[name].rss_mib if name in each.programs else None for name in names),
            *(each.redis_bytes / (1 << 20), each.contacts.count, bytes_per_contact(each), each.chunks.count),
            *(each.days.count, each.days.each, each.open_days, each.blocks.count, each.blocks.each),
        ]
        for each in chosen
    ]
    return tables.plain(head, rows, 0)


def grows(sample: Sample) -> str:
    """What Redis holds at the end, by kind."""
    kinds = {
        "contacts' states": sample.contacts,
        "chunks of older entries": sample.chunks,
        "days of facts (per shard)": sample.days,
        "published days (blocks)": sample.blocks,
    }
    known = sum(kind.bytes for kind in kinds.values())
    rows: list[list[tables.Cell]] = [
        [name, kind.count, kind.each, kind.bytes / (1 << 20)] for name, kind in kinds.items()
    ]
    rows.append(["everything else", None, None, (sample.redis_bytes - known) / (1 << 20)])
    rows.append(["used_memory", None, None, sample.redis_bytes / (1 << 20)])
    return tables.plain(["in Redis at the end", "count", "bytes each", "MiB"], rows)


def report(findings: Sequence[Finding]) -> str:
    """The findings, one line each."""
    words = {True: "holds", False: "WRONG", None: "too short to tell"}
    return "\n".join(f"{words[each.holds]:<18} {each.statement}: {each.measured}" for each in findings)


def line(samples: Sequence[Sample], findings: Sequence[Finding], truth: Truth | None) -> dict[str, Any]:
    """The summary for programs."""
    last = samples[-1] if samples else None
    return {
        "soak": {
            "passed": passed(findings),
            "minutes": round(last.seconds / 60, 1) if last else 0,
            "events": last.sent if last else 0,
            "contacts": last.contacts.count if last else 0,
            "rss_mib": {name: round(each.rss_mib, 1) for name, each in last.programs.items()} if last else {},
            "redis_bytes": last.redis_bytes if last else 0,
            "bytes_per_contact": round(bytes_per_contact(last)) if last else 0,
            "bytes_per_day_hash": round(last.days.each) if last else 0,
            "compared": truth.facts_compared + truth.figures_compared if truth else 0,
            "differences": len(truth.differences) if truth else None,
            "wrong": [each.statement for each in findings if each.holds is False],
            "not_judged": [each.statement for each in findings if each.holds is None],
        }
    }
