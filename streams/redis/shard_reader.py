"""Reading the shards' facts for a snapshot: what changed, and the days of accounts as one consistent cut."""

import contextlib
import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec import Struct

from aggregates.counters import Vector, decode_vector
from aggregates.sealed import TOTALS, facts_in
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


class ShardDay(Struct, frozen=True):
    """What a shard holds of an account's day."""

    facts: dict[bytes, bytes]
    """Each fact's field and value."""
    totals: Vector
    """What its worker has added up beside them."""


class ShardCut(Struct, frozen=True):
    """An account's days in a shard, all as of one commit: each day that was read, be it empty."""

    state: ShardState
    days: dict[int, ShardDay]


class Scan(Struct, frozen=True):
    """What changed in a shard after commit `since_seq`: account → day → its last commit. With 0: all there is."""

    since_seq: int
    state: ShardState
    changes: dict[str, dict[int, int]]


class UnsteadyShard(RuntimeError):
    """The shard could not be read as of one commit: it is half written, or changes faster than it is read."""


class DamagedDay(RuntimeError):
    """What a shard holds of an account's day cannot be read."""


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

    async def cut(self, account_id: str, days: Iterable[int], since_seq: int, token: str | None = None) -> ShardCut:
        """The account's facts of `days`, and of every day that changed after `since_seq`, as of one commit.

        Where `token` is not the shard's any more, it may have gone back meanwhile, and have committed again with lower
        numbers: then all days of the account are read.

        Raises `UnsteadyShard` when a commit is half written or when the account changes faster than it is read, and
        `DamagedDay`.
        """
        wanted = set(days)
        for _ in range(ATTEMPTS):
            state, changes, found = await self._read({account_id: wanted}, since_seq)
            if _went_back(state, since_seq, token):
                since_seq, token = 0, None
                continue
            changed = changes.get(account_id, set())
            if changed <= wanted:
                return ShardCut(state, self._decoded(account_id, found[account_id]))
            wanted |= changed
        raise UnsteadyShard(f"shard {self.shard} changed {ATTEMPTS} times while account {account_id!r} was read")

    async def cuts(
        self, days: Mapping[str, AbstractSet[int]], since_seq: int, token: str | None = None
    ) -> dict[str, ShardCut]:
        """As `cut`, of many accounts in one transaction.

        Accounts that `cut` must be asked for are left out: of which another day changed meanwhile, or which cannot be
        read; all of them where the shard may have gone back. Raises `UnsteadyShard` when a commit is half written.
        """
        state, changes, found = await self._read(days, since_seq)
        if _went_back(state, since_seq, token):
            return {}
        cuts = {}
        for account_id, hashes in found.items():
            if changes.get(account_id, set()) <= days[account_id]:
                with contextlib.suppress(DamagedDay):  # told by `cut`
                    cuts[account_id] = ShardCut(state, self._decoded(account_id, hashes))
        return cuts

    async def _read(
        self, days: Mapping[str, AbstractSet[int]], since_seq: int
    ) -> tuple[ShardState, dict[str, set[int]], dict[str, dict[int, dict[bytes, bytes]]]]:
        """The shard's state, what of any account changed after a commit, and hashes of days, all of one moment."""
        order = [(account_id, day) for account_id, each in days.items() for day in sorted(each)]
        server = await server_of(self._redis, self._keys.ledger)
        async with server.pipeline(transaction=True) as pipe:
            pipe.hmget(self._keys.ledger, _LEDGER_FIELDS)
            pipe.zrange(self._keys.changed, f"({since_seq}", "+inf", byscore=True)
            for account_id, day in order:
                pipe.hgetall(self._keys.day(day, account_id))
            ledger, members, *hashes = await pipe.execute()
        state = _state(self.shard, ledger)
        refuse_half_written(state)
        changes: dict[str, set[int]] = {}
        for member in members:
            with contextlib.suppress(ValueError):
                day, account_id = split_day_member(member)
                changes.setdefault(account_id, set()).add(day)
        found: dict[str, dict[int, dict[bytes, bytes]]] = {account_id: {} for account_id in days}
        for (account_id, day), held in zip(order, hashes, strict=True):
            found[account_id][day] = held
        return state, changes, found

    def _decoded(self, account_id: str, days: Mapping[int, dict[bytes, bytes]]) -> dict[int, ShardDay]:
        return {day: self._decoded_day(account_id, day, held) for day, held in days.items()}

    def _decoded_day(self, account_id: str, day: int, held: dict[bytes, bytes]) -> ShardDay:
        try:
            totals = held.get(TOTALS)
            return ShardDay(facts_in(held), {} if totals is None else decode_vector(totals))
        except Exception as error:  # whatever bytes are there, it is this account's trouble alone
            raise DamagedDay(
                f"shard {self.shard}: the facts of account {account_id!r} of day {day} cannot be read: {error!r}"
            ) from error


def _went_back(state: ShardState, since_seq: int, token: str | None) -> bool:
    """Whether a shard may have been rolled back since it stood at a commit under a claim."""
    return token is not None and (state.token != token or state.seq < since_seq)


def refuse_half_written(state: ShardState) -> None:
    """Raises `UnsteadyShard` for a shard that holds half a commit."""
    if state.busy:
        raise UnsteadyShard(f"shard {state.shard} holds half a commit; its worker must repair it first")
