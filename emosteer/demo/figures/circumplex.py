"""Emotions and moods on the plane of valence and arousal."""

import math
import zlib
from collections.abc import Mapping, Sequence

from .labels import Box, Label, place
from .text import escape, number
from .tokens import table

EXTENT = 1.2  # half the width of a plane, in units of valence, as on the pad
SIZE = 380  # width of a plane, in SVG units
MIDDLE = SIZE / 2
AXES = [  # boxes of the words at the ends of the axes: left, top, right, bottom
    (MIDDLE - 40, 4.0, MIDDLE + 40, 26.0),
    (MIDDLE - 40, SIZE - 26.0, MIDDLE + 40, SIZE - 4.0),
    (2.0, MIDDLE - 40, 28.0, MIDDLE + 40),
    (SIZE - 28.0, MIDDLE - 40, SIZE - 2.0, MIDDLE + 40),
]

PLAIN = "plain"

Point = tuple[float, float]
Points = Mapping[str, Point]

__all__ = ["glyph", "maps", "trace"]


def maps(first: Points, second: Points, *, titles: tuple[str, str]) -> str:
    """Return two maps of emotions side by side, such as those of people and of a model.

    An emotion that is pointed at in one map, or chosen below, is marked in both.

    Args:
        first: Valence and arousal of each emotion, from −1 to 1. Values beyond are drawn at the edge.
        second: The same for the second map, on the same scale.
        titles: Titles of the two maps.
    """
    first, second = _finite(first), _finite(second)
    names = list(dict.fromkeys([*first, *second]))
    if not names:
        return '<div class="em-figure em-empty">No emotions to show.</div>'
    # One rule for each emotion that is marked in both maps, since CSS cannot compare attributes.
    group = f"em-{zlib.crc32(repr((names, first, second)).encode('utf-8', 'replace')):08x}"
    marks = "".join(
        f".{group}:has(.em-at-{i}:hover) .em-at-{i},.{group}:has(.em-pick-{i}:checked) .em-at-{i}"
        "{--em-on:1;--em-dot:var(--em-more);font-weight:700}"
        for i in range(len(names))
    )
    picks = "".join(
        f'<label><input type="radio" class="em-pick-{i}" name="{group}"/><span>{escape(name)}</span></label>'
        for i, name in enumerate(names)
    )
    return (
        f'<div class="em-figure em-maps {group}"><style>{marks}</style>'
        f"{_map(titles[0], first, names)}{_map(titles[1], second, names)}"
        f'<fieldset class="em-picks"><legend>Find an emotion in both</legend>{picks}</fieldset>'
        f"{_values(first, second, names, titles)}</div>"
    )


def _finite(points: Points) -> dict[str, Point]:
    return {name: (x, y) for name, (x, y) in points.items() if math.isfinite(x) and math.isfinite(y)}


def _map(title: str, points: Points, names: Sequence[str]) -> str:
    placed = _labels(points)
    marks = []
    for name, (x, y) in points.items():
        here = f"{escape(name)}: valence {number(x)}, arousal {number(y)}"
        left, top = _spot((x, y))
        label = placed[name]
        kind = "em-label" if label.free else "em-label em-crowded"
        marks.append(
            f'<g class="em-at em-at-{names.index(name)}"><title>{here}</title>'
            f'<circle class="em-grasp" cx="{left:.1f}" cy="{top:.1f}" r="11"/>'
            f'<circle class="em-dot" cx="{left:.1f}" cy="{top:.1f}" r="3"/>'
            f'<text class="{kind}" x="{label.x:.1f}" y="{label.y:.1f}" text-anchor="{label.anchor}">'
            f"{escape(name)}</text></g>"
        )
    return _plane(title, "".join(marks), f"{title}: {len(points)} emotions by valence and arousal")


def _plane(title: str, content: str, description: str) -> str:
    radius = MIDDLE / EXTENT
    heading = f"<figcaption>{escape(title)}</figcaption>" if title else ""
    return (
        f'<figure class="em-plane">{heading}<div class="em-disc-frame"><div class="em-disc"></div>'
        f'<svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{escape(description)}">'
        f'<path class="em-axis" d="M{MIDDLE - radius:.1f} {MIDDLE}h{2 * radius:.1f}M{MIDDLE} {MIDDLE - radius:.1f}'
        f'v{2 * radius:.1f}"/><circle class="em-rim" cx="{MIDDLE}" cy="{MIDDLE}" r="{radius:.1f}"/>'
        f'<text class="em-end" x="{MIDDLE}" y="20" text-anchor="middle">stirred up</text>'
        f'<text class="em-end" x="{MIDDLE}" y="{SIZE - 11}" text-anchor="middle">still</text>'
        f'<text class="em-end" transform="translate(20 {MIDDLE}) rotate(-90)" text-anchor="middle">unpleasant</text>'
        f'<text class="em-end" transform="translate({SIZE - 20} {MIDDLE}) rotate(90)" text-anchor="middle">pleasant'
        f"</text>{content}</svg></div></figure>"
    )


