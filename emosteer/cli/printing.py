"""What commands print: lines, marked tokens, cells of tables, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from emosteer._util.text import recovered
from emosteer.cli.streams import holds_any_text

SCHEMA = 1
WARM, COOL = "black on #fdb863", "underline white on #5e3c99"  # told apart by the line as well as by colour


class _Errors(Console):
    def on_broken_pipe(self) -> None:
        """Go on in silence: that nobody reads the errors ends no work."""
        self.quiet = True


out = Console()
err = _Errors(stderr=True)


def say(line: str) -> None:
    """Print a line, which the terminal wraps."""
    out.print(Text(printable(line)), soft_wrap=True)


def note(label: str, line: object, style: str = "bold") -> None:
    """Print a line on standard error, after a label such as "Error"."""
    err.print(Text.assemble((f"{label}: ", style), printable(str(line))), soft_wrap=True)


@contextmanager
def interruptible(kept: str) -> Iterator[None]:
    """Say what is kept, and how to go on, if Ctrl-C ends the work inside."""
    try:
        yield
    except KeyboardInterrupt:
        note("Interrupted", kept)
        raise


def tinted(tokens: Sequence[str], scores: Sequence[float], strong: float) -> Text:
    """Mark tokens by the sign of their score: faintly from half of `strong` on, fully from `strong` on."""
    text = Text()
    for token, score in zip(tokens, scores, strict=True):
        style = "" if not abs(score) > strong / 2 else WARM if score > 0 else COOL
        text.append(printable(token), f"bold {style}" if abs(score) > strong else style)
    return text


def print_json(data: dict[str, Any]) -> None:
    """Print one JSON object, with the number of its schema, to standard output; in ASCII if that is all it can hold."""
    text, any_text = recovered(json.dumps({"schema": SCHEMA, **data}, ensure_ascii=False, indent=2)), holds_any_text()
    # JSON lets control characters beyond ASCII stand as they are, and a terminal obeys some of them.
    stand = (c == "\n" or (c.isprintable() and (any_text or c.isascii())) for c in text)
    sys.stdout.write("".join(c if kept else json.dumps(c)[1:-1] for c, kept in zip(text, stand, strict=True)) + "\n")


def printable(text: str) -> str:
    """Replace the control characters that could move a terminal's cursor or colour what follows."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in recovered(text))


def cell(value: float | None) -> str:
    """Format a number for a table; a dash stands for none."""
    return "–" if value is None else f"{value:.2f}"


def span(numbers: tuple[int, ...] | list[int]) -> str:
    """Format layers: `10–19` for consecutive ones, else all of them."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}–{numbers[-1]}"
    return ", ".join(map(str, numbers))


def shown(path: Path) -> str:
    """Return a path relative to the working directory, if it lies in it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
