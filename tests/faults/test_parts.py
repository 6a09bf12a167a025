"""Batches that are committed in parts, for they would take too long or too much memory: the counters stay right."""

import random
from typing import Any

import pytest

from streams.shard import batch
from streams.shard.batch import Budget
from tests.faults.world import Disturbances, World, advance, run, work

SMALL = {"memory": Budget(memory=1), "time": Budget(seconds=1e-9), "both": Budget(1e-9, 600)}


@pytest.fixture(params=SMALL)
def budget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Budget:
    monkeypatch.setattr(batch, "_STATES_AT_ONCE", 1)
    monkeypatch.setattr(batch, "_STATES_IN_ORDER", 1)
    monkeypatch.setattr(batch, "_BREATH_SECONDS", 0.0)
    return SMALL[request.param]


def test_a_batch_in_parts_gives_what_it_gives_whole(budget: Budget) -> None:
    world, whole = World(contacts=6), World(contacts=6)
    commits = {id(world): 0, id(whole): 0}

    async def count(which: World, command: str, moment: str) -> None:
        commits[id(which)] += (command, moment) == ("commit", "after")

    run(work(world, lambda *told: count(world, *told), budget=budget))
    run(work(whole, lambda *told: count(whole, *told)))
    assert world.is_right()
    assert commits[id(world)] > commits[id(whole)]


def test_killed_between_any_two_parts(budget: Budget) -> None:
    total = run(work(World(contacts=2), budget=budget))
    for crash_at in range(0, total, 3):
        world = World(contacts=2)
        first = work(world, budget=budget)
        for _ in range(crash_at):
            advance(first)
        first.close()
        run(work(world, budget=budget))
        assert world.is_right(), f"killed at step {crash_at}"


@pytest.mark.parametrize("seed", range(10))
def test_two_workers_cut_off_at_random(seed: int, budget: Budget) -> None:
    dice = random.Random(seed)
    world = World(contacts=3)

    def start() -> Any:
        return work(world, Disturbances(dice, 0.02), budget=budget)

    workers = [start(), start()]
    for _ in range(300):
        which = dice.randrange(2)
        if not advance(workers[which]) or dice.random() < 0.01:
            workers[which].close()
            workers[which] = start()
    for worker in workers:
        worker.close()
    run(work(world, budget=budget))
    assert world.is_right()