def _values(first: Points, second: Points, names: Sequence[str], titles: tuple[str, str]) -> str:
    unknown = (math.nan, math.nan)
    rows: list[list[str | float]] = [[name, *first.get(name, unknown), *second.get(name, unknown)] for name in names]
    columns = ["emotion", *(f"{title}: {axis}" for title in titles for axis in ("valence", "arousal"))]
    return (
        '<details class="em-details"><summary>All values as a table</summary>'
        f"{table(columns, rows, 'Valence and arousal of each emotion')}</details>"
    )


def trace(ways: Mapping[str, Sequence[Point]], emotions: Points) -> str:
    """Return the paths of voices over the circumplex, from a dot to an arrow head. That of the plain voice is dashed.

    Args:
        ways: Name → valence and arousal at each step. Values that are not finite are left out.
        emotions: Human ratings of emotions, whose names are written faintly.
    """
    emotions = _finite(emotions)
    paths = {name: [point for point in path if all(map(math.isfinite, point))] for name, path in ways.items()}
    ends = {name: path[-1] for name, path in paths.items() if path}
    if not ends:
        return '<div class="em-figure em-empty">Nothing was measured yet.</div>'
    # the upper end has its name above it, the other one below, so that they do not overlap
    higher = max(ends, key=lambda name: ends[name][1])
    spots = {name: _spot(end) for name, end in ends.items()}
    captions = {
        name: (min(max(x, 40), SIZE - 40), y - 11 if name == higher else y + 20) for name, (x, y) in spots.items()
    }
    covered = [(x - 24, y - 14, x + 24, y + 4) for x, y in captions.values()]
    covered += [(x - 5, y - 5, x + 5, y + 5) for path in paths.values() for x, y in map(_spot, path)]
    faint = "".join(
        f'<text class="em-faint" x="{label.x:.1f}" y="{label.y:.1f}" text-anchor="{label.anchor}">{escape(name)}</text>'
        for name, label in _labels(emotions, covered).items()
        if label.free
    )
    drawn = "".join(_way(name, paths[name], captions[name]) for name in ends)
    description = "; ".join(f"{name} ends at valence {number(x)}, arousal {number(y)}" for name, (x, y) in ends.items())
    return f'<div class="em-figure em-trace">{_plane("", faint + drawn, description)}</div>'


def _way(name: str, points: Sequence[Point], caption: Point) -> str:
    spots = [_spot(point) for point in points]
    (first_x, first_y), (x, y) = spots[0], spots[-1]
    steps = "L".join(f"{left:.1f} {top:.1f}" for left, top in spots)
    line = f'<path class="em-way" d="M{steps}"/>' if len(spots) > 1 else ""
    # the arrow head points along the last step of some length
    before = next((spot for spot in reversed(spots) if math.dist(spot, (x, y)) > 1), None)
    head = ""
    if before:
        turn = f"translate({x:.1f} {y:.1f}) rotate({math.degrees(math.atan2(y - before[1], x - before[0])):.1f})"
        head = f'<path class="em-head" d="M0 0L-11 5.5L-11 -5.5Z" transform="{turn}"/>'
    kind = "em-plain" if name == PLAIN else "em-toned"
    return (
        f'<g class="{kind}"><title>{escape(name)}</title>{line}'
        f'<circle class="em-start" cx="{first_x:.1f}" cy="{first_y:.1f}" r="4.5"/>{head}'
        f'<text class="em-way-name" x="{caption[0]:.1f}" y="{caption[1]:.1f}" text-anchor="middle">{escape(name)}'
        "</text></g>"
    )


def glyph(valence: float | None, arousal: float | None) -> str:
    """Return a small disc with a point at an emotion; nothing if its ratings are unknown."""
    if valence is None or arousal is None or not (math.isfinite(valence) and math.isfinite(arousal)):
        return ""
    x, y = (11 * max(-1.0, min(1.0, rating)) for rating in (valence, -arousal))
    return (
        f'<svg class="em-glyph" viewBox="-12.5 -12.5 25 25" role="img" aria-label="valence {number(valence)}, arousal '
        f'{number(arousal)}"><path class="em-axis" d="M-12 0H12M0 -12V12"/><circle class="em-rim" r="12"/>'
        f'<circle class="em-dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/></svg>'
    )


def _spot(point: Point) -> Point:
    x, y = (max(-1.0, min(1.0, rating)) for rating in point)
    return MIDDLE * (1 + x / EXTENT), MIDDLE * (1 - y / EXTENT)


def _labels(points: Points, covered: Sequence[Box] = ()) -> dict[str, Label]:
    return place({name: _spot(point) for name, point in points.items()}, SIZE, [*AXES, *covered])
