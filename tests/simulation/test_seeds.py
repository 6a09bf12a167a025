"""The program under hundreds of seeds of faults; and each guard, taken out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import story_of
from tests.simulation.guards import GUARDS, without
from tests.simulation.scenario import PROFILES, draw
from tests.simulation.shrink import is_sound, shrunk
from tests.simulation.world import run

SEEDS = int(os.environ.get("MEDIANA_TEST_SEEDS", "500"))
PARTS = 10
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_goes_wrong_every_revision_is_right_and_nothing_is_lost(part: int) -> None:
    revisions = answers = 0
    for seed in range(part, SEEDS, PARTS):
        outcome = run(draw(seed))
        if outcome.failure is not None:
            pytest.fail(story_of(seed))
        revisions += outcome.counts.get("revisions", 0)
        answers += outcome.counts.get("answers read", 0)
    assert revisions > 5 * SEEDS / PARTS
    assert answers > SEEDS / PARTS


@pytest.mark.parametrize("profile", sorted(PROFILES.keys() - {"everything", "clocks of snapshotters"}))
def test_faults_of_one_kind_and_many_of_them(profile: str) -> None:
    for seed in range(30):
        if run(draw(seed, profile)).failure is not None:
            pytest.fail(story_of(seed, profile))


@pytest.mark.xfail(reason="a snapshotter whose clock is years ahead leaves out all days as past the horizon, for good")
def test_a_snapshotter_whose_clock_jumps_takes_no_numbers_away() -> None:
    for seed in range(30):
        if run(draw(seed, "clocks of snapshotters")).failure is not None:
            pytest.fail(story_of(seed, "clocks of snapshotters", shrink=False))


@pytest.mark.parametrize("guard", sorted(GUARDS))
def test_without_a_guard_some_seed_fails(guard: str) -> None:
    for seed in range(200):
        with without(guard):
            outcome = run(draw(seed, GUARDS[guard].profile))
        if outcome.failure is not None:
            return
    pytest.fail(f"200 seeds do not miss it: {guard}")


def test_a_failing_seed_shrinks_and_tells_its_story() -> None:
    guard = "caches end with their session"
    with without(guard):
        seed, scenario, failure = next(
            (seed, scenario, failure)
            for seed in range(50)
            if (failure := run(scenario := draw(seed)).failure) is not None
        )
    with without(guard):
        smaller = shrunk(scenario, failure, most_runs=60)
    with without(guard):
        outcome = run(smaller, tell=True)
    assert is_sound(smaller)
    assert len(smaller.actions) < len(scenario.actions) / 2
    assert outcome.failure is not None
    assert outcome.story[-1].endswith(f"FAILED: {outcome.failure}")
    assert any("sent to" in line for line in outcome.story)
    assert run(draw(seed)).failure is None, "with the guard, it does not fail"


def test_a_seed_happens_the_same_way_in_another_process_with_another_hash_seed() -> None:
    here = [run(draw(seed)).digest for seed in range(12)]
    code = (
        "from tests.simulation.scenario import draw\nfrom tests.simulation.world import run\n"
        "print(*(run(draw(seed)).digest for seed in range(12)))"
    )
    for hash_seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout.split() == here
