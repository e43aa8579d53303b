"""Figures of an alignment report: circumplex, similarities, components, layers, words, and what languages share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from emosteer.eval.alignment.labels import place
from emosteer.eval.alignment.ratings import AXES
from emosteer.eval.alignment.results import AlignmentReport, Geometry, LanguagePair
from emosteer.eval.alignment.statistics import distances, standardised
from emosteer.eval.plotting import COLOURS, MARKERS, draw_png, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "0.35"
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200)

CAPTIONS = {
    "circumplex": "Emotions in valence and arousal: where people rate them and where the model has them",
    "similarity": "Similarity of emotions in the model and to people, ordered by human valence",
    "scree": "Share of variance of each component of the emotions",
    "layers": "Agreement with human ratings over the layers",
    "words": "Ratings of held-out words, predicted against rated",
    "languages": "The emotions of two languages, and how far apart they are after mapping one onto the other",
    "shared": "What one language tells of another, for every pair",
}

__all__ = ["CAPTIONS", "draw_figures"]


def draw_figures(report: AlignmentReport) -> dict[str, bytes]:
    """Draw a report.

    Returns:
        Name → PNG, in the order of `CAPTIONS`, without the figures for which the report has no results.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawings: dict[str, Callable[[AlignmentReport], Figure]] = {}
    if report.geometry:
        drawings = {"circumplex": _circumplex, "similarity": _similarity, "scree": _scree, "layers": _layers}
    if report.words:
        drawings |= {"layers": _layers, "words": _words}
    if report.pairs:
        drawings |= {"languages": _languages, "shared": _shared}
    return draw_png(report, drawings)


def _by_language(report: AlignmentReport) -> dict[str, Geometry]:
    """Return each language with its geometry against its first set of ratings."""
    shapes: dict[str, Geometry] = {}
    for shape in report.geometry:
        shapes.setdefault(shape.language, shape)
    return shapes


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give each name a colour and a marker, so that a line can be recognised in grey too."""
    looks = zip(COLOURS, MARKERS, strict=True)
    return {
        name: {"color": colour, "marker": marker}
        for name, (colour, marker) in zip(dict.fromkeys(names), cycle(looks), strict=False)
    }


def _circumplex(report: AlignmentReport) -> Figure:
    """Draw model and human points of each language, joined; the model's plane is turned onto the ratings."""
    shapes = list(_by_language(report).values())
    columns = min(2, len(shapes))
    rows = -(-len(shapes) // columns)
    figure = new_figure(5.4 * columns, 5.2 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for plot, shape in zip(axes, shapes, strict=False):
        human = {"label": f"people ({shape.ratings})", "marker": "o", "color": GREY, "markerfacecolor": "white"}
        model = {"label": f"model, layer {shape.layer}", "marker": "s", "color": COLOURS[0]}
        _join(plot, (shape.human, human), (shape.points, model))
        plot.set_title(f"{shape.language}, {len(shape.emotions)} emotions", fontsize=9)
        plot.set(xlabel="valence, −1 unpleasant to 1 pleasant", ylabel="arousal, −1 still to 1 stirred up")
    for plot in axes[len(shapes) :]:
        plot.set_axis_off()
    figure.draw_without_rendering()
    for plot, shape in zip(axes, shapes, strict=False):
        place(plot, shape.points, shape.emotions, shape.human)
    return figure


def _join(plot: Axes, *sides: tuple[Sequence[tuple[float, float]], dict[str, Any]]) -> None:
    """Draw two sets of points with a line between partners, on axes of equal scale."""
    (ours, _), (theirs, _) = sides
    for pair in zip(ours, theirs, strict=True):
        plot.plot(*np.transpose(pair), color="0.75", linewidth=0.7, zorder=2)
    for points, look in sides:
        plot.plot(*np.transpose(points), linestyle="none", markersize=4, zorder=3, **look)
    plot.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    plot.axvline(0, color="0.85", linewidth=0.6, zorder=0)
    low, high = np.min([*ours, *theirs], 0), np.max([*ours, *theirs], 0)
    (x, y), reach = (low + high) / 2, 0.56 * (high - low).max() or 1.0
    plot.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), aspect="equal")
    plot.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False, fontsize=7)


