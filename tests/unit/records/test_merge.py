"""Two topics read in the order of event time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.clients import ConsumerRecord
from streams.records.columns import Run, topic_of
from streams.records.decoded import occurred_us
from streams.records.event_time import (
    HISTORY_GRACE_MS,
    LIVE_GRACE_MS,
    MAX_CLOCK_SKEW_MS,
    Patience,
    TopicBuffer,
    take_merged,
)
from streams.redis.ledger import Positions
from tests.support.records import STAMP_MS, at, record

READY = Patience()


def buffers(
    contacts: list[ConsumerRecord], conversations: list[ConsumerRecord], fetched: tuple[int, int] = (100, 100)
) -> tuple[TopicBuffer, TopicBuffer]:
    pair = (TopicBuffer(0, 0), TopicBuffer(1, 0))
    for buffer, records, position in zip(pair, (contacts, conversations), fetched, strict=True):
        add(buffer, records, position)
    return pair


def add(buffer: TopicBuffer, records: list[ConsumerRecord], fetched: int) -> None:
    if records:
        buffer.add(Run(buffer.topic, records))
    buffer.fetched = fetched


def taken(
    pair: tuple[TopicBuffer, TopicBuffer], most: int = 100, most_bytes: int = 1 << 20, patience: Patience = READY
) -> tuple[list[tuple[int, int]], Positions]:
    records, end = take_merged(pair, most, most_bytes, patience)
    return [(topic_of(name), found.record.offset) for name, found in zip(records.names, records, strict=True)], end


def test_the_earlier_event_goes_first_and_contacts_before_conversations_of_one_instant() -> None:
    pair = buffers([at(1, "10:00"), at(2, "12:00")], [at(7, "09:00"), at(8, "10:00"), at(9, "13:00")])
    assert taken(pair) == ([(1, 7), (0, 1), (1, 8), (0, 2), (1, 9)], Positions(100, 100))


def test_a_late_conversation_event_draws_those_before_it_forward() -> None:
    # 8 is late. Were 7 to wait for the contacts of 10:00 and 11:00, 8 would come after them, an hour later still.
    pair = buffers([at(1, "10:00"), at(2, "11:00")], [at(7, "12:00"), at(8, "09:30"), at(9, "12:30")])
    assert taken(pair)[0] == [(1, 7), (1, 8), (0, 1), (0, 2), (1, 9)]


def test_a_late_contact_event_waits_its_turn() -> None:
    pair = buffers([at(1, "12:00"), at(2, "09:30")], [at(7, "10:00"), at(8, "11:00")])
    assert taken(pair)[0] == [(1, 7), (1, 8), (0, 1), (0, 2)]


def test_a_late_event_fetched_later_still_ages_what_waits_before_it() -> None:
    pair = buffers([at(1, "10:00")], [at(7, "12:00")])
    add(pair[1], [at(8, "09:00")], 101)
    assert taken(pair)[0] == [(1, 7), (1, 8), (0, 1)]


def test_a_batch_ends_after_so_many_records_and_the_next_begins_there() -> None:
    pair = buffers([at(1, "10:00"), at(5, "11:00")], [at(7, "10:30")])
    assert taken(pair, most=2) == ([(0, 1), (1, 7)], Positions(5, 100))
    assert taken(pair, most=2) == ([(0, 5)], Positions(100, 100))


def test_a_batch_ends_before_it_grows_too_long_but_a_long_record_goes_alone() -> None:
    long = record(1, b"x" * 1000)
    pair = buffers([long, record(2), record(3)], [])
    assert taken(pair, most_bytes=500)[0] == [(0, 1)]
    assert taken(pair, most_bytes=500)[0] == [(0, 2), (0, 3)]


def test_a_topic_that_runs_dry_with_more_to_come_ends_the_batch() -> None:
    pair = buffers([at(1, "10:00"), at(2, "12:00")], [at(7, "09:00")], fetched=(3, 8))
    assert taken(pair, patience=Patience(behind=(False, True))) == ([(1, 7)], Positions(1, 8))


def test_a_young_record_waits_for_what_may_be_on_its_way_to_the_other_topic() -> None:
    pair = buffers([at(1, "10:00", at_ms=STAMP_MS - 10), at(2, "12:00", at_ms=STAMP_MS)], [])
    just_before = Patience(now_ms=STAMP_MS + HISTORY_GRACE_MS - 5)
    assert taken(pair, patience=just_before)[0] == [(0, 1)]
    assert taken(pair, patience=just_before)[0] == []
    assert taken(pair, patience=Patience(now_ms=STAMP_MS + HISTORY_GRACE_MS))[0] == [(0, 2)]


def test_a_live_record_waits_a_short_moment_only() -> None:
    pair = buffers([at(1, "10:00", at_ms=STAMP_MS)], [])
    happened_us = pair[0].order_us[0]
    history_ms = STAMP_MS - happened_us // 1000 + 1  # it was sent sooner after it happened than that
    waiting = Patience(now_ms=STAMP_MS + LIVE_GRACE_MS - 1, history_ms=history_ms)
    assert taken(pair, patience=waiting)[0] == []
    assert taken(pair, patience=Patience(now_ms=STAMP_MS + LIVE_GRACE_MS, history_ms=history_ms))[0] == [(0, 1)]


def test_a_record_stamped_far_ahead_of_our_clock_does_not_wait() -> None:
    pair = buffers([at(1, "10:00", at_ms=STAMP_MS)], [])
    assert taken(pair, patience=Patience(now_ms=STAMP_MS - MAX_CLOCK_SKEW_MS - 1))[0] == [(0, 1)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"[]",
        b"{",
        b'{"occurred_at": 5}',
        b'{"occurred_at": "yesterday"}',
        b'{"occurred_at": "2026-03-02T10:00:00"}',
        b'{"occurred_at": "0000-03-02T10:00:00Z"}',
        b"[" * 100_000,
    ],
)
def test_a_record_that_tells_no_time_is_before_all_others(value: bytes | None) -> None:
    assert occurred_us(value) == -1
    pair = buffers([at(1, "10:00")], [record(7, value), at(8, "11:00")])
    assert taken(pair)[0] == [(1, 7), (0, 1), (1, 8)]


def test_a_record_that_tells_no_time_counts_as_old_as_the_one_before_it() -> None:
    pair = buffers([at(1, "10:00")], [at(7, "10:30"), record(8, b"{"), at(9, "11:00")])
    assert taken(pair)[0] == [(0, 1), (1, 7), (1, 8), (1, 9)]


def test_offsets_of_a_zone_are_understood() -> None:
    hour = 3_600_000_000
    noon = occurred_us(b'{"occurred_at": "2026-03-02T12:00:00Z"}')
    assert occurred_us(b'{"occurred_at": "2026-03-02T12:00:00-03:00"}') == noon + 3 * hour


clocks = st.lists(st.integers(0, 59), max_size=30)


@given(clocks, clocks, st.integers(1, 7))
def test_every_record_comes_out_once_and_each_topic_in_its_order(left: list[int], right: list[int], most: int) -> None:
    pair = buffers(
        [at(n, f"10:{minute:02}") for n, minute in enumerate(left)],
        [at(n, f"10:{minute:02}") for n, minute in enumerate(right)],
        (len(left), len(right)),
    )
    out: list[tuple[int, int]] = []
    while True:
        some, end = taken(pair, most)
        if not some:
            break
        out += some
        assert end == tuple(sum(topic == wanted for topic, _ in out) for wanted in (0, 1))
    assert [offset for topic, offset in out if topic == 0] == list(range(len(left)))
    assert [offset for topic, offset in out if topic == 1] == list(range(len(right)))
    assert [buffer.bytes for buffer in pair] == [0, 0]


@given(clocks, clocks)
def test_topics_that_are_each_in_order_come_out_in_order(left: list[int], right: list[int]) -> None:
    pair = buffers(
        [at(minute, f"10:{minute:02}") for minute in sorted(left)],
        [at(minute, f"10:{minute:02}") for minute in sorted(right)],
    )
    out = [(offset, topic) for topic, offset in taken(pair)[0]]
    assert out == sorted(out)


def head_by_head(left: list[int], right: list[int]) -> list[tuple[int, int]]:
    """Two topics' records by the rule as it is worded: whose next record happened earlier goes first."""
    behind = [min([at for at in right[place:] if at >= 0], default=-1) for place in range(len(right))]
    aged = [at if at < 0 else min(at, oldest) for at, oldest in zip(right, behind, strict=True)]
    # One that tells no time is not asked for its own: it goes with the one before it.
    queues = [list(enumerate(left)), list(enumerate(aged))]
    out = []
    while queues[0] and queues[1]:
        topic = 0 if queues[0][0][1] <= queues[1][0][1] else 1
        out.append((topic, queues[topic].pop(0)[0]))
        while topic == 1 and queues[1] and queues[1][0][1] < 0:
            out.append((1, queues[1].pop(0)[0]))
    return out + [(topic, place) for topic in (0, 1) for place, _ in queues[topic]]


