"""What a page of Markdown holds: fenced blocks, commands, links and sections."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))}

_FENCE = re.compile(r"^```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PLACEHOLDER = ("…", "|", "[")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(match["language"], match["code"], text.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]


def prose(text: str) -> str:
    """A page without its fenced blocks and comments."""
    return _COMMENT.sub("", _FENCE.sub("", text))


def commands(code: str) -> Iterator[list[str]]:
    """The commands of a shell block as lists of words; comments are left out and continued lines joined."""
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def inline_commands(text: str) -> Iterator[list[str]]:
    """Commands that the prose names in backticks, but for those with a placeholder in them."""
    for match in _INLINE.finditer(prose(text)):
        code = " ".join(match[1].split())
        if code.startswith(("make ", "emosteer ", "python -m ", "pip ")) and not any(x in code for x in _PLACEHOLDER):
            yield shlex.split(code)


def links(text: str) -> list[str]:
    """The targets of all links and pictures of a page."""
    return _LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def sections(text: str) -> list[str]:
    """A page in pieces, divided at its headings of the first and second level."""
    return re.split(r"^##? ", text, flags=re.MULTILINE)
