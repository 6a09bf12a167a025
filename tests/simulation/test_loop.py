"""The loop without a clock: time jumps, processes freeze and die, and what they held goes on or is gone."""

import asyncio
import importlib
import time
from typing import Any

import pytest

from tests.simulation.clocks import simulated
from tests.simulation.loop import EPOCH, Process, Standstill, VirtualLoop

# What these modules import by name is theirs, and nobody else's.
intake: Any = importlib.import_module("streams.intake.service")
ledger: Any = importlib.import_module("streams.redis.ledger")
snapshotter: Any = importlib.import_module("streams.snapshots.snapshotter")


async def ticks(said: list[tuple[str, float]], name: str, count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await asyncio.sleep(1)
        said.append((name, loop.time()))


async def until(second: float) -> None:
    await asyncio.sleep(second)


def test_time_jumps_to_the_next_timer() -> None:
    loop = VirtualLoop()
    began = time.monotonic()
    loop.run_until_complete(until(86_400))
    assert loop.now == 86_400
    assert time.monotonic() - began < 1
    loop.bury()


def test_a_frozen_process_catches_up_and_a_dead_one_never_does_anything_again() -> None:
    loop = VirtualLoop()
    said: list[tuple[str, float]] = []
    one, two, three = Process("one"), Process("two"), Process("three")
    for process in (one, two, three):
        process.start(loop, ticks(said, process.name, 3))

    def freeze() -> None:
        one.frozen = True

    loop.call_outside(0.5, freeze)
    loop.call_outside(2.5, loop.thaw, one)
    loop.call_outside(1.5, two.kill)
    three.steps_left = 2  # the first begins to sleep, the second wakes up
    loop.run_until_complete(until(10))
    assert said == [("two", 1.0), ("one", 2.5), ("one", 3.5), ("one", 4.5)]
    assert three.dead
    loop.bury()


def test_a_killed_process_runs_no_cleanup() -> None:
    loop = VirtualLoop()
    cleaned: list[str] = []

    async def careful() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            cleaned.append("up")

    process = Process("careful")
    process.start(loop, careful())
    loop.call_outside(1, process.kill)
    loop.run_until_complete(until(10))
    assert not cleaned
    loop.bury()


def test_nothing_left_to_happen_is_an_error() -> None:
    loop = VirtualLoop()

    async def forever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Standstill):
        loop.run_until_complete(forever())
    loop.bury()


def test_the_program_lives_in_simulated_time_and_gets_its_own_clock_back() -> None:
    loop = VirtualLoop()
    seen: list[float] = []

    async def look() -> None:
        await asyncio.sleep(3)
        seen.extend((intake.monotonic(), intake.time(), snapshotter.time.time()))

    with simulated(loop, 1):
        ahead = Process("ahead", clock_ahead=100.0)
        ahead.start(loop, look())
        loop.run_until_complete(until(4))
        token = ledger.secrets.token_hex(16)
    with simulated(loop, 1):
        assert ledger.secrets.token_hex(16) == token
    assert seen == [3.0, EPOCH + 103, EPOCH + 103]
    assert intake.time is time.time
    assert snapshotter.time is time
    loop.bury()
