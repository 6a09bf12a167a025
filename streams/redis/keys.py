"""Names of all keys and fields in Redis.

What belongs to one shard shares the hash tag `{mediana:NS:S}`, so that one script can write it all on a Redis Cluster
too; what belongs to the namespace has the tag `{mediana:NS}`. What readers may rely on is named in
`streams/snapshots/manifest.py`. Renaming a key restarts somebody's history.
"""

from functools import lru_cache

# Fields of a shard's ledger.
TOKEN = b"token"
CONTACTS = b"contacts"
CONVERSATIONS = b"conversations"
SEQ = b"seq"
BUSY = b"busy"
GAP = b"gap"
HORIZON = b"horizon"
SEALED = b"sealed"

ZONE_DATA = b"zone-data"
"""Field of the settings log: the release of the zone data that the worker which started last counts by."""


class ShardKeys:
    """The keys of one shard."""

    __slots__ = ("_prefix", "changed", "chunks", "ledger", "open", "rules", "rules_used", "states")

    def __init__(self, namespace: str, shard: int) -> None:
        self._prefix = f"{{mediana:{namespace}:{shard}}}:".encode()
        self.ledger = self._prefix + b"ledger"
        """Hash: claim token, positions, `seq` (of the last commit), the last record of each topic, marks."""
        self.states = self._prefix + b"states"
        """Hash: contact key → encoded history."""
        self.chunks = self._prefix + b"chunks"
        """Hash: contact key, `#`, number → a chunk of the contact's older entries."""
        self.rules = self._prefix + b"rules"
        """Hash: account, `#`, version → the settings that this shard's histories were read under."""
        self.rules_used = self._prefix + b"rules-used"
        """Hash: account, `#`, version → the last day (since 1970, UTC) on which it was the account's newest."""
        self.open = self._prefix + b"open"
        """Sorted set: `ORDINAL:ACCOUNT` → the ordinal, of every day that has facts beside its sealed ones."""
        self.changed = self._prefix + b"changed"
        """Sorted set: `ORDINAL:ACCOUNT` → `seq` of the last commit that changed that day."""

    def day(self, ordinal: int, account_id: str) -> bytes:
        """Hash of an account's local day: its facts by field, and its totals (`streams/shard/day_values.py`)."""
        return self._prefix + b"day:" + day_member(ordinal, account_id)


def day_member(ordinal: int, account_id: str) -> bytes:
    """An account's day as the sorted set of changed days names it."""
    return b"%d:%s" % (ordinal, account_id.encode())


def split_day_member(member: bytes) -> tuple[int, str]:
    """The day and account of `day_member`."""
    ordinal, _, account_id = member.partition(b":")
    return int(ordinal), account_id.decode()


def contact_key(account_id: str, contact_id: str) -> bytes:
    """The field of a contact's state."""
    return account_part(account_id) + contact_id.encode()


@lru_cache(maxsize=4096)
def account_part(account_id: str) -> bytes:
    """With what the fields of an account's contacts begin. A length first, so that no two pairs of ids make one."""
    account = account_id.encode()
    return b"%d:%s" % (len(account), account)


def chunk_field(contact: bytes, number: int) -> bytes:
    """The field of a chunk of a contact's older entries."""
    return contact + b"#%d" % number


def rules_field(account_id: str, version: bytes) -> bytes:
    """The field of one version of an account's settings."""
    return b"%s#%s" % (account_id.encode(), version.hex().encode())


def split_rules_field(name: bytes) -> tuple[str, bytes]:
    """The account and version of `rules_field`. Raises `ValueError` when it is none."""
    account_id, _, version = name.rpartition(b"#")
    return account_id.decode(), bytes.fromhex(version.decode())


class NamespaceKeys:
    """The keys of a namespace that belong to no shard."""

    __slots__ = ("meta", "namespace", "rebuild", "settings", "settings_before", "settings_log")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        prefix = f"{{mediana:{namespace}}}:".encode()
        self.meta = prefix + b"meta"
        """Hash: `format`, `partitions`, `topic_prefix`, `created_at`."""
        self.settings = prefix + b"settings"
        """Hash: account → its current settings."""
        self.settings_before = prefix + b"settings-before"
        """Hash: account → the settings it had before its current ones."""
        self.settings_log = prefix + b"settings-log"
        """Hash: `version`, another one after each change, per partition `position:P`, and `zone-data`."""
        self.rebuild = prefix + b"rebuild"
        """Hash: `from`, `begun_at`; there while a rebuild into this namespace is at work."""

    def shard(self, shard: int) -> ShardKeys:
        """The keys of one shard."""
        return ShardKeys(self.namespace, shard)
