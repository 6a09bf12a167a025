"""A shard's feed: nothing is fetched, applied or skipped but under the session it was meant for."""

import pytest

from streams.errors import Fatal
from streams.intake.shard_feed import HOLD_SECONDS, ShardFeed
from streams.kafka.clients import TopicPartition
from streams.records.columns import topic_of
from streams.records.event_time import HISTORY_GRACE_MS
from streams.redis.keys import NamespaceKeys
from streams.redis.ledger import Claim, Fence, Positions, RedisLedger
from streams.shard.batch import checksum
from streams.shard.caches import StateCache, TotalsCache
from streams.shard.session import Session
from tests.support.fake_redis import FakeRedis
from tests.support.records import STAMP_MS, at

CONTACTS, CONVERSATIONS = TopicPartition("t", 3), TopicPartition("u", 3)
LATER_MS = STAMP_MS + HISTORY_GRACE_MS


def a_session(contacts: int = 10, conversations: int = 20) -> Session:
    ledger = RedisLedger(FakeRedis(), NamespaceKeys("test").shard(3), 3)  # type: ignore[arg-type]
    return Session(
        3, ledger, Claim(Fence(b"token", Positions(contacts, conversations), 0), (None, None), None, 0, 0), 10, 10
    )


def opened(
    session: Session,
    checks: tuple[bytes | None, bytes | None] = (None, None),
    end: int = 100,
    history_ms: int = 0,
) -> ShardFeed:
    feed = ShardFeed(3, (CONTACTS, CONVERSATIONS), 4, 1 << 20, history_ms)
    feed.offer(session, checks, (0, 0), (end, end))
    return feed


def test_the_consumer_is_put_where_the_session_stands_once() -> None:
    feed = opened(a_session())
    assert feed.wanted() == []
    assert feed.seeks() == {CONTACTS: 10, CONVERSATIONS: 20}
    assert feed.seeks() == {}
    assert feed.wanted() == [CONTACTS, CONVERSATIONS]


def test_batches_follow_each_other_without_a_hole_and_one_at_a_time() -> None:
    session = a_session()
    feed = opened(session)
    feed.seeks()
    # Offsets 11, 13 and the end of the log are marks of transactions.
    feed.accept(CONTACTS, [at(10, "10:00"), at(12, "10:10")], 100)
    feed.accept(CONVERSATIONS, [at(n, "10:05") for n in range(20, 24)], 100)
    first = feed.next_batch(0, LATER_MS)
    assert first is not None
    assert (first.start, first.end, len(first.records)) == (Positions(10, 20), Positions(12, 23), 4)
    assert feed.next_batch(0, LATER_MS) is None
    session.rest()
    second = feed.next_batch(0, LATER_MS)
    assert second is not None
    assert (second.start, second.end, len(second.records)) == (Positions(12, 23), Positions(100, 100), 2)


def test_the_gate_of_a_topic_shuts_when_two_batches_wait() -> None:
    feed = opened(a_session())
    feed.seeks()
    feed.accept(CONTACTS, [at(n, "10:00") for n in range(10, 18)], 18)
    assert feed.wanted() == [CONVERSATIONS]


def test_positions_that_move_without_a_record_make_an_empty_batch() -> None:
    feed = opened(a_session(), end=22)
    feed.seeks()
    assert feed.next_batch(0, LATER_MS) is None
    feed.accept(CONVERSATIONS, [], 22)
    batch = feed.next_batch(0, LATER_MS)
    assert batch is not None
    assert (batch.start, batch.end, list(batch.records)) == (Positions(10, 20), Positions(10, 22), [])


def test_a_topic_out_of_reach_holds_live_records_of_the_other_one_back_only_so_long() -> None:
    feed = opened(a_session(), end=30, history_ms=LATER_MS)  # nothing is old
    feed.seeks()
    feed.accept(CONTACTS, [at(10, "10:00")], 30)
    assert feed.next_batch(1000, LATER_MS) is None
    assert feed.next_batch(1000 + HOLD_SECONDS - 0.1, LATER_MS) is None
    assert feed.next_batch(1000 + HOLD_SECONDS, LATER_MS) is not None


def test_a_backlog_waits_as_long_as_a_topic_is_out_of_reach() -> None:
    feed = opened(a_session(), end=30, history_ms=60_000)
    feed.seeks()
    feed.accept(CONTACTS, [at(10, "10:00")], 30)
    an_hour_later_ms = LATER_MS + 3_600_000
    assert feed.next_batch(1000, an_hour_later_ms) is None
    assert feed.next_batch(1000 + 100 * HOLD_SECONDS, an_hour_later_ms) is None
    feed.accept(CONVERSATIONS, [at(25, "09:00")], 30)
    batch = feed.next_batch(1000 + 100 * HOLD_SECONDS, an_hour_later_ms)
    assert batch is not None
    assert [topic_of(name) for name in batch.records.names] == [1, 0]


