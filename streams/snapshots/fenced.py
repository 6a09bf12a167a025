"""What is written to an account's published keys, and the fence that every script of it compares.

The snapshotter's lock says who works; but a process that was stopped for a minute and goes on does not know yet that
the lock is another's. So whoever publishes an account first puts the `Ticket` of its lock into the account's fence,
and each of its scripts writes only while that ticket stands there. The fence is in the account's slot, so this holds
on a Redis Cluster too. A ticket of an earlier epoch is refused. All of it is one script, `lua/publication.lua`, and
knows nothing of what a part holds.

    FenceLost      another snapshotter works on the account: leave it
    Superseded     a newer revision was published: read the manifest again
    MissingParts   parts that the revision would name are not there: make them again
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from streams.snapshots.lock import Ticket
from streams.snapshots.manifest import Manifest, PublicKeys, decode_manifest, encode_manifest
from streams.snapshots.parts import Part

PUBLICATION = resources.files("streams.redis").joinpath("lua/publication.lua").read_text()

GARBAGE_REVISIONS = 2
GARBAGE_MS = 10 * 60 * 1000
"""A part that no manifest names goes after this many revisions and this time, whichever is later.

The time is counted on the server, at most five minutes at a step (`tick` in `lua/publication.lua`): a clock that jumps
can make it five minutes shorter, not more.
"""

FIELDS_PER_WRITE = 500
BYTES_PER_WRITE = 200_000
"""Per command, so that no single one holds the server for long."""

KEYS_PER_LOOK = 1_000


class FenceLost(RuntimeError):
    """Another snapshotter writes this account now."""


class Superseded(RuntimeError):
    """Another revision was published in the meantime; read the manifest again."""


class MissingParts(RuntimeError):
    """Parts that a revision was to name are not there, or not whole. Nothing was published."""

    def __init__(self, account_id: str, parts: Sequence[Part]) -> None:
        names = ", ".join(part.name for part in parts[:5])
        super().__init__(f"{len(parts)} parts of account {account_id!r} are not in Redis, or not whole: {names}")
        self.parts = tuple(parts)


class Holder(Protocol):
    """Who holds the snapshotter's lock: `streams.snapshots.lock.Lease`."""

    ticket: Ticket

    async def outrun(self, epoch: int) -> None:
        """Take an epoch above this one. Raises when the lock is held no more."""


class Claimed(Struct, frozen=True):
    """What stood there when the fence became ours."""

    known: bytes
    """The stored revision, as it is compared: b'' where there is none."""
    manifest: Manifest | None
    """The newest manifest; nothing where there is none, or where it cannot be read."""
    is_damaged: bool
    """Whether a manifest that should be there is lost or cannot be read."""
    revision: int
    """The newest revision that any of the keys knows of; 0 where none does."""


class Draft(Struct, frozen=True):
    """What is to become the newest revision."""

    manifest: Manifest
    document: bytes
    notification: bytes
    fresh: Mapping[Part, int]
    """The parts that were written for it, and how long each is: its fields, or its bytes."""


