"""Figures of reports: colours, markers, and how a figure becomes a PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from emosteer.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Report = TypeVar("Report")

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart; markers do the same in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DPI = 150

__all__ = ["COLOURS", "MARKERS", "draw_png", "new_figure"]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches.

    It is made without pyplot: no window, no global state and no display. It has the resolution of the file, since
    labels are placed in pixels.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def draw_png(report: Report, drawings: Mapping[str, Callable[[Report], Figure]]) -> dict[str, bytes]:
    """Draw the figures of a report; the same report gives the same bytes with the same matplotlib.

    Args:
        report: The report.
        drawings: Name → function that draws the figure of that name.

    Returns:
        Name → PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError("Figures need matplotlib.", "Install it with: pip install 'emosteer[eval]'") from error

    pictures = {}
    # Names come from people's files: a dollar sign in one does not begin a formula.
    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False}):
        for name, draw in drawings.items():
            stream = io.BytesIO()
            draw(report).savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
            pictures[name] = stream.getvalue()
    return pictures
