"""What is written to an account's published keys, and the fence that every script of it compares.

The snapshotter's lock says who works; but a process that was stopped for a minute and goes on does not know yet that
the lock is another's. So whoever writes an account puts the `Ticket` of its lock into the account's fence, and a ticket
of an earlier epoch is refused. The fence is in the account's slot, so this holds on a Redis Cluster too.

A publication whose parts are few and small is one script, which takes the fence and compares the revision that was
read. Where they are many, the fence is claimed first, the parts are written one by one while it stands, and the script
names them. All of it is `lua/publication.lua`, which
knows nothing of what a part holds; `lua/quiet.lua` notes that nothing has changed.

    FenceLost      another snapshotter works on the account: leave it
    Superseded     a newer revision was published: read the manifest again
    MissingParts   parts that the revision would name are not there: make them again
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from streams.snapshots.lock import Ticket
from streams.snapshots.manifest import Manifest, PublicKeys, decode_manifest, encode_manifest, packed_document
from streams.snapshots.parts import Part

QUIET = resources.files("streams.redis").joinpath("lua/quiet.lua").read_text()
PUBLICATION = resources.files("streams.redis").joinpath("lua/publication.lua").read_text()

GARBAGE_REVISIONS = 2
GARBAGE_MS = 10 * 60 * 1000
"""A part that no manifest names goes after this many revisions and this time, whichever is later.

