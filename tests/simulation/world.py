"""Runs one scenario: the servers, the processes, what happens to them, and what must hold all the while."""

import asyncio
import datetime as dt
import gc
import hashlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

from aggregates import document
from aggregates.filters import Filters
from aggregates.periods import presets
from aggregates.report import Metrics
from schemas.accounts import decode_settings_record, encode_settings
from schemas.errors import InvalidSettings
from streams.config import Config
from streams.errors import Unavailable
from streams.intake import service as intake
from streams.intake.shard_feed import BATCHES_AHEAD
from streams.kafka.clients import TopicPartition
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Positions, RedisLedger
from streams.shard import ages
from streams.snapshots import fenced
from streams.snapshots.manifest import Manifest, PublicKeys, decode_manifest
from streams.snapshots.parts import Part
from streams.snapshots.reader import Answer, NoReport, SnapshotReader
from streams.worker import sealing
from streams.worker.startup import FORMAT
from tests.simulation import traffic
from tests.simulation.clocks import simulated, wall
from tests.simulation.consumer import Consumer, LogEnds, Producer
from tests.simulation.expected import Expected, block_of
from tests.simulation.group import Group
from tests.simulation.kafka_log import Log
from tests.simulation.loop import EPOCH, PROCESS, Process, VirtualLoop
from tests.simulation.oracle_reading import differences_from_oracle
from tests.simulation.processes import Worker, snapshot_for_ever
from tests.simulation.redis_client import Client, Command, Link
from tests.simulation.redis_server import Server
from tests.simulation.scenario import FAULTS_END, Action, Scenario
from tests.support.shard_facts import Facts, WrongTotals, contradictions, shard_facts

CONFIG = Config(
    namespace="simulated",
    batch_events=6,
    cache_contacts=4,
    cache_days=2,
    cache_accounts=3,
    agents=3,
    kafka_session_timeout_seconds=3.0,
    redis_timeout_seconds=1.0,
    snapshot_interval_seconds=4.0,
    snapshot_history=3,
    dead_letter_ratio=1.0,
    dead_letter_run=0,
    watchdog_seconds=60.0,
)
"""Small batches for many steps, caches smaller than what is needed, and short time-outs, so that all of it happens."""

PERIODS = ("last_7_days",)

SHORTER: tuple[tuple[Any, str, Any], ...] = (
    (intake, "IDLE_SECONDS", 0.25),
    (fenced, "GARBAGE_MS", 2_000),
    (sealing, "EVERY_SECONDS", 0.7),
    (sealing, "REST_DAYS", 0),
    (sealing, "FIRST_REST_MS", 300),
    (sealing, "REST_MS", 600),
    (sealing, "FACTS_PER_COMMIT", 7),
    (sealing, "CAUGHT_UP", 0),
    (ages, "REMEMBERED_SECONDS", 1.0),
    (document, "presets", lambda today: {name: presets(today)[name] for name in PERIODS}),
)
"""Times of the program that are long for a simulation of some seconds, and the periods of a document: all of them are
half of what a simulation costs.
"""

MOST_KEYS = 400
"""No scenario needs more."""

METRICS_EVERY = 6
"""Of so many revisions the numbers of one are looked at, too, beside its blocks."""

FACTS_EVERY = 8
"""Of so many commits the facts are held to the log after one, and after the last."""

MOST_REQUESTS_A_SECOND = 300
"""Requests of one kind and one process; more is a loop without a pause."""

MOST_LINES_A_SECOND = 30
"""Warnings of one process; more is a loop without a pause."""

ORACLE_EVERY = 10
"""Of so many seeds one is compared with the oracle, too."""

SETTLE_SECONDS = 60.0
"""How long everything may take to be right once nothing goes wrong any more."""

COPY_SECONDS = 0.25
DISK_SECONDS = 1.0
RESTART_SECONDS = 1.0
TOPICS = (CONFIG.topics.contacts, CONFIG.topics.conversations)
TODAY = dt.datetime.fromtimestamp(EPOCH, dt.UTC).date()
RANGE = (TODAY - dt.timedelta(days=traffic.DAYS + 1), TODAY + dt.timedelta(days=1))


class Broken(Exception):
    """Something that must hold does not."""


@dataclass
class Outcome:
    """What came of a scenario."""

    failure: str | None
    story: list[str]
    digest: str
    """Of everything that happened: equal for two runs of one scenario."""
    seconds: float
    """Of simulated time."""
    steps: int
    counts: dict[str, int] = field(default_factory=dict)


