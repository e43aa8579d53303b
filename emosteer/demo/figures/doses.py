"""Answers to one prompt at several strengths, and in many tones."""

import math
from collections.abc import Sequence

from .circumplex import glyph
from .text import escape, number, signed

__all__ = ["grid", "row"]


def row(cells: Sequence[tuple[float, str, float, float]]) -> str:
    """Return cards side by side for answers to one prompt at increasing strength.

    Args:
        cells: Strength, text, tone and cost of each answer, NaN where nothing was measured. Bars are relative to the
            largest of their kind in the row.
    """
    if not cells:
        return '<div class="em-figure em-empty">Nothing to compare yet.</div>'
    scores, costs = [cell[2] for cell in cells], [cell[3] for cell in cells]
    cards = "".join(
        f'<li class="em-card"><p class="em-name">{"plain" if strength == 0 else f"strength {strength:g}"}</p>'
        f'<p class="em-said" dir="auto">{escape(text) or "…"}</p>'
        f"<dl>{_bar('tone', score, scores, 'em-more')}{_bar('cost', cost, costs, 'em-cost')}</dl></li>"
        for strength, text, score, cost in cells
    )
    return (
        '<div class="em-figure em-scroll em-row" role="region" tabindex="0" aria-label="The prompt at several '
        f'strengths"><ul>{cards}</ul></div>'
    )


def _bar(name: str, value: float, row: Sequence[float], kind: str) -> str:
    most = max((abs(other) for other in row if math.isfinite(other)), default=0.0)
    share = 100 * abs(value) / most if most and math.isfinite(value) else 0.0
    below = " em-below" if value < 0 else ""
    return (
        f"<div><dt>{name}</dt><dd><span>{signed(value) if kind == 'em-more' else number(value)}</span>"
        f'<span class="em-bar"><i class="{kind}{below}" style="width:{share:.1f}%"></i></span></dd></div>'
    )


def grid(cells: Sequence[tuple[str, str, float | None, float | None]]) -> str:
    """Return cards for answers to the same prompt in many tones.

    Args:
        cells: Emotion and text of each answer, with its valence and arousal from −1 to 1, or None.
    """
    if not cells:
        return '<div class="em-figure em-empty">No tones yet.</div>'
    cards = "".join(
        f'<li class="em-card"><header><p class="em-name" dir="auto">{escape(emotion)}</p>{glyph(valence, arousal)}'
        f'</header><p class="em-said" dir="auto">{escape(text) or "…"}</p></li>'
        for emotion, text, valence, arousal in cells
    )
    return f'<ul class="em-figure em-grid">{cards}</ul>'
