"""`mediana topics`: creates missing topics, describes topics, checks whether they fit the settings.

Both event topics need the same number of partitions, since a contact lives in one partition number. The accounts topic
is compacted: it is the settings' only home besides Redis.
"""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code
from msgspec import Struct

from schemas.topics import Topics
from streams.config import Config
from streams.findings import Finding, as_lines, failed
from streams.kafka.clients import admin_client

Action = Literal["create", "describe", "check"]

DAY_MS = 86_400_000
EVENT_RETENTION_MS = 90 * DAY_MS
"""What `create` asks for. Redis can be rebuilt, and an old copy of it caught up, as far back as the log goes."""

LEAST_EVENT_RETENTION_MS = 7 * DAY_MS
"""A shorter log leaves less than a week to notice a lost Redis and put its copy back: `check` warns."""

DEAD_LETTER_MAX_BYTES = 16 << 20
"""A dead letter wraps the record that it is about, which may itself be as long as the broker takes."""

REPLICAS = 3
"""Copies of each record, or as many as there are brokers, if fewer."""

SHOWN_SETTINGS = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes", "min.insync.replicas")


class TopicState(Struct, frozen=True, kw_only=True):
    """A topic as Kafka has it."""

    name: str
    partitions: int
    replicas: int
    settings: dict[str, str]

    def number(self, setting: str) -> int | None:
        """A setting that is a number; `None` if the broker did not say. -1 is "no limit"."""
        text = self.settings.get(setting)
        return None if text is None else int(text)


def run(config: Config, action: Action) -> int:
    """Do `action`, print what there is to know as JSON (`check`: lines), and return the exit status."""
    return asyncio.run(_run(config, action))


async def _run(config: Config, action: Action) -> int:
    admin = admin_client(config)
    try:
        await admin.start()
        if action == "create":
            created = await create(admin, config)
            print(f"topics: created {', '.join(created) if created else 'none, all were there'}", file=sys.stderr)
        states = await describe(admin, config.topics)
    finally:
        await admin.close()
    findings = topic_findings(config.topics, states)
    if action == "check":
        sys.stdout.write(as_lines(findings))
        return int(failed(findings))
    found = {name: states.get(name) for name in msgspec.structs.astuple(config.topics)}
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
    if action == "create" and failed(findings):
        sys.stderr.write(as_lines(finding for finding in findings if finding.status == "fail"))
        return 1
    return 0


async def create(admin: AIOKafkaAdminClient, config: Config) -> list[str]:
    """Create the topics that are missing and return their names; those that exist stay as they are.

    A missing event topic gets as many partitions as the other one has, so that they stay equal.
    """
    states = await describe(admin, config.topics)
    replicas = min(REPLICAS, len((await admin.describe_cluster())["brokers"]))
    missing = [topic for topic in _wanted(config, states, replicas) if topic.name not in states]
    if not missing:
        return []
    response = await admin.create_topics(missing)
    created = []
    for name, code, *detail in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # somebody else was faster: just as good
            raise error(f"topic {name} could not be created: {detail[0] if detail else error.description}")
        if not code:
            created.append(name)
    await _await_leaders(admin, created)
    return created


async def describe(admin: AIOKafkaAdminClient, topics: Topics) -> dict[str, TopicState]:
    """Those of the four topics that exist, by name."""
    # Asking about a topic by name may create it, on brokers that do so; asking for all topics does not.
    wanted = set(msgspec.structs.astuple(topics))
    there = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics() if topic["topic"] in wanted}
    settings = await _settings(admin, list(there))
    return {
        name: TopicState(
            name=name,
            partitions=len(partitions),
            replicas=min((len(partition["replicas"]) for partition in partitions), default=0),
            settings=settings.get(name, {}),
        )
        for name, partitions in there.items()
    }


