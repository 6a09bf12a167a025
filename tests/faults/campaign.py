"""A fault campaign: `make chaos SEED=7 SECONDS=600`.

Rounds of traffic from several accounts flow through workers on a real Kafka and a real Redis, while faults drawn from
the seed strike (`faults`), most often one at a time, sometimes two at once. After each round everything is applied and
published, and every number of every account is compared with what an independent program makes of the topics
(`verdict`). So is every revision that was published meanwhile: with exactly the records before the positions that it
names (`revisions`). Why there is one right report whatever the interleaving: `traffic`.

On stderr a line for each round and a table; on stdout one line of JSON, the last. The exit status is 1 when any number
differs, when a worker ends unasked, or when anything sent is not applied.
"""

import argparse
import asyncio
import datetime as dt
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.faults import FAULTS
from tests.faults.revisions import Revisions
from tests.faults.stage import SHARDS, Stage, Stall
from tests.faults.traffic import DAY_MS, ROUND_MS, Traffic
from tests.faults.verdict import Verdict

HISTORY_DAYS = 80
RATE = 150.0
"""Records a second."""
MOST_DIFFERENCES_TOLD = 10


@dataclass
class Result:
    """What a campaign found."""

    seed: int
    events: int = 0
    too_late: int = 0
    rounds: int = 0
    compared: int = 0
    revisions: int = 0
    """Revisions published meanwhile that were compared with the records before their positions."""
    skipped: int = 0
    """Revisions that were replaced before they were seen."""
    refusals: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    acted: Counter[str] = field(default_factory=Counter)
    """How often the guard that a fault is aimed at was seen to act."""
    differences: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing at all is wrong."""
        return not (self.differences or self.problems)

    def table(self) -> str:
        """For people."""
        lines = [f"{'fault':<26}{'times':>6}{'guard seen acting':>20}"]
        for name, times in sorted(self.faults.items()):
            seen = str(self.acted[name]) if name in self.acted else "-"
            lines.append(f"{name:<26}{times:>6}{seen:>20}")
        lines += [
            "",
            f"{self.events} events in {self.rounds} rounds, {self.too_late} of them too late on purpose",
            f"{self.compared} numbers compared, {len(self.differences)} differ",
            f"{self.revisions} revisions compared with the records before their positions, {self.skipped} not seen",
            f"{self.refusals} commits refused by Redis",
            *(f"differs: {line}" for line in self.differences[:MOST_DIFFERENCES_TOLD]),
            *(f"problem: {line}" for line in self.problems),
        ]
        return "\n".join(lines)

    def line(self) -> str:
        """For programs."""
        summary = {
            "seed": self.seed,
            "events": self.events,
            "faults": dict(sorted(self.faults.items())),
            "differences": len(self.differences),
        }
        if self.problems:
            summary["problems"] = len(self.problems)
        return json.dumps(summary)


class Campaign:
    """Rounds of traffic and faults on a stage."""

    def __init__(self, stage: Stage, seed: int, faults: Collection[str] = FAULTS) -> None:
        self.result = Result(seed)
        self._stage = stage
        self._dice = Random(seed)
        self._faults = sorted(faults)
        begin_ms = int(time.time()) * 1_000 - HISTORY_DAYS * DAY_MS
        self._last_round_ms = int(time.time()) * 1_000 - ROUND_MS
        self.traffic = Traffic(seed, begin_ms)
        begin = dt.datetime.fromtimestamp(begin_ms / 1000, dt.UTC).date() - dt.timedelta(1)
        accounts = [each["account_id"] for each in self.traffic.accounts]
        self.revisions = Revisions(stage.client, stage.config.namespace, accounts, begin)
        self._watching: asyncio.Task[None] | None = None
        self.verdict = Verdict(stage.config, SHARDS, stage.client, begin, Random(seed + 1))

    async def close(self) -> None:
        """Watch no longer."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))

    async def open(self) -> None:
        """Settings, two workers, a first round without faults and a first copy of Redis."""
        for settings in self.traffic.accounts:
            await self._stage.send_settings(settings)
        for _ in range(2):
            await self._stage.start_worker()
        self._watching = asyncio.create_task(self.revisions.watch())
        await self._round([], 4)
        self._stage.keep_copy()

    async def run(self, seconds: float) -> Result:
        """Rounds of drawn faults, for so long or until something is wrong."""
        deadline = time.monotonic() + seconds
        await self.open()
        unused: list[str] = []
        while time.monotonic() < deadline and self.result.passed and self.traffic.begin_ms < self._last_round_ms:
            if not unused:  # each fault in turn, in another order each time
                unused = self._dice.sample(self._faults, len(self._faults))
            drawn = [unused.pop() for _ in range(min(len(unused), 2 if self._dice.random() < 0.25 else 1))]
            await self.strike(drawn)
        return self.result

    async def strike(self, faults: Collection[str], traffic_seconds: float | None = None) -> None:
        """One round under these faults at once, with what may happen between rounds after it."""
        await self._round(faults, traffic_seconds or self._dice.uniform(5, 10))
        if self._dice.random() < 0.3:
            await self._stage.send_settings(self.traffic.change_settings())
            await self._settle()
        if self._dice.random() < 0.3:
            self._stage.keep_copy()

    async def _round(self, faults: Collection[str], seconds: float) -> None:
        began = time.monotonic()
        sending = asyncio.ensure_future(self._stage.send(self.traffic.round(int(seconds * RATE)), RATE))
        try:
            await asyncio.gather(*(self._strike(fault, seconds / 3) for fault in faults))
        finally:
            await sending
        if not await self._settle():
            return
        settled = time.monotonic()
        await self._stage.publish()
        differences = await self.verdict.differences(self.revisions.take())
        result = self.result
        result.revisions, result.skipped = self.verdict.revisions, self.revisions.skipped
        result.rounds += 1
        result.differences += differences
        result.problems += self._stage.problems
        self._stage.problems.clear()
        result.events, result.too_late = self.verdict.events, self.verdict.too_late
        result.compared, result.refusals = self.verdict.compared, self._stage.refusals()
        name = " + ".join(faults) or "no fault"
        print(
            f"round {result.rounds}: {name}: {settled - began:.1f} s, {result.events} events, "
            f"{len(self._stage.workers)} workers, {len(differences)} differences",
            file=sys.stderr,
            flush=True,
        )

    async def _strike(self, name: str, within_seconds: float) -> None:
        await asyncio.sleep(self._dice.uniform(0, within_seconds))
        self.result.faults[name] += 1
        try:
            acted = await FAULTS[name](self._stage, self._dice)
        except Exception as error:  # noqa: BLE001 - a fault that cannot be made is no reason to end without a summary
            self.result.problems.append(f"fault {name}: {error!r}")
            return
        if acted is not None:
            self.result.acted[name] += acted

    async def _settle(self) -> bool:
        try:
            await self._stage.settle()
        except Stall as error:
            self.result.problems.append(str(error))
            return False
        return True


async def run(seed: int, seconds: float, folder: Path, faults: Collection[str] = FAULTS) -> Result:
    """A whole campaign with servers of its own, whose data and logs go to the folder."""
    async with Stage(folder) as stage:
        campaign = Campaign(stage, seed, faults)
        try:
            return await campaign.run(seconds)
        finally:
            await campaign.close()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--folder", type=Path, help="where data and logs go, and stay (default: a temporary folder)")
    parser.add_argument("--fault", action="append", choices=sorted(FAULTS), help="only these faults")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="mediana-chaos-") as temporary:
        folder = arguments.folder or Path(temporary)
        result = asyncio.run(run(arguments.seed, arguments.seconds, folder, arguments.fault or FAULTS))
    print(result.table(), file=sys.stderr, flush=True)
    print(result.line())
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
