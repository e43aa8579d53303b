"""A steering report for people: tables for a terminal, a section for the model card, JSON and figures in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer import strict_json
from emosteer.card import with_measured
from emosteer.errors import InputError
from emosteer.eval.bootstrap import Estimate
from emosteer.eval.figures import write_figures
from emosteer.eval.steering import MONOTONE, NEAR, CellResult, SteeringReport
from emosteer.format import CARD_FILE

if TYPE_CHECKING:
    from rich.table import Table

JSON, SECTION = "steering.json", "steering.md"

_CAPTIONS = {
    "dose_response": "Judged probability of the emotion over strength",
    "confusion": "Emotion asked for against emotion judged, at the highest strength",
    "tone_and_cost": "Hit rate against cost, with controls",
}

__all__ = ["JSON", "SECTION", "card_section", "notes", "tables", "write_into_card", "write_report"]


def write_report(report: SteeringReport, folder: Path) -> dict[str, Path]:
    """Write `steering.json`, `steering.md` (the section for the card) and the figures.

    Args:
        report: What was measured.
        folder: Where; made if it is not there.

    Returns:
        Name → file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: The folder cannot be written.
    """
    figures = write_figures(report, folder)
    files = {"json": folder / JSON, "section": folder / SECTION}
    pictures = {name: file.name for name, file in figures.items()}
    try:
        files["json"].write_text(strict_json.pretty(report.to_dict()), encoding="utf-8")
        files["section"].write_text(card_section(report, pictures), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}).") from error
    return {**files, **figures}


def write_into_card(report: SteeringReport, folder: Path) -> None:
    """Put the section into the card of a folder of vectors, and the pictures beside it.

    Args:
        report: What was measured.
        folder: Of the vectors.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: There is no card, or the folder cannot be written.
    """
    file = folder / CARD_FILE
    try:
        text = file.read_text(encoding="utf-8")
        pictures = {name: picture.name for name, picture in write_figures(report, folder).items()}
        file.write_text(with_measured(text, card_section(report, pictures)), encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The card {file} cannot be read and written ({error}).") from error


def card_section(report: SteeringReport, pictures: Mapping[str, str] | None = None) -> str:
    """`## What strength 1.0 does`, in Markdown.

    Args:
        report: What was measured.
        pictures: Name of a figure → its path, relative to the card.
    """
    about, judges = report.about, report.about["judges"]
    top = about["strengths"][-1]
    lines = [
        f"## What strength {top} does",
        "",
        f"{about['n_answers']} answers to {about['n_prompts']} everyday prompts, {about['max_new_tokens']} tokens at "
        f"temperature {about['temperature']:g}; judges: {', '.join(judges)}. Hit rate: share of answers in which the "
        "judge finds the emotion before the other basic ones. p: probability that it gives the emotion among all its "
        "labels. Cost: nats a token under the plain model above its own answers. Loops: share of answers that go in "
        "circles. Topic: similarity to plain answers, 1 being that of plain answers to each other. In brackets the "
        "95 % interval, by bootstrap over prompts.",
    ]
    for way in report.ways:
        head = ["emotion", *_columns(report)]
        lines += ["", f"Way `{way.way}`:", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for emotion in (None, *report.emotions):
            if found := report.cell(way.way, emotion, way.strength):
                lines.append(f"| {' | '.join([emotion or 'mean of the basic ones', *_cells(report, found)])} |")
    controls = [cell for cell in report.cells if cell.emotion is None and cell.control]
    if controls:
        head = ["control", "way", *_columns(report)]
        lines += ["", "Controls, mean of the basic emotions:", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for cell in controls:
            named = [str(cell.control).replace("_", " "), cell.way or "–"]
            lines.append(f"| {' | '.join([*named, *_cells(report, cell)])} |")
    lines += [line for note in notes(report) for line in ("", note)]
    for name, path in (pictures or {}).items():
        lines += ["", f"![{_CAPTIONS[name]}]({path})"]
    return "\n".join([*lines, ""])


def notes(report: SteeringReport) -> list[str]:
    """What stands in no table, a sentence each."""
    found = []
    for way in report.ways:
        for judge, curves in way.dose_response.items():
            if curves:
                found.append(
                    f"{way.way}: by {judge}, probability rises with strength (Spearman at least {MONOTONE:g}) "
                    f"for {way.rising[judge]} of {len(curves)} emotions."
                )
            if judge in way.top_3:
                found.append(f"{way.way}: by {judge}, {way.top_3[judge]} of answers have the emotion in the top three.")
        if way.stored_cost:
            found.append(
                f"{way.way}: strength 1.0 costs within {NEAR:g} nats of what the file says "
                f"for {way.near_stored} of {len(way.stored_cost)} emotions."
            )
    for pair in report.agreement:
        kappa = "–" if pair.kappa is None else f"{pair.kappa:.2f}"
        found.append(f"{' and '.join(pair.judges)} agree at Cohen's kappa {kappa}, n = {pair.n}.")
    found += [f"{judge} does not know {', '.join(names)}." for judge, names in report.not_heard.items() if names]
    return found


def tables(report: SteeringReport) -> list[Table]:
    """For a terminal: ways and controls over the basic emotions, then every emotion at the highest strength."""
    means = _table("way and strength", report, "Mean of the basic emotions")
    for cell in report.cells:
        if cell.emotion is None:
            name = " ".join(filter(None, [cell.way, (cell.control or "").replace("_", " "), f"{cell.strength:g}"]))
            means.add_row(name, *_cells(report, cell))
    found = [means]
    for way in report.ways:
        each = _table("emotion", report, f"{way.way}, strength {way.strength:g}")
        for emotion in report.emotions:
            if here := report.cell(way.way, emotion, way.strength):
                each.add_row(emotion, *_cells(report, here))
        found.append(each)
    return found


def _table(first: str, report: SteeringReport, title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    # Narrow, so that a terminal of usual width holds one judge.
    heads = [head.replace(", ", "\n") for head in _columns(report)]
    return Table(
        first, *heads, title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )


def _columns(report: SteeringReport) -> list[str]:
    by_judge = [f"{figure}, {judge}" for figure in ("hit rate", "p") for judge in report.about["judges"]]
    return [*by_judge, "cost", "loops", "topic", "n"]


def _cells(report: SteeringReport, cell: CellResult) -> list[str]:
    """What stands in the columns: hit rate and cost with their intervals, the rest without."""
    judged = [cell.judged.get(judge, {}) for judge in report.about["judges"]]
    hits = [str(one["hit"]) if "hit" in one else "–" for one in judged]
    probabilities = [_value(one.get("probability")) for one in judged]
    cost = str(cell.text["cost"]) if "cost" in cell.text else "–"
    return [*hits, *probabilities, cost, _value(cell.text.get("loops")), _value(cell.text.get("topic")), str(cell.n)]


def _value(found: Estimate | None) -> str:
    return "–" if found is None else f"{found.value:.2f}"