def test_a_topic_at_its_end_holds_young_records_back_for_a_moment() -> None:
    feed = opened(a_session(), end=20)
    feed.seeks()
    feed.accept(CONTACTS, [at(10, "10:00")], 20)
    assert feed.next_batch(0, STAMP_MS) is None
    assert feed.next_batch(0, LATER_MS) is not None


def test_dropping_a_session_forgets_what_was_fetched_for_it() -> None:
    session = a_session()
    feed = opened(session)
    feed.seeks()
    feed.accept(CONTACTS, [at(10, "10:00")], 100)
    assert feed.drop() is session
    assert session.dropped
    assert feed.wanted() == []
    assert feed.next_batch(0, LATER_MS) is None
    feed.offer(a_session(5, 6), (None, None), (0, 0), (100, 100))
    assert feed.next_batch(0, LATER_MS) is None
    assert feed.seeks() == {CONTACTS: 5, CONVERSATIONS: 6}


def test_the_last_applied_record_is_read_again_and_compared_and_not_applied_again() -> None:
    feed = opened(a_session(), (checksum(at(8, "09:00")), None))
    assert feed.seeks() == {CONTACTS: 8, CONVERSATIONS: 20}
    feed.accept(CONTACTS, [at(8, "09:00"), at(10, "10:00")], 100)
    feed.accept(CONVERSATIONS, [], 100)
    batch = feed.next_batch(0, LATER_MS)
    assert batch is not None
    assert [arrival.record.offset for arrival in batch.records] == [10]


def test_another_record_in_the_place_of_the_last_applied_one_is_another_topic() -> None:
    feed = opened(a_session(), (checksum(at(8, "09:00")), None))
    feed.seeks()
    with pytest.raises(Fatal, match="record 8 is not the one that was read"):
        feed.accept(CONTACTS, [at(8, "09:01")], 9)


def test_a_last_applied_record_that_is_not_retained_is_not_asked_for() -> None:
    feed = ShardFeed(3, (CONTACTS, CONVERSATIONS), 4, 1 << 20)
    feed.offer(a_session(), (checksum(at(8, "09:00")), None), (9, 0), (100, 100))
    assert feed.seeks() == {CONTACTS: 10, CONVERSATIONS: 20}


def test_lag_is_counted_from_what_is_committed() -> None:
    feed = opened(a_session())
    feed.see_end(CONTACTS, 120)
    feed.see_end(CONVERSATIONS, None)
    assert feed.lag() == (110, 80)


def test_a_kept_session_goes_on_behind_what_was_fetched_for_it_and_keeps_that() -> None:
    session = a_session()
    feed = opened(session)
    assert feed.places() == {}
    feed.seeks()
    assert feed.places() == {CONTACTS: 10, CONVERSATIONS: 20}
    feed.accept(CONTACTS, [at(10, "10:00")], 15)
    assert feed.places() == {CONTACTS: 15, CONVERSATIONS: 20}
    feed.accept(CONVERSATIONS, [], 100)
    batch = feed.next_batch(0, LATER_MS)
    assert batch is not None
    assert (batch.session, batch.end) == (session, Positions(15, 100))
    feed.drop()
    assert feed.places() == {}


def test_a_kept_session_that_has_not_read_again_the_last_applied_record_still_does() -> None:
    feed = opened(a_session(), (checksum(at(8, "09:00")), None))
    feed.seeks()
    assert feed.places() == {CONTACTS: 8, CONVERSATIONS: 20}
    with pytest.raises(Fatal, match="record 8 is not the one that was read"):
        feed.accept(CONTACTS, [at(8, "09:01")], 9)


# --- caches ---------------------------------------------------------------------------------------------------------


def test_the_contact_used_longest_ago_is_forgotten_first() -> None:
    cache = StateCache(2)
    cache.put([(b"a", b"state of a"), (b"b", b"state of b")])
    assert cache.get(b"a") == b"state of a"
    cache.put([(b"c", b"")])
    assert (cache.get(b"a"), cache.get(b"b"), cache.get(b"c"), len(cache)) == (b"state of a", None, b"", 2)


def test_the_day_used_longest_ago_is_forgotten_first() -> None:
    cache = TotalsCache(2)
    cache.put((1, "acme"), b"1")
    cache.put((2, "acme"), b"")
    assert cache.get((1, "acme")) == b"1"
    cache.put((3, "acme"), b"3")
    assert [cache.get((day, "acme")) for day in (1, 2, 3)] == [b"1", None, b"3"]
    cache.forget((3, "acme"))
    cache.forget((9, "acme"))
    assert len(cache) == 1
