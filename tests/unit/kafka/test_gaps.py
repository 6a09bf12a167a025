"""Gaps in the log: what the ledger keeps of them, and from when on it says that everything is there."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from streams.config import Config
from streams.errors import Fatal, Unavailable
from streams.intake.claims import Claims
from streams.intake.shard_feed import ShardFeed
from streams.kafka.clients import TopicPartition
from streams.kafka.gaps import Gap, Gaps, complete_from, decode_gaps, encode_gaps
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Changes, Positions, RedisLedger
from tests.support.fake_redis import FakeRedis

CONTACTS, CONVERSATIONS = TopicPartition("t.contacts", 3), TopicPartition("t.conversations", 3)
KEYS = NamespaceKeys("test").shard(3)
EARLY = Gap("t.contacts", 3, 5, 9, 1_000)
LATE = Gap("t.conversations", 3, 0, 0, 2_000)
TEXT = b"t.contacts partition 3 offsets 5 to 9"


def test_gaps_are_read_as_they_were_written() -> None:
    gaps = Gaps((EARLY, LATE), "offsets 0 to 4")
    assert decode_gaps(encode_gaps(gaps)) == gaps


def test_a_ledger_without_a_gap_has_none() -> None:
    for nothing in (None, b""):
        gaps = decode_gaps(nothing)
        assert (gaps, gaps.text, complete_from([gaps])) == (Gaps(), "", None)


def test_the_text_of_an_early_version_is_a_gap_of_an_unknown_time() -> None:
    gaps = decode_gaps(TEXT)
    assert gaps.text == TEXT.decode()
    assert complete_from([gaps]) is None


@pytest.mark.parametrize("data", [b'{"format": 2, "lost": []}', b'{"format": 1, "lost": 7}', b"{", b"\xff"])
def test_what_is_not_understood_is_still_a_gap(data: bytes) -> None:
    assert decode_gaps(data).text != ""


def test_the_report_is_complete_from_the_latest_instant_on() -> None:
    assert complete_from([Gaps((EARLY,)), Gaps(), Gaps((LATE, EARLY))]) == 2_000


def test_one_gap_of_an_unknown_time_leaves_all_unknown() -> None:
    assert complete_from([Gaps((LATE,)), decode_gaps(TEXT)]) is None


def test_gaps_are_named_in_the_order_in_which_they_were_found() -> None:
    assert decode_gaps(b"offsets 0 to 4").with_more([EARLY, LATE]).text == (
        "offsets 0 to 4; t.contacts partition 3 offsets 5 to 9; t.conversations partition 3 offsets 0 to 0"
    )


# --- claims -----------------------------------------------------------------------------------------------------------


class Log:
    """In place of a consumer: where both partitions begin and end."""

    def __init__(self, contacts: int, conversations: int) -> None:
        self.begins = {CONTACTS: contacts, CONVERSATIONS: conversations}

    async def beginning_offsets(self, partitions: Any) -> dict[TopicPartition, int]:
        return {partition: self.begins[partition] for partition in partitions}

    async def end_offsets(self, partitions: Any) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 100)


class Instants:
    """The first records that are left, by their instants; what was asked about."""

    def __init__(self, error: Exception | None = None, **instants_ms: int) -> None:
        self.asked: list[dict[TopicPartition, int]] = []
        self._error = error
        self._instants_ms = instants_ms

    async def __call__(self, begins: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        self.asked.append(dict(begins))
        if self._error is not None:
            raise self._error
        return {partition: self._instants_ms[partition.topic.removeprefix("t.")] for partition in begins}


def claimed(redis: FakeRedis, log: Log, instants: Instants, *, accept_gap: bool = True) -> ShardFeed:
    """The feed of a shard that a worker claimed, its ledger at 10 and 20 to begin with."""

    async def claim() -> ShardFeed:
        ledger = RedisLedger(redis, KEYS, 3)  # type: ignore[arg-type]
        await ledger.create(Positions(10, 20))
        feed = ShardFeed(3, (CONTACTS, CONVERSATIONS), 4, 1 << 20)
        await Claims(Config(accept_gap=accept_gap), log, lambda _: ledger, instants).claim(feed)
        return feed

    return asyncio.run(claim())


def stored(redis: FakeRedis) -> Gaps:
    return decode_gaps(redis.hash(KEYS.ledger).get(b"gap"))


def test_a_gap_stops_a_worker_that_was_not_told_to_accept_it() -> None:
    redis, instants = FakeRedis(), Instants()
    with pytest.raises(Fatal, match=r"t\.contacts partition 3 offsets 10 to 14, t\.conversations partition 3 off"):
        claimed(redis, Log(15, 22), instants, accept_gap=False)
    assert (stored(redis), instants.asked) == (Gaps(), [])


def test_an_accepted_gap_is_kept_with_the_instant_from_which_on_everything_is_there() -> None:
    redis, instants = FakeRedis(), Instants(contacts=7_000)
    feed = claimed(redis, Log(15, 20), instants)
    assert instants.asked == [{CONTACTS: 15}]  # of the other partition nothing is lost
    assert stored(redis) == Gaps((Gap("t.contacts", 3, 10, 14, 7_000),))
    assert feed.session is not None
    assert feed.session.positions == Positions(15, 20)


def test_gaps_of_both_partitions_and_of_another_time_add_up() -> None:
    redis = FakeRedis()
    claimed(redis, Log(15, 20), Instants(contacts=7_000))
    claimed(redis, Log(17, 21), Instants(contacts=9_000, conversations=8_000))
    gaps = stored(redis)
    assert [(gap.topic, gap.first_offset, gap.last_offset) for gap in gaps.lost] == [
        ("t.contacts", 10, 14),
        ("t.contacts", 15, 16),
        ("t.conversations", 20, 20),
    ]
    assert complete_from([gaps]) == 9_000


def test_a_gap_that_an_early_version_noted_stays_beside_new_ones() -> None:
    redis = FakeRedis()
    redis.hash(KEYS.ledger)[b"gap"] = TEXT
    claimed(redis, Log(15, 20), Instants(contacts=7_000))
    assert stored(redis) == Gaps((Gap("t.contacts", 3, 10, 14, 7_000),), TEXT.decode())


def test_nothing_is_accepted_while_kafka_does_not_say_from_when_on_the_log_is_complete() -> None:
    redis = FakeRedis()
    with pytest.raises(Unavailable):
        claimed(redis, Log(15, 20), Instants(KafkaConnectionError("gone")))
    assert stored(redis) == Gaps()
    assert redis.hash(KEYS.ledger)[b"contacts"] == b"10"


def test_a_ledger_that_begins_on_a_trimmed_log_says_so_for_good() -> None:
    async def begun() -> bytes | None:
        ledger = RedisLedger(FakeRedis(), KEYS, 3)  # type: ignore[arg-type]
        await ledger.create(Positions(10, 0), encode_gaps(Gaps((EARLY,))))
        claim = await ledger.claim()
        assert claim is not None
        await ledger.commit(claim.fence, Positions(11, 0), Changes())
        again = await ledger.claim()
        assert again is not None
        return again.gap

    assert decode_gaps(asyncio.run(begun())) == Gaps((EARLY,))
