"""Every revision that is published during a campaign, with what it names: which records it is the report of."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from aggregates.filters import Filters
from streams.snapshots.manifest import Manifest, PublicKeys, load_revision
from streams.snapshots.reader import Answer, SnapshotReader

POLL_SECONDS = 0.1
"""Rounds are seconds apart."""


class Seen(Struct, frozen=True):
    """One revision of an account."""

    account_id: str
    manifest: Manifest
    document: bytes
    whole: Answer | None
    """All days of it, without filters; nothing when the next revision was faster."""
    last_day: dt.date


class Revisions:
    """Looks for new revisions for as long as `watch` runs."""

    def __init__(self, client: Any, namespace: str, accounts: Iterable[str], begin: dt.date) -> None:
        self._client = client
        self._namespace = namespace
        self._accounts = tuple(accounts)
        self._begin = begin
        self._reader = SnapshotReader(client, namespace)
        self._newest: dict[str, tuple[int, int]] = {}
        self._seen: list[Seen] = []
        self.skipped = 0
        """Revisions that came and went between two looks."""

    async def watch(self) -> None:
        """For ever. Redis may be away, or go back."""
        while True:
            for account_id in self._accounts:
                # In one of the many ways a server has to be away; what is published then is seen when it is back.
                with contextlib.suppress(Exception):
                    await self._look(account_id)
            await asyncio.sleep(POLL_SECONDS)

    def take(self) -> list[Seen]:
        """What was seen since the last time."""
        taken, self._seen = self._seen, []
        return taken

    async def _look(self, account_id: str) -> None:
        keys = PublicKeys(self._namespace, account_id)
        found = await load_revision(self._client, keys, with_document=True)
        if found is None or found.document is None:
            return
        manifest = found.manifest
        # After a roll-back the same number may be another revision.
        name = manifest.revision, manifest.published_at_ms
        before = self._newest.get(account_id)
        if before == name:
            return
        last_day = dt.datetime.now(dt.UTC).date() + dt.timedelta(1)
        answer = await self._reader.metrics(account_id, self._begin, last_day, Filters(), compare=None)
        if before is not None:
            self.skipped += max(0, manifest.revision - before[0] - 1)
        self._newest[account_id] = name
        whole = answer if answer.revision == manifest.revision else None
        self._seen.append(Seen(account_id, manifest, found.document, whole, last_day))
