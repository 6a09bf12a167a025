"""What the API needs of `streams.snapshots.reader.SnapshotReader`, so that tests can bring one that needs no Redis."""

from collections.abc import AsyncGenerator, Awaitable, Sequence
from datetime import date
from typing import Protocol, TypeVar

from aiohttp import web

from aggregates.filters import Filters
from aggregates.periods import Period
from streams.outage import Outage
from streams.snapshots.reader import Answer, ListQuery, Newest, WholeList

_Answer = TypeVar("_Answer")


class Reader(Protocol):
    """Reads published snapshots; every method raises `RedisError` when Redis is gone."""

    async def accounts(self) -> Sequence[str]:
        """The accounts with a published report."""

    async def report(self, account_id: str) -> bytes | None:
        """The newest document, as published."""

    async def metrics(
        self, account_id: str, start: date, end: date, filters: Filters, *, compare: str | None = "previous"
    ) -> Answer:
        """The metrics of `start` to `end`, both included, and of an earlier period.

        Raises `NoReport` and `RangeError`.
        """

    async def list(self, account_id: str, days: Period | None, query: ListQuery) -> WholeList:
        """A list of a range; without one, of all who wait. Raises `NoReport`, `RangeError` and `ListRefused`."""

    async def newest(self, account_id: str) -> Newest | None:
        """The newest revision."""

    def announcements(self, account_id: str, patience_seconds: float) -> AsyncGenerator[None, None]:
        """An asynchronous generator that yields whenever `newest` may have changed, or after so long a silence."""


READER = web.AppKey("reader", Reader)

OUTAGE = web.AppKey("outage", Outage)
"""Told when Redis does not answer a request, and when it does."""


class Watched:
    """A reader that tells an outage of every answer. Failures are told by who explains them to a client."""

    def __init__(self, reader: Reader, outage: Outage) -> None:
        self._reader = reader
        self._outage = outage

    async def accounts(self) -> Sequence[str]:
        """As `Reader.accounts`."""
        return await self._answered(self._reader.accounts())

    async def report(self, account_id: str) -> bytes | None:
        """As `Reader.report`."""
        return await self._answered(self._reader.report(account_id))

    async def metrics(
        self, account_id: str, start: date, end: date, filters: Filters, *, compare: str | None = "previous"
    ) -> Answer:
        """As `Reader.metrics`."""
        return await self._answered(self._reader.metrics(account_id, start, end, filters, compare=compare))

    async def list(self, account_id: str, days: Period | None, query: ListQuery) -> WholeList:
        """As `Reader.list`."""
        return await self._answered(self._reader.list(account_id, days, query))

    async def newest(self, account_id: str) -> Newest | None:
        """As `Reader.newest`."""
        return await self._answered(self._reader.newest(account_id))

    def announcements(self, account_id: str, patience_seconds: float) -> AsyncGenerator[None, None]:
        """As `Reader.announcements`."""
        return self._reader.announcements(account_id, patience_seconds)

    async def _answered(self, asked: Awaitable[_Answer]) -> _Answer:
        answer = await asked
        self._outage.answered()
        return answer
