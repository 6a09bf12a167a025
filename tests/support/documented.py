"""The commands that the documentation gives its readers, as they stand there."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What measurements print, in docs/develop/performance/, lies one folder deeper.
PAGES = (
    "README.md",
    *sorted(path.relative_to(ROOT).as_posix() for room in ("*.md", "*/*.md") for path in (ROOT / "docs").glob(room)),
)

SHELLS = ("sh", "bash", "console", "shell")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)

# In running text only what an operator copies: other words in code are names of programs, files and options.
_INLINE = re.compile(
    r"`((?:curl|docker compose|journalctl|kafka-[a-z-]+\.sh|kubectl|make|redis-cli|systemctl) [^`]+|make)`"
)


def blocks(markdown: str, *languages: str) -> list[str]:
    """The code blocks in any of the languages, each without its indentation."""
    return [
        re.sub(rf"^{found['indent']}", "", found["body"], flags=re.MULTILINE)
        for found in _FENCE.finditer(markdown)
        if found["language"] in languages
    ]


def commands(markdown: str) -> list[str]:
    """Every command of a page, in the order in which a reader meets them: of shell blocks and of the text."""
    found: list[str] = []
    end = 0
    for fence in _FENCE.finditer(markdown):
        found += _of_text(markdown[end : fence.start()])
        if fence["language"] in SHELLS:
            found += _of_block(re.sub(rf"^{fence['indent']}", "", fence["body"], flags=re.MULTILINE))
        end = fence.end()
    return found + _of_text(markdown[end:])


def _of_text(text: str) -> list[str]:
    return [" ".join(command.split()) for command in _INLINE.findall(text)]


def _of_block(body: str) -> list[str]:
    """The commands of a shell block; where prompts (`$ `) show what is typed, everything else is output."""
    prompts = any(line.startswith("$ ") for line in body.splitlines())
    found: list[str] = []
    typed = ""
    for line in body.splitlines():
        if not typed:
            if prompts and not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        typed += line
        if not _is_whole(typed):
            typed += "\n"
            continue
        if command := _without_comment(typed):
            found.append(command)
        typed = ""
    assert not typed, f"a command without an end: {typed}"
    return found


def _is_whole(typed: str) -> bool:
    if typed.endswith("\\"):
        return False
    try:
        shlex.split(typed, comments=True)
    except ValueError:  # a quotation that goes on in the next line
        return False
    return True


def _without_comment(command: str) -> str:
    """Without what is said beside the command: a comment stands after two spaces, or alone."""
    return re.sub(r"(^|\s{2,})#[^'\"\n]*$", "", command).strip()
