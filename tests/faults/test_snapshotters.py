"""Two snapshotters, stopped, killed and cut off at every command: what is published stays whole and right.

Each guard has a test that takes it out and sees the published numbers go wrong.
"""

from collections.abc import Callable, Iterable
from itertools import count
from random import Random

import pytest

from streams.snapshots.fenced import FencedAccount
from streams.snapshots.manifest import PublicKeys
from streams.snapshots.parts import Attempt, Part
from tests.faults.programs import Program
from tests.faults.snapshotters import NAMESPACE, STAGES, Faults, PublishingWorld, Wrong, play, rounds

SEEDS = range(40)
LATER = [700.0, 700.0, 700.0, 700.0]
"""Rounds that are far enough apart for all garbage to go."""


class Second:
    """The second round of program `a`, in which something happens at its command number `at`."""

    def __init__(self, at: int, what: Callable[[Faults, Program], None]) -> None:
        self.world = PublishingWorld()
        self.faults = self.world.around = Faults()
        self.a, self.b = Program("a", clock_ahead_seconds=-1_000), Program("b", clock_ahead_seconds=90_000)
        self.commands = 0
        self._at = at
        self._what = what

    async def run(self, b_rounds: list[float]) -> None:
        """Two rounds of `a`, the second with its fault, while `b` begins a second later; then both go on."""
        world = self.world
        world.commit_all(1)
        await self.a.run(rounds(world, self.a, [0.0]))
        world.commit_all(2)
        numbers = count()

        def at(program: Program, command: str, moment: str) -> None:  # noqa: ARG001
            if program is self.a and moment == "before":
                self.commands = next(numbers)
                if self.commands == self._at:
                    world.commit_all(3)
                    self._what(self.faults, self.a)

        self.faults.at = at
        first = self.a.run(rounds(world, self.a, [0.0]))
        second = self.b.run(rounds(world, self.b, b_rounds, all_accounts=True))
        for task in (first, second):
            try:
                await task
            except BaseException as error:
                if not self.a.is_dead or isinstance(error, Wrong):
                    raise
        self.faults.at = lambda *_: None
        world.commit_all(4)
        survivor = Program("c")
        await survivor.run(rounds(world, survivor, [100.0, *LATER], all_accounts=True))
        # What was written and never named is swept by rounds in which the account needs nothing.
        await survivor.run(rounds(world, survivor, LATER))
        world.look()
        assert world.is_up_to_date()
        assert world.forgotten() == set()
        assert [world.garbage(name) for name in world.accounts] == [[] for _ in world.accounts]


def nothing(faults: Faults, program: Program) -> None:
    """No fault."""


def kill(faults: Faults, program: Program) -> None:  # noqa: ARG001
    """kill -9."""
    program.is_dead = True


def stop_for(seconds: float) -> Callable[[Faults, Program], None]:
    """SIGSTOP, and SIGCONT later."""
    return lambda faults, program: faults.pause(program, seconds)


def steps() -> int:
    """How many commands the second round takes."""
    second = Second(-1, nothing)
    play(lambda: second.run([1.0]))
    return second.commands


STEPS = steps()


def test_rounds_without_faults_are_right() -> None:
    assert STEPS > 30
    second = Second(-1, nothing)
    play(lambda: second.run([1.0]))
    assert second.world.publications > 10


@pytest.mark.parametrize(
    ("seconds", "b_rounds"),
    [
        # Back while the other is at work, whenever that is; back after it is gone and what it replaced is swept.
        (61.2, [1.0]),
        (61.3, [1.0]),
        (200.0, [1.0, 20.0, 20.0]),
        (4_000.0, [1.0, *LATER]),
    ],
)
def test_one_is_stopped_at_every_command_while_the_other_publishes(seconds: float, b_rounds: list[float]) -> None:
    refused = 0
    for at in range(STEPS + 1):
        second = Second(at, stop_for(seconds))
        play(lambda second=second: second.run(b_rounds))  # type: ignore[misc]
        refused += second.world.server.refused
    # A guard that never acts was not tested.
    assert refused > STEPS


def test_one_is_killed_at_every_command_and_the_other_goes_on() -> None:
    for at in range(STEPS + 1):
        second = Second(at, kill)
        play(lambda second=second: second.run([1.0]))  # type: ignore[misc]
        assert second.a.is_dead