def _similarity(report: AlignmentReport) -> Figure:
    """Draw two matrices for each language: correlation of emotions in the model, closeness of the human ratings."""
    shapes = list(_by_language(report).values())
    figure = new_figure(10, 4.5 * len(shapes))
    for row, shape in zip(figure.subplots(len(shapes), 2, squeeze=False), shapes, strict=True):
        order = np.argsort([valence for valence, _ in shape.human], kind="stable")
        names = [shape.emotions[i] for i in order]
        apart = distances(standardised(np.asarray(shape.human, dtype=float)))
        sides = {
            f"{shape.language}: model, layer {shape.layer}": (np.asarray(shape.similarity), "correlation"),
            f"people ({shape.ratings})": (1 - 2 * apart / max(apart.max(), 1e-30), "1 same to −1 furthest apart"),
        }
        for plot, (title, (similarity, unit)) in zip(row, sides.items(), strict=True):
            image = plot.imshow(similarity[np.ix_(order, order)], cmap="cividis", vmin=-1, vmax=1)
            plot.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
            plot.set_yticks(range(len(names)), names, fontsize=6)
            plot.set_title(title, fontsize=9)
            figure.colorbar(image, ax=plot, label=unit, shrink=0.75)
    return figure


def _scree(report: AlignmentReport) -> Figure:
    shapes = list(_by_language(report).values())
    figure = new_figure(4.2, 3.2)
    plot = figure.subplots()
    looks = _looks([shape.language for shape in shapes])
    for shape in shapes:
        shares = [100 * share for share in shape.scree]
        label = f"{shape.language}, layer {shape.layer}"
        plot.plot(range(1, len(shares) + 1), shares, markersize=4, linewidth=1, label=label, **looks[shape.language])
    plot.set(xlabel="principal component", ylabel="share of variance, %")
    plot.set_xticks(range(1, max(len(shape.scree) for shape in shapes) + 1))
    plot.set_ylim(bottom=0)
    plot.legend(frameon=False)
    return figure


