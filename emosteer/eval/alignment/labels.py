"""Labels beside the points of a figure, placed where nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARGIN = 6.0
"""Half the width of a point, in pixels, with some space around it."""

DIRECTIONS = [(np.cos(angle), np.sin(angle)) for angle in np.radians([90, 270, 0, 180, 45, 135, 225, 315])]
"""Directions in which a label may stand from its point, best first."""

DISTANCES = (0.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0)
"""Distances of a label from its point, in pixels, best first."""

__all__ = ["place"]


def place(
    plot: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    avoid: Sequence[tuple[float, float]],
) -> None:
    """Write each name at the first free place around its point, with a thin line if it had to move away.

    Args:
        plot: Plot whose limits are set and whose figure was drawn once, so that it has a position and size.
        points: Points to label.
        names: Name of each point.
        avoid: Further points that no label may cover.
    """
    anchors = plot.transData.transform(points)
    marks = plot.transData.transform([*points, *avoid])
    boxes = [*np.concatenate([marks - MARGIN, marks + MARGIN], 1)]  # left, bottom, right, top
    frame = np.array(plot.get_window_extent().extents)
    for name, anchor, point in zip(names, anchors, points, strict=True):
        text = plot.text(0, 0, name, fontsize=6, ha="center", va="center", zorder=4)
        text.set_in_layout(False)
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2
        candidates = [
            (distance, anchor + np.array(direction) * (half + MARGIN + distance))
            for distance in DISTANCES
            for direction in DIRECTIONS
        ]
        covered = [_covered(centre, half, np.array(boxes), frame) for _, centre in candidates]
        distance, centre = candidates[int(np.argmin(covered))]  # the first of the free ones
        boxes.append(np.concatenate([centre - half, centre + half]))
        x, y = plot.transData.inverted().transform(centre)
        text.set_position((x, y))
        if distance:
            plot.plot([point[0], x], [point[1], y], color="0.6", linewidth=0.4, zorder=1)


def _covered(centre: np.ndarray, half: np.ndarray, boxes: np.ndarray, frame: np.ndarray) -> float:
    """Return the area of a label, in square pixels, that covers other boxes or lies outside of the frame."""
    low, high = centre - half, centre + half

    def overlap(others: np.ndarray) -> float:
        sides = np.minimum(high, others[..., 2:]) - np.maximum(low, others[..., :2])
        return float(np.maximum(sides, 0).prod(-1).sum())

    return round(overlap(boxes) + float((high - low).prod()) - overlap(frame), 6)  # 0 despite rounding errors