@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_off_at_every_command(when: str) -> None:
    for at in range(STEPS + 1):
        world = PublishingWorld()
        world.around = faults = Faults()
        program = Program("a")
        world.commit_all(2)
        numbers = count()

        def cut(_: Program, command: str, moment: str) -> None:
            if moment == when and next(numbers) == at:  # noqa: B023
                raise ConnectionResetError(command)

        faults.at = cut
        play(lambda: program.run_all(rounds(world, program, [0.0, 100.0, *LATER], all_accounts=True)))  # noqa: B023
        assert world.is_up_to_date()
        assert world.forgotten() == set()


def test_an_account_at_which_the_connection_always_breaks_holds_up_no_other() -> None:
    """As when its document is larger than Redis takes: the server closes the connection."""
    world = PublishingWorld()
    world.around = faults = Faults()
    world.commit_all(STAGES)
    program = Program("a")
    numbers = count()

    def breaks(_: Program, command: str, moment: str) -> None:
        if (command, moment) == ("publish", "before") and next(numbers) in (1, 3):
            raise ConnectionResetError("too large")

    faults.at = breaks
    snapshotter = world.snapshotter(program)

    async def one_round() -> None:
        await program.run(snapshotter.publish(all_accounts=True))

    play(one_round)
    first, broken, last = world.accounts
    assert {name: failure.reason for name, failure in snapshotter.failures.items()} == {broken: "redis"}
    shown = [PublicKeys(NAMESPACE, name).manifest.encode() in world.server.data for name in (first, broken, last)]
    assert shown == [True, False, True]


def test_an_account_that_failed_once_is_published_in_the_same_round() -> None:
    world = PublishingWorld()
    world.around = faults = Faults()
    world.commit_all(STAGES)
    program = Program("a")
    numbers = count()

    def breaks(_: Program, command: str, moment: str) -> None:
        if (command, moment) == ("claim", "after") and next(numbers) == 0:
            raise ConnectionResetError("closed by the server")

    faults.at = breaks
    snapshotter = world.snapshotter(program)

    async def one_round() -> None:
        await program.run(snapshotter.publish(all_accounts=True))

    play(one_round)
    assert snapshotter.failures == {}
    assert world.is_up_to_date()


def test_an_account_that_alone_went_back_is_made_up_to_date_when_it_changes_again() -> None:
    """On a Redis Cluster its keys are elsewhere than the shards and than what a round remembers."""
    world = PublishingWorld()
    program = Program("a")

    async def goes_back() -> None:
        snapshotter = world.snapshotter(program)
        world.commit_all(1)
        await program.run(snapshotter.publish(all_accounts=True))
        before = {name: value for name, value in world.server.data.items() if b"mediana:{acc0}" in name}
        for stage in (2, 3):
            world.commit_all(stage)
            await program.run(snapshotter.publish(all_accounts=False))
        (copy, expires), stages = world.copied()
        world.restore(
            (({name: each for name, each in copy.items() if b"mediana:{acc0}" not in name} | before, expires), stages)
        )
        world.commit_all(STAGES)
        await program.run(snapshotter.publish(all_accounts=False))

    play(goes_back)
    assert world.is_up_to_date()


def disturbed(seed: int, *, rollbacks: bool) -> PublishingWorld:
    """Two snapshotters in random turns, stopped, killed, cut off, their clocks and Redis's jumping."""
    dice = Random(seed)
    world = PublishingWorld()
    world.around = faults = Faults()
    copies = [world.copied()]

    def at(program: Program, command: str, moment: str) -> None:
        chance = dice.random()
        if chance < 0.006:
            faults.pause(program, dice.choice((5.0, 61.0, 130.0, 900.0)))
        elif chance < 0.009:
            program.is_dead = True
        elif chance < 0.013:
            raise ConnectionResetError(f"{command} {moment}")
        elif chance < 0.020:
            world.commit(dice.randrange(2))
        elif chance < 0.022:
            world.server.clock_ahead_ms += dice.choice((-1, 1)) * dice.choice((1_000, 10**6, 10**11))
        elif chance < 0.024:
            program.clock_ahead_seconds = dice.choice((0.0, -(10**8), 10**8))
        elif chance < 0.027 and rollbacks:
            copies.append(world.copied())
        elif chance < 0.029 and rollbacks:
            world.restore(dice.choice(copies[-3:]))

    async def lives(name: str) -> None:
        for life in range(4):
            program = Program(f"{name}{life}", dice.choice((0.0, 40.0, -40.0)))
            pauses = [dice.choice((1.0, 10.0, 400.0)) for _ in range(4)]
            try:
                await program.run(rounds(world, program, pauses, all_accounts=dice.random() < 0.5))
            except BaseException as error:
                if not program.is_dead or isinstance(error, Wrong):
                    raise

    async def main() -> None:
        import asyncio

        faults.at = at
        await asyncio.gather(lives("a"), lives("b"))
        faults.at = lambda *_: None
        world.commit_all(STAGES)
        last = Program("last")
        await last.run(rounds(world, last, [2_000.0, 2_000.0, *LATER], all_accounts=True))
        world.look()

    play(main)
    return world


