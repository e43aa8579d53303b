"""Figures of an alignment report: circumplex, similarities, components, layers, words, and what languages share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emosteer.errors import InputError, MissingExtraError
from emosteer.eval.alignment.labels import place
from emosteer.eval.alignment.ratings import AXES
from emosteer.eval.alignment.results import AlignmentReport, Geometry, LanguagePair
from emosteer.eval.alignment.statistics import distances, standardised
from emosteer.eval.steering import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (*figures.COLOURS, "#000000", "#8A8A00")
MARKERS = (*figures.MARKERS, "X", "*")
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

__all__ = ["CAPTIONS", "write_figures"]


def write_figures(report: AlignmentReport, folder: Path) -> dict[str, Path]:
    """Draw a report; the same report gives the same bytes with the same matplotlib.

    Args:
        report: What was measured.
        folder: Where the PNG files go; made if it is not there.

    Returns:
        Name → file, in the order of `CAPTIONS`; those that the report has nothing for are left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: The folder cannot be written.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError("Figures need matplotlib.", "Install it with: pip install 'emosteer[eval]'") from error

    drawn: dict[str, Callable[[AlignmentReport], Figure]] = {}
    if report.geometry:
        drawn = {"circumplex": _circumplex, "similarity": _similarity, "scree": _scree, "layers": _layers}
    if report.words:
        drawn |= {"layers": _layers, "words": _words}
    if report.pairs:
        drawn |= {"languages": _languages, "shared": _shared}
    files = {}
    # Names come from people's files: a dollar sign in one is no formula.
    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False}):
        for name, draw in drawn.items():
            files[name] = folder / f"alignment_{name}.png"
            figure = draw(report)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(files[name], dpi=150, metadata={"Software": None})
            except OSError as error:
                raise InputError(f"{files[name]} cannot be written ({error.strerror}).") from error
    return files


