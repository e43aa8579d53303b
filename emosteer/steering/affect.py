"""Affect: a tone given as valence and arousal, and the mixture of emotions that expresses it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from emosteer._util.numbers import is_finite_number
from emosteer.errors import ToneError, warn
from emosteer.vectors.emotion_vectors import EmotionVectors

FEWEST = 4  # rated emotions needed to separate the two axes
# Chosen on development prompts: text follows arousal less readily than valence, and a mixture of many emotions has a
# weaker effect than a single one of the same length.
AROUSAL = 2.0
LENGTH = 1.3
KEPT = 64  # mixtures of a set of vectors
RIDGE = 0.1  # keeps the arousal axis from resting on the few emotions in which it departs from valence

__all__ = ["Affect", "mix"]

_mixtures: WeakKeyDictionary[EmotionVectors, tuple[object, dict[Affect, dict[str, float]]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Affect:
    """A tone as a point on the circumplex, instead of named emotions.

    Values beyond ±1 are clipped, with a warning.

    Args:
        valence: From −1 (unpleasant) to 1 (pleasant).
        arousal: From −1 (calm) to 1 (excited).

    Raises:
        ToneError: A value is not a finite number.
    """

    valence: float
    arousal: float

    def __post_init__(self) -> None:
        for name in ("valence", "arousal"):
            value = getattr(self, name)
            if not is_finite_number(value):
                raise ToneError(f"The {name} is {value!r}, expected a number from -1 to 1.")
            if abs(float(value)) > 1:
                warn(f"The {name} is {value:g}, beyond ±1: {math.copysign(1, value):+.0f} is taken.")
                object.__setattr__(self, name, math.copysign(1.0, value))


def mix(vectors: EmotionVectors, affect: Affect) -> dict[str, float]:
    """Return the emotions and strengths, of either sign, that move a text towards a point of the circumplex.

    The human ratings of the emotions are standardised and decorrelated (with a ridge penalty), and weighted by the
    point's coordinates. The strengths are then scaled so that the sum of the deltas is `LENGTH` times as long as the
    mean delta of a single emotion at strength 1.0; points closer than 1 to neutral are scaled down in proportion.

    Mixtures are kept until the vectors change or go.

    Args:
        vectors: Vectors with human ratings of at least four emotions.
        affect: The point.

    Raises:
        ToneError: Too few emotions have ratings, or the ratings lie on a line.
    """
    tensors = vectors.residual_norm, *vectors.directions.values()
    state = dict(vectors.info), dict(vectors.doses), [(t.data_ptr(), t.is_inference() or t._version) for t in tensors]
    kept = _mixtures.get(vectors)
    if kept is None or kept[0] != state:
        kept = _mixtures[vectors] = state, {}
    if (mixture := kept[1].get(affect)) is None:
        if len(kept[1]) >= KEPT:
            kept[1].clear()
        mixture = kept[1][affect] = _mixed(vectors, affect)
    return dict(mixture)


def _mixed(vectors: EmotionVectors, affect: Affect) -> dict[str, float]:
    import torch

    rated = [name for name in vectors.emotions if None not in (vectors.info[name].valence, vectors.info[name].arousal)]
    if len(rated) < FEWEST:
        raise ToneError(
            f"{len(rated)} emotions of these vectors have human valence and arousal, an affect needs {FEWEST}.",
            "Name emotions instead, or extract from a concept set with ratings.",
        )
    radius = min(1.0, math.hypot(affect.valence, affect.arousal))
    if not radius:
        return {}
    tensor = partial(torch.tensor, dtype=torch.float32, device="cpu")
    ratings = tensor([(vectors.info[name].valence, vectors.info[name].arousal) for name in rated]).double()
    standard = (ratings - ratings.mean(0)) / ratings.std(0, correction=0)
    if not bool(torch.isfinite(standard).all()) or abs(float((standard[:, 0] * standard[:, 1]).mean())) > 0.999:
        raise ToneError("The human ratings of these emotions lie on one line.", "Name emotions instead.")
    correlation = standard.T @ standard / len(standard) + RIDGE * torch.eye(2, dtype=torch.float64, device="cpu")
    point = tensor([affect.valence, AROUSAL * affect.arousal]).double()
    strengths = standard @ torch.linalg.solve(correlation, point)
    layers = sorted({layer for name in rated for layer in vectors.dose(name).layers})
    deltas = torch.zeros((len(rated), len(layers), vectors.hidden_size), dtype=torch.float64, device="cpu")
    for row, name in zip(deltas, rated, strict=True):
        delta = vectors.deltas(name)
        row[[layers.index(layer) for layer in delta]] = torch.stack(list(delta.values())).double()
    deltas = deltas.flatten(1)
    strengths *= LENGTH * radius * float(deltas.norm(dim=1).mean()) / float((strengths @ deltas).norm())
    return dict(zip(rated, strengths.tolist(), strict=True))
