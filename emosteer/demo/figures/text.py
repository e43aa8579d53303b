"""Formatting of text and numbers in figures: escaped, with a true minus, never in scientific notation."""

import html
import math
import re

# Characters that XML or UTF-8 cannot hold: control characters except tab and line ends, and surrogates.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escape(text: str) -> str:
    """Escape a text for HTML, also for attributes."""
    return html.escape(UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text), quote=True)


def number(value: float, places: int = 2) -> str:
    """Format a number, as `−0.25`; a dash if it is not finite."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def signed(value: float, places: int = 2) -> str:
    """Format a number with its sign, as `+0.25`."""
    text = number(value, places)
    return f"+{text}" if 0 < value < math.inf and float(text) else text


def percent(probability: float) -> str:
    """Format a probability, as `12 %`, `0.3 %` or `under 0.01 %`; a dash if it is not finite."""
    if not math.isfinite(probability):
        return "–"
    share = 100 * probability
    if 0 < share < 0.01:
        return "under 0.01 %"
    places = 0 if share >= 9.95 or share == 0 else 1 if share >= 0.095 else 2
    return f"{number(share, places)} %"
