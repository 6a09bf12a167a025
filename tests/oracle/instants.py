"""Instants as whole microseconds since 1970, read from the text of an event."""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@lru_cache(maxsize=65_536)
def instant_us(text: str) -> int:
    """The instant an RFC 3339 text with an offset names. Raises ValueError for any other text."""
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError(f"no offset: {text}")
    return (moment - _EPOCH) // _MICROSECOND


def to_us(moment: datetime) -> int:
    """The instant of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def utc(at_us: int) -> datetime:
    """The instant as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def local(at_us: int, zone: tzinfo) -> datetime:
    """What a clock on the wall shows at that instant."""
    return utc(at_us).astimezone(zone)


def instant(at_us: int) -> str:
    """The instant as rows and reports write it: in UTC, cut to milliseconds."""
    return utc(at_us - at_us % 1_000).isoformat(timespec="milliseconds").replace("+00:00", "Z")
