"""The ledger's protocol as a model, searched through: two workers, lost replies, late commits, one fail-over.

The model keeps what matters of `streams.ledger` and `streams.session`: a claim writes a token; states are read once and
then remembered, counters are read with each batch, both under a fence; a commit compares token and position; after a
lost reply a worker looks whether the ledger holds its target under its token. What a record contributes depends on the
settings of the moment, which may change once: two workers that fold the same record may therefore differ, and state and
counters belong together only if one worker wrote both.

The search visits every order in which the steps can happen, so a guard that is not needed would show as well: each is
taken out in a test of its own, and the model must break.
"""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

import pytest

RECORDS = 2
CLAIMS = 2
"""Most claims of one worker."""

Contributions = tuple[tuple[int, int], ...]
"""Record and settings, of each record that counts."""

Token = tuple[int, int]


class Guard(Enum):
    """What a model may lack."""

    RANDOM_TOKEN = "a token is a number that goes up, and back with Redis"
    TOKEN_IN_COMMIT = "a commit does not compare the token"
    POSITION_IN_COMMIT = "a commit does not compare the position"
    TOKEN_IN_READ = "a read does not compare the token"
    POSITION_IN_READ = "a read does not compare the position"
    TOKEN_AFTER_LOST_REPLY = "after a lost reply only the position is compared"
    DROP_AFTER_LOST_REPLY = "after a lost reply the commit is taken for done"
    DROP_WITH_CACHE = "a new session keeps what the one before remembered"


class Ledger(NamedTuple):
    """What Redis holds."""

    token: Token = (0, 0)
    position: int = 0
    state: Contributions = ()
    counter: Contributions = ()


class Commit(NamedTuple):
    """A commit on its way, then its answer."""

    fence: tuple[Token, int]
    state: Contributions
    counter: Contributions
    answer: bool | None = None


class Worker(NamedTuple):
    """One worker. Without a session it has no fence."""

    fence: tuple[Token, int] | None = None
    cache: Contributions | None = None
    state: Contributions | None = None
    counter: Contributions | None = None
    commit: Commit | None = None
    abandoned: tuple[Commit, ...] = ()
    """Commits it no longer waits for, which may still arrive."""
    claims: int = 0


class World(NamedTuple):
    """Everything, at one moment."""

    ledger: Ledger = Ledger()
    copy: Ledger | None = None
    failed_over: bool = False
    settings: int = 0
    workers: tuple[Worker, Worker] = (Worker(), Worker())


def is_right(ledger: Ledger) -> bool:
    """Each record before the position counts once, and state and counter tell the same."""
    return ledger.state == ledger.counter and [record for record, _ in ledger.state] == list(range(ledger.position))