def topic_findings(topics: Topics, states: Mapping[str, TopicState]) -> list[Finding]:
    """What is right and wrong about the topics."""
    findings = [
        Finding("fail", f"topic {name} does not exist", "mediana topics create")
        for name in msgspec.structs.astuple(topics)
        if name not in states
    ]
    contacts, conversations = states.get(topics.contacts), states.get(topics.conversations)
    if contacts is not None and conversations is not None:
        findings.append(_partitions(contacts, conversations))
    findings += [_retention(state) for state in (contacts, conversations) if state is not None]
    if topics.accounts in states:
        findings.append(_compaction(states[topics.accounts]))
    single = sorted(name for name, state in states.items() if state.replicas == 1)
    if single:
        findings.append(
            Finding("warn", f"one copy only of {', '.join(single)}", "fine for trials; else keep three replicas")
        )
    return findings


def _partitions(contacts: TopicState, conversations: TopicState) -> Finding:
    if contacts.partitions == conversations.partitions:
        return Finding("ok", f"both event topics have {contacts.partitions} partitions")
    return Finding(
        "fail",
        f"{contacts.name} has {contacts.partitions} partitions, {conversations.name} {conversations.partitions}",
        "a contact must live in one partition number of both: make the topics anew with equal counts and replay",
    )


def _retention(state: TopicState) -> Finding:
    kept_ms = state.number("retention.ms")
    if "compact" in state.settings.get("cleanup.policy", ""):
        return Finding(
            "fail", f"{state.name} is compacted: it forgets events", f"set cleanup.policy=delete on {state.name}"
        )
    if kept_ms is not None and 0 <= kept_ms < LEAST_EVENT_RETENTION_MS:
        return Finding(
            "warn",
            f"{state.name} keeps events for {kept_ms / DAY_MS:.1f} days",
            "keep at least a week (retention.ms), and copy Redis more often than that: docs/run/operating.md",
        )
    if (state.number("retention.bytes") or -1) > 0:
        return Finding(
            "warn",
            f"{state.name} is cut by size (retention.bytes)",
            "make sure that this is more than a week of events: docs/run/operating.md",
        )
    kept = "without limit" if kept_ms is None or kept_ms < 0 else f"for {kept_ms // DAY_MS} days"
    return Finding("ok", f"{state.name} keeps events {kept}")


def _compaction(state: TopicState) -> Finding:
    if "compact" in state.settings.get("cleanup.policy", "compact"):
        return Finding("ok", f"{state.name} is compacted")
    return Finding(
        "fail",
        f"{state.name} is not compacted: settings would be forgotten",
        f"set cleanup.policy=compact on {state.name}",
    )


def _wanted(config: Config, states: Mapping[str, TopicState], replicas: int) -> list[NewTopic]:
    topics = config.topics
    twin = states.get(topics.contacts) or states.get(topics.conversations)
    partitions = config.partitions if twin is None else twin.partitions
    safe = {"min.insync.replicas": "2"} if replicas >= REPLICAS else {}
    events = {"cleanup.policy": "delete", "retention.ms": str(EVENT_RETENTION_MS), **safe}
    letters = {**events, "max.message.bytes": str(DEAD_LETTER_MAX_BYTES)}
    return [
        NewTopic(topics.contacts, partitions, replicas, topic_configs=events),
        NewTopic(topics.conversations, partitions, replicas, topic_configs=events),
        NewTopic(topics.accounts, 1, replicas, topic_configs={"cleanup.policy": "compact", **safe}),
        NewTopic(topics.dead_letters, 1, replicas, topic_configs=letters),
    ]


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [
        ConfigResource(ConfigResourceType.TOPIC, name, configs=dict.fromkeys(SHOWN_SETTINGS, "")) for name in names
    ]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(asked):
        for code, _, _, name, entries in response.resources:
            if not code:  # without the right to ask, the settings stay unknown
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def _await_leaders(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    """Wait, at most 10 s, until the new topics can be written to."""
    for _ in range(100):
        described: list[dict[str, Any]] = await admin.describe_topics()
        led = {
            topic["topic"]
            for topic in described
            if topic["partitions"] and all(partition["leader"] >= 0 for partition in topic["partitions"])
        }
        if led.issuperset(names):
            return
        await asyncio.sleep(0.1)
