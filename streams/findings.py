"""Findings of a check: one line each, with advice where something is wrong."""

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from streams.logs import shown

Status = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """One thing that was looked at. `advice` says what to do; it is empty when all is well. Never holds a secret."""

    status: Status
    what: str
    advice: str = ""


def failed(findings: Iterable[Finding]) -> bool:
    """Whether anything failed; a warning is no failure."""
    return any(finding.status == "fail" for finding in findings)


def as_lines(findings: Iterable[Finding]) -> str:
    """For people: one line per finding, the advice indented below it."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:4}  {shown(finding.what)}\n")
        if finding.advice:
            lines.append(f"      → {shown(finding.advice)}\n")
    return "".join(lines)


def as_json(findings: Iterable[Finding]) -> str:
    """For programs: `{"ok": …, "findings": [{"status", "what", "advice"}]}`."""
    found = [Finding(each.status, shown(each.what), shown(each.advice)) for each in findings]
    return msgspec.json.encode({"ok": not failed(found), "findings": found}).decode() + "\n"
