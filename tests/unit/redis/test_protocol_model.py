"""The ledger's protocol as a model, searched through: two workers, lost replies, late commits, fail-over and back.

The model keeps what matters of `streams.redis.ledger` and `streams.shard.session`: a claim writes a token; a contact's
state is read once and then remembered, the counter is read with each batch, both under a fence; a commit compares token
and position, and writes the state that it changed and the counter; after a lost reply a worker looks whether the ledger
holds its target under its token. A replica stands still at some moment; later it takes the primary's place, and may
give it back. The two workers fold under different settings, so that what one contributed cannot pass for the other's.

The search visits every order in which the steps can happen. So a guard that is not needed shows as well: each is
taken out in a test of its own, and the model must break.
"""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

import pytest

CLAIMS = (2, 1)
"""Most claims of each worker."""
SWITCHES = 2
"""Of primary and replica."""

LOGS = ((0, 0), (0, 1))
"""The contact of each record: one contact twice, or two."""

Contributions = tuple[tuple[int, int], ...]
"""Record and worker, of each record that counts."""

Token = tuple[int, int]


class Guard(Enum):
    """What a model may lack."""

    RANDOM_TOKEN = "a token is a number that goes up, and back with Redis"
    TOKEN_IN_COMMIT = "a commit does not compare the token"
    POSITION_IN_COMMIT = "a commit does not compare the position"
    TOKEN_IN_READ = "a read does not compare the token"
    POSITION_IN_READ = "a read does not compare the position"
    CACHE_OF_A_SESSION = "a new session keeps what the one before remembered"
    TOKEN_AFTER_LOST_REPLY = "after a lost reply only the position is compared"
    DOUBT_AFTER_LOST_REPLY = "after a lost reply the commit is taken for done"


BELIEFS = (Guard.TOKEN_AFTER_LOST_REPLY, Guard.DOUBT_AFTER_LOST_REPLY)
"""Whether a worker is right about a commit without an answer decides how soon it goes on, and nothing else: what it
does next is compared again."""

GUARDS = [guard for guard in Guard if guard not in BELIEFS]


class Ledger(NamedTuple):
    """What Redis holds."""

    token: Token = (0, 0)
    position: int = 0
    states: tuple[Contributions, Contributions] = ((), ())
    """Per contact."""
    counter: Contributions = ()


class Commit(NamedTuple):
    """A commit on its way, then its answer."""

    fence: tuple[Token, int]
    contact: int
    state: Contributions
    counter: Contributions
    answer: bool | None = None


class Worker(NamedTuple):
    """One worker. Without a session it has no fence."""

    fence: tuple[Token, int] | None = None
    cache: tuple[Contributions | None, Contributions | None] = (None, None)
    state: Contributions | None = None
    counter: Contributions | None = None
    commit: Commit | None = None
    abandoned: Commit | None = None
    """A commit it no longer waits for, which may still arrive."""
    claims: int = 0


class World(NamedTuple):
    """Everything, at one moment."""

    ledger: Ledger = Ledger()
    replica: Ledger | None = None
    """Once it stands still."""
    switches: int = 0
    workers: tuple[Worker, Worker] = (Worker(), Worker())


def is_right(ledger: Ledger) -> bool:
    """Each record before the position counts once, and state and counter tell the same."""
    contributed = sorted(ledger.states[0] + ledger.states[1])
    return contributed == sorted(ledger.counter) and [record for record, _ in contributed] == [*range(ledger.position)]


