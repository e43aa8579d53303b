"""Tones that other engines can apply: one delta a layer, the same at every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from emosteer.errors import ToneError
from emosteer.steering.affect import Affect
from emosteer.steering.plan import plan
from emosteer.steering.tones import Tone

if TYPE_CHECKING:
    from torch import Tensor

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["constant"]


def constant(
    vectors: EmotionVectors,
    tone: Tone | Affect | None,
    *,
    layers: Sequence[int] | None = None,
    scope: str | None = None,
    done: str,
) -> Mapping[int, Tensor]:
    """Return the delta that a tone adds at each layer, if it is the same at every token of every row.

    Args:
        vectors: Vectors of the emotions.
        tone: Emotion → strength in calibrated doses, or an `Affect`.
        layers: Steer after these layers instead of those of the dose.
        scope: The tokens to steer, instead of the scope of the dose.
        done: What is done with the tone, for errors: `"baked"`.

    Returns:
        Layer → `[d_model]`, float32.

    Raises:
        ToneError: The tone differs by row or by token, an emotion or a layer does not exist, or a strength is not a
            finite number up to ±10.
    """
    steering = plan(vectors, tone, layers=layers, scope=scope)
    if steering.rows is not None:
        raise ToneError(f"A tone for each row cannot be {done}.", "Give one mapping such as {'joy': 0.8}.")
    if scopes := sorted({curve.scope for curve in steering.curves if steering.sites and curve.scope != "all"}):
        raise ToneError(
            f"A tone for {' and '.join(scopes)} tokens only cannot be {done}: every token gets it there.",
            "Take emotions whose dose was measured at all tokens.",
        )
    if steering.sites and not steering.steady:
        raise ToneError(f"A tone that changes along the answer cannot be {done}.", "Give one such as {'joy': 0.8}.")
    return steering.deltas
