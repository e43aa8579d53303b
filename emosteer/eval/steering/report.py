"""A steering report for people: tables for a terminal, JSON and figures in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer._util.own_files import require_own
from emosteer._util.stats import Estimate
from emosteer.eval.language import ENGLISH, listed, same_language
from emosteer.eval.steering.figures import draw_figures
from emosteer.eval.steering.results import CellResult, SteeringReport
from emosteer.eval.steering.summaries import MONOTONE, NEAR

if TYPE_CHECKING:
    from rich.table import Table

JSON = "steering.json"

__all__ = ["JSON", "notes", "tables", "write_report"]


def write_report(report: SteeringReport, folder: Path) -> dict[str, Path]:
    """Write `steering.json` and the figures.

    Args:
        report: The report.
        folder: Folder of the files, created if it does not exist.

    Returns:
        Name → file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: The folder cannot be written, or a file in it that would be replaced is not emosteer's.
    """
    pictures = draw_figures(report)
    names = {"json": JSON, **{name: f"{name}.png" for name in pictures}}
    contents = [strict_json.pretty(report.to_dict()).encode(), *pictures.values()]
    require_own(folder, names.values())
    write_folder(folder, dict(zip(names.values(), contents, strict=True)))
    return {name: folder / file for name, file in names.items()}


def notes(report: SteeringReport) -> list[str]:
    """Return remarks that the tables do not show, one sentence each."""
    remarks = []
    language = report.about["language"]
    if not same_language(language, [ENGLISH]):
        remarks.append(f"Asked and answered in {language!r}.")
    if left_out := report.about["judges_left_out"]:
        remarks.append(f"Left out, as they do not know {language!r}: {listed(left_out)}.")
    if not report.about["judges"]:
        remarks.append("No hit rates: no judge knows the language. Give one with --judge, or judges= in Python.")
    for way in report.ways:
        for judge, curves in way.dose_response.items():
            if curves:
                remarks.append(
                    f"{way.way}: by {judge}, probability rises with strength (Spearman at least {MONOTONE:g}) "
                    f"for {way.rising[judge]} of {len(curves)} emotions."
                )
            if judge in way.top_3:
                remarks.append(
                    f"{way.way}: by {judge}, {way.top_3[judge]} of answers have the emotion in the top three."
                )
        if way.stored_cost:
            remarks.append(
                f"{way.way}: strength 1.0 costs within {NEAR:g} nats of what the file says "
                f"for {way.near_stored} of {len(way.stored_cost)} emotions."
            )
    for pair in report.agreement:
        kappa = "–" if pair.kappa is None else f"{pair.kappa:.2f}"
        remarks.append(f"{' and '.join(pair.judges)} agree at Cohen's kappa {kappa}, n = {pair.n}.")
    remarks += [f"{judge} does not know {', '.join(names)}." for judge, names in report.not_heard.items() if names]
    return remarks


def tables(report: SteeringReport) -> list[Table]:
    """Return tables for a terminal: ways and controls over the basic emotions, then each emotion at full strength."""
    means = _table("way and strength", report, "Mean of the basic emotions")
    for cell in report.cells:
        if cell.emotion is None:
            name = " ".join(filter(None, [cell.way, (cell.control or "").replace("_", " "), f"{cell.strength:g}"]))
            means.add_row(name, *_row(report, cell))
    shown = [means]
    for way in report.ways:
        table = _table("emotion", report, f"{way.way}, strength {way.strength:g}")
        for emotion in report.emotions:
            if result := report.cell(way.way, emotion, way.strength):
                table.add_row(emotion, *_row(report, result))
        shown.append(table)
    return shown


def _table(first: str, report: SteeringReport, title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    judged = [f"{figure}\n{judge}" for figure in ("hit rate", "p") for judge in report.about["judges"]]
    heads = [first, *judged, "cost", "loops", "topic", "n"]  # narrow, so that a usual terminal holds one judge
    return Table(*heads, title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _row(report: SteeringReport, cell: CellResult) -> list[str]:
    """Return the cells of a row: hit rate and cost with their intervals, the others without."""
    judged = [cell.judged.get(judge, {}) for judge in report.about["judges"]]
    hits = [str(scores.get("hit", "–")) for scores in judged]
    probabilities = [_value(scores.get("probability")) for scores in judged]
    cost = str(cell.text.get("cost", "–"))
    return [*hits, *probabilities, cost, _value(cell.text.get("loops")), _value(cell.text.get("topic")), str(cell.n)]


def _value(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{estimate.value:.2f}"
