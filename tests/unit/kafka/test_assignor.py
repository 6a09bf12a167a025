"""Who gets which partitions: both topics of a shard together, evenly, and as few as possible change hands."""

from collections.abc import Mapping

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from streams.config import Config
from streams.kafka.assignor import Held, ShardAssignor, decode_held, encode_held, shared

TOPICS = Config().topics
NAMES = [TOPICS.contacts, TOPICS.conversations, TOPICS.accounts]
Given = dict[str, dict[str, list[int]]]


class Cluster:
    """How many partitions topics have."""

    def __init__(self, events: int, accounts: int = 1) -> None:
        self._counts = {TOPICS.contacts: events, TOPICS.conversations: events, TOPICS.accounts: accounts}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._counts[topic])) if topic in self._counts else None


class Group:
    """Workers that join and leave; each rebalance goes over the wire's bytes."""

    def __init__(self, events: int, accounts: int = 1) -> None:
        self.cluster = Cluster(events, accounts)
        self.members: dict[str, ShardAssignor | type[RangePartitionAssignor]] = {}

    def rebalance(self, leader: str) -> dict[str, list[int]]:
        """The shards of each member afterwards."""
        said = {}
        for name, assignor in self.members.items():
            said[name] = ConsumerProtocolMemberMetadata.decode(assignor.metadata(NAMES).encode())
        decided = self.members[leader].assign(self.cluster, said)
        shards: dict[str, list[int]] = {}
        for name, assignor in self.members.items():
            answer = ConsumerProtocolMemberAssignment.decode(decided[name].encode())
            assignor.on_assignment(answer)
            topics = {topic: sorted(numbers) for topic, numbers in answer.assignment}
            assert topics.get(TOPICS.contacts) == topics.get(TOPICS.conversations)
            shards[name] = topics.get(TOPICS.contacts, [])
        return shards


def a_group(*names: str, events: int = 6) -> Group:
    group = Group(events)
    for name in names:
        group.members[name] = ShardAssignor(TOPICS)
    return group


def test_shards_are_shared_evenly_and_stay_when_nothing_changes() -> None:
    group = a_group("a", "b", "c", "d")
    assert group.rebalance("b") == {"a": [0, 1], "b": [2, 3], "c": [4], "d": [5]}
    assert group.rebalance("d") == {"a": [0, 1], "b": [2, 3], "c": [4], "d": [5]}


def test_only_the_shards_of_a_worker_that_died_move() -> None:
    group = a_group("a", "b", "c")
    assert group.rebalance("a") == {"a": [0, 1], "b": [2, 3], "c": [4, 5]}
    del group.members["a"]
    assert group.rebalance("c") == {"b": [0, 2, 3], "c": [1, 4, 5]}


def test_a_worker_that_joins_takes_as_few_as_make_it_even() -> None:
    group = a_group("b", "c")
    assert group.rebalance("b") == {"b": [0, 1, 2], "c": [3, 4, 5]}
    group.members["a"] = ShardAssignor(TOPICS)
    assert group.rebalance("a") == {"b": [0, 1], "c": [3, 4], "a": [2, 5]}


def test_a_worker_that_was_away_cannot_have_back_what_others_were_given() -> None:
    group = a_group("a", "b")
    assert group.rebalance("a") == {"a": [0, 1, 2], "b": [3, 4, 5]}
    away = group.members.pop("a")
    assert group.rebalance("b") == {"b": [0, 1, 2, 3, 4, 5]}
    group.members["z"] = away  # by another name, as the group gives one to whoever joins anew
    group.members["c"] = ShardAssignor(TOPICS)
    assert group.rebalance("z") == {"b": [0, 1], "c": [2, 3], "z": [4, 5]}


def test_workers_of_an_older_release_may_be_in_the_group_and_lead_it() -> None:
    group = a_group("a", "b")
    assert group.rebalance("a") == {"a": [0, 1, 2], "b": [3, 4, 5]}
    group.members["old"] = RangePartitionAssignor
    assert group.rebalance("a") == {"a": [0, 1], "b": [3, 4], "old": [2, 5]}
    assert group.rebalance("old") == {"a": [0, 1], "b": [2, 3], "old": [4, 5]}
    assert group.rebalance("b") == {"a": [0, 1], "b": [2, 3], "old": [4, 5]}


def test_a_topic_that_grew_leaves_the_shards_where_they_are_and_gives_its_own_part() -> None:
    group = a_group("a")
    group.cluster._counts[TOPICS.contacts] = 8
    members = {"a": group.members["a"].metadata(NAMES)}
    decided = group.members["a"].assign(group.cluster, members)["a"]
    assert {topic: len(numbers) for topic, numbers in decided.assignment} == {
        TOPICS.accounts: 1,
        TOPICS.contacts: 8,
        TOPICS.conversations: 6,
    }


def test_data_of_other_programs_says_nothing() -> None:
    for data in (None, b"", b"{", b"[]", b'{"decision": 1}', b'{"decision": "x", "partitions": {}}', b"\xff" * 9):
        assert decode_held(data) == Held()
    held = Held(7, {"t": frozenset({1, 2})})
    assert decode_held(encode_held(held)) == held


MEMBERS = st.dictionaries(
    st.sampled_from("abcdefg"),
    st.tuples(st.integers(0, 3), st.frozensets(st.integers(0, 11), max_size=12)),
    min_size=1,
)


@given(st.integers(0, 12), MEMBERS)
def test_whatever_they_say_all_is_given_once_evenly(count: int, held: Mapping[str, tuple[int, frozenset[int]]]) -> None:
    shares = shared(range(count), held)
    assert sorted(number for share in shares.values() for number in share) == list(range(count))
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 5))
def test_when_one_leaves_no_other_loses_a_shard(count: int, members: int, leaving: int) -> None:
    before = shared(range(count), {f"m{n}": (0, frozenset()) for n in range(members + 1)})
    del before[f"m{leaving % (members + 1)}"]
    after = shared(range(count), {name: (1, frozenset(share)) for name, share in before.items()})
    assert all(set(share) <= set(after[name]) for name, share in before.items())
