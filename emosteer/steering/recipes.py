"""Named ways of making more of a dose than adding it alone does.

A tone that is only added to the residual stream is carried by everything the model says, and breaks the rare tokens
first. A recipe adds it, rules out tokens that are far less likely than the favourite, and among those that remain
favours the emotion's vocabulary. What has been said once is not favoured again, so that the tone spreads instead of
circling around a word. It costs no forward pass beside the one of `generate`, and works token by token, so answers can
be streamed.

    steered.generate(**inputs, emotion={"joy": 1.0}, recipe="natural", do_sample=True)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emosteer.errors import InputError, ToneError
from emosteer.steering.affect import Affect
from emosteer.steering.logits_processor import vocabulary
from emosteer.steering.tones import Tone, named

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["RECIPES", "Recipe", "Vocabulary", "recipe_named"]


@dataclass(frozen=True)
class Recipe:
    """How much of what.

    Args:
        dose: Factor on the additive dose.
        bonus: Nats for a token that stands a standard deviation above the vocabulary's mean, at strength 1.0.
        plausibility: Share of the highest probability that a token needs, before and after the bonus; above 0, at
            most 1.
    """

    dose: float
    bonus: float
    plausibility: float

    def __post_init__(self) -> None:
        numbers = (self.dose, self.bonus, self.plausibility)
        if not all(isinstance(one, (int, float)) and math.isfinite(one) for one in numbers):
            raise InputError(f"{self!r} holds something that is not a finite number.")
        if not 0 < self.plausibility <= 1:
            raise InputError(f"The plausibility is {self.plausibility!r}, expected a number above 0 up to 1.")

    def scaled(self, vectors: EmotionVectors, tone: Tone | Affect | None) -> dict[str, float]:
        """The tone that is added.

        Raises:
            ToneError: An affect cannot be mixed from these vectors.
        """
        return {name: strength * self.dose for name, strength in named(vectors, tone).items()}


RECIPES: Mapping[str, Recipe] = {"natural": Recipe(dose=1.05, bonus=1.5, plausibility=0.1)}
"""Name → recipe. The numbers were chosen on development prompts with the embedded model."""


def recipe_named(recipe: str | Recipe) -> Recipe:
    """A recipe by its name, or itself.

    Raises:
        InputError: There is none of that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise InputError(f"There is no recipe {recipe!r}.", f"There are: {', '.join(RECIPES)}; or make a Recipe.")
    return RECIPES[recipe]


class Vocabulary:
    """A logits processor: rules out what is implausible, and favours the vocabulary of a tone in what remains.

    Args:
        model: The model that generates, steered or not.
        vectors: Made for it.
        tones: One for all rows, or one for each.
        recipe: How much of what.
        length: Tokens of the prompt.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        vectors: EmotionVectors,
        tones: Sequence[Tone | Affect | None],
        recipe: Recipe,
        length: int,
    ) -> None:
        self._bonus = recipe.bonus * vocabulary(model, vectors, tones)
        self._toned = [any(named(vectors, tone).values()) for tone in tones]
        self._least = math.log(recipe.plausibility)
        self._length = length

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores in the tone.

        Args:
            ids: `[batch · beams, tokens]`, the prompt and what has been generated.
            scores: `[batch · beams, vocabulary]`.

        Returns:
            Like the scores; −inf is ruled out.

        Raises:
            ToneError: There is not one tone for each row.
        """
        import torch

        # Beams and returned sequences stand next to each other, as for Steering.
        copies, rest = divmod(len(scores), len(self._bonus))
        if rest or not copies:
            raise ToneError(
                f"There are {len(self._bonus)} tones for a batch of {len(scores)} rows.", "Give one for each row."
            )
        bonus = self._bonus.repeat_interleave(copies, 0).to(scores)
        bonus = bonus.scatter(1, ids[:, self._length :], 0.0)
        favoured = self._plausible(self._plausible(scores) + bonus)
        toned = torch.tensor(self._toned, device=scores.device).repeat_interleave(copies).unsqueeze(1)
        return torch.where(toned, favoured, scores)  # a row without a tone is the plain model's

    def _plausible(self, scores: Tensor) -> Tensor:
        return scores.masked_fill(scores < scores.amax(-1, keepdim=True) + self._least, -math.inf)
