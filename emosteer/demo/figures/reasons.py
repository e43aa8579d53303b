"""Reasons for the words of a text: the probability of each token with and without the tone."""

import math
import re
from collections.abc import Sequence

from .text import escape, percent
from .tokens import frame, marked

MOST = 12  # rows of the table
LEAST = 1e-9  # lower bound of probabilities, so that ratios are finite
SAME = math.log(1.05)  # log ratio below which a token is as likely as before
FULL = math.log(20)  # log ratio of the fullest mark

PART = re.compile("\N{REPLACEMENT CHARACTER}+")  # the decoding of an incomplete character

Favourites = Sequence[Sequence[tuple[str, float]]]

__all__ = ["why"]


def why(
    tokens: Sequence[str],
    plain: Sequence[float],
    toned: Sequence[float],
    plain_favourites: Favourites,
    toned_favourites: Favourites,
) -> str:
    """Return the text, marked by how much likelier the tone made each token, and a table of the largest changes.

    Args:
        tokens: Pieces that make the text when joined.
        plain: Probability of each token without the tone; NaN where there is none.
        toned: The same with the tone.
        plain_favourites: For each token, the likeliest alternatives without the tone, with their probabilities.
        toned_favourites: The same with the tone.
    """
    ratios = [_log_ratio(p, t) for p, t in zip(plain, toned, strict=True)]
    notes = [
        [f"plain {percent(p)}, toned {percent(t)}", _times(ratio)]
        for p, t, ratio in zip(plain, toned, ratios, strict=True)
    ]
    strip = marked(
        tokens,
        [ratio / FULL for ratio in ratios],
        notes,
        name="How the tone changed each token’s probability",
        more="likelier with the tone",
        less="less likely",
    )
    most = sorted((i for i, r in enumerate(ratios) if tokens[i] and math.isfinite(r)), key=lambda i: -abs(ratios[i]))
    if not most:
        return strip
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
    return strip + frame(columns, rows, "The tokens that the tone changed most")


def _log_ratio(plain: float, toned: float) -> float:
    if not (math.isfinite(plain) and math.isfinite(toned)):
        return math.nan
    return math.log(max(toned, LEAST) / max(plain, LEAST))


def _times(log_ratio: float) -> str:
    if not math.isfinite(log_ratio):
        return "not measured"
    if abs(log_ratio) < SAME:
        return "as likely as before"
    ratio = math.exp(abs(log_ratio))
    amount = "over 1000" if ratio > 1000 else f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}"
    return f"{amount} times {'likelier' if log_ratio > 0 else 'less likely'}"


def _mark(log_ratio: float) -> str:
    if abs(log_ratio) < SAME:
        return _times(log_ratio)
    kind, arrow = ("em-up", "↑") if log_ratio > 0 else ("em-down", "↓")
    return f'<span class="{kind}"><span aria-hidden="true">{arrow} </span>{_times(log_ratio)}</span>'


def _piece(piece: str) -> str:
    shown = PART.sub("(part of a character)", piece.strip(" ").replace("\n", "↵")) or "␣"
    return f'<span class="em-piece">{escape(shown)}</span>'


def _list(favourites: Sequence[tuple[str, float]]) -> str:
    items = (f"{_piece(piece)} {percent(probability)}" for piece, probability in favourites)
    return ", ".join(f'<span class="em-favourite">{item}</span>' for item in items) or "–"
