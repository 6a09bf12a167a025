"""Which names are time zones, where their rules come from, and that nothing else reads zone files."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tzdata

from schemas.zones import ZONE_DATA_VERSION, zone, zone_names

ROOT = Path(__file__).parents[3]
FOLDERS = ("schemas", "aggregates", "streams", "tests", "bench")
HOME = Path("schemas/zones.py")
"""The one module that makes zones."""


class TestNames:
    @pytest.mark.parametrize(
        "name",
        ["UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires", "America/Port-au-Prince", "Etc/GMT+5", "US/Eastern"],
    )
    def test_zones_and_links_of_the_database_are_names(self, name: str) -> None:
        assert str(zone(name)) == name

    @pytest.mark.parametrize(
        "name",
        [
            *("", " ", "Europe/Nowhere", "America", "America/Argentina", "Factory", "posixrules", "localtime"),
            *("posix/UTC", "right/UTC", "posix/Europe/Madrid", "right/Europe/Madrid", "zone.tab", "tzdata.zi"),
            *("/UTC", "../UTC", "./UTC", "Europe/../UTC", "Europe//Madrid", "/etc/localtime", "Europe\\Madrid"),
            *("europe/madrid", "EUROPE/MADRID", "utc", "Europe/Madrid ", "Europe/Madrid\n", " UTC", "UTC\n", "a\0b"),
            *("EST5EDT4", "UTC+1", "CEST", "+01:00", "__init__.py", "x" * 300, "\ud800", "Europe/\udc80"),
        ],
    )
    def test_no_other_text_is(self, name: str) -> None:
        with pytest.raises(ValueError, match="is not an IANA time zone"):
            zone(name)

    def test_every_name_has_a_zone_with_rules_of_its_own(self) -> None:
        noon = datetime(2025, 7, 1, 12, tzinfo=UTC)
        for name in zone_names():
            made = zone(name)
            assert str(made) == name
            assert abs(noon.astimezone(made).utcoffset() or timedelta()) <= timedelta(hours=14)
        assert len(zone_names()) > 500

    def test_a_name_gives_the_same_object_each_time(self) -> None:
        assert zone("Europe/Madrid") is zone("Europe/Madrid")


class TestDatabase:
    def test_it_is_the_locked_wheel(self) -> None:
        (locked,) = re.findall(r"^tzdata==(\S+)", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE)
        assert locked == importlib.metadata.version("tzdata")
        # The wheel 2026.6 carries the database 2026f.
        year, number = locked.split(".")[:2]
        assert f"{year}{chr(ord('a') + int(number) - 1)}" == ZONE_DATA_VERSION == tzdata.IANA_VERSION

    def test_zones_come_from_it_whatever_the_host_has(self, tmp_path: Path) -> None:
        """A host whose files call Tokyo's rules Madrid changes nothing."""
        (tmp_path / "Europe").mkdir()
        tokyo = Path(tzdata.__file__).with_name("zoneinfo") / "Asia" / "Tokyo"
        (tmp_path / "Europe" / "Madrid").write_bytes(tokyo.read_bytes())
        code = (
            "import datetime, zoneinfo; from schemas.zones import zone; noon = datetime.datetime(2025, 7, 1, 12);"
            "print(*(found('Europe/Madrid').utcoffset(noon) for found in (zone, zoneinfo.ZoneInfo)))"
        )
        environment = {"PYTHONTZPATH": str(tmp_path), "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
        )
        assert told.stdout == "2:00:00 9:00:00\n", "the second is what the library finds by itself: the host's file"


# --- nothing else reads zones ----------------------------------------------------------------------------------------

# Modules that know zones by themselves. Each reads the host's files, or rules of a release of its own.
_ZONE_LIBRARIES = frozenset({"zoneinfo", "_zoneinfo", "tzdata", "dateutil", "pytz", "tzlocal", "pandas", "arrow"})
# Functions of `time` that look at the host's zone.
_LOCAL_CLOCKS = frozenset({"localtime", "mktime", "tzset", "tzname", "altzone", "timezone", "daylight", "ctime"})
_HOST_ZONE = re.compile(r"share/zoneinfo|/etc/(localtime|timezone)|^(PYTHON)?TZ(PATH)?$")


def zone_sources(source: str) -> Iterator[str]:
    """What a module takes zones from, other than `schemas.zones`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.split(".")[0] in _ZONE_LIBRARIES)
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] in _ZONE_LIBRARIES:
                yield module
            case ast.ImportFrom(module="time", names=names):
                yield from (f"time.{name.name}" for name in names if name.name in _LOCAL_CLOCKS)
            case ast.Attribute(value=ast.Name(id="time"), attr=name) if name in _LOCAL_CLOCKS:
                yield f"time.{name}"
            case ast.Call(func=ast.Attribute(attr="astimezone"), args=[], keywords=[]):
                yield "astimezone()"


def host_zones(source: str) -> list[str]:
    """Where a module names the host's zone: its files, or the variable that tells programs which to take."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [text for text in texts if isinstance(text, str) if _HOST_ZONE.search(text)]


def test_no_other_module_makes_zones_or_looks_at_the_hosts() -> None:
    modules = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert HOME in modules
    found = {}
    # This file shows what the host's files would give.
    for module in {*modules} - {HOME, Path(__file__).relative_to(ROOT)}:
        source = (ROOT / module).read_text(encoding="utf-8")
        # Tests may name the host's files, as names that are refused, and run programs under any TZ.
        sources = [*zone_sources(source), *(host_zones(source) if module.parts[0] != "tests" else ())]
        if sources:
            found[str(module)] = sources
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import zoneinfo",
        "from zoneinfo import ZoneInfo",
        "def late():\n    from dateutil.tz import gettz",
        "import pytz",
        "import time\ntime.localtime()",
        "from time import mktime",
        "moment.astimezone()",
        "open('/usr/share/zoneinfo/Europe/Madrid')",
        "import os\nos.environ['TZ'] = 'UTC'",
        "os.readlink('/etc/localtime')",
    ],
)
def test_another_source_of_zones_is_found(source: str) -> None:
    assert [*zone_sources(source), *host_zones(source)]


def test_what_modules_do_use_is_not_mistaken_for_one() -> None:
    source = "import time\nfrom schemas.zones import zone\ntime.monotonic(); moment.astimezone(zone('UTC'))"
    assert [*zone_sources(source), *host_zones(source)] == []
