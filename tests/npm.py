"""The npm packages that tests use, each a pinned archive of the npm registry. npm itself is not needed.

axe-core looks for what keeps people out of the page (MPL 2.0, never part of Mediana); the others are what the examples
for Node import. Debian's npm would bring four hundred packages of its own for these few files.

An archive is fetched once, into the cache folder. Its SHA-512 decides whether it is the right one. The registry is
npm's own unless `npm_config_registry` or a line `registry=` in an npmrc file names a mirror; proxies are those of the
environment (HTTPS_PROXY). `python -m tests.npm` fetches all of them.
"""

import base64
import hashlib
import os
import ssl
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from streams.local.jars import cache_folder

DEFAULT_REGISTRY = "https://registry.npmjs.org"
ATTEMPTS = 3
PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 60.0


class Package(NamedTuple):
    """A version of a package, and the SHA-512 of its archive as the registry gives it (`dist.integrity`)."""

    name: str
    version: str
    sha512: str

    @property
    def archive(self) -> str:
        """What `npm pack` calls its file."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def path(self) -> str:
        """Where a registry has it."""
        return f"{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"


AXE = Package(
    "axe-core", "4.14.1", "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
# What the examples import, with all that these packages depend on.
NODE_EXAMPLES = (
    Package(
        "kafkajs", "2.2.4", "j/YeapB1vfPT2iOIUn/vxdyKEuhuY2PxMBvf5JWux6iSaukAccrMtXEY/Lb7OvavDhOWME589bpLrEdnVHjfjA=="
    ),
    Package(
        "redis", "5.8.2", "31vunZj07++Y1vcFGcnNWEf5jPoTkGARgfWI4+Tk55vdwHxhAvug8VEtW7Cx+/h47NuJTEg/JL77zAwC6E0OeA=="
    ),
    Package(
        "@redis/client",
        "5.8.2",
        "WtMScno3+eBpTac1Uav2zugXEoXqaU23YznwvFgkPwBQVwEHTDgOG7uEAObtZ/Nyn8SmAMbqkEubJaMOvnqdsQ==",
    ),
    Package(
        "@redis/bloom",
        "5.8.2",
        "855DR0ChetZLarblio5eM0yLwxA9Dqq50t8StXKp5bAtLT0G+rZ+eRzzqxl37sPqQKjUudSYypz55o6nNhbz0A==",
    ),
    Package(
        "@redis/json",
        "5.8.2",
        "uxpVfas3I0LccBX9rIfDgJ0dBrUa3+0Gc8sEwmQQH0vHi7C1Rx1Qn8Nv1QWz5bohoeIXMICFZRcyDONvum2l/w==",
    ),
    Package(
        "@redis/search",
        "5.8.2",
        "cNv7HlgayavCBXqPXgaS97DRPVWFznuzsAmmuemi2TMCx5scwLiP50TeZvUS06h/MG96YNPe6A0Zt57yayfxwA==",
    ),
    Package(
        "@redis/time-series",
        "5.8.2",
        "g2NlHM07fK8H4k+613NBsk3y70R2JIM2dPMSkhIjl2Z17SYvaYKdusz85d7VYOrZBWtDrHV/WD2E3vGu+zni8A==",
    ),
    Package(
        "cluster-key-slot",
        "1.1.2",
        "RMr0FhtfXemyinomL4hrWcYJxmX6deFdCxpJzhDttxgO1+bcCnkk+9drydLVDmAMG7NE6aN/fl4F7ucU/90gAA==",
    ),
)


class Unfetched(RuntimeError):
    """A package is not there and cannot be fetched, or is another than the pinned one; its text says what to do."""


def archive(package: Package, folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> Path:
    """The package's archive in the cache folder, fetched if it is not there yet. Raises `Unfetched`."""
    folder = folder or cache_folder()
    file = folder / package.archive
    if not file.exists():
        content = _fetched(package, folder, environment)
        folder.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: two that fetch at once leave one whole file.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{file.name}.", delete=False) as aside:
            aside.write(content)
        Path(aside.name).replace(file)
    elif not _pinned(package, file.read_bytes()):
        raise Unfetched(
            f"{file} is not {package.name} {package.version} as it was pinned: delete it, and it is fetched again"
        )
    return file


def file_of(package: Package, name: str, folder: Path | None = None) -> bytes:
    """One file of a package. Raises `Unfetched`."""
    with tarfile.open(archive(package, folder)) as files:
        content = files.extractfile(f"package/{name}")
        assert content is not None
        return content.read()


def unpack(packages: Iterable[Package], modules: Path, folder: Path | None = None) -> None:
    """Unpack packages as `npm install` lays them into `node_modules`. Raises `Unfetched`."""
    for package in packages:
        with tarfile.open(archive(package, folder)) as files:
            for member in files:
                # The archive's one top folder is usually, not always, called `package`.
                inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                content = files.extractfile(member)
                if content is None or ".." in inside.parts:
                    continue
                file = modules / package.name / inside
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content.read())


def npm_setting(name: str, environment: Mapping[str, str] = os.environ, files: Iterable[Path] | None = None) -> str:
    """A setting of npm as npm finds it, in the environment or an npmrc file; empty when nobody set it."""
    for variable, value in environment.items():
        if variable.lower() == f"npm_config_{name}" and value:
            return value
    home = Path(environment.get("HOME", "~")).expanduser()
    known = (home / ".npmrc", *(Path(folder) / "etc" / "npmrc" for folder in ("/usr", "/usr/local", "/")))
    for file in known if files is None else files:
        if file.is_file():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                key, _, value = line.partition("=")
                if key.strip() == name and value.strip():
                    return value.strip().strip("'\"")
    return ""


def _fetched(package: Package, folder: Path, environment: Mapping[str, str]) -> bytes:
    registry = (npm_setting("registry", environment) or DEFAULT_REGISTRY).rstrip("/")
    url = f"{registry}/{package.path}"
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            context = ssl.create_default_context()
            if authorities := npm_setting("cafile", environment):
                context.load_verify_locations(authorities)
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS, context=context) as answer:
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            problem = f"{url}: {error}"
            if error.code < 500:
                break
        except (OSError, ValueError) as error:  # an address that is none is a ValueError
            problem = f"{url}: {error}"
        else:
            if _pinned(package, content):
                return content
            problem = f"what {url} answers is another file than the pinned one"
            break
    raise Unfetched(
        f"{package.name} {package.version} cannot be fetched ({problem[:300]}). Name a registry that can be reached "
        f"in npm_config_registry, or run `npm pack {package.name}@{package.version}` elsewhere and put "
        f"{package.archive} into {folder}"
    )


def _pinned(package: Package, content: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(content).digest()).decode() == package.sha512


def main() -> int:
    """Fetch every package that is missing; exit status 1 with the reasons on standard error."""
    missing = 0
    for package in (AXE, *NODE_EXAMPLES):
        try:
            archive(package)
        except Unfetched as error:
            print(f"npm: {error}", file=sys.stderr)
            missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
