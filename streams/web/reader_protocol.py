"""What the API needs of `streams.snapshots.reader.SnapshotReader`, so that tests can bring one that needs no Redis."""

from collections.abc import AsyncGenerator
from datetime import date
from typing import Protocol

from aiohttp import web

from aggregates.filters import Filters
from streams.snapshots.reader import Answer, Newest, Slices


class Reader(Protocol):
    """Reads published snapshots; every method raises `RedisError` when Redis is gone."""

    async def accounts(self) -> list[str]:
        """The accounts with a published report."""

    async def report(self, account_id: str) -> bytes | None:
        """The newest document, as published."""

    async def metrics(
        self, account_id: str, start: date, end: date, filters: Filters, *, with_previous: bool = True
    ) -> Answer:
        """The metrics of `start` to `end`, both included, and of the period before.

        Raises `NoReport` and `RangeError`.
        """

    async def slices(self, account_id: str, start: date, end: date, mask: int) -> Slices:
        """The finest slices of `start` to `end`, both included, day by day. Raises `NoReport` and `RangeError`."""

    async def newest(self, account_id: str) -> Newest | None:
        """The newest revision."""

    def announcements(self, account_id: str, patience_seconds: float) -> AsyncGenerator[None, None]:
        """An asynchronous generator that yields whenever `newest` may have changed, or after so long a silence."""


READER = web.AppKey("reader", Reader)
