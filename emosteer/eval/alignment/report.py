"""An alignment report as files: a page, JSON, words as CSV and figures."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer._util.own_files import require_own
from emosteer.eval.alignment.figures import CAPTIONS, draw_figures
from emosteer.eval.alignment.ratings import AXES
from emosteer.eval.alignment.results import AlignmentReport, WordRatings
from emosteer.eval.alignment.tables import method, notes, sheets

JSON, PAGE = "alignment.json", "alignment.html"

__all__ = ["JSON", "PAGE", "write_report"]


def write_report(report: AlignmentReport, folder: Path) -> dict[str, Path]:
    """Write `alignment.json`, `alignment.html`, the words and the figures.

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
    tables = {f"words-{i}": _csv(words) for i, words in enumerate(report.words, 1)}
    names = {"json": JSON, "page": PAGE, **{name: f"{name}.csv" for name in tables}}
    names |= {name: f"alignment_{name}.png" for name in pictures}
    page = _page(report, pictures, [names[name] for name in tables])
    texts = [strict_json.pretty(report.to_dict()), page, *tables.values()]
    contents = [*(text.encode() for text in texts), *pictures.values()]
    require_own(folder, names.values())
    write_folder(folder, dict(zip(names.values(), contents, strict=True)))
    return {name: folder / file for name, file in names.items()}


def _page(report: AlignmentReport, pictures: Mapping[str, bytes], words: Sequence[str]) -> str:
    """Return one HTML page that stands alone: no script, no request, readable on screen and paper."""
    from jinja2 import Environment

    template = (resources.files("emosteer.eval") / "data" / "alignment.html.jinja").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    return page.render(
        model=report.about.get("model", "a model"),
        notes=notes(report),
        sheets=sheets(report),
        figures=[(CAPTIONS[name], b64encode(picture).decode()) for name, picture in pictures.items()],
        method=method(report),
        words=list(zip(words, report.words, strict=True)),
    )


def _csv(words: WordRatings) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["word", *(f"rated_{axis}" for axis in AXES), *(f"predicted_{axis}" for axis in AXES)])
    for word, rated, predicted in zip(words.words, words.rated, words.predicted, strict=True):
        rows.writerow([word, *rated, *predicted])
    return text.getvalue()
