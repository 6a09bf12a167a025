"""Where one `metrics` object differs from another, in words."""

from collections.abc import Mapping
from typing import Any

RELATIVE_ERROR = 1e-6
"""Quantiles are exact, but for the last digits of a floating-point number."""


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where the found document lacks or differs from what is expected, one line each.

    A quantile may be off in its last digits. Fields that only the found one has are ignored, but
    for days, channels and openers.
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        counted = path.endswith(("by_day", "by_channel", "by_opener"))
        missing = [f"{path}.{key}: missing" for key in expected if key not in found]
        extra = [f"{path}.{key}: not expected" for key in found if counted and key not in expected]
        inside = [
            line for key in expected if key in found for line in differences(expected[key], found[key], f"{path}.{key}")
        ]
        return missing + extra + inside
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = zip(expected, found, strict=True)
        return [line for at, pair in enumerate(pairs) for line in differences(*pair, f"{path}[{at}]")]
    if path.endswith((".median", ".p90")) and expected is not None and found is not None:
        close = abs(expected - found) <= RELATIVE_ERROR * max(1, expected)
        return [] if close else [f"{path}: {expected} expected, {found} found"]
    return [] if expected == found else [f"{path}: {expected!r} expected, {found!r} found"]
