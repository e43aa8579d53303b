"""The quick calibration: for every emotion the dose that moves the model by a stated divergence.

A few emotions find a dose that is about right for all, and what all answers come to there. At that dose every other
emotion reads some of the answers, and those that lie far from the target once more, at a dose of their own. Between two
doses divergence is a power of the dose, about the square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emosteer._util.progress import Meter, counted
from emosteer.calibration.bench import even_weights
from emosteer.calibration.divergence import divergences, plain_replies
from emosteer.eval.language import language_of
from emosteer.eval.prompts import Prompt, spread, usual_prompts
from emosteer.vectors.types import FALLBACK_DOSE, Dose, fallback_dose

if TYPE_CHECKING:
    import numpy as np

    from emosteer.model import SteeredModel
    from emosteer.vectors.emotion_vectors import EmotionVectors

DIVERGENCE = 0.4
"""What strength 1.0 moves a model by, in nats a token: what the half nat of the long calibration comes to."""

PROMPTS, TOKENS = 16, 32
"""Number of development prompts, and length of the answers to them."""

FEW, SOME = 4, 4
"""Emotions that read all answers, and answers that all emotions read: a third of the work, most of the precision."""

STEPS = 4
"""Most steps to the common dose."""

NEAR = 1.5
"""How far from the target a divergence may lie, as a factor, to be corrected without being measured again."""

LIMIT = 1.0
"""Highest dose: the norm of the residual stream itself."""

EXPONENTS = (1.0, 3.0)
"""Bounds of the power between two doses."""

__all__ = ["DIVERGENCE", "LIMIT", "layers_of", "quick_doses"]


def quick_doses(
    steered: SteeredModel,
    *,
    emotions: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    divergence: float = DIVERGENCE,
    prompts: Sequence[str | Prompt] | None = None,
    language: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Dose]:
    """Find the dose of every emotion at which strength 1.0 moves the model by a divergence.

    The model reads some of its own plain answers in each tone, once or twice.

    Args:
        steered: The model; existing doses of its vectors are not used.
        emotions: Emotions to calibrate; all of the vectors by default.
        layers: Layers to steer, with even weights; by default those of `layers_of`.
        divergence: The target, in nats a token of KL(plain ‖ toned).
        prompts: Prompts; by default those of `emosteer.calibrate`.
        language: Language of those; by default the first of the vectors' languages that there are prompts in.
        seed: Seed of the plain answers.
        progress: Whether to show progress on standard error.

    Returns:
        Emotion → dose. At the highest dose the divergence may be lower.

    Raises:
        ToneError: An emotion is unknown.
        InputError: The model cannot answer the prompts, or gives no numbers.
    """
    vectors = steered.vectors
    names = tuple(vectors.emotions if emotions is None else dict.fromkeys(emotions))
    layers = layers_of(vectors) if layers is None else tuple(layers)
    unit = Dose(1.0, layers, even_weights(layers))  # so that a strength is a dose
    speaker = type(steered)(steered.model, steered.tokenizer, replace(vectors, doses=dict.fromkeys(names, unit)))
    if prompts is None:
        prompts = usual_prompts(
            "development", language_of(vectors, language), chat=bool(speaker.tokenizer.chat_template)
        )
    replies = plain_replies(speaker, spread(prompts, PROMPTS), tokens=TOKENS, seed=seed)
    some = range(0, len(replies), max(1, len(replies) // SOME))
    few = spread(names, FEW)
    others = [name for name in names if name not in few]
    total = STEPS * len(few) + len(few) * len(replies) + 2 * len(others) * len(some)
    with Meter(f"Trying the strength of {counted(len(names), 'emotion')}", total, progress) as meter:

        def measured(doses: Mapping[str, float], which: Sequence[int]) -> np.ndarray:
            tones = [{name: dose} for name, dose in doses.items()]
            return divergences(speaker, [replies[i] for i in which], tones, meter)

        common = _Curve(FALLBACK_DOSE, float(measured(dict.fromkeys(few, FALLBACK_DOSE), [0]).mean()))
        for _ in range(STEPS - 1):
            if common.is_near(divergence):
                break
            dose = common.dose_of(divergence)
            common = common.through(dose, float(measured(dict.fromkeys(few, dose), [0]).mean()))
        dose = common.dose_of(divergence)
        whole = measured(dict.fromkeys(few, dose), range(len(replies)))
        found = dict(zip(few, whole.mean(1), strict=True))
        share = whole.mean() / max(1e-9, whole[:, some].mean())  # of all answers, to some of them

        def of_all(doses: Mapping[str, float]) -> dict[str, float]:
            return dict(zip(doses, measured(doses, some).mean(1) * share, strict=True)) if doses else {}

        found |= of_all(dict.fromkeys(others, dose))
        curves = {name: replace(common, dose=dose, divergence=float(found[name])) for name in names}
        far = {name: curve.dose_of(divergence) for name, curve in curves.items() if not curve.is_near(divergence)}
        for name, again in of_all(far).items():
            curves[name] = curves[name].through(far[name], float(again))
    doses = {name: curve.dose_of(divergence) for name, curve in curves.items()}
    return {name: replace(unit, dose=dose, divergence=_rounded(curves[name].at(dose))) for name, dose in doses.items()}


def layers_of(vectors: EmotionVectors) -> tuple[int, ...]:
    """Return the layers that the quick calibration steers: the middle third, as the fallback dose does."""
    return fallback_dose(vectors.layers, vectors.base_model.num_hidden_layers).layers


@dataclass(frozen=True)
class _Curve:
    """The divergence near a dose where it was measured, as a power of the dose.

    Args:
        dose: The dose.
        divergence: What was measured there.
        exponent: The power.
    """

    dose: float
    divergence: float
    exponent: float = 2.0

    def at(self, dose: float) -> float:
        return float(self.divergence * (dose / self.dose) ** self.exponent)

    def dose_of(self, divergence: float) -> float:
        """Return the dose with a divergence, or the highest."""
        ratio = divergence / max(self.divergence, 1e-9)
        return _rounded(min(LIMIT, self.dose * ratio ** (1 / self.exponent)))

    def is_near(self, divergence: float) -> bool:
        """Return whether the dose with a divergence can be told from here, or lies here."""
        return divergence / NEAR <= self.divergence <= divergence * NEAR or self.dose_of(divergence) == self.dose

    def through(self, dose: float, divergence: float) -> _Curve:
        """Return the curve at a second dose, with the power that lies between the two."""
        slope = math.log(max(divergence, 1e-9) / max(self.divergence, 1e-9)) / math.log(dose / self.dose)
        low, high = EXPONENTS
        return _Curve(dose, divergence, min(max(slope, low), high))


def _rounded(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
