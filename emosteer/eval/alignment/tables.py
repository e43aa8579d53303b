"""Tables of an alignment report: every value with its interval, p and n, beside its control and the human ceiling.

A `Sheet` holds plain text, so that the terminal and the page show the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer.eval.alignment.ratings import AXES, Prediction
from emosteer.eval.alignment.results import AlignmentReport, Ceiling, Geometry, Transfer, WordRatings
from emosteer.eval.alignment.statistics import Measure

if TYPE_CHECKING:
    from rich.table import Table

FURTHEST = 3
"""Number of emotions named as the most different between two languages."""

MISSING = "–"

# Measure of a geometry → its label, and the agreement of human ratings to compare it with.
_GEOMETRY = {
    "rsa": ("RSA", "rsa"),
    "rsa_plane": ("RSA, two components", "rsa"),
    "rsa_other_half": ("RSA, layer from other half", "rsa"),
    "pc1_valence": ("PC1–valence, |r|", "valence"),
    "pc2_arousal": ("PC2–arousal, |r|", "arousal"),
    "pc2_arousal_given_valence": ("… given valence, |partial r|", "arousal_given_valence"),
    "axis_valence": ("held-out valence axis, r", "valence"),
    "axis_arousal": ("held-out arousal axis, r", "arousal"),
    "axis_arousal_given_valence": ("… given valence, partial r", "arousal_given_valence"),
    "circumplex": ("circumplex, held-out R²", ""),
}
_AGREEMENT = {
    "rsa": "RSA",
    "valence": "valence, r",
    "arousal": "arousal, r",
    "arousal_given_valence": "arousal given valence, r",
}

__all__ = ["Sheet", "method", "notes", "sheets", "tables"]


@dataclass(frozen=True)
class Sheet:
    """A table as plain text.

    Args:
        title: Title of the table.
        head: Name of each column; a line break only saves width.
        rows: Cells; the first of each row is its name.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(report: AlignmentReport) -> list[Table]:
    """Return all tables for a terminal of 100 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    look: dict[str, Any] = {"title_justify": "left", "box": SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False}
    shown = []
    for sheet in sheets(report):
        # Text, since names come from people's files and square brackets are markup to rich.
        table = Table(*sheet.head, title=Text(sheet.title), **look)
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))
        shown.append(table)
    return shown


def notes(report: AlignmentReport) -> list[str]:
    """Return remarks that the tables do not show, one or two sentences each."""
    remarks = list(report.notes)
    for transfer in report.transfers:
        source, target = (_number(r) for r in transfer.coupling)
        remarks.append(
            f"Human valence and arousal correlate at r = {source} in {transfer.source} and {target} in "
            f"{transfer.target}: the part of an arousal axis that follows valence in the first misleads in the second."
        )
    for pair in report.pairs:
        furthest = [f"{name} ({apart:.1f})" for name, apart in list(pair.differences.items())[:FURTHEST]]
        if furthest:
            remarks.append(
                f"{' → '.join(pair.languages)}: furthest from their counterparts, in units of the mean distance, are "
                f"{', '.join(furthest)}."
            )
    return remarks


def sheets(report: AlignmentReport) -> list[Sheet]:
    """Return all tables of a report that have rows."""
    every = [
        *(_geometry(shape, report.ceilings) for shape in report.geometry),
        _ceilings(report),
        *(_words(words, report.ceilings) for words in report.words),
        *map(_transfer, report.transfers),
        _pairs(report),
    ]
    return [sheet for sheet in every if sheet.rows]


def method(report: AlignmentReport) -> Sheet:
    """Return all settings that the report records, and the norms."""
    norms = [
        (f"norms, {words.norms}", f"{len(words.words)} words, {words.language}; {words.license or MISSING}")
        for words in report.words
    ]
    return Sheet("How it was measured", ("what", "value"), (*_leaves(report.about), *norms))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and text of everything in nested data; a list is one leaf."""
    if isinstance(value, Mapping):
        for name, inside in value.items():
            step = str(name).replace("_", " ")
            yield from _leaves(inside, f"{path}, {step}" if path else step)
    else:
        yield path, " · ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _beside(ceilings: Iterable[Ceiling], ratings: str, of: str) -> list[Ceiling]:
    """Return the ceilings of one set of human ratings, of `"categories"` or `"words"`."""
    return [ceiling for ceiling in ceilings if ceiling.of == of and ratings in ceiling.between]


