"""The small records of a set of vectors: what is known of an emotion, its dose, and the readout of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SCOPES = ("all", "prompt", "generated")
AXES = ("valence", "arousal")

FALLBACK_DOSE = 0.25
"""Dose of an emotion that has not been calibrated, spread over the fallback layers."""

__all__ = ["AXES", "FALLBACK_DOSE", "SCOPES", "Dose", "EmotionInfo", "Readout", "fallback_dose"]


@dataclass(frozen=True)
class EmotionInfo:
    """What is known of an emotion beside its direction.

    Args:
        labels: Language code → what speakers call it.
        valence: Human rating from −1 (unpleasant) to 1 (pleasant), or None.
        arousal: Human rating from −1 (calm) to 1 (excited), or None.
        source: Where the two ratings come from, or None.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    valence: float | None = None
    arousal: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class Dose:
    """How strongly strength 1.0 steers.

    The delta at layer l is strength · dose · weight[l] · residual_norm[l] · direction[l].

    Args:
        dose: In units of the layer's mean residual norm.
        layers: Layers that are steered, 0-based.
        weights: One factor a layer.
        scope: Tokens that are steered: `"all"`, `"prompt"` or `"generated"`.
        budget: Fluency that the calibration was allowed to spend, in nats a token, or None.
        cost: What strength 1.0 was measured to cost, in nats a token, or None.
        hit_rate: Share of answers at strength 1.0 in which a judge heard the emotion, or None.
        stopped: Why calibration stopped, or None.
        divergence: What strength 1.0 was measured to change, or None: the mean Kullback-Leibler divergence of the toned
            from the plain model, in nats a token of the plain model's answers.
    """

    dose: float
    layers: tuple[int, ...]
    weights: tuple[float, ...]
    scope: str = "all"
    budget: float | None = None
    cost: float | None = None
    hit_rate: float | None = None
    stopped: str | None = None
    divergence: float | None = None

    @property
    def calibration(self) -> str:
        """How it was found: `"answers"`, `"quick"` by the divergence, or `"given"` where it was not measured."""
        if self.cost is not None:
            return "answers"
        return "given" if self.divergence is None else "quick"


def fallback_dose(layers: Sequence[int], depth: int) -> Dose:
    """Return the dose of an emotion without calibration: `FALLBACK_DOSE`, shared by the middle third of the layers.

    Args:
        layers: The layers that the vectors have.
        depth: Number of blocks of the model.
    """
    middle = tuple(layer for layer in layers if depth // 3 <= layer < 2 * depth // 3) or tuple(layers)
    return Dose(FALLBACK_DOSE, middle, (1 / len(middle),) * len(middle))


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear map from the residual stream of one model to emotion scores, fitted on neutral text.

    `emosteer.reading` fits it and reads with it.

    Args:
        emotions: In the order of the columns, after which come the axes.
        axes: `("valence", "arousal")`, or empty where no human ratings are known.
        weights: Layer → `[d_model, columns]`, float32, its share of the mean over layers.
        bias: `[columns]`.
        spread: `[columns]`, standard deviation between neutral tokens.
        inertia: `[columns]`, how many neighbouring tokens carry the information of one independent token, 1 or more.
    """

    emotions: tuple[str, ...]
    axes: tuple[str, ...]
    weights: Mapping[int, Tensor]
    bias: Tensor
    spread: Tensor
    inertia: Tensor

    def select(self, emotions: Sequence[str]) -> Readout:
        """Return the readout of only these emotions, in this order, and the axes."""
        columns = [self.emotions.index(name) for name in emotions]
        columns += range(len(self.emotions), len(self.bias))
        weights = {layer: matrix[:, columns] for layer, matrix in self.weights.items()}
        return Readout(
            tuple(emotions), self.axes, weights, self.bias[columns], self.spread[columns], self.inertia[columns]
        )