def run(scenario: Scenario, *, tell: bool = False) -> Outcome:
    """Let it happen. `tell` keeps the story; else only what was last."""
    loop = VirtualLoop()
    world = World(loop, scenario, tell=tell)
    with _seldom_collected(), simulated(loop, scenario.seed), _shorter(), world.listening():
        try:
            world.begin()
            loop.run_until_complete(world.watch())
        except Broken as broken:
            world.failure = str(broken)
        except Exception as error:  # noqa: BLE001 - the simulation or the program: it is a failure of the seed
            world.failure = world.failure or f"{type(error).__name__}: {error}"
            if tell:
                import traceback

                world.story.append(traceback.format_exc())
        finally:
            world.ended = True
            loop.bury()
    if world.failure is not None:
        world.note(f"FAILED: {world.failure}")
    return Outcome(world.failure, world.story, world.digest.hexdigest(), loop.now, loop.steps, world.counts)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Looking for garbage all the time is a sixth of what a simulation costs, and finds little."""
    before = gc.get_threshold()
    gc.set_threshold(30_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _shorter() -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name, _ in SHORTER]
    try:
        for module, name, seconds in SHORTER:
            setattr(module, name, seconds)
        yield
    finally:
        for module, name, seconds in before:
            setattr(module, name, seconds)


class World:
    """All there is in one simulation."""

    def __init__(self, loop: VirtualLoop, scenario: Scenario, *, tell: bool) -> None:
        self.loop = loop
        self.scenario = scenario
        self.story: list[str] = []
        self.failure: str | None = None
        self.digest = hashlib.sha256()
        self.counts: dict[str, int] = {}
        self.ended = False
        self._person_looks = False
        """Whether shards may be stopped just now, and workers end themselves: a person is about to restore Redis."""
        self._tell = tell
        self._dice = Random(f"{scenario.seed} world")
        self._keys = NamespaceKeys(CONFIG.namespace)
        self.redis = Server(loop.time)
        self.redis.on_script = self._after_script
        self.log = Log()
        for topic, count in ((TOPICS[0], scenario.shards), (TOPICS[1], scenario.shards), (CONFIG.topics.accounts, 1)):
            self.log.create(topic, count)
        shared = list(self.log.partitions)
        self.log.create(CONFIG.topics.dead_letters, 1)
        self.group = Group(loop, shared, CONFIG.kafka_session_timeout_seconds, self.note)
        self.expected = Expected(self.log, TOPICS, traffic.EVERYONE)
        self._direct: Any = _Direct(self.redis)
        self._reader = SnapshotReader(self._direct, CONFIG.namespace)
        self.programs: dict[str, Program] = {}
        self._committed: dict[tuple[int, bytes, bytes], tuple[int, int]] = {}
        """Shard, token and sequence number of each commit → the positions it moved to."""
        self._right: dict[tuple[str, int], list[list[Facts]]] = {}
        """The facts behind an account's revision, shard by shard. Redis may go back, and a number be given again."""
        self._blocks: dict[tuple[str, int], Any] = {}
        """Of each account and day, the version of a block and the facts that it was held to."""
        self._commits = 0
        self._revisions: dict[str, int] = {}
        self._manifests: dict[str, bytes] = {}

    # --- life --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make the namespace, start the processes, and set everything that will happen."""
        client: Any = self._direct
        for shard in range(self.scenario.shards):
            _now(RedisLedger(client, self._keys.shard(shard), shard).create(Positions(0, 0)))
            self._committed[shard, b"", b"0"] = (0, 0)
        _now(client.hset(self._keys.meta, mapping={"format": FORMAT, "partitions": self.scenario.shards}))
        self.redis.copy()
        scenario = self.scenario
        for number in range(scenario.workers):
            self._add(f"worker-{number}", self._worker, -EPOCH - 86_400.0 if scenario.clocks_stand else 0.0)
        for number in range(scenario.snapshotters):
            self._add(f"snapshotter-{number}", self._snapshotter)
        self._add("reader", self._read_for_ever)
        for number, action in enumerate(scenario.actions):
            self.loop.call_outside(action.at + number * 1e-7, self._do, action)  # one after the other, in their order
        self.loop.call_outside(COPY_SECONDS, self._copy)
        self.loop.call_outside(0.5, self._expire)

    def _add(
        self, name: str, program: "Callable[[Program], Coroutine[Any, Any, None]]", clock_ahead: float = 0.0
    ) -> None:
        self.programs[name] = Program(self, name, program)
        self.programs[name].process.clock_ahead = clock_ahead
        self.programs[name].start()

    async def watch(self) -> None:
        """Wait for the end; raises `Broken` when something that must hold does not."""
        last = max((_ends(action) for action in self.scenario.actions), default=0.0)
        while self.loop.now < max(last, FAULTS_END) + 0.1:
            self._raise_failure()
            await asyncio.sleep(0.25)
        self._calm()
        deadline = self.loop.now + SETTLE_SECONDS
        lacks = "nothing was looked at"
        while self.loop.now < deadline:
            self._raise_failure()
            lacks = self._what_lacks()
            if not lacks:
                break
            await asyncio.sleep(0.5)
        else:
            raise Broken(f"{SETTLE_SECONDS:.0f} s after the last fault: {lacks}")
        self._check_end()

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise Broken(self.failure)
        if self.loop.failure is not None:
            raise Broken(f"unforeseen: {self.loop.failure!r}")

    def _calm(self) -> None:
        """Nothing goes wrong any more."""
        self.note("from here on nothing goes wrong")
        self.redis.mood, self.redis.up, self.log.away = "", True, False
        for program in self.programs.values():
            process = program.process
            process.clock_ahead, process.steps_left = 0.0, None
            program.link.latency = 0.001
            program.link.mishaps.clear()
            if program.worker is not None:
                program.worker.consumer.slow.clear()
            if process.frozen:
                self.loop.thaw(process)

    # --- what happens ------------------------------------------------------------------------------------------------

    def _do(self, action: Action) -> None:
        self.note(action.told(), trace=True)
        getattr(self, "_do_" + action.kind.replace(" ", "_"))(action)

    def _do_send(self, action: Action) -> None:
        record = action.record
        assert record is not None
        topic = getattr(CONFIG.topics, record.topic)
        ms = int((EPOCH + self.loop.now) * 1000)
        self.log.append(TopicPartition(topic, record.partition), record.key, record.value, ms, self.loop.now)

    def _partition(self, text: str) -> TopicPartition:
        topic, _, number = text.partition("/")
        return TopicPartition(getattr(CONFIG.topics, topic), int(number))

    def _do_holes(self, action: Action) -> None:
        self.log.partitions[self._partition(action.text)].skip(action.count)

    def _do_hold(self, action: Action) -> None:
        partition = self.log.partitions[self._partition(action.text)]
        partition.hold()
        self.loop.call_outside(action.seconds, partition.release)

    def _do_kill(self, action: Action) -> None:
        self.programs[action.target].process.kill()

    def _do_kill_within(self, action: Action) -> None:
        process = self.programs[action.target].process
        process.steps_left, process.at_last_step = action.count, process.kill

    def _do_stop(self, action: Action) -> None:
        self.programs[action.target].stop()

    def _do_freeze(self, action: Action) -> None:
        self._freeze(self.programs[action.target].process, action.seconds)

    def _do_freeze_within(self, action: Action) -> None:
        process = self.programs[action.target].process
        process.steps_left = action.count
        process.at_last_step = lambda: self._freeze(process, action.seconds)

    def _freeze(self, process: Process, seconds: float) -> None:
        process.frozen = True
        self.note(f"{process.name} is frozen")
        self.loop.call_outside(seconds, self.loop.thaw, process)

    def _do_clock(self, action: Action) -> None:
        self.programs[action.target].process.clock_ahead += action.seconds

    def _do_mishap(self, action: Action) -> None:
        assert action.mishap is not None
        self.programs[action.target].link.mishaps.append(action.mishap)

    def _do_slow_link(self, action: Action) -> None:
        self.programs[action.target].link.latency = action.seconds

    def _do_redis_restarts(self, action: Action) -> None:
        self._go_back(DISK_SECONDS)
        self.redis.up = False
        self.loop.call_outside(action.seconds, setattr, self.redis, "up", True)

    def _do_redis_goes_back(self, action: Action) -> None:
        self._go_back(action.seconds)

    def _do_script_breaks(self, action: Action) -> None:
        if self._person_looks:
            return  # one thing after the other
        self.redis.break_after = action.count
        self._person_looks = True
        self.loop.call_outside(action.seconds, self._restore, action.at)

    def _restore(self, at: float) -> None:
        """What the runbook says: stop the workers, restore a copy from before, start them."""
        self.redis.break_after = None
        self._go_back(self.loop.now - at)
        for program in self.programs.values():
            if program.is_worker:
                program.process.kill()
        self._person_looks = False

    def _do_redis_mood(self, action: Action) -> None:
        self.redis.mood = action.text
        self.loop.call_outside(action.seconds, setattr, self.redis, "mood", "")

    def _do_broker_away(self, action: Action) -> None:
        self.log.away = True
        self.loop.call_outside(action.seconds, self._broker_is_back)

    def _broker_is_back(self) -> None:
        self.log.away = False
        self.group.refresh()

    def _do_slow_fetch(self, action: Action) -> None:
        worker = self.programs[action.target].worker
        if worker is not None:
            worker.consumer.slow[self._partition(action.text)] = self.loop.now + action.seconds

    def _do_trim(self, action: Action) -> None:  # noqa: ARG002
        for shard in range(self.scenario.shards):
            ledger = self._keys.shard(shard).ledger
            held: list[Any] = [data.get(ledger, {}) for _, data, _ in self.redis.copies]
            for topic, field_ in zip(TOPICS, (b"contacts", b"conversations"), strict=True):
                least = min(int(fields[field_]) for fields in held)
                self.log.partitions[TopicPartition(topic, shard)].trim(least)

    def _do_compact(self, action: Action) -> None:  # noqa: ARG002
        partition = self.log.partitions[TopicPartition(CONFIG.topics.accounts, 0)]
        newest = {record.key: record.offset for record in partition.records}
        usable = {
            record.key: record.offset for record in partition.records if _usable(record.key, record.value) is not None
        }
        partition.compact({*newest.values(), *usable.values()})

    def _go_back(self, seconds: float) -> None:
        went = self.redis.go_back(seconds)
        self.note(f"Redis is as it was {went:.2f} s ago")
        accounts = [account["account_id"] for account in traffic.EVERYONE]
        held = {account_id: self.redis.data.get(_keys_of(account_id).manifest.encode()) for account_id in accounts}
        self._manifests = {account_id: data for account_id, data in held.items() if isinstance(data, bytes)}
        self._revisions = {account_id: decode_manifest(data).revision for account_id, data in self._manifests.items()}

    def _copy(self) -> None:
        self._check_bounds()
        if self.redis.up:
            self.redis.copy()
        self.loop.call_outside(COPY_SECONDS, self._copy)

    def _expire(self) -> None:
        if not self.log.away:
            self.group.expire()
        self.loop.call_outside(0.5, self._expire)

    # --- programs ----------------------------------------------------------------------------------------------------

    async def _worker(self, program: "Program") -> None:
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def fail(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        def connect(assignor: Any) -> Consumer:
            return Consumer(self.log, self.group, program.process, program.dice, assignor)

        producer = Producer(self.log, program.dice)
        worker = program.worker = Worker(CONFIG, program.client, connect, producer, fail, lambda: wall(self.loop))
        await worker.start()
        stopping = asyncio.ensure_future(program.told_to_stop.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            self.error(f"{program.name} ends itself: {ended.result()}")
            program.process.kill()
            return
        await worker.stop()
        self.note(f"{program.name} has stopped")
        program.process.kill()

    async def _snapshotter(self, program: "Program") -> None:
        consumer = Consumer(self.log, self.group, program.process, program.dice, None)
        await snapshot_for_ever(CONFIG, program.client, LogEnds(consumer, *TOPICS), lambda: wall(self.loop))

    async def _read_for_ever(self, program: "Program") -> None:
        reader = SnapshotReader(program.client, CONFIG.namespace)
        while True:
            await asyncio.sleep(1.0 + 2.0 * program.dice.random())
            account_id = program.dice.choice(traffic.STEADY)["account_id"]
            try:
                answer = await reader.metrics(account_id, *RANGE, Filters(), compare=None)
            except NoReport:
                continue
            except Exception as error:  # noqa: BLE001 - told below
                if not _is_from_redis(error):
                    self.failure = self.failure or f"a reader of {account_id} meets {type(error).__name__}: {error}"
                continue
            self.count("answers read")
            facts = self._right.get((account_id, answer.revision), [])
            if not any(answer.metrics == self._metrics(shards, answer) for shards in facts):
                self.failure = self.failure or (
                    f"a reader finds in revision {answer.revision} of {account_id} what was never published in it"
                )

    # --- what must hold ----------------------------------------------------------------------------------------------

    def _after_script(self, keys: list[bytes]) -> None:
        if not keys:
            return
        if keys[0].endswith(b":ledger"):
            shard = int(keys[0].partition(b"}")[0].rpartition(b":")[2])
            held: Any = self.redis.data.get(keys[0], {})
            place = (int(held[b"contacts"]), int(held[b"conversations"]))
            self._committed[shard, held.get(b"token", b""), held[b"seq"]] = place
            self.trace(f"{shard} {place}")
            self._commits += b"busy" not in held  # half of a commit that failed is there, and nobody goes on with it
            if b"busy" not in held and self._commits % FACTS_EVERY == 0:
                self._check_facts(shard, place)
        for key in keys:
            if key.endswith(b":manifest") and key in self.redis.data:
                self._published(key)

    def _published(self, key: bytes) -> None:
        account_id = key.partition(b"{")[2].partition(b"}")[0].decode()
        data = self.redis.data[key]
        assert isinstance(data, bytes)
        if self._manifests.get(account_id) == data:
            return  # a script that only looked at it
        self._manifests[account_id] = data
        manifest = decode_manifest(data)
        before = self._revisions.get(account_id, 0)
        self._revisions[account_id] = manifest.revision
        positions = {
            shard: self._committed[shard, token.encode(), b"%d" % seq]
            for shard, (seq, token) in manifest.commits.items()
        }
        named = getattr(manifest, "positions", None)
        self.note(f"revision {manifest.revision} of {account_id} is published, as of {positions}")
        self.count("revisions")
        if manifest.revision != before + 1:
            raise self._broken(f"revision {manifest.revision} of {account_id} comes after {before}")
        if named is not None and {shard: tuple(place) for shard, place in named.items()} != positions:
            raise self._broken(f"revision {manifest.revision} of {account_id} names {named}, not {positions}")
        self.trace(repr(manifest.parts))
        if account_id == traffic.SHIFTY["account_id"]:
            return
        shards = [
            _of_account(self.expected.facts(shard, place, "published"), account_id)
            for shard, place in sorted(positions.items())
        ]
        self._right.setdefault((account_id, manifest.revision), []).append(shards)
        wrong = self._wrong_blocks(manifest, account_id, shards)
        if not wrong and self.counts["revisions"] % METRICS_EVERY == 0:
            answer = self._published_now(account_id)
            wrong = _difference(answer.metrics, self._metrics(shards, answer))
        if wrong:
            raise self._broken(
                f"revision {manifest.revision} of {account_id} is not what the events before {positions} give: {wrong}"
            )

    def _wrong_blocks(self, manifest: Manifest, account_id: str, shards: list[Facts]) -> str:
        """Where the blocks of a revision are not those of facts; nothing if they are."""
        keys = _keys_of(account_id)
        found = {part.name: part for part in map(Part, manifest.parts, manifest.parts.values()) if part.name.isdigit()}
        days = {day for shard in shards for _, day in shard}
        if found.keys() != {str(day) for day in days}:
            return f"it has blocks of the days {sorted(found)}, not of {sorted(days)}"
        for day in days:
            facts = [shard.get((account_id, day)) for shard in shards]
            known = (found[str(day)].version, facts)
            if self._blocks.get((account_id, day)) == known:
                continue
            if self.redis.data.get(keys.part(found[str(day)]).encode()) != block_of(shards, account_id, day):
                return f"the block of day {day} is another one"
            self._blocks[account_id, day] = known
        return ""

    def _metrics(self, shards: list[Facts], answer: Answer) -> Metrics:
        """The numbers of facts, as of when a reader's answer is."""
        as_of_ms = round(dt.datetime.fromisoformat(answer.as_of).timestamp() * 1000)
        return self.expected.metrics_of(shards, answer.account_id, *RANGE, as_of_ms)

    def _check_facts(self, shard: int, place: tuple[int, int]) -> None:
        """What a shard holds of the accounts whose numbers are steady is what the events before its positions give."""
        shifty = traffic.SHIFTY["account_id"]
        found = {day: facts for day, facts in self._facts_of(shard).items() if day[0] != shifty}
        right = {day: facts for day, facts in self.expected.facts(shard, place, "commits").items() if day[0] != shifty}
        self.count("commits compared")
        if found != right:
            raise self._broken(
                f"shard {shard} holds other facts than the events before {place} give: {_difference(found, right)}"
            )

    def _check_bounds(self) -> None:
        """What waits in a worker, and what it remembers, is no more than its settings say."""
        for program in self.programs.values():
            count, kind = program.link.busiest
            if count > MOST_REQUESTS_A_SECOND:
                raise self._broken(f"{program.name} sends {kind} {count} times in a second")
            if program.worker is None or program.process.dead:
                continue
            for shard, feed in program.worker.ownership.shards.items():
                waiting = max(len(buffer) for buffer in feed._buffers)
                if waiting > (BATCHES_AHEAD + 2) * CONFIG.batch_events:
                    raise self._broken(f"{waiting} records of shard {shard} wait in {program.name}")
                session = feed.session
                if session is not None and len(session.states) > CONFIG.cache_contacts:
                    raise self._broken(f"{len(session.states)} states of shard {shard} are remembered")
                if session is not None and len(session.days) > CONFIG.cache_days:
                    raise self._broken(f"{len(session.days)} days of shard {shard} are remembered")
            if (tasks := len(program.worker.ownership._tasks)) > 3 * self.scenario.shards + 3:
                raise self._broken(f"{tasks} claims are under way in {program.name}")
        if len(self.redis.data) > MOST_KEYS:
            raise self._broken(f"Redis has {len(self.redis.data)} keys")

    def _broken(self, what: str) -> Broken:
        self.failure = self.failure or what
        return Broken(what)

    def _ends(self) -> dict[int, tuple[int, int]]:
        contacts, conversations = TOPICS
        return {
            shard: (
                self.log.partitions[TopicPartition(contacts, shard)].end,
                self.log.partitions[TopicPartition(conversations, shard)].end,
            )
            for shard in range(self.scenario.shards)
        }

    def _what_lacks(self) -> str:
        """What is not yet as it must be in the end; nothing when all is."""
        ends = self._ends()
        for shard, end in ends.items():
            held: Any = self.redis.data.get(self._keys.shard(shard).ledger, {})
            place = (int(held[b"contacts"]), int(held[b"conversations"]))
            if place != end:
                return f"shard {shard} is at {place}, its log ends at {end}"
        newest, settings = self._newest_settings(), self.redis.data.get(self._keys.settings, {})
        if settings != newest:
            return f"the settings in Redis are not the newest ones that can be used: {_difference(settings, newest)}"
        owners: list[int] = []
        for program in self.programs.values():
            if program.worker is not None and not program.process.dead:
                feeds = program.worker.ownership.shards
                owners += [shard for shard, feed in feeds.items() if feed.session is not None and not feed.stopped]
        if sorted(owners) != list(ends):
            return f"the open shards are {sorted(owners)}, not {list(ends)}"
        for account_id in self._accounts_with_events() if self.scenario.snapshotters else ():
            data: Any = self.redis.data.get(_keys_of(account_id).manifest.encode())
            if data is None:
                return f"nothing is published of {account_id}"
            manifest = decode_manifest(data)
            if not manifest.complete:
                return f"revision {manifest.revision} of {account_id} is not complete"
            if wrong := self._wrong_blocks(manifest, account_id, self._right_now(account_id, ends)):
                return f"revision {manifest.revision} of {account_id}: {wrong}"
        return self._what_does_not_rest()

    def _what_does_not_rest(self) -> str:
        """What sealing must have made small in the end, where the workers' clocks go."""
        if self.scenario.clocks_stand:
            return ""
        for shard in range(self.scenario.shards):
            keys = self._keys.shard(shard)
            members: Any = self.redis.data.get(keys.open, {})
            newest = max(members.values(), default=0)
            if resting := sorted(member for member, day in members.items() if day < newest - sealing.REST_DAYS):
                return f"days of shard {shard} are not sealed: {resting}"
        return ""

    def _published_now(self, account_id: str) -> Answer:
        answer: Answer = _now(self._reader.metrics(account_id, *RANGE, Filters(), compare=None))
        return answer

    def _right_now(self, account_id: str, ends: Mapping[int, tuple[int, int]]) -> list[Facts]:
        """The facts a report must show. Of the account whose settings change what counts: those that shards hold."""
        if account_id != traffic.SHIFTY["account_id"]:
            return [_of_account(self.expected.facts(shard, end, "ends"), account_id) for shard, end in ends.items()]
        return [_of_account(self._facts_of(shard), account_id) for shard in ends]

    def _facts_of(self, shard: int) -> Facts:
        try:
            return shard_facts(self.redis.data, self._keys.shard(shard))
        except WrongTotals as error:
            raise self._broken(f"shard {shard}: {error}") from None

    def _accounts_with_events(self) -> list[str]:
        found = set()
        for partition in self.log.history:
            if partition.topic in TOPICS:
                found |= {event.account_id for event in self.expected.events_of(partition) if event is not None}
        return sorted(found)

    def _check_end(self) -> None:
        """Every bad record is among the dead letters; and of some seeds, an independent program says the same."""
        if self.scenario.seed % ORACLE_EVERY == 0 and self.scenario.snapshotters:
            for account in traffic.STEADY:
                if account["account_id"] in self._accounts_with_events():
                    found = self._published_now(account["account_id"]).metrics
                    if wrong := differences_from_oracle(self.log, TOPICS, account, found, RANGE):
                        raise Broken(f"the oracle reads {account['account_id']} otherwise: {wrong[0]}")
            self.count("compared with the oracle")
        letters = {record.key for record in self.log.history[TopicPartition(CONFIG.topics.dead_letters, 0)]}
        bad = {
            f"{record.topic}/{record.partition}/{record.offset}".encode()
            for partition in self.log.history
            if partition.topic in TOPICS
            for record in self.expected.bad(partition)
        }
        if not bad <= letters:
            raise Broken(f"bad records are not among the dead letters: {sorted(bad - letters)}")
        for account_id in self._accounts_with_events() if self.scenario.snapshotters else ():
            answer = self._published_now(account_id)
            right = self._metrics(self._right_now(account_id, self._ends()), answer)
            if difference := _difference(answer.metrics, right):
                raise Broken(f"revision {answer.revision} of {account_id}: {difference}")
        data: Any = self.redis.data
        for shard, end in self._ends().items():
            self._check_facts(shard, end)
            if wrong_facts := contradictions(data, self._keys.shard(shard), self._contacts_of(shard)):
                raise Broken(f"shard {shard} holds what its states did not contribute: {wrong_facts[0]}")

    def _contacts_of(self, shard: int) -> dict[str, str]:
        found = {}
        for topic in TOPICS:
            for event in self.expected.events_of(TopicPartition(topic, shard)):
                if event is not None:
                    found[event.contact_id] = event.account_id
        return found

    def _newest_settings(self) -> dict[bytes, bytes]:
        found = {}
        for record in self.log.history[TopicPartition(CONFIG.topics.accounts, 0)]:
            usable = _usable(record.key, record.value)
            if usable is not None:
                found[record.key] = usable
        return found

    # --- the story ---------------------------------------------------------------------------------------------------

    def note(self, what: str, *, trace: bool = True) -> None:
        """Tell what happens."""
        if trace:
            self.trace(what)
        if self._tell:
            self.story.append(f"{self.loop.now:8.3f} s  {what}")

    def trace(self, what: str) -> None:
        """What happens counts for the digest."""
        self.digest.update(f"{self.loop.now:.6f} {what}\n".encode())

    def error(self, what: str) -> None:
        """Something that must not happen, unless a person is about to mend it."""
        if not self._person_looks:
            self.failure = self.failure or what

    def count(self, what: str) -> None:
        """Count something."""
        self.counts[what] = self.counts.get(what, 0) + 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take what the program logs into the story."""
        root = logging.getLogger("streams")
        handler = _Listener(self)
        level, propagate = root.level, root.propagate
        root.addHandler(handler)
        root.setLevel(logging.INFO if self._tell else logging.WARNING)
        root.propagate = False
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            root.propagate = propagate


class Program:
    """A program that is started, and started again when it has died."""

    def __init__(self, world: World, name: str, program: "Callable[[Program], Coroutine[Any, Any, None]]") -> None:
        self._world = world
        self._program = program
        self.name = name
        self.starts = 0
        self.process = Process(name)
        self.link: Link
        self.client: Client
        self.dice: Random
        self.worker: Worker | None = None
        self.is_worker = name.startswith("worker")
        self.told_to_stop: asyncio.Event

    def start(self) -> None:
        """Start, with a new process."""
        world = self._world
        self.starts += 1
        self.dice = Random(f"{world.scenario.seed} {self.name} {self.starts}")
        self.process = Process(f"{self.name}.{self.starts}", self.process.clock_ahead)
        self.process.on_death = self._died
        self.link = Link(world.redis, self.process, self.dice, CONFIG.redis_timeout_seconds)
        self.client = Client(self.link)
        self.worker = None
        self.told_to_stop = asyncio.Event()
        self.process.start(world.loop, self._run())

    async def _run(self) -> None:
        try:
            await self._program(self)
        except Exception as error:  # noqa: BLE001 - the end of the simulation
            world = self._world
            world.failure = world.failure or f"{self.name} breaks: {type(error).__name__}: {error}"

    def stop(self) -> None:
        """SIGTERM."""
        if not self.process.dead:
            self._world.loop.call_soon(self.told_to_stop.set, context=self.process.context)

    def _died(self) -> None:
        self._world.note(f"{self.process.name} is dead")
        self._world.loop.call_outside(RESTART_SECONDS * (0.5 + self.dice.random()), self.start)


class _Listener(logging.Handler):
    """Writes the program's log into the story."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._said: dict[str, int] = {}
        """Warnings by process and second."""

    def emit(self, record: logging.LogRecord) -> None:
        if self._world.ended:
            return
        process = PROCESS.get()
        name = process.name if process is not None else "?"
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        self._world.note(f"    {name}: {record.levelname} {text}")
        if record.levelno >= logging.WARNING:
            second = f"{name} {int(self._world.loop.now)}"
            self._said[second] = self._said.get(second, 0) + 1
            if self._said[second] > MOST_LINES_A_SECOND:
                self._world.error(f"{name} floods its log: {text}")
        if record.levelno >= logging.ERROR or "unforeseen" in text:
            self._world.error(f"{name}: {text}")


class _Direct(Client):
    """A client without a network: for whoever looks at everything at once."""

    def __init__(self, server: Server) -> None:
        super().__init__(_NoNetwork(server))


class _NoNetwork(Link):
    def __init__(self, server: Server) -> None:
        super().__init__(server, Process("nobody"), Random(0), 1.0)

    async def send(self, commands: list[Command], *, atomic: bool) -> list[Any]:  # noqa: ARG002
        mood, self._server.mood = self._server.mood, ""
        writes, self._server._writes = self._server._writes, None
        try:
            return [self._server.execute(command) for command in commands]
        finally:
            self._server.mood, self._server._writes = mood, writes


def _ends(action: Action) -> float:
    """When it is over."""
    if action.mishap is not None:
        return action.at + action.mishap.seconds + CONFIG.redis_timeout_seconds
    return action.at + (action.seconds if action.kind in _LASTING else 0.0)


_LASTING = frozenset(
    ("freeze", "freeze within", "hold", "redis restarts", "redis mood", "broker away", "script breaks")
)


@cache
def _usable(key: bytes | None, value: bytes | None) -> bytes | None:
    """A record's settings as Redis shall have them; nothing if they are refused."""
    try:
        settings = decode_settings_record(key, value)
    except InvalidSettings:
        return None
    assert settings is not None
    return encode_settings(settings)


def _of_account(facts: Facts, account_id: str) -> Facts:
    return {day: dict(held) for day, held in facts.items() if day[0] == account_id}


def _keys_of(account_id: str) -> PublicKeys:
    return PublicKeys(CONFIG.namespace, account_id)


def _is_from_redis(error: Exception) -> bool:
    return isinstance(error, OSError | Unavailable) or type(error).__module__.startswith("redis.")


def _now(coroutine: Any) -> Any:
    """Run what never waits."""
    iterator = coroutine.__await__()
    try:
        next(iterator)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def _difference(found: Any, right: Any, where: str = "") -> str:
    """The first place where two answers differ; nothing if they do not."""
    if found == right:
        return ""
    if isinstance(found, dict) and isinstance(right, dict):
        for name in sorted({*found, *right}, key=str):
            if found.get(name) != right.get(name):
                return _difference(found.get(name), right.get(name), f"{where}.{name}")
    return f"{where.lstrip('.')} is {found!r}, not {right!r}"


def with_tale(outcome: Outcome, scenario: Scenario) -> str:
    """A failure's story for a person."""
    head = f"seed {scenario.seed}: {outcome.failure}"
    return "\n".join([head, *outcome.story])


__all__ = ["CONFIG", "Outcome", "World", "replace", "run", "with_tale"]