class FencedAccount:
    """One account, for one snapshotter: `claim` first, then write."""

    def __init__(self, redis: Any, keys: PublicKeys, holder: Holder) -> None:
        self._redis = redis
        self._keys = keys
        self._holder = holder
        self._ticket = holder.ticket
        self._lengths: dict[Part, int] = {}

    async def claim(self) -> Claimed:
        """Make the fence ours. Whoever held it before can write nothing of this account any more.

        Raises what `Holder.outrun` raises when the fence shows a later holder of the lock.
        """
        while True:
            self._ticket = self._holder.ticket
            answer, *found = await self._run("claim", ())
            if answer != b"newer":
                break
            await self._holder.outrun(int(found[0]))
        known, data, newest = found
        revisions = [int(number) for number in (known, newest) if number.isdigit()]
        if not data:
            revision = max(revisions, default=0)
            return Claimed(known, None, is_damaged=revision > 0, revision=revision)
        try:
            manifest = decode_manifest(data)
        except (msgspec.DecodeError, ValueError):
            return Claimed(known, None, is_damaged=True, revision=max(revisions, default=0))
        return Claimed(known, manifest, is_damaged=False, revision=max([*revisions, manifest.revision]))

    async def write(self, part: Part, value: Mapping[bytes, bytes] | bytes) -> None:
        """Write a new part: a hash, or one value. It is garbage until `publish` names it. Raises `FenceLost`."""
        place = "first"
        if isinstance(value, bytes):
            await self._write(part, place, "SET", value)
            self._lengths[part] = len(value)
            return
        for some in _portions(value):
            await self._write(part, place, "HSET", *(each for pair in some.items() for each in pair))
            place = "more"
        self._lengths[part] = len(value)

    async def _write(self, part: Part, place: str, command: str, *values: bytes) -> None:
        answer, *_ = await self._run("write", (self._keys.part(part),), part.member, place, command, *values)
        if answer == b"gone":
            raise MissingParts(self._keys.account_id, (part,))
        if answer == b"exists":
            raise RuntimeError(f"account {self._keys.account_id!r}: part {part.member} is written for the second time")

    def length(self, part: Part) -> int:
        """How long a part is that was written here."""
        return self._lengths[part]

    async def publish(self, known: bytes, draft: Draft, history: int) -> None:
        """Make a draft the newest revision, if `known` is still the stored one. `history` documents are kept.

        Raises `FenceLost`, `Superseded`, `MissingParts`.
        """
        manifest = draft.manifest
        fresh = list(draft.fresh)
        named = {Part(name, version) for name, version in manifest.parts.items() if name not in manifest.absent}
        parts = [*fresh, *sorted(named - draft.fresh.keys(), key=lambda part: part.member)]
        answer, *found = await self._run(
            "publish",
            [self._keys.part(part) for part in parts],
            known,
            manifest.revision,
            draft.document,
            encode_manifest(manifest),
            history,
            self._keys.channel,
            draft.notification,
            len(fresh),
            *(draft.fresh[part] for part in fresh),
        )
        if answer == b"superseded":
            raise Superseded(f"superseded by revision {found[0].decode() or 'none'}")
        if answer == b"missing":
            raise MissingParts(self._keys.account_id, [parts[int(place) - 1] for place in found])

    async def sweep(self) -> int:
        """Delete the parts that nobody can be reading any more; how many. Raises `FenceLost`.

        Which those are is decided in the script, by the manifest that stands there then.
        """
        members = [member for member in await self._redis.hkeys(self._keys.garbage) if b":" in member]
        if not members:
            return 0
        names = [self._keys.part(Part.of_member(member)) for member in members]
        _, swept = await self._run("sweep", names, GARBAGE_MS, GARBAGE_REVISIONS, *members)
        return int(swept)

    async def _run(self, action: str, parts: Sequence[str], *arguments: Any) -> list[bytes]:
        keys = self._keys
        names = (keys.fence, keys.revision, keys.manifest, keys.report, keys.history, keys.garbage, *parts)
        answer: list[bytes] = await self._redis.eval(
            PUBLICATION, len(names), *names, action, self._ticket.epoch, self._ticket.token, *arguments
        )
        if answer[0] == b"lost":
            raise FenceLost(f"account {keys.account_id!r}: another snapshotter is at work on it")
        return answer


async def missing_parts(redis: Any, keys: PublicKeys, parts: Iterable[Part]) -> set[Part]:
    """Which parts are not there. Where all are, as usual, this is one command for a thousand of them."""
    wanted = list(parts)
    missing: set[Part] = set()
    for first in range(0, len(wanted), KEYS_PER_LOOK):
        some = wanted[first : first + KEYS_PER_LOOK]
        if await redis.exists(*map(keys.part, some)) == len(some):
            continue
        missing.update([part for part in some if not await redis.exists(keys.part(part))])
    return missing


def _portions(fields: Mapping[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    """The fields of a hash, a few at a time: so many, or one large one."""
    some: dict[bytes, bytes] = {}
    size = 0
    for field, value in fields.items():
        some[field] = value
        size += len(value)
        if len(some) >= FIELDS_PER_WRITE or size >= BYTES_PER_WRITE:
            yield some
            some, size = {}, 0
    if some:
        yield some