minutes = st.lists(st.integers(-1, 59), max_size=40)


@given(minutes, minutes, st.integers(1, 9), st.integers(1, 60), st.integers(20, 4_000))
def test_runs_are_merged_as_if_record_by_record(
    left: list[int], right: list[int], per_run: int, most: int, most_bytes: int
) -> None:
    pair = (TopicBuffer(0, 0), TopicBuffer(1, 0))
    for buffer, times in zip(pair, (left, right), strict=True):
        records = [
            at(offset, f"10:{minute:02}") if minute >= 0 else record(offset, b"?")
            for offset, minute in enumerate(times)
        ]
        for first in range(0, len(records), per_run):
            some = records[first : first + per_run]
            add(buffer, some, first + len(some))
    sizes = [[size for run in buffer.runs.values() for size in run.sizes] for buffer in pair]
    out: list[tuple[int, int]] = []
    while len(out) < len(left) + len(right):
        some, end = taken(pair, most, most_bytes)
        assert 0 < len(some) <= most
        assert len(some) == 1 or sum(sizes[topic][offset] for topic, offset in some) <= most_bytes
        out += some
        assert end == tuple(sum(topic == wanted for topic, _ in out) for wanted in (0, 1))
        assert [len(buffer.runs) <= -(-len(buffer) // per_run) + 1 for buffer in pair] == [True, True]
    assert out == head_by_head(left, right)
    assert [(buffer.bytes, buffer.runs) for buffer in pair] == [(0, {}), (0, {})]
