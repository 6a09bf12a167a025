"""Account settings in Redis: written from the accounts topic, read and compiled by the workers.

The worker that owns a partition of the accounts topic writes its settings to Redis with the position in that partition,
and raises a version. Every worker looks at the version with each batch; when it changed, it asks again for the accounts
it works on. The fold of a batch sees one version of each account's settings.

An account whose settings cannot be used is set aside alone (`streams/redis/usable_settings.py`). The same look at the
version tells whether all workers have the same zone data.
"""

import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from importlib import resources
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from aggregates.rules import RulesBook
from schemas.accounts import AccountSettings, encode_settings
from streams.errors import SessionLost, Unavailable
from streams.redis.clients import Client
from streams.redis.keys import ZONE_DATA, NamespaceKeys
from streams.redis.usable_settings import InUse, UnusableSettings, compiled, instead
from streams.redis.zone_data import ZoneDataWatch

logger = logging.getLogger(__name__)

APPLY = resources.files("streams.redis").joinpath("lua/settings.lua").read_text()

Change = tuple[str, AccountSettings | None]
"""An account and its new settings; `None` when it has none any more."""


class RulesStore:
    """Settings in Redis, and the rules of the accounts in use.

    `until_read` waits until the settings sent so far are taken over: an account that is met for the first time, and has
    none, may have sent them just before its first event.
    """

    until_read: Callable[[], Awaitable[None]] | None = None

    def __init__(self, client: Client, keys: NamespaceKeys, cache_accounts: int) -> None:
        self._client = client
        self._keys = keys
        self._limit = cache_accounts
        self._version: bytes | None = None
        self._positions: dict[bytes, int] = {}
        self._books: OrderedDict[str, _Held] = OrderedDict()
        self.unusable: dict[str, str] = {}
        """The accounts in use whose newest settings cannot be used, and why."""
        self.zone_data = ZoneDataWatch(keys.namespace)

    async def has_namespace(self) -> bool:
        """Whether Redis knows the namespace at all. Raises `Unavailable`."""
        return bool(await self._ask(self._client.exists(self._keys.meta)))

    async def position(self, partition: int) -> int | None:
        """Up to where a partition of the accounts topic is taken over. Raises `Unavailable`."""
        found = await self._ask(self._client.hget(self._keys.settings_log, _position_field(partition)))
        return None if found is None else int(found)

    async def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """`position` of several, 0 where there is none yet. Raises `Unavailable`."""
        wanted = list(partitions)
        if not wanted:
            return {}
        fields: Any = [_position_field(partition) for partition in wanted]
        found = await self._ask(self._client.hmget(self._keys.settings_log, fields))
        return {partition: int(value or 0) for partition, value in zip(wanted, found, strict=True)}

    async def take_over(self, partition: int, start: int | None, end: int, changes: Iterable[Change]) -> None:
        """Write what a partition brought between two positions, in its order; the last change of an account counts.

        Raises `SessionLost` when another worker was faster or the position was rolled back, `Unavailable`.
        """
        last = dict(changes)
        values: list[bytes] = []
        deleted: list[bytes] = []
        for account_id, settings in last.items():
            if settings is None:
                deleted.append(account_id.encode())
            else:
                values += (account_id.encode(), encode_settings(settings))
        # Not a counter: after a roll-back a counter would show an old number for other settings.
        version = secrets.token_hex(8).encode() if last else b""
        before = b"" if start is None else b"%d" % start
        arguments = [_position_field(partition), before, b"%d" % end, version, b"%d" % len(values), *values, *deleted]
        keys: Any = (self._keys.settings, self._keys.settings_log, self._keys.settings_before)
        answer = await self._ask(self._client.eval(APPLY, 3, *keys, *arguments))
        if answer != b"done":
            raise SessionLost(f"accounts partition {partition}: its position is not {start} any more")
        self._positions[_position_field(partition)] = end

    async def books(self, account_ids: Collection[str]) -> dict[str, RulesBook]:
        """The rules of these accounts, as of now. Raises `Unavailable`."""
        while True:
            version = await self._look()
            if version != self._version:
                self._version = version
                for book in self._books.values():
                    book.checked = False
            found = {name: known.book for name in account_ids if (known := self._checked(name)) is not None}
            stale = [name for name in account_ids if name not in found]
            if not stale:
                break
            stored = await self._ask(self._client.hmget(self._keys.settings, stale))
            strangers = [
                name for name, data in zip(stale, stored, strict=True) if data is None and name not in self._books
            ]
            if strangers and self.until_read is not None:
                await self.until_read()
                stored = await self._ask(self._client.hmget(self._keys.settings, stale))
            newest = dict(zip(stale, stored, strict=True))
            usable = await self._in_use(newest)
            if self._version == version:  # else another batch has seen newer settings meanwhile
                found |= {name: self._take(name, data, usable.get(name)) for name, data in newest.items()}
                break
        while len(self._books) > max(self._limit, len(found)):
            name, _ = self._books.popitem(last=False)
            self.unusable.pop(name, None)
        return found

    async def _in_use(self, newest: Mapping[str, bytes | None]) -> dict[str, InUse]:
        """What accounts go on with whose settings are others than those at hand. Raises `Unavailable`."""
        found: dict[str, InUse] = {}
        problems: dict[str, str] = {}
        for name, data in newest.items():
            held = self._books.get(name)
            if held is None or held.data != data:
                try:
                    found[name] = InUse(compiled(name, data))
                except UnusableSettings as error:
                    problems[name] = str(error)
        if problems:
            names: Any = list(problems)
            stored = await self._ask(self._client.hmget(self._keys.settings_before, names))
            for name, before in zip(names, stored, strict=True):
                held = self._books.get(name)
                found[name] = instead(name, problems[name], before, None if held is None else held.book.current)
        return found

    async def _look(self) -> bytes | None:
        """The version of all settings. Raises `Unavailable` while they are older than some that were seen here.

        Redis may be restored from a copy while a shard is idle, whose own position tells nothing then. Events must not
        be read under settings of before: whoever owns the accounts topic's partition reads it again.
        """
        found: Mapping[bytes, bytes] = await self._ask(self._client.hgetall(self._keys.settings_log))
        positions = {field: int(value) for field, value in found.items() if field.startswith(_POSITION)}
        for field, position in self._positions.items():
            if positions.get(field, 0) < position:
                raise Unavailable("settings: Redis went back to older ones; waiting until the topic is read again")
        self._positions = positions
        self.zone_data.look(found.get(ZONE_DATA))
        return found.get(b"version")

    def _checked(self, account_id: str) -> "_Held | None":
        held = self._books.get(account_id)
        if held is None or not held.checked:
            return None
        self._books.move_to_end(account_id)
        return held

    def _take(self, account_id: str, data: bytes | None, in_use: InUse | None) -> RulesBook:
        held = self._books.get(account_id)
        if held is None or held.data != data:
            assert in_use is not None
            book = RulesBook(in_use.rules)
            if held is not None:
                book.add(held.book.current)
            held = self._books[account_id] = _Held(data, book)
            self._note(account_id, in_use)
        held.checked = True
        self._books.move_to_end(account_id)
        return held.book

    def _note(self, account_id: str, in_use: InUse) -> None:
        """Say once that an account is set aside, and once that it is not any more."""
        if in_use.problem is not None:
            self.unusable[account_id] = in_use.problem
            logger.warning(
                "account %r: its newest settings cannot be used, %s: %s", account_id, in_use.instead, in_use.problem
            )
        elif self.unusable.pop(account_id, None) is not None:
            logger.info("account %r: its newest settings are in use", account_id)

    async def _ask(self, answer: Any) -> Any:
        try:
            return await answer
        except (RedisError, RedisClusterException, OSError) as error:
            raise Unavailable(f"settings: Redis: {error}") from error


class _Held:
    __slots__ = ("book", "checked", "data")

    def __init__(self, data: bytes | None, book: RulesBook) -> None:
        self.data = data
        self.book = book
        self.checked = True


def add_versions(book: RulesBook, account_id: str, found: Mapping[bytes, bytes | None]) -> list[bytes]:
    """Add older versions from a shard's hash to a book; those that were not to be had.

    The current rules stand in for such a version: what was counted under it is taken back without it, and only an
    answer whose wait a late event changes is measured anew.
    """
    gone = []
    for version, data in found.items():
        if data is not None:
            try:
                book.add(compiled(account_id, data), version)
                continue
            except UnusableSettings:
                pass
        book.give_up(version)
        gone.append(version)
    return gone


_POSITION = b"position:"


def _position_field(partition: int) -> bytes:
    return _POSITION + b"%d" % partition
