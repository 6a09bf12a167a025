"""Whether a report has all that was sent: what later ones may still have, and what none will."""

from streams.kafka.gaps import Gap, Gaps, decode_gaps
from streams.redis.shard_reader import ShardState
from streams.snapshots.completeness import completeness

NOON_MS = 1_772_452_800_000  # 2026-03-02T12:00:00Z


def state(shard: int, *gaps: Gap, contacts: int = 10, conversations: int = 20) -> ShardState:
    return ShardState(shard, contacts=contacts, conversations=conversations, gaps=Gaps(gaps))


def gap(shard: int, complete_from_ms: int = NOON_MS) -> Gap:
    return Gap("t.contacts", shard, 5, 9, complete_from_ms)


def test_shards_at_the_end_of_the_log_lack_nothing() -> None:
    found = completeness([state(0), state(1)], {0: (10, 20), 1: (9, 20)})
    assert (found.lag_records, found.reasons, found.complete_from_ms) == (0, (), None)


def test_what_is_not_read_yet_is_pending() -> None:
    found = completeness([state(0), state(1)], {0: (11, 22), 1: (10, 20)})
    assert (found.lag_records, found.pending, found.lost) == (3, ("shard 0 is 3 records behind",), ())


def test_a_shard_without_ledger_has_everything_to_read() -> None:
    found = completeness([ShardState(0)], {0: (11, 22)})
    assert (found.lag_records, found.pending) == (33, ("shard 0 has no ledger yet: no worker has claimed it",))


def test_a_kafka_that_does_not_answer_leaves_the_lag_unknown() -> None:
    found = completeness([state(0)], None)
    assert (found.lag_records, found.pending) == (0, ("the log's end is not known: Kafka does not answer",))


def test_lost_records_are_named_with_the_instant_from_which_on_everything_is_there() -> None:
    found = completeness([state(0), state(1, gap(1))], {0: (10, 20), 1: (10, 20)})
    assert found.lost == (
        (
            "shard 1 lacks records that Kafka lost before they were read: t.contacts partition 1 offsets 5 to 9; "
            "everything sent from 2026-03-02T12:00:00.000Z on is there"
        ),
    )
    assert (found.pending, found.complete_from_ms) == ((), NOON_MS)


def test_many_shards_that_lost_records_share_a_line_and_the_latest_instant() -> None:
    shards = [state(shard, gap(shard, NOON_MS + shard)) for shard in range(4)]
    found = completeness(shards, dict.fromkeys(range(4), (10, 20)))
    assert found.lost == (
        (
            "shards 0, 1, 2, 3 lack records that Kafka lost before they were read ('mediana check' names them); "
            "everything sent from 2026-03-02T12:00:00.003Z on is there"
        ),
    )
    assert found.complete_from_ms == NOON_MS + 3


def test_a_gap_of_an_unknown_time_says_so() -> None:
    early = ShardState(0, contacts=10, conversations=20, gaps=decode_gaps(b"offsets 0 to 9"))
    found = completeness([early], {0: (10, 20)})
    assert found.lost == (
        (
            "shard 0 lacks records that Kafka lost before they were read: offsets 0 to 9; "
            "from when on nothing is lost is not known"
        ),
    )
    assert found.complete_from_ms is None
