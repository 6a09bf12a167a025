"""axe-core, which looks for what keeps people out of a page: fetched for the tests, never part of Mediana (MPL 2.0).

`npm pack` brings the pinned version into the cache folder, once; its SHA-512 decides whether it is the right one.
`python -m tests.browser.axe` does only that.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from streams.local.jars import cache_folder
from tests.browser.chromium import Tab

VERSION = "4.14.1"
ARCHIVE = f"axe-core-{VERSION}.tgz"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
FETCH_SECONDS = 120


class AxeMissing(RuntimeError):
    """axe-core is not there and cannot be fetched, or is another than the pinned one; its text says what to do."""


class Violation(NamedTuple):
    """A rule that the page breaks, how much that matters, and where."""

    impact: str
    rule: str
    where: tuple[str, ...]


def axe_source(folder: Path | None = None, npm: str = "npm") -> str:
    """The script, from the cache, else fetched. Raises `AxeMissing`."""
    archive = (folder or cache_folder()) / ARCHIVE
    if not archive.exists():
        _fetch(archive.parent, npm)
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
        raise AxeMissing(f"{archive} is not axe-core {VERSION} as it was pinned: delete it, and it is fetched again")
    with tarfile.open(archive) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def _fetch(folder: Path, npm: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            [npm, "pack", "--loglevel=error", f"axe-core@{VERSION}"],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()[:300]
        raise AxeMissing(
            f"axe-core {VERSION} cannot be fetched ({said}). Install npm (Debian: apt install npm) and let it reach "
            f"its registry, or run `npm pack axe-core@{VERSION}` elsewhere and put {ARCHIVE} into {folder}"
        ) from None


async def violations(tab: Tab, source: str, *rules: str) -> list[Violation]:
    """What axe finds wrong in a tab as it is now, by these rules, or by all of WCAG A and AA and good practice."""
    options = {"resultTypes": ["violations"], **({"runOnly": {"type": "rule", "values": rules}} if rules else {})}
    await tab.run(f"if (!window.axe) {{ {source} }}; null")
    # Contrast is measured in the settled page: what fades in would be measured half way.
    found: list[dict[str, Any]] = await tab.run(
        "Promise.allSettled(document.getAnimations().map((one) => one.finished))"
        f".then(() => axe.run(document, {json.dumps(options)}))"
        ".then(({ violations }) => violations.map(({ id, impact, nodes }) => "
        "({ id, impact, where: nodes.map(({ target }) => target.join(' ')) })))"
    )
    return [Violation(one["impact"], one["id"], tuple(one["where"])) for one in found]


if __name__ == "__main__":
    try:
        axe_source()
    except AxeMissing as missing:
        sys.exit(f"axe: {missing}")