def _geometry(shape: Geometry, ceilings: Iterable[Ceiling]) -> Sheet:
    beside = _beside(ceilings, shape.ratings, "categories")
    rows = []
    for name, (label, agreement) in _GEOMETRY.items():
        if result := shape.measures.get(name):
            humans = [ceiling.measures[agreement].value for ceiling in beside if agreement in ceiling.measures]
            rows.append((label, *_value_p(result), str(result.n), *_value_p(shape.control.get(name)), _range(humans)))
    head = ("measure", "model", "p", "n", "input embeddings", "p", "human\nceiling")
    title = f"Shape of the emotions in {shape.language} against {shape.ratings}, layer {shape.layer}"
    return Sheet(title, head, tuple(rows))


def _ceilings(report: AlignmentReport) -> Sheet:
    rows = [
        (" and ".join(ceiling.between), ceiling.of, _AGREEMENT.get(name, name), *_value_p(result), str(result.n))
        for ceiling in report.ceilings
        for name, result in ceiling.measures.items()
    ]
    head = ("between", "of", "measure", "agreement", "p", "n")
    return Sheet("Human ratings against human ratings: the ceiling", head, tuple(rows))


def _words(words: WordRatings, ceilings: Iterable[Ceiling]) -> Sheet:
    controls = {name.replace("_", " "): control for name, control in words.controls.items()}
    random = controls.pop("random directions", None)
    predictions = {"full states": words.full, **controls, "emotion directions": words.directions}
    if random:
        predictions["random directions"] = random
    rows = [_axes_row(name, prediction.r, prediction) for name, prediction in predictions.items()]
    rows.append(_axes_row("gain over random", words.advantage))
    for ceiling in _beside(ceilings, words.norms, "words"):
        other = next((name for name in ceiling.between if name != words.norms), words.norms)
        rows.append(_axes_row(f"ceiling: {other}", ceiling.measures))
    head = ("predicted from", "valence, r", "p", "R²", "arousal, r", "p", "R²", "n")
    return Sheet(f"Ratings of held-out words, {words.norms} ({words.language})", head, tuple(rows))


def _axes_row(name: str, measures: Mapping[str, Measure], prediction: Prediction | None = None) -> tuple[str, ...]:
    squares = prediction.r_squared if prediction else {}
    cells = [cell for axis in AXES for cell in (*_value_p(measures.get(axis)), _number(squares.get(axis)))]
    return (name, *cells, next((str(measure.n) for measure in measures.values()), MISSING))


def _transfer(transfer: Transfer) -> Sheet:
    prediction, control = transfer.prediction, transfer.control
    results = {
        **prediction.r,
        "arousal given valence": transfer.arousal_given_valence,
        "arousal beyond valence": transfer.arousal_beyond_valence,
    }
    rows = [
        (
            name,
            *_value_p(result),
            _number(prediction.r_squared.get(name)),
            str(result.n),
            *_value_p(control.r.get(name)),
        )
        for name, result in results.items()
    ]
    source, target = transfer.languages
    title = f"Fitted to {transfer.source} ({source}), read on {transfer.target} ({target}) without refitting"
    return Sheet(title, ("axis", "r", "p", "R²", "n", "input embeddings", "p"), tuple(rows))


def _pairs(report: AlignmentReport) -> Sheet:
    rows = [
        (
            " → ".join(pair.languages),
            *map(_stacked, (pair.procrustes, pair.identified, pair.rsa, pair.shared)),
            *map(_number, (pair.specific, pair.unreliable)),
            str(pair.procrustes.n),
        )
        for pair in report.pairs
    ]
    head = ("map", "Procrustes,\nheld-out R²", "identified\n(chance 1/n)", "RSA", "shared")
    return Sheet("What the emotions of two languages share", (*head, "specific", "unreliable", "n"), tuple(rows))


def _stacked(measure: Measure) -> str:
    """Return a narrow cell, with interval and p below the value."""
    value, p = _value_p(measure)
    return value.replace(" [", "\n[") + ("" if p == MISSING else f"\np {p}" if p[0] == "<" else f"\np = {p}")


def _value_p(measure: Measure | None) -> tuple[str, str]:
    """Return the cells of a value with its interval, and of its p."""
    if measure is None or measure.p is None:
        return MISSING if measure is None else str(measure), MISSING
    return str(measure), "<0.001" if measure.p < 0.001 else f"{measure.p:.3f}"


def _range(values: Iterable[float | None]) -> str:
    known = [_number(value) for value in sorted(value for value in values if value is not None)]
    return " to ".join(dict.fromkeys((known[0], known[-1]))) if known else MISSING


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}".replace("-", "−")
