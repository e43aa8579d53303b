"""Counters for Prometheus, in its text format."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from emosteer.serving.request import ToneRequest

FORMAT = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = {
    "requests": ("emotion", "Requests taken, by each emotion that they ask for."),
    "rejected": ("reason", "Requests rejected, by reason."),
    "finished": ("reason", "Answers ended, by reason; gone: the client has left."),
    "tokens": ("kind", "Tokens: read in prompts, generated, and those of them that were steered."),
}
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

__all__ = ["FORMAT", "Metrics"]


class Metrics:
    """What a server has done since it began."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTERS}
        self._lock = threading.Lock()

    def count(self, name: str, labels: Iterable[str], amount: int = 1) -> None:
        """Add to a counter, under each label."""
        with self._lock:
            for label in labels:
                self._counts[name][label] += amount

    def taken(self, tone: ToneRequest) -> None:
        """Count a request by the emotions of its tone."""
        names = ["valence and arousal"] if tone.affect else [name for name, strength in tone.emotions if strength]
        self.count("requests", names or ["none"])

    def ended(self, reason: str, prompt: int, generated: int, *, steered: bool) -> None:
        """Count an answer that has ended, with its tokens."""
        self.count("finished", [reason])
        self.count("tokens", ["prompt"], prompt)
        self.count("tokens", ["generated", "steered"] if steered else ["generated"], generated)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return everything as Prometheus reads it.

        Args:
            gauges: Name → what it is, and its value now.
        """
        lines: list[str] = []
        with self._lock:
            for name, (label, about) in _COUNTERS.items():
                lines += [f"# HELP emosteer_{name}_total {about}", f"# TYPE emosteer_{name}_total counter"]
                for value, count in sorted(self._counts[name].items()):
                    lines.append(f'emosteer_{name}_total{{{label}="{value.translate(_ESCAPED)}"}} {count}')
        for name, (about, now) in gauges.items():
            lines += [f"# HELP emosteer_{name} {about}", f"# TYPE emosteer_{name} gauge", f"emosteer_{name} {now:g}"]
        return "\n".join(lines) + "\n"
