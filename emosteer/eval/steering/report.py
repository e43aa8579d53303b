"""A steering report for people: tables for a terminal, JSON and figures in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer._util.own_files import require_own
from emosteer._util.stats import Estimate
from emosteer.eval.judges import BASIC
from emosteer.eval.language import ENGLISH, listed, same_language
from emosteer.eval.steering.figures import draw_figures
from emosteer.eval.steering.results import CellResult, SteeringReport, WaySummary
from emosteer.eval.steering.summaries import MONOTONE, NEAR

if TYPE_CHECKING:
    from rich.table import Table

JSON = "steering.json"

__all__ = ["JSON", "bare_table", "notes", "tables", "value", "write_report"]


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
    """Return tables for a terminal.

    Ways and controls over the basic emotions; each emotion at full strength, the others by rank and by family; kinds of
    prompts; how answers read; tasks.
    """
    means = _table("way and strength", report, "Mean of the basic emotions")
    for cell in report.cells:
        if cell.emotion is None:
            means.add_row(_name(cell), *_row(report, cell))
    shown = [means]
    for way in report.ways:
        table = _table("emotion", report, f"{way.way}, strength {way.strength:g}")
        for emotion in report.emotions:
            if result := report.cell(way.way, emotion, way.strength):
                table.add_row(emotion, *_row(report, result))
        shown.append(table)
    shown += [_others(report, way) for way in report.ways] if _not_basic(report) else []
    return [*shown, *([_kinds(report)] if report.kinds else []), _reading(report), *_tasks(report)]


def _others(report: SteeringReport, way: WaySummary) -> Table:
    """Return how often the emotions that are not basic are heard by rank and by family."""
    judges, scores = report.about["judges"], ("top_1", "top_3", "family")
    heads = [f"{score.replace('_', ' ')}\n{judge}" for judge in judges for score in scores]
    table = bare_table(["emotion", *heads, "n"], f"{way.way}, strength {way.strength:g}: emotions that are not basic")
    for emotion in _not_basic(report):
        if result := report.cell(way.way, emotion, way.strength):
            heard = [result.judged.get(judge, {}) for judge in judges]
            table.add_row(emotion, *(value(of.get(score)) for of in heard for score in scores), str(result.n))
    return table


def _kinds(report: SteeringReport) -> Table:
    """Return what each way does on each kind of prompts."""
    judges = report.about["judges"]
    heads = ["way and kind", *(f"hit rate\n{judge}" for judge in judges), "cost", "cost\nasked", "topic", "n"]
    table = bare_table(heads, "Kinds of prompts, mean of the basic emotions at full strength")
    for kind in report.kinds:
        hits = [value(kind.judged.get(judge, {}).get("hit")) for judge in judges]
        costs = [value(kind.text.get(score)) for score in ("cost", "cost_asked", "topic")]
        table.add_row(f"{kind.way} {kind.kind}", *hits, *costs, str(kind.n))
    return table


def _reading(report: SteeringReport) -> Table:
    """Return how the answers of ways and controls at full strength read, and what they say besides the answer."""
    heads = {
        "cost_asked": "cost\nasked",
        "tokens": "tokens",
        "distinct_2_ratio": "distinct\n2-grams",
        "refusals": "refusals",
        "disclaimers": "dis-\nclaimers",
        "stated": "feeling\nstated",
        "coarse": "coarse",
        "coarse_change": "change",
    }
    table = bare_table(["way or control", *heads.values(), "n"], "How answers read, mean of the basic emotions")
    for cell in report.cells:
        if cell.emotion is None and cell.strength in (0.0, report.about["strengths"][-1]):
            table.add_row(_name(cell), *(value(cell.text.get(score)) for score in heads), str(cell.n))
    return table


def _tasks(report: SteeringReport) -> list[Table]:
    """Return how many tasks are solved, if that was measured."""
    if report.tasks is None:
        return []
    kinds = list(report.tasks.results[0].kinds)
    title = f"Tasks solved at strength {report.tasks.about['strength']:g}"
    table = bare_table(["way and emotion", "right", "of plain", *kinds, "n"], title)
    for result in report.tasks.results:
        name = f"{result.way or 'unsteered'} {result.emotion or ''}".strip()
        kept = "–" if result.kept is None else str(result.kept)
        table.add_row(name, str(result.right), kept, *(f"{result.kinds[kind]:.2f}" for kind in kinds), str(result.n))
    return [table]


def _not_basic(report: SteeringReport) -> list[str]:
    return [name for name in report.emotions if name not in BASIC] if report.about["judges"] else []


def _name(cell: CellResult) -> str:
    return " ".join(filter(None, [cell.way, (cell.control or "").replace("_", " "), f"{cell.strength:g}"]))


def _table(first: str, report: SteeringReport, title: str) -> Table:
    judged = [f"{figure}\n{judge}" for figure in ("hit rate", "p") for judge in report.about["judges"]]
    return bare_table([first, *judged, "cost", "loops", "topic", "n"], title)


def bare_table(heads: Sequence[str], title: str) -> Table:
    """Return a table without rows, narrow, so that a usual terminal holds one judge."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*heads, title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _row(report: SteeringReport, cell: CellResult) -> list[str]:
    """Return the cells of a row: hit rate and cost with their intervals, the others without."""
    judged = [cell.judged.get(judge, {}) for judge in report.about["judges"]]
    hits = [str(scores.get("hit", "–")) for scores in judged]
    probabilities = [value(scores.get("probability")) for scores in judged]
    cost = str(cell.text.get("cost", "–"))
    return [*hits, *probabilities, cost, value(cell.text.get("loops")), value(cell.text.get("topic")), str(cell.n)]


def value(estimate: Estimate | None) -> str:
    """Return an estimate without its interval, or a dash."""
    return "–" if estimate is None else f"{estimate.value:.2f}"
