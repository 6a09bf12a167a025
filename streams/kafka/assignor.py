"""Assigns shards to the workers of the consumer group, and moves as few as possible.

The leader of the group decides, from what each worker says it has. Its answer carries a number that rises, so a worker
that was away and comes back cannot ask for what others were given meanwhile.

On the wire this is Kafka's "range" protocol, which leaves the members' own data alone: workers of older releases, which
send none and read none, can be in the group too, and may lead it. (A second protocol beside "range" is no way: aiokafka
0.14 then joins twice at each rebalance.)
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from schemas.topics import Topics

_VERSION = 0

Bundle = tuple[str, ...]
"""Topics whose equal partition numbers go together."""


@dataclass(frozen=True)
class Held:
    """What a worker was given last: partition numbers by topic, and the number of that decision."""

    decision: int = 0
    partitions: Mapping[str, frozenset[int]] = field(default_factory=dict)


class ShardAssignor:
    """The assignor of one worker. aiokafka asks classes; an object, which remembers, will do as well."""

    name = "range"

    def __init__(self, topics: Topics) -> None:
        self._events: Bundle = (topics.contacts, topics.conversations)
        self._held = Held()

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this worker says when it joins."""
        return ConsumerProtocolMemberMetadata(_VERSION, list(topics), encode_held(self._held))

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember what this worker was given. A leader of an older release numbers nothing; its answer counts too."""
        decision = decode_held(assignment.user_data).decision
        given = {topic: frozenset(numbers) for topic, numbers in assignment.assignment}
        self._held = Held(max(decision, self._held.decision), given)

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Decide for the group; only its leader is asked."""
        held = {member: decode_held(metadata.user_data) for member, metadata in members.items()}
        given: dict[str, dict[str, list[int]]] = {member: {} for member in members}
        for bundle in self._bundles(members):
            numbers = {topic: cluster.partitions_for_topic(topic) or set() for topic in bundle}
            takers = [member for member, metadata in members.items() if set(bundle) <= set(metadata.subscription)]
            if not takers:
                continue
            shares = shared(
                sorted(set().union(*numbers.values())),
                {member: (held[member].decision, _of(held[member], bundle)) for member in takers},
            )
            for member, share in shares.items():
                for topic in bundle:
                    if found := [number for number in share if number in numbers[topic]]:
                        given[member][topic] = found
        decision = max((each.decision for each in held.values()), default=0) + 1
        stamp = encode_held(Held(decision))
        return {
            member: ConsumerProtocolMemberAssignment(_VERSION, sorted(topics.items()), stamp)
            for member, topics in given.items()
        }

    def _bundles(self, members: Mapping[str, ConsumerProtocolMemberMetadata]) -> list[Bundle]:
        others = {topic for metadata in members.values() for topic in metadata.subscription} - set(self._events)
        return [self._events, *((topic,) for topic in sorted(others))]


def shared(numbers: Sequence[int], held: Mapping[str, tuple[int, frozenset[int]]]) -> dict[str, list[int]]:
    """Share numbers evenly among members, each with the decision it knows and what it was given by it.

    As few as possible change hands. Where two say they have the same, the one of the later decision has it.
    """
    kept: dict[str, list[int]] = {member: [] for member in sorted(held)}
    for number in numbers:
        havers = [(decision, member) for member, (decision, had) in held.items() if number in had]
        if havers:
            kept[max(havers)[1]].append(number)
    # Whoever has most keeps one more, where they cannot all have equally many.
    order = sorted(kept, key=lambda member: (-len(kept[member]), member))
    least, extra = divmod(len(numbers), len(order))
    room = {member: least + (place < extra) for place, member in enumerate(order)}
    shares = {member: kept[member][: room[member]] for member in order}
    taken = {number for share in shares.values() for number in share}
    free = iter([number for number in numbers if number not in taken])
    for member, share in shares.items():
        share.extend(number for _, number in zip(range(room[member] - len(share)), free, strict=False))
        share.sort()
    return shares


def encode_held(held: Held) -> bytes:
    """Bytes of it, for the group."""
    document = {"decision": held.decision, "partitions": {t: sorted(n) for t, n in held.partitions.items()}}
    return json.dumps(document, separators=(",", ":")).encode()


def decode_held(data: bytes | None) -> Held:
    """The inverse. Of what is no such document, from other programs or releases: nothing."""
    try:
        document = json.loads(data or b"{}")
        partitions = {str(topic): frozenset(map(int, numbers)) for topic, numbers in document["partitions"].items()}
        return Held(int(document["decision"]), partitions)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Held()


def _of(held: Held, bundle: Bundle) -> frozenset[int]:
    """The numbers of which it has all topics of a bundle."""
    return frozenset.intersection(*(held.partitions.get(topic, frozenset()) for topic in bundle))
