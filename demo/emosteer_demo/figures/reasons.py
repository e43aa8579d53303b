"""Why a text turned out as it did: each token's probability with and without the tone."""

import math
from collections.abc import Sequence

from .text import escape, percent
from .tokens import frame, strip

MOST = 12  # rows of the table
LEAST = 1e-9  # what a probability of 0 is taken for
FULL = math.log(20)  # times as likely, at which a token is marked in full

Favourites = Sequence[Sequence[tuple[str, float]]]

__all__ = ["why"]


def why(
    tokens: Sequence[str],
    plain: Sequence[float],
    toned: Sequence[float],
    plain_favourites: Favourites,
    toned_favourites: Favourites,
) -> str:
    """The text marked by how much likelier the tone made each token, and the tokens it changed most in words.

    Args:
        tokens: Pieces that make the text when joined.
        plain: The probability of each without the tone; NaN where there is none.
        toned: The same with the tone.
        plain_favourites: For each token, what the model would rather have said there without the tone: pieces with
            their probabilities, likeliest first.
        toned_favourites: The same with the tone.
    """
    ratios = [_log_ratio(p, t) for p, t in zip(plain, toned, strict=True)]
    notes = [
        f"plain {percent(p)}, toned {percent(t)}: {_times(r)}" for p, t, r in zip(plain, toned, ratios, strict=True)
    ]
    marked = strip(tokens, ratios, label="likely with the tone", scale=FULL, details=notes)
    most = sorted((i for i, r in enumerate(ratios) if tokens[i] and math.isfinite(r)), key=lambda i: -abs(ratios[i]))
    if not most:
        return marked
    rows = [
        [
            f'<th scope="row" dir="auto">{_piece(tokens[i])}</th>',
            f'<td class="em-number">{percent(plain[i])}</td>',
            f'<td class="em-number">{percent(toned[i])}</td>',
            f'<td class="em-change">{_mark(ratios[i])}</td>',
            f'<td dir="auto">{_list(plain_favourites[i])}</td>',
            f'<td dir="auto">{_list(toned_favourites[i])}</td>',
        ]
        for i in most[:MOST]
    ]
    columns = ["token", "plain", "toned", "change", "plain model’s favourites", "toned model’s favourites"]
    return marked + frame(columns, rows, "The tokens that the tone changed most")


def _log_ratio(plain: float, toned: float) -> float:
    if not (math.isfinite(plain) and math.isfinite(toned)):
        return math.nan
    return math.log(max(toned, LEAST) / max(plain, LEAST))


def _times(log_ratio: float) -> str:
    if not math.isfinite(log_ratio):
        return "not measured"
    ratio = math.exp(abs(log_ratio))
    if ratio < 1.05:
        return "as likely as before"
    amount = "over 1000" if ratio > 1000 else f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}"
    return f"{amount} times {'likelier' if log_ratio > 0 else 'less likely'}"


def _mark(log_ratio: float) -> str:
    kind = "em-up" if log_ratio > 0 else "em-down"
    arrow = "↑" if log_ratio > 0 else "↓"
    return f'<span class="{kind}"><span aria-hidden="true">{arrow} </span>{_times(log_ratio)}</span>'


def _piece(piece: str) -> str:
    return f'<span class="em-piece">{escape(piece.strip()) or escape(repr(piece)[1:-1])}</span>'


def _list(favourites: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{_piece(piece)} {percent(probability)}" for piece, probability in favourites) or "–"
