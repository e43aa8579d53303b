"""Names beside points in a figure, each where it covers the least of the points and of the other names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MARK = 6.0
"""Half the width of a point, in pixels, with the air around it."""

ANGLES = np.radians([90, 270, 0, 180, 45, 135, 225, 315])
"""Where a name may stand, best first."""

DISTANCES = (0.0, 10.0, 20.0, 30.0, 45.0, 60.0)
"""How far a name may move away from its point, in pixels."""

__all__ = ["place"]


def place(
    plot: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    avoid: Sequence[tuple[float, float]],
) -> None:
    """Write a name beside each point, with a thin line to it where the name had to move away.

    Args:
        plot: With its limits set, of a figure that was drawn once: only then it has its place and size.
        points: Where the names belong.
        names: One for each point.
        avoid: Further points that no name should cover.
    """
    anchors = plot.transData.transform(points)
    marks = plot.transData.transform([*points, *avoid])
    boxes = np.concatenate([marks - MARK, marks + MARK], 1)  # left, bottom, right, top
    frame = plot.get_window_extent()
    back = plot.transData.inverted()
    for name, anchor, home in zip(names, anchors, points, strict=True):
        text = plot.text(0, 0, name, fontsize=6, ha="center", va="center", zorder=4)
        text.set_in_layout(False)
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2
        best = (np.inf, anchor, 0.0)
        for distance in DISTANCES:
            for angle in ANGLES:
                way = np.array([np.cos(angle), np.sin(angle)])
                centre = anchor + way * (half + MARK + distance)
                box = np.concatenate([centre - half, centre + half])
                outside = np.maximum([frame.x0, frame.y0] - box[:2], 0) + np.maximum(box[2:] - [frame.x1, frame.y1], 0)
                cost = _covered(box, boxes) + distance + 100 * outside.sum()
                if cost < best[0]:
                    best = (cost, centre, distance)
        _, centre, distance = best
        boxes = np.concatenate([boxes, [[*(centre - half), *(centre + half)]]])
        (x, y), (home_x, home_y) = back.transform(centre), home
        text.set_position((x, y))
        if distance:
            plot.plot([home_x, x], [home_y, y], color="0.6", linewidth=0.4, zorder=1)


def _covered(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> float:
    """Area that a box has in common with others, in square pixels."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    return float(np.maximum(sides, 0).prod(1).sum())
