"""Progress of long work, on standard error: a bar on a terminal; elsewhere, as in a log, one line a minute."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

PACE = 60.0
"""Seconds between two lines."""

clock = time.monotonic

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"

__all__ = ["PACE", "Meter", "counted"]


class Meter:
    """A count of what is done, which is shown while it grows.

    Args:
        label: What is being done: "Reading 1,204 texts".
        total: How many there are to do.
        shown: Whether to show anything.
    """

    def __init__(self, label: str, total: int, shown: bool = True) -> None:
        self.shown = shown
        self._label, self._total, self._done, self._kept = label, total, 0, 0
        self._begun = self._told = clock()
        self._lines, self._bar = shown and sys.stderr is not None, None
        if self._lines and sys.stderr.isatty():
            from tqdm.auto import tqdm

            self._lines, self._bar = False, tqdm(total=total, desc=label, bar_format=_BAR, leave=False)

    def advance(self, n: int, *, kept: bool = False) -> None:
        """Count some more.

        Args:
            n: How many.
            kept: Whether they were done earlier and took no time now.
        """
        self._done += n
        self._kept += n if kept else 0
        bar: Any = self._bar
        if bar is not None:
            bar.initial += n if kept else 0  # for its own estimate
            bar.update(n)
        now = clock()
        if self._lines and self._done < self._total and now - self._told >= PACE:
            self._told = now
            with suppress(OSError):  # nobody reads it any more: no reason to end the work
                sys.stderr.write(f"{self._line(now - self._begun)}\n")
                sys.stderr.flush()
        if self._done >= self._total:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, elapsed: float) -> str:
        left, worked = self._total - self._done, self._done - self._kept
        estimate = f", about {_minutes(elapsed / worked * left)} to go" if worked else ""
        return f"{self._label}: {self._done:,} done, {left:,} left{estimate}"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: "1 text", "1,204 texts"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _minutes(seconds: float) -> str:
    """Format a duration: "3 minutes", "2 hours 5 minutes"."""
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    parts = [counted(hours, "hour")] * bool(hours) + [counted(minutes, "minute")] * bool(minutes)
    return " ".join(parts)