class Model:
    """The steps that can be taken from a world, with or without a guard."""

    def __init__(self, without: Guard | None = None) -> None:
        self._without = without

    def steps(self, world: World) -> Iterator[World]:
        """Every world that may come next."""
        if world.settings == 0:
            yield world._replace(settings=1)
        if world.copy is None:
            yield world._replace(copy=world.ledger)
        elif not world.failed_over:
            yield world._replace(ledger=world.copy, failed_over=True)
        for number, worker in enumerate(world.workers):
            for ledger, after in self._of(number, worker, world):
                workers = (after, world.workers[1]) if number == 0 else (world.workers[0], after)
                yield world._replace(ledger=ledger, workers=workers)

    def _of(self, number: int, worker: Worker, world: World) -> Iterator[tuple[Ledger, Worker]]:
        ledger = world.ledger
        for place, commit in enumerate(worker.abandoned):
            rest = worker.abandoned[:place] + worker.abandoned[place + 1 :]
            yield self._committed(ledger, commit)[0], worker._replace(abandoned=rest)
        if worker.fence is None:
            if worker.claims < CLAIMS:
                yield self._claimed(number, worker, ledger)
            return
        if worker.commit is not None:
            yield from self._waiting(worker, worker.commit, ledger)
        elif worker.state is None:
            if worker.fence[1] < RECORDS:
                yield ledger, self._read(worker, ledger, worker.cache, "state")
        elif worker.counter is None:
            yield ledger, self._read(worker, ledger, None, "counter")
        else:
            more = ((worker.fence[1], world.settings),)
            commit = Commit(worker.fence, worker.state + more, worker.counter + more)
            yield ledger, worker._replace(commit=commit, state=None, counter=None)

    def _claimed(self, number: int, worker: Worker, ledger: Ledger) -> tuple[Ledger, Worker]:
        token = (number + 1, worker.claims + 1)
        if self._without is Guard.RANDOM_TOKEN:
            token = (0, ledger.token[1] + 1)
        cache = worker.cache if self._without is Guard.DROP_WITH_CACHE else None
        claimed = worker._replace(fence=(token, ledger.position), cache=cache, claims=worker.claims + 1)
        return ledger._replace(token=token), claimed

    def _read(self, worker: Worker, ledger: Ledger, cached: Contributions | None, what: str) -> Worker:
        if cached is not None:
            return worker._replace(state=cached)
        assert worker.fence is not None
        token, position = worker.fence
        if token != ledger.token and self._without is not Guard.TOKEN_IN_READ:
            return self._dropped(worker)
        if position != ledger.position and self._without is not Guard.POSITION_IN_READ:
            return self._dropped(worker)
        if what == "state":
            return worker._replace(state=ledger.state)
        return worker._replace(counter=ledger.counter)

    def _committed(self, ledger: Ledger, commit: Commit) -> tuple[Ledger, bool]:
        token, position = commit.fence
        if token != ledger.token and self._without is not Guard.TOKEN_IN_COMMIT:
            return ledger, False
        if position != ledger.position and self._without is not Guard.POSITION_IN_COMMIT:
            return ledger, False
        return Ledger(ledger.token, position + 1, commit.state, commit.counter), True

    def _waiting(self, worker: Worker, commit: Commit, ledger: Ledger) -> Iterator[tuple[Ledger, Worker]]:
        if commit.answer is None:
            after, answer = self._committed(ledger, commit)
            yield after, worker._replace(commit=commit._replace(answer=answer))
        else:
            yield ledger, self._done(worker, commit) if commit.answer else self._dropped(worker)
        # The answer is lost, or does not come in time; the commit itself may be on its way still.
        abandoned = (*worker.abandoned, commit) if commit.answer is None else worker.abandoned
        left = worker._replace(abandoned=abandoned)
        token, position = commit.fence
        is_done = ledger.position == position + 1
        if self._without is not Guard.TOKEN_AFTER_LOST_REPLY:
            is_done = is_done and ledger.token == token
        if self._without is Guard.DROP_AFTER_LOST_REPLY:
            is_done = True
        yield ledger, self._done(left, commit) if is_done else self._dropped(left)

    def _done(self, worker: Worker, commit: Commit) -> Worker:
        token, position = commit.fence
        return worker._replace(fence=(token, position + 1), cache=commit.state, commit=None)

    def _dropped(self, worker: Worker) -> Worker:
        cache = worker.cache if self._without is Guard.DROP_WITH_CACHE else None
        return worker._replace(fence=None, cache=cache, state=None, counter=None, commit=None)


def search(model: Model) -> tuple[int, World | None]:
    """Visit every world that can come about; how many, and the first whose ledger is wrong."""
    start = World()
    seen = {start}
    waiting = [start]
    while waiting:
        world = waiting.pop()
        for following in model.steps(world):
            if following not in seen:
                if not is_right(following.ledger):
                    return len(seen), following
                seen.add(following)
                waiting.append(following)
    return len(seen), None


def test_no_order_of_steps_ever_makes_the_ledger_wrong() -> None:
    visited, wrong = search(Model())
    assert wrong is None
    assert visited > 10_000


@pytest.mark.parametrize("guard", Guard, ids=lambda guard: guard.name.lower())
def test_without_any_one_guard_some_order_makes_it_wrong(guard: Guard) -> None:
    _, wrong = search(Model(without=guard))
    assert wrong is not None
