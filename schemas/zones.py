"""Time zones of the pinned `tzdata` package: which names settings and mappings may use, and their rules.

The host's own zone files are never read. Two hosts, or one host before and after an update of its system, may have
different rules; the same events would then give different numbers. The package's version is locked with every other
dependency, so all programs of one release, and all tests, count by the same rules.

This is the only module that makes zones (`tests/unit/core/test_zones.py` looks for others).
"""

from datetime import tzinfo
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata

ZONE_DATA_VERSION: str = tzdata.IANA_VERSION
"""The release of the IANA time zone database that all zones come from, such as `2026f`."""

# It stands in the database for a computer whose zone nobody has set yet: no place has it.
_PLACEHOLDERS = frozenset({"Factory"})


@cache
def zone_names() -> frozenset[str]:
    """Every name that `zone` accepts: the zones and links of the database, spelled exactly as it spells them."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(listed.split()) - _PLACEHOLDERS


@cache
def zone(name: str) -> tzinfo:
    """The zone of an IANA name. Raises `ValueError` when there is none of that name.

    Only listed names are looked up. So no name can lead to another file (`../UTC`, `localtime`, `right/UTC`), and a
    name that only some file systems would find (`europe/madrid`) is refused everywhere.
    """
    if name not in zone_names():
        raise ValueError(f"{name!r} is not an IANA time zone")
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with file.open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)
