"""Snapshotters in memory: two programs publish what workers commit, and any of them can be stopped at any command.

After every command of anybody it is looked whether what is published is whole and right: each part that the newest
manifest names, or one that was replaced less than five minutes ago, is there with the bytes it had, and the newest
holds exactly the facts of the commits whose positions it names.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from aggregates.counters import encode_vector
from aggregates.day_block import encode_block
from aggregates.facts import Fact, fact_value
from aggregates.sealed import SEALED, TOTALS, seal
from aggregates.totals import totals_of
from schemas.accounts import decode_settings, encode_settings
from schemas.events import decode_event
from streams.cli.replay import Replay
from streams.config import Config
from streams.kafka.log_end import LogEnds
from streams.redis.keys import NamespaceKeys, day_member
from streams.snapshots.lock import LEASE_SECONDS, LockLost
from streams.snapshots.manifest import Manifest, PublicKeys, decode_manifest
from streams.snapshots.parts import SETTINGS, Part, days_of
from streams.snapshots.snapshotter import NothingToPublish, Snapshotter
from tests.faults.programs import Copy, Program, Server, clocks_of_programs, loop_seconds, simulate
from tests.simulation.redis_server import Hash, SortedSet

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
NAMESPACE = "sim"
SHARDS = 2
STAGES = 4
CONTACTS = 12
RETENTION_DAYS = 400
SHORTEST_STAY_MS = 290_000
"""How long what was published must stay for readers under way, whatever clocks do."""

MOST_INLINE_PARTS = 2
"""So few that a revision's parts are sometimes written beforehand and sometimes with it."""

Days = dict[str, dict[int, dict[bytes, tuple[str, Fact]]]]
"""Account → day → its facts by field."""


