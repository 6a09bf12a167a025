"""Makes a failing scenario smaller: whatever can be left out without its failing differently is left out."""

import re
from collections.abc import Sequence
from dataclasses import replace

from tests.simulation.scenario import Action, Scenario
from tests.simulation.world import run

MOST_RUNS = 250


def shrunk(scenario: Scenario, failure: str, most_runs: int = MOST_RUNS) -> Scenario:
    """A scenario that fails in the same way, with as few actions, processes and shards as could be found."""
    wanted = _kind(failure)
    left = most_runs

    def fails(candidate: Scenario) -> bool:
        nonlocal left
        if left <= 0 or not is_sound(candidate):
            return False
        left -= 1
        found = run(candidate).failure
        return found is not None and _kind(found) == wanted

    for fewer in _smaller_worlds(scenario):
        if fails(fewer):
            scenario = fewer
    fixed = [action for action in scenario.actions if action.at == 0.0]
    loose = [action for action in scenario.actions if action.at > 0.0]
    size = max(1, len(loose) // 2)
    while left > 0:
        removed = False
        first = 0
        while first < len(loose):
            rest = loose[:first] + loose[first + size :]
            if fails(scenario.with_actions([*fixed, *rest])):
                loose, removed = rest, True
            else:
                first += size
        if not removed:
            if size == 1:
                break
            size = max(1, size // 2)
    return scenario.with_actions([*fixed, *loose])


def is_sound(scenario: Scenario) -> bool:
    """Whether there is one right report: what comes too late has something before it that makes it so."""
    talked: set[bytes | None] = set()
    for action in scenario.actions:
        record = action.record
        if record is None or record.topic != "conversations":
            continue
        if b"-old" in (record.value or b""):
            if record.key not in talked:
                return False
        else:
            talked.add(record.key)
    return True


def _smaller_worlds(scenario: Scenario) -> Sequence[Scenario]:
    found = []
    for workers, snapshotters in ((1, 1), (2, 1), (1, scenario.snapshotters)):
        if workers <= scenario.workers and snapshotters <= scenario.snapshotters:
            found.append(_with(scenario, workers, snapshotters))
    return found


def _with(scenario: Scenario, workers: int, snapshotters: int) -> Scenario:
    names = {"", "reader", *(f"worker-{number}" for number in range(workers))}
    names |= {f"snapshotter-{number}" for number in range(snapshotters)}

    def stays(action: Action) -> bool:
        return action.target in names

    smaller = replace(scenario, workers=workers, snapshotters=snapshotters)
    return smaller.with_actions(filter(stays, scenario.actions))


def _kind(failure: str) -> str:
    """What a failure is, without names and numbers."""
    return re.sub(r"(worker|snapshotter)-\S+|\d+|\b(utc|plain|lord-howe|shifty)\b", "", failure)[:40]
