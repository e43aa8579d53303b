"""Names beside points in a figure, pushed apart until they do not cover each other or the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROUNDS = 300
GAP = 2.0
"""Pixels between a name and the next."""
MARK = 6.0
"""Half the width of a point, in pixels."""

__all__ = ["place"]


def place(
    figure: Figure,
    plot: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    avoid: Sequence[tuple[float, float]],
) -> None:
    """Write a name beside each point, with a thin line to it where the name had to move away.

    Args:
        figure: Drawn once here, for only then it is known how wide a name is.
        plot: Of the figure, with its limits and size settled.
        points: Where the names belong.
        names: One for each point.
        avoid: Further points that no name should cover.
    """
    texts = [plot.text(0, 0, name, fontsize=6, ha="center", va="center", zorder=4) for name in names]
    for text in texts:
        text.set_in_layout(False)
    figure.draw_without_rendering()
    sizes = np.asarray([[text.get_window_extent().width, text.get_window_extent().height] for text in texts])
    half = sizes / 2 + GAP
    anchors = plot.transData.transform(points)
    marks = plot.transData.transform([*points, *avoid])
    frame = plot.get_window_extent()
    centres = anchors + np.array([0, 1]) * (half + MARK)
    for _ in range(ROUNDS):
        step = 0.02 * (anchors - centres)  # home, weakly
        step += _push(centres, half, centres, half) + _push(centres, half, marks, np.full((len(marks), 2), MARK))
        if np.abs(step).max() < 0.05:
            break
        centres = np.clip(centres + 0.5 * step, np.array(frame.min) + half, np.array(frame.max) - half)
    settled = plot.transData.inverted().transform(centres)
    for text, (x, y), (home_x, home_y), moved in zip(
        texts, settled, points, np.abs(centres - anchors) - half, strict=True
    ):
        text.set_position((x, y))
        if moved.max() > 2 * MARK:
            plot.plot([home_x, x], [home_y, y], color="0.6", linewidth=0.4, zorder=1)


def _push(centres: np.ndarray, half: np.ndarray, others: np.ndarray, other_half: np.ndarray) -> np.ndarray:
    """How far each box must go to leave the others, along the axis on which that is shorter."""
    apart = centres[:, None] - others[None]
    overlap = half[:, None] + other_half[None] - np.abs(apart)
    covered = (overlap > 0).all(-1) & ~((centres[:, None] == others[None]).all(-1))
    along = overlap.argmin(-1)
    push = np.zeros_like(apart)
    rows, columns = np.nonzero(covered)
    axis = along[rows, columns]
    push[rows, columns, axis] = overlap[rows, columns, axis] * np.where(apart[rows, columns, axis] < 0, -1, 1)
    return push.sum(1)
