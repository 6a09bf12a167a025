"""A short campaign with one of each main fault; `make chaos` runs long ones, drawn from a seed."""

import datetime as dt
import time
from pathlib import Path

import msgspec
import pytest

from streams.snapshots.manifest import PublicKeys, load_revision
from tests.faults.campaign import Campaign, Result
from tests.faults.revisions import Seen
from tests.faults.stage import SHARDS, Stage
from tests.faults.traffic import DAY_MS, SPAN_MS, SPREAD_MS, Send, Traffic
from tests.faults.verdict import read_topics
from tests.oracle.arrival import split
from tests.oracle.instants import instant_us

ROUNDS = (
    ("commit_of_a_zombie",),
    ("worker_killed", "commit_cut"),
    ("snapshotter_frozen", "snapshotter_killed"),
    ("redis_killed",),
    ("redis_rolled_back", "scaled_down"),
    ("replica_promoted",),
    ("broker_killed",),
    ("redis_restored",),
)


async def test_every_number_is_right_after_each_of_the_main_faults(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        run = Campaign(stage, seed=20)
        await run.open()
        for faults in ROUNDS:
            await run.strike(faults, traffic_seconds=4)
            assert run.result.passed, run.result.table()
        await run.close()
        result = run.result
        assert result.rounds == len(ROUNDS) + 1
        assert result.revisions > 2 * result.rounds, "revisions of the middle of a round are compared too"
        assert result.skipped < result.revisions / 10
        assert result.compared > 100_000
        assert result.too_late > 0
        # A guard that never acts was not tested.
        for fault in ("commit_of_a_zombie", "redis_killed", "replica_promoted", "redis_restored"):
            assert result.acted[fault] == 1, result.table()
        assert result.refusals > 0
        await assert_a_wrong_number_is_seen(stage, run)
        await assert_a_wrong_prefix_is_seen(stage, run)


async def assert_a_wrong_number_is_seen(stage: Stage, run: Campaign) -> None:
    """A verdict that cannot fail proves nothing: here is a record that no worker reads."""
    known = {f"c{number}" for number in range(len(run.traffic._people))}
    events = ((send, send.event) for send in run.traffic.round(100) if send.event is not None)
    contact = next(
        send for send, event in events if event["type"] == "contact.created" and event["contact_id"] not in known
    )
    for worker in stage.workers:
        worker.process.pause()
    await stage.send([contact], rate=100)
    differences = await run.verdict.differences()
    assert any(".new_contacts.total" in line for line in differences)


async def assert_a_wrong_prefix_is_seen(stage: Stage, run: Campaign) -> None:
    """A revision that says it is of fewer records than it has counted."""
    revision = await load_revision(stage.client, PublicKeys(stage.config.namespace, "utc"), with_document=True)
    assert revision is not None
    assert revision.document is not None
    short = msgspec.structs.replace(
        revision.manifest, positions={shard: (a, b // 2) for shard, (a, b) in revision.manifest.positions.items()}
    )
    seen = Seen("utc", short, revision.document, None, dt.datetime.now(dt.UTC).date())
    topics = await read_topics(stage.config, SHARDS)
    assert run.verdict._prefix(topics, msgspec.structs.replace(seen, manifest=revision.manifest)) == []
    assert run.verdict._prefix(topics, seen) != []


def test_the_line_for_programs_says_what_was_done_and_what_was_found() -> None:
    result = Result(7, events=10)
    result.faults["broker_killed"] += 1
    assert result.line() == '{"seed": 7, "events": 10, "faults": {"broker_killed": 1}, "differences": 0}'
    assert Result(7).passed
    result.differences.append("acme .response.count: 2 expected, 3 found")
    assert not result.passed
    assert result.line().endswith('"differences": 1}')
    assert "acme .response.count" in result.table()


def test_a_problem_beside_the_numbers_fails_a_campaign_too() -> None:
    result = Result(7, problems=["worker-1 ended by itself"])
    assert not result.passed
    assert result.line().endswith('"problems": 1}')


# --- the traffic ----------------------------------------------------------------------------------------------------


def traffic_of(seed: int, rounds: int) -> tuple[Traffic, list[Send]]:
    traffic = Traffic(seed, int(time.time()) * 1000 - 80 * DAY_MS)
    sends: list[Send] = []
    for _ in range(rounds):
        sends += traffic.round(400)
        traffic.change_settings()
    return traffic, sends


@pytest.mark.parametrize("seed", range(4))
def test_the_same_events_are_accepted_however_the_topics_interleave(seed: int) -> None:
    traffic, sends = traffic_of(seed, 12)
    events = [send.event for send in sends if send.event is not None]
    told = [event["type"].startswith("contact.") for event in events]
    conversations = [event for event, own in zip(events, told, strict=True) if not own]
    own_first = [event for event, own in zip(events, told, strict=True) if own]
    as_sent, apart = split(events), split([*conversations, *own_first])
    # Not with the contacts first: no worker reads them far ahead, for both topics are read in event time.
    assert sorted(map(repr, as_sent.counted)) == sorted(map(repr, apart.counted))
    assert (
        sorted(map(repr, as_sent.too_late)) == sorted(map(repr, apart.too_late)) == sorted(map(repr, traffic.too_late))
    )
    assert len(as_sent.too_late) > 5
    assert len(as_sent.repeats) > 100


def test_no_event_happens_after_its_round() -> None:
    traffic = Traffic(3, 1_780_000_000_000)
    for _ in range(10):
        end_ms = traffic.begin_ms + SPREAD_MS + SPAN_MS
        events = [send.event for send in traffic.round(400) if send.event is not None]
        assert max(instant_us(event["occurred_at"]) for event in events) < end_ms * 1_000


def test_the_same_seed_gives_the_same_traffic() -> None:
    begin_ms = 1_780_000_000_000
    one, other = Traffic(5, begin_ms), Traffic(5, begin_ms)
    for _ in range(3):
        assert one.round(200) == other.round(200)
        assert one.change_settings() == other.change_settings()
