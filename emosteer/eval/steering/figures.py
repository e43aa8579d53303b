"""Figures of a steering report: dose-response, confusion of emotions, tone against cost."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from emosteer._util.stats import Estimate
from emosteer.eval.judges import BASIC
from emosteer.eval.plotting import COLOURS, MARKERS, draw_png, new_figure
from emosteer.eval.steering.results import CellResult, SteeringReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTROLS = {"unsteered": "X", "random": "*", "shuffled": "p", "flipped": "<", "prompt_only": "h"}
COLUMNS = 5

__all__ = ["draw_figures"]


def draw_figures(report: SteeringReport) -> dict[str, bytes]:
    """Draw a report.

    Returns:
        Name → PNG: `dose_response`, and for basic emotions `confusion` and `tone_and_cost`; none without a judge.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if not report.about["judges"]:
        return {}
    drawings = {"dose_response": _dose_response}
    if set(report.emotions) & set(BASIC):
        drawings |= {"confusion": _confusion, "tone_and_cost": _tone_and_cost}
    return draw_png(report, drawings)


def _dose_response(report: SteeringReport) -> Figure:
    """Draw judged probability over strength with its interval, one small plot for each emotion that a judge knows."""
    judges = report.about["judges"]
    shown = [name for name in report.emotions if any(name not in report.not_heard[judge] for judge in judges)]
    columns = min(COLUMNS, max(len(shown), 1))
    rows = max(-(-len(shown) // columns), 1)
    figure = new_figure(1.6 * columns + 0.6, 1.5 * rows + 0.8)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
    handles: dict[str, Any] = {}
    looks = cycle(zip(COLOURS[:6], MARKERS[:6], strict=True))
    lines = [(way.way, judge) for way in report.ways for judge in judges]
    for (way, judge), (colour, marker) in zip(lines, looks, strict=False):
        for plot, emotion in zip(axes, shown, strict=False):
            points = _curve(report, way, judge, emotion)
            if not points:
                continue
            x, y = zip(*points, strict=True)
            label = f"{way}, judge {judge}"
            look = {"color": colour, "marker": marker, "markersize": 3, "linewidth": 1, "label": label}
            (handles[label],) = plot.plot(x, [estimate.value for estimate in y], **look)
            low, high = ([getattr(estimate, end) for estimate in y] for end in ("low", "high"))
            plot.fill_between(x, low, high, color=colour, alpha=0.2)
    for plot, emotion in zip(axes, shown, strict=False):
        plot.set_title(emotion, fontsize=8)
        plot.set_ylim(bottom=0)
    for plot in axes[len(shown) :]:
        plot.set_axis_off()
    figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("strength, in calibrated doses")
    figure.supylabel("judged probability")
    return figure


def _curve(report: SteeringReport, way: str, judge: str, emotion: str) -> list[tuple[float, Estimate]]:
    cells: list[CellResult | None] = [report.cell("", emotion, 0.0, "unsteered")]
    cells += [report.cell(way, emotion, strength) for strength in report.about["strengths"] if strength]
    return [
        (cell.strength, cell.judged[judge]["probability"])
        for cell in cells
        if cell and "probability" in cell.judged.get(judge, {})
    ]


def _confusion(report: SteeringReport) -> Figure:
    """Draw the emotion asked for against the emotion judged, one matrix for each way and judge; rows sum to 1."""
    tables = [
        (way, judge, table) for way, of_way in report.confusion.items() for judge, table in of_way.items() if table
    ]
    figure = new_figure(3.2 * max(len(tables), 1), 3.2)
    axes = figure.subplots(1, max(len(tables), 1), squeeze=False).flatten()
    for plot, (way, judge, table) in zip(axes, tables, strict=False):
        asked = list(table)
        judged = list(table[asked[0]])
        shares = [[table[emotion][other] for other in judged] for emotion in asked]
        plot.imshow(shares, cmap="Greys", vmin=0, vmax=1)
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                plot.text(j, i, f"{share:.2f}", ha="center", va="center", color="white" if share > 0.5 else "black")
        plot.set_xticks(range(len(judged)), judged, rotation=45, ha="right")
        plot.set_yticks(range(len(asked)), asked)
        plot.set(xlabel=f"judged by {judge}", ylabel="asked for", title=way)
    return figure


def _tone_and_cost(report: SteeringReport) -> Figure:
    """Draw hit rate against cost over the strengths of each way, with the controls; mean over basic emotions."""
    judges = [judge for judge in report.about["judges"] if any(judge in way.hit_rate for way in report.ways)]
    figure = new_figure(3.4 * max(len(judges), 1), 3.2)
    axes = figure.subplots(1, max(len(judges), 1), sharey=True, squeeze=False).flatten()
    means = [cell for cell in report.cells if cell.emotion is None and "cost" in cell.text]
    looks = {way.way: look for way, look in zip(report.ways, cycle(zip(COLOURS, MARKERS, strict=True)), strict=False)}
    for plot, judge in zip(axes, judges, strict=False):
        known = [cell for cell in means if "hit" in cell.judged.get(judge, {})]
        for way, (colour, marker) in looks.items():
            line = sorted((c for c in known if c.way == way and c.control is None), key=lambda cell: cell.strength)
            _mark(plot, line, judge, marker=marker, color=colour, linestyle="-", label=way)
        for cell in known:
            if cell.control:
                label = cell.control.replace("_", " ") + (f", {cell.way}" if cell.way and len(looks) > 1 else "")
                colour = looks[cell.way][0] if cell.way in looks else "black"
                look = {"marker": CONTROLS[cell.control], "markerfacecolor": "white", "color": colour}
                _mark(plot, [cell], judge, **look, linestyle="none", label=label)
        plot.set(xlabel="cost, nats a token", title=f"judge {judge}")
        plot.set_ylim(-0.02, 1)
    axes[0].set_ylabel("hit rate, mean over basic emotions")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _mark(plot: Any, cells: list[CellResult], judge: str, **look: Any) -> None:
    cost = [cell.text["cost"] for cell in cells]
    hits = [cell.judged[judge]["hit"] for cell in cells]
    plot.errorbar(
        [x.value for x in cost],
        [y.value for y in hits],
        xerr=[[x.value - x.low for x in cost], [x.high - x.value for x in cost]],
        yerr=[[y.value - y.low for y in hits], [y.high - y.value for y in hits]],
        markersize=6,
        linewidth=1,
        elinewidth=0.4,
        **look,
    )
