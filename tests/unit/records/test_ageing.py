"""A session that lasts for years: what it costs and remembers depends on the work at hand, not on its age."""

from time import perf_counter

import pytest

from streams.kafka.dead_letters import DeadLetterLimit
from streams.records.columns import RUN_NUMBERS, Run, topic_of
from streams.records.event_time import Patience, TopicBuffer, take_merged
from streams.shard.caches import KnownVersions, StateCache
from tests.support.records import record

VALUE = (
    b'{"id": "e%d", "type": "message.received", "account_id": "acme", "contact_id": "ana", '
    b'"occurred_at": "2026-03-02T10:00:00Z", "conversation_id": "c", "channel": "email"}'
)
MOVED = (
    b'{"id": "m%d", "type": "contact.moved", "account_id": "acme", "contact_id": "ana", '
    b'"occurred_at": "2026-03-02T10:00:00Z", "group_id": "g"}'
)


def drifted(fetches: int) -> tuple[TopicBuffer, TopicBuffer]:
    """The buffers of a session whose one topic was fetched so often more than the other."""
    pair = TopicBuffer(0, 0), TopicBuffer(1, 0)
    pair[1]._next_number = (1 + 2 * fetches) % RUN_NUMBERS
    return pair


@pytest.mark.parametrize("fetches", [0, 10**6, 10**7, 1 << 28, (1 << 31) - 1])
def test_a_batch_costs_the_same_however_far_topics_drifted_apart(fetches: int) -> None:
    pair = drifted(fetches)
    times = []
    for turn in range(50):
        for topic, value in ((0, MOVED), (1, VALUE)):
            pair[topic].add(Run(topic, [record(turn, value % turn)]))
        started = perf_counter()
        taken, _ = take_merged(pair, 10, 1 << 20, Patience())
        found = taken.all()
        times.append(perf_counter() - started)
        assert [arrival.event.id for arrival in found] == [f"m{turn}", f"e{turn}"]
        assert len(taken.runs) == 2
        assert sorted(map(topic_of, taken.names)) == [0, 1]
    assert min(times) < 0.005  # of 1.2 GB for ten million, it was three seconds


def test_ten_million_fetches_leave_nothing_behind() -> None:
    # The numbers of runs begin again in the middle: as after ten million fetches, and after four thousand million.
    run: dict[int, Run] = {topic: Run(topic, [record(5), record(6)]) for topic in range(2)}
    turns = 20_000
    for first in (2 * 10**7, RUN_NUMBERS - turns):
        pair = TopicBuffer(0, 0), TopicBuffer(1, 0)
        for topic, buffer in enumerate(pair):
            buffer._next_number = first + topic
        for turn in range(turns):
            for topic in range(2):
                # The topics drift apart: one is fetched three times for each time of the other.
                if topic == 0 or turn % 3 == 0:
                    pair[topic].add(run[topic])
            taken, _ = take_merged(pair, 3, 1 << 20, Patience())
            assert len(taken) == 3 or turn % 3
            assert [topic_of(name) for name in taken.names] == [(name >> 32) % 2 for name in taken.names]
            if turn % 3 == 2:
                while len(take_merged(pair, 100, 1 << 20, Patience())[0]):
                    pass
            assert len(pair[0].runs) + len(pair[1].runs) < 10
        assert 0 <= pair[0]._next_number < RUN_NUMBERS


def test_a_run_taken_in_parts_over_the_wrap_stays_until_its_last_record() -> None:
    buffer = TopicBuffer(0, 0)
    buffer._next_number = RUN_NUMBERS - 2
    for first in (0, 3, 6):
        buffer.add(Run(0, [record(first + place) for place in range(3)]))
    pair = buffer, TopicBuffer(1, 0)
    seen = []
    for size in (2, 2, 1, 3, 1):
        taken, _ = take_merged(pair, size, 1 << 20, Patience())
        seen.append([arrival.record.offset for arrival in taken])
    assert seen == [[0, 1], [2, 3], [4], [5, 6, 7], [8]]
    assert buffer.runs == {}


def test_settings_that_change_daily_are_remembered_once_an_account() -> None:
    known = KnownVersions(3)
    for version in range(10_000):
        known.put("acme", b"%d" % version, 20_000 + version)
        assert known.last_used("acme", b"%d" % version) == 20_000 + version
        assert known.last_used("acme", b"%d" % (version - 1)) is None
        assert len(known) == 1
    for name in ("b", "c", "d"):
        known.put(name, b"1", 20_000)
    assert len(known) == 3
    assert known.last_used("acme", b"9999") is None


def test_states_are_forgotten_by_their_length_too() -> None:
    cache = StateCache(1_000, 100)
    for number in range(500):
        cache.put([(b"%d" % (number % 7), b"x" * (number % 60))])
        assert cache.held_bytes == sum(len(state) for state in cache._states.values()) <= 100
    cache.put([(b"large", b"x" * 1_000)])
    assert (len(cache), cache.held_bytes) == (0, 0)


def test_batches_without_records_are_not_remembered() -> None:
    limit = DeadLetterLimit(0.5, 100, 10)
    limit.accept([False] * 5)
    for _ in range(1_000):
        limit.accept([])
    assert len(limit._batches) == 1
