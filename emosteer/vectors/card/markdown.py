"""Pieces of Markdown. Whatever a file says is text in it: never markup, never HTML, never a link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from emosteer.vectors.measured import Measurement

MISSING = "–"
LONGEST = 300
"""Characters of a text from a file that are shown."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}

__all__ = ["MISSING", "bullets", "interval", "number", "plain", "share", "table", "text"]


def plain(given: object) -> str:
    """On one line, without characters that do not print, and not longer than a line or two."""
    line = " ".join(str(given)[: 4 * LONGEST].split())
    line = "".join(character if character.isprintable() else "�" for character in line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def text(given: object) -> str:
    """Text from a file, so that it shows as it is and does nothing.

    Addresses are no links either, since GitHub's Markdown makes one of all that looks so.
    """
    escaped = re.sub(r"[\\`*_{}\[\]#!~|$^]", r"\\\g<0>", plain(given))
    escaped = re.sub(r"[&<>@]", lambda found: _ENTITIES[found[0]], escaped)
    return re.sub(r"(?i)(?<=www)\.", "&#46;", escaped.replace("://", ":&#47;&#47;"))


def number(value: float | None, digits: int = 2) -> str:
    """With so many decimals; a dash for what is not known."""
    return MISSING if value is None else f"{value:.{digits}f}".replace("-", "−")


def share(found: Measurement | None) -> str:
    """The value alone."""
    return number(found.value if found else None)


def interval(found: Measurement | None) -> str:
    """`0.45 (0.40 to 0.51)`, or the value alone."""
    if found is None or found.low is None or found.high is None:
        return share(found)
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, with an empty one before it; cells are Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return ["", lines[0], f"|{'---|' * len(head)}", *lines[1:]]


def bullets(told: Mapping[str, str]) -> list[str]:
    """`- name: value` for each that has a value."""
    return ["", *(f"- {name}: {value}" for name, value in told.items() if value)]