class Model:
    """The steps that can be taken from a world, with or without a guard."""

    def __init__(self, log: tuple[int, ...], without: Guard | None = None) -> None:
        self._log = log
        self._without = without

    def steps(self, world: World) -> Iterator[World]:
        """Every world that may come next."""
        if world.replica is None:
            yield world._replace(replica=world.ledger)
        elif world.switches < SWITCHES:
            yield world._replace(ledger=world.replica, replica=world.ledger, switches=world.switches + 1)
        for number, worker in enumerate(world.workers):
            for ledger, after in self._of(number, worker, world.ledger):
                workers = (after, world.workers[1]) if number == 0 else (world.workers[0], after)
                yield world._replace(ledger=ledger, workers=workers)

    def _of(self, number: int, worker: Worker, ledger: Ledger) -> Iterator[tuple[Ledger, Worker]]:
        if worker.abandoned is not None:
            yield self._committed(ledger, worker.abandoned)[0], worker._replace(abandoned=None)
        if worker.fence is None:
            if worker.claims < CLAIMS[number]:
                yield self._claimed(number, worker, ledger)
        elif worker.commit is not None:
            yield from self._waiting(worker, worker.commit, ledger)
        elif worker.fence[1] < len(self._log):
            contact = self._log[worker.fence[1]]
            cached = worker.cache[contact]
            if worker.state is None and cached is not None:
                yield ledger, worker._replace(state=cached)
            elif worker.state is None or worker.counter is None:
                yield ledger, self._read(worker, contact, ledger)
            else:
                more = ((worker.fence[1], number),)
                commit = Commit(worker.fence, contact, worker.state + more, worker.counter + more)
                yield ledger, worker._replace(commit=commit, state=None, counter=None)

    def _claimed(self, number: int, worker: Worker, ledger: Ledger) -> tuple[Ledger, Worker]:
        token = (number + 1, worker.claims + 1)
        if self._without is Guard.RANDOM_TOKEN:
            token = (0, ledger.token[1] + 1)
        return ledger._replace(token=token), worker._replace(fence=(token, ledger.position), claims=worker.claims + 1)

    def _read(self, worker: Worker, contact: int, ledger: Ledger) -> Worker:
        assert worker.fence is not None
        token, position = worker.fence
        if token != ledger.token and self._without is not Guard.TOKEN_IN_READ:
            return self._dropped(worker)
        if position != ledger.position and self._without is not Guard.POSITION_IN_READ:
            return self._dropped(worker)
        if worker.state is None:
            return worker._replace(state=ledger.states[contact])
        return worker._replace(counter=ledger.counter)

    def _committed(self, ledger: Ledger, commit: Commit) -> tuple[Ledger, bool]:
        token, position = commit.fence
        if token != ledger.token and self._without is not Guard.TOKEN_IN_COMMIT:
            return ledger, False
        if position != ledger.position and self._without is not Guard.POSITION_IN_COMMIT:
            return ledger, False
        first, second = ledger.states
        states = (commit.state, second) if commit.contact == 0 else (first, commit.state)
        return Ledger(ledger.token, position + 1, states, commit.counter), True

    def _waiting(self, worker: Worker, commit: Commit, ledger: Ledger) -> Iterator[tuple[Ledger, Worker]]:
        if commit.answer is None:
            after, answer = self._committed(ledger, commit)
            yield after, worker._replace(commit=commit._replace(answer=answer))
        else:
            yield ledger, self._done(worker, commit) if commit.answer else self._dropped(worker)
        # The answer is lost, or does not come in time; the commit itself may be on its way still.
        left = worker._replace(abandoned=commit) if commit.answer is None else worker
        token, position = commit.fence
        is_done = ledger.position == position + 1
        if self._without is not Guard.TOKEN_AFTER_LOST_REPLY:
            is_done = is_done and ledger.token == token
        if self._without is Guard.DOUBT_AFTER_LOST_REPLY:
            is_done = True
        yield ledger, self._done(left, commit) if is_done else self._dropped(left)

    def _done(self, worker: Worker, commit: Commit) -> Worker:
        token, position = commit.fence
        first, second = worker.cache
        cache = (commit.state, second) if commit.contact == 0 else (first, commit.state)
        return worker._replace(fence=(token, position + 1), cache=cache, commit=None)

    def _dropped(self, worker: Worker) -> Worker:
        cache = worker.cache if self._without is Guard.CACHE_OF_A_SESSION else (None, None)
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


@pytest.mark.parametrize("log", LOGS)
def test_no_order_of_steps_ever_makes_the_ledger_wrong(log: tuple[int, ...]) -> None:
    visited, wrong = search(Model(log))
    assert wrong is None
    assert visited > 10_000


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name.lower())
def test_without_any_one_guard_some_order_makes_it_wrong(guard: Guard) -> None:
    assert any(search(Model(log, without=guard))[1] is not None for log in LOGS)


@pytest.mark.parametrize("belief", BELIEFS, ids=lambda guard: guard.name.lower())
def test_a_worker_that_is_wrong_about_a_lost_reply_does_no_harm(belief: Guard) -> None:
    assert all(search(Model(log, without=belief))[1] is None for log in LOGS)
