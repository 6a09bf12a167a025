"""New revisions, told to everyone who listens: one subscription in Redis for each account, shared by its listeners.

Nothing is queued: a listener that is slow skips revisions and is told the newest, so it costs the same however slow.
A subscription lives as long as somebody listens, and is made again when Redis comes back.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from aiohttp import web
from redis.exceptions import RedisError

from streams.http.errors import ApiError
from streams.outage import Outage
from streams.snapshots.reader import Newest
from streams.web.reader_protocol import Reader

logger = logging.getLogger(__name__)

LISTENERS = 1_000
LISTENERS_OF_ACCOUNT = 200
"""Bounds for one process: each listener is an open connection, each account with one a connection to Redis."""

PATIENCE_SECONDS = 15.0
"""After so long without a notification the newest revision is looked up anyway: Redis may drop notifications."""

PAUSE_SECONDS = 2.0
"""Between attempts to subscribe while Redis is away."""


class Account:
    """What listeners of one account share."""

    def __init__(self, account_id: str, newest: Newest | None) -> None:
        self.account_id = account_id
        self.newest = newest
        """The newest revision that is known."""
        self.listeners = 0
        self.is_over = False
        """Whether the server stops: no revision will be told any more."""
        self._changed = asyncio.Event()

    def tell(self, newest: Newest | None, *, is_over: bool = False) -> None:
        """Set the newest revision and wake whoever waits for a change."""
        self.newest, self.is_over = newest, is_over
        self._changed.set()
        self._changed = asyncio.Event()

    async def changes_within(self, seconds: float) -> bool:
        """Wait for the next change; false if there was none in that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


class Revisions:
    """Follows the accounts that somebody listens to. Call `close` before the loop ends."""

    def __init__(
        self, reader: Reader, *, listeners: int = LISTENERS, listeners_of_account: int = LISTENERS_OF_ACCOUNT
    ) -> None:
        self._reader = reader
        self._most, self._most_of_account = listeners, listeners_of_account
        self._accounts: dict[str, Account] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._is_over = False
        self._outage = Outage("new revisions", logger)

    @contextlib.asynccontextmanager
    async def listening(self, account_id: str, newest: Newest) -> AsyncIterator[Account]:
        """Listen to an account, of which `newest` is known. Raises `ApiError` (503) when too many listen already."""
        self._refuse_too_many(account_id)
        account = self._accounts.get(account_id)
        if account is None:
            account = self._accounts[account_id] = Account(account_id, newest)
            account.is_over = self._is_over
            self._followers[account_id] = asyncio.create_task(self._follow(account))
        elif account.newest is None or newest.revision > account.newest.revision:
            account.tell(newest)
        account.listeners += 1
        try:
            yield account
        finally:
            account.listeners -= 1
            if not account.listeners and self._accounts.get(account_id) is account:
                await self._leave(account_id)

    @property
    def followed(self) -> list[str]:
        """The accounts that are subscribed to."""
        return sorted(self._followers)

    async def close(self) -> None:
        """End every subscription and tell the listeners, also those that still come, that it is over."""
        self._is_over = True
        for account in list(self._accounts.values()):
            account.tell(account.newest, is_over=True)
        for account_id in list(self._accounts):
            await self._leave(account_id)

    def _refuse_too_many(self, account_id: str) -> None:
        account = self._accounts.get(account_id)
        if (account is not None and account.listeners >= self._most_of_account) or (
            sum(each.listeners for each in self._accounts.values()) >= self._most
        ):
            raise ApiError(
                503,
                "too_many_listeners",
                "Too many listen for new revisions already.",
                "Close streams that nobody reads, or ask …/report with If-None-Match from time to time.",
                retry_after_seconds=30,
            )

    async def _leave(self, account_id: str) -> None:
        self._accounts.pop(account_id, None)
        self._outage.gave_up(account_id)
        follower = self._followers.pop(account_id, None)
        if follower is not None:
            follower.cancel()
            await asyncio.wait([follower])

    async def _follow(self, account: Account) -> None:
        while True:
            try:
                announcements = self._reader.announcements(account.account_id, PATIENCE_SECONDS)
                async with contextlib.aclosing(announcements):
                    async for _ in announcements:
                        newest = await self._reader.newest(account.account_id)
                        self._outage.answered(account.account_id)
                        if newest != account.newest:
                            account.tell(newest)
            except (RedisError, OSError, TimeoutError) as error:
                self._outage.failed(
                    f"new revisions of {account.account_id}: Redis does not answer: {error}", account.account_id
                )
            except Exception:
                # Listeners outlive whatever went wrong here, and the log says what it was.
                logger.exception("following the revisions of %s failed; trying again", account.account_id)
            await asyncio.sleep(PAUSE_SECONDS)


REVISIONS = web.AppKey("revisions", Revisions)
