"""axe-core, which looks for what keeps people out of a page, at work in a tab."""

import json
from typing import Any, NamedTuple

from tests import npm
from tests.browser.chromium import Tab


class Violation(NamedTuple):
    """A rule that the page breaks, how much that matters, and where."""

    impact: str
    rule: str
    where: tuple[str, ...]


def axe_source() -> str:
    """The script. Raises `npm.Unfetched`."""
    return npm.file_of(npm.AXE, "axe.min.js").decode()


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
