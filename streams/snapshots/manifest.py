"""What is published of an account, in Redis: its names and its manifest.

All keys of an account share one hash tag, so a publication is atomic on Redis Cluster too. Parts (cubes of days,
roll-ups of spans) are written beforehand, under names no manifest knows yet; then one script writes the document, the
manifest and the history together, or nothing (`streams/snapshots/fenced.py`). A reader takes the manifest first and
then the parts it names, and so sees one revision whole; parts that no manifest names any more are left for a while, for
readers that are under way.
"""

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from aggregates.document import Waiting
from aggregates.months import Span
from schemas.zones import ZONE_DATA_VERSION
from streams.config import MAIN_NAMESPACE
from streams.redis.clients import server_of
from streams.snapshots.parts import Part, day_name, span_name


class SnapshotterKeys:
    """Names of the keys of the snapshotter itself under a namespace."""

    def __init__(self, namespace: str) -> None:
        base = f"{{mediana:{namespace}}}:"
        self.heads = f"{base}published"
        """Hash: account → `Head`, what its newest revision shows."""
        self.cursors = f"{base}snapshot-cursors"
        """Hash: shard → the commit up to which changes are published or noted as failed, `:`, the claim it is of."""
        self.failures = f"{base}snapshot-failures"
        """Hash: account → `Failure`, why it has no newer report."""
        self.lock = f"{base}snapshot-lock"
        self.epoch = f"{base}snapshot-epoch"
        """How often the lock was acquired."""


def hash_tag(account_id: str) -> str:
    """An account's id as its keys have it between braces.

    Redis Cluster takes what stands up to the first `}`, and the whole key where that is nothing: keys of an id that
    begins with `}` would lie in as many slots as there are. So such an id begins with `%7D`; one that begins with `%`
    begins with `%25`, or two ids could have one name. All others stand as they are.
    """
    first = account_id[:1]
    return _ESCAPED.get(first, first) + account_id[1:]


_ESCAPED = {"}": "%7D", "%": "%25"}


class PublicKeys:
    """Names of the keys of one account under a namespace (`main` stands without its name)."""

    def __init__(self, namespace: str, account_id: str) -> None:
        before = "" if namespace == MAIN_NAMESPACE else f"{namespace}:"
        self.account_id = account_id
        self._base = f"{before}mediana:{{{hash_tag(account_id)}}}"
        self.report = f"{self._base}:report"
        self.manifest = f"{self._base}:manifest"
        self.history = f"{self._base}:history"
        self.revision = f"{self._base}:revision"
        self.fence = f"{self._base}:fence"
        """`EPOCH TOKEN` of the snapshotter that may write here."""
        self.garbage = f"{self._base}:garbage"
        """Hash: `member` of a part that no manifest names → since when."""
        self.channel = f"{self._base}:published"

    def part(self, part: Part) -> str:
        """The key of a part."""
        kind = "" if ":" in part.name else "cube:"
        return f"{self._base}:{kind}{part.member}"


class Manifest(Struct, frozen=True):
    """What belongs to one revision of an account's report.

    A script reads it too (`lua/publication.lua`), whose msgpack knows no binary values: no `bytes` here.
    """

    revision: int
    published_at_ms: int
    as_of_ms: int
    complete: bool
    timezone: str
    today: int
    """The account's day (ordinal) that the preset periods end on."""
    rules: str
    """Version of the account's settings that the document shows, in hexadecimal."""
    commits: dict[int, tuple[int, str]]
    """Shard → the sequence number of its last commit that is in this revision, and the claim it was made under."""
    parts: dict[str, str]
    """The name of each part of this revision → its version."""
    waiting: dict[int, Waiting]
    """Day → who has been waiting since then."""
    positions: dict[int, tuple[int, int]] = {}
    """Shard → its positions in the topic of contacts and in that of conversations, read in the transaction that read
    the counters: this revision is the report of exactly the records before them."""
    absent: tuple[str, ...] = ()
    """Names of parts that are lost and cannot be made again: reading them is an error, never zero."""
    format: int = 2
    complete_from_ms: int | None = None
    """From when on nothing is missing, where something is missing for good."""


class _EarlierCube(Struct, array_like=True, frozen=True):
    revision: int
    waiting: Waiting


class _EarlierManifest(Struct, frozen=True):
    """A manifest of the builds before versions of parts: their parts are versioned by the revision that wrote them."""

    revision: int
    published_at_ms: int
    as_of_ms: int
    complete: bool
    timezone: str
    today: int
    rules: int
    commits: dict[int, tuple[int, str]]
    days: dict[int, _EarlierCube]
    complete_from_ms: int | None = None
    months: dict[int, int] = {}
    spans: dict[Span, int] = {}

    def as_now(self) -> Manifest:
        """The same in the form of today."""
        parts = {day_name(day): str(cube.revision) for day, cube in self.days.items()}
        parts |= {span_name(span): str(revision) for span, revision in self.spans.items()}
        parts |= {f"month:{first}": str(revision) for first, revision in self.months.items()}
        return Manifest(
            revision=self.revision,
            published_at_ms=self.published_at_ms,
            as_of_ms=self.as_of_ms,
            complete=self.complete,
            timezone=self.timezone,
            today=self.today,
            rules=f"{self.rules:08x}",
            commits=self.commits,
            parts=parts,
            waiting={day: cube.waiting for day, cube in self.days.items()},
            complete_from_ms=self.complete_from_ms,
        )


class _Form(Struct):
    format: int = 1


class Head(Struct, array_like=True, frozen=True):
    """What decides whether an account that did not change is published again."""

    revision: int
    today: int
    rules: str
    settled: bool
    """Whether it has all that there was to have; what is missing for good is not to be had."""
    complete_from_ms: int | None = None
    timezone: str = "UTC"
    settings: bytes | None = None
    """Digest of the account's settings as they stood in Redis; `None` in heads of earlier builds."""


def settings_digest(data: bytes) -> bytes:
    """What tells settings and zone data apart without decoding the settings; of no settings, that of no bytes."""
    return hashlib.blake2b(data, digest_size=16, salt=_ZONE_DATA).digest()


_ZONE_DATA = ZONE_DATA_VERSION.encode()[:16]


encode_head = msgspec.msgpack.Encoder().encode
decode_head = msgspec.msgpack.Decoder(Head).decode
encode_manifest = msgspec.msgpack.Encoder().encode
_decode_manifest = msgspec.msgpack.Decoder(Manifest).decode
_decode_earlier = msgspec.msgpack.Decoder(_EarlierManifest).decode
_decode_form = msgspec.msgpack.Decoder(_Form).decode


def decode_manifest(data: bytes) -> Manifest:
    """A manifest, of this or of an earlier build. Raises `msgspec.DecodeError` when it is damaged."""
    if _decode_form(data).format == 1:
        return _decode_earlier(data).as_now()
    return _decode_manifest(data)


async def load_manifest(redis: Any, keys: PublicKeys) -> Manifest | None:
    """The account's newest manifest."""
    data = await redis.get(keys.manifest)
    return None if data is None else decode_manifest(data)


class Revision(Struct, frozen=True):
    """One revision whole: its manifest, and the document as published."""

    manifest: Manifest
    document: bytes


async def load_revision(redis: Any, keys: PublicKeys) -> Revision | None:
    """The account's newest revision, manifest and document read together."""
    server = await server_of(redis, keys.manifest.encode())
    async with server.pipeline(transaction=True) as pipe:
        pipe.get(keys.manifest)
        pipe.get(keys.report)
        manifest, document = await pipe.execute()
    if manifest is None or document is None:
        return None
    return Revision(decode_manifest(manifest), document)