def _new(width: float, height: float) -> Figure:
    # Without pyplot: no window, no global state, no display that has to be there. At the resolution of the file, since
    # names are placed in pixels.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _firsts(report: AlignmentReport) -> list[Geometry]:
    """Each language against the first set of ratings it was held against."""
    found: dict[str, Geometry] = {}
    for shape in report.geometry:
        found.setdefault(shape.language, shape)
    return list(found.values())


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each name, so that a line is told apart in grey too."""
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(dict.fromkeys(names))
    }


def _circumplex(report: AlignmentReport) -> Figure:
    """Model and human points of each language, joined; the model's plane is turned onto the ratings."""
    shapes = _firsts(report)
    columns = min(2, len(shapes))
    rows = -(-len(shapes) // columns)
    figure = _new(5.4 * columns, 5.2 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for plot, shape in zip(axes, shapes, strict=False):
        human = {"label": f"people ({shape.ratings})", "marker": "o", "color": GREY, "markerfacecolor": "white"}
        model = {"label": f"model, layer {shape.layer}", "marker": "s", "color": COLOURS[0]}
        _joined(plot, (shape.human, human), (shape.points, model))
        plot.set_title(f"{shape.language}, {len(shape.emotions)} emotions", fontsize=9)
        plot.set(xlabel="valence, −1 unpleasant to 1 pleasant", ylabel="arousal, −1 still to 1 stirred up")
    for plot in axes[len(shapes) :]:
        plot.set_axis_off()
    figure.draw_without_rendering()
    for plot, shape in zip(axes, shapes, strict=False):
        place(plot, shape.points, shape.emotions, shape.human)
    return figure


def _joined(plot: Axes, *sides: tuple[Sequence[tuple[float, float]], dict[str, Any]]) -> None:
    """Two sets of points with a line between partners, in axes of one scale."""
    (ours, _), (theirs, _) = sides
    for (x, y), (other_x, other_y) in zip(ours, theirs, strict=True):
        plot.plot([x, other_x], [y, other_y], color="0.75", linewidth=0.7, zorder=2)
    for points, look in sides:
        plot.plot(*np.transpose(points), linestyle="none", markersize=4, zorder=3, **look)
    plot.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    plot.axvline(0, color="0.85", linewidth=0.6, zorder=0)
    low, high = np.min([*ours, *theirs], 0), np.max([*ours, *theirs], 0)
    middle, reach = (low + high) / 2, 0.56 * (high - low).max() or 1.0
    plot.set_xlim(middle[0] - reach, middle[0] + reach)
    plot.set_ylim(middle[1] - reach, middle[1] + reach)
    plot.set_aspect("equal")
    plot.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False, fontsize=7)


def _similarity(report: AlignmentReport) -> Figure:
    """Two matrices for each language: correlation of emotions in the model, closeness of the human ratings."""
    shapes = _firsts(report)
    figure = _new(10, 4.5 * len(shapes))
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
    shapes = _firsts(report)
    figure = _new(4.2, 3.2)
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
    """Each figure over the layers of the grid."""
    shapes = _firsts(report)
    panels = {
        "rsa": "RSA, Spearman's correlation",
        "pc1_valence": "PC1–valence, |r|",
        "pc2_arousal_given_valence": "PC2–arousal given valence, |partial r|",
    }
    figure = _new(6.6, 5.6)
    axes = figure.subplots(2, 2, sharex=True, sharey=True).flatten()
    looks = _looks([shape.language for shape in shapes] + [words.language for words in report.words])
    for plot, (name, title) in zip(axes, panels.items(), strict=False):
        for shape in shapes:
            of = {layer: found.get(name, np.nan) for layer, found in sorted(shape.profile.items())}
            _profile(plot, of, f"{shape.language}, {shape.ratings}", chosen=shape.layer, **looks[shape.language])
        plot.set_title(title, fontsize=8)
    for words, marker in zip(report.words, cycle(MARKERS), strict=False):
        look = {**looks[words.language], "marker": marker, "markerfacecolor": "white"}
        for axis, style in zip(AXES, ("-", "--"), strict=True):
            of = {layer: found.get(axis, np.nan) for layer, found in sorted(words.profile.items())}
            label = f"words of {words.norms} ({words.language}), {axis}"
            _profile(axes[3], of, label, linestyle=style, **look)
    axes[3].set_title("ratings of held-out words, r", fontsize=8)
    handles = [*axes[0].get_legend_handles_labels()[0], *axes[3].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    if layers := report.about.get("layer_grid"):
        axes[0].set_xticks(layers)
    axes[0].set_ylim(top=1)
    axes[0].set_ylim(bottom=min(0, axes[0].get_ylim()[0]))
    for plot in axes[2:]:
        plot.set_xlabel("layer" + (" (ring: the one chosen)" if plot is axes[2] else ""))
    return figure


def _profile(plot: Axes, of: dict[int, float], label: str, *, chosen: int | None = None, **look: Any) -> None:
    plot.plot(list(of), list(of.values()), label=label, markersize=3.5, linewidth=1, **look)
    if chosen in of:
        plot.plot(chosen, of[chosen], "o", markersize=9, markerfacecolor="none", markeredgecolor=look["color"])


def _words(report: AlignmentReport) -> Figure:
    """A row for each norms: how many words fall where, predicted over rated."""
    figure = _new(7, 3.0 * len(report.words))
    for row, words in zip(figure.subplots(len(report.words), 2, squeeze=False), report.words, strict=True):
        for i, (plot, axis) in enumerate(zip(row, AXES, strict=True)):
            rated, predicted = (np.asarray(side, dtype=float)[:, i] for side in (words.rated, words.predicted))
            reach = max(1.0, float(np.abs(predicted).max()))
            bins = plot.hexbin(
                *(rated, predicted), gridsize=36, extent=(-1, 1, -reach, reach), mincnt=1, bins="log", cmap="cividis_r"
            )
            plot.plot([-1, 1], [-1, 1], color=GREY, linewidth=0.7, linestyle=":")
            figure.colorbar(bins, ax=plot, label="words", shrink=0.7, ticks=COUNTS, format="%d").minorticks_off()
            found = words.full.r[axis]
            plot.set_title(f"{words.norms} ({words.language})\n{axis}, r = {found}, n = {found.n}", fontsize=8)
            plot.set(xlabel=f"rated {axis}, −1 to 1", ylabel=f"predicted {axis}, −1 to 1")
            plot.set(xlim=(-1, 1), ylim=(-reach, reach), aspect="equal")
    return figure


def _languages(report: AlignmentReport) -> Figure:
    """Each pair that starts from the first language: its two planes joined, and the distances that remain."""
    shapes = {shape.language: shape for shape in _firsts(report)}
    first = report.pairs[0].languages[0]
    pairs = [pair for pair in report.pairs if pair.languages[0] == first and set(pair.languages) <= set(shapes)]
    figure = _new(10, 5.2 * max(len(pairs), 1))
    axes = figure.subplots(max(len(pairs), 1), 2, squeeze=False, width_ratios=(3, 2))
    placed = []
    for (plane, bars), pair in zip(axes, pairs, strict=False):
        one, other = (shapes[language] for language in pair.languages)
        names = [name for name in one.emotions if name in other.emotions]
        sides = [[shape.points[shape.emotions.index(name)] for name in names] for shape in (one, other)]
        looks = ({"marker": "o", "color": COLOURS[0]}, {"marker": "^", "color": COLOURS[1], "markerfacecolor": "white"})
        joined = (
            (points, {**look, "label": f"model in {shape.language}"})
            for points, look, shape in zip(sides, looks, (one, other), strict=True)
        )
        _joined(plane, *joined)
        plane.set(xlabel="valence, turned onto people's ratings", ylabel="arousal, turned onto people's ratings")
        _bars(bars, pair)
        placed.append((plane, sides, names))
    figure.draw_without_rendering()
    for plane, (ours, theirs), names in placed:
        place(plane, ours, names, theirs)
    return figure


def _bars(plot: Axes, pair: LanguagePair) -> None:
    """Distance of each emotion from its counterpart, largest on top."""
    names, apart = list(pair.differences), list(pair.differences.values())
    plot.barh(names, apart, color=COLOURS[4], edgecolor=GREY, linewidth=0.5)
    plot.axvline(1, color=GREY, linewidth=0.8, linestyle="--")
    plot.invert_yaxis()
    plot.margins(y=0.01)
    plot.tick_params(axis="y", labelsize=6)
    plot.set_title(f"{' → '.join(pair.languages)}, held-out emotions, n = {pair.procrustes.n}", fontsize=8)
    plot.set_xlabel("distance after mapping, 1 = mean over emotions")


def _shared(report: AlignmentReport) -> Figure:
    """For every ordered pair, the shared part with its interval, and identification beside its chance."""
    names = [" → ".join(pair.languages) for pair in report.pairs]
    rows = np.arange(len(names))
    figure = _new(7, 0.28 * len(names) + 1.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for plot, kind, colour, marker in ((left, "shared", COLOURS[0], "o"), (right, "identified", COLOURS[1], "s")):
        found = [getattr(pair, kind) for pair in report.pairs]
        for row, one in zip(rows, found, strict=True):
            if one.value is not None:
                if one.low is not None:
                    plot.plot([one.low, one.high], [row, row], color=colour, linewidth=1)
                plot.plot(one.value, row, marker=marker, color=colour, markersize=5)
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
