"""A worker is killed at every point where it waits, and between any two of another's: the counters stay right.

Each guard of the protocol has a test that takes it out and sees the numbers go wrong.
"""

import dataclasses
import random
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from streams.errors import ShardStopped
from streams.intake.shard_feed import ShardFeed
from streams.kafka.clients import TopicPartition
from streams.redis.ledger import RedisLedger
from streams.shard.batch import Batch
from streams.shard.session import Session
from tests.faults.world import Disturbances, World, advance, as_it_is, run, stepwise, work
from tests.support.fake_redis import FakeRedis
from tests.support.shard_facts import WrongTotals

SEEDS = range(150)
EFFECTIVE = (("whatsapp", "call"), ("instagram", "email", "messenger"), ())


def test_an_undisturbed_worker_gets_it_right() -> None:
    world = World(contacts=6)
    run(work(world))
    assert world.is_right()
    assert len(world.lines) > 60
    assert len(world.letters) > 5


def test_killed_at_every_step_and_started_again() -> None:
    total = run(work(World(contacts=3)))
    assert total > 60
    for crash_at in range(total):
        world = World(contacts=3)
        first = work(world)
        for _ in range(crash_at):
            advance(first)
        first.close()
        run(work(world))
        assert world.is_right(), f"killed at step {crash_at}"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_cut_off_at_every_command_once(moment: str) -> None:
    commands = 0

    async def count(command: str, when: str) -> None:  # noqa: ARG001
        nonlocal commands
        commands += when == moment

    run(work(World(contacts=3), count))
    for cut_at in range(commands):
        world = World(contacts=3)
        left = cut_at

        async def cut(command: str, when: str) -> None:
            nonlocal left
            if when == moment:
                left -= 1
                if left == -1:
                    raise ConnectionResetError(command)

        run(work(world, cut))
        assert world.is_right(), f"cut {moment} command {cut_at}"


def disturbed(seed: int, *, rollbacks: bool, settings: bool = False) -> World:
    """Two workers on one shard in random turns, killed and started, cut off, and Redis put back to older copies."""
    dice = random.Random(seed)
    world = World(contacts=3)
    world.rebalances.seed(seed)
    world.seals.seed(seed)
    # Commits of sealing part the sequence numbers of two workers, which makes some guards harder to see.
    world.sealed_share = 0.3 if seed % 2 else 0.0
    copies = [world.redis.copied()]

    def start() -> Any:
        return work(world, Disturbances(dice, 0.02))

    workers = [start(), start()]
    for _ in range(400):
        which = dice.randrange(2)
        if not advance(workers[which]):
            workers[which] = start()
        chance = dice.random()
        if chance < 0.01:
            workers[which].close()
            workers[which] = start()
        elif chance < 0.05:
            copies.append(world.redis.copied())
        elif chance < 0.06 and rollbacks:
            world.redis.restore(dice.choice(copies[-3:]))
        elif chance < 0.10 and settings:
            world.change_settings(dice.choice(EFFECTIVE))
    for worker in workers:
        worker.close()
    run(work(world))
    return world


def test_two_workers_that_take_the_shard_from_each_other() -> None:
    refused = 0
    for seed in SEEDS:
        world = disturbed(seed, rollbacks=False)
        assert world.is_right(), f"seed {seed}"
        refused += world.lost
    assert refused > 100


def test_a_shard_that_is_kept_in_a_rebalance_goes_on_where_it_was() -> None:
    lost_fetches = 0
    for seed in SEEDS:
        world = World(contacts=3)
        world.rebalances.seed(seed)
        run(work(world))
        assert world.is_right(), f"seed {seed}"
        assert world.lost == 0
        lost_fetches += world.rebalanced
    assert lost_fetches > 100


def test_two_workers_and_a_redis_that_goes_back() -> None:
    refused = 0
    for seed in SEEDS:
        world = disturbed(seed, rollbacks=True)
        assert world.is_right(), f"seed {seed}"
        refused += world.lost
    assert refused > 100


def test_settings_that_change_meanwhile_never_mix_two_histories() -> None:
    for seed in SEEDS:
        world = disturbed(seed, rollbacks=True, settings=True)
        assert not world.contradictions(), f"seed {seed}"


# --- each guard, taken out ------------------------------------------------------------------------------------------


def goes_wrong() -> bool:
    """Whether any seed mixes histories, or ends with a program that noticed that its numbers cannot be right.

    With the same settings all the time one history is as good as another, and ids that were seen before hide the rest:
    the guards are for what differs between two workers.
    """
    for seed in SEEDS:
        try:
            if disturbed(seed, rollbacks=True, settings=True).contradictions():
                return True
        except Exception:  # noqa: BLE001 - a negative total, or totals that are not those of the facts
            return True
    return False


