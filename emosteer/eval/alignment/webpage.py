"""An alignment report as one HTML page that stands alone: no script, no request, readable on screen and paper."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from emosteer.eval.alignment.figures import CAPTIONS
from emosteer.eval.alignment.results import AlignmentReport
from emosteer.eval.alignment.summary import summary
from emosteer.eval.alignment.tables import Sheet, method, notes, sheets

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --line: #c9c9d0; --soft: #f2f2f5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ec; --paper: #17171b; --line: #45454f; --soft: #222228; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 68rem; font: 1rem/1.55 system-ui, sans-serif; }
body { color: var(--ink); background: var(--paper); }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { margin-top: 2.5rem; font-size: 1.3rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
a { color: inherit; }
.lead { max-width: 46rem; font-size: 1.05rem; }
.wide { overflow-x: auto; margin: 1.25rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .4rem; text-align: left; font-weight: 600; }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
tbody th { font-weight: 400; } tbody tr:nth-child(even) { background: var(--soft); }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: .25rem; }
@media print {
  :root { --ink: #000; --paper: #fff; --line: #999; --soft: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; } .wide { overflow: visible; }
  figure, tr { break-inside: avoid; } h2, caption { break-after: avoid; }
}
""".strip()

__all__ = ["html_page"]


def html_page(report: AlignmentReport, pictures: Mapping[str, bytes], words: Sequence[str]) -> str:
    """The page.

    Args:
        report: What was measured.
        pictures: Name of a figure → PNG.
        words: Name of the file of single words of each norms.
    """
    title = escape(f"Do the emotions of {report.about.get('model', 'a model')} align with people's?")
    parts = {
        "tables": ("Tables", "\n".join(map(_table, sheets(report)))),
        "figures": ("Figures", "\n".join(_figure(name, picture) for name, picture in pictures.items())),
        "method": ("How it was measured", _method(report, words)),
        "notes": ("Notes", _list(notes(report))),
    }
    shown = {name: part for name, part in parts.items() if part[1]}
    links = "".join(f'<li><a href="#{name}">{head}</a></li>' for name, (head, _) in shown.items())
    sections = "\n".join(
        f'<section id="{name}">\n<h2>{head}</h2>\n{body}\n</section>' for name, (head, body) in shown.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<div class="lead">{_list(summary(report))}</div>
</header>
<nav aria-label="On this page"><ul>{links}</ul></nav>
<main>
{sections}
</main>
</body>
</html>
"""


def _table(sheet: Sheet) -> str:
    head = "".join(f'<th scope="col">{escape(_line(cell))}</th>' for cell in sheet.head)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(_line(row[0]))}</th>'
        + "".join(f"<td>{escape(_line(cell))}</td>" for cell in row[1:])
        + "</tr>"
        for row in sheet.rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(sheet.title)}">\n<table>\n'
        f"<caption>{escape(sheet.title)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
        "</table>\n</div>"
    )


def _figure(name: str, picture: bytes) -> str:
    caption = escape(CAPTIONS[name])
    return (
        f'<figure>\n<img src="data:image/png;base64,{b64encode(picture).decode()}" '
        f'alt="{caption}. The numbers are in the tables above and in alignment.json.">\n'
        f"<figcaption>{caption}.</figcaption>\n</figure>"
    )


def _method(report: AlignmentReport, words: Sequence[str]) -> str:
    """How to read the figures, what they were made with, and where single words stand."""
    reading = (
        "In brackets the 95 % interval by bootstrap (over emotions, or over stems of words); p by permutation, "
        "one-sided; n the number of emotions or words. Human ratings run from −1 to 1. Axes, maps and regressions are "
        "measured on emotions or words that had no part in their fit."
    )
    files = [f"{file}: {one.norms} ({one.language})" for file, one in zip(words, report.words, strict=True)]
    return "\n".join([f"<p>{reading}</p>", _table(method(report)), _list(files)])


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _line(cell: str) -> str:
    return cell.replace("-\n", "").replace("\n", " ")
