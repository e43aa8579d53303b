"""An alignment report on disk: a page, JSON, words as CSV and figures; and in the card of a folder of vectors."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer import strict_json
from emosteer.card import metadata, with_measured, with_metadata
from emosteer.errors import InputError
from emosteer.eval.alignment.figures import CAPTIONS, write_figures
from emosteer.eval.alignment.ratings import AXES
from emosteer.eval.alignment.results import AlignmentReport, WordRatings
from emosteer.eval.alignment.statistics import Measure
from emosteer.eval.alignment.summary import summary
from emosteer.eval.alignment.tables import Sheet, notes, sheets
from emosteer.eval.alignment.webpage import html_page
from emosteer.format import CARD_FILE

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

JSON, SECTION, PAGE = "alignment.json", "alignment.md", "alignment.html"
TASK = "emotion-alignment"

# Measures of a geometry that go into the Hub's model index: kind of metric and its name.
_INDEXED = {
    "rsa": ("spearmanr", "RSA"),
    "pc1_valence": ("pearsonr", "PC1–valence, |r|"),
    "pc2_arousal_given_valence": ("pearsonr", "PC2–arousal given valence, |partial r|"),
}

__all__ = ["JSON", "PAGE", "SECTION", "card_section", "model_index", "write_into_card", "write_report"]


def write_report(report: AlignmentReport, folder: Path) -> dict[str, Path]:
    """Write `alignment.json`, `alignment.md` (the section for the card), `alignment.html`, the words and the figures.

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
    tables = {f"words-{i}": folder / f"words-{i}.csv" for i in range(1, 1 + len(report.words))}
    files = {"json": folder / JSON, "section": folder / SECTION, "page": folder / PAGE}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = {name: file.read_bytes() for name, file in figures.items()}
        texts = {
            files["json"]: strict_json.pretty(report.to_dict()),
            files["section"]: card_section(report, {name: file.name for name, file in figures.items()}),
            files["page"]: html_page(report, pictures, [file.name for file in tables.values()]),
            **{file: _csv(words) for file, words in zip(tables.values(), report.words, strict=True)},
        }
        for file, text in texts.items():
            file.write_bytes(text.encode())  # the same line ends on every system
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}).") from error
    return {**files, **tables, **figures}


def write_into_card(report: AlignmentReport, folder: Path) -> None:
    """Put the section and the Hub's model index into the card of a folder of vectors, and the pictures beside it.

    What people wrote into the card stays, in its front matter too.

    Args:
        report: What was measured.
        folder: Of the vectors.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: There is no card, its front matter cannot be read, or the folder cannot be written.
    """
    file = folder / CARD_FILE
    try:
        text = file.read_bytes().decode()
        index = _merged(metadata(text).get("model-index") or [], model_index(report, folder.resolve().name))
        if index:
            text = with_metadata(text, "model-index", index)
        pictures = {name: picture.name for name, picture in write_figures(report, folder).items()}
        text = with_measured(text, card_section(report, pictures), "alignment")
        file.write_bytes(text.encode())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The card {file} cannot be read and written ({error}).") from error


def card_section(report: AlignmentReport, pictures: Mapping[str, str] | None = None) -> str:
    """`## How its emotions align with people's`, in Markdown.

    Args:
        report: What was measured.
        pictures: Name of a figure → its path, relative to the card.
    """
    lines = [
        "## How its emotions align with people's",
        "",
        *(f"- {_markdown(sentence)}" for sentence in summary(report)),
        "",
        "In brackets the 95 % interval by bootstrap; p by permutation, one-sided; n the number of emotions or words.",
    ]
    for sheet in sheets(report):
        lines += ["", f"**{_markdown(sheet.title)}**", "", *_table(sheet)]
    lines += [line for note in notes(report) for line in ("", _markdown(note))]
    for name, path in (pictures or {}).items():
        lines += ["", f"![{CAPTIONS[name]}]({path})"]
    return "\n".join([*lines, ""])


def model_index(report: AlignmentReport, vectors_name: str) -> list[dict[str, Any]]:
    """The chief figures as results of the Hub's `model-index`; empty if there are none.

    Args:
        report: What was measured.
        vectors_name: What the Hub is to call the vectors.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index

    found = list(_results(report))
    return eval_results_to_model_index(vectors_name, found) if found else []


def _results(report: AlignmentReport) -> Iterator[EvalResult]:
    for shape in report.geometry:
        for name, (kind, label) in _INDEXED.items():
            if name in shape.measures:
                yield from _result(shape.ratings, shape.language, "categories", kind, label, shape.measures[name])
    for words in report.words:
        for axis in AXES:
            label = f"{axis} of held-out words, r"
            yield from _result(words.norms, words.language, "words", "pearsonr", label, words.full.r[axis])


def _result(norms: str, language: str, split: str, kind: str, label: str, found: Measure) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    if found.value is None:
        return
    ends = {"low": found.low, "high": found.high, "p": found.p}
    yield EvalResult(
        task_type=TASK,
        task_name="Emotion alignment",
        dataset_name=norms,
        dataset_type=re.sub(r"[^a-z0-9]+", "-", norms.lower()).strip("-") or "norms",
        dataset_config=language,
        dataset_split=split,
        metric_type=kind,
        metric_name=f"{label}, n = {found.n}",
        metric_value=round(found.value, 4),
        metric_args={"n": found.n, **{name: round(end, 4) for name, end in ends.items() if end is not None}},
    )


def _merged(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What people's model index says, with this task's results in place of those of an earlier run."""
    kept = [
        {
            **one,
            "results": [
                result for result in one.get("results") or [] if (result.get("task") or {}).get("type") != TASK
            ],
        }
        for one in theirs
    ]
    if not kept or not ours:
        return kept or ours
    kept[0]["results"] += ours[0]["results"]  # one name a card: the Hub reads no more
    return kept


def _table(sheet: Sheet) -> list[str]:
    rows = ["| " + " | ".join(map(_markdown, row)) + " |" for row in (sheet.head, *sheet.rows)]
    return [rows[0], f"|{'---|' * len(sheet.head)}", *rows[1:]]


def _markdown(text: str) -> str:
    """On one line, with what would be HTML or the edge of a cell as plain characters."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _csv(words: WordRatings) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["word", *(f"rated_{axis}" for axis in AXES), *(f"predicted_{axis}" for axis in AXES)])
    for word, rated, predicted in zip(words.words, words.rated, words.predicted, strict=True):
        rows.writerow([word, *rated, *predicted])
    return text.getvalue()
