"""What leaves emosteer is one delta a layer, the same at every token: other engines know nothing else."""

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
    """What a tone adds, if it adds the same at every token of every row.

    Args:
        vectors: Where the emotions are.
        tone: Emotion → strength in calibrated doses, or an `Affect`.
        layers: Steer after these layers instead of those of the dose.
        scope: Instead of that of the dose.
        done: What is done with it, for the message: `"baked"`.

    Returns:
        Layer → `[d_model]`, float32.

    Raises:
        ToneError: It differs by row or by token, an emotion or a layer is not there, or a strength is not a finite
            number up to ±10.
    """
    found = plan(vectors, tone, layers=layers, scope=scope)
    if found.rows is not None:
        raise ToneError(f"A tone for each row cannot be {done}.", "Give one mapping such as {'joy': 0.8}.")
    if scopes := sorted({curve.scope for curve in found.curves if found.sites and curve.scope != "all"}):
        raise ToneError(
            f"A tone for {' and '.join(scopes)} tokens only cannot be {done}: every token gets it there.",
            "Take emotions whose dose was measured at all tokens.",
        )
    if found.sites and not found.steady:
        raise ToneError(f"A tone that changes along the answer cannot be {done}.", "Give one such as {'joy': 0.8}.")
    return found.deltas
