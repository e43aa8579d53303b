"""Text whose tokens are tinted by a score, and tables of scores."""

import math
from collections.abc import Sequence

from .text import escape, number, signed

FAINT = 0.08  # share of the scale below which a token is not marked

# For `gr.HTML(js_on_load=STRIP_JS)`. A text is one tab stop: the arrow keys go from token to token, and Escape hides
# the note. Notes stay inside the figure. The listeners are on the component, since its content is replaced.
STRIP_JS = """
const SCORED = ".em-token[data-scored]";
function enter(token) {
  const strip = token.closest(".em-strip");
  for (const other of strip.querySelectorAll(SCORED)) {
    other.tabIndex = other === token ? 0 : -1;
    other.setAttribute("aria-selected", other === token);
  }
}
function place(event) {
  const token = event.target.closest?.(SCORED);
  if (!token) return;
  token.classList.remove("em-away");
  const note = token.querySelector(".em-note"), frame = token.closest(".em-strip");
  const start = token.getClientRects()[0]?.left ?? 0, room = frame.getBoundingClientRect();
  note.style.left = Math.max(0, Math.min(start - room.left, room.width - note.offsetWidth)) + "px";
}
element.addEventListener("focusin", (event) => {
  const token = event.target.closest?.(SCORED);
  if (token) enter(token);
  place(event);
});
element.addEventListener("pointerover", place);
element.addEventListener("keydown", (event) => {
  const token = event.target.closest?.(SCORED);
  if (!token || event.ctrlKey || event.altKey || event.metaKey) return;
  const tokens = [...token.closest(".em-strip").querySelectorAll(SCORED)];
  const at = tokens.indexOf(token), last = tokens.length - 1;
  const next = at + 1, back = at - 1;
  const to = { ArrowRight: next, ArrowDown: next, ArrowLeft: back, ArrowUp: back, Home: 0, End: last }[event.key];
  if (event.key === "Escape") token.classList.add("em-away");
  if (to === undefined) return;
  event.preventDefault();
  tokens[Math.max(0, Math.min(last, to))].focus();
});
"""


def strip(
    tokens: Sequence[str],
    scores: Sequence[float],
    *,
    label: str,
    scale: float,
    details: Sequence[str] | None = None,
) -> str:
    """Return a text with each token tinted and underlined by its score.

    Positive scores are warm with a solid line, negative ones cool with a dotted line. Tint and line grow up to ±scale.
    A token shows its score when it has the pointer or the focus.

    Args:
        tokens: Pieces that make the text when joined. Empty ones, parts of a character, are skipped.
        scores: Score of each token; NaN where there is none.
        label: Name of the score, such as "joy".
        scale: Score of full tint.
        details: A further line for the note of each token, such as its strongest emotions.
    """
    extra = details or [""] * len(tokens)
    notes = [[f"{label} {signed(score)}", detail] for score, detail in zip(scores, extra, strict=True)]
    shares = [score / scale for score in scores]
    return marked(tokens, shares, notes, name=f"{label}, token by token", more=f"more {label}", less="less")


def marked(
    tokens: Sequence[str], shares: Sequence[float], notes: Sequence[Sequence[str]], *, name: str, more: str, less: str
) -> str:
    """Return a text whose tokens are marked by shares from −1 to 1 and have notes, with a key below it."""
    pieces = []
    tabindex = 0  # of the first scored token; the others are reached with the arrow keys
    for token, share, note in zip(tokens, shares, notes, strict=True):
        if token and math.isfinite(share):
            pieces.append(_token(token, share, [line for line in note if line], tabindex))
            tabindex = -1
        elif token:
            pieces.append(f'<span class="em-token">{escape(token)}</span>')
    if not pieces:
        return '<div class="em-figure em-empty">No text yet.</div>'
    role = "group" if tabindex == 0 else "listbox"  # a listbox must have options
    return (
        f'<div class="em-figure em-strip-frame"><div class="em-strip" role="{role}" dir="auto" '
        f'aria-label="{escape(name)}">{"".join(pieces)}</div><p class="em-key" aria-hidden="true">'
        f'<span class="em-token em-more" style="--em-amount:0.80">{escape(more)}</span> '
        f'<span class="em-token em-less" style="--em-amount:0.80">{escape(less)}</span></p></div>'
    )


def _token(token: str, share: float, note: Sequence[str], tabindex: int) -> str:
    amount = min(1.0, abs(share))
    kind = "" if amount < FAINT else " em-more" if share > 0 else " em-less"
    shown = escape(token)
    if not token.strip():  # a line end has nothing to underline
        shown = shown.replace("\n", '<span class="em-return">↵</span>\n')
    lines = "".join(f"<span>{escape(line)}</span>" for line in note)
    spoken = escape(". ".join([token.strip() or "blank", *note]))
    return (
        f'<span class="em-token{kind}" role="option" data-scored="" tabindex="{tabindex}" aria-selected="false" '
        f'aria-label="{spoken}" style="--em-amount:{amount:.2f}">{shown}<span class="em-note" aria-hidden="true">'
        f"<b>{escape(token.strip()) or '↵'}</b>{lines}</span></span>"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str | float]], caption: str) -> str:
    """Return a table that scrolls in its own box. Its first column names the rows.

    Args:
        columns: Headings of the columns.
        rows: Cells: strings, or numbers, which are written to two places, NaN as a dash.
        caption: Caption of the table.
    """
    return frame(columns, [[_cell(cell, i) for i, cell in enumerate(row)] for row in rows], caption)


def frame(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """Return a table whose cells are HTML, from `<td>` to `</td>`."""
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="em-figure em-scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f'<table class="em-table"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: str | float, column: int) -> str:
    kind, text = ("", escape(cell)) if isinstance(cell, str) else (' class="em-number"', number(cell))
    return f'<th scope="row" dir="auto"{kind}>{text}</th>' if column == 0 else f'<td dir="auto"{kind}>{text}</td>'