The time is counted on the server, at most five minutes at a step (`tick` in `lua/publication.lua`): a clock that jumps
can make it five minutes shorter, not more.
"""

MOST_INLINE_PARTS = 64
MOST_INLINE_BYTES = 256 << 10
"""What one script publishes at most, so that it does not hold the server for long; more is written beforehand."""

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


class Known(Struct, frozen=True):
    """What was published of an account before."""

    stored: bytes
    """The stored revision and its manifest, as `publish` compares them: `stored_name`."""
    manifest: Manifest | None
    """The newest manifest; nothing where there is none, or where it cannot be read."""
    is_damaged: bool
    """Whether a manifest that should be there is lost or cannot be read."""
    revision: int
    """The newest revision that any of the keys knows of; 0 where none does."""


def stored_name(revision: bytes | None, manifest: bytes | None) -> bytes:
    """Tells what is stored of an account from all else that was or will be.

    Not the number alone: after Redis went back to an older copy, another revision may have it.
    """
    return b"%s %s" % (revision or b"", hashlib.sha1(manifest or b"", usedforsecurity=False).hexdigest().encode())


class Draft(Struct, frozen=True):
    """What is to become the newest revision."""

    manifest: Manifest
    document: bytes
    notification: bytes
    fresh: Mapping[Part, bytes]
    """The parts that are new in it."""
    swept: Sequence[Part] = ()
    """Parts of earlier revisions that nobody can be reading any more."""


class FencedAccount:
    """One account, for one snapshotter."""

    def __init__(self, redis: Any, keys: PublicKeys, holder: Holder) -> None:
        self._redis = redis
        self._keys = keys
        self._holder = holder
        self._ticket = holder.ticket
        self._is_claimed = False

    async def known(self, stored: bytes | None, data: bytes | None) -> Known:
        """What was published before, from the stored revision and manifest. Claims the fence when they do not fit."""
        if data is not None and stored is not None:
            with contextlib.suppress(msgspec.DecodeError, ValueError):
                manifest = decode_manifest(data)
                if stored == b"%d" % manifest.revision:
                    return Known(stored_name(stored, data), manifest, is_damaged=False, revision=manifest.revision)
        return await self.claim()

    async def claim(self) -> Known:
        """Make the fence ours. Whoever held it before can write nothing of this account any more.

        Raises what `Holder.outrun` raises when the fence shows a later holder of the lock.
        """
        stored, data, newest = await self._taking_the_fence("claim", ())
        self._is_claimed = True
        revisions = [int(number) for number in (stored, newest) if number.isdigit()]
        revision = max(revisions, default=0)
        name = stored_name(stored, data)
        if not data:
            return Known(name, None, is_damaged=revision > 0, revision=revision)
        try:
            manifest = decode_manifest(data)
        except (msgspec.DecodeError, ValueError):
            return Known(name, None, is_damaged=True, revision=revision)
        return Known(name, manifest, is_damaged=False, revision=max(revision, manifest.revision))

    async def publish(self, stored: bytes, draft: Draft, history: int) -> None:
        """Make a draft the newest revision, if `stored` still names the stored one. `history` documents are kept.

        Raises `FenceLost`, `Superseded`, `MissingParts`.
        """
        manifest = draft.manifest
        inline, written = dict(draft.fresh), {}
        if len(inline) > MOST_INLINE_PARTS or sum(map(len, inline.values())) > MOST_INLINE_BYTES:
            inline, written = {}, inline
            if not self._is_claimed:
                await self.claim()
            for part, value in written.items():
                await self.write(part, value)
        named = {Part(name, version) for name, version in manifest.parts.items() if name not in manifest.absent}
        others = sorted(named - draft.fresh.keys(), key=lambda part: part.member)
        parts = [*inline, *written, *draft.swept, *others]
        answer = await self._taking_the_fence(
            "publish",
            parts,
            stored,
            manifest.revision,
            draft.document,
            encode_manifest(manifest),
            packed_document(draft.document),
            history,
            self._keys.channel,
            draft.notification,
            *map(len, (inline, written, draft.swept)),
            *inline.values(),
            *map(len, written.values()),
            *(part.member for part in written),
        )
        if answer[:1] == [b"superseded"]:
            raise Superseded(f"superseded by revision {answer[1].decode() or 'none'}")
        if answer[:1] == [b"missing"]:
            raise MissingParts(self._keys.account_id, [parts[int(place) - 1] for place in answer[1:]])
        if written:
            await self.sweep()

    async def write(self, part: Part, value: bytes) -> None:
        """Write a new part. It is garbage until `publish` names it. Raises `FenceLost`."""
        if await self._run("write", (part,), part.member, value) == [b"exists"]:
            raise RuntimeError(f"account {self._keys.account_id!r}: part {part.member} is written for the second time")

    async def sweep(self) -> int:
        """Delete the parts that were written and never named, once nobody can be about to; how many.

        Which those are is decided in the script, by the manifest that stands there then. Raises `FenceLost`.
        """
        members = [member for member in await self._redis.hkeys(self._keys.garbage) if b":" in member]
        if not members:
            return 0
        if not self._is_claimed:
            await self.claim()
        parts = [Part.of_member(member) for member in members]
        (swept,) = await self._run("sweep", parts, GARBAGE_MS, GARBAGE_REVISIONS, *members)
        return int(swept)

    async def _taking_the_fence(self, action: str, parts: Sequence[Part], *arguments: Any) -> list[bytes]:
        while True:
            answer = await self._run(action, parts, *arguments)
            if answer[:1] != [b"newer"]:
                return answer
            await self._holder.outrun(int(answer[1]))
            self._ticket = self._holder.ticket

    async def _run(self, action: str, parts: Sequence[Part], *arguments: Any) -> list[bytes]:
        keys = self._keys
        own = (keys.fence, keys.revision, keys.manifest, keys.report, keys.history, keys.garbage)
        names = (*own, *map(keys.part, parts))
        held = "claimed" if self._is_claimed else "free"
        answer: list[bytes] = await self._redis.eval(
            PUBLICATION, len(names), *names, action, self._ticket.epoch, self._ticket.token, held, *arguments
        )
        if answer[0] == b"lost":
            raise FenceLost(f"account {keys.account_id!r}: another snapshotter is at work on it")
        return answer[1:] if answer[0] == b"ok" else answer


async def note_quiet(redis: Any, holder: Holder, revisions: Mapping[PublicKeys, int], as_of_ms: int) -> None:
    """Note of accounts that the revision given still says all there is at an instant, where it is the newest one."""
    async with redis.pipeline(transaction=False) as pipe:
        for keys, revision in revisions.items():
            names = (keys.fence, keys.revision, keys.as_of)
            pipe.execute_command("EVAL", QUIET, len(names), *names, holder.ticket.epoch, revision, as_of_ms)
        await pipe.execute()


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
