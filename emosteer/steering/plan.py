"""From strengths to one delta a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emosteer.config import Dose
from emosteer.errors import ToneError, warn
from emosteer.vectors import EmotionVectors, finite_strength

if TYPE_CHECKING:
    from torch import Tensor

LOUD = 3.0
LIMIT = 10.0

Tone = Mapping[str, float]
"""Emotion → strength in calibrated doses: 1.0 is the strongest tone that reads naturally, negative steers away."""

__all__ = ["LIMIT", "LOUD", "Plan", "Tone", "plan"]


@dataclass(frozen=True)
class Plan:
    """What is added after which layer.

    Args:
        deltas: Layer → float32 `[d_model]`, or `[rows, d_model]` when every row of a batch has its own tone. Empty when
            all strengths are 0.
        rows: Number of rows, or None when one tone is for all.
    """

    deltas: Mapping[int, Tensor]
    rows: int | None = None


def plan(
    vectors: EmotionVectors, tone: Tone | Sequence[Tone | None] | None, *, layers: Sequence[int] | None = None
) -> Plan:
    """Turn strengths into deltas: strength · dose · weight · residual norm · direction, summed over emotions.

    Args:
        vectors: Where the emotions are.
        tone: One tone for all rows, or one for each row of a batch; None and strength 0 are no tone.
        layers: Steer after these layers instead of those of the dose, which is then spread evenly over them.

    Raises:
        ToneError: An emotion or a layer is not there, or a strength is not a finite number up to ±10.
    """
    import torch

    if layers is not None:
        _check_layers(vectors, layers)
    if tone is None or isinstance(tone, Mapping):
        return Plan(_deltas(vectors, tone or {}, layers))
    if isinstance(tone, Sequence) and not tone:
        raise ToneError("The list of tones is empty.", "Give one tone for each row of the batch; None is no tone.")
    if isinstance(tone, str) or not isinstance(tone, Sequence):
        raise ToneError(
            f"{tone!r} is not a tone.", "A tone is a mapping such as {'joy': 0.8}, or a list of one for each row."
        )
    for one in tone:
        if not (one is None or isinstance(one, Mapping)):
            raise ToneError(f"{one!r} is not the tone of a row.", "Give a mapping such as {'joy': 0.8}, or None.")
    rows = [_deltas(vectors, one or {}, layers) for one in tone]
    still = torch.zeros(vectors.hidden_size)
    steered = sorted({layer for deltas in rows for layer in deltas})
    return Plan({layer: torch.stack([deltas.get(layer, still) for deltas in rows]) for layer in steered}, len(rows))


def _deltas(vectors: EmotionVectors, tone: Tone, layers: Sequence[int] | None) -> dict[int, Tensor]:
    total: dict[int, Tensor] = {}
    for emotion, given in tone.items():
        strength = _checked(emotion, given)
        dose = vectors.dose(emotion)  # asked for even at strength 0, so that a misspelt emotion is always an error
        if strength == 0:
            continue
        # One factor a layer, so that rounding is that of one multiplication.
        scaled = replace(_spread(dose, layers), dose=strength * dose.dose)
        for layer, delta in vectors.deltas(emotion, scaled).items():
            total[layer] = total[layer] + delta if layer in total else delta
    return dict(sorted(total.items()))


def _spread(dose: Dose, layers: Sequence[int] | None) -> Dose:
    if layers is None:
        return dose
    share = sum(map(abs, dose.weights)) / len(layers)
    return Dose(dose.dose, tuple(layers), (share,) * len(layers), dose.scope)


def _checked(emotion: str, given: object) -> float:
    strength = finite_strength(emotion, given)
    if abs(strength) > LIMIT:
        raise ToneError(
            f"The strength of {emotion!r} is {strength:g}, beyond ±{LIMIT:g} there is no language left.",
            "1.0 is the calibrated dose.",
        )
    if abs(strength) > LOUD:
        warn(f"The strength of {emotion!r} is {strength:g}: beyond ±{LOUD:g} doses text falls apart.")
    return strength


def _check_layers(vectors: EmotionVectors, layers: Sequence[int]) -> None:
    if missing := [layer for layer in layers if layer not in vectors.layers]:
        raise ToneError(
            f"The vectors have no layer {missing[0]}.",
            f"They have the layers {vectors.layers[0]} to {vectors.layers[-1]}.",
        )
    if not layers or len(set(layers)) != len(layers):
        raise ToneError("The layers to steer are empty or name one twice.")
