"""Positions of names beside their dots, so that no two overlap."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

LETTER = 6.2  # mean width of a letter at a font size of 12
HEIGHT = 13.0

Box = tuple[float, float, float, float]  # left, top, right, bottom

__all__ = ["Label", "place"]


class Label(NamedTuple):
    """Position and anchor of a name, and whether it overlaps nothing."""

    x: float
    y: float
    anchor: str
    free: bool


def place(dots: Mapping[str, tuple[float, float]], size: float, reserved: Sequence[Box]) -> dict[str, Label]:
    """Place each name beside its dot, at the first position where it overlaps nothing. Earlier names take precedence.

    Args:
        dots: Name → position of its dot, in a square.
        size: Size of the square.
        reserved: Boxes that no name may overlap.
    """
    taken = [*reserved, *((x - 3.5, y - 3.5, x + 3.5, y + 3.5) for x, y in dots.values())]
    labels = {}
    for name, (x, y) in dots.items():
        width = sum(2 * LETTER if ord(letter) > 0x2E80 else LETTER for letter in name)
        places = [(x + 6, y + 4, "start"), (x - 6, y + 4, "end"), (x, y - 7, "middle"), (x, y + 15, "middle")]
        places += [(x + dx, y + dy, anchor) for dy in (-6, 14, -10, 18) for dx, anchor in ((4, "start"), (-4, "end"))]
        boxes = [(_box(place, width), place) for place in places]
        box, best = next((candidate for candidate in boxes if _is_free(candidate[0], taken, size)), (None, places[0]))
        if box:
            taken.append(box)
        labels[name] = Label(*best, free=box is not None)
    return labels


def _box(place: tuple[float, float, str], width: float) -> Box:
    x, y, anchor = place
    left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
    return left, y - HEIGHT + 3, left + width, y + 3


def _is_free(box: Box, taken: Sequence[Box], size: float) -> bool:
    left, top, right, bottom = box
    if min(left, top) < 2 or max(right, bottom) > size - 2:
        return False
    return not any(left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in taken)
