"""An alignment report as tables: every figure with its interval, p and n, its control and the human ceiling beside it.

A `Sheet` is a table before it is one of a terminal, of Markdown or of HTML, so that all three say the same.
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
"""Emotions that are named as the most different between two languages."""

MISSING = "–"

# Measure of a geometry → what people read, and the agreement of human ratings that it is held against.
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

__all__ = ["Sheet", "ceilings_of", "method", "notes", "p_value", "sheets", "tables", "told"]


@dataclass(frozen=True)
class Sheet:
    """A table as plain text.

    Args:
        title: What it is of.
        head: Name of each column; a line break only saves width.
        rows: Cells; the first of each row names it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(report: AlignmentReport) -> list[Table]:
    """For a terminal of 100 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    found = []
    for sheet in sheets(report):
        # Text, since names come from people's files and square brackets are markup to rich.
        table = Table(
            *sheet.head,
            title=Text(sheet.title),
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))
        found.append(table)
    return found


def notes(report: AlignmentReport) -> list[str]:
    """What stands in no table, a sentence or two each."""
    found = list(report.notes)
    for one in report.transfers:
        source, target = (f"{r:.2f}".replace("-", "−") for r in one.coupling)
        found.append(
            f"Human valence and arousal go together at r = {source} in {one.source} and {target} in {one.target}: "
            "what an arousal axis owes to valence in the first it owes to another valence in the second."
        )
    for pair in report.pairs:
        furthest = [f"{name} ({apart:.1f})" for name, apart in list(pair.differences.items())[:FURTHEST]]
        if furthest:
            found.append(
                f"{_arrow(pair.languages)}: furthest from their counterparts, in units of the mean distance, are "
                f"{', '.join(furthest)}."
            )
    return found


def sheets(report: AlignmentReport) -> list[Sheet]:
    """All tables of a report; those that would be empty are left out."""
    found = [
        *(_geometry(shape, report.ceilings) for shape in report.geometry),
        _ceilings(report),
        *(_words(words, report.ceilings) for words in report.words),
        *map(_transfer, report.transfers),
        _pairs(report),
    ]
    return [sheet for sheet in found if sheet.rows]


def method(report: AlignmentReport) -> Sheet:
    """How it was measured: everything that the report says about itself, and the norms."""
    rows = [(", ".join(path), value) for path, value in _leaves(report.about)]
    for words in report.words:
        rows.append(
            (f"norms, {words.norms}", f"{len(words.words)} words, {words.language}; {words.license or MISSING}")
        )
    return Sheet("How it was measured", ("what", "value"), tuple(rows))


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """What nested data holds, each with its path; a list of texts is one leaf."""
    if isinstance(value, Mapping):
        for name, inside in value.items():
            yield from _leaves(inside, (*path, str(name).replace("_", " ")))
    elif isinstance(value, list | tuple):
        yield path, " · ".join(map(str, value))
    else:
        yield path, str(value)


def ceilings_of(ceilings: Iterable[Ceiling], ratings: str, of: str) -> list[Ceiling]:
    """What one set of human ratings was held against, of `"categories"` or `"words"`."""
    return [one for one in ceilings if one.of == of and ratings in one.between]


def p_value(found: Measure | None) -> str:
    """`<0.001`, or p to three decimals."""
    if found is None or found.p is None:
        return MISSING
    return "<0.001" if found.p < 0.001 else f"{found.p:.3f}"


def told(found: Measure) -> str:
    """A figure within a sentence: its value and interval, p if there is one, and n."""
    return ", ".join([str(found), *([] if found.p is None else [_p_told(found)]), f"n = {found.n}"])


def _p_told(found: Measure) -> str:
    """`p <0.001` or `p = 0.012`."""
    p = p_value(found)
    return f"p {p}" if p.startswith("<") else f"p = {p}"


def _geometry(shape: Geometry, ceilings: Iterable[Ceiling]) -> Sheet:
    beside = ceilings_of(ceilings, shape.ratings, "categories")
    rows = []
    for name, (label, agreement) in _GEOMETRY.items():
        if (found := shape.measures.get(name)) is None:
            continue
        control = shape.control.get(name)
        values = [one.measures[agreement].value for one in beside if agreement in one.measures]
        rows.append((label, *_figure(found), str(found.n), *_figure(control), _range(values)))
    return Sheet(
        f"Shape of the emotions in {shape.language} against {shape.ratings}, layer {shape.layer}",
        ("measure", "model", "p", "n", "input embeddings", "p", "human\nceiling"),
        tuple(rows),
    )


def _ceilings(report: AlignmentReport) -> Sheet:
    rows = [
        (" and ".join(one.between), one.of, _AGREEMENT.get(name, name), *_figure(found), str(found.n))
        for one in report.ceilings
        for name, found in one.measures.items()
    ]
    return Sheet(
        "Human ratings against human ratings: the ceiling",
        ("between", "of", "measure", "agreement", "p", "n"),
        tuple(rows),
    )


def _words(words: WordRatings, ceilings: Iterable[Ceiling]) -> Sheet:
    controls = dict(words.controls)
    random = controls.pop("random_directions", None)
    rows = [_predicted("full states", words.full.r, words.full)]
    rows += [_predicted(name.replace("_", " "), found.r, found) for name, found in controls.items()]
    rows.append(_predicted("emotion directions", words.directions.r, words.directions))
    if random:
        rows.append(_predicted("random directions", random.r, random))
    rows.append(_predicted("gain over random", words.advantage))
    for one in ceilings_of(ceilings, words.norms, "words"):
        other = next((name for name in one.between if name != words.norms), words.norms)
        rows.append(_predicted(f"ceiling: {other}", one.measures))
    return Sheet(
        f"Ratings of held-out words, {words.norms} ({words.language})",
        ("predicted from", "valence, r", "p", "R²", "arousal, r", "p", "R²", "n"),
        tuple(rows),
    )


def _predicted(name: str, by_axis: Mapping[str, Measure], prediction: Prediction | None = None) -> tuple[str, ...]:
    cells = []
    for axis in AXES:
        explained = prediction.r_squared.get(axis) if prediction else None
        cells += [*_figure(by_axis.get(axis)), _number(explained)]
    n = next((str(found.n) for found in by_axis.values()), MISSING)
    return (name, *cells, n)


def _transfer(one: Transfer) -> Sheet:
    beyond = {"arousal given valence": one.arousal_given_valence, "arousal beyond valence": one.arousal_beyond_valence}
    rows = [
        (
            name,
            *_figure(found),
            _number(one.prediction.r_squared.get(name)),
            str(found.n),
            *_figure(one.control.r.get(name)),
        )
        for name, found in {**one.prediction.r, **beyond}.items()
    ]
    source, target = one.languages
    return Sheet(
        f"Fitted to {one.source} ({source}), read on {one.target} ({target}) without refitting",
        ("axis", "r", "p", "R²", "n", "input embeddings", "p"),
        tuple(rows),
    )


def _pairs(report: AlignmentReport) -> Sheet:
    rows = []
    for one in report.pairs:
        figures = (one.procrustes, one.identified, one.rsa, one.shared)
        rows.append(
            (
                _arrow(one.languages),
                *(_stacked(found) for found in figures),
                *(_number(one.specific), _number(one.unreliable), str(one.procrustes.n)),
            )
        )
    head = ("map", "Procrustes,\nheld-out R²", "identified\n(chance 1/n)", "RSA", "shared")
    return Sheet("What the emotions of two languages share", (*head, "specific", "unreliable", "n"), tuple(rows))


def _stacked(found: Measure) -> str:
    """A figure that is narrow: interval and p below it."""
    return str(found).replace(" [", "\n[") + ("" if found.p is None else f"\n{_p_told(found)}")


def _figure(found: Measure | None) -> tuple[str, str]:
    return (MISSING if found is None else str(found)), p_value(found)


def _range(values: Iterable[float | None]) -> str:
    known = [_number(value) for value in sorted(value for value in values if value is not None)]
    if not known:
        return MISSING
    return known[0] if known[0] == known[-1] else f"{known[0]} to {known[-1]}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}".replace("-", "−")


def _arrow(languages: tuple[str, str]) -> str:
    return " → ".join(languages)
