"""Pieces of Markdown, in which text from a file stays text: never markup, HTML or a link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from emosteer.vectors.measured import Measurement

MISSING = "–"
LONGEST = 300
"""Characters of a text from a file that are shown."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}

__all__ = ["MISSING", "bullets", "interval", "number", "plain", "share", "table", "text"]


def plain(value: object) -> str:
    """Return a value as text on one line, printable and at most 300 characters long."""
    line = " ".join(str(value)[: 4 * LONGEST].split())
    line = "".join(character if character.isprintable() else "�" for character in line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def text(value: object) -> str:
    """Return text from a file escaped, so that it shows as it is.

    Addresses are broken up too, since GitHub's Markdown turns them into links.
    """
    escaped = re.sub(r"[\\`*_{}\[\]#!~|$^]", r"\\\g<0>", plain(value))
    escaped = re.sub(r"[&<>@]", lambda match: _ENTITIES[match[0]], escaped)
    return re.sub(r"(?i)(?<=www)\.", "&#46;", escaped.replace("://", ":&#47;&#47;"))


def number(value: float | None, digits: int = 2) -> str:
    """Format a number with so many decimals; unknown is a dash."""
    return MISSING if value is None else f"{value:.{digits}f}".replace("-", "−")


def share(measured: Measurement | None) -> str:
    """Format the value alone."""
    return number(measured.value if measured else None)


def interval(measured: Measurement | None) -> str:
    """Format as `0.45 (0.40 to 0.51)`, or the value alone."""
    if measured is None or measured.low is None or measured.high is None:
        return share(measured)
    return f"{number(measured.value)} ({number(measured.low)} to {number(measured.high)})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, an empty one first; cells are Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return ["", lines[0], f"|{'---|' * len(head)}", *lines[1:]]


def bullets(items: Mapping[str, str]) -> list[str]:
    """Return `- name: value` for each item with a value."""
    return ["", *(f"- {name}: {value}" for name, value in items.items() if value)]
