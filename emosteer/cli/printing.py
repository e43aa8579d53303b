"""What is printed: consoles, frames, marked tokens, cells."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

if TYPE_CHECKING:
    from emosteer.cli.quickstart import Answer

SCHEMA = 1
SIDE_BY_SIDE = 110  # columns of terminal from which answers stand beside each other

out = Console()
err = Console(stderr=True)


def panel(answer: Answer) -> Panel:
    """An answer in a frame, with what it cost."""
    title = answer.emotion or "plain"
    note = f"{answer.cost:+.2f} nats" if answer.emotion else f"{answer.nats_per_token:.2f} nats a token"
    return Panel(Text(printable(answer.text)), title=title, subtitle=note, title_align="left", subtitle_align="right")


WARM, COOL = "black on #fdb863", "underline white on #5e3c99"  # told apart by the line as well as by colour


def tinted(tokens: Sequence[str], scores: Sequence[float], strong: float) -> Text:
    """Tokens marked by which way their score lies: faintly from half of `strong` on, fully from there."""
    text = Text()
    for token, score in zip(tokens, scores, strict=True):
        style = "" if not abs(score) > strong / 2 else WARM if score > 0 else COOL
        text.append(printable(token), f"bold {style}" if abs(score) > strong else style)
    return text


def print_json(data: dict[str, Any]) -> None:
    """One JSON object with the number of its schema, and nothing else, on standard output."""
    text = json.dumps({"schema": SCHEMA, **data}, ensure_ascii=False, indent=2)
    # JSON lets control characters beyond ASCII stand as they are, and a terminal obeys some of them.
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n")


def printable(text: str) -> str:
    """Without the control characters that could move a terminal's cursor or colour what follows."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def cell(value: float | None) -> str:
    """A number in a table."""
    return "–" if value is None else f"{value:.2f}"


def span(numbers: tuple[int, ...] | list[int]) -> str:
    """`10–19` for layers in a row, else all of them."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}–{numbers[-1]}"
    return ", ".join(map(str, numbers))


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
