"""`python -m tests.simulation --seed 7`: tell the story of a seed. `--seeds 1000`: run many, and shrink what fails."""

import argparse
import json
import sys
import time
from collections import Counter
from contextlib import ExitStack

from tests.simulation.guards import GUARDS, without
from tests.simulation.scenario import PROFILES, draw
from tests.simulation.shrink import shrunk
from tests.simulation.world import run


def story_of(seed: int, profile: str = "everything", *, shrink: bool = True) -> str:
    """What happened in a seed, and, when it failed, in the smallest scenario that fails alike."""
    scenario = draw(seed, profile)
    outcome = run(scenario)
    if outcome.failure is not None and shrink:
        scenario = shrunk(scenario, outcome.failure)
    outcome = run(scenario, tell=True)
    head = (
        f"seed {seed} ({profile}): {scenario.shards} shards, {scenario.workers} workers, "
        f"{scenario.snapshotters} snapshotters{', clocks before 1970' if scenario.clocks_stand else ''}"
    )
    end = f"digest {outcome.digest[:16]}, {outcome.seconds:.1f} s, {outcome.steps} steps"
    again = f"again: python -m tests.simulation --seed {seed}" + (
        "" if profile == "everything" else f" --profile '{profile}'"
    )
    return "\n".join([head, *outcome.story, end, again])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell the story of this seed")
    parser.add_argument("--steps", type=int, help="only so many lines of it, the last ones")
    parser.add_argument("--seeds", type=int, default=1000, help="run so many seeds (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="everything", help="which kinds of faults")
    parser.add_argument("--without", choices=sorted(GUARDS), help="take this guard out of the program")
    parser.add_argument("--whole", action="store_true", help="do not shrink a seed that fails")
    asked = parser.parse_args()
    with ExitStack() as stack:
        if asked.without is not None:
            stack.enter_context(without(asked.without))
        if asked.seed is not None:
            lines = story_of(asked.seed, asked.profile, shrink=not asked.whole).splitlines()
            print("\n".join(lines if asked.steps is None else lines[-asked.steps :]))
            return int(any("FAILED" in line for line in lines))
        return _many(range(asked.first, asked.first + asked.seeds), asked.profile, shrink=not asked.whole)


def _many(seeds: range, profile: str, *, shrink: bool) -> int:
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        outcome = run(draw(seed, profile))
        counts.update(outcome.counts)
        counts["simulated seconds"] += round(outcome.seconds)
        if outcome.failure is not None:
            failed.append(seed)
            print(story_of(seed, profile, shrink=shrink), flush=True)
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"seeds": len(seeds), "failed": failed, "seconds": seconds, **counts}))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
