"""What crosses languages, for people: tables for a terminal, JSON and a figure in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer._util.own_files import require_own
from emosteer.eval.language import listed
from emosteer.eval.plotting import COLOURS, MARKERS, draw_png, new_figure
from emosteer.eval.steering.crossing import LanguagesReport
from emosteer.eval.steering.report import bare_table, value

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

JSON = "languages.json"

__all__ = ["JSON", "notes", "tables", "write_report"]


def write_report(report: LanguagesReport, folder: Path) -> dict[str, Path]:
    """Write `languages.json` and, where a judge knows a language, `languages.png`.

    Args:
        report: The report.
        folder: Folder of the files, created if it does not exist.

    Returns:
        Name → file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: The folder cannot be written, or a file in it that would be replaced is not emosteer's.
    """
    pictures = draw_png(report, {"languages": _drawn} if any(report.about["judges"].values()) else {})
    names = {"json": JSON, **{name: f"{name}.png" for name in pictures}}
    contents = [strict_json.pretty(report.to_dict()).encode(), *pictures.values()]
    require_own(folder, names.values())
    write_folder(folder, dict(zip(names.values(), contents, strict=True)))
    return {name: folder / file for name, file in names.items()}


def notes(report: LanguagesReport) -> list[str]:
    """Return remarks that the tables do not show, one sentence each."""
    remarks = ["Of own: the hit rate as a share of what the vectors of the prompts' own language reach."]
    for language, judges in report.about["judges"].items():
        if left_out := report.about["judges_left_out"][language]:
            remarks.append(f"Left out in {language!r}, which they do not know: {listed(left_out)}.")
        if not judges:
            remarks.append(f"No hit rates in {language!r}: no judge knows it. Give one with --judge, or judges=.")
    return remarks


def tables(report: LanguagesReport) -> list[Table]:
    """Return tables for a terminal, by language: the means with their intervals, then the emotions in each way."""
    shown = []
    for language, judges in report.about["judges"].items():
        shown.append(_means(report, language))
        shown += [_emotions(report, language, way) for way in report.about["ways"]] if judges else []
    return shown


def _means(report: LanguagesReport, language: str) -> Table:
    heads = ["way", "vectors", "judge", "hit rate", "of own", "cost", "n"]
    table = bare_table(heads, f"Prompts in {language}: mean of the emotions")
    for one in report.crossings:
        for judge in report.about["judges"][language] or ["–"]:
            if (one.language, one.emotion) == (language, None):
                told = [str(values.get(judge, "–")) for values in (one.hit, one.of_own)]
                cost = "–" if one.cost is None else str(one.cost)
                table.add_row(one.way or "unsteered", one.made_from or "–", judge, *told, cost, str(one.n))
    return table


def _emotions(report: LanguagesReport, language: str, way: str) -> Table:
    judges, sets = report.about["judges"][language], [("", ""), *((way, name) for name in report.about["made_from"])]
    heads = ["emotion", "vectors", *(f"{score}\n{judge}" for judge in judges for score in ("hit rate", "of own"))]
    table = bare_table([*heads, "cost", "n"], f"Prompts in {language}: {way}")
    for emotion in report.about["emotions"]:
        for key in sets:
            one = report.crossing(*key, language, emotion)
            told = [value(values.get(judge)) for judge in judges for values in (one.hit, one.of_own)]
            table.add_row(emotion, one.made_from or "unsteered", *told, value(one.cost), str(one.n))
    return table


def _drawn(report: LanguagesReport) -> Figure:
    """Draw the hit rate of each emotion: a row a way, a panel a language and judge, a colour a set of vectors."""
    panels = [(language, judge) for language, judges in report.about["judges"].items() for judge in judges]
    ways, emotions, sets = [*report.about["ways"]], [*report.about["emotions"], None], report.about["made_from"]
    figure = new_figure(3.4 * len(panels) + 0.4, 2.2 * len(ways) + 0.9)
    axes = figure.subplots(len(ways), len(panels), sharex=True, sharey=True, squeeze=False)
    looks = [("", "#808080", "x"), *((made_from, COLOURS[i % 8], MARKERS[i % 8]) for i, made_from in enumerate(sets))]
    handles: dict[str, Any] = {}
    for row, way in zip(axes, ways, strict=True):
        for plot, (language, judge) in zip(row, panels, strict=True):
            for i, (made_from, colour, marker) in enumerate(looks):
                of = [report.crossing(way if made_from else "", made_from, language, name) for name in emotions]
                hits = [
                    (x + 0.8 * ((i + 0.5) / len(looks) - 0.5), one.hit[judge])
                    for x, one in enumerate(of)
                    if judge in one.hit
                ]
                places, rates = [x for x, _ in hits], [rate for _, rate in hits]
                label = f"vectors from {made_from}" if made_from else "unsteered"
                handles[label] = plot.scatter(places, [rate.value for rate in rates], s=14, color=colour, marker=marker)
                plot.vlines(places, [rate.low for rate in rates], [rate.high for rate in rates], color=colour, lw=0.8)
            plot.set_title(f"{way}, prompts in {language}, judge {judge}", fontsize=8)
            plot.set_xticks(range(len(emotions)), [name or "mean" for name in emotions], rotation=45, ha="right")
            plot.set_ylim(-0.02, 1.02)
        row[0].set_ylabel("hit rate")
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=4, frameon=False)
    return figure
