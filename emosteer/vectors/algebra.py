"""What sets of vectors are combined by: doses in another set's norms, and a mixture as one direction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from emosteer._util.numbers import is_finite_number
from emosteer.errors import ToneError
from emosteer.vectors.types import Dose

if TYPE_CHECKING:
    from torch import Tensor

NEGLIGIBLE = 1e-6
"""Share of the residual norm below which a layer is not steered."""

__all__ = ["finite_strength", "mean_direction", "mixture", "rescaled"]


def rescaled(dose: Dose, ratios: Mapping[int, float]) -> Dose:
    """Return a dose that adds as much where the residual norms are others.

    Args:
        dose: In units of the old norms.
        ratios: Layer → old norm divided by the new one.
    """
    return replace(dose, weights=tuple(w * ratios[n] for n, w in zip(dose.layers, dose.weights, strict=True)))


def mixture(
    name: str,
    parts: Iterable[tuple[float, Mapping[int, Tensor]]],
    layers: tuple[int, ...],
    residual_norm: Tensor,
    default: Tensor,
    scope: str,
) -> tuple[Tensor, Dose]:
    """Return a mixture of deltas as one direction and a dose.

    Args:
        name: Of the mixture, for messages.
        parts: Strength, and layer → `[d_model]` that strength 1.0 adds.
        layers: Of the rows.
        residual_norm: `[n_layers]`.
        default: `[n_layers, d_model]`, unit rows for layers at which nothing is added.
        scope: Tokens that are steered.

    Returns:
        `[n_layers, d_model]` with unit rows, and the dose at which strength 1.0 adds the mixture.

    Raises:
        ToneError: The mixture cancels out.
    """
    total = default.new_zeros(default.shape)
    row = {layer: i for i, layer in enumerate(layers)}
    for strength, deltas in parts:
        for layer, delta in deltas.items():
            total[row[layer]] += strength * delta
    shares = total.norm(dim=-1) / residual_norm
    steered = shares > NEGLIGIBLE
    if not bool(steered.any()):
        raise ToneError(f"The mixture for {name!r} cancels out.", "Give it other strengths.")
    unit = total / total.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    unit[~steered] = default[~steered]  # a row must be a unit vector
    used = tuple(layer for layer, on in zip(layers, steered.tolist(), strict=True) if on)
    peak = float(shares.max())
    return unit, Dose(peak, used, tuple(float(shares[row[layer]]) / peak for layer in used), scope)


def mean_direction(directions: Iterable[Tensor]) -> Tensor:
    """Return the mean of directions, its rows scaled to unit length."""
    import torch

    return torch.nn.functional.normalize(torch.stack(list(directions)).mean(0), dim=-1)


def finite_strength(emotion: str, value: object) -> float:
    """Return a strength as a float.

    Args:
        emotion: Of which, for the message.
        value: What the caller gave.

    Raises:
        ToneError: It is not a finite number.
    """
    if not is_finite_number(value):
        raise ToneError(
            f"The strength of {emotion!r} is {str(value)[:20]!r}, it must be a finite number.",
            "1.0 is the calibrated dose.",
        )
    return float(value)
