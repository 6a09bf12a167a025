"""Reading the shards' counters for a snapshot: what changed, and the days of an account as one consistent cut."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from aggregates.counters import Field, Value, decode_field, decode_value
from streams.kafka.gaps import Gaps, decode_gaps
from streams.redis import keys
from streams.redis.clients import server_of
from streams.redis.keys import HORIZON, NamespaceKeys, split_day_member

logger = logging.getLogger(__name__)

ATTEMPTS = 20
"""Commits may go on while a cut is read; each attempt reads again what changed since the one before."""

ROLL_BACK_MARGIN = 3_600_000
"""Sequence numbers are milliseconds, so commits that are repeated after a roll-back have higher ones than the first
time. By so much, an hour, the clocks of two workers may differ."""


class ShardState(Struct, frozen=True):
    """Where a shard's ledger stands."""

    shard: int
    token: str = ""
    """The claim of the worker that writes it; another one may mean that Redis was rolled back in between."""
    seq: int = 0
    contacts: int | None = None
    conversations: int | None = None
    busy: bool = False
    gaps: Gaps = Gaps()
    """The records that were lost before they were read: at the beginning, or where a person accepted that."""

    @property
    def present(self) -> bool:
        """Whether the shard has a ledger at all."""
        return self.contacts is not None and self.conversations is not None


class ShardCut(Struct, frozen=True):
    """An account's days in a shard, all as of one commit."""

    state: ShardState
    days: dict[int, list[tuple[Field, Value]]]


class Scan(Struct, frozen=True):
    """What changed in a shard after commit `since_seq`: account → day → its last commit. With 0: all there is."""

    since_seq: int
    state: ShardState
    changes: dict[str, dict[int, int]]


class UnsteadyShard(RuntimeError):
    """The shard could not be read as of one commit: it is half written, or changes faster than it is read."""


class DamagedCounters(RuntimeError):
    """The counters of an account's day cannot be read."""


_LEDGER_FIELDS = (keys.TOKEN, keys.SEQ, keys.CONTACTS, keys.CONVERSATIONS, keys.BUSY, keys.GAP)


def _state(shard: int, values: list[bytes | None]) -> ShardState:
    token, seq, contacts, conversations, busy, gap = values
    return ShardState(
        shard=shard,
        token=(token or b"").decode(),
        seq=int(seq or 0),
        contacts=None if contacts is None else int(contacts),
        conversations=None if conversations is None else int(conversations),
        busy=bool(busy),
        gaps=decode_gaps(gap),
    )


class ShardReader:
    """Reads one shard. `redis` must answer from the primary."""

    def __init__(self, redis: Any, namespace: NamespaceKeys, shard: int) -> None:
        self._redis = redis
        self._keys = namespace.shard(shard)
        self.shard = shard

    async def state(self) -> ShardState:
        """Where the ledger stands now."""
        return _state(self.shard, await self._redis.hmget(self._keys.ledger, _LEDGER_FIELDS))

    async def horizon(self) -> int:
        """Days before this one (an ordinal) are forgotten by its writer, or about to be; 0 while none is."""
        return int(await self._redis.hget(self._keys.ledger, HORIZON) or 0)

    async def scan(self, since_seq: int) -> Scan:
        """What changed after a commit; everything there is when the shard was rolled back behind it."""
        server = await server_of(self._redis, self._keys.ledger)
        async with server.pipeline(transaction=True) as pipe:
            pipe.hmget(self._keys.ledger, _LEDGER_FIELDS)
            pipe.zrange(self._keys.changed, f"({since_seq}", "+inf", byscore=True, withscores=True)
            ledger, members = await pipe.execute()
        state = _state(self.shard, ledger)
        if state.seq < since_seq:
            return await self.scan(0)
        changes: dict[str, dict[int, int]] = {}
        for member, seq in members:
            try:
                day, account_id = split_day_member(member)
            except ValueError:
                logger.warning("shard %d: %r is no day of an account; left out", self.shard, member[:100])
                continue
            changes.setdefault(account_id, {})[day] = int(seq)
        return Scan(since_seq, state, changes)

    async def cut(self, account_id: str, days: Iterable[int], since_seq: int) -> ShardCut:
        """The account's counters of `days`, and of every day that changed after `since_seq`, as of one commit.

        Raises `UnsteadyShard` when a commit is half written or when the account changes faster than it is read.
        """
        wanted = set(days)
        for _ in range(ATTEMPTS):
            order = sorted(wanted)
            server = await server_of(self._redis, self._keys.ledger)
            async with server.pipeline(transaction=True) as pipe:
                pipe.hmget(self._keys.ledger, _LEDGER_FIELDS)
                pipe.zrange(self._keys.changed, f"({since_seq}", "+inf", byscore=True)
                for day in order:
                    pipe.hgetall(self._keys.day(day, account_id))
                ledger, members, *hashes = await pipe.execute()
            state = _state(self.shard, ledger)
            if state.busy:
                raise UnsteadyShard(f"shard {self.shard} holds half a commit; its worker must repair it first")
            own = account_id.encode()
            split = (member.partition(b":") for member in members)
            changed = {int(day) for day, _, account in split if account == own and day.isdigit()}
            if changed <= wanted:
                return ShardCut(
                    state,
                    {
                        day: self._decoded(account_id, day, fields)
                        for day, fields in zip(order, hashes, strict=True)
                        if fields
                    },
                )
            wanted |= changed
        raise UnsteadyShard(f"shard {self.shard} changed {ATTEMPTS} times while account {account_id!r} was read")

    def _decoded(self, account_id: str, day: int, fields: Mapping[bytes, bytes]) -> list[tuple[Field, Value]]:
        try:
            return [(decode_field(field), decode_value(value)) for field, value in fields.items()]
        except Exception as error:  # whatever bytes are there, it is this account's trouble alone
            raise DamagedCounters(
                f"shard {self.shard}: the counters of account {account_id!r} of day {day} cannot be read: {error!r}"
            ) from error
