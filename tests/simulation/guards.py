"""The program's guards, each taken out: what the simulation must then find.

A simulation that finds nothing shows nothing unless it finds what is missing.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from streams.errors import Unavailable
from streams.intake.ownership import Ownership
from streams.intake.settings_feed import SettingsFeed
from streams.kafka.dead_letters import DeadLetters
from streams.redis import clients as redis
from streams.redis import ledger
from streams.redis import shard_reader as shards
from streams.redis.ledger import RedisLedger
from streams.shard import day_values
from streams.shard.session import Session
from streams.snapshots import fenced
from streams.snapshots import lock as snapshot_lock

Patch = tuple[Any, str, Any]
"""Of what, which attribute, and what it is instead."""


def _without(text: str, *replacements: tuple[str, str]) -> str:
    """A script that has been changed; what is to be changed must be there."""
    for old, new in replacements:
        assert old in text, f"the script has no {old!r} any more"
        text = text.replace(old, new)
    return text


def _token() -> list[Patch]:
    unchecked = _without(ledger.COMMIT, ("for place = 1, 4 do\n    if held", "for place = 2, 4 do\n    if held"))
    return [(ledger, "COMMIT", unchecked)]


def _position() -> list[Patch]:
    unchecked = _without(ledger.COMMIT, ("for place = 1, 4 do\n    if held", "for place = 1, 1 do\n    if held"))
    return [(ledger, "COMMIT", unchecked)]


def _fence_of_commits() -> list[Patch]:
    unchecked = _without(ledger.COMMIT, ("for place = 1, 4 do\n    if held", "for place = 1, 0 do\n    if held"))
    return [(ledger, "COMMIT", unchecked)]


def _random_tokens() -> list[Patch]:
    class Constant:
        token_hex = staticmethod(lambda size: "0" * size)
        token_bytes = secrets.token_bytes

    return [(ledger, "secrets", Constant)]


def _fence_of_reads() -> list[Patch]:
    async def unfenced(self: RedisLedger, fence: Any, reads: Any) -> Any:  # noqa: ARG001
        pipeline = self._client.pipeline(transaction=True)
        pipeline.execute_command("PING")
        for key, fields in reads:
            pipeline.execute_command("HMGET", key, *fields) if fields else pipeline.execute_command("HLEN", key)
        found: list[Any] = await self._ask(pipeline.execute())
        return [[b"%d" % each] if isinstance(each, int) else each for each in found[1:]]

    return [(RedisLedger, "read", unfenced)]


def _busy_mark() -> list[Patch]:
    claim = _without(ledger.CLAIM, ("redis.call('HEXISTS', KEYS[1], 'busy') == 1", "false"))
    commit = _without(ledger.COMMIT, ("if held[5] then", "if false then"))
    return [(ledger, "CLAIM", claim), (ledger, "COMMIT", commit)]


def _caches() -> list[Patch]:
    kept: dict[tuple[int, int], Any] = {}
    began = Session.__init__

    def remembering(self: Session, *arguments: Any) -> None:
        began(self, *arguments)
        self.states, self.days = kept.setdefault((id(arguments[1]._client), self.shard), (self.states, self.days))

    return [(Session, "__init__", remembering)]


def _verify() -> list[Patch]:
    async def blind(self: Session) -> None:
        """Look at nothing."""

    return [(Session, "verify", blind)]


def _settings_first() -> list[Patch]:
    async def at_once(self: Ownership, feed: Any) -> None:
        """Wait for no settings."""

    async def nobody(self: Ownership) -> None:
        """Wait for no settings."""

    return [(Ownership, "_await_settings", at_once), (Ownership, "until_settings_are_read", nobody)]


def _letters_first() -> list[Patch]:
    write = DeadLetters.write

    async def hoping(self: DeadLetters, letters: Any) -> None:
        with suppress(Unavailable):
            await write(self, letters)

    return [(DeadLetters, "write", hoping)]


def _fence_of_publications() -> list[Patch]:
    """Neither lock nor fence nor revision are compared: two snapshotters work at one account."""
    lock = _without(
        snapshot_lock.LOCK,
        ("if holder and holder ~= token then", "if false then"),
        ("if holder ~= token then", "if false then"),
    )
    publication = _without(
        fenced.PUBLICATION,
        ("if held_epoch ~= epoch or held_token ~= token then", "if false then"),
        ("elseif tonumber(held_epoch or '0') > tonumber(epoch) then", "elseif false then"),
        ("if known ~= ARGV[5] then", "if false then"),
    )
    return [(snapshot_lock, "LOCK", lock), (fenced, "PUBLICATION", publication)]


def _marks_beside_sealed_facts() -> list[Patch]:
    change = day_values._change

    def deleting(day: Any, facts: Any, before: bytes, *, may_be_sealed: bool) -> Any:  # noqa: ARG001
        return change(day, facts, before, may_be_sealed=False)

    return [(day_values, "_change", deleting)]


def _one_cut() -> list[Patch]:
    real = redis.server_of

    class Torn:
        """A client whose transactions are none."""

        def __init__(self, client: Any) -> None:
            self._client = client

        def pipeline(self, transaction: bool) -> Any:  # noqa: ARG002
            return self._client.pipeline(transaction=False)

    async def torn(client: Any, key: bytes) -> Any:
        return Torn(await real(client, key))

    return [(shards, "server_of", torn)]


def _patience_with_settings() -> list[Patch]:
    class Never:
        """A count that stays nought."""

        def __get__(self, feed: object, kind: object = None) -> int:
            return 0

        def __set__(self, feed: object, value: int) -> None:
            """Forget it."""

    return [(SettingsFeed, "failures", Never())]


class Guard(NamedTuple):
    """A guard of the program."""

    patches: Callable[[], list[Patch]]
    """How it is taken out."""
    profile: str = "everything"
    """The kind of scenario that needs it."""


GUARDS: dict[str, Guard] = {
    "a commit compares the token": Guard(_token, "zombies"),
    "a commit compares the positions": Guard(_position),
    "a commit compares token and positions": Guard(_fence_of_commits),
    "claim tokens are random": Guard(_random_tokens, "zombies"),
    "reads are fenced": Guard(_fence_of_reads),
    "a half-written shard is refused": Guard(_busy_mark, "broken scripts"),
    "caches end with their session": Guard(_caches),
    "idle shards are looked at": Guard(_verify),
    "settings come before events": Guard(_settings_first, "roll-backs"),
    "a dead letter is written before its batch is committed": Guard(_letters_first),
    "settings that cannot be written wait": Guard(_patience_with_settings),
    "what may be sealed is taken away by a mark": Guard(_marks_beside_sealed_facts),
    "publications are fenced": Guard(_fence_of_publications, "slow snapshotters"),
    "an account's days are one cut": Guard(_one_cut, "slow snapshotters"),
}
"""By name."""


@contextmanager
def without(guard: str) -> Iterator[None]:
    """While this lasts, the program does without a guard."""
    patches = GUARDS[guard].patches()
    before = [(owner, name, getattr(owner, name, None)) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            delattr(owner, name) if value is None else setattr(owner, name, value)
