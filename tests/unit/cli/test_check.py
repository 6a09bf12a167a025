"""What `mediana check` makes of settings and of what the servers say of themselves."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aggregates.doubts import settings_doubts
from aggregates.history import ContactHistory, FactChanges, Lateness
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings, default_settings
from schemas.events import decode_event, instant_us
from schemas.zones import ZONE_DATA_VERSION
from streams.cli.check import (
    clock_findings,
    doubt_findings,
    ledger_findings,
    new_namespace_finding,
    partitions_changed_finding,
    run,
    server_findings,
    settings_findings,
    zone_data_findings,
)
from streams.config import Config
from streams.findings import Finding, failed
from streams.kafka.gaps import Gap, Gaps, decode_gaps
from streams.redis.keys import NamespaceKeys
from streams.redis.usable_settings import InUse

CONFIG = Config()
NOON_MS = 1_772_452_800_000  # 2026-03-02T12:00:00Z
GOOD = {
    "redis_version": "7.0.15",
    "connected_slaves": 1,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
}
UNREACHABLE = {"MEDIANA_KAFKA_BOOTSTRAP": "127.0.0.1:1", "MEDIANA_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}


def complaints(**changes: object) -> list[tuple[str, str]]:
    found = server_findings("Redis", GOOD | changes)
    assert all(finding.advice for finding in found if finding.status != "ok")
    return [(finding.status, finding.what) for finding in found if finding.status != "ok"]


def test_a_good_redis_gives_no_complaint() -> None:
    assert complaints() == []
    assert [finding.what for finding in server_findings("Redis", GOOD)] == [
        "Redis is Redis 7.0.15, 1 replicas",
        "Redis evicts nothing",
        "Redis keeps an append-only file",
    ]


def test_an_old_redis_is_a_warning() -> None:
    assert complaints(redis_version="6.0.16") == [("warn", "Redis is version 6.0.16")]
    assert complaints(redis_version="6.2.0") == []


def test_valkey_is_known_by_its_own_version() -> None:
    assert complaints(redis_version="7.2.4", valkey_version="9.1.2") == []
    assert server_findings("Redis", GOOD | {"valkey_version": "9.1.2"})[0].what == "Redis is Valkey 9.1.2, 1 replicas"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_evicts_fails(policy: str) -> None:
    (status, what), *_ = complaints(maxmemory_policy=policy)
    assert status == "fail"
    assert policy in what


def test_a_redis_without_append_only_file_is_a_warning() -> None:
    assert [status for status, _ in complaints(aof_enabled=0)] == ["warn"]


def test_a_redis_that_cannot_write_its_file_fails() -> None:
    assert complaints(aof_last_write_status="err") == [("fail", "Redis cannot write its append-only file")]


def test_an_empty_namespace_is_right_before_the_first_start_and_wrong_after_it() -> None:
    assert new_namespace_finding(CONFIG, group_has_commits=False).status == "ok"
    assert new_namespace_finding(CONFIG, group_has_commits=True).status == "fail"


def test_a_changed_number_of_partitions_fails() -> None:
    assert partitions_changed_finding(CONFIG, 6, 12).what == (
        "namespace main was made for 6 partitions, the topics have 12"
    )


def test_ledgers_that_are_whole_give_no_complaint() -> None:
    assert ledger_findings(CONFIG, 6, [], [], {}) == [Finding("ok", "namespace main: all 6 shards have their ledger")]


def test_missing_busy_and_gapped_ledgers_are_named() -> None:
    gaps = {3: Gaps((Gap("t.contacts", 3, 5, 9, NOON_MS),)), 4: Gaps((Gap("t.contacts", 4, 0, 1, NOON_MS - 1000),))}
    findings = ledger_findings(CONFIG, 6, [0, 1], [2], gaps)
    assert [(finding.status, finding.what) for finding in findings] == [
        ("fail", "shards 0, 1 have lost their ledger: Redis was emptied, or is another one"),
        ("fail", "a commit of shards 2 was cut off half way"),
        (
            "warn",
            (
                "shards 3, 4 lack records that Kafka lost before they were read: reports say complete: false, and "
                "complete_from: 2026-03-02T12:00:00.000Z"
            ),
        ),
    ]
    assert "t.contacts partition 3 offsets 5 to 9; t.contacts partition 4 offsets 0 to 1" in findings[-1].advice


def test_a_gap_that_an_early_version_noted_is_named_without_its_time() -> None:
    (finding,) = ledger_findings(CONFIG, 6, [], [], {3: decode_gaps(b"t.contacts partition 3 offsets 5 to 9")})
    assert finding.what.endswith("reports say complete: false, and not from when on they are complete")
    assert "t.contacts partition 3 offsets 5 to 9" in finding.advice


# --- the command ------------------------------------------------------------------------------------------------------


def test_unreachable_servers_fail_each_with_its_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(UNREACHABLE, json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is False
    bad = [finding for finding in printed["findings"] if finding["status"] == "fail"]
    assert ["MEDIANA_KAFKA_BOOTSTRAP" in bad[0]["advice"], "MEDIANA_REDIS_URL" in bad[1]["advice"]] == [True, True]


def test_no_secret_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    environment = UNREACHABLE | {
        "MEDIANA_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "MEDIANA_KAFKA_SASL_USERNAME": "mediana",
        "MEDIANA_KAFKA_SASL_PASSWORD": "hunter2",
        "MEDIANA_REDIS_PASSWORD": "hunter2",
    }
    run(environment)
    printed = capsys.readouterr()
    assert "hunter2" not in printed.out + printed.err


def test_a_wrong_setting_fails_before_any_server_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"MEDIANA_PARTITIONS": "none"}) == 1
    out = capsys.readouterr().out
    assert out.startswith("fail  MEDIANA_PARTITIONS: must be a whole number\n")
    assert "Kafka" not in out


def test_a_misspelt_setting_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    run({"MEDIANA_REDIS_ULR": "x", "MEDIANA_PARTITIONS": "0"})
    assert capsys.readouterr().out.startswith("warn  MEDIANA_REDIS_ULR is no setting of Mediana\n")


# --- settings and zone data -------------------------------------------------------------------------------------------


def test_accounts_whose_settings_cannot_be_used_are_named_with_the_reason() -> None:
    unusable = {
        account: InUse(Rules(default_settings(account)), "malformed: a zone", "the settings before go on")
        for account in ("b\n", "a")
    }
    found = settings_findings(unusable)
    assert [(finding.status, finding.what) for finding in found] == [
        ("fail", "account 'a': its settings cannot be used, the settings before go on: malformed: a zone"),
        ("fail", "account 'b\\n': its settings cannot be used, the settings before go on: malformed: a zone"),
    ]
    assert settings_findings({}) == []


def test_of_many_such_accounts_some_are_named_and_the_others_counted() -> None:
    unusable = {
        f"a{n:03}": InUse(Rules(default_settings("a")), "malformed", "the default settings go on") for n in range(25)
    }
    found = settings_findings(unusable)
    assert len(found) == 21
    assert found[-1].what == "5 more accounts have settings that cannot be used"


def test_zone_data_is_that_of_the_namespace() -> None:
    assert zone_data_findings("main", None) == []
    (same,) = zone_data_findings("main", ZONE_DATA_VERSION.encode())
    assert (same.status, same.what) == ("ok", f"zone data {ZONE_DATA_VERSION}, as in the namespace")
    (other,) = zone_data_findings("main", b"2019z")
    assert other.status == "warn"
    assert f"zone data '2019z', this program has '{ZONE_DATA_VERSION}'" in other.what


def test_settings_that_surely_mean_something_else_are_warnings() -> None:
    settings = decode_settings(
        b'{"account_id": "acme", "schedules": {"office": [{"weekly": {"mon": [["09:00", "17:59"]]}}]}}'
    )
    (finding,) = doubt_findings({"acme": settings_doubts(settings)})
    assert (finding.status, "'acme', schedules.office: 09:00-17:59" in finding.what) == ("warn", True)
    assert "09:00-18:00" in finding.advice
    many = doubt_findings({f"a{number:03}": settings_doubts(settings) for number in range(30)})
    assert (len(many), many[-1].what) == (21, "10 more settings surely mean something else")
    assert not failed(many)


class States:
    """A Redis that has only states of contacts, in shard 0."""

    def __init__(self, *states: bytes) -> None:
        self.states = states

    async def hscan_iter(self, key: str, count: int) -> AsyncIterator[tuple[bytes, bytes]]:
        assert count > 0
        for number, state in enumerate(self.states if key.startswith("{mediana:main:0}") else ()):
            yield b"%d" % number, state


def state(early: bool) -> bytes:
    """A contact to whom ana answered at once, her clock a second behind, or in step."""
    base = {"account_id": "acme", "contact_id": "c", "conversation_id": "k", "channel": "whatsapp"}
    asked = {"id": "e1", "type": "message.received", "occurred_at": "2026-11-22T09:00:01Z"}
    author = {"kind": "advisor", "id": "ana"}
    at = "2026-11-22T09:00:00Z" if early else "2026-11-22T09:00:02Z"
    answered = {"id": "e2", "type": "message.sent", "occurred_at": at, "author": author}
    events = [decode_event(json.dumps({**base, **event})) for event in (asked, answered)]
    history = ContactHistory()
    timed = [(event, instant_us(event.occurred_at)) for event in events]
    lateness = Lateness(3_600_000_000, 3_600_000_000)
    history.fold(timed, RulesBook(Rules(default_settings("acme"))), lateness, FactChanges())
    return history.encode()


def clocks(*states: bytes) -> list[Finding]:
    client: Any = States(*states)
    return asyncio.run(clock_findings(client, NamespaceKeys("main"), shards=3))


def test_answers_stamped_before_their_questions_are_a_warning() -> None:
    assert clocks(*[state(early=False)] * 10) == []
    assert clocks(*[state(early=True)] * 4) == []
    (finding,) = clocks(*[state(early=True)] * 5, b"\xffbytes of another version")
    assert (finding.status, "5 of 5 answers" in finding.what) == ("warn", True)
