"""A scenario: everything that will happen to the program, drawn up beforehand from a seed as a list of actions.

Whatever is left when some actions are taken out is a scenario too: so a failing one can be made smaller.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from schemas import limits
from tests.simulation import traffic
from tests.simulation.redis_client import Mishap
from tests.simulation.traffic import Record

FAULTS_END = 11.0
"""Seconds after which nothing goes wrong any more."""

YEAR = 365 * 86_400.0


@dataclass(frozen=True)
class Action:
    """Something that happens at an instant."""

    at: float
    kind: str
    target: str = ""
    """The process it happens to, if it is one."""
    seconds: float = 0.0
    count: int = 0
    text: str = ""
    record: Record | None = None
    mishap: Mishap | None = None

    def told(self) -> str:
        """In words."""
        wording = WORDS[self.kind]
        record = "" if self.record is None else traffic.told(self.record)
        mishap = self.mishap
        kind, skip = ("", 0) if mishap is None else (mishap.kind, mishap.skip)
        of = "" if mishap is None else mishap.of
        return wording.format(
            target=self.target, seconds=self.seconds, count=self.count, text=self.text, record=record, kind=kind,
            skip=skip, of=of, late=0 if mishap is None else mishap.seconds,
        )  # fmt: skip


WORDS = {
    "send": "sent to {record}",
    "holes": "{text}: {count} offsets are skipped (an aborted transaction)",
    "hold": "{text}: a transaction begins, for {seconds:.1f} s",
    "kill": "{target} is killed (-9)",
    "kill within": "{target} will be killed (-9) after {count} steps more",
    "stop": "{target} is told to stop",
    "freeze": "{target} is frozen for {seconds:.1f} s",
    "freeze within": "{target} will be frozen for {seconds:.1f} s after {count} steps more",
    "clock": "the wall clock of {target} jumps by {seconds:+.0f} s",
    "mishap": "a request of {target} ({of}), after {skip} others: {kind} ({late:.1f} s)",
    "slow link": "the way of {target} to Redis takes {seconds:.2f} s",
    "redis restarts": "Redis is killed, is away for {seconds:.1f} s, and lacks its last second",
    "redis goes back": "Redis is put back by {seconds:.1f} s (a stale replica, an older copy)",
    "redis mood": "Redis answers for {seconds:.1f} s: {text}",
    "script breaks": "a commit fails after {count} writes; {seconds:.1f} s later Redis is restored from a copy",
    "broker away": "the broker is away for {seconds:.1f} s",
    "slow fetch": "{target} fetches nothing of {text} for {seconds:.1f} s",
    "trim": "retention takes what every copy of Redis has applied",
    "compact": "the accounts topic is compacted (refused settings of an account do not push out usable ones)",
}
"""The kinds of actions, and how each is told."""

MOODS = (
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "NOREPLICAS Not enough good replicas to write.",
)


@dataclass(frozen=True)
class Scenario:
    """What the world is like, and what happens in it."""

    seed: int
    shards: int
    workers: int
    snapshotters: int
    clocks_stand: bool = False
    """Whether the workers' clocks are before 1970, as those of machines that do not know the time: then the numbers of
    commits only count, and those of two workers meet."""
    actions: tuple[Action, ...] = field(default=())

    def with_actions(self, actions: Iterable[Action]) -> "Scenario":
        """The same world with other things happening."""
        return replace(self, actions=tuple(actions))


def draw(seed: int, profile: str = "everything") -> Scenario:
    """The scenario of a seed. A profile has more of one kind of fault, for tests of a guard against it."""
    dice = Random(f"{seed} {profile}")
    zombies = profile == "zombies"
    shards = 1 if zombies else dice.choice((1, 2, 2, 3))
    workers = 2 if zombies else dice.choice((1, 2, 2, 2, 3))
    snapshotters = 0 if zombies else dice.choice((1, 2))
    clocks_stand = zombies or dice.random() < 0.15
    actions = [Action(0.0, "send", record=traffic.settings(each)) for each in traffic.EVERYONE[1:]]
    begin, lasts = 0.3, FAULTS_END - 1.0
    accounts = (traffic.SHIFTY,) if zombies else (*traffic.STEADY, traffic.SHIFTY)
    if zombies:
        lasts = 0.01
    for place, record in traffic.lives(dice, shards, dice.randint(6, 11), accounts):
        actions.append(Action(round(begin + lasts * place, 3), "send", record=record))
    if not zombies:
        for second, record in traffic.quiet_lives(dice, shards, 0.6 * FAULTS_END, FAULTS_END):
            actions.append(Action(round(second, 3), "send", record=record))
    partitions = [f"{topic}/{number}" for topic in ("contacts", "conversations") for number in range(shards)]
    actions += [
        Action(_moment(dice), "holes", text=dice.choice((*partitions, "accounts/0")), count=dice.randint(1, 3))
        for _ in range(0 if zombies else dice.randint(0, 3))
    ]
    actions += [
        Action(_moment(dice), "hold", text=dice.choice(partitions), seconds=dice.uniform(0.2, 3))
        for _ in range(0 if zombies else dice.randint(0, 2))
    ]
    for _ in range(0 if zombies else dice.randint(0, 3)):
        channels = dice.choice(traffic.CHANNELS)
        record = traffic.settings({**traffic.SHIFTY, "effective_channels": channels})
        actions.append(Action(_moment(dice), "send", record=record))
    actions += [
        Action(_moment(dice), "send", record=_settings_of_a_steady_one(dice)) for _ in range(dice.randint(0, 2))
    ]
    names = [f"worker-{number}" for number in range(workers)]
    others = [*(f"snapshotter-{number}" for number in range(snapshotters)), "reader"]
    if zombies:
        actions += _zombies(dice)
    faults, least, most = PROFILES[profile]
    for _ in range(dice.randint(least, most)):
        actions.append(dice.choice(faults)(dice, _moment(dice), names, others, partitions))
    actions.sort(key=lambda action: action.at)  # which leaves what is sent at one instant in its order
    return Scenario(seed, shards, workers, snapshotters, clocks_stand, tuple(actions))


def _zombies(dice: Random) -> list[Action]:
    """A worker freezes as it is about to commit, another one takes over, Redis is put back, and all is read again
    under other settings; then the second freezes at the same place, and the first goes on.

    Workers look every five seconds whether Redis went back; the group takes three to give a worker up.
    """
    first, second = dice.sample(traffic.CHANNELS, 2)
    place = dice.randrange(1, 8)
    actions = []
    for begin, worker, seconds, channels in ((4.4, "worker-0", 7.0, first), (9.4, "worker-1", 4.0, second)):
        record = traffic.settings({**traffic.SHIFTY, "effective_channels": channels})
        actions += [
            Action(begin, "send", record=record),
            Action(begin + 0.09, "mishap", worker, mishap=Mishap("held", "commit", place, seconds)),
            Action(begin + 0.1, "redis goes back", seconds=20.0),
        ]
    return actions


def _moment(dice: Random) -> float:
    return round(dice.uniform(0.5, FAULTS_END), 3)


_INTERVAL = [["09:00", "09:01"]]

_REFUSED: tuple[dict[str, Any], ...] = (
    {"timezone": "Nowhere/Else"},
    {"timezone": "x" * 10_000},
    {"timezone": ""},
    {"default_schedule": "missing"},
    {"effective_channels": ["UPPER"]},
    {"effective_channels": [f"c{number}" for number in range(limits.MAX_EFFECTIVE_CHANNELS + 1)]},
    {"targets": {"first_response_seconds": -1}},
    {"targets": {"response_seconds": limits.MAX_TARGET_SECONDS + 1}},
    {"schedules": {"office": []}},
    {"schedules": {"office": [{"weekly": {"mon": _INTERVAL * (limits.MAX_DAY_INTERVALS + 1)}}]}},
    {"schedules": {"office": [{"weekly": {"mon": [["25:00", "26:00"]]}}]}},
    {"groups": {f"g{number}": {} for number in range(limits.MAX_GROUPS + 1)}},
    {"name": "n" * (limits.MAX_NAME_LENGTH + 1)},
    {"snooze_reasons": [f"r{number}" for number in range(limits.MAX_SNOOZE_REASONS + 1)]},
    {"advisors": {"ana": {"schedule": "missing"}}},
)
"""What settings are refused for: what is no setting, and one more than there may be."""

_USABLE: tuple[dict[str, Any], ...] = (
    {"name": "n" * limits.MAX_NAME_LENGTH},
    {"name": "\u202e \U0001f469\u200d\U0001f469 <b>&amp;"},
    {"added": {"groups": {f"g{number}": {} for number in range(limits.MAX_GROUPS - 3)}}},
    {"added": {"advisors": {f"a{number}": {"name": "A"} for number in range(200)}}},
    {"added": {"schedules": {f"s{number}": [{"weekly": {"mon": _INTERVAL}}] for number in range(100)}}},
    {"unheard": {"of": [None, True, 1e300]}, "name": None},
)
"""As much as there may be of what changes no numbers."""


def _settings_of_a_steady_one(dice: Random) -> Record:
    """Another name, more of everything, or settings that are refused: the numbers stay as they are."""
    account = dict(dice.choice(traffic.STEADY[1:]))
    kind = dice.random()
    if kind < 0.6:
        changed: dict[str, Any] = {"name": f"named {dice.randrange(100)}"}
    elif kind < 0.93:
        changed = dict(dice.choice(_REFUSED))
    else:
        changed = dict(dice.choice(_USABLE))
        for name, more in changed.pop("added", {}).items():
            changed[name] = {**account.get(name, {}), **more}
    return traffic.settings({**account, **changed})


Draw = Callable[[Random, float, list[str], list[str], list[str]], Action]


def _kill(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "kill", dice.choice((*workers, *workers, *others)))


def _kill_within(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "kill within", dice.choice((*workers, *workers, *others)), count=dice.randrange(120))


def _stop(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "stop", dice.choice(workers))


def _freeze(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    seconds = dice.choice((0.3, 1.5, 4.0, 6.0, 9.0)) * dice.uniform(0.7, 1.3)
    return Action(at, "freeze", dice.choice((*workers, *workers, *others)), seconds=seconds)


def _freeze_within(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    seconds = dice.choice((1.5, 4.0, 6.0)) * dice.uniform(0.7, 1.3)
    return Action(at, "freeze within", dice.choice(workers), seconds=seconds, count=dice.randrange(120))


def _clock(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    seconds = dice.choice((2.0, 3_000.0, -3_000.0, -86_400.0, 86_400.0, 3 * YEAR, 40 * YEAR, -3 * YEAR))
    return Action(at, "clock", dice.choice(workers), seconds=seconds)


def _clock_of_a_snapshotter(
    dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]
) -> Action:
    seconds = dice.choice((-86_400.0, 86_400.0, 3 * YEAR, 40 * YEAR, -3 * YEAR))
    return Action(at, "clock", dice.choice(others[:-1]), seconds=seconds)


def _mishap(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    kind = dice.choice(("lost request", "lost answer", "no answer", "late", "held"))
    seconds = dice.uniform(1.0, 8.0) if kind in ("late", "held") else 0.0
    mishap = Mishap(kind, dice.choice(("any", "script", "commit")), dice.randrange(12), seconds)
    return Action(at, "mishap", dice.choice((*workers, *workers, *others)), mishap=mishap)


def _slow_link(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "slow link", dice.choice((*workers, *others)), seconds=dice.uniform(0.02, 0.3))


def _restart(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "redis restarts", seconds=dice.uniform(0.05, 3.0))


def _go_back(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "redis goes back", seconds=dice.choice((0.3, 1.0, 3.0, 8.0)))


def _break(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "script breaks", count=dice.randint(1, 9), seconds=dice.uniform(0.5, 8.0))


def _mood(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "redis mood", text=dice.choice(MOODS), seconds=dice.uniform(0.1, 3.0))


def _away(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "broker away", seconds=dice.uniform(0.2, 4.0))


def _slow_fetch(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "slow fetch", dice.choice(workers), text=dice.choice(partitions), seconds=dice.uniform(0.5, 8.0))


def _trim(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, dice.choice(("trim", "compact")))


def _slow_snapshotter(dice: Random, at: float, workers: list[str], others: list[str], partitions: list[str]) -> Action:
    return Action(at, "slow link", dice.choice(others[:-1]), seconds=dice.uniform(0.1, 0.6))


_FAULTS: tuple[Draw, ...] = (
    *[_kill] * 2,
    *[_kill_within] * 3,
    _stop,
    *[_freeze] * 2,
    *[_freeze_within] * 2,
    _clock,
    *[_mishap] * 4,
    _slow_link,
    _break,
    *[_restart] * 2,
    *[_go_back] * 2,
    *[_mood] * 2,
    _away,
    *[_slow_fetch] * 2,
    _trim,
)

PROFILES: dict[str, tuple[tuple[Draw, ...], int, int]] = {
    "everything": (_FAULTS, 2, 9),
    "zombies": ((_slow_link,), 0, 0),
    "slow snapshotters": ((_slow_snapshotter,), 1, 2),
    "broken scripts": ((_break, _break, _kill_within), 2, 4),
    "clocks of snapshotters": ((_clock_of_a_snapshotter,), 1, 2),
    "roll-backs": ((_go_back, _restart, _kill), 2, 5),
}
"""Name → the kinds of faults to choose from, and how few and how many of them."""