def test_two_snapshotters_under_random_faults() -> None:
    refused = 0
    for seed in SEEDS:
        world = disturbed(seed, rollbacks=False)
        assert world.is_up_to_date(), f"seed {seed}"
        assert world.forgotten() == set(), f"seed {seed}"
        refused += world.server.refused
    assert refused > 20


@pytest.mark.xfail(
    reason="a round that read shards before Redis went back, and the account after, publishes one revision of both"
)
def test_two_snapshotters_and_a_redis_that_goes_back() -> None:
    for seed in SEEDS:
        assert disturbed(seed, rollbacks=True).is_up_to_date(), f"seed {seed}"


# --- each guard, taken out ------------------------------------------------------------------------------------------


def goes_wrong(*seconds: float, without: Iterable[str] = ()) -> bool:
    """Whether what is published goes wrong when one is stopped at some command."""
    for at in range(STEPS + 1):
        for each in seconds:
            second = Second(at, stop_for(each))
            second.world.server.without = frozenset(without)
            try:
                play(lambda second=second: second.run([1.0, *LATER]))  # type: ignore[misc]
            except (Wrong, AssertionError):
                return True
    return False


def test_without_fence_and_revision_the_slow_one_takes_numbers_back() -> None:
    assert goes_wrong(200.0, without=("fence", "revision"))


def test_without_the_fence_and_with_names_of_the_revision_the_slow_one_overwrites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How it once was: a part was versioned by its revision, and nobody compared who wrote it."""
    claims: dict[int, int] = {}
    claim = FencedAccount.claim

    async def remembering(self: FencedAccount) -> object:
        found = await claim(self)
        claims[0] = found.revision + 1
        return found

    class OfRevision(Attempt):
        def __init__(self) -> None:
            self._revision = claims[0]

        def part(self, name: str) -> Part:
            return Part(name, str(self._revision))

    monkeypatch.setattr(FencedAccount, "claim", remembering)
    monkeypatch.setattr("streams.snapshots.publisher.Attempt", OfRevision)
    assert goes_wrong(61.3, 200.0, without=["fence"])


def test_without_waiting_what_was_replaced_is_swept_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for wait in ("GARBAGE_MS", "GARBAGE_REVISIONS"):
        monkeypatch.setattr(f"streams.snapshots.publisher.{wait}", 0)
    assert goes_wrong(200.0)


@pytest.mark.parametrize("without", [(), ("missing",)], ids=["guarded", "unguarded"])
def test_without_a_look_at_the_parts_a_revision_would_name_what_is_gone(without: Iterable[str]) -> None:
    wrong = 0
    for at in range(1, 60):
        world = PublishingWorld()
        world.server.without = frozenset(without)
        world.around = faults = Faults()
        program = Program("a")
        world.commit_all(1)
        numbers = count()
        copies = [world.copied()]

        def back(_: Program, command: str, moment: str) -> None:
            if command in ("write", "publish") and moment == "before":
                if next(numbers) == at:  # noqa: B023
                    # Redis goes back by one command.
                    world.restore(copies[-1])  # noqa: B023
                else:
                    copies[:] = [world.copied()]  # noqa: B023

        faults.at = back
        try:
            play(lambda: program.run_all(rounds(world, program, [0.0], all_accounts=True)))  # noqa: B023
        except Wrong:
            wrong += 1
    assert bool(wrong) == bool(without)
