"""One look at everything a soak watches: its programs by /proc, and what Redis holds, kind by kind."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from bench.harness.proc import Usage
from streams.redis.keys import CONTACTS, CONVERSATIONS, NamespaceKeys, split_day_member
from streams.snapshots.manifest import PublicKeys, decode_manifest
from streams.snapshots.parts import Part, days_of

MEASURED_KEYS = 200
"""Most day hashes and blocks whose size is asked for in one look; beyond, a random part stands for all."""

ELEMENTS_SAMPLED = 500
"""Elements of a large hash from which the server estimates its size: it holds nobody up."""


class Program(Struct, frozen=True):
    """What a process holds."""

    rss_mib: float
    threads: int
    files: int


class Kind(Struct, frozen=True):
    """Something Redis keeps many of."""

    count: int
    bytes: float

    @property
    def each(self) -> float:
        """Bytes of one."""
        return self.bytes / self.count if self.count else 0.0


class Days(Struct, frozen=True):
    """Hashes of facts, each of a shard, an account and a day."""

    sealed: Kind
    """All facts are in one compressed value."""
    unsealed: Kind
    oldest: int | None
    """Ordinal of the oldest day."""

    @property
    def all(self) -> Kind:
        """Both together."""
        return Kind(self.sealed.count + self.unsealed.count, self.sealed.bytes + self.unsealed.bytes)


class Sample(Struct, frozen=True, kw_only=True):
    """One look."""

    seconds: float
    """Since traffic began."""
    day: int
    """Ordinal of the day the traffic is in."""
    sent: int
    applied: int
    commits: int
    programs: dict[str, Program]
    redis_bytes: int
    contacts: Kind
    """States."""
    chunks: Kind
    """Older entries, that have left the journals."""
    days: Kind
    """Hashes of facts: one per shard, account and day."""
    open_days: int
    """Those that have facts beside their sealed ones."""
    oldest_day: int | None
    """Ordinal of the oldest of them."""
    blocks: Kind
    """Published days, replaced ones that are not yet swept included."""
    oldest_block: int | None
    """Ordinal of the oldest day that a manifest names."""

    @property
    def lag(self) -> int:
        """Records sent and not yet applied."""
        return self.sent - self.applied


def programs_of(usages: Mapping[str, Usage]) -> dict[str, Program]:
    """What each process holds now. Raises `OSError` when one has ended."""
    return {name: Program(usage.rss_mib(), usage.threads(), usage.files()) for name, usage in usages.items()}


class RedisLook:
    """Looks into a namespace. `client` is a blocking client that answers bytes."""

    def __init__(self, client: Any, namespace: str, partitions: int, accounts: Sequence[str], seed: int) -> None:
        self._client = client
        self._shards = [NamespaceKeys(namespace).shard(shard) for shard in range(partitions)]
        self._public = [PublicKeys(namespace, account_id) for account_id in accounts]
        self._random = random.Random(seed)

    def applied(self) -> int:
        """Records before the positions of all shards, of topics that begin at 0."""
        held = self._ask(("HMGET", keys.ledger, CONTACTS, CONVERSATIONS) for keys in self._shards)
        return sum(int(position or 0) for positions in held for position in positions)

    def used_bytes(self) -> int:
        """The memory of the server's data."""
        return int(self._client.info("memory")["used_memory"])

    def contacts(self) -> Kind:
        """The contacts' states."""
        return self._large([keys.states for keys in self._shards])

    def chunks(self) -> Kind:
        """Older entries, that have left their journals."""
        return self._large([keys.chunks for keys in self._shards])

    def days(self) -> Days:
        """The hashes of facts: those that are sealed, those with facts beside, and the oldest day."""
        sealed: list[bytes | str] = []
        unsealed: list[bytes | str] = []
        oldest: list[int] = []
        changed = self._ask(("ZRANGE", shard.changed, 0, -1) for shard in self._shards)
        still_open = self._ask(("ZRANGE", shard.open, 0, -1) for shard in self._shards)
        for shard, members, of_open in zip(self._shards, changed, still_open, strict=True):
            is_open = set(of_open)
            for member in members:
                ordinal, account_id = split_day_member(member)
                (unsealed if member in is_open else sealed).append(shard.day(ordinal, account_id))
                oldest.append(ordinal)
        return Days(self._small(sealed), self._small(unsealed), min(oldest, default=None))

    def blocks(self) -> tuple[Kind, int | None]:
        """The published days, and the oldest that a manifest names."""
        names: list[bytes | str] = []
        oldest: list[int] = []
        for keys, data in zip(self._public, self._ask(("GET", keys.manifest) for keys in self._public), strict=True):
            if data is None:
                continue
            manifest = decode_manifest(data)
            there = days_of(manifest.parts)
            oldest += there
            names += [keys.part(part) for part in there.values()]
            waiting = [member for member in self._client.hkeys(keys.garbage) if b":" in member]
            names += [keys.part(Part.of_member(member)) for member in (*manifest.replaced, *waiting)]
        return self._small(names), min(oldest, default=None)

    def documents(self) -> Kind:
        """The accounts' newest documents and those of their histories, with the manifests."""
        return self._small([name for keys in self._public for name in (keys.report, keys.history, keys.manifest)])

    def _large(self, keys: Sequence[bytes]) -> Kind:
        counts = self._ask(("HLEN", key) for key in keys)
        sizes = self._ask(("MEMORY", "USAGE", key, "SAMPLES", ELEMENTS_SAMPLED) for key in keys)
        return Kind(sum(counts), sum(size or 0 for size in sizes))

    def _small(self, keys: Sequence[bytes | str]) -> Kind:
        if not keys:
            return Kind(0, 0)
        chosen = self._random.sample(list(keys), min(MEASURED_KEYS, len(keys)))
        sizes = [size for size in self._ask(("MEMORY", "USAGE", key, "SAMPLES", 0) for key in chosen) if size]
        return Kind(len(keys), sum(sizes) / max(1, len(sizes)) * len(keys))

    def _ask(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        asked = 0
        for command in commands:
            pipeline.execute_command(*command)
            asked += 1
        answers: list[Any] = pipeline.execute() if asked else []
        return answers