def _layers(report: AlignmentReport) -> Figure:
    """Draw each measure over the layers of the grid."""
    shapes = list(_by_language(report).values())
    panels = {
        "rsa": "RSA, Spearman's correlation",
        "pc1_valence": "PC1–valence, |r|",
        "pc2_arousal_given_valence": "PC2–arousal given valence, |partial r|",
    }
    figure = new_figure(6.6, 5.6)
    axes = figure.subplots(2, 2, sharex=True, sharey=True).flatten()
    looks = _looks([shape.language for shape in shapes] + [words.language for words in report.words])

    def line(plot: Axes, profile: Any, measure: str, label: str, **look: Any) -> dict[int, float]:
        values = {layer: results.get(measure, np.nan) for layer, results in sorted(profile.items())}
        plot.plot(list(values), list(values.values()), label=label, markersize=3.5, linewidth=1, **look)
        return values

    for plot, (measure, title) in zip(axes, panels.items(), strict=False):
        for shape in shapes:
            look = looks[shape.language]
            values = line(plot, shape.profile, measure, f"{shape.language}, {shape.ratings}", **look)
            ring = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": look["color"]}
            plot.plot(shape.layer, values.get(shape.layer, np.nan), "o", **ring)
        plot.set_title(title, fontsize=8)
    for words, marker in zip(report.words, cycle(MARKERS), strict=False):
        look = {**looks[words.language], "marker": marker, "markerfacecolor": "white"}
        for axis, style in zip(AXES, ("-", "--"), strict=True):
            label = f"words of {words.norms} ({words.language}), {axis}"
            line(axes[3], words.profile, axis, label, linestyle=style, **look)
    axes[3].set_title("ratings of held-out words, r", fontsize=8)
    handles = [*axes[0].get_legend_handles_labels()[0], *axes[3].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    if layers := report.about.get("layer_grid"):
        axes[0].set_xticks(layers)
    axes[0].set_ylim(min(0, axes[0].get_ylim()[0]), 1)
    axes[2].set_xlabel("layer (ring: the one chosen)")
    axes[3].set_xlabel("layer")
    return figure


def _words(report: AlignmentReport) -> Figure:
    """Draw predicted over rated values, one row for each norms; colour counts the words."""
    figure = new_figure(7, 3.0 * len(report.words))
    for row, words in zip(figure.subplots(len(report.words), 2, squeeze=False), report.words, strict=True):
        for i, (plot, axis) in enumerate(zip(row, AXES, strict=True)):
            rated, predicted = (np.asarray(side, dtype=float)[:, i] for side in (words.rated, words.predicted))
            reach = max(1.0, float(np.abs(predicted).max()))
            bins = plot.hexbin(
                *(rated, predicted), gridsize=36, extent=(-1, 1, -reach, reach), mincnt=1, bins="log", cmap="cividis_r"
            )
            plot.plot([-1, 1], [-1, 1], color=GREY, linewidth=0.7, linestyle=":")
            figure.colorbar(bins, ax=plot, label="words", shrink=0.7, ticks=COUNTS, format="%d").minorticks_off()
            r = words.full.r[axis]
            plot.set_title(f"{words.norms} ({words.language})\n{axis}, r = {r}, n = {r.n}", fontsize=8)
            plot.set(xlabel=f"rated {axis}, −1 to 1", ylabel=f"predicted {axis}, −1 to 1")
            plot.set(xlim=(-1, 1), ylim=(-reach, reach), aspect="equal")
    return figure


def _languages(report: AlignmentReport) -> Figure:
    """Draw each pair from the first language: its two planes joined, and the distances that remain."""
    shapes = _by_language(report)
    first = report.pairs[0].languages[0]
    pairs = [pair for pair in report.pairs if pair.languages[0] == first and set(pair.languages) <= set(shapes)]
    figure = new_figure(10, 5.2 * max(len(pairs), 1))
    axes = figure.subplots(max(len(pairs), 1), 2, squeeze=False, width_ratios=(3, 2))
    labels = []
    for (plane, bars), pair in zip(axes, pairs, strict=False):
        both = [shapes[language] for language in pair.languages]
        names = [name for name in both[0].emotions if name in both[1].emotions]
        ours, theirs = ([shape.points[shape.emotions.index(name)] for name in names] for shape in both)
        look = {"marker": "o", "color": COLOURS[0], "label": f"model in {pair.languages[0]}"}
        other = {"marker": "^", "color": COLOURS[1], "markerfacecolor": "white"}
        _join(plane, (ours, look), (theirs, {**other, "label": f"model in {pair.languages[1]}"}))
        plane.set(xlabel="valence, turned onto people's ratings", ylabel="arousal, turned onto people's ratings")
        _bars(bars, pair)
        labels.append((plane, ours, names, theirs))
    figure.draw_without_rendering()
    for arguments in labels:
        place(*arguments)
    return figure


def _bars(plot: Axes, pair: LanguagePair) -> None:
    """Draw the distance of each emotion from its counterpart, largest on top."""
    plot.barh(list(pair.differences), list(pair.differences.values()), color=COLOURS[4], edgecolor=GREY, linewidth=0.5)
    plot.axvline(1, color=GREY, linewidth=0.8, linestyle="--")
    plot.invert_yaxis()
    plot.margins(y=0.01)
    plot.tick_params(axis="y", labelsize=6)
    plot.set_title(f"{' → '.join(pair.languages)}, held-out emotions, n = {pair.procrustes.n}", fontsize=8)
    plot.set_xlabel("distance after mapping, 1 = mean over emotions")


def _shared(report: AlignmentReport) -> Figure:
    """Draw for every ordered pair the shared part with its interval, and identification beside its chance."""
    names = [" → ".join(pair.languages) for pair in report.pairs]
    rows = np.arange(len(names))
    figure = new_figure(7, 0.28 * len(names) + 1.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for plot, kind, colour, marker in ((left, "shared", COLOURS[0], "o"), (right, "identified", COLOURS[1], "s")):
        for row, pair in zip(rows, report.pairs, strict=True):
            share = getattr(pair, kind)
            if share.low is not None:
                plot.plot([share.low, share.high], [row, row], color=colour, linewidth=1)
            plot.plot(np.nan if share.value is None else share.value, row, marker=marker, color=colour, markersize=5)
        plot.axvline(0, color="0.8", linewidth=0.6, zorder=0)
        plot.set_xlim(right=max(1.0, plot.get_xlim()[1]))
    chance = [1 / max(pair.identified.n, 1) for pair in report.pairs]
    right.plot(chance, rows, "|", color="black", markersize=9, label="chance")
    right.legend(frameon=False, loc="best")
    left.set_yticks(rows, names)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_xlabel("share of reliable variance of the second\nlanguage that the first tells")
    right.set_xlabel("share of held-out emotions that land\nnearest their counterpart")
    return figure
