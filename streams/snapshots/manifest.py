"""What is published of an account, in Redis: its names and its manifest.

All keys of an account share one hash tag, so a publication is atomic on Redis Cluster too. Parts (a block for each day)
have names that no manifest knows yet; one script writes them, the document, the manifest and the history together, or
nothing (`streams/snapshots/fenced.py`). A reader takes the manifest first and then the parts it names, and so sees one
revision whole; parts that no manifest names any more are left for a while, for readers that are under way.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import cramjam
import msgspec
from msgspec import Struct

from aggregates.shard_days import Waiting
from schemas.zones import ZONE_DATA_VERSION
from streams.config import MAIN_NAMESPACE
from streams.snapshots.parts import Part


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
        """Hash: `member` of a part that no manifest has named yet → since when."""
        self.as_of = f"{self._base}:as_of"
        """`REVISION AS_OF_MS`: that revision still said all there was at that instant."""
        self.channel = f"{self._base}:published"

    def part(self, part: Part) -> str:
        """The key of a part."""
        return f"{self._base}:part:{part.member}"


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
    """Day → who has been waiting since then; days on which no such wait began are left out."""
    shards: dict[int, tuple[int, ...]] = {}
    """Day → the shards that have facts of it."""
    positions: dict[int, tuple[int, int]] = {}
    """Shard → its positions in the topic of contacts and in that of conversations, read in the transaction that read
    the facts: this revision is the report of exactly the records before them."""
    absent: tuple[str, ...] = ()
    """Names of parts that are lost and cannot be made again: reading them is an error, never zero."""
    differing: tuple[int, ...] = ()
    """Days whose facts did not add up to their shards' totals when they were read."""
    replaced: dict[str, tuple[int, int]] = {}
    """Member of a part that an earlier revision named → the revision that replaced it, and `age_ms` then."""
    age_ms: int = 0
    """A clock of the account's own, which never goes back: by it replaced parts are kept for their time."""
    shape: int = 0
    """Of the boxes in the document (`aggregates.document.SHAPE`)."""
    format: int = 3
    complete_from_ms: int | None = None
    """From when on nothing is missing, where something is missing for good."""


FORMAT: Final = 3


class OtherFormat(ValueError):
    """A manifest of another release of this program, whose parts this one cannot read."""

    def __init__(self, found: int) -> None:
        super().__init__(
            f"it was published in format {found} by another release of Mediana, this one reads format {FORMAT}: "
            "run `mediana rebuild`, or the same release everywhere"
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
_decode_form = msgspec.msgpack.Decoder(_Form).decode


def decode_manifest(data: bytes) -> Manifest:
    """A manifest. Raises `msgspec.DecodeError` when it is damaged, `OtherFormat` when it is of another release."""
    found = _decode_form(data).format
    if found != FORMAT:
        raise OtherFormat(found)
    return _decode_manifest(data)


async def load_manifest(redis: Any, keys: PublicKeys) -> Manifest | None:
    """The account's newest manifest."""
    data = await redis.get(keys.manifest)
    return None if data is None else decode_manifest(data)


class Revision(NamedTuple):
    """One revision whole: its manifest, as of when it still said all there was, and the document as published."""

    manifest: Manifest
    as_of_ms: int
    document: bytes | None = None


async def load_revision(redis: Any, keys: PublicKeys, *, with_document: bool = False) -> Revision | None:
    """The account's newest revision, all of it read together; nothing where none is published."""
    names = [keys.manifest, keys.as_of, *([keys.report] if with_document else [])]
    data, as_of, *documents = await redis.mget(names)
    if data is None or None in documents:
        return None
    manifest = decode_manifest(data)
    return Revision(manifest, _newest_instant(manifest, as_of), *documents)


def _newest_instant(manifest: Manifest, as_of: bytes | None) -> int:
    revision, _, instant = (as_of or b"").partition(b" ")
    if revision == b"%d" % manifest.revision and instant.isdigit():
        return max(manifest.as_of_ms, int(instant))
    return manifest.as_of_ms


async def load_manifests(redis: Any, accounts: Iterable[PublicKeys]) -> list[tuple[bytes | None, bytes | None]]:
    """The stored revision and manifest of each account, as bytes."""
    async with redis.pipeline(transaction=False) as pipe:
        for keys in accounts:
            # By its name: a Cluster's pipeline refuses `mget`, though these keys lie in one slot.
            pipe.execute_command("MGET", keys.revision, keys.manifest)
        return [(revision, manifest) for revision, manifest in await pipe.execute()]


_HISTORY_LEVEL: Final = 9
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


def packed_document(document: bytes) -> bytes:
    """A document as the history keeps it: one zstd frame."""
    return bytes(cramjam.zstd.compress(document, _HISTORY_LEVEL))


def unpacked_document(data: bytes) -> bytes:
    """A document of the history. Raises `cramjam.DecompressionError` when it is damaged."""
    return bytes(cramjam.zstd.decompress(data)) if data.startswith(_ZSTD) else data