def overtaken(commits: int, channels: tuple[str, ...]) -> World:
    """A worker stands still after some commits; Redis goes back to before them, and another worker makes as many under
    other settings. Then the first one goes on, where the ledger has the positions and the number that it remembers.
    """
    world = World(contacts=3)
    world.sealed_share, world.lost_share = 0.0, 0.0
    before = world.redis.copied()
    ledger = world.keys.shard(0).ledger

    def standing_after(commits: int) -> Any:
        worker = work(world)
        while int(world.redis.data[ledger][b"seq"]) < commits:
            assert advance(worker)
        return worker

    first = standing_after(commits)
    world.redis.restore(before)
    world.change_settings(channels)
    second = standing_after(commits)
    for _ in range(60):
        if not advance(first):
            break
    first.close()
    second.close()
    run(work(world))
    return world


OVERTAKEN = [(commits, channels) for commits in range(1, 13) for channels in EFFECTIVE]


def test_a_worker_that_was_overtaken_changes_nothing() -> None:
    for commits, channels in OVERTAKEN:
        world = overtaken(commits, channels)
        assert not world.contradictions(), f"after {commits} commits"
        assert world.lost > 0


def test_without_claim_tokens_it_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * size)
    wrong = 0
    for commits, channels in OVERTAKEN:
        try:
            wrong += bool(overtaken(commits, channels).contradictions())
        except (ShardStopped, WrongTotals):  # totals that would be negative, or are not those of the facts
            wrong += 1
    assert wrong > 3


def test_without_the_fence_of_reads_it_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unfenced(self: RedisLedger, fence: Any, reads: Any) -> Any:  # noqa: ARG001
        pipeline = self._client.pipeline(transaction=True)
        for key, fields in reads:
            pipeline.execute_command("HMGET", key, *fields)
        return await self._ask(pipeline.execute())

    monkeypatch.setattr(RedisLedger, "read", unfenced)
    assert goes_wrong()


def test_without_the_check_of_a_commit_it_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    committed = FakeRedis._commit

    def unchecked(self: FakeRedis, keys: tuple[bytes, ...], arguments: list[bytes]) -> bytes:
        held = self.hash(keys[0])
        names = (b"token", b"contacts", b"conversations", b"seq")
        return committed(self, keys, [*(held[name] for name in names), *arguments[4:]])

    monkeypatch.setattr(FakeRedis, "_commit", unchecked)
    assert goes_wrong()


def test_when_caches_outlive_their_session_it_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[int, Any] = {}
    began = Session.__init__

    def remembering(self: Session, *arguments: Any) -> None:
        began(self, *arguments)
        states, days = kept.setdefault(id(arguments[1]._client.data), (self.states, self.days))
        self.states, self.days = states, days

    monkeypatch.setattr(Session, "__init__", remembering)
    assert goes_wrong()


def test_when_a_kept_shard_goes_on_at_the_end_of_the_log_records_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_the_end(self: ShardFeed) -> dict[TopicPartition, int]:
        return dict(zip(self.partitions, self.ends, strict=True))

    monkeypatch.setattr(ShardFeed, "places", at_the_end)
    world = World(contacts=3)
    run(work(world))
    assert world.rebalanced > 0
    assert not world.is_right()


class Vanishing:
    """Some batches vanish, as with an agent that raises and tells nobody; `altered` is done to the others."""

    def __init__(self, altered: Callable[[Batch], Batch] = as_it_is) -> None:
        self.altered = altered
        self.batches = 0
        self.vanished = 0

    def __call__(self, batch: Batch) -> Batch | None:
        self.batches += 1
        # Not the last one, after which there is none that could notice.
        if self.batches % 3 == 0 and self.vanished < 4:
            self.vanished += 1
            return None
        return self.altered(batch)


def without_start(batch: Batch) -> Batch:
    """A batch that fits wherever the session stands: nothing compares where it begins."""
    return dataclasses.replace(batch, start=batch.session.positions)


def test_a_batch_that_vanished_is_noticed_by_the_next_one() -> None:
    world = World(contacts=3)
    vanishing = Vanishing()
    run(work(world, passing=vanishing))
    assert world.is_right()
    assert world.lost == vanishing.vanished == 4


def test_without_the_start_of_a_batch_its_records_would_be_lost() -> None:
    world = World(contacts=3)
    vanishing = Vanishing(without_start)
    run(work(world, passing=vanishing))
    assert (world.lost, vanishing.vanished) == (0, 4)
    assert not world.is_right()
    assert world.facts() != world.expected()


def test_steps_are_where_commands_are() -> None:
    world = World(contacts=1)
    assert run(work(world, stepwise)) > 10
