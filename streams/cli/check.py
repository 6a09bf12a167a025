"""`mediana check`: checks the settings and the servers they name, and changes nothing."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaConnectionError, KafkaError
from redis.asyncio import RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from aggregates.doubts import ClockDoubts, Doubt, settings_doubts
from aggregates.history import ContactHistory
from aggregates.report import instant_text
from schemas.events import MAX_FUTURE
from schemas.zones import ZONE_DATA_VERSION
from streams.cli.preflight import preflight
from streams.config import Config, ConfigError, load, unknown_variables
from streams.findings import Finding, Status, as_json, as_lines, failed
from streams.kafka.auth import login_refusal
from streams.kafka.clients import admin_client
from streams.kafka.gaps import Gaps, complete_from, decode_gaps
from streams.kafka.topics import TopicState, describe, topic_findings
from streams.redis import keys
from streams.redis.clients import Client, connect
from streams.redis.usable_settings import InUse, in_use
from streams.redis.zone_data import difference
from streams.snapshots.failures import Failure, decode_failure
from streams.snapshots.manifest import SnapshotterKeys
from streams.worker.horizon import redis_seconds

Info: TypeAlias = Mapping[str, Any]
"""What a Redis server says of itself."""

PATIENCE_SECONDS = 20.0
"""How long a server may take to answer all questions; longer than any that works, short enough to wait for."""

CLOCKS_APART_SECONDS = 60.0

LEAST_REDIS = (6, 2)
"""The oldest Redis this is tested with; every Valkey is newer."""


def run(environ: Mapping[str, str], *, json: bool = False) -> int:
    """Print what was found and return the exit status: 1 if anything failed."""
    findings = asyncio.run(check(environ))
    sys.stdout.write(as_json(findings) if json else as_lines(findings))
    return int(failed(findings))


async def check(environ: Mapping[str, str]) -> list[Finding]:
    """Everything there is to find, in the order in which it is best mended."""
    findings = [
        Finding("warn", f"{name} is no setting of Mediana", "see docs/run/settings.md for its name")
        for name in unknown_variables(environ)
    ]
    try:
        config = load(environ)
    except ConfigError as error:
        return [*findings, Finding("fail", str(error), "docs/run/settings.md lists every setting and what it may be")]
    findings.append(Finding("ok", "the settings can be read"))
    findings += await preflight(config)
    states: dict[str, TopicState] = {}
    committed: list[bool] = []

    async def kafka() -> list[Finding]:
        return await _kafka(config, states, committed)

    async def redis() -> list[Finding]:
        return await _redis(config, states, committed)

    findings += await _patiently(kafka, f"Kafka at {config.kafka_bootstrap}", "MEDIANA_KAFKA_BOOTSTRAP")
    findings += await _patiently(redis, f"Redis at {config.redis_address}", "MEDIANA_REDIS_URL")
    return findings


async def _patiently(ask: Callable[[], Awaitable[list[Finding]]], server: str, setting: str) -> list[Finding]:
    """The findings about a server, or that it cannot be reached."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await ask()
    except TimeoutError:
        problem, advice = "does not answer", f"is it running, and is {setting} right?"
    except AuthenticationError as error:
        problem, advice = f"refuses us: {error}", "mend the user and password in the settings"
    except ConfigError:
        return []  # told already
    except (KafkaError, RedisError, OSError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        problem, advice = (
            f"cannot be used: {text}",
            f"is it running, and are {setting} and the security settings right?",
        )
    return [Finding("fail", f"{server} {problem}", advice)]


# --- Kafka ------------------------------------------------------------------------------------------------------------


async def _kafka(config: Config, states: dict[str, TopicState], committed: list[bool]) -> list[Finding]:
    admin: AIOKafkaAdminClient = admin_client(config)
    try:
        try:
            await admin.start()
        except KafkaConnectionError:
            refusal = await login_refusal(config)
            if refusal is None:
                raise
            return [Finding("fail", f"Kafka at {config.kafka_bootstrap} refuses us", refusal)]
        brokers = (await admin.describe_cluster())["brokers"]
        findings = [Finding("ok", f"Kafka at {config.kafka_bootstrap} answers, {len(brokers)} brokers")]
        states.update(await describe(admin, config.topics))
        findings += topic_findings(config.topics, states)
        committed.append(await _has_commits(admin, config.group_id))
    finally:
        await admin.close()
    return findings


async def _has_commits(admin: AIOKafkaAdminClient, group_id: str) -> bool:
    try:
        return bool(await admin.list_consumer_group_offsets(group_id))
    except GroupCoordinatorNotAvailableError:
        return False  # a cluster on which no group has ever read


# --- Redis ------------------------------------------------------------------------------------------------------------


async def _redis(config: Config, states: Mapping[str, TopicState], committed: list[bool]) -> list[Finding]:
    client = connect(config)
    try:
        await client.ping()
        findings = [Finding("ok", f"Redis at {config.redis_address} answers")]
        seconds = await redis_seconds(client)
        if seconds is not None:
            findings.append(clock_finding(seconds))
        try:
            for where, info in await _infos(client, config):
                findings += server_findings(where, info)
        except NoPermissionError:
            advice = "allow INFO, or see by yourself that maxmemory-policy is noeviction and appendonly is yes"
            findings.append(Finding("warn", "Redis does not let us see how it is set up", advice))
        findings += await _namespace(client, config, states, committed)
    finally:
        await client.aclose()
    return findings


def clock_finding(redis_seconds: float) -> Finding:
    """Whether the clocks here and there agree: retention goes by the earlier one, and reports by the one here."""
    apart = time.time() - redis_seconds
    if abs(apart) <= CLOCKS_APART_SECONDS:
        return Finding("ok", "the clocks here and of Redis agree")
    # So far apart, events of now are refused as of the future, or those of the future are taken.
    status: Status = "fail" if abs(apart) >= MAX_FUTURE.total_seconds() else "warn"
    which = "ahead of" if apart > 0 else "behind"
    return Finding(
        status, f"the clock here is {abs(apart):.0f} s {which} that of Redis", "set both by one source of time (NTP)"
    )


async def _infos(client: Client, config: Config) -> list[tuple[str, Info]]:
    """What each server that holds our data says of itself."""
    if isinstance(client, RedisCluster):
        nodes = client.get_primaries()
        return [(f"Redis {node.name}", await client.info(target_nodes=node)) for node in nodes]
    return [(f"Redis at {config.redis_address}", await client.info())]


def server_findings(where: str, info: Info) -> list[Finding]:
    """What is right and wrong about how a Redis server is set up."""
    return [_version(where, info), _eviction(where, info), _persistence(where, info)]


def _version(where: str, info: Info) -> Finding:
    name = "Valkey" if "valkey_version" in info else "Redis"
    text = str(info.get("valkey_version") or info.get("redis_version", "0"))
    number = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if name == "Redis" and number < LEAST_REDIS:
        return Finding("warn", f"{where} is version {text}", "Mediana is tested with 6.2 and newer")
    return Finding("ok", f"{where} is {name} {text}, {info.get('connected_slaves', 0)} replicas")


def _eviction(where: str, info: Info) -> Finding:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return Finding("ok", f"{where} evicts nothing")
    return Finding(
        "fail",
        f"{where} may evict keys (maxmemory-policy {policy}): counters would vanish; a worker refuses to start",
        "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
    )


def _persistence(where: str, info: Info) -> Finding:
    if not info.get("aof_enabled"):
        return Finding(
            "warn",
            f"{where} keeps no append-only file: after a crash it starts from its last copy, if it has one",
            "appendonly yes and appendfsync everysec; what is lost is read again from Kafka while it has it",
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding("fail", f"{where} cannot write its append-only file", "is its disk full?")
    return Finding("ok", f"{where} keeps an append-only file")


# --- the namespace ----------------------------------------------------------------------------------------------------


async def _namespace(
    client: Client, config: Config, states: Mapping[str, TopicState], committed: list[bool]
) -> list[Finding]:
    names = keys.NamespaceKeys(config.namespace)
    stored = await cast("Awaitable[bytes | None]", client.hget(names.meta.decode(), "partitions"))
    topic = states.get(config.topics.contacts)
    if stored is None:
        return [new_namespace_finding(config, group_has_commits=committed == [True])]
    shards = int(stored)
    findings = []
    if topic is not None and topic.partitions != shards:
        findings.append(partitions_changed_finding(config, shards, topic.partitions))
    missing, busy = [], []
    gaps: dict[int, Gaps] = {}
    for shard in range(shards):
        ledger = names.shard(shard).ledger.decode()
        if not await client.exists(ledger):
            missing.append(shard)
            continue
        marks = await cast("Awaitable[list[bytes | None]]", client.hmget(ledger, [keys.BUSY, keys.GAP]))
        busy += [shard] if marks[0] is not None else []
        if marks[1] is not None:
            gaps[shard] = decode_gaps(marks[1])
    return [
        *findings,
        *ledger_findings(config, shards, missing, busy, gaps),
        *await _settings(client, names),
        *await clock_findings(client, names, shards),
        *await _reports(client, config),
    ]


async def _settings(client: Client, names: keys.NamespaceKeys) -> list[Finding]:
    """Accounts whose stored settings this program cannot use, and whether the namespace has its zone data."""
    unusable: dict[str, InUse] = {}
    doubts: dict[str, list[Doubt]] = {}
    async for account, data in client.hscan_iter(names.settings.decode(), count=SETTINGS_PER_SCAN):
        account_id = account.decode(errors="replace")
        found = await in_use(client, names, account_id, data)
        if found.problem is not None:
            unusable[account_id] = found
        if doubted := settings_doubts(found.settings):
            doubts[account_id] = doubted
        await asyncio.sleep(0)
    zone_data = await cast("Awaitable[bytes | None]", client.hget(names.settings_log.decode(), keys.ZONE_DATA.decode()))
    return [*settings_findings(unusable), *doubt_findings(doubts), *zone_data_findings(names.namespace, zone_data)]


def doubt_findings(doubts: Mapping[str, Iterable[Doubt]]) -> list[Finding]:
    """A warning for each setting that surely means something else; past some, how many more."""
    found = [
        Finding("warn", f"account {account!r}, {doubt.where}: {doubt.what}", doubt.advice)
        for account, doubted in sorted(doubts.items())
        for doubt in doubted
    ]
    if len(found) > MOST_FAILURES_TOLD:
        more = len(found) - MOST_FAILURES_TOLD
        found = [*found[:MOST_FAILURES_TOLD], Finding("warn", f"{more} more settings surely mean something else")]
    return found


async def clock_findings(client: Client, names: keys.NamespaceKeys, shards: int) -> list[Finding]:
    """Whether answers are stamped before their questions, by a sample of each shard's contacts."""
    clocks = ClockDoubts()
    for shard in range(min(shards, SAMPLED_SHARDS)):
        sampled = 0
        async for _, state in client.hscan_iter(names.shard(shard).states.decode(), count=SAMPLED_CONTACTS):
            # Bytes of another version are a worker's business, which says so.
            with contextlib.suppress(ValueError):
                clocks.saw(ContactHistory.decode(state).entries)
            sampled += 1
            if sampled >= SAMPLED_CONTACTS:
                break
        await asyncio.sleep(0)
    doubt = clocks.doubt()
    return [] if doubt is None else [Finding("warn", f"{doubt.where}: {doubt.what}", doubt.advice)]


def settings_findings(unusable: Mapping[str, InUse]) -> list[Finding]:
    """A finding for each account that is set aside; past some, how many more."""
    order = sorted(unusable.items())
    findings = [
        Finding(
            "fail", f"account {account!r}: its settings cannot be used, {found.instead}: {found.problem}", _SEND_AGAIN
        )
        for account, found in order[:MOST_FAILURES_TOLD]
    ]
    if len(order) > MOST_FAILURES_TOLD:
        more = len(order) - MOST_FAILURES_TOLD
        findings.append(Finding("fail", f"{more} more accounts have settings that cannot be used", _SEND_AGAIN))
    return findings


def zone_data_findings(namespace: str, found: bytes | None) -> list[Finding]:
    """Whether the namespace is counted with this program's zone data."""
    problem = difference(namespace, found)
    if problem is not None:
        return [
            Finding("warn", problem, "the same release everywhere: docs/run/operating.md#an-update-of-the-zone-data")
        ]
    return [Finding("ok", f"zone data {ZONE_DATA_VERSION}, as in the namespace")] if found is not None else []


_SEND_AGAIN = (
    "send the account's settings again, mended: docs/run/runbook.md#medianasettingsunusable; other accounts go on"
)

SETTINGS_PER_SCAN = 100

SAMPLED_SHARDS, SAMPLED_CONTACTS = 20, 100
"""Whose clocks are looked at: enough to see what all of them show, little enough to disturb nobody."""


async def _reports(client: Client, config: Config) -> list[Finding]:
    """The accounts that the snapshotter could not publish, with the reason it noted."""
    found = await cast("Awaitable[dict[bytes, bytes]]", client.hgetall(SnapshotterKeys(config.namespace).failures))
    failures = {}
    for account, data in found.items():
        with contextlib.suppress(msgspec.DecodeError):
            failures[account.decode(errors="replace")] = decode_failure(data)
    return failure_findings(failures)


def failure_findings(failures: Mapping[str, Failure]) -> list[Finding]:
    """A finding for each account that has no newer report, the longest first; past some, how many more."""
    order = sorted(failures.items(), key=lambda each: (each[1].since_ms, each[0]))
    findings = [
        Finding("fail", f"account {account!r}: {failure.told()}", _FAILURE_ADVICE)
        for account, failure in order[:MOST_FAILURES_TOLD]
    ]
    if len(order) > MOST_FAILURES_TOLD:
        more = len(order) - MOST_FAILURES_TOLD
        findings.append(Finding("fail", f"{more} more accounts have no newer report", _FAILURE_ADVICE))
    return findings


_FAILURE_ADVICE = "docs/run/runbook.md#medianaaccountnotpublished says what each reason means; other accounts go on"


MOST_FAILURES_TOLD = 20


def new_namespace_finding(config: Config, *, group_has_commits: bool) -> Finding:
    """The namespace holds nothing: right before the first start, wrong after it."""
    if not group_has_commits:
        return Finding("ok", f"namespace {config.namespace} is new; the first worker begins at the start of the log")
    return Finding(
        "fail",
        f"namespace {config.namespace} is empty, yet group {config.group_id} has read before",
        "is this the right Redis? If its data is lost, put a copy back, or rebuild: docs/run/operating.md",
    )


def partitions_changed_finding(config: Config, shards: int, partitions: int) -> Finding:
    """The topics have another number of partitions than the namespace was made for."""
    return Finding(
        "fail",
        f"namespace {config.namespace} was made for {shards} partitions, the topics have {partitions}",
        "contacts would change their shard: rebuild into a new namespace (MEDIANA_NAMESPACE), docs/run/operating.md",
    )


def ledger_findings(
    config: Config, shards: int, missing: list[int], busy: list[int], gaps: Mapping[int, Gaps]
) -> list[Finding]:
    """What the shards' ledgers say: shards without one, with a half-written commit, with a gap in the log."""
    findings = []
    if missing:
        findings.append(
            Finding(
                "fail",
                f"shards {_listed(missing)} have lost their ledger: Redis was emptied, or is another one",
                "point MEDIANA_REDIS_URL at the right one, or put a copy of it back: docs/run/operating.md",
            )
        )
    if busy:
        findings.append(
            Finding(
                "fail",
                f"a commit of shards {_listed(busy)} was cut off half way",
                "put back a copy of Redis from before, the log since then is read again: docs/run/operating.md",
            )
        )
    if gaps:
        findings.append(gap_finding(gaps))
    return findings or [Finding("ok", f"namespace {config.namespace}: all {shards} shards have their ledger")]


def gap_finding(gaps: Mapping[int, Gaps]) -> Finding:
    """Shards for which Kafka lost records before they were read, and from when on reports are complete."""
    since = instant_text(complete_from(gaps.values()))
    missing = "; ".join(lost.text for lost in gaps.values())
    return Finding(
        "warn",
        f"shards {_listed(gaps)} lack records that Kafka lost before they were read: reports say complete: false, "
        + (f"and complete_from: {since}" if since else "and not from when on they are complete"),
        f"rebuild into a new namespace if Kafka has the records again ({missing}): docs/run/operating.md#a-gap",
    )


def _listed(shards: Iterable[int]) -> str:
    return ", ".join(map(str, shards))
