"""What is published of an account, in Redis: names, manifest, and the one script that publishes.

All keys of an account share one hash tag, so a publication is atomic on Redis Cluster too. Cubes of days and roll-ups
of spans are written beforehand, under names no manifest knows yet; then the script writes the document, the manifest
and the history together, or nothing. A reader takes the manifest first and then the cubes it names, and so sees one
revision whole; cubes that no manifest names any more are left for a while, for readers that are under way.
"""

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from aggregates.document import Waiting
from aggregates.months import Span
from streams.config import MAIN_NAMESPACE

GARBAGE_REVISIONS = 2
GARBAGE_MS = 10 * 60 * 1000
"""A cube that is referenced no more goes after this many revisions and this time, whichever is later."""


class SnapshotterKeys:
    """Names of the keys of the snapshotter itself under a namespace."""

    def __init__(self, namespace: str) -> None:
        base = f"{{mediana:{namespace}}}:"
        self.heads = f"{base}published"
        """Hash: account → `Head`, what its newest revision shows."""
        self.cursors = f"{base}snapshot-cursors"
        """Hash: shard → the commit up to which every account's changes are published, `:`, the claim it is of."""
        self.lock = f"{base}snapshot-lock"


class PublicKeys:
    """Names of the keys of one account under a namespace (`main` stands without its name)."""

    def __init__(self, namespace: str, account_id: str) -> None:
        before = "" if namespace == MAIN_NAMESPACE else f"{namespace}:"
        self.account_id = account_id
        self._base = f"{before}mediana:{{{account_id}}}"
        self.report = f"{self._base}:report"
        self.manifest = f"{self._base}:manifest"
        self.history = f"{self._base}:history"
        self.revision = f"{self._base}:revision"
        self.garbage = f"{self._base}:garbage"
        self.channel = f"{self._base}:published"

    def cube(self, day: int, revision: int) -> str:
        """The cube of a day (its ordinal), as of the revision that wrote it."""
        return f"{self._base}:cube:{day}:{revision}"

    def span(self, span: Span, revision: int) -> str:
        """The roll-up of a span of days, as of the revision that wrote it."""
        return self.garbage_cube(Garbage.of_span(span, revision))

    def garbage_cube(self, garbage: "Garbage") -> str:
        """The cube or roll-up that a piece of garbage is."""
        kind = "" if ":" in garbage.name else "cube:"
        return f"{self._base}:{kind}{garbage.member}"


class DayCube(Struct, array_like=True, frozen=True):
    """Where a day's cube is, and who has been waiting since that day."""

    revision: int
    waiting: Waiting


class Manifest(Struct, frozen=True):
    """What belongs to one revision of an account's report."""

    revision: int
    published_at_ms: int
    as_of_ms: int
    complete: bool
    timezone: str
    today: int
    """The account's day (ordinal) that the preset periods end on."""
    rules: int
    """Version of the account's settings that the document shows."""
    commits: dict[int, tuple[int, str]]
    """Shard → the sequence number of its last commit that is in this revision, and the claim it was made under."""
    days: dict[int, DayCube]
    format: int = 1
    complete_from_ms: int | None = None
    """From when on nothing is missing, where something is missing for good."""
    months: dict[int, int] = {}
    """First day of a month → the revision that wrote its roll-up, by an earlier build. They are not read any more."""
    spans: dict[Span, int] = {}
    """The spans that are rolled up → the revision that wrote it. What has no roll-up is read by its days."""


class Head(Struct, array_like=True, frozen=True):
    """What decides whether an account that did not change is published again."""

    revision: int
    today: int
    rules: int
    settled: bool
    """Whether it has all that there was to have; what is missing for good is not to be had."""
    complete_from_ms: int | None = None
    timezone: str = "UTC"
    settings: bytes | None = None
    """Digest of the account's settings as they stood in Redis; `None` in heads of earlier builds."""


def settings_digest(data: bytes) -> bytes:
    """What tells settings apart without decoding them; of no settings, that of no bytes."""
    return hashlib.sha256(data).digest()[:8]


encode_head = msgspec.msgpack.Encoder().encode
decode_head = msgspec.msgpack.Decoder(Head).decode
encode_manifest = msgspec.msgpack.Encoder().encode
decode_manifest = msgspec.msgpack.Decoder(Manifest).decode

PUBLISH = """
-- KEYS: revision report manifest history garbage
-- ARGV: expected revision, new revision, document, manifest, history length, channel, notification, garbage note,
--       number of fresh cubes and roll-ups, the fresh ones…, those they replace…
local known = redis.call('GET', KEYS[1]) or '0'
if known ~= ARGV[1] then return redis.error_reply('SUPERSEDED by revision ' .. known) end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[3], ARGV[4])
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
local oldest = tonumber(ARGV[2]) - tonumber(ARGV[5])
for _, revision in ipairs(redis.call('HKEYS', KEYS[4])) do
  if tonumber(revision) <= oldest then redis.call('HDEL', KEYS[4], revision) end
end
local fresh = tonumber(ARGV[9])
for i = 10, 9 + fresh do redis.call('HDEL', KEYS[5], ARGV[i]) end
for i = 10 + fresh, #ARGV do redis.call('HSET', KEYS[5], ARGV[i], ARGV[8]) end
redis.call('PUBLISH', ARGV[6], ARGV[7])
return redis.status_reply('OK')
"""
"""Publishes a revision, if the newest is still the one it was made after."""


class Superseded(RuntimeError):
    """Another snapshotter published in the meantime; read the manifest again."""


async def load_manifest(redis: Any, keys: PublicKeys) -> Manifest | None:
    """The account's newest manifest."""
    data = await redis.get(keys.manifest)
    return None if data is None else decode_manifest(data)


class Garbage(Struct, frozen=True):
    """A cube or roll-up that no manifest names, as it stands in the garbage hash: its `member`, and since when."""

    name: str
    """Of a cube its day, of a roll-up `span:FIRST-LAST` (by earlier builds `month:FIRST`); days are ordinals."""
    revision: int

    @classmethod
    def of_day(cls, day: int, revision: int) -> "Garbage":
        """A day's cube."""
        return cls(str(day), revision)

    @classmethod
    def of_span(cls, span: Span, revision: int) -> "Garbage":
        """A span's roll-up."""
        return cls(f"span:{span.first}-{span.last}", revision)

    @classmethod
    def of_month(cls, first: int, revision: int) -> "Garbage":
        """A month's roll-up by an earlier build."""
        return cls(f"month:{first}", revision)

    @property
    def member(self) -> str:
        """The field of the garbage hash: `NAME:REVISION`. Its value is a `garbage_note`."""
        return f"{self.name}:{self.revision}"

    @classmethod
    def of_member(cls, member: bytes) -> "Garbage":
        """The garbage of a field of the garbage hash."""
        name, _, revision = member.decode().rpartition(":")
        return cls(name, int(revision))


def garbage_note(revision: int, now_ms: int) -> str:
    """Since when something is garbage: `SINCE_REVISION:SINCE_MS`."""
    return f"{revision}:{now_ms}"


def disposable(garbage: dict[bytes, bytes], revision: int, now_ms: int) -> list[Garbage]:
    """What may be deleted now."""
    found = []
    for member, note in garbage.items():
        since_revision, since_ms = map(int, note.split(b":"))
        if revision - since_revision >= GARBAGE_REVISIONS and now_ms - since_ms >= GARBAGE_MS:
            found.append(Garbage.of_member(member))
    return found
