"""What keeps an account from having a newer report: one account's trouble is noted, and the round goes on."""

from typing import Literal, get_args

import msgspec
from msgspec import Struct
from redis.exceptions import RedisClusterException, RedisError

from aggregates.report import instant_text
from streams.redis.shard_reader import DamagedDay, UnsteadyShard
from streams.snapshots.fenced import FenceLost, MissingParts, Superseded

Reason = Literal["counters", "parts", "shard", "overtaken", "redis", "unforeseen"]
"""Facts in a shard that cannot be read; a published part that is lost with its
facts; a shard that is half written or too restless; another snapshotter; Redis refuses a command (too large, the
wrong kind of key) or closes the connection at it; anything else.
"""

REASONS: tuple[str, ...] = get_args(Reason)

MOST_TEXT = 300


class Failure(Struct, array_like=True, frozen=True):
    """Why an account has no newer report, as it is noted in Redis."""

    reason: str
    since_ms: int
    """When it failed first; its newest report is older."""
    text: str
    is_published: bool = False
    """Whether there is a new report all the same, with some days missing from it for good."""

    def told(self) -> str:
        """What it means, in one line."""
        what = "its report lacks numbers" if self.is_published else "it has no newer report"
        return f"{what} since {instant_text(self.since_ms)}: {self.text} ({self.reason})"


encode_failure = msgspec.msgpack.Encoder().encode
decode_failure = msgspec.msgpack.Decoder(Failure).decode


def reason_of(error: Exception) -> Reason:
    """What kind of trouble an exception tells of."""
    match error:
        case MissingParts():
            return "parts"
        case UnsteadyShard():
            return "shard"
        case FenceLost() | Superseded():
            return "overtaken"
        case RedisError() | RedisClusterException() | OSError():  # or it closes the connection
            return "redis"
        case DamagedDay():
            return "counters"
    return "unforeseen"


def text_of(error: Exception) -> str:
    """One line for the log, and for `mediana check`."""
    return " ".join((str(error) or type(error).__name__).split())[:MOST_TEXT]