@cache
def committed() -> list[list[Days]]:
    """Stage → shard → what its facts are after that commit."""
    lines = (GOLDEN / "events.jsonl").read_bytes().splitlines()
    accounts = [decode_settings(line) for line in (GOLDEN / "accounts.jsonl").read_bytes().splitlines()]
    chosen = sorted({decode_event(line).contact_id for line in lines})[:CONTACTS]
    lines = [line for line in lines if decode_event(line).contact_id in chosen]
    replays = [Replay(accounts) for _ in range(SHARDS)]
    stages = []
    for stage in range(STAGES):
        for line in lines[stage * len(lines) // STAGES : (stage + 1) * len(lines) // STAGES]:
            event = decode_event(line)
            replays[zlib.crc32(event.contact_id.encode()) % SHARDS].fold(event)
        stages.append(
            [
                {
                    account_id: {day: dict(fields) for day, fields in days.items()}
                    for account_id, days in replay.facts.items()
                }
                for replay in replays
            ]
        )
    return stages


@cache
def held(account_id: str, day: int, shard: int, stage: int) -> dict[bytes, bytes]:
    """What a shard holds of a day after that commit: of every other day as when it is at rest."""
    facts = committed()[stage - 1][shard][account_id][day]
    if not facts:
        return {}
    fields = {name: fact_value(fact) for name, (_, fact) in facts.items()}
    totals = encode_vector(totals_of(fact for _, fact in facts.values()))
    return {TOTALS: totals, **({SEALED: seal(fields)} if day % 2 else fields)}


@cache
def expected(account_id: str, at: tuple[int, ...]) -> dict[int, bytes]:
    """The blocks of an account when each shard is at that stage (0: nothing was committed)."""
    days: dict[int, list[tuple[str, Fact]]] = {}
    for shard, stage in enumerate(at):
        for day, facts in committed()[stage - 1][shard].get(account_id, {}).items() if stage else ():
            days.setdefault(day, []).extend(facts.values())
    return {day: encode_block(day, facts) for day, facts in days.items() if facts}


class Wrong(BaseException):
    """What was published is not right any more. No handler of the program's may take it for an account's trouble."""


class Ends(LogEnds):
    """The log ends where the workers are."""

    def __init__(self, world: "PublishingWorld") -> None:
        self._world = world

    async def read(self, partitions: int) -> dict[int, tuple[int, int]]:
        return {shard: (10 * stage, 20 * stage) for shard, stage in enumerate(self._world.stages[:partitions])}

    async def close(self) -> None:
        pass


class PublishingWorld:
    """One server with two shards, what workers commit there, and what is published of it."""

    def __init__(self) -> None:
        self.server = Server(self._around)
        self.around: Callable[[Program, str, str], Awaitable[None]] | None = None
        """What happens at a command, beside the looking."""
        self.stages = [0] * SHARDS
        self.keys = NamespaceKeys(NAMESPACE)
        self.accounts = sorted({name for stage in committed() for shard in stage for name in shard})
        self.publications = 0
        self._claims = 0
        self._shown: list[_Shown] = []
        self._newest: dict[str, Manifest] = {}
        self._reached: dict[str, dict[int, tuple[int, int]]] = {}
        """The positions of each newest revision, as far as the shards had them when it was published: a round that had
        read them before Redis went back tells more than is there."""
        self.server.published = self._published
        self.server.data[self.keys.meta] = Hash({b"partitions": b"%d" % SHARDS})
        accounts = [decode_settings(line) for line in (GOLDEN / "accounts.jsonl").read_bytes().splitlines()]
        self.server.data[self.keys.settings] = Hash(
            {each.account_id.encode(): encode_settings(each) for each in accounts if each.account_id in self.accounts}
        )

    # --- workers --------------------------------------------------------------------------------------------------

    def commit(self, shard: int) -> None:
        """A worker commits the next part of the log, if there is one."""
        if self.stages[shard] == STAGES:
            return
        self.stages[shard] += 1
        stage = self.stages[shard]
        keys, data = self.keys.shard(shard), self.server.data
        changed: dict[bytes, float] = SortedSet(data.get(keys.changed, {}))  # type: ignore[arg-type]
        for account_id, days in committed()[stage - 1][shard].items():
            for day in days:
                now = held(account_id, day, shard, stage)
                name = keys.day(day, account_id)
                if data.get(name, {}) != now:
                    if now:
                        data[name] = Hash(now)
                    else:
                        del data[name]
                    changed[day_member(day, account_id)] = float(stage)
        data[keys.changed] = changed
        data[keys.ledger] = Hash(
            {
                b"token": b"t%d.%d" % (shard, self._claims),
                b"contacts": b"%d" % (10 * stage),
                b"conversations": b"%d" % (20 * stage),
                b"seq": b"%d" % stage,
            }
        )

    def commit_all(self, stage: int) -> None:
        """All shards reach a stage."""
        for shard in range(SHARDS):
            while self.stages[shard] < stage:
                self.commit(shard)

    def restore(self, copy: tuple[Copy, list[int]]) -> None:
        """Redis goes back to a copy; the workers read the log again from there."""
        self.server.restore(copy[0])
        self.stages = list(copy[1])
        self._claims += 1
        # Other claims, as after a real roll-back.
        for shard, _ in enumerate(self.stages):
            name = self.keys.shard(shard).ledger
            if ledger := self.server.hash(name):
                self.server.data[name] = Hash(ledger | {b"token": b"t%d.%d" % (shard, self._claims)})
        self._shown.clear()
        self._newest.clear()
        for account_id in self.accounts:
            manifest = self.manifest(account_id)
            if manifest is not None:
                self._show(account_id, manifest)

    def copied(self) -> tuple[Copy, list[int]]:
        """What a backup of this moment holds."""
        return self.server.copied(), list(self.stages)

    # --- snapshotters ---------------------------------------------------------------------------------------------

    def snapshotter(self, program: Program) -> Snapshotter:
        """A snapshotter that runs in a program."""
        return Snapshotter(
            self.server.client(program),
            Config(namespace=NAMESPACE, retention_days=RETENTION_DAYS),
            Ends(self),
            LEASE_SECONDS,
        )

    # --- what must hold -------------------------------------------------------------------------------------------

    async def _around(self, program: Program, command: str, moment: str) -> None:
        self.look()
        if self.around is not None:
            await self.around(program, command, moment)
            self.look()

    def manifest(self, account_id: str) -> Manifest | None:
        """The newest manifest of an account."""
        data = self.value(PublicKeys(NAMESPACE, account_id).manifest)
        return None if data is None else decode_manifest(data)

    def value(self, key: str) -> bytes | None:
        """A string, as it stands on the server."""
        value = self.server.data.get(key.encode())
        assert value is None or isinstance(value, bytes)
        return value

    def _published(self, manifest_key: bytes) -> None:
        self.publications += 1
        account_id = manifest_key.decode().split("{")[1].split("}", maxsplit=1)[0]
        manifest = self.manifest(account_id)
        assert manifest is not None
        before = self._newest.get(account_id)
        if before is not None:
            if manifest.revision != before.revision + 1:
                raise Wrong(f"{account_id}: revision {manifest.revision} after {before.revision}")
            if any(manifest.positions[shard] < at for shard, at in self._reached[account_id].items()):
                raise Wrong(f"{account_id}: positions go back from {before.positions} to {manifest.positions}")
        right = expected(account_id, _at(manifest))
        # Where a clock is years ahead, days past the retention are left out, which the next round mends.
        oldest = manifest.today - RETENTION_DAYS
        found = self._found(account_id, manifest)
        if found != {day: fields for day, fields in right.items() if day >= oldest or day in found}:
            raise Wrong(f"{account_id}: revision {manifest.revision} is not what stands before {manifest.positions}")
        if SETTINGS not in manifest.parts:
            raise Wrong(f"{account_id}: revision {manifest.revision} has no settings")
        self._show(account_id, manifest)

    def _found(self, account_id: str, manifest: Manifest) -> dict[int, bytes | None]:
        keys = PublicKeys(NAMESPACE, account_id)
        return {day: self.value(keys.part(part)) for day, part in days_of(manifest.parts).items()}

    def _show(self, account_id: str, manifest: Manifest) -> None:
        """From now on this is what readers see."""
        for shown in self._shown:
            if shown.account_id == account_id and shown.replaced_ms is None:
                shown.replaced_ms = self._now_ms()
        keys = PublicKeys(NAMESPACE, account_id)
        names = [keys.part(part) for part in _parts(manifest)]
        self._newest[account_id] = manifest
        self._reached[account_id] = {
            shard: min(manifest.positions[shard], (10 * stage, 20 * stage)) for shard, stage in enumerate(self.stages)
        }
        self._shown.append(_Shown(account_id, {name: self.value(name) for name in names}))

    def look(self) -> None:
        """Raise `Wrong` unless all that was published lately is whole."""
        now = self._now_ms()
        self._shown = [
            shown for shown in self._shown if shown.replaced_ms is None or now - shown.replaced_ms < SHORTEST_STAY_MS
        ]
        for shown in self._shown:
            for name, value in shown.parts.items():
                found = self.value(name)
                if value is None or found != value:
                    raise Wrong(f"{name} was published and is {'gone' if found is None else 'another'}")

    def is_up_to_date(self) -> bool:
        """Whether every account shows all that is committed."""
        now = tuple(self.stages)
        return len(self._newest) == len(self.accounts) and all(
            self._found(account_id, manifest) == expected(account_id, now)
            for account_id, manifest in self._newest.items()
        )

    def forgotten(self) -> set[str]:
        """Parts that no manifest names and no note tells of: they would stay for ever."""
        known: set[str] = set()
        for account_id in self.accounts:
            keys = PublicKeys(NAMESPACE, account_id)
            known |= {keys.part(part) for part in self.garbage(account_id)}
            if (manifest := self.manifest(account_id)) is not None:
                known |= {keys.part(part) for part in _parts(manifest)}
        return {name.decode() for name in self.server.data if b":part:" in name} - known

    def garbage(self, account_id: str) -> list[Part]:
        """The parts of an account that are noted as garbage, or as replaced."""
        noted = [member for member in self.server.hash(PublicKeys(NAMESPACE, account_id).garbage) if b":" in member]
        manifest = self.manifest(account_id)
        replaced = [] if manifest is None else list(manifest.replaced)
        return [*map(Part.of_member, noted), *map(Part.of_member, replaced)]

    def _now_ms(self) -> int:
        return int(loop_seconds() * 1000)


@dataclass
class _Shown:
    """What readers of one revision may still be reading."""

    account_id: str
    parts: dict[str, Any]
    replaced_ms: int | None = None


def _parts(manifest: Manifest) -> list[Part]:
    return [Part(name, version) for name, version in manifest.parts.items()]


def _at(manifest: Manifest) -> tuple[int, ...]:
    """The stage of each shard that a manifest names."""
    return tuple(manifest.positions[shard][0] // 10 for shard in range(SHARDS))


class Killed(BaseException):
    """The program is dead: nothing of it happens any more, not even its clean-up."""


class Faults:
    """What happens to programs at their commands: stopped for a while, killed, cut off."""

    def __init__(self) -> None:
        self._paused_until: dict[Program, float] = {}
        self.at: Callable[[Program, str, str], None] = lambda _program, _command, _moment: None
        """Told each command, to say what happens there."""

    def pause(self, program: Program, seconds: float) -> None:
        """All that the program does next, it does after so long."""
        self._paused_until[program] = asyncio.get_running_loop().time() + seconds

    async def __call__(self, program: Program, command: str, moment: str) -> None:
        if not program.is_dead:
            self.at(program, command, moment)
        if (left := self._paused_until.get(program, 0.0) - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)
        if program.is_dead:
            raise Killed(program.name)
        await asyncio.sleep(0.001)


async def rounds(world: PublishingWorld, program: Program, pauses: list[float], *, all_accounts: bool = False) -> None:
    """Rounds of a snapshotter, one after each pause, as `mediana snapshot --watch` makes them: failures are left."""
    snapshotter = world.snapshotter(program)
    for pause in pauses:
        await asyncio.sleep(pause)
        try:
            await snapshotter.publish(all_accounts=all_accounts)
        except (NothingToPublish, LockLost, OSError):
            continue


def play(make: Callable[[], Awaitable[Any]]) -> Any:
    """Run a simulation. Documents are not made: they take most of the time, and say nothing of who publishes."""
    with clocks_of_programs(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.snapshots.publisher.snapshot_document", lambda *_: {})
        patch.setattr("streams.snapshots.fenced.MOST_INLINE_PARTS", MOST_INLINE_PARTS)
        return simulate(make())
