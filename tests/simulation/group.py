"""A consumer group's coordinator: who is a member, who has been silent too long, and who gets which partitions."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streams.kafka.clients import TopicPartition
from tests.simulation.loop import VirtualLoop

JOIN_SECONDS = 0.1
"""How long the coordinator waits for others once somebody joins."""


@dataclass
class Member:
    """A member, as the coordinator knows it."""

    name: str
    seen: float
    assignor: Any
    joining: "asyncio.Future[list[TopicPartition]] | None" = None


class Group:
    """One group of consumers of all topics. Its leader shares out, by the assignor that the program gives Kafka."""

    def __init__(
        self,
        loop: VirtualLoop,
        partitions: list[TopicPartition],
        session_seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._partitions = partitions
        self.session_seconds = session_seconds
        self._tell = tell
        self.members: dict[str, Member] = {}
        self.rebalancing = False
        self._deadline = 0.0

    def partitions_for_topic(self, topic: str) -> set[int]:
        """The numbers of a topic's partitions, as assignors ask for them."""
        return {partition.partition for partition in self._partitions if partition.topic == topic}

    def join(self, name: str, assignor: Any) -> "asyncio.Future[list[TopicPartition]]":
        """Ask for partitions; the answer comes when all members have asked, or are given up."""
        member = self.members.setdefault(name, Member(name, self._loop.now, assignor))
        member.seen = self._loop.now
        member.joining = self._loop.create_future()
        self.rebalance()
        return member.joining

    def leave(self, name: str) -> None:
        """A member says that it goes."""
        if self.members.pop(name, None) is not None:
            self.rebalance()

    def heartbeat(self, name: str) -> str:
        """What a member is told: `ok`, `rebalance`, or `unknown`."""
        member = self.members.get(name)
        if member is None:
            return "unknown"
        member.seen = self._loop.now
        return "rebalance" if self.rebalancing else "ok"

    def refresh(self) -> None:
        """A coordinator that was away gives everybody their time anew."""
        for member in self.members.values():
            member.seen = self._loop.now

    def rebalance(self) -> None:
        """Begin to share out anew, unless that is under way."""
        if not self.rebalancing:
            self.rebalancing = True
            self._deadline = self._loop.now + self.session_seconds
            self._loop.call_outside(JOIN_SECONDS, self._look)

    def expire(self) -> None:
        """Give up members that have been silent too long. To be called now and then."""
        for name, member in list(self.members.items()):
            if member.joining is None and self._loop.now - member.seen > self.session_seconds:
                self._tell(f"the group gives {name} up")
                del self.members[name]
                self.rebalance()

    def _look(self) -> None:
        waiting = [member for member in self.members.values() if member.joining is None]
        if waiting and self._loop.now < self._deadline:
            self._loop.call_outside(JOIN_SECONDS, self._look)
            return
        for member in waiting:
            del self.members[member.name]
        self.rebalancing = False
        shares = self._shares()
        for member in self.members.values():
            joining, member.joining = member.joining, None
            member.seen = self._loop.now
            if joining is not None and not joining.done():
                joining.set_result(shares[member.name])
        owned = ", ".join(
            f"{name}: {sorted({p.partition for p in share if 'accounts' not in p.topic})}"
            for name, share in sorted(shares.items())
        )
        self._tell(f"the group shares out: {owned or 'nobody is there'}")

    def _shares(self) -> dict[str, list[TopicPartition]]:
        if not self.members:
            return {}
        topics = sorted({partition.topic for partition in self._partitions})
        leader = min(self.members)
        told = {name: member.assignor.metadata(topics) for name, member in sorted(self.members.items())}
        shares: dict[str, list[TopicPartition]] = {}
        for name, share in self.members[leader].assignor.assign(self, told).items():
            self.members[name].assignor.on_assignment(share)
            shares[name] = [TopicPartition(topic, number) for topic, numbers in share.assignment for number in numbers]
        return shares
