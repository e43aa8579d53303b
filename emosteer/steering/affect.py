"""A point of valence and arousal → a mix of emotions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emosteer._util.numbers import is_finite_number
from emosteer.errors import ToneError, warn
from emosteer.vectors.emotion_vectors import EmotionVectors

FEWEST = 4  # emotions with ratings, below which two axes cannot be told apart
# Chosen on development prompts: text follows arousal less readily than valence, and a mix of many emotions is milder
# than one of them.
AROUSAL = 2.0
LENGTH = 1.3
RIDGE = 0.1  # keeps arousal from being read off the few emotions in which it differs from valence

__all__ = ["Affect", "mix"]


@dataclass(frozen=True)
class Affect:
    """A tone as a point on the circumplex, in place of named emotions.

    Args:
        valence: From −1, unpleasant, to 1, pleasant.
        arousal: From −1, still, to 1, stirred up.

    Raises:
        ToneError: One is not a finite number. Beyond ±1 they are clipped, with a warning.
    """

    valence: float
    arousal: float

    def __post_init__(self) -> None:
        for name in ("valence", "arousal"):
            given = getattr(self, name)
            if not is_finite_number(given):
                raise ToneError(f"The {name} is {given!r}, expected a number from -1 to 1.")
            if abs(float(given)) > 1:
                warn(f"The {name} is {given:g}, beyond ±1: {math.copysign(1, given):+.0f} is taken.")
                object.__setattr__(self, name, math.copysign(1.0, given))


def mix(vectors: EmotionVectors, affect: Affect) -> dict[str, float]:
    """The emotions, with strengths of either sign, that move a text towards a point.

    But for their common scale, strengths are linear in the point: human valence and arousal of the emotions,
    standardised and freed of what they have in common, are the weights of two directions. What is added at a point at
    distance 1 from neutral, or farther, is 1.3 times as long as what strength 1.0 of a single emotion adds.

    Args:
        vectors: With human ratings of at least four emotions.
        affect: The point.

    Raises:
        ToneError: Fewer emotions have ratings, or they all lie on one line.
    """
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
    ratings = torch.tensor([(vectors.info[name].valence, vectors.info[name].arousal) for name in rated])
    ratings = ratings.double()
    standard = (ratings - ratings.mean(0)) / ratings.std(0, correction=0)
    if not bool(torch.isfinite(standard).all()) or abs(float((standard[:, 0] * standard[:, 1]).mean())) > 0.999:
        raise ToneError("The human ratings of these emotions lie on one line.", "Name emotions instead.")
    shared = standard.T @ standard / len(standard) + RIDGE * torch.eye(2, dtype=torch.float64)
    strengths = standard @ torch.linalg.solve(shared, torch.tensor([affect.valence, AROUSAL * affect.arousal]).double())
    layers = sorted({layer for name in rated for layer in vectors.dose(name).layers})
    added = torch.zeros(len(rated), len(layers), vectors.hidden_size, dtype=torch.float64)
    for i, name in enumerate(rated):
        for layer, delta in vectors.deltas(name).items():
            added[i, layers.index(layer)] = delta
    added = added.flatten(1)
    strengths *= LENGTH * radius * float(added.norm(dim=1).mean()) / float((strengths @ added).norm())
    return dict(zip(rated, strengths.tolist(), strict=True))
