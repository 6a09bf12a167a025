"""A session: one worker's time as the writer of one shard.

It begins with a claim and ends with the first doubt: a refusal, a time-out, a lost connection, a rebalance. Then it is
dropped with all that it remembers, and whatever was being computed under it is thrown away. A new one claims again and
reads the log from the position it finds.
"""

import asyncio

from streams.errors import EngineError
from streams.redis.ledger import Changes, Claim, Fence, Ledger, Positions, Reads
from streams.shard.ages import Ages
from streams.shard.caches import KnownVersions, StateCache, TotalsCache

_KNOWN_VERSIONS = 10_000
"""Of how many accounts a session knows that their settings are in the shard's hash; of others it writes them again."""


class Session:
    """A claimed shard: its fence, and caches of what it holds. All calls come from the worker's one event loop."""

    def __init__(
        self,
        shard: int,
        ledger: Ledger,
        claim: Claim,
        cache_contacts: int,
        cache_days: int,
        cache_bytes: int = 64 << 20,
    ) -> None:
        self.shard = shard
        self.ledger = ledger
        self.fence = claim.fence
        self.horizon = claim.horizon
        self.sealed_below = claim.sealed_below
        self.ages = Ages()
        """Of the events that this session has folded."""
        self.dropped = False
        self._resting = asyncio.Event()
        self._resting.set()
        self.states = StateCache(cache_contacts, cache_bytes)
        self.longest_state = 0
        """Of the states read so far, which tells how many to read at once."""
        self.days = TotalsCache(cache_days)
        self.stored_rules = KnownVersions(_KNOWN_VERSIONS)
        """Versions of settings that the shard's hash is known to hold."""

    @property
    def positions(self) -> Positions:
        """Up to where both topics are applied."""
        return self.fence.positions

    @property
    def in_flight(self) -> bool:
        """Whether a batch of this session is being folded or committed: its commit does the checking."""
        return not self._resting.is_set()

    def engage(self) -> None:
        """A batch begins."""
        self._resting.clear()

    def rest(self) -> None:
        """The batch is done, whatever became of it."""
        self._resting.set()

    async def at_rest(self) -> None:
        """Wait until no batch is in flight."""
        await self._resting.wait()

    def drop(self) -> None:
        """End the session. What it remembers goes too."""
        self.dropped = True
        self.states = StateCache(0)
        self.days = TotalsCache(0)
        self.stored_rules = KnownVersions(0)

    async def read(self, reads: list[Reads]) -> list[list[bytes | None]]:
        """Read under the fence. Raises `SessionLost`, `Unavailable`."""
        return await self.ledger.read(self.fence, reads)

    async def commit(self, end: Positions, changes: Changes) -> None:
        """Commit, and go on from there. Raises `SessionLost`, `Unavailable`, `ShardStopped`."""
        self.fence = await self.ledger.commit(self.fence, end, changes)

    async def verify(self) -> None:
        """Compare token and position with the ledger's; an idle shard notices a rollback only here.

        Raises `SessionLost`, `Unavailable`. Says nothing while a batch is in flight.
        """
        fence: Fence = self.fence
        if self.in_flight:
            return
        try:
            await self.ledger.read(fence, ())
        except EngineError:
            if self._moved_on(fence):
                return
            raise

    def _moved_on(self, fence: Fence) -> bool:
        return self.in_flight or self.fence != fence
